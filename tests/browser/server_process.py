"""The service as a process of its own, which can be killed and started again at the same address."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Self

import httpx

START_SECONDS = 30.0

PROGRAM = """
from rejoinder.server import serve
from rejoinder.settings import Settings
serve(Settings(_env_file=None))
"""


class Server:
    def __init__(self, folder: Path) -> None:
        self._log = folder / "server.log"
        self._store = folder / "chat.db"
        self._port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self.url = f"http://127.0.0.1:{self._port}"
        self._http = httpx.Client(base_url=self.url, timeout=30)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._http.close()
        self.kill()

    def start(self) -> None:
        """Returns once the server says where it is."""
        settings = {
            "REJOINDER_PORT": str(self._port),
            "REJOINDER_STORE": f"sqlite:///{self._store}",
            "REJOINDER_MODEL": "scripted:echo",
            "REJOINDER_LEASE": "2",
        }
        with self._log.open("ab") as log:
            begins = log.tell()
            self._process = subprocess.Popen(
                [sys.executable, "-c", PROGRAM], stdout=log, stderr=subprocess.STDOUT, env=os.environ | settings
            )
        deadline = time.monotonic() + START_SECONDS
        while not re.search(rb"Rejoinder is at http", self._log.read_bytes()[begins:]):
            assert self._process.poll() is None and time.monotonic() < deadline, self._log.read_text(errors="replace")
            time.sleep(0.02)

    def kill(self) -> None:
        """As a power cut would: SIGKILL."""
        assert self._process is not None
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGKILL)
        self._process.wait(START_SECONDS)

    def empty(self) -> None:
        """Runs again if it was killed, and holds no session."""
        assert self._process is not None
        if self._process.poll() is not None:
            self.start()
        for session in self.get("/v1/sessions?limit=1000")["data"]:
            self._http.delete(f"/v1/sessions/{session['id']}").raise_for_status()

    def get(self, path: str) -> Any:
        answer = self._http.get(path)
        answer.raise_for_status()
        return answer.json()

    def session(self, *messages: str) -> str:
        """The id of a new session, in which these messages have been answered."""
        answer = self._http.post("/v1/sessions", json={})
        sid: str = answer.json()["id"]
        for content in messages:
            self.say(sid, content)
        return sid

    def say(self, sid: str, content: str) -> Any:
        """Sends a message and waits for the whole reply: `{message, reply}`."""
        answer = self._http.post(
            f"/v1/sessions/{sid}/messages", json={"content": content}, headers={"accept": "application/json"}
        )
        answer.raise_for_status()
        return answer.json()

    def messages(self, sid: str) -> list[Any]:
        found: list[Any] = self.get(f"/v1/sessions/{sid}/messages")["data"]
        return found

    def reply(self, sid: str) -> Any:
        """The newest message of a session."""
        return self.messages(sid)[-1]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port: int = listening.getsockname()[1]
        return port
