"""Real servers for tests: in a thread of this process, or as a process of its own."""

import itertools
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import uvicorn

from rejoinder.api.app import create_app
from rejoinder.api.request_heads import BoundedHeads
from rejoinder.settings import Settings
from wire import Api

START_SECONDS = 30.0

COMMAND = [sys.executable, "-m", "rejoinder", "serve"]


@dataclass
class ServerThread:
    """A server in this process. `uvicorn` is its inside, for tests of what no client can see."""

    api: Api
    uvicorn: uvicorn.Server


@contextmanager
def serving(*, http: Literal["httptools", "h11"] = "httptools", **settings: Any) -> Iterator[ServerThread]:
    """A real uvicorn with the whole app, on a free loopback port, until this is left.

    Over `h11` the service finds nothing of the server but ASGI (see `api/connection.py`).
    """
    chosen: dict[str, Any] = {
        "store": "memory:",
        "model": "scripted:echo",
        "retry_wait": 0.01,
        "title_model": "off",
        "_env_file": None,
        **settings,
    }
    config = uvicorn.Config(
        create_app(Settings(**chosen)),
        http=BoundedHeads if http == "httptools" else http,
        lifespan="on",
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=1,
    )
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as listening:
        port = listening.getsockname()[1]
        thread = threading.Thread(
            target=server.run, kwargs={"sockets": [listening]}, name=f"server on {port}", daemon=True
        )
        thread.start()
        _wait_for_start(server, thread)
        api = Api(f"http://127.0.0.1:{port}")
        try:
            yield ServerThread(api, server)
        finally:
            api.close()
            server.should_exit = True
            thread.join(START_SECONDS)
    assert not thread.is_alive(), "the server did not stop"


def _wait_for_start(server: uvicorn.Server, thread: threading.Thread) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not server.started:
        assert thread.is_alive() and time.monotonic() < deadline, "the server did not start"
        time.sleep(0.005)


class ServerProcess:
    """A server that can be sent signals and started again on the same store."""

    def __init__(self, store: str, log: Path, **settings: Any) -> None:
        self._settings = {
            "store": store,
            "model": "scripted:echo",
            "port": 0,
            "retry_wait": 0.01,
            "title_model": "off",
            **settings,
        }
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None
        self._api: Api | None = None

    @property
    def api(self) -> Api:
        assert self._api is not None
        return self._api

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def runs(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> Api:
        variables = {f"REJOINDER_{name.upper()}": str(value) for name, value in self._settings.items()}
        with self._log.open("ab") as log:
            begins = log.tell()
            self._process = subprocess.Popen(
                COMMAND, cwd=self._log.parent, env=os.environ | variables, stdout=log, stderr=subprocess.STDOUT
            )
        self._close_api()
        self._api = Api(self._address(begins))
        self._settings["port"] = urlsplit(self._api.url).port  # started again it is found where it was
        return self._api

    def signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def ended(self, seconds: float = START_SECONDS) -> int:
        """Its exit code; -N where signal N ended it."""
        assert self._process is not None
        return self._process.wait(seconds)

    def said(self) -> str:
        return self._log.read_text(errors="replace")

    def close(self) -> None:
        self._close_api()
        if self._process is not None:
            if self.runs:
                self._process.send_signal(signal.SIGKILL)
            self._process.wait(START_SECONDS)

    def _close_api(self) -> None:
        if self._api is not None:
            self._api.close()

    def _address(self, begins: int) -> str:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            ended = self._process is None or self._process.poll() is not None
            said = self._log.read_bytes()[begins:].decode(errors="replace")
            if found := re.search(r"Rejoinder is at (http://\S+)", said):
                return found[1]
            assert not ended, f"the server did not start: {said}"
            time.sleep(0.02)
        raise AssertionError(f"the server did not start: {self.said()}")


@contextmanager
def processes(folder: Path) -> Iterator[Callable[..., ServerProcess]]:
    """Starts servers as processes, on one SQLite file in this folder unless told otherwise; all end when this is left."""
    started: list[ServerProcess] = []
    numbers = itertools.count()  # some tests start several at once

    def start(**settings: Any) -> ServerProcess:
        store = settings.pop("store", f"sqlite:///{folder}/chat.db")
        process = ServerProcess(store, folder / f"server-{next(numbers)}.log", **settings)
        started.append(process)
        process.start()
        return process

    try:
        yield start
    finally:
        for process in started:
            process.close()
