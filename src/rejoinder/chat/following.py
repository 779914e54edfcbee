"""The one read path: read after the cursor, then wait for a wake that promises nothing, and read again.

It is the same for a new, a resumed and a late reader, for a second tab and for a session that another worker writes.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import aclosing
from typing import TypeAlias

from rejoinder.abc import Signals, Store
from rejoinder.chat.tails import PIECE, Frame, Tail, Tails
from rejoinder.entities import Key
from rejoinder.errors import SessionGone, SessionNotFound
from rejoinder.events import FACTS

FOREVER = 3600.0
"""Seconds between two looks at nothing: who waits for an end waits for an event, not for a time."""

Take: TypeAlias = Callable[[list[Frame]], bool]
"""Takes frames and returns True; or returns False, and has taken none."""

POLL = (1.0, 2.0, 4.0, 8.0)
"""Seconds after which a reader looks for itself, where wakes can be lost: soon after something came, then more and more
seldom, since thousands may follow sessions in which nothing happens."""


class Following:
    def __init__(self, store: Store, signals: Signals, tails: Tails) -> None:
        self._store = store
        self._tails = tails
        self._polls = not signals.reliable

    async def follow(
        self,
        key: Key,
        after: int,
        message_ids: Collection[str] | None,
        idle: float,
        take: Take = lambda _: False,
    ) -> AsyncIterator[list[Frame]]:
        """What comes behind the cursor `after`, of these messages alone where any are given, for ever.

        Frames come in order, none twice and none left out: while the caller waits for the next, to `take`, which is called as
        they are committed and says whether it took them; and what it does not take is yielded. An empty list is yielded
        whenever `idle` seconds went by without a frame.
        Raises SessionGone when the session has been deleted, and StoreUnavailable.
        """
        now = time.monotonic
        looks, look = 0, False
        with self._tails.reading(key) as tail:
            reader = _Reader(tail, after, message_ids, take)
            while True:
                moves, known = tail.moves, tail.last
                frames = tail.after(reader.cursor)
                if look:
                    known = max(known, await self._last_seq(key))
                    frames = None if known > reader.cursor else []
                if frames is None:
                    frames = await self._read(key, reader.cursor, message_ids)
                    # Without a frame everything that was known before the read is known to be of no concern.
                    reader.cursor = max(reader.cursor, known)
                reader.cursor, look = frames[-1].seq if frames else reader.cursor, False
                if chosen := _chosen(frames, message_ids):
                    yield chosen
                    reader.last_told = now()
                elif now() >= reader.last_told + idle:
                    # Also while others write all the time: what they write is nothing to this reader.
                    yield []
                    reader.last_told = now()
                elif not frames and moves == tail.moves:
                    if tail.deleted:
                        raise _gone(key)
                    pause = max(0.0, reader.last_told + idle - now())
                    woken = await tail.wait(min(POLL[looks], pause) if self._polls else pause, reader.pushed)
                    # What was taken while it waited has shown that wakes come.
                    look = self._polls and not woken and moves == tail.moves
                    looks = min(looks + 1, len(POLL) - 1) if look else 0

    async def ended(self, key: Key, message_id: str, after: int) -> None:
        """Returns when a reply whose end lies behind `after` has ended. Raises SessionNotFound and StoreUnavailable."""
        try:
            async with aclosing(self.follow(key, after, {message_id}, FOREVER)) as batches:  # type: ignore[type-var]  # it is an async generator
                async for frames in batches:
                    if any(frame.type == "message.ended" for frame in frames):
                        return
        except SessionGone as gone:
            raise SessionNotFound(key.session_id) from gone

    async def _read(self, key: Key, cursor: int, message_ids: Collection[str] | None) -> list[Frame]:
        # A store may answer without ever waiting, and a reader that is far behind must not hold up the others.
        await asyncio.sleep(0)
        events = await self._store.events(key, after=cursor, message_ids=message_ids, max_bytes=PIECE)
        return [Frame.of(event) for event in events]

    async def _last_seq(self, key: Key) -> int:
        header = await self._store.header(key)
        if header is None:
            raise _gone(key)
        return header.session.last_seq


class _Reader:
    """Where a reader is. It needs no turn of its own for what can be dealt with as it is committed."""

    def __init__(self, tail: Tail, cursor: int, message_ids: Collection[str] | None, take: Take) -> None:
        self.cursor = cursor
        self.last_told = time.monotonic()
        """When it was last given anything."""
        self._tail = tail
        self._message_ids = message_ids
        self._take = take

    def pushed(self) -> bool:
        """Deals with what was just pushed. False where that needs the reader's own turn."""
        while not self._tail.deleted and (frames := self._tail.after(self.cursor)) is not None:
            if not frames:
                return True
            if chosen := _chosen(frames, self._message_ids):
                if not self._take(chosen):
                    return False
                self.last_told = time.monotonic()
            self.cursor = frames[-1].seq
        return False


def _gone(key: Key) -> SessionGone:
    return SessionGone(f"Session {key.session_id} has been deleted.")


def _chosen(frames: list[Frame], message_ids: Collection[str] | None) -> list[Frame]:
    """Without what is the log's own, and of other messages."""
    return [
        frame for frame in frames if frame.type in FACTS and (message_ids is None or frame.message_id in message_ids)
    ]
