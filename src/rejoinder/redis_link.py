"""What a store and signals on Redis share: the URL, the connections, and which errors mean that Redis is away.

The driver's own retries are off: a script that ran and whose answer was lost is repeated by whoever can tell (a batch
under its number), never by a driver that cannot.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Self
from urllib.parse import parse_qsl, unquote, urlsplit

from msgspec import Struct
from redis.asyncio import BlockingConnectionPool, Connection, Redis, SSLConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, NoPermissionError, RedisError, ResponseError
from redis.exceptions import ConnectionError as NotConnected
from redis.exceptions import TimeoutError as NotInTime

from rejoinder.errors import Misconfigured, StoreUnavailable

CONNECT_SECONDS = 3.0
ANSWER_SECONDS = 5.0
"""Longer than a slow disk lets `appendfsync always` wait; shorter than a third of a lease by default is not needed."""

FORM = "redis://[[user]:password@]host[:port][/database][?prefix=name] (rediss:// for TLS)"

_AWAY = {
    *("ASK", "CLUSTERDOWN", "MASTERDOWN", "MOVED", "NOREPLICAS", "READONLY", "TRYAGAIN"),
    *("BUSY", "LOADING", "MISCONF", "NOAUTH", "NOPERM", "OOM", "UNKILLABLE", "WRONGPASS"),
}
"""Codes of answers that say "not now": what was asked was not done."""


class RedisUrl(Struct, frozen=True, kw_only=True):
    """A URL taken apart. `str` of it never shows the password."""

    host: str
    port: int = 6379
    database: int = 0
    username: str | None = None
    password: str | None = None
    tls: bool = False
    ca: str | None = None
    prefix: str = "rejoinder"

    @classmethod
    def parse(cls, url: str) -> Self:
        """Raises Misconfigured, and repeats nothing of the URL."""
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            raise Misconfigured(f"The URL of Redis is not of the form {FORM}.") from None
        database = parts.path.strip("/")
        if parts.scheme not in ("redis", "rediss") or not parts.hostname or parts.fragment:
            raise Misconfigured(f"The URL of Redis is not of the form {FORM}.")
        if database and not (database.isascii() and database.isdigit()):
            raise Misconfigured("The database of Redis is a number: redis://host:port/0.")
        options = _options(parts.query, tls=parts.scheme == "rediss")
        return cls(
            host=parts.hostname,
            port=port or 6379,
            database=int(database or 0),
            username=unquote(parts.username) if parts.username else None,
            password=unquote(parts.password) if parts.password else None,
            tls=parts.scheme == "rediss",
            **options,
        )

    def __str__(self) -> str:
        return f"{self.host}:{self.port}/{self.database}"

    def __repr__(self) -> str:
        return f"<Redis at {self}>"

    @property
    def names(self) -> str:
        """What all our keys begin with. The braces put them into one hash slot of a cluster."""
        return f"{{{self.prefix}}}:"

    def client(self, connections: int, *, answer: float = ANSWER_SECONDS) -> Any:
        """A client with a bounded pool and no retries. Nothing is connected yet.

        It is a `redis.asyncio.Redis`, whose `execute_command` has no types.
        """
        kwargs: dict[str, Any] = {"connection_class": SSLConnection if self.tls else Connection}
        if self.ca:
            kwargs["ssl_ca_certs"] = self.ca
        pool = BlockingConnectionPool(
            max_connections=connections,
            timeout=answer,
            host=self.host,
            port=self.port,
            db=self.database,
            username=self.username,
            password=self.password,
            protocol=2,
            socket_timeout=answer,
            socket_connect_timeout=CONNECT_SECONDS,
            retry=Retry(NoBackoff(), 0),
            driver_info=None,
            **kwargs,
        )
        return Redis(connection_pool=pool)


def _options(query: str, *, tls: bool) -> dict[str, str]:
    options = dict(parse_qsl(query, keep_blank_values=True))
    unknown = set(options) - ({"prefix", "ca"} if tls else {"prefix"})
    if unknown:
        raise Misconfigured(
            "The URL of Redis takes the option prefix and, with rediss://, ca (a file of certificates)."
        )
    if not re.fullmatch(r"[A-Za-z0-9._-]{1,64}", options.get("prefix", "rejoinder")):
        raise Misconfigured("The prefix of Redis is made of 1 to 64 letters, digits, dots, hyphens and underscores.")
    return options


# --- errors ------------------------------------------------------------------------------------------------------


@contextmanager
def redis_away() -> Iterator[None]:
    """Raises StoreUnavailable for what Redis cannot do now. What we asked wrongly comes as the driver raises it."""
    try:
        yield
    except (NotConnected, NotInTime, OSError) as away:
        raise StoreUnavailable(f"Redis cannot be reached: {said(away)}") from away
    except ResponseError as refused:
        if code_of(refused) not in _AWAY:
            raise
        raise StoreUnavailable(f"Redis refuses: {said(refused)}") from refused


@contextmanager
def redis_opening(url: RedisUrl) -> Iterator[None]:
    """As `redis_away`, and raises Misconfigured where asking again would not help: the first calls are made in it."""
    try:
        with redis_away():
            yield
    except StoreUnavailable as away:
        cause = away.__cause__
        if isinstance(cause, AuthenticationError):
            raise Misconfigured(f"Redis at {url} does not take this user and password: {said(cause)}") from cause
        if isinstance(cause, NoPermissionError):
            raise Misconfigured(f"This user may not do at Redis {url} what is needed: {said(cause)}") from cause
        if isinstance(cause, RedisError) and code_of(cause) in ("MOVED", "ASK"):
            raise Misconfigured(f"Redis at {url} is one of several shards, and not the one of our keys.") from cause
        raise StoreUnavailable(f"{away.detail} ({url})") from cause
    except ResponseError as refused:
        raise Misconfigured(f"Redis at {url} does not do what is needed: {said(refused)}") from refused


def code_of(error: RedisError) -> str:
    return error.status_code or str(error).partition(" ")[0]


def said(error: Exception) -> str:
    """What an error says, without the script's digest and line. Neither Redis nor its driver repeats a password."""
    return str(error).partition(" script: ")[0].strip().rstrip(".") or type(error).__name__
