"""The one read path: read after the cursor, then wait for a wake that promises nothing, and read again.

It is the same for a new, a resumed and a late reader, for a second tab and for a session that another worker writes.
"""

import asyncio
from collections.abc import AsyncIterator, Collection
from contextlib import aclosing

from rejoinder.abc import Signals, Store
from rejoinder.chat.tails import Frame, Tails
from rejoinder.entities import Key
from rejoinder.errors import SessionGone, SessionNotFound
from rejoinder.events import FACTS

FOREVER = 3600.0
"""Seconds between two looks at nothing: who waits for an end waits for an event, not for a time."""

POLL = (1.0, 2.0, 4.0, 8.0)
"""Seconds after which a reader looks for itself, where wakes can be lost: soon after something came, then more and more
seldom, since thousands may follow sessions in which nothing happens."""


class Following:
    def __init__(self, store: Store, signals: Signals, tails: Tails) -> None:
        self._store = store
        self._tails = tails
        self._polls = not signals.reliable

    async def follow(
        self, key: Key, after: int, message_ids: Collection[str] | None = None, *, idle: float
    ) -> AsyncIterator[list[Frame]]:
        """What comes behind the cursor `after`, of these messages alone where any are given, for ever.

        Yields frames in order, none twice and none left out, and an empty list whenever `idle` seconds went by without one.
        Raises SessionGone when the session has been deleted, and StoreUnavailable.
        """
        now = asyncio.get_running_loop().time
        cursor, due, looks, look = after, now() + idle, 0, False
        with self._tails.reading(key) as tail:
            while True:
                moves, known = tail.moves, tail.last
                frames = tail.after(cursor)
                if look:
                    known = max(known, await self._last_seq(key))
                    frames = None if known > cursor else []
                if frames is None:
                    frames = await self._read(key, cursor, message_ids)
                    # Without a frame everything that was known before the read is known to be of no concern.
                    cursor = max(cursor, known)
                cursor, look = frames[-1].seq if frames else cursor, False
                if chosen := _chosen(frames, message_ids):
                    yield chosen
                    due = now() + idle
                elif now() >= due:
                    # Also while others write all the time: what they write is nothing to this reader.
                    yield []
                    due = now() + idle
                elif not frames and moves == tail.moves:
                    if tail.deleted:
                        raise _gone(key)
                    pause = max(0.0, due - now())
                    woken = await tail.wait(min(POLL[looks], pause) if self._polls else pause)
                    look = self._polls and not woken
                    looks = min(looks + 1, len(POLL) - 1) if look else 0

    async def ended(self, key: Key, message_id: str, after: int) -> None:
        """Returns when a reply whose end lies behind `after` has ended. Raises SessionNotFound and StoreUnavailable."""
        try:
            async with aclosing(self.follow(key, after, {message_id}, idle=FOREVER)) as batches:  # type: ignore[type-var]  # it is an async generator
                async for frames in batches:
                    if any(frame.type == "message.ended" for frame in frames):
                        return
        except SessionGone as gone:
            raise SessionNotFound(key.session_id) from gone

    async def _read(self, key: Key, cursor: int, message_ids: Collection[str] | None) -> list[Frame]:
        # A store may answer without ever waiting, and a reader that is far behind must not hold up the others.
        await asyncio.sleep(0)
        events = await self._store.events(key, after=cursor, message_ids=message_ids)
        return [Frame.of(event) for event in events]

    async def _last_seq(self, key: Key) -> int:
        header = await self._store.header(key)
        if header is None:
            raise _gone(key)
        return header.session.last_seq


def _gone(key: Key) -> SessionGone:
    return SessionGone(f"Session {key.session_id} has been deleted.")


def _chosen(frames: list[Frame], message_ids: Collection[str] | None) -> list[Frame]:
    """Without what is the log's own, and of other messages."""
    return [
        frame for frame in frames if frame.type in FACTS and (message_ids is None or frame.message_id in message_ids)
    ]
