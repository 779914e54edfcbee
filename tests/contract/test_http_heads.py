"""The heads of requests: how long they may be, and how long a connection may be without one."""

import json
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import pytest
from uvicorn import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from rejoinder.api import request_heads
from rejoinder.api.request_heads import MOST, BoundedHeads
from serving import ServerProcess, ServerThread
from wire import Api, script

StartServer = Callable[..., ServerThread]

REQUEST = b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n"
SIZE_OF_REST = len("/healthz") + len("host: localhost\r\n") + len("x: \r\n")
"""Bytes that count of a REQUEST with a header `x`, beside what that says."""


@pytest.fixture
def api(start_server: StartServer) -> Api:
    return start_server().api


@pytest.fixture
def hurried(start_server: StartServer, monkeypatch: pytest.MonkeyPatch) -> Api:
    monkeypatch.setattr(request_heads, "SECONDS", 0.5)
    return start_server().api


@contextmanager
def connected(api: Api) -> Iterator[socket.socket]:
    url = urlsplit(api.url)
    with socket.create_connection((url.hostname, url.port), timeout=20) as connection:
        yield connection


def rest_of(connection: socket.socket) -> bytes:
    """All that comes until the server closes."""
    said = b""
    try:
        while data := connection.recv(1 << 16):
            said += data
    except ConnectionResetError:
        pass  # more was sent than was read
    return said


def send_on(connection: socket.socket, piece: bytes, times: int, pause: float = 0) -> None:
    for _ in range(times):
        connection.sendall(piece)
        time.sleep(pause)


def check_refusal(said: bytes) -> None:
    head, _, body = said.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 431 ")
    assert b"content-type: application/problem+json" in head and b"connection: close" in head
    problem: dict[str, Any] = json.loads(body)
    assert (problem["status"], problem["code"]) == (431, "headers_too_large")


def test_a_head_may_be_so_long_and_no_longer(api: Api) -> None:
    fits = REQUEST + b"x: " + b"y" * (MOST - SIZE_OF_REST)
    with connected(api) as connection:
        connection.sendall(fits + b"\r\nconnection: close\r\n\r\n")
        check_refusal(rest_of(connection))
    with connected(api) as connection:
        connection.sendall(fits + b"\r\n\r\n")
        assert connection.recv(1 << 16).startswith(b"HTTP/1.1 200 ")
        connection.sendall(fits + b"y\r\n\r\n")
        check_refusal(rest_of(connection))


@pytest.mark.parametrize(
    ("beginning", "piece"),
    [
        (REQUEST + b"x: ", b"y" * 1_000),
        (REQUEST, b"x: y\r\n" * 100),
        (b"GET /healthz?", b"y" * 1_000),
        (REQUEST.replace(b"GET", b"POST") + b"transfer-encoding: chunked\r\n\r\n0\r\n", b"x: y\r\n" * 100),
        (REQUEST.replace(b"GET", b"POST") + b"transfer-encoding: chunked\r\n\r\n0\r\nx: ", b"y" * 1_000),
        (REQUEST.replace(b"GET", b"POST") + b"transfer-encoding: chunked\r\n\r\n1;", b"y" * 1_000),
    ],
    ids=["one header", "many headers", "an address", "trailers", "one trailer", "an extension"],
)
def test_what_has_no_end_is_cut(api: Api, beginning: bytes, piece: bytes) -> None:
    with connected(api) as connection:
        connection.sendall(beginning)
        with pytest.raises((ConnectionResetError, BrokenPipeError)):
            send_on(connection, piece, 100_000)
    assert api.get("//healthz").status_code == 200


def test_a_long_body_is_no_long_head(api: Api) -> None:
    sid = api.session()
    body = json.dumps({"content": "a" * 200_000}).encode()
    head = f"POST /v1/sessions/{sid}/messages HTTP/1.1\r\nhost: localhost\r\naccept: application/json\r\n"
    head += f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    again = b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"
    with connected(api) as connection:
        connection.sendall(head.encode() + body + again)
        said = rest_of(connection)
    assert said.count(b"HTTP/1.1 200 OK") == 2


@pytest.mark.parametrize("said", [b"", b"\r\n", b"G", REQUEST, REQUEST + b"x: y"])
def test_a_connection_without_a_whole_head_is_closed(hurried: Api, said: bytes) -> None:
    began = time.monotonic()
    with connected(hurried) as connection:
        connection.sendall(said)
        assert rest_of(connection) == b""
    assert 0.3 < time.monotonic() - began < 10


def test_who_sends_a_head_bit_by_bit_is_not_waited_for_longer(hurried: Api) -> None:
    with connected(hurried) as connection:
        connection.sendall(REQUEST)
        with pytest.raises((ConnectionResetError, BrokenPipeError)):
            send_on(connection, b"x: y\r\n", 500, pause=0.02)


def test_a_further_request_is_waited_for_as_before_and_its_head_is_not(hurried: Api) -> None:
    with connected(hurried) as connection:
        for _ in range(2):
            connection.sendall(REQUEST + b"\r\n")
            answer = b""
            while not answer.endswith(b"}"):  # the head may come by itself
                piece = connection.recv(1 << 16)
                assert piece, answer
                answer += piece
            assert answer.startswith(b"HTTP/1.1 200 ")
            time.sleep(1)
        connection.sendall(REQUEST)
        assert rest_of(connection) == b""


def test_a_stream_outlasts_the_time_of_a_head(hurried: Api) -> None:
    sid = hurried.session()
    with hurried.send_streamed(sid, script("tokens=15 pace=0.1")) as stream:
        assert stream.rest()[-1].type == "message.ended"


def test_what_is_half_asked_behind_a_stream_does_not_end_it(hurried: Api) -> None:
    sid = hurried.session()
    reply = hurried.send_async(sid, script("tokens=15 pace=0.1"))["reply"]["id"]
    with connected(hurried) as connection:
        path = f"/v1/sessions/{sid}/messages/{reply}/events"
        connection.sendall(f"GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n".encode() + REQUEST)
        said = rest_of(connection)
    assert b"event: message.ended" in said and said.endswith(b"\r\n0\r\n\r\n")


def test_line_ends_between_requests_leave_the_clock_of_a_kept_connection_running(start_server: StartServer) -> None:
    server = start_server()
    server.uvicorn.config.timeout_keep_alive = 1
    with connected(server.api) as connection:
        connection.sendall(REQUEST + b"\r\n")
        assert connection.recv(1 << 16).startswith(b"HTTP/1.1 200 ")
        connection.sendall(b"\r\n")
        assert rest_of(connection) == b""


def test_the_service_is_served_so(start_process: Callable[..., ServerProcess]) -> None:
    with connected(start_process(store="memory:").api) as connection:
        connection.sendall(REQUEST + b"x: " + b"y" * MOST + b"\r\n\r\n")
        check_refusal(rest_of(connection))


async def test_a_connection_takes_no_more_memory_for_it() -> None:
    """What each connection keeps in a dictionary is small as long as the dictionaries of all share their keys: how many may be shared,
    and where at all, is Python's and differs from one version to the next."""
    config = Config(_nothing, log_config=None)
    config.load()

    def size(protocol: type[HttpToolsProtocol]) -> int:
        connection = protocol(config, ServerState(), {})
        connection.url = b""  # with its first request
        return sys.getsizeof(vars(connection))

    # Which differ by some bytes, since one has met requests in other tests.
    assert size(BoundedHeads) < 2 * size(HttpToolsProtocol)


async def _nothing(scope: Any, receive: Any, send: Any) -> None:
    """An app."""
