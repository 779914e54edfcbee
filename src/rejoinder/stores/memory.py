"""The store in memory: for tests and trials. What it keeps is gone with the process, everything else it promises.

Headers are kept encoded, so that nothing a caller holds is also what the store holds, and a save that is missing shows.
It lives as long as the object: closed and entered again it has what it had, as a file would.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterable, Iterator, Sequence
from heapq import nlargest, nsmallest
from itertools import count, islice
from typing import Self

import msgspec
from msgspec import Struct, field, structs

from rejoinder.abc import (
    SCANNED,
    Append,
    Appended,
    AppendResult,
    Found,
    Lease,
    NewRow,
    Row,
    SessionCursor,
    Store,
    Text,
)
from rejoinder.entities import Header, Key, OpenReply
from rejoinder.errors import Misconfigured
from rejoinder.events import Event
from rejoinder.stores.batch import Place, check_number, lost, settle
from rejoinder.stores.rows import Rows
from rejoinder.words import has_all


class _Log(Struct):
    """One session with all that belongs to it. Events are in order of seq, rows in order of creation."""

    place: Place
    header: bytes = b""
    open: tuple[OpenReply, ...] = ()
    updated_at: str = ""
    events: list[Event] = []
    rows: Rows = field(default_factory=Rows)
    texts: dict[str | None, Text] = {}
    ripe: dict[str, str] = {}
    """When the messages ended whose events are all there, by id."""

    def read_header(self) -> Header:
        header = _decoder.decode(self.header)
        return structs.replace(header, session=structs.replace(header.session, last_seq=self.place.last_seq))


class _Held(Struct):
    """A lease, and the last batch under it."""

    worker: str
    number: int = 0
    results: tuple[AppendResult, ...] = ()


class MemoryStore(Store):
    exclusive = True

    def __init__(self) -> None:
        self._logs: dict[Key, _Log] = {}
        self._leases: dict[int, _Held] = {}
        self._epochs = count(1)

    @classmethod
    def from_url(cls, url: str, *, make: bool = True) -> Self:
        """`memory:`. Raises Misconfigured for anything behind it, and for a store that is to be there already."""
        if url.partition(":")[2].strip("/"):
            raise Misconfigured("The store in memory has no name: write memory: and nothing behind it.")
        if not make:
            raise Misconfigured("There is no store at memory: but that of a process, which no other one can reach.")
        return cls()

    async def __aenter__(self) -> Self:
        self._leases.clear()
        return self

    async def __aexit__(self, *exc: object) -> None:
        """There is nothing to close."""

    # leases

    async def acquire_lease(self, worker: str, ttl: float) -> Lease:
        lease = Lease(worker, next(self._epochs))
        self._leases[lease.epoch] = _Held(worker)
        return lease

    async def renew_lease(self, lease: Lease, ttl: float) -> None:
        self._held(lease)

    async def release_lease(self, lease: Lease) -> None:
        self._leases.pop(lease.epoch, None)

    async def revoke_expired(self) -> None:
        """None has a time: opening revoked them all."""

    def _held(self, lease: Lease) -> _Held:
        held = self._leases.get(lease.epoch)
        if held is None or held.worker != lease.worker:
            raise lost(lease)
        return held

    # writing

    async def append(
        self, lease: Lease, number: int, appends: Sequence[Append], *, acknowledged: int = 0
    ) -> list[AppendResult]:
        held = self._held(lease)
        check_number(lease, number, held.number, acknowledged)
        if number > held.number:
            results, _ = settle(appends, self._place)
            for append, result in zip(appends, results, strict=True):
                if isinstance(result, Appended):
                    self._write(append, result.first)
            held.number, held.results = number, tuple(results)
        return list(held.results)

    def _place(self, key: Key) -> Place | None:
        log = self._logs.get(key)
        return log.place if log else None

    def _write(self, append: Append, first: int) -> None:
        log = self._logs.setdefault(append.key, _Log(Place(0, 0)))
        log.events += (
            Event(first + at, draft.type, draft.message_id, draft.data) for at, draft in enumerate(append.drafts)
        )
        version = log.place.version
        if append.header is not None:
            version = append.header.version
            log.header = msgspec.json.encode(append.header)
            log.open, log.updated_at = append.header.open, append.header.session.updated_at
        log.place = Place(version, first + len(append.drafts) - 1)
        for new in sorted(append.created, key=lambda row: row.at):
            _add_row(log, new, first)
        for ended in append.ended:
            log.rows.end(ended.id, first + ended.at)
            log.ripe[ended.id] = ended.ended_at
        for text in append.texts:
            log.texts.pop(text.message_id, None)
            if text.words:
                log.texts[text.message_id] = text

    async def delete(self, key: Key, version: int) -> bool:
        log = self._logs.get(key)
        if log is not None and log.place.version != version:
            return False
        self._logs.pop(key, None)
        return True

    # compaction

    async def ripe(self, before: str, limit: int) -> list[tuple[Key, str]]:
        found = (
            (ended_at, key, message_id)
            for key, log in self._logs.items()
            for message_id, ended_at in log.ripe.items()
            if ended_at < before
        )
        return [(key, message_id) for _, key, message_id in nsmallest(limit, found)]

    async def compact(self, key: Key, message_ids: Collection[str], types: Collection[str]) -> None:
        log = self._logs.get(key)
        if log is None:
            return
        ends = {row.id: row.ended for row in log.rows.pick(message_ids).values() if row.ended is not None}
        log.events = [
            event for event in log.events if event.type not in types or event.seq >= ends.get(event.message_id or "", 0)
        ]
        for message_id in ends:
            log.ripe.pop(message_id, None)

    # reading: the session

    async def header(self, key: Key) -> Header | None:
        log = self._logs.get(key)
        return log.read_header() if log else None

    async def sessions(
        self, owner: str, *, after: SessionCursor | None, limit: int, words: Sequence[str] = ()
    ) -> list[Header]:
        places = sorted(
            ((log.updated_at, key.session_id) for key, log in self._logs.items() if key.owner == owner), reverse=True
        )
        if after is not None:
            places = [place for place in places if place < (after.updated_at, after.session_id)]
        if words:
            found = {key.session_id for key, _ in self._having(owner, words)}
            places = [place for place in places if place[1] in found]
        return [self._logs[Key(owner, session_id)].read_header() for _, session_id in places[:limit]]

    async def orphans(self, limit: int) -> list[tuple[Key, OpenReply]]:
        found = (
            (key, reply)
            for key, log in self._logs.items()
            for reply in log.open
            if reply.epoch is not None and reply.epoch not in self._leases
        )
        return [orphan for orphan, _ in zip(found, range(limit), strict=False)]

    async def search(self, owner: str, words: Sequence[str], *, limit: int) -> list[Found]:
        found = (Found(key, text.message_id) for key, text in self._having(owner, words) if text.message_id is not None)
        return list(islice(found, limit))

    def _having(self, owner: str, words: Sequence[str]) -> Iterator[tuple[Key, Text]]:
        """The owner's texts that are found by these words, among the latest; the latest first."""
        texts = (
            (text.at, key, text)
            for key, log in self._logs.items()
            if key.owner == owner
            for text in reversed(log.texts.values())
        )
        for _, key, text in nlargest(SCANNED, texts, key=lambda found: found[0]):
            if has_all(text.words.split(" "), words):
                yield key, text

    async def keys(self, *, after: Key | None, limit: int) -> list[Key]:
        return nsmallest(limit, (key for key in self._logs if after is None or key > after))

    async def idle(self, before: str, limit: int) -> list[Key]:
        found = ((log.updated_at, key) for key, log in self._logs.items() if log.updated_at < before)
        return [key for _, key in nsmallest(limit, found)]

    # reading: the log

    async def events(
        self,
        key: Key,
        *,
        after: int,
        until: int | None = None,
        message_ids: Collection[str] | None = None,
        limit: int = 1_000,
        max_bytes: int = 1 << 20,
    ) -> list[Event]:
        found: list[Event] = []
        size = 0
        log = self._logs.get(key)
        events = log.events if log else []
        for place in range(bisect_right(events, after, key=_seq), len(events)):
            event = events[place]
            if (until is not None and event.seq > until) or len(found) >= limit or size >= max_bytes:
                break
            if message_ids is None or event.message_id in message_ids:
                found.append(event)
                size += len(event.data)
        return found

    async def events_at(self, key: Key, seqs: Iterable[int]) -> list[Event]:
        log = self._logs.get(key)
        events = log.events if log else []
        found = []
        for seq in sorted(set(seqs)):
            place = bisect_left(events, seq, key=_seq)
            if place < len(events) and events[place].seq == seq:
                found.append(events[place])
        return found

    # reading: the index

    async def rows(self, key: Key, ids: Collection[str]) -> dict[str, Row]:
        log = self._logs.get(key)
        return log.rows.pick(ids) if log else {}

    async def children(self, key: Key, parents: Collection[str | None]) -> dict[str | None, list[Row]]:
        log = self._logs.get(key)
        return log.rows.children(parents) if log else {}

    async def branch(self, key: Key, tip: str, *, low: int, high: int) -> list[Row]:
        log = self._logs.get(key)
        return log.rows.branch(tip, low, high) if log else []

    async def created(self, key: Key, *, after: int, before: int, limit: int, newest: bool = False) -> list[Row]:
        log = self._logs.get(key)
        return log.rows.created(after, before, limit, newest) if log else []

    # reading: what is being written

    async def writing(self, owner: str, *, after: str | None, limit: int) -> list[Header]:
        found = sorted(key.session_id for key, log in self._logs.items() if log.open and key.owner == owner)
        behind = bisect_right(found, after) if after is not None else 0
        return [self._logs[Key(owner, session_id)].read_header() for session_id in found[behind : behind + limit]]

    # health

    async def ping(self) -> None:
        """Memory can always be written."""


def _add_row(log: _Log, new: NewRow, first: int) -> None:
    created = first + new.at
    log.rows.add(
        Row(
            id=new.id,
            parent_id=new.parent_id,
            lane=new.lane,
            depth=new.depth,
            created=created,
            ended=created if new.ended else None,
        )
    )


def _seq(event: Event) -> int:
    return event.seq


_decoder = msgspec.json.Decoder(Header)
