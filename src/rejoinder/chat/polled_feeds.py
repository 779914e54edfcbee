"""Feeds where wakes can be lost, or come without their events: what a wake did not tell is looked up in the store.

A look reads the headers of the sessions that are writing and of those that were active last. Their versions (deltas change none) and
seqs tell which of them have news that no wake brought, and of these alone the log is read on, behind what was told. What a look cannot
make sure of breaks the feed off, and its readers begin anew.

A look takes time, and wakes come meanwhile. Where one has told something of a session, what the look has read of it may be
older, or of another session that had this id before; then the look says nothing of it, and the next one does.
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
    """What was told of a session: all up to `seq`, and all up to `version`, -1 where the wakes alone have told it.

    `made_at` is its `created_at`, None where no look has seen it yet.
    """

    version: int
    seq: int
    made_at: str | None = None

    def is_of(self, header: Header) -> bool:
        """Whether this is the same session, and not one that was deleted and whose id was given again."""
        return self.version <= header.version and header.session.may_be(self.made_at, self.seq)

    def has_all_of(self, header: Header) -> bool:
        """Whether all was told of it: wakes tell of no version, but up to which seq they told."""
        return self.version == header.version or self.seq >= header.session.last_seq


class PolledFeed(Feed):
    """Looks while it has readers. The first look tells nothing: it learns where the sessions are."""

    def __init__(self, store: Store, owner: str) -> None:
        super().__init__()
        self._store = store
        self._owner = owner
        self._places: dict[str, Place] = {}
        self._looked_at: set[str] = set()
        self._learnt: set[str] = set()
        """Sessions of which wakes have told something since the look began that is under way."""
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
            self._learnt.add(session_id)
            self._drop(session_id)
        elif not wake.events:
            self._wanted.set()
        else:
            self._take_events(session_id, wake.events)

    def _take_events(self, session_id: str, events: tuple[Event, ...]) -> None:
        known = self._places.get(session_id)
        told = known.seq if known else 0
        if events[0].seq != told + 1:
            # Something is missing before these (the wake before them may have carried no events), or they came again: the log knows.
            if events[-1].seq > told:
                self._wanted.set()
            return
        self._learnt.add(session_id)
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
                # Not `asyncio.wait_for`: before Python 3.12 it may forget a cancellation.
                async with asyncio.timeout(POLL - LOOK_PAUSE):
                    await self._wanted.wait()
            self._wanted.clear()
            try:
                await self._look(tells=True)
            except StoreUnavailable as away:
                log.warning("the overview cannot look at the store: %s", away.detail)

    async def _look(self, *, tells: bool) -> None:
        self._learnt.clear()
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
        elif session_id in self._places and session_id not in self._learnt:
            self._drop(session_id)

    def _has_news(self, header: Header) -> bool:
        known = self._places.get(header.session.id)
        return known is None or not known.is_of(header) or not known.has_all_of(header)

    async def _catch_up(self, header: Header, tells: bool) -> None:
        session_id = header.session.id
        if session_id in self._learnt:
            return
        known = self._places.get(session_id)
        if known is not None and not known.is_of(header):
            # Nobody told of its deletion. Of the one that has its id now, nothing was told yet.
            self._places[session_id] = Place(-1, 0)
            if tells:
                self.tell_deleted(session_id)
        if tells and self._has_news(header):
            await self._tell_news(session_id, header.session.last_seq)
        if session_id not in self._learnt:
            self._remember(session_id, Place(header.version, header.session.last_seq, header.session.created_at))

    async def _tell_news(self, session_id: str, until: int) -> None:
        """Ends early where a wake tells something of this session: then what is read here may be told, or of another one."""
        key = Key(self._owner, session_id)
        known = self._places.get(session_id)
        if known is None:
            newest = await self._store.created(key, after=0, before=EVER, limit=NEWEST, newest=True)
            if session_id in self._learnt:
                return
            known = Place(-1, newest[0].created if len(newest) == NEWEST else 0)
            self._remember(session_id, known)
        while events := await self._store.events(key, after=known.seq, until=until):
            if session_id in self._learnt:
                return
            for event in events:
                if event.type in OVERVIEW_EVENTS:
                    self.tell(session_id, event)
            known.seq = events[-1].seq

    def _drop(self, session_id: str) -> None:
        self._places.pop(session_id, None)
        self.tell_deleted(session_id)

    def _remember(self, session_id: str, place: Place) -> None:
        if session_id not in self._places and len(self._places) >= PLACES:
            del self._places[next(iter(self._places))]
        self._places[session_id] = place


async def writing_sessions(store: Store, owner: str) -> AsyncIterator[Header]:
    """All sessions of an owner that are writing, page by page."""
    after = None
    while page := await store.writing(owner, after=after, limit=PAGE):
        for header in page:
            yield header
        after = page[-1].session.id
