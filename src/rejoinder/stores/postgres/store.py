"""The store in a Postgres database, that any number of processes share.

Read `sql/migrations/` for the tables, and for the function that does a batch in one round trip;
`connections.py` for what happens when the database is away, and `schema.py` for how it is opened.
"""

import asyncio
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Self

import msgspec
from msgspec import structs

from rejoinder.abc import Append, AppendResult, Found, Lease, Row, SessionCursor, Store
from rejoinder.entities import Header, Key, OpenReply
from rejoinder.errors import StoreUnavailable
from rejoinder.events import Event
from rejoinder.postgres_link import STATEMENT_SECONDS, Place, parse
from rejoinder.stores.batch import lost
from rejoinder.stores.postgres.batch import arrays, keys_of, results, staged, wanted
from rejoinder.stores.postgres.connections import Connections
from rejoinder.stores.postgres.schema import bring_up_to_date
from rejoinder.stores.sql import statements
from rejoinder.stores.staging import Piece, is_great, pieces, weight, with_patience

WRITERS = 2
"""Connections that write: one for the batches of this process, one for leases and deletions beside them."""

STAGERS = 1
"""One that stages what is large, so that it holds up neither."""

READERS = 6
"""Connections that read. The questions are short, and one process asks no faster than it can read the answers."""

LAST = (1 << 63) - 1
"""The greatest number that Postgres keeps."""

TRIES = 5
"""Times that a batch is asked again because another process made one of its sessions at the same moment."""

OVER, MADE_JUST_NOW, UNSTAGED = "RJ001", "RJ002", "RJ003"
"""What `append_batch` raises."""

TOO_LATE = "57014"
"""What the server says of a statement that it gave up."""

HEAVY, A_SECOND = 1 << 20, 1 << 20
"""Bytes from which a batch has more time than others, and how many have a second each: a slow server writes some ten times as much."""

MOST_MORE = 600.0
"""Seconds that a batch or a deletion has at most, above what it should need. It has twice as many as before whenever it was given up,
since what is slow for good reason would else be given up for ever."""

DROPPED, DROPS = 2_000, 10
"""Rows of what was staged in vain that are dropped at once, and how often in a row: under a second, for which a renewal waits."""


class PostgresStore(Store):
    exclusive = False

    def __init__(self, place: Place, *, make: bool = True) -> None:
        self._place = place
        self._make = make
        self._opened: tuple[Connections, Connections, Connections] | None = None
        self._staging = asyncio.Lock()
        self._given_up = set[tuple[int, int]]()
        """Numbers under which was staged in vain, with their epochs, until the database knows."""
        self._late = 0.0
        """Seconds that the batch under way has above what it should need, since it was given up."""
        self._late_deletion = 0.0
        """The same for the next deletion: nobody knows how large a session is."""

    @classmethod
    def from_url(cls, url: str, *, make: bool = True) -> Self:
        """`postgresql://user:password@host:port/database`, with options. Raises Misconfigured for anything else."""
        return cls(parse(url), make=make)

    async def __aenter__(self) -> Self:
        await bring_up_to_date(self._place, make=self._make)
        writers, readers, stagers = (Connections(self._place, size) for size in (WRITERS, READERS, STAGERS))
        self._opened = writers, readers, stagers
        return self

    async def __aexit__(self, *exc: object) -> None:
        if self._opened is not None:
            for connections in self._opened:
                await connections.close()

    async def _write(self, name: str, *args: Any, more: float = 0) -> list[Any]:
        if self._opened is None:
            raise StoreUnavailable("The store is not open.")
        return await self._opened[0].fetch(_writes()[name], *args, more=more)

    async def _stage(self, name: str, *args: Any, more: float = 0) -> list[Any]:
        if self._opened is None:
            raise StoreUnavailable("The store is not open.")
        async with self._staging:
            return await self._opened[2].fetch(_writes()[name], *args, more=more)

    async def _read(self, name: str, *args: Any) -> list[Any]:
        if self._opened is None:
            raise StoreUnavailable("The store is not open.")
        return await self._opened[1].fetch(_reads()[name], *args, again=True)

    # leases

    async def acquire_lease(self, worker: str, ttl: float) -> Lease:
        [(epoch,)] = await self._write("give_lease", worker, ttl)
        return Lease(worker, epoch)

    async def renew_lease(self, lease: Lease, ttl: float) -> None:
        if not await self._write("renew_lease", lease.epoch, lease.worker, ttl):
            raise lost(lease)

    async def release_lease(self, lease: Lease) -> None:
        await self._write("drop_lease", lease.epoch, lease.worker)

    async def revoke_expired(self) -> None:
        await self._write("revoke_expired")
        for given_up in tuple(self._given_up):
            await self._write("give_up_staged", *given_up)
            self._given_up.discard(given_up)
        for _ in range(DROPS):
            [(more,)] = await self._write("drop_staged", DROPPED)
            if not more:
                break

    # writing

    async def append(
        self, lease: Lease, number: int, appends: Sequence[Append], *, acknowledged: int = 0
    ) -> list[AppendResult]:
        columns = arrays(appends)
        heavy = sum(weight(append) for append in appends if append.staged is None)
        more = self._late + (heavy / A_SECOND if heavy >= HEAVY else 0)
        for _ in range(TRIES):
            try:
                found = await self._write(
                    "append", lease.epoch, lease.worker, number, *columns, acknowledged, more=more
                )
            except StoreUnavailable as away:
                told = getattr(away.__cause__, "sqlstate", None)
                if told in (OVER, UNSTAGED):
                    raise ValueError(f"Batch {number} of epoch {lease.epoch} cannot be: {away.__cause__}.") from away
                if was_given_up(away) or (more and isinstance(away.__cause__, TimeoutError)):
                    self._late = more_than(self._late)
                if told != MADE_JUST_NOW:
                    raise
            else:
                self._late = 0.0
                if not found or found[0][0] is None:
                    raise lost(lease)
                return results(found[0][0])
        raise StoreUnavailable("Other processes make the same sessions all the time.")

    async def stage(self, lease: Lease, append: Append) -> Append:
        if not is_great(append):
            return append
        begun = await with_patience(lambda _: self._stage("begin_staging", lease.epoch, lease.worker))
        if not begun:
            raise lost(lease)
        [(n,)] = begun
        try:
            for piece in pieces(append):
                await self._put(lease, n, append.key.owner, piece)
        except BaseException:
            self._given_up.add((n, lease.epoch))
            raise
        return structs.replace(append, staged=n)

    async def _put(self, lease: Lease, n: int, owner: str, piece: Piece) -> None:
        columns = staged(owner, piece)

        async def put(tries: int) -> list[Any]:
            return await self._stage("stage", n, lease.epoch, *columns, more=2**tries * (piece.weight / A_SECOND))

        if not await with_patience(put):
            raise lost(lease)

    async def delete(self, key: Key, version: int) -> bool:
        try:
            [(done,)] = await self._write("delete", *key, version, more=self._late_deletion)
        except StoreUnavailable as away:
            if was_given_up(away):
                self._late_deletion = more_than(self._late_deletion)
            raise
        self._late_deletion = 0.0
        return bool(done)

    # compaction

    async def ripe(self, before: str, limit: int) -> list[tuple[Key, str]]:
        return [(Key(owner, session_id), id) for owner, session_id, id in await self._read("ripe", before, limit)]

    async def compact(self, key: Key, message_ids: Collection[str], types: Collection[str]) -> None:
        await self._write("compact", *key, list(message_ids), list(types))

    # reading: the session

    async def header(self, key: Key) -> Header | None:
        found = await self._read("header", *key)
        return _header(found[0]) if found else None

    async def sessions(
        self, owner: str, *, after: SessionCursor | None, limit: int, words: Sequence[str] = ()
    ) -> list[Header]:
        behind = (after.updated_at, after.session_id) if after else ()
        if words:
            found = await self._read("search_sessions", owner, wanted(owner, words), *(behind or (None, None)), limit)
        else:
            found = await self._read("sessions_after" if behind else "sessions", owner, limit, *behind)
        return [_header(record) for record in found]

    async def orphans(self, limit: int) -> list[tuple[Key, OpenReply]]:
        found = await self._read("orphans", limit)
        return [(Key(owner, session_id), _replies.decode(reply)) for owner, session_id, reply in found]

    async def writing(self, owner: str, *, after: str | None, limit: int) -> list[Header]:
        return [_header(record) for record in await self._read("writing", owner, after or "", limit)]

    async def search(self, owner: str, words: Sequence[str], *, limit: int) -> list[Found]:
        found = await self._read("search", owner, wanted(owner, words), limit)
        return [Found(Key(owner, session_id), message_id) for session_id, message_id in found]

    async def keys(self, *, after: Key | None, limit: int) -> list[Key]:
        return keys_of(await self._read("keys_after", limit, *after) if after else await self._read("keys", limit))

    async def idle(self, before: str, limit: int) -> list[Key]:
        return keys_of(await self._read("idle", before, limit))

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
        last = LAST if until is None else _number(until)
        asked = (*key, _number(after), last, limit, max_bytes)
        if message_ids is None:
            found = await self._read("events", *asked)
        else:
            found = await self._read("events_of", *asked, list(message_ids))
        return [Event(*record) for record in found]

    async def events_at(self, key: Key, seqs: Iterable[int]) -> list[Event]:
        return [Event(*record) for record in await self._read("events_at", *key, [_number(seq) for seq in seqs])]

    # reading: the index

    async def rows(self, key: Key, ids: Collection[str]) -> dict[str, Row]:
        return {row.id: row for row in _rows(await self._read("rows", *key, list(ids)))}

    async def children(self, key: Key, parents: Collection[str | None]) -> dict[str | None, list[Row]]:
        named = [parent for parent in parents if parent is not None]
        found: dict[str | None, list[Row]] = {}
        for row in _rows(await self._read("children", *key, named, None in parents)):
            found.setdefault(row.parent_id, []).append(row)
        return found

    async def branch(self, key: Key, tip: str, *, low: int, high: int) -> list[Row]:
        return _rows(await self._read("branch", *key, tip, _number(low), _number(high)))

    async def created(self, key: Key, *, after: int, before: int, limit: int, newest: bool = False) -> list[Row]:
        asked = (*key, _number(after), _number(before), limit)
        found = _rows(await self._read("created_newest" if newest else "created", *asked))
        return found[::-1] if newest else found

    # health

    async def ping(self) -> None:
        await self._write("ping")


# --- from records and to parameters ------------------------------------------------------------------------------


def _header(record: Any) -> Header:
    data, last_seq = record
    kept = _headers.decode(data)
    return structs.replace(kept, session=structs.replace(kept.session, last_seq=last_seq))


def _rows(records: Iterable[Any]) -> list[Row]:
    return [
        Row(id=id, parent_id=parent_id, lane=lane, depth=depth, created=created, ended=ended)
        for id, parent_id, lane, depth, created, ended in records
    ]


def _number(asked: int) -> int:
    return max(-LAST, min(asked, LAST))


def was_given_up(away: StoreUnavailable) -> bool:
    """Whether the server let a statement run, and ended it when its time was over."""
    return getattr(away.__cause__, "sqlstate", None) == TOO_LATE


def more_than(late: float) -> float:
    return min(MOST_MORE, 2 * late + STATEMENT_SECONDS)


def _reads() -> Mapping[str, str]:
    return statements("postgres", "read")


def _writes() -> Mapping[str, str]:
    return statements("postgres", "write")


_headers = msgspec.json.Decoder(Header)
_replies = msgspec.json.Decoder(OpenReply)
