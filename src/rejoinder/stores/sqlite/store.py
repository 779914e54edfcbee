"""The store in one SQLite file: an own thread commits, some others read, and what was acknowledged is on the disk.

Read `sql/migrations/` for the tables and why they are so, `file.py` for the file and how it is opened,
`batch.py` and `staging.py` for appends, `search.py` and `growth.py`, and `reads.py` for the rest.
"""

import asyncio
import contextlib
import logging
import sqlite3
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Concatenate, ParamSpec, Self, TypeVar

from msgspec import structs

from rejoinder.abc import Append, AppendResult, Found, Lease, Row, SessionCursor, Store
from rejoinder.entities import Header, Key, OpenReply
from rejoinder.errors import Misconfigured, StoreUnavailable
from rejoinder.events import Event
from rejoinder.stores.sql import statements
from rejoinder.stores.sqlite import growth, reads, staging
from rejoinder.stores.sqlite import search as searching
from rejoinder.stores.sqlite.batch import Places, append_batch
from rejoinder.stores.sqlite.threads import SqliteThreads
from rejoinder.stores.staging import Piece, is_great, pieces, with_patience

log = logging.getLogger(__name__)

FEW = 128
"""Rows by their keys that are read at once; more are left to another thread."""

AT_ONCE = 1_500
"""Events that are written where they are asked for, some 5 ms; more are left to another thread."""

OVERWRITING = 1.0
"""Seconds for which a deletion waits until all that it leaves is overwritten: with some thousand messages. It has an answer while who
asked for it is there to hear it; more goes on behind it."""

P = ParamSpec("P")
T = TypeVar("T")


class SqliteStore(Store):
    exclusive = True

    def __init__(self, path: Path, *, make: bool = True) -> None:
        self._path = path
        self._make = make
        self._places = Places()
        self._opened: SqliteThreads | None = None
        self._untidy = False
        """Whether a deletion could not overwrite all that it leaves."""
        self._long = asyncio.Lock()
        self._dropping: set[asyncio.Task[None]] = set()
        self._given_up: set[tuple[Lease, int]] = set()
        """What was staged in vain, until that is committed."""

    @classmethod
    def from_url(cls, url: str, *, make: bool = True) -> Self:
        """`sqlite:///relative/path` or `sqlite:////absolute/path`. Raises Misconfigured for anything else."""
        path = url.removeprefix("sqlite:///")
        if path == url or not path:
            raise Misconfigured(
                "A SQLite store is named by a path: sqlite:///relative/path or, with four slashes, sqlite:////absolute/path."
            )
        if path == ":memory:":
            raise Misconfigured("Rejoinder has a store in memory of its own: write memory:.")
        if "?" in path or "\0" in path:
            raise Misconfigured("A SQLite store takes no options, and its path holds neither ? nor NUL.")
        return cls(Path(path), make=make)

    async def __aenter__(self) -> Self:
        # Resolved, so that two links to one file have one lock.
        threads = SqliteThreads(self._path.resolve(), self._places.forget, make=self._make)
        await threads.open()
        self._opened = threads
        threads.write_behind(self._tidy_up)  # what a process left that was killed
        return self

    async def __aexit__(self, *exc: object) -> None:
        for dropping in self._dropping:
            dropping.cancel()  # the next start goes on
        await self._threads.close()

    @property
    def _threads(self) -> SqliteThreads:
        if self._opened is None:
            raise StoreUnavailable("The store is not open.")
        return self._opened

    # leases

    async def acquire_lease(self, worker: str, ttl: float) -> Lease:
        return Lease(worker, await self._threads.write(_give_lease, worker))

    async def renew_lease(self, lease: Lease, ttl: float) -> None:
        await self._threads.read(reads.check_lease, lease)

    async def release_lease(self, lease: Lease) -> None:
        await self._threads.write(_drop_lease, lease)
        self._threads.write_behind(self._tidy_up)

    async def revoke_expired(self) -> None:
        """None has a time: opening revoked them all."""

    # writing

    async def append(
        self, lease: Lease, number: int, appends: Sequence[Append], *, acknowledged: int = 0
    ) -> list[AppendResult]:
        write = self._threads.write_from_here if _weight(appends) <= AT_ONCE else self._threads.write
        results = await write(append_batch, self._places, lease, number, acknowledged, appends)
        if self._places.texts.are_many or any(append.staged is not None for append in appends):
            # In the thread, since long ones take it long.
            self._threads.write_behind(self._tidy_up)
        return results

    async def stage(self, lease: Lease, append: Append) -> Append:
        if not is_great(append):
            return append
        n = await with_patience(lambda _: self._beside(staging.begin, lease))
        try:
            for piece in pieces(append):

                async def put(_: int, piece: Piece = piece) -> None:
                    await self._beside(staging.put, self._places.texts, lease, n, append.key.owner, piece)

                await with_patience(put)
        except BaseException:
            self._given_up.add((lease, n))
            self._threads.write_behind(self._tidy_up)
            raise
        return structs.replace(append, staged=n)

    async def delete(self, key: Key, version: int) -> bool:
        done, left = await self._threads.write(growth.delete, self._places, key, version)
        if left is not None:
            dropping = asyncio.create_task(self._drop(left), name="what a deletion left")
            self._dropping.add(dropping)
            dropping.add_done_callback(self._dropping.discard)
            await asyncio.wait({dropping}, timeout=OVERWRITING)
        return done

    async def _drop(self, left: int) -> None:
        """Raises nothing: the deletion is committed, and whoever reads the session must be told."""
        try:
            while await self._beside(growth.drop_some, left):
                pass
            await self._threads.tidy(growth.forget)
        except StoreUnavailable as away:
            self._untidy = True
            log.warning("what was deleted is not overwritten everywhere yet: %s", away.detail)

    async def _beside(
        self, work: Callable[Concatenate[sqlite3.Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """A portion of what is long. One at a time, so that others wait for one alone."""
        async with self._long:
            return await self._threads.write(work, *args, **kwargs)

    # compaction

    async def ripe(self, before: str, limit: int) -> list[tuple[Key, str]]:
        return await self._threads.read(reads.ripe, before, limit)

    async def compact(self, key: Key, message_ids: Collection[str], types: Collection[str]) -> None:
        await self._threads.write(growth.compact, self._places, key, message_ids, types)
        if self._untidy:
            while await self._beside(growth.drop_some):
                pass
            await self._threads.tidy(growth.forget)
            self._untidy = False
            return
        await self._threads.tidy(growth.give_back)

    # reading: the session

    async def header(self, key: Key) -> Header | None:
        return self._threads.glance(reads.header, key)

    async def sessions(
        self, owner: str, *, after: SessionCursor | None, limit: int, words: Sequence[str] = ()
    ) -> list[Header]:
        if words:
            await self._learn_texts()
            return await self._threads.read(searching.sessions, owner, after, limit, words)
        return await self._threads.read(reads.sessions, owner, after, limit)

    async def orphans(self, limit: int) -> list[tuple[Key, OpenReply]]:
        return await self._threads.read(reads.orphans, limit)

    async def search(self, owner: str, words: Sequence[str], *, limit: int) -> list[Found]:
        await self._learn_texts()
        return await self._threads.read(searching.search, owner, words, limit)

    async def keys(self, *, after: Key | None, limit: int) -> list[Key]:
        return await self._threads.read(reads.keys, after, limit)

    async def idle(self, before: str, limit: int) -> list[Key]:
        return await self._threads.read(reads.idle, before, limit)

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
        return await self._threads.read(reads.events, key, after, until, message_ids, limit, max_bytes)

    async def events_at(self, key: Key, seqs: Iterable[int]) -> list[Event]:
        wanted = tuple(seqs)
        return await self._few(len(wanted), reads.events_at, key, wanted)

    # reading: the index

    async def rows(self, key: Key, ids: Collection[str]) -> dict[str, Row]:
        return await self._few(len(ids), reads.rows, key, tuple(ids))

    async def children(self, key: Key, parents: Collection[str | None]) -> dict[str | None, list[Row]]:
        return await self._few(len(parents), reads.children, key, tuple(parents))

    async def branch(self, key: Key, tip: str, *, low: int, high: int) -> list[Row]:
        return await self._few(high - low, reads.branch, key, tip, low, high)

    async def created(self, key: Key, *, after: int, before: int, limit: int, newest: bool = False) -> list[Row]:
        return await self._threads.read(reads.created, key, after, before, limit, newest)

    # reading: what is being written

    async def writing(self, owner: str, *, after: str | None, limit: int) -> list[Header]:
        return await self._threads.read(reads.writing, owner, after, limit)

    # health

    async def ping(self) -> None:
        await self._threads.write(_ping)

    async def _learn_texts(self) -> None:
        """Brings to the index of words what it does not know yet. Where nothing can be written, what it knows is found."""
        if self._places.texts.wait:
            with contextlib.suppress(StoreUnavailable):
                until, last = await self._threads.write(self._places.texts.learn)
                while until < last:  # what comes meanwhile need not be found
                    until, _ = await self._threads.write(self._places.texts.learn)

    def _tidy_up(self, connection: sqlite3.Connection) -> bool:
        """In the writer's thread: a portion of what nobody waits for. Returns whether there is more."""
        for given_up in tuple(self._given_up):
            if not staging.give_up(connection, *given_up):
                self._given_up.discard(given_up)
        if self._given_up:
            return True
        if growth.drop_some(connection):
            self._untidy = True
            return True
        if self._places.texts.are_many:
            self._places.texts.learn(connection)
        return self._places.texts.are_many

    async def _few(
        self, count: int, work: Callable[Concatenate[sqlite3.Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        if count <= FEW:
            return self._threads.glance(work, *args, **kwargs)
        return await self._threads.read(work, *args, **kwargs)


def _weight(appends: Sequence[Append]) -> int:
    """How long it takes to write them, in events. A delta is short; what may be long comes with a header, or has words."""
    weight = 0
    for append in appends:
        weight += len(append.drafts)
        if append.header is not None or append.texts:
            weight += append.size // 1_024 + 10 * len(append.texts)
    return weight


# --- in the writer's thread --------------------------------------------------------------------------------------


def _give_lease(connection: sqlite3.Connection, worker: str) -> int:
    return connection.execute(_sql()["give_lease"], {"worker": worker}).lastrowid or 0


def _drop_lease(connection: sqlite3.Connection, lease: Lease) -> None:
    if connection.execute(_sql()["drop_lease"], {"epoch": lease.epoch, "worker": lease.worker}).rowcount:
        connection.execute(_sql()["give_up_staged_under"], {"epoch": lease.epoch})


def _ping(connection: sqlite3.Connection) -> None:
    connection.execute(_sql()["ping"])


def _sql() -> Mapping[str, str]:
    return statements("sqlite", "write")
