"""What keeps a store from growing for ever: deltas of ended replies go after a while, and idle sessions where that is wished.

A slow sweep that every worker makes. Each step is decided by the store or harmless when it is done twice, so it does not
matter how many workers there are, nor where one is killed.
"""

import asyncio
import logging
from collections.abc import Iterator, Sequence
from itertools import groupby

from msgspec import Struct

from rejoinder.abc import Store
from rejoinder.chat import ids
from rejoinder.chat.sessions import Sessions
from rejoinder.entities import Key
from rejoinder.errors import StoreUnavailable

log = logging.getLogger(__name__)

DROPPED = ("message.delta",)
"""What is not needed once a reply has ended: `message.ended` carries it whole."""

SWEEP = 60.0
"""Seconds between two rounds; less where something is kept for a shorter time, and much less while there is more to do."""
SOON = 0.1

MESSAGES = 1_000
SESSIONS = 100
"""How many messages are compacted, and how many sessions are deleted, in one round."""

PIECE = 20
"""Messages that are compacted at a time: some thousand events, so that live replies do not wait long for their commits."""


class Keeping(Struct, frozen=True, kw_only=True):
    """Seconds for which the deltas of an ended reply stay, and an idle session; None is for ever."""

    deltas: float | None
    sessions: float | None


class Growth:
    def __init__(self, store: Store, sessions: Sessions, keeping: Keeping) -> None:
        self._store = store
        self._sessions = sessions
        self._keeping = keeping

    async def run(self) -> None:
        """Sweeps until it is cancelled."""
        kept = [seconds for seconds in (self._keeping.deltas, self._keeping.sessions) if seconds is not None]
        usual = max(SOON, min(SWEEP, *(seconds / 4 for seconds in kept))) if kept else None
        pause = usual
        while usual is not None and pause is not None:
            await asyncio.sleep(pause)
            pause = usual
            try:
                if await self.sweep():
                    pause = SOON
            except StoreUnavailable as away:
                log.warning("the store could not be swept, trying again later: %s", away.detail)
            except Exception:
                # Nothing waits for a sweep. The next one may fare better, and without one the disk would fill.
                log.exception("the store could not be swept")

    async def sweep(self) -> bool:
        """One round. Returns whether there is more to do. Raises StoreUnavailable."""
        more = False
        if self._keeping.deltas is not None:
            more |= await self._compact(ids.timestamp(self._keeping.deltas))
        if self._keeping.sessions is not None:
            more |= await self._expire(ids.timestamp(self._keeping.sessions))
        return more

    async def _compact(self, before: str) -> bool:
        ripe = await self._store.ripe(before, MESSAGES)
        for key, message_ids in _pieces(ripe):
            await self._store.compact(key, message_ids, DROPPED)
        return len(ripe) == MESSAGES

    async def _expire(self, before: str) -> bool:
        idle = await self._store.idle(before, SESSIONS)
        deleted = [await self._sessions.expire(key, before) for key in idle]
        return len(idle) == SESSIONS and any(deleted)


def _pieces(ripe: Sequence[tuple[Key, str]]) -> Iterator[tuple[Key, list[str]]]:
    """By session, a few messages at a time."""
    for key, found in groupby(sorted(ripe), key=lambda each: each[0]):
        message_ids = [message_id for _, message_id in found]
        for start in range(0, len(message_ids), PIECE):
            yield key, message_ids[start : start + PIECE]
