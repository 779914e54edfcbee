"""Connections to Postgres: a few that are kept, made anew where they broke, and errors that a caller can act on.

Every wait has an end: for a free connection, for the server to let one in, and for its answer. A call that fails in any
way but an error that the server told gives its connection up, so nobody ever meets what another left behind.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

import asyncpg

from rejoinder.errors import RejoinderError, StoreUnavailable
from rejoinder.postgres_link import GONE, STATEMENT_SECONDS, Connection, Place, close, connect

ANSWER_SECONDS = 6.0
"""For an answer, where the server or the way to it is silent."""

FREE_SECONDS = 5.0
"""For one of the connections to be free."""

OURS = (
    asyncpg.IntegrityConstraintViolationError,
    asyncpg.DataError,
    asyncpg.ProgramLimitExceededError,
    asyncpg.exceptions._base.DataError,  # noqa: SLF001  # the driver's own, not exported
)
"""Errors that say that we asked for something wrong. To ask again never helps, so they are not StoreUnavailable."""

Records: TypeAlias = list[Any]


class Connections:
    """At most `size` of them, made when they are needed. The one that was used last is used next."""

    def __init__(self, place: Place, size: int) -> None:
        self._place = place
        self._free = asyncio.Semaphore(size)
        self._idle: list[Connection] = []
        self._closed = False

    async def close(self) -> None:
        """Calls that are under way end first, within their time."""
        self._closed = True
        while self._idle:
            await close(self._idle.pop())

    async def fetch(self, statement: str, *args: Any, again: bool = False, more: float = 0) -> Records:
        """Runs one statement and returns its rows. Raises StoreUnavailable.

        `more` are seconds that it may take above what all may.
        `again`: it only reads, so where a kept connection turns out to be broken it is asked once more on a new one.
        """
        with unavailable():
            async with asyncio.timeout(FREE_SECONDS):
                await self._free.acquire()
        try:
            with unavailable():
                try:
                    return await self._fetch(statement, args, more)
                except GONE as gone:
                    self._forget()
                    if not again or isinstance(gone, TimeoutError):
                        raise
                    return await self._fetch(statement, args, more)
        finally:
            self._free.release()

    async def _fetch(self, statement: str, args: tuple[Any, ...], more: float) -> Records:
        connection = await self._take()
        try:
            async with asyncio.timeout(ANSWER_SECONDS + more):
                if more:
                    await connection.execute(f"SET statement_timeout = '{STATEMENT_SECONDS + more:.3f}s'")
                rows: Records = await connection.fetch(statement, *args)
                if more:
                    await connection.execute("RESET statement_timeout")
        except BaseException as told:
            if more or isinstance(told, GONE) or not isinstance(told, asyncpg.PostgresError):
                connection.terminate()
            self._give_back(connection)
            raise
        self._give_back(connection)
        return rows

    async def _take(self) -> Connection:
        while self._idle:
            connection = self._idle.pop()
            if not connection.is_closed():
                return connection
        if self._closed:
            raise StoreUnavailable("The store is closed.")
        return await connect(self._place)

    def _give_back(self, connection: Connection) -> None:
        if self._closed:
            connection.terminate()
        elif not connection.is_closed():
            self._idle.append(connection)

    def _forget(self) -> None:
        """Where one kept connection broke, the others have: the server was started anew, or something on the way has forgotten them.
        To wait for the answer of each would take a lease."""
        for connection in self._idle:
            connection.terminate()
        self._idle = []


@contextmanager
def unavailable() -> Iterator[None]:
    """Errors as using a store raises them."""
    try:
        yield
    except (*OURS, RejoinderError):
        raise
    except TimeoutError as late:
        raise StoreUnavailable("The database did not answer in time.") from late
    except asyncpg.ReadOnlySQLTransactionError as read_only:
        raise StoreUnavailable("The database takes no writes: it is a standby, or read-only.") from read_only
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError) as fault:
        raise StoreUnavailable(f"The database could not do it: {fault}.") from fault
