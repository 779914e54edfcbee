"""Copying: every session of one store into another, store to store, and a comparison of both at the end.

A session that is there already with the same bytes is passed over, so a copy that broke off is simply made again. One that
is there with other bytes is reported and left alone. Replies that the source was still writing go as interrupted.
"""

import asyncio
import contextlib
import hashlib
import math
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from typing import Literal, Self, TypeAlias

from msgspec import Struct, structs

from rejoinder.abc import Signals, Store
from rejoinder.chat.decisions import Decisions
from rejoinder.chat.deletions import Deletions
from rejoinder.chat.export_format import EndLine
from rejoinder.chat.exporting import Exporting, of_store
from rejoinder.chat.importing import Imported, Importing, Reader
from rejoinder.chat.room import Room
from rejoinder.chat.writer import Writer
from rejoinder.entities import Key
from rejoinder.errors import AlreadyExists, LeaseLost, SessionGone, SessionNotFound, StoreUnavailable

KEYS = 500
"""Keys that are read at a time."""

AT_ONCE = 8
"""Sessions that are copied together, so that they share commits. Each is held in memory whole."""

LEASE = 60.0
"""Seconds. Nothing but appends stands under it, so nobody waits for its end."""

PATIENCE = 60.0
"""Seconds for which a session may wait for the target to take it."""


class Copied(Struct, frozen=True):
    """How far a copy is. `differ` are sessions that the target has with other bytes."""

    sessions: int = 0
    messages: int = 0
    present: int = 0
    differ: tuple[Key, ...] = ()

    def and_(self, key: Key, outcome: "Outcome", messages: int) -> "Copied":
        return Copied(
            self.sessions + (outcome == "copied"),
            self.messages + messages,
            self.present + (outcome == "present"),
            (*self.differ, key) if outcome == "differs" else self.differ,
        )


class Sum(Struct, frozen=True):
    """Sessions of one side: how many of them there are, their messages, and the SHA-256 over those of their exports."""

    sessions: int = 0
    messages: int = 0
    sha256: str = ""


Outcome: TypeAlias = Literal["copied", "present", "differs", "gone"]


class Copying:
    """Used inside `async with`; both stores are open before and closed after it."""

    def __init__(self, source: Store, target: Store, signals: Signals) -> None:
        self._source, self._target = source, target
        self._writer = Writer(target, signals)
        self._writer.room = Room(math.inf, math.inf)  # who copies waits, and asks for no more than `AT_ONCE`
        self._from = of_store(Decisions(source, Writer(source, signals)))
        there = Decisions(target, self._writer)
        self._there = of_store(there)
        self._importing = Importing(there, Deletions(there, signals))

    async def __aenter__(self) -> Self:
        self._lease = await self._target.acquire_lease("copy", LEASE)
        self._writer.start(self._lease)
        self._renewing = asyncio.create_task(self._renew(), name="lease of the copy")
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._renewing.cancel()
        await asyncio.gather(self._renewing, return_exceptions=True)
        await self._writer.close()
        with contextlib.suppress(StoreUnavailable):  # it ends by itself
            await self._target.release_lease(self._lease)

    async def run(self, on_progress: Callable[[Copied], None]) -> Copied:
        """Copies what is not there yet. Raises StoreUnavailable and LeaseLost: what was copied by then is there."""
        done = Copied()
        async for keys in self._keys():
            copied = await asyncio.gather(*(self._copy(key) for key in keys))
            for key, (outcome, messages) in zip(keys, copied, strict=True):
                done = done.and_(key, outcome, messages)
            on_progress(done)
        return done

    async def sums(self) -> tuple[Sum, Sum]:
        """What the source has, and what the target has of it."""
        sums = [Sum(), Sum()]
        digests = [hashlib.sha256(), hashlib.sha256()]
        async for keys in self._keys():
            for side, exporting in enumerate((self._from, self._there)):
                ends = await asyncio.gather(*(_end_of(exporting, key) for key in keys))
                for key, end in zip(keys, ends, strict=True):
                    if end is not None:
                        digests[side].update(f"{key.owner} {key.session_id} {end.sha256}\n".encode())
                        sums[side] = Sum(sums[side].sessions + 1, sums[side].messages + end.messages)
        one, other = (structs.replace(told, sha256=by.hexdigest()) for told, by in zip(sums, digests, strict=True))
        return one, other

    async def _keys(self) -> AsyncIterator[list[Key]]:
        """The keys of the source, a few at a time."""
        after: Key | None = None
        while keys := await self._source.keys(after=after, limit=KEYS):
            for at in range(0, len(keys), AT_ONCE):
                yield keys[at : at + AT_ONCE]
            after = keys[-1]

    async def _copy(self, key: Key) -> tuple[Outcome, int]:
        """What became of a session, and how many messages were copied."""
        if (there := await _end_of(self._there, key)) is not None:
            end = await _end_of(self._from, key)
            return ("gone" if end is None else "present" if end == there else "differs"), 0
        imported = await self._read(key)
        if imported is None:
            return "gone", 0
        try:
            async with asyncio.timeout(PATIENCE):
                await self._importing.take(imported)
        except AlreadyExists:  # made there this very moment
            return "differs", 0
        except TimeoutError as late:
            raise StoreUnavailable("The target does not take what is copied.") from late
        return "copied", imported.messages

    async def _read(self, key: Key) -> Imported | None:
        """A session of the source, None where it has been deleted."""
        reader = Reader(key.owner)
        try:
            async with aclosing(await self._from.begin(key)) as pieces:
                async for piece in pieces:
                    for line in piece.splitlines(keepends=True):
                        reader.take(line)
        except (SessionNotFound, SessionGone):
            return None
        return reader.whole()

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(LEASE / 3)
            with contextlib.suppress(StoreUnavailable, LeaseLost):  # the next append tells
                await self._target.renew_lease(self._lease, LEASE)


async def _end_of(exporting: Exporting, key: Key) -> EndLine | None:
    """The last line of a session's export, None where there is no such session."""
    last = b""
    try:
        async with aclosing(await exporting.begin(key)) as pieces:
            async for piece in pieces:
                last = piece
    except (SessionNotFound, SessionGone):
        return None
    return EndLine.decoded(last)
