"""The store in Redis, for any number of processes: streams, hashes and sorted sets, and one Lua script for each change.

Read `lua/common.lua` for what lies where, `lua/append.lua` for appends, `portions.py` for what is long, and
`opening.py` for what the settings of a server mean for the promise.
"""

import asyncio
from collections.abc import Collection, Iterable, Sequence
from typing import Self

from msgspec import structs
from redis.exceptions import TimeoutError as NotInTime

from rejoinder.abc import SCANNED, Append, AppendResult, Found, Lease, Row, SessionCursor, Store
from rejoinder.entities import Header, Key, OpenReply
from rejoinder.errors import StoreUnavailable
from rejoinder.events import Event
from rejoinder.redis_link import ANSWER_SECONDS, RedisUrl
from rejoinder.stores.batch import lost
from rejoinder.stores.redis import batch as batches
from rejoinder.stores.redis import index, values
from rejoinder.stores.redis.client import RedisClient, more_seconds
from rejoinder.stores.redis.index import PIECE, pieces
from rejoinder.stores.redis.names import name_of, pack, unpack
from rejoinder.stores.redis.opening import NOTED, open_redis
from rejoinder.stores.redis.portions import Portions
from rejoinder.stores.staging import is_great

MOST_MORE = 600.0
"""Seconds that a batch has at most, above what it should need. It has twice as many as before whenever it was late: a batch comes again
until it is done, and whatever else is to be written waits behind it."""

LAST = 10**16 - 1
"""More than the greatest seq."""


class RedisStore(Store):
    exclusive = False

    def __init__(self, url: RedisUrl, *, make: bool = True) -> None:
        self._url = url
        self._make = make
        self._opened: tuple[RedisClient, Portions] | None = None
        self._late = 0.0
        """Seconds that the batch under way has above what it should need, since it was late."""

    @classmethod
    def from_url(cls, url: str, *, make: bool = True) -> Self:
        """Raises Misconfigured for a URL that is not `redis_link.FORM`."""
        return cls(RedisUrl.parse(url), make=make)

    async def __aenter__(self) -> Self:
        client = RedisClient(self._url)
        try:
            await open_redis(client, self._url, make=self._make)
        except BaseException:
            await client.close()
            raise
        self._opened = client, Portions(client)
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._portions.close()
        await self._client.close()

    @property
    def _client(self) -> RedisClient:
        if self._opened is None:
            raise StoreUnavailable("The store is not open.")
        return self._opened[0]

    @property
    def _portions(self) -> Portions:
        if self._opened is None:
            raise StoreUnavailable("The store is not open.")
        return self._opened[1]

    # leases

    async def acquire_lease(self, worker: str, ttl: float) -> Lease:
        return Lease(worker, await self._client.write("acquire", worker, _milliseconds(ttl), NOTED))

    async def renew_lease(self, lease: Lease, ttl: float) -> None:
        if not await self._client.write("renew", lease.epoch, lease.worker, _milliseconds(ttl)):
            raise lost(lease)

    async def release_lease(self, lease: Lease) -> None:
        await self._client.write("release", lease.epoch, lease.worker)

    async def revoke_expired(self) -> None:
        await self._client.write("revoke")
        self._portions.go_on()  # with what dead workers left

    # writing

    async def append(
        self, lease: Lease, number: int, appends: Sequence[Append], *, acknowledged: int = 0
    ) -> list[AppendResult]:
        heavy = more_seconds(sum(append.size for append in appends if append.staged is None))
        more = self._late + heavy if heavy else 0
        batch = lease, number, acknowledged, appends
        # In a thread, what would hold up everybody for as long as a second.
        arguments = await asyncio.to_thread(batches.arguments, *batch) if more else batches.arguments(*batch)
        try:
            answer = await self._client.write("append", *arguments, more=more)
        except StoreUnavailable as away:
            if more and isinstance(away.__cause__, NotInTime):
                self._late = min(MOST_MORE, 2 * self._late + ANSWER_SECONDS)
            raise
        self._late = 0.0
        if any(append.staged is not None for append in appends):
            self._portions.go_on()
        return batches.results(answer, lease, number, acknowledged)

    async def stage(self, lease: Lease, append: Append) -> Append:
        if not is_great(append):
            return append
        return structs.replace(append, staged=await self._portions.stage(lease, append))

    async def delete(self, key: Key, version: int) -> bool:
        done = await self._client.write("delete", pack(key.owner), pack(key.session_id), version)
        self._portions.go_on()
        return bool(done)

    # compaction

    async def ripe(self, before: str, limit: int) -> list[tuple[Key, str]]:
        await self._portions.finish()
        found = await self._first("ripe", before, limit)
        return [(Key(owner, session_id), message_id) for _, owner, session_id, message_id in found]

    async def compact(self, key: Key, message_ids: Collection[str], types: Collection[str]) -> None:
        ended = [row for row in (await self.rows(key, message_ids)).values() if row.ended is not None]
        for some in pieces(ended, PIECE):
            await self._compact(key, some, sorted(types))

    async def _compact(self, key: Key, rows: Sequence[Row], types: Sequence[str]) -> None:
        name, first = name_of(key), min(row.created for row in rows)
        ends = [part for row in rows for part in (row.id, row.ended or 0)]
        before: bytes | int = max(row.ended or 0 for row in rows)
        while before != b"":
            before = await self._client.write("compact", name, first, before, len(rows), *ends, *types)
        await self._client.write("compacted", name, *(pack(row.id) for row in rows))

    # reading: the session

    async def header(self, key: Key) -> Header | None:
        return values.header(*await self._client.get(*self._asked(name_of(key))))

    def _asked(self, name: bytes) -> tuple[bytes | str, ...]:
        return "HMGET", self._client.key("session", name), "header", "last"

    async def sessions(
        self, owner: str, *, after: SessionCursor | None, limit: int, words: Sequence[str] = ()
    ) -> list[Header]:
        if words:
            return await self._sessions_with(owner, after, limit, words)
        high = "+" if after is None else b"(" + pack(after.updated_at, after.session_id)
        kept = await self._client.read("sessions", pack(owner), high, limit)
        return _headers(kept)

    async def _sessions_with(
        self, owner: str, after: SessionCursor | None, limit: int, words: Sequence[str]
    ) -> list[Header]:
        ids = list({session_id for session_id, _ in await self._texts(owner, words)})
        places: list[tuple[str, str]] = []
        for some in pieces(ids, PIECE):
            keys = [self._client.key("session", pack(owner, session_id)) for session_id in some]
            times = await self._client.get_each(*(("HGET", key, "updated") for key in keys))
            places += ((at.decode(), session_id) for at, session_id in zip(times, some, strict=True) if at)
        if after is not None:
            places = [place for place in places if place < (after.updated_at, after.session_id)]
        places.sort(reverse=True)
        kept = await self._client.get_each(*(self._asked(pack(owner, found)) for _, found in places[:limit]))
        return [found for one in kept if (found := values.header(*one))]

    async def orphans(self, limit: int) -> list[tuple[Key, OpenReply]]:
        kept = await self._client.read("orphans", limit)
        found: list[tuple[Key, OpenReply]] = []
        for epoch, name, header in zip(kept[::3], kept[1::3], kept[2::3], strict=True):
            owner, session_id = unpack(name)
            replies = values.headers.decode(header).open
            found += ((Key(owner, session_id), reply) for reply in replies if reply.epoch == int(epoch))
        return found[:limit]

    async def writing(self, owner: str, *, after: str | None, limit: int) -> list[Header]:
        low = "-" if after is None else b"(" + pack(after)
        kept = await self._client.read("writing", pack(owner), low, limit)
        return _headers(kept)

    async def search(self, owner: str, words: Sequence[str], *, limit: int) -> list[Found]:
        texts = await self._texts(owner, words, messages=limit)
        found = [Found(Key(owner, session_id), field[1:]) for session_id, field in texts if field.startswith("m")]
        return found[:limit]

    async def _texts(self, owner: str, words: Sequence[str], messages: int = SCANNED) -> list[tuple[str, str]]:
        """Session and field of each text that has the words, the latest first, among the latest `SCANNED`.

        So many messages are enough.
        """
        await self._portions.learn()
        found: list[tuple[str, str]] = []
        place: bytes | str = "+"
        looked = 0
        while place and looked < SCANNED and sum(field.startswith("m") for _, field in found) < messages:
            place, some, *members = await self._client.read("search", pack(owner), place, PIECE, *words)
            looked += some
            found += ((session_id, field) for _, session_id, field in map(unpack, members))
        return found

    async def keys(self, *, after: Key | None, limit: int) -> list[Key]:
        low = "-" if after is None else b"(" + name_of(after)
        members = await self._client.get(
            "ZRANGE", self._client.key("keys"), low, "+", "BYLEX", "LIMIT", 0, min(limit, LAST)
        )
        return [Key(*unpack(member)) for member in members]

    async def idle(self, before: str, limit: int) -> list[Key]:
        return [Key(owner, session_id) for _, owner, session_id in await self._first("idle", before, limit)]

    async def _first(self, kind: str, before: str, limit: int) -> list[list[str]]:
        """The first members of a set that begins with a time."""
        high = b"(" + pack(before)
        members = await self._client.get("ZRANGE", self._client.key(kind), "-", high, "BYLEX", "LIMIT", 0, limit)
        return [unpack(member) for member in members]

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
        if message_ids is not None and not message_ids:
            return []
        name, high, ids = name_of(key), LAST if until is None else min(until, LAST), set(message_ids or ())
        found: list[Event] = []
        place: bytes | int = min(max(after, 0), LAST)
        while place != b"" and len(found) < limit and max_bytes > 0:
            place, *kept = await self._client.read("events", name, place, high, limit - len(found), max_bytes, *ids)
            more = values.events(kept)
            found += more
            max_bytes -= sum(len(event.data) for event in more)
        return found

    async def events_at(self, key: Key, seqs: Iterable[int]) -> list[Event]:
        left = sorted(seq for seq in set(seqs) if 0 < seq < LAST)
        found: list[Event] = []
        while left:
            looked, *kept = await self._client.read("events_at", name_of(key), *left[:PIECE])
            found += values.events(kept)
            left = left[int(looked) :]
        return found

    # reading: the index

    async def rows(self, key: Key, ids: Collection[str]) -> dict[str, Row]:
        return await index.rows(self._client, key, ids)

    async def children(self, key: Key, parents: Collection[str | None]) -> dict[str | None, list[Row]]:
        return await index.children(self._client, key, parents)

    async def branch(self, key: Key, tip: str, *, low: int, high: int) -> list[Row]:
        return await index.branch(self._client, key, tip, low, high)

    async def created(self, key: Key, *, after: int, before: int, limit: int, newest: bool = False) -> list[Row]:
        return await index.created(self._client, key, after, before, limit, newest)

    # health

    async def ping(self) -> None:
        await self._client.set("SET", self._client.key("ping"), "pong")


def _milliseconds(seconds: float) -> int:
    return max(1, round(seconds * 1_000))


def _headers(kept: Sequence[bytes | None]) -> list[Header]:
    """Of header and last seq in turn; a session that has gone meanwhile is left out."""
    return [found for header, last in zip(kept[::2], kept[1::2], strict=True) if (found := values.header(header, last))]
