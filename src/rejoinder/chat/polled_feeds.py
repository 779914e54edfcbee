"""Feeds where wakes can be lost, or come without their events: what a wake did not tell is looked up in the store.

A look reads the headers of the sessions that are writing and of those that were active last. Their versions tell which of
them have news (deltas change none), and of these alone the log is read on, behind what was told. What a look cannot
make sure of breaks the feed off, and its readers begin anew.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator

from msgspec import Struct

from rejoinder.abc import Store, Wake
from rejoinder.chat.feeds import Feed
from rejoinder.entities import Header, Key
from rejoinder.errors import StoreUnavailable
from rejoinder.events import OVERVIEW_EVENTS, Event

log = logging.getLogger(__name__)

POLL = 5.0
"""Seconds between two looks where no wake asks for one."""

LOOK_PAUSE = 0.5
"""Seconds between two looks at least: wakes of deltas may come without them, many times a second."""

PAGE = 100
"""Sessions that are read at a time (a header may carry a long system prompt), and that a look reads of those active last."""

PLACES = 10_000
"""Sessions of which the feed knows what was told. Of one that it does not know, the newest turns are told again."""

NEWEST = 3
"""Messages of which one is the beginning of what is told of a session that the feed did not know."""

EVER = (1 << 63) - 1


class Place(Struct):
    """What was told of a session: all up to `seq`, and all up to `version`, -1 where the wakes alone have told it."""

    version: int
    seq: int


class PolledFeed(Feed):
    """Looks while it has readers. The first look tells nothing: it learns where the sessions are."""

    def __init__(self, store: Store, owner: str) -> None:
        super().__init__()
        self._store = store
        self._owner = owner
        self._places: dict[str, Place] = {}
        self._looked_at: set[str] = set()
        self._wanted = asyncio.Event()
        self._opening = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Returns when it is known where the sessions are. Raises StoreUnavailable."""
        async with self._opening:
            if self._task is None:
                await self._look(tells=False)
                self._task = asyncio.create_task(self._run(), name="overview")

    def close(self) -> None:
        if self._task is not None:
            self._task.cancel()

    def take(self, wake: Wake) -> None:
        session_id = wake.key.session_id
        if wake.deleted:
            self._drop(session_id)
        elif not wake.events:
            self._wanted.set()
        else:
            self._take_events(session_id, wake.events)

    def _take_events(self, session_id: str, events: tuple[Event, ...]) -> None:
        known = self._places.get(session_id)
        if known is not None and events[0].seq != known.seq + 1:
            # Something is missing before these, or they came again: the log knows.
            if events[-1].seq > known.seq:
                self._wanted.set()
            return
        for event in events:
            if event.type in OVERVIEW_EVENTS:
                self.tell(session_id, event)
        if known is None:
            self._remember(session_id, Place(-1, events[-1].seq))
        else:
            known.seq = events[-1].seq

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(LOOK_PAUSE)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wanted.wait(), POLL - LOOK_PAUSE)
            self._wanted.clear()
            try:
                await self._look(tells=True)
            except StoreUnavailable as away:
                log.warning("the overview cannot look at the store: %s", away.detail)

    async def _look(self, *, tells: bool) -> None:
        active = await self._store.sessions(self._owner, after=None, limit=PAGE)
        found = {header.session.id: header for header in active}
        async for header in writing_sessions(self._store, self._owner):
            found[header.session.id] = header
        # Where all of the page is news there may be more behind it, of which nobody told.
        lost = tells and len(active) == PAGE and all(map(self._has_news, active))
        try:
            for header in reversed(found.values()):
                await self._catch_up(header, tells and not lost)
            for session_id in self._looked_at - found.keys():
                await self._look_for(session_id, tells and not lost)
        finally:
            if lost:
                # Last, so that the snapshots which follow know of all that was passed over here.
                self.break_off()
        self._looked_at = set(found)

    async def _look_for(self, session_id: str, tells: bool) -> None:
        """One that neither writes any more nor is among those active last."""
        header = await self._store.header(Key(self._owner, session_id))
        if header is not None:
            await self._catch_up(header, tells)
        elif session_id in self._places:
            self._drop(session_id)

    def _has_news(self, header: Header) -> bool:
        known = self._places.get(header.session.id)
        return known is None or known.version != header.version

    async def _catch_up(self, header: Header, tells: bool) -> None:
        session_id, last_seq = header.session.id, header.session.last_seq
        if tells and self._has_news(header):
            await self._tell_news(session_id, last_seq)
        known = self._places.get(session_id)
        if known is None:
            self._remember(session_id, Place(header.version, last_seq))
        else:
            known.version, known.seq = header.version, max(known.seq, last_seq)

    async def _tell_news(self, session_id: str, until: int) -> None:
        key = Key(self._owner, session_id)
        if session_id not in self._places:
            newest = await self._store.created(key, after=0, before=EVER, limit=NEWEST, newest=True)
            self._remember(session_id, Place(-1, newest[0].created if len(newest) == NEWEST else 0))
        while (known := self._places.get(session_id)) is not None:
            events = await self._store.events(key, after=known.seq, until=until)
            if not events:
                return
            for event in events:
                # A wake may have told some of it while this was read.
                if event.seq > known.seq and event.type in OVERVIEW_EVENTS:
                    self.tell(session_id, event)
            known.seq = max(known.seq, events[-1].seq)

    def _drop(self, session_id: str) -> None:
        self._places.pop(session_id, None)
        self.tell_deleted(session_id)

    def _remember(self, session_id: str, place: Place) -> None:
        if len(self._places) >= PLACES:
            del self._places[next(iter(self._places))]
        self._places[session_id] = place


async def writing_sessions(store: Store, owner: str) -> AsyncIterator[Header]:
    """All sessions of an owner that are writing, page by page."""
    after = None
    while page := await store.writing(owner, after=after, limit=PAGE):
        for header in page:
            yield header
        after = page[-1].session.id
