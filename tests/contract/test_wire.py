"""The short way to a reader: taken where the server offers it, and nowhere else."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine
from typing import Any, Literal

import pytest
from starlette.types import Message, Receive

from rejoinder.api import connection
from rejoinder.api.connection import Wire
from rejoinder.api.sse import RETRY, EventStream, Streams
from rejoinder.chat.following import Take
from rejoinder.chat.tails import Frame, Piece
from serving import ServerThread
from test_http_streams_at_the_limit import open_streams
from wire import eventually, script


@pytest.mark.parametrize(("http", "direct"), [("httptools", True), ("h11", False)])
def test_frames_go_straight_to_the_connection_where_that_is_known(
    http: Literal["httptools", "h11"],
    direct: bool,
    start_server: Callable[..., ServerThread],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    taken: list[bool] = []
    post = Wire.post

    def counted(wire: Wire, body: bytes) -> bool:
        taken.append(post(wire, body))
        return taken[-1]

    monkeypatch.setattr(Wire, "post", counted)
    api = start_server(http=http).api
    sid = api.session()
    with api.send_streamed(sid, script("tokens=10 pace=0.03")) as stream:
        frames = stream.rest()
    assert [frame.type for frame in frames].count("message.delta") >= 5
    assert len(taken) >= 5
    assert set(taken) == {direct}


@pytest.mark.parametrize(("http", "waits"), [("httptools", False), ("h11", True)])
def test_nobody_waits_for_a_client_to_go_where_the_connection_tells_it(
    http: Literal["httptools", "h11"],
    waits: bool,
    start_server: Callable[..., ServerThread],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    waiting: list[Receive] = []
    left = connection.left

    def counted(receive: Receive) -> Coroutine[None, None, None]:
        waiting.append(receive)
        return left(receive)

    monkeypatch.setattr(connection, "left", counted)
    api = start_server(http=http).api
    sid = api.session()
    for _ in range(3):
        with api.send_streamed(sid, script("tokens=100 pace=0.1"), if_busy="interrupt") as stream:
            stream.until("message.created")
    eventually(lambda: open_streams(api) == 0)
    assert len(waiting) == (3 if waits else 0)


async def test_the_end_of_a_long_reply_is_written_in_parts() -> None:
    """It brings the whole text, of which a reader that takes nothing is to hold no copy."""
    ended = Frame(7, "message.ended", "msg", b"x" * 1_000_000)
    sent: list[dict[str, Any]] = []

    async def follow(_: Take) -> AsyncGenerator[Piece, None]:
        yield Piece.of([ended], 7)

    async def receive() -> Message:
        await asyncio.Event().wait()
        return {}

    async def send(message: Message) -> None:
        sent.append(dict(message))

    await EventStream(Streams(1, 1), follow, until="msg")({"type": "http"}, receive, send)
    _, *parts = sent
    assert b"".join(part["body"] for part in parts) == RETRY + ended.data
    assert max(len(part["body"]) for part in parts) <= connection.AT_ONCE
    assert [part["more_body"] for part in parts] == [True] * (len(parts) - 1) + [False]
