"""Every limit: at it, it is taken; one past it, it is refused and nothing has changed."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest

from rejoinder.llm.scripted_answer import full_text
from serving import ServerProcess, ServerThread
from strict_sse import text_of
from wire import PATIENCE, Api, Json, check_problem, eventually, script, session_id

BODY, TEXT, DEPTH, VALUES, TITLE, PAIRS, KEY, VALUE = 8 << 20, 256 << 10, 32, 20_000, 512, 16, 64, 512
"""The defaults, as the documents tell them."""

JSON_TYPE = {"content-type": "application/json"}
JSON = {"accept": "application/json"}

StartServer = Callable[..., ServerThread]
StartProcess = Callable[..., ServerProcess]


def nested(depth: int) -> Json:
    """A body of this depth: the body itself, and what stands around the schema of an answer, are five of it."""
    inner: Any = "x"
    for _ in range(depth - 5):
        inner = [inner]
    schema = {"name": "answer", "schema": {"a": inner}}
    return {"params": {"response_format": {"type": "json_schema", "json_schema": schema}}}


def valued(values: int) -> Json:
    """A body of so many values: four around the schema of an answer, its name, and what stands in it."""
    schema = {"name": "answer", "schema": {"a": ["0, [1, {" for _ in range(values - 7)]}}
    return {"params": {"response_format": {"type": "json_schema", "json_schema": schema}}}


def metadata(pairs: int = 1, key: int = 4, value: int = 1) -> Json:
    return {"metadata": {f"{number:04}".ljust(key, "é")[:key]: "🏮" * value for number in range(pairs)}}


OF_A_SESSION: dict[str, tuple[Json, Json]] = {
    "title": ({"title": "🏮" * TITLE}, {"title": "x" * (TITLE + 1)}),
    "system prompt": ({"system_prompt": "x" * TEXT}, {"system_prompt": "x" * (TEXT + 1)}),
    "system prompt in bytes": ({"system_prompt": "é" * (TEXT // 2)}, {"system_prompt": "é" * (TEXT // 2) + "x"}),
    "pairs of metadata": (metadata(PAIRS), metadata(PAIRS + 1)),
    "a key of metadata": (metadata(key=KEY), metadata(key=KEY + 1)),
    "a value of metadata": (metadata(value=VALUE), metadata(value=VALUE + 1)),
    "depth": (nested(DEPTH), nested(DEPTH + 1)),
    "values": (valued(VALUES - 1), valued(VALUES + 1)),  # an id more
    "64 bits": ({"params": {"seed": 2**63 - 1}}, {"params": {"seed": 2**63}}),
    "64 bits below": ({"params": {"seed": -(2**63)}}, {"params": {"seed": -(2**63) - 1}}),
}


@pytest.mark.parametrize(("at", "past"), OF_A_SESSION.values(), ids=OF_A_SESSION.keys())
def test_a_limit_of_a_session(api: Api, at: Json, past: Json) -> None:
    own = session_id()
    check_problem(api.post("/sessions", json={"id": own} | past), 422, "invalid_request")
    check_problem(api.get(f"/sessions/{own}"), 404, "session_not_found")
    made = api.post("/sessions", json={"id": own} | at)
    assert made.status_code == 201, made.text
    before = api.read_session(own)
    assert {name: before[name] for name in at} == at
    check_problem(api.ask("PATCH", f"/sessions/{own}", json=past), 422, "invalid_request")
    assert api.ask("PATCH", f"/sessions/{own}", json=at).status_code == 200
    assert api.read_session(own) == before


SHORT = script("tokens=1")
"""Makes the answer short, and is part of the text."""


def text(size: int, character: str = "x") -> str:
    """A text of so many bytes."""
    room = size - len(SHORT)
    wide = len(character.encode())
    return SHORT + "x" * (room % wide) + character * (room // wide)


def parts(size: int) -> list[Json]:
    return [{"type": "text", "text": text(size - 1000)}, {"type": "text", "text": "x" * 1000}]


PARTS = 1_000


def texts(parts: int) -> list[Json]:
    return [{"type": "text", "text": SHORT}, *({"type": "text", "text": ""} for _ in range(parts - 1))]


OF_A_MESSAGE: dict[str, tuple[Json, Json]] = {
    "text": ({"content": text(TEXT)}, {"content": text(TEXT + 1)}),
    "text in bytes": ({"content": text(TEXT, "🏮")}, {"content": text(TEXT, "🏮") + "x"}),
    "parts": ({"content": texts(PARTS)}, {"content": texts(PARTS + 1)}),
    "text of all parts": ({"content": parts(TEXT)}, {"content": parts(TEXT + 1)}),
    "pairs of metadata": (metadata(PAIRS), metadata(PAIRS + 1)),
    "a key of metadata": (metadata(key=KEY), metadata(key=KEY + 1)),
    "a value of metadata": (metadata(value=VALUE), metadata(value=VALUE + 1)),
    "depth": (nested(DEPTH), nested(DEPTH + 1)),
}


@pytest.mark.parametrize(("at", "past"), OF_A_MESSAGE.values(), ids=OF_A_MESSAGE.keys())
def test_a_limit_of_a_message(api: Api, sid: str, at: Json, past: Json) -> None:
    for headers in (JSON, {"prefer": "respond-async"}, {"accept": "text/event-stream"}):
        answer = api.post(f"/sessions/{sid}/messages", json={"content": "x"} | past, headers=headers)
        problem = check_problem(answer, 422, "invalid_request")
        assert str(DEPTH) in problem["detail"] or problem["errors"], "it says which limit"
    assert api.all_messages(sid) == []
    sent = api.send_whole(sid, **({"content": "x"} | at))
    assert {name: sent["message"][name] for name in at if name != "params"} == {
        n: v for n, v in at.items() if n != "params"
    }
    assert sent["reply"]["status"] == "completed"


def test_an_idempotency_key_has_up_to_255_characters(api: Api) -> None:
    for key in ("x", "~" + "!" * 254):
        assert api.post("/sessions", json={"title": key}, headers={"idempotency-key": key + ""}).status_code == 201
    check_problem(api.post("/sessions", json={}, headers={"idempotency-key": "x" * 256}), 422, "invalid_request")


def test_a_cursor_may_have_up_to_eighteen_digits(api: Api, sid: str) -> None:
    assert api.history(sid, as_of="000000000000000001")["as_of"] == 1
    check_problem(api.get(f"/sessions/{sid}/messages", params={"as_of": "1".zfill(19)}), 400, "invalid_cursor")


# --- the body ----------------------------------------------------------------------------------------------------


def padded(size: int) -> bytes:
    """A good body of this many bytes, and of little content."""
    return b'{"content":"hi"}'.ljust(size)


def image(size: int) -> bytes:
    head = b'{"content":[{"type":"image_url","image_url":{"url":"data:image/png;base64,'
    return head + b"A" * (size - len(head) - 5) + b'"}}]}'


@pytest.mark.parametrize("body", [padded, image])
def test_a_body_of_eight_mebibytes_is_taken_and_one_byte_more_is_not(
    api: Api, sid: str, body: Callable[[int], bytes]
) -> None:
    headers = JSON | JSON_TYPE
    check_problem(
        api.post(f"/sessions/{sid}/messages", content=body(BODY + 1), headers=headers), 413, "payload_too_large"
    )
    assert api.all_messages(sid) == []
    assert api.post(f"/sessions/{sid}/messages", content=body(BODY), headers=headers).status_code == 200


def test_a_body_without_a_length_is_counted_as_it_comes(start_server: StartServer) -> None:
    api = start_server(max_body=1000).api
    sid = api.session()

    def pieces(size: int) -> Iterator[bytes]:
        body = padded(size)
        for start in range(0, size, 100):
            yield body[start : start + 100]

    def send(size: int) -> httpx2.Response:
        return api.post(f"/sessions/{sid}/messages", content=pieces(size), headers=JSON | JSON_TYPE)

    check_problem(send(1001), 413, "payload_too_large")
    check_problem(send(100_000), 413, "payload_too_large")
    assert api.all_messages(sid) == []
    assert send(1000).status_code == 200


def test_a_body_that_says_it_is_too_long_is_refused_before_it_is_sent(start_server: StartServer) -> None:
    api = start_server(max_body=1000).api

    def never() -> Iterator[bytes]:
        yield b"{"
        raise AssertionError("the server has waited for the body")

    headers = JSON_TYPE | {"content-length": "1001", "expect": "100-continue"}
    with pytest.raises((AssertionError, httpx2.TransportError)):
        api.post("/sessions", content=never(), headers=headers)
    check_problem(api.post("/sessions", content=padded(1001), headers=JSON_TYPE), 413, "payload_too_large")
    assert api.post("/sessions").status_code == 201


@pytest.mark.parametrize(
    ("setting", "at", "past", "route"),
    [
        ("max_title", {"title": "12345"}, {"title": "123456"}, "/sessions"),
        ("max_metadata", metadata(5), metadata(6), "/sessions"),
        ("max_metadata_key", metadata(key=5), metadata(key=6), "/sessions"),
        ("max_metadata_value", metadata(value=5), metadata(value=6), "/sessions"),
        ("max_text", {"system_prompt": "12345"}, {"system_prompt": "123456"}, "/sessions"),
        ("max_depth", nested(5), nested(6), "/sessions"),
        (
            "max_values",
            {"metadata": {str(n): "" for n in range(4)}},
            {"metadata": {str(n): "" for n in range(5)}},
            "/sessions",
        ),
    ],
)
def test_a_limit_is_a_setting(start_server: StartServer, setting: str, at: Json, past: Json, route: str) -> None:
    api = start_server(**{setting: 5}).api
    assert api.post(route, json=at).status_code == 201
    check_problem(api.post(route, json=past), 422, "invalid_request")


def test_the_size_of_a_page_is_a_setting_and_its_default(start_server: StartServer) -> None:
    api = start_server(max_page=3).api
    sid = api.session()
    for _ in range(2):
        api.send_whole(sid, "x")
    assert len(api.history(sid)["data"]) == 3
    assert api.history(sid, limit=3)["has_more"] is True
    check_problem(api.get(f"/sessions/{sid}/messages", params={"limit": 4}), 422, "invalid_request")
    assert api.get("/sessions").status_code == 200, "a list that asks for no size gets one that there may be"
    assert api.get("/sessions", params={"limit": 3}).status_code == 200
    check_problem(api.get("/sessions", params={"limit": 4}), 422, "invalid_request")


@pytest.mark.parametrize("limit", ["0", "1001", "x"])
def test_a_page_size_that_is_none_is_told_to_be_of_the_query(api: Api, sid: str, limit: str) -> None:
    for path in ("/sessions", f"/sessions/{sid}/messages", "/search"):
        told = check_problem(api.get(path, params={"q": "x", "limit": limit}), 422, "invalid_request")
        [error] = told["errors"]
        assert error["loc"] == "query.limit" and told["detail"].endswith(error["message"])


# --- replies -----------------------------------------------------------------------------------------------------


def test_a_delta_is_at_most_64_kib_and_a_longer_one_is_split(api: Api, sid: str) -> None:
    for size, deltas in ((65_536, [65_536]), (65_537, [65_536, 1]), (200_000, [65_536] * 3 + [3_392])):
        with api.send_streamed(sid, script(f"big={size}")) as stream:
            frames = stream.rest()
        assert [len(frame.data["text"]) for frame in frames if frame.type == "message.delta"] == deltas
        assert text_of(frames, frames[-1].message_id or "") == "x" * size


def test_a_delta_is_split_between_characters(start_server: StartServer) -> None:
    api = start_server(max_delta=16).api
    text = "é🏮大" * 30
    with api.send_streamed(api.session(), script("burst=1000", text)) as stream:
        frames = stream.rest()
    assert text_of(frames, frames[-1].message_id or "") == text
    assert all(len(frame.data["text"].encode()) <= 16 for frame in frames if frame.type == "message.delta")


def test_a_reply_may_be_as_long_as_the_limit_and_no_longer(start_server: StartServer) -> None:
    api = start_server(max_reply=1000).api
    whole = api.send_whole(api.session(), script("big=1000"))["reply"]
    assert (whole["status"], len(whole["content"])) == ("completed", 1000)
    cut = api.send_whole(api.session(), script("big=1001"))["reply"]
    assert (cut["status"], cut["error"]["code"], cut["content"]) == ("failed", "reply_too_long", "x" * 1000)
    assert cut["usage"]["output_tokens"] > 0
    behind = api.send_whole(api.session(), script("", "x" * 1000 + " y"))["reply"]
    assert (behind["status"], behind["content"]) == ("failed", "x" * 1000), "nothing of what comes behind it"


def test_a_reply_of_four_mebibytes_arrives(api: Api, sid: str) -> None:
    with api.send_streamed(sid, script(f"big={4 << 20}")) as stream:
        frames = stream.rest()
    assert frames[-1].data["message"]["status"] == "completed"
    assert len(text_of(frames, frames[-1].message_id or "")) == 4 << 20


def test_a_reply_may_take_so_long_and_no_longer(start_server: StartServer) -> None:
    api = start_server(max_reply_seconds=0.5).api
    reply = api.send_whole(api.session(), script("tokens=1000 pace=0.02"))["reply"]
    assert (reply["status"], reply["error"]["code"]) == ("failed", "reply_too_long")
    assert full_text("tokens=1000").startswith(reply["content"]) and reply["content"]


def test_an_upstream_may_be_silent_for_so_long_and_no_longer(start_server: StartServer) -> None:
    api = start_server(first_token_timeout=0.3, stall_timeout=0.3).api
    before = api.send_whole(api.session(), script("hang"))["reply"]
    assert (before["status"], before["error"]["code"], before["content"]) == ("failed", "upstream_timeout", "")
    middle = api.send_whole(api.session(), script("tokens=9 stall@4"))["reply"]
    assert (middle["error"]["code"], middle["content"]) == ("upstream_stalled", full_text("tokens=4"))
    steady = api.send_whole(api.session(), script("tokens=5 pace=0.1"))["reply"]
    assert steady["status"] == "completed"


# --- bodies that do not come -------------------------------------------------------------------------------------


@contextmanager
def stalled(api: Api, path: str, media_type: str = "application/json") -> Iterator[socket.socket]:
    """An upload that begins, and then says nothing more."""
    where = urlsplit(api.url)
    head = f"POST /v1{path} HTTP/1.1\r\nhost: {where.netloc}\r\ncontent-type: {media_type}\r\ncontent-length: 1000\r\n\r\n{{"
    with socket.create_connection((where.hostname, where.port), timeout=PATIENCE) as line:
        line.sendall(head.encode())
        yield line


def all_of(line: socket.socket) -> str:
    """What comes until the connection is closed."""
    return b"".join(iter(lambda: line.recv(65536), b"")).decode()


@pytest.mark.parametrize("http", ["httptools", "h11"])
def test_a_body_that_does_not_come_is_given_up(start_server: StartServer, http: str) -> None:
    api = start_server(read_timeout=0.3, http=http).api
    sid = api.session()
    for path in ("/sessions", f"/sessions/{sid}/messages", f"/sessions/{sid}/fork"):
        with stalled(api, path) as line:
            answer = all_of(line)
        assert answer.startswith("HTTP/1.1 408 ") and '"code":"request_timeout"' in answer
    assert api.all_messages(sid) == []


def test_a_body_that_comes_a_byte_at_a_time_is_given_up(start_server: StartServer) -> None:
    api = start_server(read_timeout=0.5).api
    with stalled(api, "/sessions") as line:
        line.settimeout(0.1)
        deadline, answer = time.monotonic() + PATIENCE, b""
        while not answer:
            assert time.monotonic() < deadline
            line.sendall(b" ")
            with suppress(TimeoutError):
                answer = line.recv(65536)
    assert answer.startswith(b"HTTP/1.1 408 ")


def test_a_body_that_comes_slowly_is_taken(start_server: StartServer) -> None:
    api = start_server(read_timeout=0.5).api

    def slowly() -> Iterator[bytes]:
        for piece in (b'{"title":', b'"x"', b" ", b"}"):
            yield piece.ljust(1000)
            time.sleep(0.2)

    assert api.post("/sessions", content=slowly(), headers=JSON_TYPE).status_code == 201


def test_imports_that_do_not_come_make_room_for_others(start_server: StartServer) -> None:
    api = start_server(read_timeout=0.5).api
    sid = api.session()
    file = api.get(f"/sessions/{sid}/export").content
    api.ask("DELETE", f"/sessions/{sid}")
    kind = "application/jsonl"

    def put() -> int:
        return api.post("/import", content=file, headers={"content-type": kind}).status_code

    with stalled(api, "/import", kind) as one, stalled(api, "/import", kind) as other:
        assert [all_of(line).split(" ", 2)[1] for line in (one, other)] == ["408", "408"]
        assert put() == 201


# --- while others are served -------------------------------------------------------------------------------------

MANY: dict[str, tuple[str, bytes, int]] = {
    "numbers": ("/sessions", b'{"metadata":[' + b"0," * 4_000_000 + b"0]}", 422),
    "arrays": ("/sessions", b'{"metadata":[' + b"[]," * 2_700_000 + b"0]}", 422),
    "fields": ("/sessions", b'{"title":"x",' + b",".join(b'"%x":0' % n for n in range(700_000)) + b"}", 422),
    "as many fields as there may be": (
        "/sessions",
        b"{" + b",".join(b'"%x":0' % n for n in range(VALUES)) + b"}",
        422,
    ),
    "a schema": (
        "/sessions",
        b'{"params":{"tools":[{"type":"function","function":{"name":"f","parameters":{"a":['
        + b"0," * 4_000_000
        + b"0]}}}]}}",
        422,
    ),
    "quotes that are escaped": ("/sessions", b'{"system_prompt":"' + b'\\",' * 2_700_000 + b'"}', 422),
}


@pytest.mark.parametrize(("path", "body", "status"), MANY.values(), ids=MANY.keys())
def test_a_body_of_any_kind_holds_up_nobody_else(
    start_process: StartProcess, path: str, body: bytes, status: int
) -> None:
    api = start_process(store="memory:").api
    assert len(body) < BODY
    waited, done = [0.0], threading.Event()

    def ask() -> None:
        with httpx2.Client(trust_env=False, timeout=30) as other:
            while not done.is_set():
                begun = time.monotonic()
                other.get(f"{api.url}/healthz")
                waited.append(time.monotonic() - begun)

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        eventually(lambda: len(waited) > 20)
        problem = check_problem(api.post(path, content=body, headers=JSON_TYPE), status, "invalid_request")
        assert problem["errors"][0]["loc"].startswith("body")
    finally:
        done.set()
        asking.join()
    assert max(waited) < 2, "as a rule it is a tenth of a second"
