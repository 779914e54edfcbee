"""Who takes part: each a server process of its own on loopback that relays the scripted upstream's tokens.

A contestant tells how it is started, what it is asked, and where the text is in an event that it sends. Another one is
another class here and a row in the table at the end.
"""

import abc
import importlib.util
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from bench.processes import NotHere, Process, free_port, running
from bench.stores import StoreServer, postgres, redis, sqlite

MODEL = "benched"
SSE = {"accept": "text/event-stream"}


class Place(Struct, frozen=True):
    """Where a contestant is started: a folder for its files, and the port of the upstream (0 for the upstream itself)."""

    folder: Path
    upstream: int

    def variables(self) -> dict[str, str]:
        """What the SDK reads."""
        return {"OPENAI_BASE_URL": f"http://127.0.0.1:{self.upstream}/v1", "OPENAI_API_KEY": "none"}


class Contestant(abc.ABC):
    """`session` is 32 hex digits that each stream has for itself."""

    @abc.abstractmethod
    def running(self, place: Place) -> AbstractContextManager[Process]:
        """Its process, which listens. Raises NotHere, and Failed."""

    @abc.abstractmethod
    def opening(self, session: str) -> bytes:
        """A request that comes before anything is measured: what a client has done once, on a connection that is warm."""

    @abc.abstractmethod
    def asking(self, session: str, content: str) -> bytes:
        """The request for a reply to this message, streamed."""

    @abc.abstractmethod
    def text(self, data: bytes) -> str:
        """The text of the reply in the data of one event."""


class Upstream(Contestant):
    """The upstream of all, read directly (`upstream.py`). Everything else is compared with it."""

    def running(self, place: Place) -> AbstractContextManager[Process]:
        return running("upstream", [sys.executable, "-m", "bench.upstream"], place.folder)

    def opening(self, session: str) -> bytes:
        return request("GET", "/v1/models")

    def asking(self, session: str, content: str) -> bytes:
        body = {"model": MODEL, "messages": [{"role": "user", "content": content}], "stream": True}
        return request("POST", "/v1/chat/completions", body | {"stream_options": {"include_usage": True}})

    def text(self, data: bytes) -> str:
        if data == b"[DONE]":
            return ""
        choices = _completion.decode(data).choices
        return choices[0].delta.content if choices else ""


class Nginx(Upstream):
    """The same bytes through nginx: the least that a relay can cost."""

    CONFIG = """\
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log stderr warn;
{user}
events {{ worker_connections 4096; }}
http {{
    access_log off;
    client_body_temp_path {folder}/nginx-body;
    proxy_temp_path {folder}/nginx-proxy;
    fastcgi_temp_path {folder}/nginx-fastcgi;
    uwsgi_temp_path {folder}/nginx-uwsgi;
    scgi_temp_path {folder}/nginx-scgi;
    upstream upstream {{ server 127.0.0.1:{upstream}; keepalive 2048; }}
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location / {{
            proxy_pass http://upstream;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_buffering off;
        }}
    }}
}}
"""

    def running(self, place: Place) -> AbstractContextManager[Process]:
        program = nginx_program()
        if program is None:
            raise NotHere("no nginx on this machine")
        port, config = free_port(), place.folder / "nginx.conf"
        user = "user root;" if os.geteuid() == 0 else ""  # it may write into our folder
        config.write_text(self.CONFIG.format(folder=place.folder, user=user, upstream=place.upstream, port=port))
        return running("nginx", [program, "-p", place.folder, "-c", config], place.folder, port=port)


class Rejoinder(Contestant):
    """The real service with its durable log: SQLite, synchronous=FULL."""

    name = "rejoinder"

    PROGRAM = (
        "from rejoinder.server import serve; from rejoinder.settings import Settings; serve(Settings(_env_file=None))"
    )
    """As `rejoinder serve`, but no `.env` of this machine changes what is measured."""

    def store(self, folder: Path) -> AbstractContextManager[StoreServer]:
        """Where its words are kept. Raises NotHere."""
        return sqlite(folder / f"{self.name}.db")

    @contextmanager
    def running(self, place: Place) -> Iterator[Process]:
        with self.store(place.folder) as store:
            variables = place.variables() | {
                "REJOINDER_PORT": "0",
                "REJOINDER_STORE": store.url,
                "REJOINDER_MODEL": f"openai:{MODEL}",
                "REJOINDER_DRAIN": "0",
                "REJOINDER_TITLE_MODEL": "off",  # the others make none
            }
            with running(self.name, [sys.executable, "-c", self.PROGRAM], place.folder, variables) as process:
                process.store_pid = store.pid
                yield process

    def opening(self, session: str) -> bytes:
        return request("POST", "/v1/sessions", {"id": f"ses_{session}"})

    def asking(self, session: str, content: str) -> bytes:
        return request("POST", f"/v1/sessions/ses_{session}/messages", {"content": content}, SSE)

    def text(self, data: bytes) -> str:
        return _piece.decode(data).text


class RejoinderPostgres(Rejoinder):
    """The same on Postgres."""

    name = "rejoinder-postgres"

    def store(self, folder: Path) -> AbstractContextManager[StoreServer]:
        return postgres()


class RejoinderRedis(Rejoinder):
    """The same on Redis."""

    name = "rejoinder-redis"

    def store(self, folder: Path) -> AbstractContextManager[StoreServer]:
        return redis()


class Usual(Contestant):
    """What most people would write, see `usual.py`."""

    def running(self, place: Place) -> AbstractContextManager[Process]:
        if importlib.util.find_spec("sse_starlette") is None:
            raise NotHere("sse-starlette is not installed (./dev bench installs it)")
        command = [sys.executable, "-m", "uvicorn", "bench.usual:app", "--port", "0", "--no-access-log"]
        # A stream may wait a few seconds for its turn; by default the connection would be closed meanwhile.
        command += ["--timeout-keep-alive", "75"]
        return running("usual", command, place.folder, place.variables())

    def opening(self, session: str) -> bytes:
        return request("GET", "/healthz")

    def asking(self, session: str, content: str) -> bytes:
        return request("POST", "/chat", {"messages": [{"role": "user", "content": content}]}, SSE)

    def text(self, data: bytes) -> str:
        return _piece.decode(data).text


CONTESTANTS: dict[str, type[Contestant]] = {
    "upstream": Upstream,
    "nginx": Nginx,
    "rejoinder": Rejoinder,
    "rejoinder-postgres": RejoinderPostgres,
    "rejoinder-redis": RejoinderRedis,
    "usual": Usual,
}
STANDARD = ("upstream", "nginx", "rejoinder", "usual")
"""Those who take part where nobody is named."""


def nginx_program() -> str | None:
    return shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")


def request(method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> bytes:
    data = b"" if body is None else msgspec.json.encode(body)
    fields = {"host": "127.0.0.1", "content-length": str(len(data)), **(headers or {})}
    if data:
        fields["content-type"] = "application/json"
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]
    return "\r\n".join((*lines, "", "")).encode() + data


class _Delta(Struct):
    content: str = ""


class _Choice(Struct):
    delta: _Delta


class _Completion(Struct):
    choices: list[_Choice]


class _Piece(Struct):
    text: str = ""


_completion = msgspec.json.Decoder(_Completion)
_piece = msgspec.json.Decoder(_Piece)
