"""The overview: what happens in all sessions of an owner, for lists and marks, without the text on its way.

Nobody numbers the events of all sessions, so there is no cursor to come back with. A reader begins with a snapshot of
the sessions that are writing, taken once it hears what comes; whoever lost the thread, by a broken line or by reading
too slowly, gets another snapshot. So readers share one feed of encoded frames and keep nothing but a place in it.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager

from rejoinder.abc import Signals, Store, Wake
from rejoinder.chat.feeds import Feed, Told
from rejoinder.chat.polled_feeds import PolledFeed, writing_sessions
from rejoinder.chat.tails import NOTHING, Frame, Piece
from rejoinder.events import Snapshot, WritingReply, WritingSession, told_frame

PIECE = 64 << 10
"""Bytes with which one write to a reader is full: what a slow one holds of its own."""

SNAPSHOT_PAUSE = 1.0
"""Seconds between two snapshots of one reader: more than a service too busy for it would make it worse."""


class Overview:
    def __init__(self, store: Store, signals: Signals) -> None:
        self._store = store
        self._polls = not signals.reliable
        self._feeds: dict[str, Feed] = {}

    def push(self, wakes: Sequence[Wake]) -> None:
        if self._feeds:
            for wake in wakes:
                if (feed := self._feeds.get(wake.key.owner)) is not None:
                    feed.take(wake)

    async def check(self, owner: str) -> None:
        """Raises StoreUnavailable where a snapshot cannot be taken now."""
        await self._store.writing(owner, after=None, limit=1)

    async def follow(self, owner: str, *, idle: float) -> AsyncGenerator[Piece, None]:
        """A snapshot, then what happens in the owner's sessions, for ever; another snapshot where something was missed.

        Yields pieces, and NOTHING at the beginning and whenever `idle` seconds went by without one. Raises StoreUnavailable.
        """
        yield NOTHING
        now = asyncio.get_running_loop().time
        async with self._reading(owner) as feed:
            place, again, due = -1, now(), now() + idle
            seen: dict[str, int] = {}
            while True:
                if place < feed.start:
                    await asyncio.sleep(max(0.0, again - now()))
                    place, again = feed.end, now() + SNAPSHOT_PAUSE
                    snapshot = await self._snapshot(owner)
                    seen = {session.session_id: session.last_seq for session in snapshot.writing}
                    frames = [Frame(0, "snapshot", None, told_frame(snapshot))]
                else:
                    frames, place = _piece(feed, place, seen)
                if frames or now() >= due:
                    yield Piece.of(frames, 0)
                    due = now() + idle
                elif feed.start <= place == feed.end:
                    await feed.wait(place, max(0.0, due - now()))

    @asynccontextmanager
    async def _reading(self, owner: str) -> AsyncIterator[Feed]:
        feed = self._feeds.get(owner)
        if feed is None:
            feed = self._feeds[owner] = PolledFeed(self._store, owner) if self._polls else Feed()
        feed.readers += 1
        try:
            await feed.open()
            yield feed
        finally:
            feed.readers -= 1
            if not feed.readers:
                del self._feeds[owner]
                feed.close()

    async def _snapshot(self, owner: str) -> Snapshot:
        found: list[WritingSession] = []
        async for header in writing_sessions(self._store, owner):
            replies = tuple(WritingReply(id=reply.id, status=reply.status) for reply in header.open)
            session = header.session
            found.append(WritingSession(session_id=session.id, last_seq=session.last_seq, replies=replies))
        return Snapshot(writing=tuple(found))


def _piece(feed: Feed, place: int, seen: dict[str, int]) -> tuple[list[Frame], int]:
    """Some of the frames from a place on that a snapshot did not know yet, and the place behind them."""
    frames: list[Frame] = []
    size = 0
    for told in feed.behind(place):
        place += 1
        if _is_news(told, seen):
            frames.append(told.frame)
            size += len(told.frame.data)
            if size >= PIECE:
                break
    return frames, place


def _is_news(told: Told, seen: dict[str, int]) -> bool:
    """`seen` is emptied as it goes: a session's first news behind the snapshot is followed by nothing older."""
    if 0 < told.frame.seq <= seen.get(told.session_id, 0):
        return False
    seen.pop(told.session_id, None)
    return True
