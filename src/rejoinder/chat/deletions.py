"""Deletions: a session goes, and whoever reads it learns of that once, before anything else can stand under its id.

A store may have deleted what it was asked to and not say so: late, or never. Then whoever makes a session next where there was one
tells it, and where nobody does so it is found out.
"""

import asyncio
import contextlib

from rejoinder.abc import Signals, Wake
from rejoinder.chat.decisions import Decisions
from rejoinder.entities import Header, Key
from rejoinder.errors import StoreUnavailable

LOOK = 1.0
"""Seconds between looks at whether the store can tell what became of a deletion."""


class Deletions:
    def __init__(self, decisions: Decisions, signals: Signals) -> None:
        self._writer = decisions.writer
        self._store = decisions.store
        self._signals = signals
        self._untold: dict[Key, _Untold] = {}

    async def close(self) -> None:
        looking = [untold.looking for untold in self._untold.values() if untold.looking is not None]
        for task in looking:
            task.cancel()
        await asyncio.gather(*looking, return_exceptions=True)

    async def delete(self, key: Key, header: Header) -> bool:
        """Deletes a session that is as `header` says, unless replies are open in it. Returns whether it did."""
        if header.open:
            return False
        untold = self._untold.setdefault(key, _Untold())
        untold.asking += 1
        deleted = False
        try:
            deleted = await self._store.delete(key, header.version)
        except StoreUnavailable:
            self._look(key, header, untold)
            raise
        finally:
            untold.asking -= 1
            self._settle(key, untold, deleted=deleted)
        return deleted

    def gone(self, key: Key) -> None:
        """To be called by whoever finds no session there, before one is made: its readers must not be told of the one that was."""
        untold = self._untold.pop(key, None)
        if untold is None:
            return
        if untold.looking not in (None, asyncio.current_task()):
            untold.looking.cancel()
        self._writer.latest.forget(key)
        self._signals.publish([Wake(key, deleted=True)])

    def _look(self, key: Key, header: Header, untold: "_Untold") -> None:
        if untold.looking is None and self._untold.get(key) is untold:
            untold.looking = asyncio.create_task(self._find_out(key, header, untold), name="doubtful deletion")

    async def _find_out(self, key: Key, header: Header, untold: "_Untold") -> None:
        """Whether a session was deleted after all: its readers would else follow for ever what is not there.

        What a store has committed it may not be able to do at once; but then it cannot be written either.
        """
        deleted = False
        try:
            while True:
                await asyncio.sleep(LOOK)
                with contextlib.suppress(StoreUnavailable):
                    await self._store.ping()
                    # Another that stands there by now was made elsewhere: then readers see for themselves which one they read.
                    deleted = await self._store.header(key) is None
                    break
        finally:
            untold.looking = None
            self._settle(key, untold, deleted=deleted)

    def _settle(self, key: Key, untold: "_Untold", *, deleted: bool) -> None:
        if self._untold.get(key) is not untold:
            return  # it was told by whoever made another
        if deleted:
            self.gone(key)
        elif not untold.asking and untold.looking is None:
            del self._untold[key]


class _Untold:
    """Deletions of a session that may be done, and of which nobody has been told: how many the store is being asked for, and who
    finds out about one whose answer was lost."""

    __slots__ = ("asking", "looking")

    def __init__(self) -> None:
        self.asking = 0
        self.looking: asyncio.Task[None] | None = None
