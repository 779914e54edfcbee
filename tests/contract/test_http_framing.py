"""The bytes of a stream: the rules of `docs/api.md`, checked where a client's parser would hide a breach."""

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import pytest

from serving import ServerThread
from strict_sse import BadStream, StrictReader, text_of
from wire import PATIENCE, SILENT, Api, events_of, script, slow

# --- the reader itself would see a breach ------------------------------------------------------------------------

FIRST = b'retry: 1000\nevent: message.started\ndata: {"seq":1,"message_id":"m","attempt":1,"model":"x"}\nid: 1\n\n'
SECOND = b'event: message.stopping\ndata: {"seq":2,"message_id":"m"}\nid: 2\n\n'


def test_the_reader_takes_what_the_contract_allows() -> None:
    for size in (1, 2, 3, 7, 1000):
        reader = StrictReader()
        data = b":\n" + FIRST + b":\n:\n" + SECOND
        for start in range(0, len(data), size):
            reader.feed(data[start : start + size])
        reader.check_whole()
        assert ([frame.seq for frame in reader.frames], reader.heartbeats) == ([1, 2], 3)


@pytest.mark.parametrize(
    "data",
    [
        FIRST.replace(b"\n", b"\r\n"),
        b":\n\n" + FIRST,
        b"retry: 1000\n\n" + FIRST,
        FIRST + b": ping\n" + SECOND,
        FIRST + FIRST.replace(b"1", b"2"),
        FIRST + SECOND.replace(b"id: 2\n", b""),
        FIRST + SECOND.replace(b"id: 2", b"id: 3"),
        FIRST + b'id: 2\nevent: message.stopping\ndata: {"seq":2,"message_id":"m"}\n\n',
        FIRST + SECOND.replace(b"message.stopping", b"error"),
        FIRST + SECOND.replace(b"data: ", b"data:"),
        FIRST + SECOND.replace(b'"message_id":"m"', b'"x":1'),
        SECOND,
        FIRST + SECOND + SECOND.replace(b"2", b"1"),
    ],
)
def test_the_reader_refuses_everything_else(data: bytes) -> None:
    with pytest.raises(BadStream):
        StrictReader().feed(data)


# --- raw ---------------------------------------------------------------------------------------------------------


@contextmanager
def raw_get(url: str, path: str) -> Iterator[socket.socket]:
    where = urlsplit(url)
    with socket.create_connection((where.hostname or "", where.port or 80), timeout=PATIENCE) as line:
        line.sendall(f"GET {path} HTTP/1.1\r\nHost: {where.netloc}\r\nAccept-Encoding: gzip, br, zstd\r\n\r\n".encode())
        yield line


def chunks(line: socket.socket) -> Iterator[bytes]:
    """The chunks of a chunked body, as they were written. An empty one is the clean end."""
    data = b""

    def more() -> bytes:
        piece = line.recv(65536)
        assert piece, "the connection was broken off"
        return piece

    while b"\r\n\r\n" not in data:
        data += more()
    head, _, data = data.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200"), head
    assert b"transfer-encoding: chunked" in head.lower()
    while True:
        while b"\r\n" not in data:
            data += more()
        size, _, data = data.partition(b"\r\n")
        while len(data) < int(size, 16) + 2:
            data += more()
        chunk, data = data[: int(size, 16)], data[int(size, 16) + 2 :]
        yield chunk
        if not chunk:
            return


def test_every_write_is_of_whole_frames(api: Api, sid: str) -> None:
    """Some readers take an id when its line arrives: an event that is cut behind it would be lost to them."""
    mid = api.send_async(sid, slow(60, 0.004))["reply"]["id"]
    reader = StrictReader()
    with raw_get(api.url, f"/v1{events_of(sid, mid)}") as line:
        for chunk in chunks(line):
            reader.feed(chunk)
            reader.check_whole()
    assert reader.frames[-1].type == "message.ended"


def test_a_first_byte_comes_at_once_though_there_is_no_event(api: Api, sid: str) -> None:
    seq = api.last_seq(sid)
    began = time.monotonic()
    with raw_get(api.url, f"/v1/sessions/{sid}/events?after={seq}") as line:
        assert next(chunks(line)) == b":\n"
    assert time.monotonic() - began < 5, "and not with the first heartbeat"


def test_retry_travels_inside_the_first_frame_and_in_no_other(api: Api, sid: str) -> None:
    with api.send_streamed(sid, script("tokens=5 pace=0.01")) as stream:
        frames = stream.rest()
    assert frames[0].raw.startswith(b"retry: 1000\nevent: message.created\n")
    assert not any(b"retry:" in frame.raw.partition(b"data: ")[0] for frame in frames[1:])


def test_a_stream_is_never_compressed(api: Api, sid: str) -> None:
    with api.send_streamed(
        sid, script("tokens=2000"), headers={"accept-encoding": "gzip, deflate, br, zstd"}
    ) as stream:
        assert "content-encoding" not in stream.response.headers
        stream.rest()


def test_a_frame_is_one_line_of_data_whatever_its_text(api: Api, sid: str) -> None:
    text = "a\nb\r\nc\rd\u2028e\u0085f\x0bg"
    with api.send_streamed(sid, text) as stream:
        frames = stream.rest()
    assert text_of(frames, frames[-1].message_id or "") == text
    assert all(frame.raw.count(b"\n") - frame.raw.count(b"retry:") == 4 for frame in frames)


# --- heartbeats --------------------------------------------------------------------------------------------------


def test_heartbeats_come_before_the_first_token_and_between_tokens(start_server: Callable[..., ServerThread]) -> None:
    api = start_server(heartbeat=0.2).api
    sid = api.session()
    with api.send_streamed(sid, SILENT) as stream:
        mid = stream.until("message.started").message_id or ""
        had, began = stream.heartbeats, time.monotonic()
        while stream.heartbeats < had + 4:
            assert stream.read()
        assert 0.6 < time.monotonic() - began < 5
        assert len(stream.frames) == 3, "and nothing but heartbeats"
        api.stop(sid, mid)
        stream.rest()


def test_heartbeats_come_on_the_stream_of_a_quiet_session(start_server: Callable[..., ServerThread]) -> None:
    api = start_server(heartbeat=0.1).api
    sid = api.session()
    with api.follow_session(sid, after=1) as stream:
        while stream.heartbeats < 5:
            assert stream.read()
        api.send_whole(sid, "x")
        stream.until("message.ended")


def test_a_stream_that_is_told_nothing_of_what_happens_elsewhere_has_its_heartbeats(
    start_server: Callable[..., ServerThread],
) -> None:
    """Another branch writes all the time; the reader of a silent reply must not be taken for well served."""
    api = start_server(heartbeat=0.2).api
    sid = api.session()
    silent = api.send_async(sid, SILENT)["reply"]["id"]
    busy = api.send_async(sid, slow(10_000, 0.01), parent_id=None)["reply"]["id"]
    with api.follow(sid, silent, timeout=3) as stream:
        stream.until("message.started")
        had = stream.heartbeats
        while stream.heartbeats < had + 3:
            assert stream.read()
    for mid in (silent, busy):
        api.stop(sid, mid)


def test_a_busy_stream_needs_no_heartbeats(start_server: Callable[..., ServerThread]) -> None:
    api = start_server(heartbeat=1).api
    with api.send_streamed(api.session(), slow(50, 0.005)) as stream:
        stream.rest()
        assert stream.heartbeats <= 2
