"""TLS of the HTTP client: who is trusted, what is read, and how it ends."""

import asyncio
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import cast

import pytest
import trustme

from asking import client_of, get, has_come, leave, refused
from raw_server import Connection, passed, serving
from rejoinder.errors import ProviderError
from rejoinder.llm.http_line import MOST, READ, TlsLine

CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
RECORD = 16 << 10


def length(size: int) -> bytes:
    return b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % size


async def echo(connection: Connection) -> None:
    while True:
        request = await connection.request()
        await connection.answer(request.body)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_an_exchange_with_large_bodies_both_ways(
    server_context: Callable[..., ssl.SSLContext], version: ssl.TLSVersion
) -> None:
    context = server_context()
    context.minimum_version = context.maximum_version = version
    body = bytes(range(256)) * (5 << 20 >> 8)
    async with serving(echo, tls=context) as server, client_of(f"https://localhost:{server.port}") as client:
        for sent in (b"hi", body, b"hi"):
            got = await get(client, sent)
            assert (got.status, got.body == sent, got.fault) == (200, True, None)
    assert [len(connection.requests) for connection in server.connections] == [3]


@pytest.mark.parametrize("trouble", ["name", "authority", "expired", "plain", "closes"])
async def test_a_server_that_cannot_be_trusted(server_context: Callable[..., ssl.SSLContext], trouble: str) -> None:
    async def talk(connection: Connection) -> None:
        if trouble == "plain":
            await connection.say(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        elif trouble == "closes":
            await connection.reader.read(1)
        else:
            await connection.request()

    context = {
        "name": lambda: server_context("elsewhere.invalid"),
        "authority": lambda: server_context(authority=trustme.CA()),
        "expired": lambda: server_context(not_after=datetime.now(UTC) - timedelta(days=1)),
    }.get(trouble, lambda: None)()
    async with serving(talk, tls=context) as server, client_of(f"https://localhost:{server.port}") as client:
        error = await refused(client, b"secret")
    assert (error.code, error.detail) == (
        "upstream_unavailable",
        "No secure connection to the upstream could be made.",
    )
    assert not server.requests


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_a_server_that_wants_a_certificate(
    server_context: Callable[..., ssl.SSLContext], version: ssl.TLSVersion
) -> None:
    context = server_context()
    context.verify_mode = ssl.CERT_REQUIRED
    context.minimum_version = context.maximum_version = version  # from 1.3 on it says so in place of its answer

    def serve(listening: socket.socket) -> None:
        """Not on the event loop, whose servers close without saying why."""
        accepted, _ = listening.accept()
        with accepted, suppress(OSError), context.wrap_socket(accepted, server_side=True):
            pass

    with socket.create_server(("127.0.0.1", 0)) as listening:
        served = asyncio.create_task(asyncio.to_thread(serve, listening))
        async with client_of(f"https://localhost:{listening.getsockname()[1]}") as client:
            error = await refused(client)
        await served
    assert (error.code, error.detail) == (
        "upstream_unavailable",
        "No secure connection to the upstream could be made.",
    )


async def test_a_server_that_resets_the_handshake() -> None:
    async def talk(connection: Connection) -> None:
        await connection.reader.read(1)
        connection.reset()

    async with serving(talk) as server, client_of(f"https://localhost:{server.port}") as client:
        error = await refused(client)
    assert (error.code, error.before_reply) == ("upstream_unavailable", True)


async def test_a_server_that_never_answers_the_handshake() -> None:
    left = asyncio.Event()

    async def talk(connection: Connection) -> None:
        await connection.left()
        left.set()

    async with (
        serving(talk) as server,
        client_of(f"https://localhost:{server.port}", connect_timeout=0.05) as client,
    ):
        assert (await refused(client)).code == "upstream_unavailable"
        await asyncio.wait_for(left.wait(), 5)


async def test_who_leaves_during_the_handshake_closes_the_line() -> None:
    reached, left = asyncio.Event(), asyncio.Event()

    async def talk(connection: Connection) -> None:
        await connection.reader.read(1)
        reached.set()
        await connection.left()
        left.set()

    async with serving(talk) as server, client_of(f"https://localhost:{server.port}") as client:
        await leave(client, reached, left)


@pytest.mark.parametrize(
    ("said", "fault"),
    [(b"HTTP/1.1 200 OK\r\n\r\nsome", None), (CHUNKED + b"4\r\nsome\r\n", "upstream_incomplete")],
)
async def test_a_server_that_closes_without_a_word(
    server_context: Callable[..., ssl.SSLContext], said: bytes, fault: str | None
) -> None:
    async def talk(connection: Connection) -> None:
        await connection.request()
        await connection.say(said)
        connection.cut()

    async with (
        serving(talk, tls=server_context()) as server,
        client_of(f"https://localhost:{server.port}") as client,
    ):
        got = await get(client)
    assert (got.body, got.fault and got.fault.code) == (b"some", fault)


@pytest.mark.parametrize("ending", ["close", "cut", "reset"])
async def test_small_records_come_in_one_read_whatever_follows_them(
    server_context: Callable[..., ssl.SSLContext], ending: str
) -> None:
    asked, came, ended = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def talk(connection: Connection) -> None:
        await connection.request()
        await connection.say(length(100_000))
        await asked.wait()
        for n in range(1000):
            connection.writer.write(b"%050d" % n)
        await came.wait()
        if ending == "reset":
            connection.reset()
        elif ending == "cut":
            connection.cut()
        else:
            connection.writer.close()
        ended.set()

    async with (
        serving(talk, tls=server_context()) as server,
        client_of(f"https://localhost:{server.port}") as client,
        client.ask("GET", "/x") as answer,
    ):
        asked.set()
        await has_come(answer, 72 * 1000)
        came.set()
        await ended.wait()
        await asyncio.sleep(0.01)  # so long that the end has come as well
        assert await answer.read() == b"".join(b"%050d" % n for n in range(1000))
        with pytest.raises(ProviderError) as caught:
            await answer.read()
    assert caught.value.code == "upstream_incomplete"


async def test_no_more_is_taken_in_than_is_read(server_context: Callable[..., ssl.SSLContext]) -> None:
    body = bytes(range(256)) * (20 << 20 >> 8)

    async def talk(connection: Connection) -> None:
        await connection.request()
        await connection.say(length(len(body)) + body)

    async with (
        serving(talk, tls=server_context()) as server,
        client_of(f"https://localhost:{server.port}") as client,
        client.ask("GET", "/x") as answer,
    ):
        line = cast("TlsLine", answer.line)
        reads: list[bytes] = []
        while data := await answer.read():
            reads.append(data)
            assert line._coming.pending <= MOST
            assert len(data) <= MOST + READ
            await asyncio.sleep(0)  # more comes meanwhile
    assert b"".join(reads) == body


@pytest.mark.parametrize("read_between", [True, False])
async def test_what_stands_before_a_spoilt_record_is_given(
    server_context: Callable[..., ssl.SSLContext], *, read_between: bool
) -> None:
    more, spoil, spoilt = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def talk(connection: Connection) -> None:
        await connection.request()
        await connection.say(CHUNKED)
        await more.wait()
        await connection.say(b"4\r\nsome\r\n")
        await connection.left()

    async def spoiling(client: Connection) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        there, back = (
            asyncio.create_task(passed(client.reader, writer)),
            asyncio.create_task(passed(reader, client.writer)),
        )
        await spoil.wait()
        await client.say(b"\x17\x03\x03\x00\x20" + b"spoilt!!" * 4)
        spoilt.set()
        await asyncio.gather(there, back)

    async with (
        serving(talk, tls=server_context()) as server,
        serving(spoiling) as between,
        client_of(f"https://localhost:{between.port}") as client,
        client.ask("GET", "/x") as answer,
    ):
        more.set()
        await has_come(answer, 9)
        if read_between:
            assert await answer.read() == b"some"
        spoil.set()
        await spoilt.wait()
        if not read_between:
            assert await answer.read() == b"some"
        with pytest.raises(ProviderError) as caught:
            await asyncio.wait_for(answer.read(), 1)
    assert caught.value.code == "upstream_incomplete"
