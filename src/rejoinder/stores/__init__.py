"""Where the words are kept: one URL chooses, and only the chosen backend is imported."""

from rejoinder.abc import Store
from rejoinder.errors import Misconfigured, no_driver

KNOWN = (
    "memory: (gone with the process), sqlite:///relative/path or sqlite:////absolute/path, "
    "files:///relative/folder or files:////absolute/folder, "
    "postgresql://user:password@host/database, redis://:password@host:port/database (or rediss://)"
)


def open_store(url: str, *, make: bool = True) -> Store:
    """The store that a URL names, not yet entered. Raises Misconfigured, and never repeats what may be a password.

    A store that is not there yet is made as it is entered; without `make` that raises Misconfigured, and nothing is made.
    """
    scheme, _, rest = url.partition(":")
    match scheme:
        case "memory":
            from rejoinder.stores.memory import MemoryStore

            return MemoryStore.from_url(url, make=make)
        case "sqlite":
            from rejoinder.stores.sqlite.store import SqliteStore

            return SqliteStore.from_url(url, make=make)
        case "files":
            from rejoinder.stores.files.store import FilesStore

            return FilesStore.from_url(url, make=make)
        case "postgresql" | "postgres":
            try:
                from rejoinder.stores.postgres.store import PostgresStore
            except ModuleNotFoundError as missing:
                raise no_driver("A store in Postgres needs", "postgres") from missing
            return PostgresStore.from_url(url, make=make)
        case "redis" | "rediss":
            try:
                from rejoinder.stores.redis.store import RedisStore
            except ModuleNotFoundError as missing:
                raise no_driver("A store in Redis needs", "redis") from missing
            return RedisStore.from_url(url, make=make)
    # Before a mere colon there may be the user of a URL whose beginning was left out, or all there is.
    named = f" {scheme!r}" if rest.startswith("//") else " of this name"
    raise Misconfigured(f"There is no kind of store{named}. There are {KNOWN}.")
