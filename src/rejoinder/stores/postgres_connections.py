"""Connections to Postgres: a few that are kept, made anew where they broke, and errors that a caller can act on.

Every wait has an end: for a free connection, for the server to let one in, and for its answer. A call that fails in any
way but an error that the server told gives its connection up, so nobody ever meets what another left behind.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

import asyncpg

from rejoinder.errors import Misconfigured, RejoinderError, StoreUnavailable
from rejoinder.stores.postgres_url import Place

CONNECT_SECONDS = 5.0
"""For the server to let a connection in."""

STATEMENT_SECONDS = 8
"""After which the server gives a statement up; waiting for locks counts."""

ANSWER_SECONDS = 10.0
"""For an answer, where the server or the way to it is silent."""

FREE_SECONDS = 5.0
"""For one of the connections to be free."""

OURS = (asyncpg.IntegrityConstraintViolationError, asyncpg.DataError, asyncpg.exceptions._base.DataError)  # noqa: SLF001  # the driver's own, not exported
"""Errors that say that we asked for something wrong. To ask again never helps, so they are not StoreUnavailable."""

GONE = (
    OSError,
    asyncpg.InterfaceError,
    asyncpg.PostgresConnectionError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.CannotConnectNowError,
    asyncpg.ReadOnlySQLTransactionError,
)
"""A connection that met one of these is of no use: the next one may find a server that is up, or the new primary."""

Connection: TypeAlias = Any  # the driver has no types
Records: TypeAlias = list[Any]


async def connect(place: Place, **settings: str) -> Connection:
    """A connection of our own. `settings` are the server's, for this connection. Raises what the driver raises."""
    return await asyncpg.connect(
        place.dsn,
        timeout=CONNECT_SECONDS,
        max_cached_statement_lifetime=0,
        server_settings={
            "application_name": "rejoinder",
            "search_path": place.schema,
            "statement_timeout": f"{STATEMENT_SECONDS}s",
            "idle_in_transaction_session_timeout": "60s",
            "jit": "off",  # no question here is long enough to be worth compiling
            # Every question has its index. Statistics of tables that have just begun to grow would say otherwise.
            "enable_seqscan": "off",
            **settings,
        },
    )


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

    async def fetch(self, statement: str, *args: Any, again: bool = False) -> Records:
        """Runs one statement and returns its rows. Raises StoreUnavailable.

        `again`: it only reads, so where a kept connection turns out to be broken it is asked once more on a new one.
        """
        with unavailable():
            async with asyncio.timeout(FREE_SECONDS):
                await self._free.acquire()
        try:
            with unavailable():
                try:
                    return await self._fetch(statement, args)
                except GONE as gone:
                    if not again or isinstance(gone, TimeoutError):
                        raise
                    self._forget()
                    return await self._fetch(statement, args)
        finally:
            self._free.release()

    async def _fetch(self, statement: str, args: tuple[Any, ...]) -> Records:
        connection = await self._take()
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                rows: Records = await connection.fetch(statement, *args)
        except BaseException as told:
            if isinstance(told, GONE) or not isinstance(told, asyncpg.PostgresError):
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
        """Where one kept connection broke, the others have: the server was started anew."""
        for connection in self._idle:
            connection.terminate()
        self._idle = []


async def close(connection: Connection) -> None:
    """Says goodbye, but does not wait for long."""
    try:
        await connection.close(timeout=1)
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
        connection.terminate()


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


@contextmanager
def opening(place: Place) -> Iterator[None]:
    """Errors as opening a store raises them."""
    try:
        yield
    except RejoinderError:
        raise
    except asyncpg.InvalidAuthorizationSpecificationError as refused:
        raise Misconfigured(
            f"The database at {place.shown} does not take this user and password: {refused}."
        ) from refused
    except asyncpg.InvalidCatalogNameError as missing:
        raise Misconfigured(f"There is no database {place.shown}: make it first, with the encoding UTF8.") from missing
    except asyncpg.InsufficientPrivilegeError as refused:
        raise Misconfigured(f"The user of {place.shown} may not do what a store needs: {refused}.") from refused
    except asyncpg.ReadOnlySQLTransactionError as read_only:
        raise Misconfigured(
            f"{place.shown} takes no writes: name the primary, and a user that may write."
        ) from read_only
    except (ValueError, asyncpg.ClientConfigurationError):
        # What the driver says of a URL may repeat it.
        raise Misconfigured(
            f"The URL of the database {place.shown} has something in it that Postgres does not know."
        ) from None
    except TimeoutError as late:
        raise StoreUnavailable(f"The database at {place.shown} does not answer.") from late
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError) as fault:
        raise StoreUnavailable(f"The database at {place.shown} cannot be used just now: {fault}.") from fault
