"""How the HTTP client uses connections: again, only whole, not for ever, read when asked for, closed at once when left."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, suppress
from pathlib import Path

import pytest

from asking import client_of, get, has_come, refused
from raw_server import Connection, Talk, serving
from rejoinder.errors import ProviderError
from rejoinder.llm.answer_stream import rest_of
from rejoinder.llm.http_client import HttpClient
from rejoinder.llm.http_line import MOST, READ

CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
HI = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi"


def always(*pieces: bytes) -> Talk:
    async def talk(connection: Connection) -> None:
        while True:
            await connection.request()
            await connection.say(*pieces)

    return talk


# --- again -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "pieces",
    [
        (HI,),
        (HI[:-2], b"hi"),
        (HI[:-1], b"i"),
        (CHUNKED + b"2\r\nhi\r\n0\r\n\r\n",),
        (CHUNKED + b"2\r\nhi\r\n", b"0\r\n\r\n"),
        (b"HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 2\r\n\r\nhi",),
    ],
)
async def test_a_line_is_used_again_after_a_whole_answer(pieces: tuple[bytes, ...]) -> None:
    async with serving(always(*pieces)) as server, client_of(server.url) as client:
        for _ in range(3):
            assert (await get(client)).body == b"hi"
    assert [len(connection.requests) for connection in server.connections] == [3]


@pytest.mark.parametrize(
    "said",
    [
        b"HTTP/1.1 200 OK\r\nConnection: Close\r\ncontent-length: 2\r\n\r\nhi",
        b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nhi",
        HI + b"garbage",
        HI + b"HTTP/1.1 500 No\r\nx-evil: 1\r\ncontent-length: 4\r\n\r\nevil",
        HI + b"HTTP/1.1 200 OK\r\nx-evil: 1",
        CHUNKED + b"2\r\nhi\r\n0\r\n\r\n" + HI,
    ],
)
@pytest.mark.parametrize("cut", [None, -1])
async def test_a_line_is_not_used_again_with_something_behind_its_answer(said: bytes, cut: int | None) -> None:
    pieces = (said,) if cut is None else (said[:cut], said[cut:])
    async with serving(always(*pieces)) as server, client_of(server.url) as client:
        for _ in range(2):
            got = await get(client)
            assert (got.status, got.body, got.fault) == (200, b"hi", None)
            assert "x-evil" not in got.headers
    assert [len(connection.requests) for connection in server.connections] == [1, 1]


async def test_a_line_is_not_used_again_when_its_answer_was_not_read_to_its_end() -> None:
    async def talk(connection: Connection) -> None:
        await connection.request()
        await connection.say(CHUNKED + b"2\r\nhi\r\n")
        await connection.left()

    async with serving(talk) as server, client_of(server.url) as client:
        for _ in range(2):
            async with client.ask("GET", "/x") as answer:
                assert await answer.read() == b"hi"
    assert [len(connection.requests) for connection in server.connections] == [1, 1]


async def test_lines_are_not_kept_where_that_is_not_wanted() -> None:
    async with serving(always(HI)) as server, client_of(server.url, keep=False) as client:
        for _ in range(2):
            assert (await get(client)).body == b"hi"
    assert [connection.requests[0].headers["connection"] for connection in server.connections] == ["close"] * 2


@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 408 Too slow\r\nconnection: close\r\n\r\n"])
async def test_a_kept_line_that_its_server_closed_is_not_used_and_nothing_is_asked_twice(said: bytes) -> None:
    closing = asyncio.Event()

    async def talk(connection: Connection) -> None:
        await connection.request()
        await connection.answer()
        await closing.wait()
        await connection.say(said)

    async with serving(talk) as server, client_of(server.url) as client:
        await get(client)
        closing.set()
        await server.connections[0].writer.wait_closed()
        assert (await get(client)).body == b"hi"
    assert [len(connection.requests) for connection in server.connections] == [1, 1]


async def test_a_request_whose_line_closes_under_it_is_not_made_again() -> None:
    async def talk(connection: Connection) -> None:
        await connection.request()
        await connection.answer()
        await connection.request()  # and says nothing to it

    async with serving(talk) as server, client_of(server.url) as client:
        await get(client)
        assert (await refused(client)).code == "upstream_incomplete"
    assert [len(connection.requests) for connection in server.connections] == [2]


def noting(left: asyncio.Event) -> Talk:
    """Answers once, and tells when its client has gone."""

    async def talk(connection: Connection) -> None:
        await connection.request()
        await connection.answer()
        await connection.left()
        left.set()

    return talk


async def test_a_line_that_nobody_uses_is_closed_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rejoinder.llm.http_client.KEPT", 0.02)
    left = asyncio.Event()
    async with serving(noting(left)) as server, client_of(server.url) as client:
        for _ in range(2):
            await get(client)
            await asyncio.wait_for(left.wait(), 5)
            left.clear()


async def test_the_line_that_was_let_go_last_is_taken_first_and_the_others_are_closed_in_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("rejoinder.llm.http_client.KEPT", 0.1)
    async with serving(always(HI)) as server, client_of(server.url) as client:
        async with client.ask("GET", "/x") as answer:
            await get(client)
            await asyncio.sleep(0.02)
            assert await rest_of(answer) == b"hi"
        await get(client)
        assert [len(connection.requests) for connection in server.connections] == [2, 1]
        async with asyncio.timeout(5):
            for connection in server.connections:
                await connection.writer.wait_closed()


@pytest.mark.parametrize(
    ("told", "connections"),
    [
        ("", 1),
        ("keep-alive: timeout=9\r\n", 1),
        ("Keep-Alive: max=5, timeout=1\r\n", 2),
        (f"keep-alive: timeout={'9' * 5_000}\r\n", 1),
    ],
)
async def test_a_line_is_left_before_its_server_would_close_it(told: str, connections: int) -> None:
    async def talk(connection: Connection) -> None:
        while True:
            await connection.request()
            await connection.answer(headers=told)

    async with serving(talk) as server, client_of(server.url) as client:
        for _ in range(2):
            await get(client)
    assert len(server.connections) == connections


async def test_a_line_is_not_used_at_the_time_at_which_many_servers_close_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rejoinder.llm.http_client.CLOSING", (0.05, 0.3))
    async with serving(always(HI)) as server, client_of(server.url) as client:
        for pause in (0.0, 0.1, 0.4):
            await get(client)
            await asyncio.sleep(pause)
        await get(client)
    assert [len(connection.requests) for connection in server.connections] == [2, 2]


async def test_closing_closes_the_lines_that_are_kept_and_lets_answers_end() -> None:
    left = asyncio.Event()
    async with serving(noting(left)) as server:
        client = HttpClient(server.url, {}, connect_timeout=5, silence=5)
        async with client.ask("GET", "/x") as answer:
            await get(client)
            client.close()
            await asyncio.wait_for(left.wait(), 5)
            left.clear()
            assert await rest_of(answer) == b"hi"
        await asyncio.wait_for(left.wait(), 5)


async def test_many_at_once() -> None:
    async def talk(connection: Connection) -> None:
        while True:
            request = await connection.request()
            await connection.answer(request.body)

    async with serving(talk) as server, client_of(server.url) as client:
        for _ in range(2):
            bodies = [b"%d" % n * 1000 for n in range(1, 101)]
            assert [got.body for got in await asyncio.gather(*(get(client, body) for body in bodies))] == bodies
    assert len(server.connections) == 100


# --- time --------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def full_backlog() -> AsyncIterator[str]:
    """The URL of a server that accepts nobody."""
    with ExitStack() as opened:
        listening = opened.enter_context(socket.socket())
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        for _ in range(8):  # more than any system lets in
            waiting = opened.enter_context(socket.socket())
            waiting.setblocking(False)
            with suppress(BlockingIOError):
                waiting.connect(listening.getsockname())
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


async def test_a_server_that_accepts_nobody() -> None:
    async with full_backlog() as url, client_of(url, connect_timeout=0.05) as client:
        error = await refused(client)
    assert (error.code, error.before_reply) == ("upstream_unavailable", False)


@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 200 OK\r\nx-o", b"HTTP/1.1 100 Continue\r\n\r\n"])
async def test_silence_before_and_in_a_head(said: bytes) -> None:
    async with serving(always(said)) as server, client_of(server.url, silence=0.05) as client:
        assert (await refused(client)).code == "upstream_timeout"


@pytest.mark.parametrize(
    "said", [CHUNKED + b"2\r\nhi\r\n", HI.replace(b": 2", b": 3"), HI.replace(b"content-length", b"x")]
)
async def test_silence_in_a_body(said: bytes) -> None:
    async with serving(always(said)) as server, client_of(server.url, silence=0.05) as client:
        got = await get(client)
    assert got.body == b"hi"
    assert got.fault is not None
    assert got.fault.code == "upstream_stalled"


# --- who does not read -------------------------------------------------------------------------------------------


async def test_who_does_not_read_stops_the_server_and_loses_nothing() -> None:
    loop = asyncio.get_running_loop()
    body = bytes(range(256)) * (20 << 20 >> 8)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setblocking(False)
        async with client_of(f"http://127.0.0.1:{listening.getsockname()[1]}") as client, AsyncExitStack() as stack:
            asking = asyncio.create_task(stack.enter_async_context(client.ask("GET", "/x")))
            server, _ = await loop.sock_accept(listening)
            with server:
                await loop.sock_recv(server, 1 << 16)
                await loop.sock_sendall(server, b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body))
                answer = await asking
                written = await fill(server, body)
                assert written < len(body) / 2
                rest = asyncio.create_task(loop.sock_sendall(server, memoryview(body)[written:]))
                reads = []
                while data := await answer.read():
                    reads.append(data)
                await rest
                assert b"".join(reads) == body
                assert max(map(len, reads)) <= MOST
                assert len(reads) < 20 * len(body) / MOST


@pytest.mark.parametrize("size", [2 * READ, 2 * READ + 9])
async def test_what_came_before_a_reset_is_read(size: int) -> None:
    asked, came, ended = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def talk(connection: Connection) -> None:
        await connection.request()
        await connection.say(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % (size + 1))
        await asked.wait()
        await connection.say(bytes(size))
        await came.wait()
        connection.reset()
        ended.set()

    async with serving(talk) as server, client_of(server.url) as client, client.ask("GET", "/x") as answer:
        asked.set()
        await has_come(answer, size)
        came.set()
        await ended.wait()
        await asyncio.sleep(0.01)  # so long that the end has come as well
        assert len(await answer.read()) == size
        with pytest.raises(ProviderError) as caught:
            await answer.read()
    assert caught.value.code == "upstream_incomplete"


async def fill(server: socket.socket, body: bytes) -> int:
    """Writes until the system takes no more, and gives how much that was."""
    written = 0
    for _ in range(3):  # the other side's system may take a little more after a while
        with suppress(BlockingIOError):
            while written < len(body):
                written += server.send(memoryview(body)[written : written + READ])
        await asyncio.sleep(0.01)
    return written


# --- leaving -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("phase", ["sending", "head", "in the head", "reading"])
async def test_who_leaves_closes_the_line_at_once(phase: str) -> None:
    reached, cancelled, left = asyncio.Event(), asyncio.Event(), asyncio.Event()
    said = {"in the head": CHUNKED[:9], "reading": CHUNKED + b"2\r\nhi\r\n"}.get(phase, b"")

    async def talk(connection: Connection) -> None:
        await connection.reader.readuntil(b"\r\n\r\n")  # and no more than a little of a large body
        await connection.say(said)
        reached.set()
        await cancelled.wait()
        await connection.left()
        left.set()

    async with serving(talk) as server, client_of(server.url) as client:
        asking = asyncio.create_task(get(client, b"x" * (16 << 20 if phase == "sending" else 1)))
        await asyncio.wait_for(reached.wait(), 5)
        await asyncio.sleep(0.01)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        cancelled.set()
        await asyncio.wait_for(left.wait(), 5)
    assert len(server.connections) == 1


async def test_who_leaves_while_connecting_leaves_nothing_open() -> None:
    async with full_backlog() as url, client_of(url) as client:
        before = open_sockets()
        asking = asyncio.create_task(get(client))
        async with asyncio.timeout(5):
            while open_sockets() == before:  # noqa: ASYNC110  # nobody tells of it
                await asyncio.sleep(0.001)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        assert open_sockets() == before


def open_sockets() -> int:
    return len(list(Path("/dev/fd").iterdir()))


async def test_an_event_loop_that_cannot_tell_what_is_there_is_not_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    def not_here(*_: object) -> None:
        raise NotImplementedError

    async with serving(always(HI[:-1], b"i")) as server, client_of(server.url) as client:
        monkeypatch.setattr(asyncio.get_running_loop(), "add_reader", not_here)
        for _ in range(2):
            assert (await get(client, b"said")).body == b"hi"


async def test_a_whole_body_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rejoinder.llm.answer_stream.WHOLE", 1)
    async with serving(always(HI)) as server, client_of(server.url) as client, client.ask("GET", "/x") as answer:
        with pytest.raises(ProviderError) as caught:
            await rest_of(answer)
    assert caught.value.code == "upstream_malformed"
