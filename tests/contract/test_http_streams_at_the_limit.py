"""Streams that the server cannot or will not go on with: too many of them, and readers that do not read."""

import gc
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from serving import ServerThread
from wire import (
    PATIENCE,
    Api,
    broken_body,
    check_problem,
    check_stream_headers,
    events_of,
    eventually,
    message_id,
    script,
    slow,
)

StartServer = Callable[..., ServerThread]
JSON = {"accept": "application/json"}


def check_not_now(api: Api, path: str, **request: Any) -> None:
    """200, `retry: 5000` and a broken connection: any other status makes a browser give up for good."""
    with api.http.stream("GET", f"/v1{path}", **request) as answer:
        assert answer.status_code == 200
        check_stream_headers(answer)
        assert broken_body(answer) == b"retry: 5000\n:\n", "a blank line would make an event of it"


def test_past_the_limit_a_get_is_told_to_come_again_and_a_post_is_refused(start_server: StartServer) -> None:
    api = start_server(max_streams=2).api
    sid = api.session()
    with ExitStack() as stack:
        mid = api.send_async(sid, slow())["reply"]["id"]
        for stream in (stack.enter_context(api.follow(sid, mid)), stack.enter_context(api.follow_session(sid))):
            stream.until("message.started")
        before = api.last_seq(sid)
        for path in (events_of(sid, mid), f"/sessions/{sid}/events"):
            check_not_now(api, path)
            check_not_now(api, path, headers={"last-event-id": "1"})
        for body in ({"content": "x", "parent_id": None}, {"content": "x"}):
            check_problem(api.post(f"/sessions/{sid}/messages", json=body), 503, "overloaded")
        assert len(api.all_messages(sid)) == 2 and api.last_seq(sid) >= before, "and nothing was sent"
        assert api.send_whole(sid, "x", parent_id=None)["reply"]["status"] == "completed", (
            "what needs no stream goes on"
        )
        for path, code in ((f"/sessions/{sid}/messages/{message_id()}/events", "message_not_found"),):
            check_problem(api.get(path), 404, code)
        check_problem(api.get(events_of(sid, mid), params={"after": 10**9}), 400, "invalid_cursor")
    eventually(lambda: open_streams(api) == 0)
    with api.follow(sid, mid) as stream:
        api.stop(sid, mid)
        assert stream.rest()[-1].type == "message.ended"


def test_what_has_ended_is_told_to_be_ended_however_many_streams_are_open(start_server: StartServer) -> None:
    api = start_server(max_streams=1).api
    sid = api.session()
    mid = api.send_whole(sid, "x")["reply"]["id"]
    with api.follow_session(sid) as stream:
        stream.until("message.ended")
        answer = api.get(events_of(sid, mid), params={"after": api.last_seq(sid)})
        assert (answer.status_code, answer.content) == (204, b"")


@pytest.mark.parametrize("http", ["httptools", "h11"])
@pytest.mark.parametrize("live", [True, False])
def test_a_reader_that_left_with_another_request_behind_its_stream_harms_nobody(
    http: str, live: bool, start_server: StartServer, caplog: pytest.LogCaptureFixture
) -> None:
    # A server that has read ahead may pause reading, and then sees that the client has gone only when it writes.
    api = start_server(http=http, heartbeat=0.05).api
    sid = api.session()
    url = urlsplit(api.url)
    with socket.create_connection((url.hostname, url.port), timeout=PATIENCE) as connection:
        for path in (f"/v1/sessions/{sid}/events", "/healthz"):
            connection.sendall(f"GET {path} HTTP/1.1\r\nhost: {url.netloc}\r\n\r\n".encode())
        while b"session.created" not in connection.recv(4096):
            pass
        assert open_streams(api) == 1
        mid = api.send_async(sid, script("tokens=40 pace=0.02"))["reply"]["id"] if live else ""
    eventually(lambda: open_streams(api) == 0)
    if live:
        eventually(lambda: api.message(sid, mid)["status"] == "completed")
    assert api.send_whole(sid, "x")["reply"]["status"] == "completed"
    assert not [record for record in caplog.records if record.exc_info]


def open_streams(api: Api) -> float:
    line = next(line for line in api.get("//metrics").text.splitlines() if line.startswith("rejoinder_open_streams "))
    return float(line.split(" ")[1])


def test_streams_that_were_left_do_not_count(start_server: StartServer) -> None:
    api = start_server(max_streams=3).api
    sid = api.session()
    mid = api.send_async(sid, slow())["reply"]["id"]
    for _ in range(12):
        with api.follow(sid, mid) as stream:
            stream.until("message.delta")
        eventually(lambda: open_streams(api) == 0)
    api.stop(sid, mid)


# --- readers that do not read ------------------------------------------------------------------------------------


@contextmanager
def deaf(api: Api, path: str) -> Iterator[socket.socket]:
    """A reader that asks for a stream, and then takes nothing."""
    where = urlsplit(api.url)
    with socket.socket() as line:
        line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        line.settimeout(PATIENCE)
        line.connect((where.hostname, where.port))
        line.sendall(f"GET /v1{path} HTTP/1.1\r\nHost: {where.netloc}\r\n\r\n".encode())
        yield line


def test_a_reader_that_takes_nothing_is_cut_and_the_others_read_on(start_server: StartServer) -> None:
    server = start_server(write_timeout=0.5, max_reply=64 << 20)
    api = server.api
    sid = api.session()
    mid = api.send_async(sid, script("tokens=4000000 burst=4000 pace=0.000002"))["reply"]["id"]
    with deaf(api, events_of(sid, mid)) as line, api.follow(sid, mid) as good:
        good.until("message.delta")
        eventually(lambda: open_streams(api) == 2)
        ours = line.getsockname()
        deadline = time.monotonic() + PATIENCE
        while open_streams(api) > 1:
            assert good.read() and time.monotonic() < deadline, "the deaf reader was not cut"
        eventually(lambda: ours not in peers(server), 5)
        assert len(good.frames) > 10
        assert api.message(sid, mid)["status"] == "streaming", "the reply does not care"
    api.stop(sid, mid)


def peers(server: ServerThread) -> list[tuple[str, int]]:
    """The other ends of the connections that the server holds open: an abandoned one would keep its buffers."""
    return [
        connection.transport.get_extra_info("peername")
        for connection in list(server.uvicorn.server_state.connections)
        if connection.transport is not None
    ]


def test_a_reader_that_was_cut_comes_back_and_has_everything(start_server: StartServer) -> None:
    api = start_server(write_timeout=1).api
    sid = api.session()
    mid = api.send_whole(sid, script("big=4000000"))["reply"]["id"]
    with deaf(api, events_of(sid, mid)) as line:
        assert line.recv(100).startswith(b"HTTP/1.1 200 OK")
        eventually(lambda: open_streams(api) == 0)
    with api.follow(sid, mid) as stream:
        assert len(stream.rest()[-1].data["message"]["content"]) == 4_000_000


@pytest.mark.parametrize("http", ["httptools", "h11"])
def test_a_reader_of_a_whole_answer_that_takes_nothing_is_cut(start_server: StartServer, http: str) -> None:
    server = start_server(http=http, write_timeout=0.4)
    api = server.api
    sid = api.session()
    for _ in range(3):
        api.send_whole(sid, script("big=4000000"), parent_id=None)
    with deaf(api, f"/sessions/{sid}/messages?branch=all") as line:
        assert line.recv(100).startswith(b"HTTP/1.1 200 OK")
        ours = line.getsockname()
        if http == "httptools":
            eventually(lambda: ours not in peers(server), 10)
        else:
            time.sleep(2)
        taken = 0
        with suppress(ConnectionResetError):
            while piece := line.recv(1 << 20):
                taken += len(piece)
    assert taken < 12_000_000
    assert len(api.all_messages(sid)) == 6, "who reads has it whole"


def test_a_reader_that_asks_for_many_answers_and_takes_none_is_cut(start_server: StartServer) -> None:
    server = start_server(write_timeout=0.4)
    api = server.api
    sid = api.session(system_prompt="x" * 20_000)
    with deaf(api, f"/sessions/{sid}") as line:
        line.sendall(f"GET /v1/sessions/{sid} HTTP/1.1\r\nHost: {urlsplit(api.url).netloc}\r\n\r\n".encode() * 2_000)
        ours = line.getsockname()
        eventually(lambda: ours not in peers(server), 10)


def test_memory_is_bounded_by_what_is_live_and_not_by_how_slow_readers_are(start_server: StartServer) -> None:
    """Readers that take nothing of a long log cost a piece of it each, not a copy of it each."""
    api = start_server(write_timeout=60).api
    sid = api.session()
    for _ in range(LONG):
        api.send_whole(sid, script("big=2000000"), parent_id=None)
    with ExitStack() as stack:
        gc.collect()
        before = resident()
        for _ in range(READERS):
            assert stack.enter_context(deaf(api, f"/sessions/{sid}/events")).recv(100).startswith(b"HTTP/1.1 200 OK")
        time.sleep(1)
        grown = resident() - before
    each, whole = grown // READERS, LONG * 4_000_000
    assert each < whole // 4, f"{each >> 10} KiB for each reader of a log of {whole >> 10} KiB"


LONG = 10
"""Replies of 2 MB, each twice in the log: as deltas, and in `message.ended`."""

READERS = 15


def resident() -> int:
    """Bytes of memory of this process."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) << 10
