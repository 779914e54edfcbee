"""Feeds: the newest events of all sessions of an owner, as frames, shared by those who read his overview in this process.

What a tail is to a session. But nobody numbers the events of all sessions, so a reader keeps a place in the feed, and
whoever lost it cannot read what is missing from a store: it begins anew with a snapshot.
"""

import asyncio
from collections import deque
from collections.abc import Iterator
from itertools import islice

from msgspec import Struct

from rejoinder.abc import Wake
from rejoinder.chat.tails import Frame
from rejoinder.events import OVERVIEW_EVENTS, Event, SessionDeleted, overview_frame, told_frame

FEED_BYTES = 1 << 20
"""Bytes of frames of one owner that are kept for readers on their way: some hundred ends of replies that come at once."""


class Told(Struct, frozen=True):
    """A frame and the session it is of. A deletion has the seq 0, since it stands in no log."""

    session_id: str
    frame: Frame


class Feed:
    """The newest frames of one owner, while anybody reads them. A place counts all frames there ever were in it."""

    def __init__(self) -> None:
        self.readers = 0
        self.start = 0
        """The place of the oldest frame that is held: a reader at an earlier one has missed some."""
        self._told: deque[Told] = deque()
        self._size = 0
        self._moved = asyncio.Event()

    @property
    def end(self) -> int:
        return self.start + len(self._told)

    def take(self, wake: Wake) -> None:
        for event in wake.events:
            if event.type in OVERVIEW_EVENTS:
                self.tell(wake.key.session_id, event)
        if wake.deleted:
            self.tell_deleted(wake.key.session_id)

    def tell(self, session_id: str, event: Event) -> None:
        self._add(session_id, Frame(event.seq, event.type, event.message_id, overview_frame(session_id, event)))

    def tell_deleted(self, session_id: str) -> None:
        said = SessionDeleted(session_id=session_id)
        self._add(session_id, Frame(0, "session.deleted", None, told_frame(said)))

    def break_off(self) -> None:
        """Not all of what happened was told: every reader must begin anew with a snapshot."""
        self.start = self.end + 1
        self._told.clear()
        self._size = 0
        self._wake()

    def behind(self, place: int) -> Iterator[Told]:
        """The frames from a place on that is not before `start`. Must be read before anything else happens."""
        yield from islice(self._told, place - self.start, None)

    async def wait(self, place: int, seconds: float) -> None:
        """Until something lies behind a place, or so many seconds have gone by."""
        try:
            async with asyncio.timeout(seconds):
                while self.end <= place:
                    await self._moved.wait()
        except TimeoutError:
            return

    async def open(self) -> None:
        """Returns when whatever is committed from then on will be told: here always, since no wake is lost."""

    def close(self) -> None:
        """The last reader has gone."""

    def _add(self, session_id: str, frame: Frame) -> None:
        self._told.append(Told(session_id, frame))
        self._size += len(frame.data)
        while self._size > FEED_BYTES and len(self._told) > 1:
            self._size -= len(self._told.popleft().frame.data)
            self.start += 1
        self._wake()

    def _wake(self) -> None:
        self._moved.set()
        self._moved = asyncio.Event()
