"""The service and an upstream as real processes. The service is killed and started again, on one port and one file."""

import asyncio
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import httpx2

from store_urls import STORE_URLS
from wire import Json

SECONDS = 20.0
"""After so long a process is stuck: many times what a start or an end takes on a busy machine."""

LEASE = 0.6
"""Seconds. Stores that one process holds take no notice of it."""

LOOK = 0.002
"""Seconds between two looks at a process."""

SERVICE = """
from rejoinder.server import serve
from rejoinder.settings import Settings
serve(Settings(_env_file=None))
"""


class Server:
    """One service after another, each on what the one before it left."""

    def __init__(self, folder: Path, model: str, store: str = "sqlite", **settings: str) -> None:
        port = fixed_port()
        url = STORE_URLS[store](folder)
        self.url = f"http://127.0.0.1:{port}"
        self.starts: list[float] = []
        """Seconds from the start of a process to its word that it serves."""
        self.recoveries: list[float] = []
        """Seconds of that in which it held the store: what opening it and ending the orphans took."""
        self.log = folder / "server.log"
        self._lock = {"sqlite": folder / "chat.db.lock", "files": folder / "chats" / "lock"}.get(store)
        self._variables = {
            "REJOINDER_PORT": str(port),
            "REJOINDER_STORE": url,
            "REJOINDER_LEASE": str(LEASE),
            "REJOINDER_MODEL": model,
            "REJOINDER_HEARTBEAT": "1",
            "REJOINDER_DRAIN": "0.2",
            "REJOINDER_TITLE_MODEL": "off",
            **settings,
        }
        self._process: subprocess.Popen[bytes] | None = None
        self._begins = 0

    def spawn(self) -> None:
        """Starts a process and does not wait for it."""
        with self.log.open("ab") as log:
            self._begins = log.tell()
            command = [sys.executable, "-c", SERVICE]
            self._process = subprocess.Popen(
                command, env=os.environ | self._variables, stdout=log, stderr=subprocess.STDOUT
            )

    async def start(self) -> None:
        """Starts a process and waits until it serves."""
        began = time.monotonic()
        self.spawn()
        held = await self.holding()
        await self._until(lambda: re.search("Rejoinder is at http", self.said()))
        served = time.monotonic()
        self.starts.append(served - began)
        self.recoveries.append(served - held)
        if self._lock is None:
            # A store that many share learns of the death of a worker by its lease, and it is looked for every third of one.
            await asyncio.sleep(2 * LEASE)

    @property
    def patience(self) -> float:
        """Seconds more that a busy machine may take to end what a dead worker left: none where its store was locked."""
        return 5.0 if self._lock is None else 0.0

    async def holding(self) -> float:
        """Waits until the process has opened the store, and is about to recover what it finds there. When that was.

        What many share has no lock that tells: then it is when it begins to open the store.
        """
        if self._lock is None:
            await self._until(lambda: "Waiting for application startup" in self.said())
            return time.monotonic()
        lock = self._lock
        mine = f"{self.process.pid}\n"
        await self._until(lambda: lock.exists() and lock.read_text() == mine)
        return time.monotonic()

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    async def ended(self) -> int:
        """The exit code; -N where signal N ended it."""
        deadline = time.monotonic() + SECONDS
        while (code := self.process.poll()) is None:
            assert time.monotonic() < deadline, f"the server does not end: {self.said()}"
            await asyncio.sleep(LOOK)
        return code

    async def kill(self) -> None:
        self.signal(signal.SIGKILL)
        assert await self.ended() == -signal.SIGKILL, self.said()

    def said(self) -> str:
        """What this process has printed so far."""
        return self.log.read_bytes()[self._begins :].decode(errors="replace")

    def close(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(SECONDS)

    @property
    def process(self) -> subprocess.Popen[bytes]:
        assert self._process is not None
        return self._process

    async def _until(self, true: Callable[[], object]) -> None:
        deadline = time.monotonic() + SECONDS
        while not true():
            assert self.process.poll() is None and time.monotonic() < deadline, f"it does not start: {self.said()}"
            await asyncio.sleep(LOOK)


class Upstream:
    """`python -m rejoinder.testing.upstream`, which outlives every service that asks it."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "rejoinder.testing.upstream", "--models", "scripted"],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        self.base_url = self._process.stdout.readline().strip()
        assert self.base_url, "the upstream did not start"

    def records(self) -> list[Json]:
        """Every request that it was ever sent."""
        answer = httpx2.get(f"{self.base_url.removesuffix('/v1')}/records", trust_env=False, timeout=SECONDS)
        found: list[Json] = answer.json()
        return found

    def close(self) -> None:
        assert self._process.stdout is not None
        self._process.stdout.close()
        self._process.kill()
        self._process.wait(SECONDS)


def fixed_port() -> int:
    """A port that no outgoing connection is given while nobody listens there: one below those that systems hand out.

    A client that tries such a port again and again could else be given it for its own end, and talk to itself.
    """
    for port in range(20_000 + os.getpid() % 10_000, 32_000):
        with socket.socket() as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                trial.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError("there is no free port")
