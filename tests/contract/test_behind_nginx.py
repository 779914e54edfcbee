"""The nginx configuration of `docs/examples` before a real server: it holds nothing back and hides no broken line."""

import os
import re
import socket
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pytest

from rejoinder.llm.scripted_answer import full_text
from serving import ServerThread, serving
from strict_sse import text_of
from tcp_proxy import tcp_proxy
from tools import needed, nginx
from wire import (
    SILENT,
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

EXAMPLE = Path(__file__).parents[2] / "docs/examples/nginx.conf"
NAME = "chat.example.org"

# What a machine's own nginx.conf stands for: `gzip_types *` is the trap that the example must disarm.
AROUND = """
daemon off;
worker_processes 1;
pid {folder}/pid;
error_log stderr warn;
{user}
events {{ worker_connections 256; }}
http {{
    access_log off;
    gzip on;
    gzip_types *;
    gzip_min_length 1;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    include {folder}/rejoinder.conf;
}}
"""

pytestmark = pytest.mark.nginx


@dataclass
class Front:
    """`api` speaks to nginx, `behind` to the server itself."""

    api: Api
    behind: Api


def replaced(text: str, what: str, by: str) -> str:
    assert text.count(what) == 1, f"the example says {what!r} once"
    return text.replace(what, by)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as line:
        port: int = line.getsockname()[1]
    return port


@contextmanager
def fronted(behind: Api, folder: Path, *others: int) -> Iterator[Api]:
    """nginx with the example as it stands, but for the two ports, and further servers on the `others`, which it asks first."""
    program = needed(nginx)
    port = free_port()
    example = EXAMPLE.read_text()
    addresses = (*(f"127.0.0.1:{other}" for other in others), behind.url.removeprefix("http://"))
    [line] = re.findall(r"server 127\.0\.0\.1:8000\b[^;]*;", example)
    example = replaced(example, line, "".join(line.replace("127.0.0.1:8000", address) for address in addresses))
    example = replaced(example, "listen 80;", f"listen 127.0.0.1:{port};")
    (folder / "rejoinder.conf").write_text(example)
    user = "user root;" if os.geteuid() == 0 else ""
    (folder / "nginx.conf").write_text(AROUND.format(folder=folder, user=user))
    log = folder / "error.log"
    with log.open("wb") as errors:
        process = subprocess.Popen([program, "-p", folder, "-c", folder / "nginx.conf"], stderr=errors)
    try:
        api = Api(f"http://127.0.0.1:{port}")
        api.http.headers["host"] = NAME
        wait_for(port, process, log)
        yield api
        api.close()
    finally:
        process.terminate()
        process.wait(10)
    said = log.read_text()
    assert "[emerg]" not in said and "[alert]" not in said, said


def wait_for(port: int, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + 10
    while True:
        assert process.poll() is None and time.monotonic() < deadline, log.read_text()
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.02)
        else:
            return


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    with (
        serving(hosts=NAME, heartbeat=0.3) as server,
        fronted(server.api, tmp_path_factory.mktemp("nginx")) as api,
    ):
        yield Front(api, server.api)


def test_a_first_byte_comes_at_once_and_heartbeats_before_the_first_token(front: Front) -> None:
    sid = front.api.session()
    began = time.monotonic()
    with front.api.send_streamed(sid, SILENT) as stream:
        stream.until("message.started")
        assert time.monotonic() - began < 2
        had = stream.heartbeats
        while stream.heartbeats < had + 3:
            assert stream.read()
        front.api.stop(sid, stream.frames[-1].message_id or "")
        assert stream.rest()[-1].data["message"]["status"] == "stopped"


def test_frames_arrive_as_they_are_written(front: Front) -> None:
    """Each token within a moment of its writing, though all of them together would fit into any buffer."""
    sid = front.api.session()
    arrived: list[float] = []
    with front.api.send_streamed(sid, script("tokens=8 pace=0.15")) as stream:
        for _ in range(8):
            stream.until("message.delta")
            arrived.append(time.monotonic())
        assert stream.rest()[-1].data["message"]["content"] == full_text("tokens=8")
    gaps = [later - earlier for earlier, later in pairwise(arrived)]
    assert sum(gap > 0.05 for gap in gaps) >= 5, gaps


def test_a_stream_is_not_compressed_and_history_is(front: Front) -> None:
    sid = front.api.session()
    greedy = {"accept-encoding": "gzip, br"}
    with front.api.send_streamed(sid, script("tokens=300"), headers=greedy) as stream:
        check_stream_headers(stream.response)
        stream.rest()
    answer = front.api.get(f"/sessions/{sid}/messages", headers=greedy)
    assert answer.headers["content-encoding"] == "gzip"
    assert answer.json() == front.behind.history(sid)


def test_a_reader_that_comes_back_misses_nothing(front: Front) -> None:
    sid = front.api.session()
    with front.api.send_streamed(sid, slow(60, 0.005)) as stream:
        for _ in range(5):
            mid = stream.until("message.delta").message_id or ""
        seen = list(stream.frames)
    with front.api.stream("GET", events_of(sid, mid), headers={"last-event-id": str(seen[-1].seq)}) as stream:
        more = stream.rest()
    assert text_of(more, mid, start=text_of(seen, mid)) == full_text("tokens=60")
    answer = front.api.get(events_of(sid, mid), params={"after": more[-1].seq})
    assert (answer.status_code, answer.content) == (204, b"")


def test_leaving_is_seen_by_the_server_and_the_reply_goes_on(front: Front) -> None:
    sid = front.api.session()
    with front.api.send_streamed(sid, slow(150, 0.01)) as stream:
        mid = stream.until("message.delta").message_id or ""
        assert open_streams(front) >= 1
    eventually(lambda: open_streams(front) == 0)
    assert front.api.ended(sid, mid)["content"] == full_text("tokens=150")


def open_streams(front: Front) -> float:
    lines = front.behind.get("//metrics").text.splitlines()
    return float(next(line for line in lines if line.startswith("rejoinder_open_streams ")).split(" ")[1])


def test_a_stream_that_is_broken_off_is_broken_for_the_reader_too(front: Front) -> None:
    sid = front.api.session()
    front.api.send_async(sid, slow())
    with front.api.follow_session(sid) as stream:
        stream.until("message.delta")
        assert front.behind.ask("DELETE", f"/sessions/{sid}").status_code == 204
        assert stream.broken()[-1].type == "message.ended"
    check_problem(front.api.get(f"/sessions/{sid}/events"), 404, "session_not_found")


def test_a_reader_that_cannot_be_served_is_told_to_come_again(tmp_path: Path) -> None:
    with serving(hosts=NAME, max_streams=1) as server, fronted(server.api, tmp_path) as api:
        sid = api.session()
        with server.api.follow_session(sid) as holding:
            holding.until("session.created")
            with api.http.stream("GET", f"/v1/sessions/{sid}/events") as answer:
                assert answer.status_code == 200
                assert broken_body(answer) == b"retry: 5000\n:\n"
            check_problem(api.post(f"/sessions/{sid}/messages", json={"content": "x"}), 503, "overloaded")


def test_a_server_that_is_gone_is_a_502_and_a_broken_line(tmp_path: Path) -> None:
    with serving(hosts=NAME) as server, fronted(server.api, tmp_path) as api:
        sid = api.session()
        with api.follow_session(sid) as stream:
            stream.until("session.created")
            server.uvicorn.should_exit = True
            stream.broken()
        eventually(lambda: api.get("//healthz").status_code == 502)


def test_of_several_processes_one_that_is_gone_is_not_noticed(tmp_path: Path) -> None:
    """A browser that gets a 502 for a stream gives it up for good."""
    with serving(hosts=NAME) as server, fronted(server.api, tmp_path, free_port()) as api:
        assert api.get(f"/sessions/{server.api.session()}").status_code == 200


def test_processes_that_are_restarted_one_after_another_are_not_noticed(tmp_path: Path) -> None:
    with serving(hosts=NAME) as server:
        address = server.api.http.base_url.host, server.api.http.base_url.port or 0
        with (
            tcp_proxy(address) as one,
            tcp_proxy(address) as two,
            closing(Api(f"http://127.0.0.1:{one.port}")) as behind,
            fronted(behind, tmp_path, two.port) as api,
        ):
            for restarted in (one, two, one):
                targets, restarted.targets = restarted.targets, []
                restarted.cut()
                assert [api.get("/sessions").status_code for _ in range(4)] == [200] * 4
                restarted.targets = targets


def test_a_message_that_may_have_arrived_is_not_sent_to_another_process(tmp_path: Path) -> None:
    with (
        serving(hosts=NAME) as server,
        socket.create_server(("127.0.0.1", 0)) as dying,
        fronted(server.api, tmp_path, dying.getsockname()[1]) as api,
        ThreadPoolExecutor(1) as client,
    ):
        sent = client.submit(api.post, "/sessions", json={})
        line, _ = dying.accept()
        line.recv(1 << 16)
        line.close()
        assert sent.result().status_code == 502
        assert server.api.get("/sessions").json()["data"] == []


def test_what_the_service_says_arrives_unchanged(front: Front) -> None:
    sid = front.api.session()
    sent = front.api.post(f"/sessions/{sid}/messages", json={"content": "x"}, headers={"prefer": "respond-async"})
    assert sent.status_code == 202
    assert sent.headers["location"] == f"/v1{events_of(sid, sent.json()['reply']['id'])}"
    assert sent.headers["preference-applied"] == "respond-async"
    check_problem(front.api.get(f"/sessions/{sid}/messages/{message_id()}"), 404, "message_not_found")
    check_problem(front.api.get("/models", headers={"host": "elsewhere.example"}), 403, "unknown_host")


def test_a_body_that_the_service_takes_is_not_refused_before(front: Front) -> None:
    sid = front.api.session()
    headers = {"content-type": "application/json", "accept": "application/json"}
    for size, status in ((8 << 20, 200), ((8 << 20) + 1, 413)):
        answer = front.api.post(f"/sessions/{sid}/messages", content=b'{"content":"hi"}'.ljust(size), headers=headers)
        assert answer.status_code == status
    check_problem(answer, 413, "payload_too_large")
    file = front.api.post("/import", content=b" " * (9 << 20) + b"\n", headers={"content-type": "application/jsonl"})
    check_problem(file, 422, "invalid_request")


def test_the_page_of_the_service_may_change_things_through_it(front: Front) -> None:
    host = f"{NAME}:{front.api.url.rpartition(':')[2]}"
    for name in (NAME, host):
        answer = front.api.post("/sessions", json={}, headers={"host": name, "origin": f"https://{name}"})
        assert answer.status_code == 201
    answer = front.api.post("/sessions", json={}, headers={"origin": "https://evil.example"})
    check_problem(answer, 403, "foreign_origin")


def test_connections_to_the_service_are_kept(tmp_path: Path) -> None:
    with serving(hosts=NAME) as server, fronted(server.api, tmp_path) as api:
        for _ in range(10):
            assert api.get("/models").status_code == 200
        assert connections(server) <= 1


def connections(server: ServerThread) -> int:
    return len(server.uvicorn.server_state.connections)
