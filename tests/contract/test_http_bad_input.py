"""Bad input gets a clear problem document with a stable code, and changes nothing."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import httpx2
import pytest

from wire import Api, Json, check_problem, message_id, session_id, slow

JSON_TYPE = {"content-type": "application/json"}


@pytest.fixture(scope="module")
def kept(api: Api) -> Iterator[str]:
    """A session with a turn, that must be the same after all of these tests as before."""
    sid = api.session(title="kept")
    api.send_whole(sid, "hello")
    before = (api.read_session(sid), api.all_messages(sid))
    yield sid
    assert (api.read_session(sid), api.all_messages(sid)) == before


@pytest.fixture(params=["create", "change", "send", "send-async"])
def put(
    request: pytest.FixtureRequest, api: Api, kept: str
) -> Callable[[bytes | str, dict[str, str]], httpx2.Response]:
    """Sends raw bytes to a route that takes a body, and checks that nothing came of it."""

    def send(body: bytes | str, headers: dict[str, str]) -> httpx2.Response:
        before = api.last_seq(kept)
        method, path = {
            "create": ("POST", "/sessions"),
            "change": ("PATCH", f"/sessions/{kept}"),
            "send": ("POST", f"/sessions/{kept}/messages"),
            "send-async": ("POST", f"/sessions/{kept}/messages"),
        }[request.param]
        more = {"prefer": "respond-async"} if request.param == "send-async" else {}
        answer = api.ask(method, path, content=body, headers={**headers, **more})
        assert api.last_seq(kept) == before, "no event was appended"
        return answer

    return send


Put = Callable[[bytes | str, dict[str, str]], httpx2.Response]

# --- what is no JSON ---------------------------------------------------------------------------------------------

NO_JSON: dict[str, bytes] = {
    "cut": b'{"title": "x"',
    "words": b"hello",
    "single quotes": b"{'title': 'x'}",
    "trailing comma": b'{"title": "x",}',
    "two values": b"{}{}",
    "comment": b"{} // x",
    "control character": b'{"title": "a\x01b"}',
    "raw NUL": b'{"title": "a\x00b"}',
    "bad UTF-8": b'{"title": "\xff\xfe"}',
    "UTF-8 of a surrogate": b'{"title": "\xed\xa0\x80"}',
    "UTF-16": '{"title": "x"}'.encode("utf-16"),
    "NaN": b'{"params": {"temperature": NaN}}',
    "Infinity": b'{"params": {"temperature": Infinity}}',
    "-Infinity": b'{"params": {"temperature": -Infinity}}',
    "a number past every float": b'{"params": {"temperature": 1e999}}',
    "NaN deep inside": b'{"params": {"response_format": {"a": [[NaN]]}}}',
    "a field twice": b'{"title": "x", "title": "x", "content": "x"}',
    "a field twice deep inside": b'{"params": {"response_format": {"a": [{"\\u0062": 1, "b": 2}]}}}',
    "bad escape": b'{"title": "\\x41"}',
    "only spaces": b"   ",
}


@pytest.mark.parametrize("body", NO_JSON.values(), ids=NO_JSON.keys())
def test_what_is_no_json_is_malformed(put: Put, body: bytes) -> None:
    check_problem(put(body, JSON_TYPE), 400, "malformed_json")


# --- JSON that cannot be kept ------------------------------------------------------------------------------------

UNFIT: dict[str, bytes] = {
    "NUL": b'{"title": "a\\u0000b", "content": "a\\u0000b"}',
    "NUL in a key": b'{"metadata": {"a\\u0000": "b"}, "content": "x"}',
    "NUL deep inside": b'{"params": {"response_format": {"a": ["\\u0000"]}}, "content": "x"}',
    "high surrogate alone": b'{"title": "\\ud83d", "content": "\\ud83d"}',
    "low surrogate alone": b'{"title": "\\ude00", "content": "\\ude00x"}',
    "surrogates the wrong way round": b'{"title": "\\ude00\\ud83d", "content": "\\ude00\\ud83d"}',
    "surrogate in a key": b'{"metadata": {"\\ud800": "b"}, "content": "x"}',
    "integer past 64 bits": b'{"params": {"seed": 9223372036854775808}, "content": "x"}',
    "integer below 64 bits": b'{"params": {"seed": -9223372036854775809}, "content": "x"}',
    "integer of 1,000 digits": b'{"params": {"seed": %b}, "content": "x"}' % (b"9" * 1000),
    "integer of 5,000 digits": b'{"params": {"seed": %b}, "content": "x"}' % (b"9" * 5000),
    "integer of 5,000 digits below zero": b'{"params": {"seed": -%b}, "content": "x"}' % (b"9" * 5000),
    "unknown field": b'{"content": "x", "colour": "blue"}',
    "unknown field inside": b'{"content": "x", "params": {"colour": "blue"}}',
    "an array": b"[]",
    "a string": b'"x"',
    "a number": b"7",
    "true": b"true",
}


@pytest.mark.parametrize("body", UNFIT.values(), ids=UNFIT.keys())
def test_json_that_cannot_be_kept_is_invalid(put: Put, body: bytes) -> None:
    check_problem(put(body, JSON_TYPE), 422, "invalid_request")


@pytest.mark.parametrize("depth", [33, 100, 5_000, 200_000])
@pytest.mark.parametrize(
    ("opening", "inner", "closing"), [("[", "", "]"), ('{"a":', "1", "}")], ids=["arrays", "objects"]
)
def test_deep_nesting_is_invalid(put: Put, depth: int, opening: str, inner: str, closing: str) -> None:
    body = '{"content":"x","params":{"response_format":{"a":' + opening * depth + inner + closing * depth + "}}}"
    check_problem(put(body, JSON_TYPE), 422, "invalid_request")


def test_nesting_that_is_never_closed_is_refused(put: Put) -> None:
    answer = put("[" * 500_000, JSON_TYPE)
    assert answer.status_code in (400, 422)
    check_problem(answer, answer.status_code, {400: "malformed_json", 422: "invalid_request"}[answer.status_code])


# --- the wrong media type ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "media_type",
    [
        *(
            "text/plain",
            "application/x-www-form-urlencoded",
            "multipart/form-data; boundary=x",
            "application/xml",
            "json",
        ),
        *("application/jsonp", "text/json", "", "application/json-patch+json"),
    ],
)
def test_a_wrong_media_type_is_unsupported(put: Put, media_type: str) -> None:
    check_problem(put('{"content": "x"}', {"content-type": media_type}), 415, "unsupported_media_type")


def test_no_media_type_at_all_is_unsupported(put: Put) -> None:
    check_problem(put('{"content": "x"}', {}), 415, "unsupported_media_type")


@pytest.mark.parametrize(
    "media_type", ["application/json; charset=utf-8", "Application/JSON", "application/json;charset=UTF-8"]
)
def test_json_is_supported_however_it_is_spelt(api: Api, media_type: str) -> None:
    assert api.post("/sessions", content="{}", headers={"content-type": media_type}).status_code == 201


# --- fields ------------------------------------------------------------------------------------------------------

SEND: dict[str, Json] = {
    "nothing": {},
    "no content": {"metadata": {}},
    "null content": {"content": None},
    "empty content": {"content": ""},
    "empty parts": {"content": []},
    "parts of empty text": {"content": [{"type": "text", "text": ""}] * 2},
    "a number": {"content": 5},
    "an object": {"content": {"type": "text", "text": "x"}},
    "a part of no type": {"content": [{"text": "x"}]},
    "a part of an unknown type": {"content": [{"type": "input_audio", "input_audio": {}}]},
    "a part without its text": {"content": [{"type": "text"}]},
    "a part with more": {"content": [{"type": "text", "text": "x", "more": 1}]},
    "an image without a URL": {"content": [{"type": "image_url", "image_url": {}}]},
    "an image with an empty URL": {"content": [{"type": "image_url", "image_url": {"url": ""}}]},
    "a bare string as a part": {"content": ["x"]},
    "id: a session's": {"content": "x", "id": session_id()},
    "id: upper case": {"content": "x", "id": "msg_" + "A" * 32},
    "id: short": {"content": "x", "id": "msg_1"},
    "id: long": {"content": "x", "id": "msg_" + "0" * 33},
    "id: a line end": {"content": "x", "id": "msg_" + "0" * 32 + "\n"},
    "id: empty": {"content": "x", "id": ""},
    "id: a number": {"content": "x", "id": 5},
    "parent of the wrong form": {"content": "x", "parent_id": "x"},
    "parent empty": {"content": "x", "parent_id": ""},
    "a role of assistant": {"content": "x", "role": "assistant"},
    "a role of system": {"content": "x", "role": "system"},
    "if_busy: unknown": {"content": "x", "if_busy": "wait"},
    "if_busy: null": {"content": "x", "if_busy": None},
    "metadata: number": {"content": "x", "metadata": {"a": 1}},
    "metadata: nested": {"content": "x", "metadata": {"a": {"b": "c"}}},
    "metadata: list": {"content": "x", "metadata": []},
    "metadata: null": {"content": "x", "metadata": None},
    "model: empty": {"content": "x", "model": ""},
    "model: none of a list": {"content": "x", "model": []},
    "model: number": {"content": "x", "model": 1},
    "model: a line end": {"content": "x", "model": "scripted:echo\n2026 ERROR"},
    "model: an order to a terminal": {"content": "x", "model": "scripted:\x1b[2J"},
    "model: written backwards": {"content": "x", "model": ["scripted:echo", "scripted:\u202eohce"]},
    "model: unknown": {"content": "x", "model": "scripted:no-such-word"},
    "model: unknown among others": {"content": "x", "model": ["scripted:echo", "scripted:no-such-word"]},
    "params: list": {"content": "x", "params": []},
    "temperature: text": {"content": "x", "params": {"temperature": "1"}},
    "temperature: too high": {"content": "x", "params": {"temperature": 2.1}},
    "temperature: below": {"content": "x", "params": {"temperature": -0.1}},
    "top_p: too high": {"content": "x", "params": {"top_p": 1.1}},
    "max_tokens: 0": {"content": "x", "params": {"max_tokens": 0}},
    "max_tokens: a fraction": {"content": "x", "params": {"max_tokens": 1.5}},
    "max_tokens: true": {"content": "x", "params": {"max_tokens": True}},
    "stream is ours": {"content": "x", "params": {"stream": False}},
    "model is no parameter": {"content": "x", "params": {"model": "x"}},
    "messages are no parameter": {"content": "x", "params": {"messages": []}},
}


@pytest.mark.parametrize("body", SEND.values(), ids=SEND.keys())
def test_a_message_that_cannot_be_right_is_refused_and_told_where(api: Api, kept: str, body: Json) -> None:
    before = api.last_seq(kept)
    problem = check_problem(api.post(f"/sessions/{kept}/messages", json=body), 422, "invalid_request")
    assert all(error["loc"].startswith("body") and error["message"] for error in problem["errors"])
    assert api.last_seq(kept) == before


CREATE: dict[str, Json] = {
    "id: a message's": {"id": message_id()},
    "id: upper case": {"id": "ses_" + "A" * 32},
    "id: without its prefix": {"id": "0" * 32},
    "id: a line end": {"id": "ses_" + "0" * 32 + "\n"},
    "title: number": {"title": 5},
    "title: list": {"title": ["x"]},
    "system_prompt: number": {"system_prompt": 1},
    "model: unknown": {"model": "scripted:no-such-word"},
    "metadata: number": {"metadata": {"a": 1}},
    "metadata: empty key": {"metadata": {"": "x"}},
    "params: unknown": {"params": {"n": 2}},
    "a head": {"head": None},
    "its own times": {"created_at": "2026-01-01T00:00:00.000Z"},
}


@pytest.mark.parametrize("body", CREATE.values(), ids=CREATE.keys())
def test_a_session_that_cannot_be_right_is_not_made(api: Api, body: Json) -> None:
    own = session_id()
    check_problem(api.post("/sessions", json={"id": own} | body), 422, "invalid_request")
    check_problem(api.get(f"/sessions/{own}"), 404, "session_not_found")


CHANGE: dict[str, Json] = {
    "its id": {"id": session_id()},
    "its times": {"updated_at": "2026-01-01T00:00:00.000Z"},
    "its last_seq": {"last_seq": 1},
    "head: of the wrong form": {"head": "x"},
    "head: empty": {"head": ""},
    "head: a number": {"head": 1},
    "title: number": {"title": 5},
    "model: unknown": {"model": "scripted:no-such-word"},
    "metadata: number": {"metadata": {"a": 1}},
    "one good and one bad": {"title": "good", "model": 5},
}


@pytest.mark.parametrize("body", CHANGE.values(), ids=CHANGE.keys())
def test_a_change_that_cannot_be_right_changes_nothing(api: Api, kept: str, body: Json) -> None:
    before = api.read_session(kept)
    check_problem(api.ask("PATCH", f"/sessions/{kept}", json=body), 422, "invalid_request")
    assert api.read_session(kept) == before


def test_a_body_that_must_be_there_and_is_not(api: Api, kept: str) -> None:
    for method, path in (("POST", f"/sessions/{kept}/messages"), ("PATCH", f"/sessions/{kept}")):
        for request in ({}, {"content": b"null", "headers": JSON_TYPE}):
            check_problem(api.ask(method, path, **request), 422, "invalid_request")


@pytest.mark.parametrize("key", ["", "a b", "é", "a\tb", "x" * 256])
def test_an_idempotency_key_is_visible_ascii(api: Api, kept: str, key: str) -> None:
    before = api.last_seq(kept)
    headers: Any = {b"idempotency-key": key.encode()}
    for path, body in (("/sessions", {}), (f"/sessions/{kept}/messages", {"content": "x"})):
        check_problem(api.post(path, json=body, headers=headers), 422, "invalid_request")
    assert api.last_seq(kept) == before


def test_the_order_of_the_checks_tells_nothing_of_other_sessions(api: Api) -> None:
    """What is wrong with the body is said before a session is looked for, or the other way round, but never a 5xx."""
    answer = api.post(f"/sessions/{session_id()}/messages", json={"content": ""})
    assert answer.status_code in (404, 422)


def test_a_bad_send_to_a_busy_session_is_told_that_it_is_bad(api: Api, sid: str) -> None:
    live = api.send_async(sid, slow())["reply"]["id"]
    check_problem(api.post(f"/sessions/{sid}/messages", json={"content": ""}), 422, "invalid_request")
    api.stop(sid, live)


# --- routes and methods ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path", ["//nothing", "/nothing", "/sessions/x/nothing", "//v2/sessions", "//v1", "//healthz/x", "//%2e%2e"]
)
def test_a_path_that_is_not_there_is_not_found(api: Api, path: str) -> None:
    check_problem(api.get(path), 404, "not_found")


@pytest.mark.parametrize("path", ["/sessions/", "/models/", "//docs/", "//page"])
def test_nobody_is_sent_elsewhere_for_a_slash(api: Api, path: str) -> None:
    for method in ("GET", "POST", "HEAD", "OPTIONS"):
        assert api.ask(method, path).status_code == 404
    check_problem(api.get(path), 404, "not_found")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        *(("PUT", "/sessions"), ("DELETE", "/sessions"), ("POST", "/sessions/{sid}"), ("PUT", "/sessions/{sid}")),
        *(("PATCH", "/sessions/{sid}/messages"), ("DELETE", "/sessions/{sid}/messages/{mid}"), ("POST", "/models")),
        *(("GET", "/sessions/{sid}/messages/{mid}/stop"), ("POST", "/sessions/{sid}/events"), ("POST", "//healthz")),
    ],
)
def test_a_method_that_a_path_does_not_have_is_not_allowed(api: Api, kept: str, method: str, path: str) -> None:
    answer = api.ask(method, path.format(sid=kept, mid=message_id()))
    check_problem(answer, 405, "method_not_allowed")
    assert method not in answer.headers["allow"].split(", ")


ALLOWED = {
    "//": "GET, HEAD, OPTIONS",
    "//docs": "GET, HEAD, OPTIONS",
    "//openapi.json": "GET, HEAD, OPTIONS",
    "//page/main.js": "GET, HEAD, OPTIONS",
    "//healthz": "GET, HEAD, OPTIONS",
    "//metrics": "GET, HEAD, OPTIONS",
    "/sessions": "GET, HEAD, POST, OPTIONS",
    "/sessions/{sid}": "GET, HEAD, PATCH, DELETE, OPTIONS",
    "/sessions/{sid}/messages": "GET, HEAD, POST, OPTIONS",
    "/sessions/{sid}/events": "GET, OPTIONS",
    "/sessions/{sid}/export": "GET, OPTIONS",
    "/events": "GET, OPTIONS",
    "/import": "POST, OPTIONS",
    "/sessions/{sid}/messages/{mid}/stop": "POST, OPTIONS",
}


@pytest.mark.parametrize(("path", "methods"), ALLOWED.items())
def test_a_path_tells_all_that_it_allows(api: Api, kept: str, path: str, methods: str) -> None:
    path = path.format(sid=kept, mid=message_id())
    answer = api.ask("PUT", path)
    check_problem(answer, 405, "method_not_allowed")
    told = api.ask("OPTIONS", path)
    assert (answer.headers["allow"], told.headers["allow"]) == (methods, methods)
    assert (told.status_code, told.content) == (204, b"")
    if "HEAD" not in methods:
        assert api.ask("HEAD", path).status_code == 405


@pytest.mark.parametrize("path", [path for path, methods in ALLOWED.items() if "HEAD" in methods])
def test_head_tells_the_headers_of_get(api: Api, kept: str, path: str) -> None:
    path = path.format(sid=kept)
    head, answer = api.ask("HEAD", path), api.get(path)
    assert (head.status_code, head.content) == (200, b"")
    names = ["content-type", "cache-control", "x-content-type-options", "content-security-policy"]
    names += ["content-length"] if path != "//metrics" else []
    assert [head.headers.get(name) for name in names] == [answer.headers.get(name) for name in names]


def test_what_is_not_there_allows_nothing(api: Api) -> None:
    for method in ("OPTIONS", "HEAD"):
        for path in ("/nothing", "//page/../nothing"):
            answer = api.ask(method, path)
            assert answer.status_code == 404 and "allow" not in answer.headers


# --- problem documents -------------------------------------------------------------------------------------------


def test_a_problem_says_where_it_lies_and_repeats_no_secret(api: Api, kept: str) -> None:
    secret = "sk-this-is-a-key"
    body = {"content": [{"type": secret}], "params": {"temperature": secret}, secret: 1}
    problem = check_problem(api.post(f"/sessions/{kept}/messages", json=body), 422, "invalid_request")
    assert {error["loc"].split(".")[1] for error in problem["errors"]} >= {"content", "params"}


PLACES: list[tuple[Any, set[str]]] = [
    ({"content": 5}, {"content"}),
    ({"content": [{"type": "text"}]}, {"content.0.text"}),
    ({"content": [{"type": "text", "text": "x"}, {"type": "text", "text": 5}]}, {"content.1.text"}),
    ({"content": [{"type": "image_url", "image_url": {"detail": "low"}}]}, {"content.0.image_url.url"}),
    ({"content": [{"type": "image_url"}]}, {"content.0.image_url"}),
    ({"content": [{"type": "video"}]}, {"content.0"}),
    ({"content": "x", "model": ["a", 5]}, {"model.1"}),
    ({"content": "x", "params": {"stop": ["a", 5]}}, {"params.stop.1"}),
    ({"content": "x", "params": {"tool_choice": 5}}, {"params.tool_choice"}),
    (
        {"content": "x", "params": {"response_format": {"type": "json_schema", "json_schema": {"name": "?"}}}},
        {"params.response_format.json_schema.name"},
    ),
    (
        {"content": "x", "params": {"response_format": {"type": "json_schema"}}},
        {"params.response_format.json_schema"},
    ),
    ({"role": "tool", "results": [{"tool_call_id": "a"}]}, {"results.0.content"}),
    ({"role": "tool"}, {"results"}),
    ({}, {"content"}),
    ({"content": "x", "user": 1}, {"user"}),
    ({"content": "x", "metadata": {"a": 1}}, {"metadata.a"}),
    ({"content": "x", "model": "scripted:no-such-word"}, {"model"}),
    ({"content": "x", "params": {"seed": 1 << 64}}, {"params.seed"}),
    ({"content": [{"type": "text", "text": "a\0"}]}, {"content.0.text"}),
    ({"content": "x", "metadata": {"a\0": "b"}}, {"metadata"}),
    ({"content": "x", "y" * 1000: 1}, {"y" * 64}),
]


def test_its_sentence_is_of_the_first_place_and_says_that_there_are_more(api: Api, kept: str) -> None:
    """Many clients show that alone."""
    for body, detail in (
        ({"content": ""}, "body.content: String should have at least 1 character"),
        ({"content": "x", "params": {"temprature": 1}}, "body.params.temprature: There is no such parameter. "),
        (
            {"content": "", "params": {"seed": "x"}},
            "body.params.seed: Input should be a valid integer (1 more in `errors`)",
        ),
        ({"role": "system", "content": "x"}, "body.role: A role is 'user', or 'tool' where "),
        ({"content": "x" * (257 << 10)}, "body.content: The text may have 262144 bytes"),
    ):
        problem = check_problem(api.post(f"/sessions/{kept}/messages", json=body), 422, "invalid_request")
        assert problem["detail"].startswith(detail)


@pytest.mark.parametrize(("body", "places"), PLACES)
def test_a_problem_names_places_of_the_body_and_of_nothing_else(
    api: Api, kept: str, body: Json, places: set[str]
) -> None:
    problem = check_problem(api.post(f"/sessions/{kept}/messages", json=body), 422, "invalid_request")
    assert {error["loc"] for error in problem["errors"]} == {f"body.{place}" for place in places}


def test_a_problem_beside_the_body_names_its_place_too(api: Api, kept: str) -> None:
    keyed = {"idempotency-key": "a b"}
    both = {"idempotency-key": "a"}
    history = f"/sessions/{kept}/messages"
    asked = {
        "header.idempotency-key": api.post("/sessions", json={}, headers=keyed),
        "body.id": api.post("/sessions", json={"id": session_id()}, headers=both),
        "query.before": api.get(history, params={"after": message_id(), "before": message_id()}),
        "query.limit": api.get(history, params={"limit": "x"}),
    }
    for loc, answer in asked.items():
        assert [error["loc"] for error in check_problem(answer, 422, "invalid_request")["errors"]] == [loc]


def test_a_thousand_errors_make_a_short_answer(api: Api, kept: str) -> None:
    body = {"content": "x", **{f"field{number}": 1 for number in range(5_000)}}
    answer = api.post(f"/sessions/{kept}/messages", json=body)
    check_problem(answer, 422, "invalid_request")
    assert len(answer.content) < 20_000


def test_a_problem_is_json_of_one_line(api: Api) -> None:
    answer = api.get(f"/sessions/{session_id()}")
    assert "\n" not in answer.text
    assert json.loads(answer.text)["type"] == "about:blank"
    assert answer.headers["cache-control"] == "no-store"
