"""What a store and signals on Postgres share: the URL, a connection, and what it means that one cannot be had.

The URL is libpq's, with the name of a schema as one option of ours.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

import asyncpg
from msgspec import Struct

from rejoinder.errors import Misconfigured, RejoinderError, StoreUnavailable

SCHEMA = "rejoinder"
"""A schema of its own, so that the tables may lie in a database beside others."""

CONNECT_SECONDS = 3.0
"""For the server to let a connection in."""

STATEMENT_SECONDS = 5
"""After which the server gives a statement up; waiting for locks counts."""

GONE = (
    OSError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.PostgresConnectionError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.CannotConnectNowError,
    asyncpg.ReadOnlySQLTransactionError,
)
"""A connection that met one of these is of no use: the next one may find a server that is up, or the new primary."""

Connection: TypeAlias = Any  # the driver has no types

SCHEMES = ("postgresql", "postgres")


class Place(Struct, frozen=True):
    """Where a store is. `dsn` may hold a password; `shown` names the place for people and never does."""

    dsn: str
    schema: str
    shown: str


def parse(url: str) -> Place:
    """Raises Misconfigured, without any part of the URL that may be a password."""
    try:
        parts = urlsplit(url)
        database, host = parts.path.strip("/"), parts.netloc.rpartition("@")[2]
        options = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
    except ValueError:
        raise Misconfigured(_wrong("it cannot be read")) from None
    if parts.scheme not in SCHEMES or parts.fragment or "@" in parts.path or not url.startswith(f"{parts.scheme}://"):
        raise Misconfigured(_wrong("what is no letter, digit or one of -._~ in a user or a password is written as %XX"))
    if not database or "/" in database:
        raise Misconfigured(_wrong("it names no database"))
    schemas = [value for name, value in options if name == "schema"] or [SCHEMA]
    if len(schemas) > 1 or not re.fullmatch(r"[a-z_][a-z0-9_]{0,62}", schemas[0]) or schemas[0].startswith("pg_"):
        raise Misconfigured(
            "The schema of a Postgres store is a name of small letters, digits and _, and of 63 at most."
        )
    rest = urlencode([(name, value) for name, value in options if name != "schema"], quote_via=quote)
    return Place(parts._replace(query=rest).geturl(), schemas[0], f"{host or 'localhost'}/{unquote(database)}")


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


async def close(connection: Connection) -> None:
    """Says goodbye, but does not wait for long."""
    try:
        await connection.close(timeout=1)
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
        connection.terminate()


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


def _wrong(what: str) -> str:
    return f"The URL of a Postgres store is postgresql://user:password@host:port/database[?schema=name], and {what}."
