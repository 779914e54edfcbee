"""What the HTTP client makes of answers, however they are framed and wherever they are cut or spoilt."""

import gzip
import tracemalloc
import zlib
from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from asking import client_of, get, refused
from raw_server import Connection, Talk, serving
from rejoinder.llm.http_answer import HEAD

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"transfer-encoding: chunked\r\n\r\n"


def saying(*pieces: bytes, then: str = "close") -> Talk:
    """Answers each request so, and then closes, or resets the connection, or waits for the next."""

    async def talk(connection: Connection) -> None:
        while True:
            await connection.request()
            await connection.say(*pieces)
            if then != "wait":
                break
        if then == "reset":
            connection.reset()

    return talk


def chunks(body: bytes, *, size: int = 3, extension: bytes = b"", trailer: bytes = b"") -> bytes:
    pieces = [body[at : at + size] for at in range(0, len(body), size)]
    return b"".join(b"%x%b\r\n%b\r\n" % (len(each), extension, each) for each in pieces) + b"0\r\n" + trailer + b"\r\n"


FRAMINGS: dict[str, Callable[[bytes], bytes]] = {
    "length": lambda body: OK + b"X-One: 1\r\nContent-Length: %d\r\n\r\n" % len(body) + body,
    "chunked": lambda body: OK + b"x-one: 1\r\nTransfer-Encoding: Chunked\r\n\r\n" + chunks(body),
    "extended": lambda body: (
        OK
        + b"x-one: 1\r\ntransfer-encoding: chunked\r\n\r\n"
        + chunks(body, extension=b';a="b"', trailer=b"x-one: 2\r\n")
    ),
    "spaced": lambda body: OK + b"x-one: 1\r\ntransfer-encoding: chunked\r\n\r\n" + chunks(body, extension=b" "),
    "until close": lambda body: OK + b"x-one: 1\r\n\r\n" + body,
    "HTTP/1.0": lambda body: b"HTTP/1.0 200 OK\r\nx-one: 1\r\n\r\n" + body,
    "LF only": lambda body: b"HTTP/1.1 200 OK\nx-one: 1\ncontent-length: %d\n\n" % len(body) + body,
    "after 100": lambda body: (
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nx-two: 2\r\n\r\n" + FRAMINGS["chunked"](body)
    ),
    "odd headers": lambda body: (
        OK + b"x-empty:\r\nx-odd: a\x01\r\nx-one: 1\r\ncontent-length: %d\r\n\r\n" % len(body) + body
    ),
    "offers an upgrade": lambda body: (
        OK + b"connection: upgrade\r\nupgrade: h2\r\nx-one: 1\r\ncontent-length: %d\r\n\r\n" % len(body) + body
    ),
}


@pytest.mark.parametrize("framing", FRAMINGS)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=st.binary(max_size=40), cuts=st.lists(st.integers(1, 200), max_size=12, unique=True).map(sorted))
async def test_an_answer_is_the_same_wherever_it_is_cut(framing: str, body: bytes, cuts: list[int]) -> None:
    whole = FRAMINGS[framing](body)
    cuts = [0, *(cut for cut in cuts if cut < len(whole)), len(whole)]
    pieces = [whole[start:end] for start, end in pairwise(cuts)]
    async with serving(saying(*pieces)) as server, client_of(server.url) as client:
        got = await get(client)
    assert (got.status, got.body, got.fault) == (200, body, None)
    assert got.headers["x-one"] == "1"
    assert "x-two" not in got.headers


@pytest.mark.parametrize(
    "head",
    [b"204 No Content\r\n", b"304 Not Modified\r\ncontent-length: 9\r\n", b"200 OK\r\ncontent-length: 0\r\n"],
)
async def test_an_answer_without_a_body_ends_with_its_head(head: bytes) -> None:
    async with (
        serving(saying(b"HTTP/1.1 " + head + b"\r\n", then="wait")) as server,
        client_of(server.url) as client,
    ):
        for _ in range(2):
            got = await get(client)
            assert (got.status, got.body, got.fault) == (int(head[:3]), b"", None)
    assert len(server.connections) == 1


@pytest.mark.parametrize(
    ("said", "code"),
    [
        (b"", "upstream_incomplete"),
        (b"HTTP/1.1 200 OK\r\nx-on", "upstream_incomplete"),
        (b"HTTP/1.1 100 Continue\r\n\r\n", "upstream_incomplete"),
        (b"SSH-2.0-OpenSSH_9.6\r\n", "upstream_malformed"),
        (b"HTTP/1.1 2x0 OK\r\n\r\n", "upstream_malformed"),
        (b"HTTP/1.1 101 Switching\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n", "upstream_malformed"),
        (OK + b"x: " + b"y" * HEAD, "upstream_malformed"),
        (b"HTTP/1.1 100 Continue\r\n\r\n" * (HEAD // 20), "upstream_malformed"),
    ],
)
@pytest.mark.parametrize("then", ["close", "reset"])
async def test_what_is_no_head(said: bytes, code: str, then: str) -> None:
    async with serving(saying(said, then=then)) as server, client_of(server.url) as client:
        error = await refused(client)
    assert (error.code, error.before_reply) == (code, False)
    assert len(server.requests) == 1


@pytest.mark.parametrize("said", [OK + b"x: " + b"y" * 2 * HEAD, b"\x16\x03\x01 this is no HTTP"])
async def test_what_is_no_head_is_not_waited_for(said: bytes) -> None:
    async def talk(connection: Connection) -> None:
        await connection.request()
        await connection.say(said)
        await connection.left()

    async with serving(talk) as server, client_of(server.url) as client:
        assert (await refused(client)).code == "upstream_malformed"


@pytest.mark.parametrize(
    "said",
    [
        (OK + b"content-length: 9\r\n\r\nsome",),
        (OK + b"content-length: 9\r\n\r\n", b"some"),
        (CHUNKED + b"4\r\nsome\r\n",),
        (CHUNKED.replace(b"chunked", b"Chunked") + b"4\r\nsome\r\n",),
        (CHUNKED + b"9\r\nsome",),
        (CHUNKED + b"4\r\nsome\r\n0\r\n",),
    ],
)
@pytest.mark.parametrize("then", ["close", "reset"])
async def test_a_body_that_is_cut_is_given_as_far_as_it_came(said: tuple[bytes, ...], then: str) -> None:
    async with serving(saying(*said, then=then)) as server, client_of(server.url) as client:
        got = await get(client)
    assert got.body == b"some"
    assert got.fault is not None
    assert (got.fault.code, got.fault.before_reply) == ("upstream_incomplete", False)


async def test_a_body_until_the_end_that_is_reset_is_cut() -> None:
    async with serving(saying(OK + b"\r\nsome", then="reset")) as server, client_of(server.url) as client:
        got = await get(client)
    assert got.body == b"some"
    assert got.fault is not None
    assert got.fault.code == "upstream_incomplete"


@pytest.mark.parametrize("malformed", [b"zz\r\n", b"4\r\nmorexx\r\n", b"-1\r\n", b"fffffffffffffffff\r\n"])
@pytest.mark.parametrize("then", ["close", "wait"])
async def test_what_stands_before_a_malformed_chunk_is_given(malformed: bytes, then: str) -> None:
    async with (
        serving(saying(CHUNKED + b"4\r\nsome\r\n" + malformed, then=then)) as server,
        client_of(server.url) as client,
    ):
        for _ in range(2):
            got = await get(client)
            assert got.body in {b"some", b"somemore"}
            assert got.fault is not None
            assert got.fault.code == "upstream_incomplete"
    assert len(server.connections) == 2


@pytest.mark.parametrize("ending", ["close", "reset"])
async def test_an_answer_before_the_request_was_read(ending: str) -> None:
    async def talk(connection: Connection) -> None:
        await connection.reader.readuntil(b"\r\n\r\n")
        await connection.answer(b"too big", "413 Payload Too Large", "connection: close\r\n")
        if ending == "close":
            connection.writer.close()  # what is unread makes it a reset
        else:
            connection.writer.write_eof()
            await connection.left()

    async with serving(talk) as server, client_of(server.url) as client:
        got = await get(client, b"x" * (8 << 20))
    assert (got.status, got.body, got.fault) == (413, b"too big", None)


# --- bodies compressed though nobody asked ------------------------------------------------------------------------

TEXT = b"as it was said, " * 500
GZIPPED = gzip.compress(TEXT, mtime=0)
"""Of no time: all processes that share the tests have to find the same ones."""


def coded(coding: str, body: bytes) -> bytes:
    return OK + b"content-encoding: %b\r\ncontent-length: %d\r\n\r\n" % (coding.encode(), len(body)) + body


@pytest.mark.parametrize(
    ("coding", "body"),
    [
        ("gzip", GZIPPED),
        ("GZIP", GZIPPED),
        ("deflate", zlib.compress(TEXT)),
        ("identity", TEXT),
        ("", TEXT),
    ],
)
async def test_a_compressed_body(coding: str, body: bytes) -> None:
    whole = coded(coding, body)
    pieces = [whole[:70], whole[70:110], whole[110:]]
    async with serving(saying(*pieces)) as server, client_of(server.url) as client:
        got = await get(client)
    assert (got.body, got.fault) == (TEXT, None)


@pytest.mark.parametrize(
    ("coding", "body"),
    [("gzip", b"spoilt"), ("gzip", GZIPPED[:20] + b"spoilt" * 20), ("br", TEXT), ("zstd", TEXT)],
)
async def test_a_body_that_cannot_be_decompressed(coding: str, body: bytes) -> None:
    async with serving(saying(coded(coding, body))) as server, client_of(server.url) as client:
        got = await get(client)
    assert got.fault is not None
    assert got.fault.code == "upstream_malformed"
    assert TEXT.startswith(got.body)


@pytest.mark.parametrize("chunk", [1 << 14, 1 << 20])
async def test_a_bomb_is_not_let_off(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rejoinder.llm.http_answer.INFLATED", 1 << 20)
    body = chunks(zlib.compress(bytes(64 << 20)), size=chunk)  # 16 KB become 16 MB
    head = OK + b"content-encoding: gzip\r\ntransfer-encoding: chunked\r\n\r\n"
    async with serving(saying(head + body)) as server, client_of(server.url) as client:
        tracemalloc.start()
        got = await get(client)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert got.fault is not None
    assert got.fault.code == "upstream_malformed"
    assert len(got.body) <= 1 << 20
    assert most < 8 << 20
