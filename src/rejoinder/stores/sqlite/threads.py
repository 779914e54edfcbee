"""The threads of a SQLite store: one that writes, a few that read, and errors that a caller can act on.

One connection writes, one transaction after the other; that also keeps clear of the fault that SQLite before 3.51.3 has
where several connections write at once. Readers neither wait for it nor make it wait. What takes less time than the way to
another thread and back is done where it is asked for: a read of a few rows by their keys, and the rows of an append. The
disk is waited for in the writer's thread, and checkpoints are its own.
"""

import asyncio
import contextlib
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue
from typing import Concatenate, ParamSpec, TypeVar

from rejoinder.errors import StoreUnavailable
from rejoinder.stores.file_lock import FileLock
from rejoinder.stores.sqlite.file import BUSY, check_file, check_place, open_reader, open_writer, opening
from rejoinder.stores.threads import READERS, Threads

OURS = (sqlite3.IntegrityError, sqlite3.DataError, sqlite3.ProgrammingError, sqlite3.InterfaceError)
"""Errors that say that we asked for something wrong. To ask again never helps, so they are not StoreUnavailable."""

MOMENT = 0.1
"""Seconds that what could as well be done later waits for others."""

LATER = 5.0
"""Seconds until what could as well be done later is tried again, where it could not be done."""

P = ParamSpec("P")
T = TypeVar("T")
Work = Callable[Concatenate[sqlite3.Connection, P], T]


class Locked(StoreUnavailable):
    """Another program has locked the file."""


class SqliteThreads:
    """`write` and `read` run work on a connection in a thread. Work that has begun ends, also if its call is cancelled."""

    def __init__(self, path: Path, on_rollback: Callable[[], None], *, make: bool = True) -> None:
        self._path = path
        self._make = make
        self._on_rollback = on_rollback
        self._lock = FileLock(path.with_name(path.name + ".lock"))
        self._writer: sqlite3.Connection | None = None
        self._readers: list[sqlite3.Connection] = []
        self._glancing: sqlite3.Connection | None = None
        self._idle: SimpleQueue[sqlite3.Connection] = SimpleQueue()
        self._threads = Threads("sqlite")
        self._behind: asyncio.Future[bool] | None = None
        self._behind_again = False
        self._waits = BUSY
        """How long the writer's statements wait for locks of other programs, in seconds."""

    async def open(self) -> None:
        """Raises as opening a store does, and then leaves nothing open."""
        try:
            await self._threads.write(self._open)
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Returns when all work that was begun has ended and the file is let go, also if it is cancelled meanwhile."""
        # The writer's connection is the last to close: it leaves the database whole, without a write-ahead log beside it.
        await self._threads.close(lambda: None, self._let_go)

    async def write(self, work: Work[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Runs work in a transaction of its own: all of it is committed, or nothing. Raises StoreUnavailable."""
        return await self._threads.write(lambda: self._transaction(lambda writer: work(writer, *args, **kwargs)))

    async def write_from_here(self, work: Work[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The same, for work of a few milliseconds: it is done at once, in the caller's thread, and committed in the writer's. Where
        that has something else to do, or another program has locked the file, all of it is done there.

        For each statement a thread beside a busy event loop has to win the interpreter back.
        """
        done = None
        with contextlib.suppress(Locked):
            done = self._threads.writing.do_from_here(
                lambda: self._begun(lambda writer: work(writer, *args, **kwargs), wait=0), self._committed
            )
        return await (done or self.write(work, *args, **kwargs))

    def write_behind(self, work: Callable[[sqlite3.Connection], bool]) -> None:
        """Runs work in a transaction behind all that is written now, and again behind what is to be written then while it returns True.

        Nobody waits for it, and where it cannot be done it is tried again later. Where it is asked for while it is under way, it is
        done again.
        """

        def go_on(done: "asyncio.Future[bool]") -> None:
            self._behind, asked = None, self._behind_again
            if done.cancelled():
                return
            if isinstance(done.exception(), StoreUnavailable):
                asyncio.get_running_loop().call_later(LATER, self.write_behind, work)
            elif done.result() or asked:
                self.write_behind(work)

        self._behind_again = self._behind is not None
        if self._behind is None:
            with contextlib.suppress(StoreUnavailable):  # it is closed
                self._behind = self._threads.writing.do(lambda: self._transaction(work))
                self._behind.add_done_callback(go_on)

    async def read(self, work: Work[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Runs work that asks on one state of the store: of this moment, or a later one. Raises StoreUnavailable."""
        return await self._threads.read(lambda: self._query(lambda reader: work(reader, *args, **kwargs)))

    def glance(self, work: Work[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Does at once, in the caller's thread, what `read` would do: for a few rows by their keys. Raises StoreUnavailable."""
        if self._glancing is None:
            raise StoreUnavailable("The store is not open.")
        with _unavailable("read"):
            return work(self._glancing, *args, **kwargs)

    async def tidy(self, work: Callable[[sqlite3.Connection], None]) -> None:
        """Runs what is no change of what is kept, between two transactions. Raises StoreUnavailable."""
        await self._threads.write(lambda: self._tidy(work))

    # in the threads, or from here

    def _open(self) -> None:
        with opening(self._path):
            check_place(self._path, make=self._make)  # before the lock, which is a file as well
            self._lock.acquire()
            check_file(self._path)
            self._writer = open_writer(self._path)
            for _ in range(READERS):
                reader = open_reader(self._path)
                self._readers.append(reader)
                self._idle.put(reader)
            self._glancing = open_reader(self._path)

    def _let_go(self) -> None:
        glancing, self._glancing = self._glancing, None
        for connection in (*self._readers, glancing, self._writer):
            if connection is not None:
                connection.close()
        self._lock.release()

    def _transaction(self, work: Callable[[sqlite3.Connection], T]) -> T:
        return self._committed(self._begun(work, wait=BUSY))

    def _begun(self, work: Callable[[sqlite3.Connection], T], *, wait: float) -> T:
        """Begins a transaction with what the work writes. Raises Locked where another program has locked the file for so many seconds."""
        with self._all_or_nothing() as writer:
            if writer.in_transaction:  # it was broken off before it could be committed
                self._on_rollback()
                writer.execute("ROLLBACK")
            self._wait_for_locks(writer, wait)
            writer.execute("BEGIN IMMEDIATE")
            return work(writer)

    def _committed(self, result: T) -> T:
        with self._all_or_nothing() as writer:
            writer.execute("COMMIT")
        return result

    @contextmanager
    def _all_or_nothing(self) -> Iterator[sqlite3.Connection]:
        writer = self._writer
        if writer is None:
            raise StoreUnavailable("The store is not open.")
        with _unavailable("written"):
            try:
                yield writer
            except BaseException:
                self._on_rollback()
                if writer.in_transaction:
                    writer.execute("ROLLBACK")
                raise

    def _tidy(self, work: Callable[[sqlite3.Connection], None]) -> None:
        with self._all_or_nothing() as writer:
            # Whoever reads longer than a moment (a backup) is not waited for: what is left is done another time.
            self._wait_for_locks(writer, MOMENT)
            work(writer)

    def _wait_for_locks(self, writer: sqlite3.Connection, seconds: float) -> None:
        if seconds != self._waits:
            writer.execute(f"PRAGMA busy_timeout = {seconds * 1_000:.0f}")
            self._waits = seconds

    def _query(self, work: Callable[[sqlite3.Connection], T]) -> T:
        reader = self._idle.get()
        try:
            with _unavailable("read"):
                return work(reader)
        finally:
            self._idle.put(reader)


@contextmanager
def _unavailable(done: str) -> Iterator[None]:
    try:
        yield
    except OURS:
        raise
    except sqlite3.Error as exc:
        locked = getattr(exc, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY
        raise (Locked if locked else StoreUnavailable)(f"The database could not be {done}: {exc}.") from exc
