"""A server that plays one scene per request and records what it was asked: what a client meets on bad days."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import uvicorn
from msgspec import Struct

Send = Callable[[dict[str, Any]], Awaitable[None]]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Scene = Callable[[Send, Receive], Awaitable[None]]


class Asked(Struct, frozen=True):
    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: Any


class ScriptedServer:
    def __init__(self, *scenes: Scene) -> None:
        self.asked: list[Asked] = []
        self.url = ""
        self._scenes = list(scenes)

    def play(self, *scenes: Scene) -> None:
        """Further scenes, of those who had to know the address."""
        self._scenes += scenes

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        body = b""
        while (part := await receive()).get("more_body"):
            body += part["body"]
        body += part.get("body", b"")
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        query = scope["query_string"].decode()
        is_json = headers.get("content-type") == "application/json"
        said = msgspec.json.decode(body) if body and is_json else body or None
        self.asked.append(Asked(scope["method"], scope["path"], query, headers, said))
        scene = self._scenes.pop(0) if self._scenes else answer(500)
        await scene(send, receive)


@asynccontextmanager
async def playing(*scenes: Scene) -> AsyncIterator[ScriptedServer]:
    app = ScriptedServer(*scenes)
    config = uvicorn.Config(app, port=0, lifespan="off", log_config=None, timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    running = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110  # uvicorn tells it in no other way
        await asyncio.sleep(0.01)
    app.url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    try:
        yield app
    finally:
        server.should_exit = True
        await running


# --- scenes ------------------------------------------------------------------------------------------------------


def answer(status: int, body: Any = None, headers: Mapping[str, str] | None = None) -> Scene:
    """A JSON answer; an error's body is a problem document where it has a code."""
    kind = "application/problem+json" if isinstance(body, dict) and "code" in body else "application/json"

    async def scene(send: Send, receive: Receive) -> None:
        await _start(send, status, {"content-type": kind, **(headers or {})})
        await send({"type": "http.response.body", "body": b"" if body is None else msgspec.json.encode(body)})

    return scene


def stream(
    *pieces: bytes, location: str = "", status: int = 200, kind: str = "text/event-stream; charset=utf-8"
) -> Scene:
    """A stream that ends cleanly."""
    return _stream(pieces, location, status, kind, broken=False)


def broken(*pieces: bytes, location: str = "", kind: str = "text/event-stream") -> Scene:
    """A stream that breaks off behind what is given."""
    return _stream(pieces, location, 200, kind, broken=True)


def silent(*pieces: bytes, location: str = "", heartbeat: float | None = None, beats: int = 0) -> Scene:
    """A stream that says nothing more, but for heartbeats, until the client leaves; behind the last beat it breaks off."""

    async def scene(send: Send, receive: Receive) -> None:
        await _start(send, 200, _stream_headers(location, "text/event-stream"))
        for piece in pieces:
            await _body(send, piece)
        for _ in range(beats):
            await asyncio.sleep(heartbeat or 0)
            await _body(send, b":\n")
        while not beats and (await receive())["type"] != "http.disconnect":
            pass

    return scene


async def hang_up(send: Send, receive: Receive) -> None:
    """Not even a status. ASGI has no word for it, so it takes uvicorn's transport."""
    send.__self__.transport.abort()  # type: ignore[attr-defined]


def _stream(pieces: tuple[bytes, ...], location: str, status: int, kind: str, *, broken: bool) -> Scene:
    async def scene(send: Send, receive: Receive) -> None:
        await _start(send, status, _stream_headers(location, kind))
        for piece in pieces:
            await _body(send, piece)
            await asyncio.sleep(0.001)
        if not broken:
            await send({"type": "http.response.body", "body": b""})

    return scene


def _stream_headers(location: str, kind: str) -> dict[str, str]:
    return {"content-type": kind} | ({"location": location} if location else {})


async def _start(send: Send, status: int, headers: Mapping[str, str]) -> None:
    sent = [(name.encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": sent})


async def _body(send: Send, piece: bytes) -> None:
    await send({"type": "http.response.body", "body": piece, "more_body": True})
