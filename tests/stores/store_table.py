"""The stores that the suite is run over. A new one is a row; the suite does not know which it has."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

from postgres_server import databases
from rejoinder.abc import Store
from rejoinder.stores import open_store
from shared_servers import fresh_redis_url

Opener: TypeAlias = Callable[[], Store]
"""Gives a store, not yet entered, at one and the same place each time; nothing else uses that place."""


def memory(folder: Path) -> Opener:
    # Memory is a place as long as its store lives.
    store = open_store("memory:")
    return lambda: store


def sqlite(folder: Path) -> Opener:
    return lambda: open_store(f"sqlite:///{folder / 'store.db'}")


def files(folder: Path) -> Opener:
    return lambda: open_store(f"files:///{folder / 'store'}")


def redis(folder: Path) -> Opener:
    url = fresh_redis_url()
    return lambda: open_store(url)


def postgres(folder: Path) -> Opener:
    url = databases().new()
    return lambda: open_store(url)


STORES: dict[str, Callable[[Path], Opener]] = {
    "memory": memory,
    "sqlite": sqlite,
    "files": files,
    "postgres": postgres,
    "redis": redis,
}
