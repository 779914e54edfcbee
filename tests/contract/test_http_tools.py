"""Tools: calls stream, the reply ends with them, their results come together, and the conversation goes on from there."""

import threading
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import httpx2
import msgspec
import pytest

from rejoinder.entities import JsonObject
from serving import ServerThread
from upstreams import upstream_running
from wire import Api, Json, check_problem, message_id, script, slow

StartServer = Callable[..., ServerThread]

LOOKUP = {"type": "function", "function": {"name": "lookup", "parameters": {"type": "object"}}}


@pytest.fixture
def sid(api: Api) -> str:
    return api.session(params={"tools": [LOOKUP]})


def calling(api: Api, sid: str, calls: int = 2, message: str = "what?", **fields: Any) -> Json:
    reply: Json = api.send_whole(sid, script(f"calls={calls}", message), **fields)["reply"]
    assert (reply["status"], reply["finish_reason"], len(reply["tool_calls"])) == ("completed", "tool_calls", calls)
    return reply


def results(reply: Json, **content: str) -> list[Json]:
    return [
        {"tool_call_id": call["id"], "content": content.get(call["id"], f"result of {call['id']}")}
        for call in reply["tool_calls"]
    ]


def answer(
    api: Api, sid: str, given: list[Json], *, headers: dict[str, str] | None = None, **fields: Any
) -> httpx2.Response:
    body = {"role": "tool", "results": given, **fields}
    return api.post(f"/sessions/{sid}/messages", json=body, headers={"accept": "application/json", **(headers or {})})


def answered(api: Api, sid: str, given: list[Json], **fields: Any) -> Json:
    told = answer(api, sid, given, **fields)
    assert told.status_code == 200, told.text
    turn: Json = told.json()
    return turn


# --- the round ---------------------------------------------------------------------------------------------------


def test_results_become_a_chain_of_messages_and_the_reply_follows(api: Api, sid: str) -> None:
    reply = calling(api, sid, 3)
    turn = answered(api, sid, results(reply), metadata={"a": "b"})
    assert turn["reply"]["content"].startswith("The tools said: result of call_0, result of call_1")
    history = api.history(sid)["data"]
    assert [message["role"] for message in history] == ["user", "assistant", "tool", "tool", "tool", "assistant"]
    for above, message in pairwise(history):
        assert message["parent_id"] == above["id"]
    chain = history[2:5]
    assert [message["tool_call_id"] for message in chain] == [call["id"] for call in reply["tool_calls"]]
    assert [message["content"] for message in chain] == [f"result of {call['id']}" for call in reply["tool_calls"]]
    assert all(message["status"] == "completed" and message["ended_at"] for message in chain)
    assert turn["message"] == history[4], "the message that the reply is to"
    assert api.read_session(sid)["head"] == turn["reply"]["id"]


def test_the_stream_of_the_turn_has_all_of_it(api: Api, sid: str) -> None:
    reply = calling(api, sid, 2)
    body = {"role": "tool", "results": results(reply)}
    with api.stream("POST", f"/sessions/{sid}/messages", json=body) as stream:
        frames = stream.rest()
    created = [frame.data["message"] for frame in frames if frame.type == "message.created"]
    assert [message["role"] for message in created] == ["tool", "tool", "assistant"]
    assert frames[-1].type == "message.ended"
    with api.stream("POST", f"/sessions/{sid}/messages", json={**body, "parent_id": reply["id"]}) as stream:
        again = [frame.data["message"] for frame in stream.rest() if frame.type == "message.created"]
    siblings = [message["siblings"] for message in again]
    assert siblings == [[created[0]["id"], again[0]["id"]], [], []], "the first of the chain alone has any"


def test_upstream_gets_the_calls_and_their_results_as_chat_completions_has_them(start_server: StartServer) -> None:
    with upstream_running() as upstream:
        api = start_server(model="openai:echo", openai_base_url=upstream.base_url).api
        sid = api.session(params={"tools": [LOOKUP], "tool_choice": "auto", "parallel_tool_calls": True})
        reply = calling(api, sid, 2)
        answered(api, sid, list(reversed(results(reply))))
        sent = msgspec.json.decode(upstream.requests[-1].body)
        assert sent["tools"] == [LOOKUP] and sent["tool_choice"] == "auto" and sent["parallel_tool_calls"] is True
        assert sent["messages"][1:] == [
            {"role": "assistant", "content": "what?", "tool_calls": reply["tool_calls"]},
            {"role": "tool", "content": "result of call_0", "tool_call_id": "call_0"},
            {"role": "tool", "content": "result of call_1", "tool_call_id": "call_1"},
        ], "in the order of the calls, whatever order they came in"


def test_rounds_follow_one_another_and_a_user_may_speak_between(api: Api, sid: str) -> None:
    first = calling(api, sid, 1)
    answered(api, sid, results(first))
    second = calling(api, sid, 2, "and then?")
    turn = answered(api, sid, results(second), parent_id=second["id"])
    assert turn["reply"]["status"] == "completed"
    assert api.send_whole(sid, "thanks")["reply"]["content"] == "thanks"


def test_results_may_be_given_to_an_older_reply_and_make_a_branch(api: Api, sid: str) -> None:
    reply = calling(api, sid, 1)
    one = answered(api, sid, [{"tool_call_id": "call_0", "content": "one"}])
    two = answered(api, sid, [{"tool_call_id": "call_0", "content": "two"}], parent_id=reply["id"])
    assert two["message"]["siblings"] == [one["message"]["id"], two["message"]["id"]]
    assert (one["reply"]["content"], two["reply"]["content"]) == ("The tools said: one", "The tools said: two")
    again = api.post(f"/sessions/{sid}/messages/{one['message']['id']}/replies", headers={"accept": "application/json"})
    assert again.json()["reply"]["content"] == "The tools said: one", "and may be replied to anew"


def test_another_reply_is_to_the_last_result_alone(api: Api, sid: str) -> None:
    answered(api, sid, results(calling(api, sid, 2)))
    [first] = [message for message in api.history(sid)["data"] if message["tool_call_id"] == "call_0"]
    check_problem(api.post(f"/sessions/{sid}/messages/{first['id']}/replies"), 422, "invalid_request")


# --- retries -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("by", ["id", "key"])
def test_the_same_results_again_attach_to_the_same_turn(start_server: StartServer, by: str) -> None:
    with upstream_running() as upstream:
        api = start_server(model="openai:echo", openai_base_url=upstream.base_url).api
        sid = api.session(params={"tools": [LOOKUP]})
        reply = calling(api, sid, 3)
        fields: Json = {"id": message_id()} if by == "id" else {}
        headers = {} if by == "id" else {"idempotency-key": "one"}
        asked = len(upstream.requests)
        turns = [answered(api, sid, results(reply), headers=headers, **fields) for _ in range(3)]
        assert all(turn == turns[0] for turn in turns) and len(upstream.requests) == asked + 1
        if by == "id":
            assert turns[0]["message"]["id"] == fields["id"]
        body = {"role": "tool", "results": results(reply), **fields}
        with api.stream("POST", f"/sessions/{sid}/messages", json=body, headers=headers) as stream:
            frames = stream.rest()
        assert [f.data["message"]["role"] for f in frames if f.type == "message.created"] == ["tool"] * 3 + [
            "assistant"
        ]
        other = [{**each, "content": "something else"} for each in results(reply)]
        check_problem(answer(api, sid, other, headers=headers, **fields), 422, "idempotency_mismatch")
        assert len(api.all_messages(sid)) == 6


def test_twenty_at_once_make_one_turn(api: Api, sid: str) -> None:
    reply = calling(api, sid, 2)
    chosen, turns = message_id(), list[Json]()
    work = lambda: turns.append(answered(api, sid, results(reply), id=chosen))  # noqa: E731
    threads = [threading.Thread(target=work) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(turns) == 20 and {turn["reply"]["id"] for turn in turns} == {turns[0]["reply"]["id"]}
    assert len(api.all_messages(sid)) == 5


# --- what is no answer -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "where"),
    [
        ([("call_0", "x")], "body.results"),
        ([("call_0", "x"), ("call_1", "y"), ("call_2", "z")], "body.results.2.tool_call_id"),
        ([("call_0", "x"), ("call_0", "y")], "body.results.1.tool_call_id"),
        ([("call_0", "x"), ("unknown", "y")], "body.results.1.tool_call_id"),
    ],
    ids=["missing", "one too many", "twice", "unknown"],
)
def test_results_are_one_for_each_call(api: Api, sid: str, given: list[tuple[str, str]], where: str) -> None:
    calling(api, sid, 2)
    before = api.all_messages(sid)
    problem = check_problem(
        answer(api, sid, [{"tool_call_id": call, "content": content} for call, content in given]),
        422,
        "invalid_request",
    )
    assert where in [error["loc"] for error in problem["errors"]]
    assert api.all_messages(sid) == before, "and nothing was changed"


def test_what_has_no_calls_takes_no_results(api: Api, sid: str) -> None:
    given = [{"tool_call_id": "call_0", "content": "x"}]
    check_problem(answer(api, sid, given), 422, "invalid_request")
    plain = api.send_whole(sid, "hello")
    for parent in (plain["reply"]["id"], plain["message"]["id"], None):
        check_problem(answer(api, sid, given, parent_id=parent), 422, "invalid_request")
    check_problem(answer(api, sid, given, parent_id=message_id()), 404, "message_not_found")


def test_a_reply_that_is_still_written_is_busy(api: Api, sid: str) -> None:
    reply = api.send_async(sid, slow())["reply"]
    given = [{"tool_call_id": "call_0", "content": "x"}]
    check_problem(answer(api, sid, given), 409, "session_busy")
    check_problem(answer(api, sid, given, if_busy="queue"), 409, "session_busy")
    api.stop(sid, reply["id"])
    check_problem(answer(api, sid, given), 422, "invalid_request")


@pytest.mark.parametrize(
    "body",
    [
        {"role": "tool"},
        {"role": "tool", "results": []},
        {"role": "tool", "content": "x", "results": [{"tool_call_id": "call_0", "content": "x"}]},
        {"role": "user", "results": [{"tool_call_id": "call_0", "content": "x"}]},
        {"role": "assistant", "content": "x"},
        {"content": "x", "results": []},
        {"role": "tool", "results": [{"tool_call_id": "call_0"}]},
        {"role": "tool", "results": [{"tool_call_id": "", "content": "x"}]},
        {"role": "tool", "results": [{"tool_call_id": "call_0", "content": "x" * 300_000}]},
    ],
    ids=lambda body: str(body)[:70],
)
def test_what_is_neither_a_message_nor_results_is_refused(api: Api, sid: str, body: Json) -> None:
    calling(api, sid, 1)
    check_problem(api.post(f"/sessions/{sid}/messages", json=body), 422, "invalid_request")


def test_a_user_who_goes_on_without_results_is_answered(start_server: StartServer) -> None:
    with upstream_running() as upstream:
        api = start_server(model="openai:echo", openai_base_url=upstream.base_url).api
        sid = api.session(params={"tools": [LOOKUP]})
        reply = calling(api, sid, 2)
        later = api.send_whole(sid, "never mind")["reply"]
        assert later["content"] == "never mind"
        sent = msgspec.json.decode(upstream.requests[-1].body)["messages"]
        assert sent[1] == {"role": "assistant", "content": "what?"}, "upstreams refuse calls without results"
        [told] = api.get(f"/sessions/{sid}/messages/{later['id']}/prompt").json()["data"]
        assert told["left_out"] == [{"message_id": reply["id"], "reason": "unanswered_calls"}] and told["exact"]


# --- what servers do ---------------------------------------------------------------------------------------------


def chunk(delta: JsonObject, finish: str | None = None) -> JsonObject:
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}


def call(index: int | None, arguments: str | None, **more: str) -> JsonObject:
    function = {"arguments": arguments} if arguments is not None else {}
    if "name" in more:
        function["name"] = more.pop("name")
    return {"tool_calls": [{**({} if index is None else {"index": index}), **more, "function": function}]}


FORMS: dict[str, tuple[list[JsonObject], list[tuple[str | None, str, str]]]] = {
    "parallel, interleaved": (
        [
            chunk(call(0, "", id="a", name="f")),
            chunk(call(1, "", id="b", name="g")),
            chunk(call(0, '{"x"')),
            chunk(call(1, "{}")),
            chunk(call(0, ": 1}")),
            chunk({}, "tool_calls"),
        ],
        [("a", "f", '{"x": 1}'), ("b", "g", "{}")],
    ),
    "without an id": ([chunk(call(0, "{}", name="f")), chunk({}, "tool_calls")], [(None, "f", "{}")]),
    "without ids or indexes": (
        [chunk(call(None, "{}", name="f")), chunk(call(None, "{}", name="g")), chunk({}, "tool_calls")],
        [(None, "f", "{}"), (None, "g", "{}")],
    ),
    "the same id twice": (
        [chunk(call(0, "{}", id="a", name="f")), chunk(call(1, "{}", id="a", name="g")), chunk({}, "tool_calls")],
        [("a", "f", "{}"), (None, "g", "{}")],
    ),
    "malformed arguments": (
        [chunk(call(0, '{"x": ', id="a", name="f")), chunk({}, "tool_calls")],
        [("a", "f", '{"x": ')],
    ),
    "no arguments": ([chunk(call(0, None, id="a", name="f")), chunk({}, "tool_calls")], [("a", "f", "")]),
    "ended with stop": ([chunk(call(0, "{}", id="a", name="f")), chunk({}, "stop")], [("a", "f", "{}")]),
}


@pytest.fixture
def odd_upstream() -> Any:
    """A server that answers each request with the chunks that stand in its `chunks`."""
    from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            size = int(self.headers["content-length"])
            server.bodies.append(msgspec.json.decode(self.rfile.read(size)))  # type: ignore[attr-defined]
            self.send_response(200)
            self.send_header("content-type", "text/event-stream")
            self.end_headers()
            for each in server.chunks:  # type: ignore[attr-defined]
                self.wfile.write(b"data: " + msgspec.json.encode(each) + b"\n\n")
            self.wfile.write(b"data: [DONE]\n\n")

        def log_message(self, *args: object) -> None:
            """Tests say enough."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.chunks, server.bodies = [], []  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.parametrize("form", FORMS)
def test_calls_in_whatever_form_they_come_can_be_answered(
    start_server: StartServer, odd_upstream: Any, form: str
) -> None:
    odd_upstream.chunks, expected = FORMS[form]
    base_url = f"http://127.0.0.1:{odd_upstream.server_address[1]}/v1"
    api = start_server(model="openai:any", openai_base_url=base_url).api
    sid = api.session(params={"tools": [LOOKUP]})
    with api.send_streamed(sid, "go") as stream:
        frames = stream.rest()
    reply = frames[-1].data["message"]
    assert (reply["status"], reply["finish_reason"]) == ("completed", "tool_calls")
    for told, (call_id, name, arguments) in zip(reply["tool_calls"], expected, strict=True):
        assert told["function"] == {"name": name, "arguments": arguments}
        assert told["id"] == call_id if call_id else told["id"].startswith("call_")
    ids = [told["id"] for told in reply["tool_calls"]]
    assert len(set(ids)) == len(ids) and all(ids)
    firsts = {frame.data["index"]: frame.data for frame in reversed(frames) if frame.data.get("part") == "tool_call"}
    assert [firsts[index]["id"] for index in range(len(ids))] == ids, "the first piece of a call carries its id"
    odd_upstream.chunks = [chunk({"content": "done"}), chunk({}, "stop")]
    turn = answered(api, sid, results(reply))
    assert turn["reply"]["content"] == "done"
    sent = odd_upstream.bodies[-1]["messages"]
    assert [told["id"] for told in sent[1]["tool_calls"]] == ids == [each["tool_call_id"] for each in sent[2:]]


# --- parameters --------------------------------------------------------------------------------------------------

SCHEMA = {"type": "json_schema", "json_schema": {"name": "answer", "schema": {"type": "object"}, "strict": True}}


@pytest.mark.parametrize("form", [{"type": "text"}, {"type": "json_object"}, SCHEMA], ids=lambda form: form["type"])
def test_the_form_of_an_answer_reaches_the_upstream_as_it_came(start_server: StartServer, form: Json) -> None:
    with upstream_running() as upstream:
        api = start_server(model="openai:echo", openai_base_url=upstream.base_url).api
        sid = api.session(params={"response_format": form, "temperature": 0.5, "seed": 7, "context": "drop_oldest"})
        api.send_whole(sid, "x", params={"top_p": 0.9})
        sent = msgspec.json.decode(upstream.requests[-1].body)
        assert sent["response_format"] == form
        assert (sent["temperature"], sent["seed"], sent["top_p"]) == (0.5, 7, 0.9) and "context" not in sent


@pytest.mark.parametrize(
    "params",
    [
        {"tools": [{"type": "function"}]},
        {"tools": [{"type": "function", "function": {"name": "no spaces"}}]},
        {"tools": [{"type": "function", "function": {"name": "f", "unknown": 1}}]},
        {"tools": [LOOKUP, LOOKUP]},
        {"tools": [LOOKUP] * 129},
        {"tools": [LOOKUP], "tool_choice": "sometimes"},
        {"response_format": {"type": "xml"}},
        {"response_format": {"type": "json_schema"}},
        {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": []}}},
        {"context": "forget"},
        {"n": 2},
    ],
    ids=lambda params: str(params)[:60],
)
def test_parameters_that_are_none_are_refused(api: Api, params: Json) -> None:
    check_problem(api.post("/sessions", json={"params": params}), 422, "invalid_request")


def test_a_choice_of_tools_needs_the_tools(api: Api) -> None:
    sid = api.session(params={"tool_choice": "required"})
    check_problem(api.post(f"/sessions/{sid}/messages", json={"content": "x"}), 422, "invalid_request")
    chosen = {"type": "function", "function": {"name": "another"}}
    body = {"content": "x", "params": {"tools": [LOOKUP], "tool_choice": chosen}}
    check_problem(api.post(f"/sessions/{sid}/messages", json=body), 422, "invalid_request")
    assert api.send_whole(sid, "x", params={"tools": [LOOKUP]})["reply"]["status"] == "completed"
    assert api.send_whole(sid, "x", params={"tool_choice": "none"})["reply"]["status"] == "completed"


# --- images ------------------------------------------------------------------------------------------------------

PIXEL = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


def test_an_image_reaches_the_upstream_and_stands_in_the_history_as_it_came(start_server: StartServer) -> None:
    with upstream_running() as upstream:
        api = start_server(model="openai:echo", openai_base_url=upstream.base_url).api
        parts = [
            {"type": "text", "text": "What is this?"},
            {"type": "image_url", "image_url": {"url": PIXEL, "detail": "low"}},
            {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}},
        ]
        sid = api.session()
        api.send_whole(sid, parts)
        api.send_whole(sid, "and now?")
        assert msgspec.json.decode(upstream.requests[-1].body)["messages"][0]["content"] == parts
        assert api.history(sid)["data"][0]["content"] == parts


@pytest.mark.parametrize(
    "url",
    [
        "",
        "a.png",
        "file:///etc/passwd",
        "javascript:alert(1)",
        "data:text/html;base64,AA==",
        "data:image/png,raw",
        "data:image/png;base64,!",
    ],
)
def test_an_image_that_is_none_is_refused(api: Api, sid: str, url: str) -> None:
    body = {"content": [{"type": "image_url", "image_url": {"url": url}}]}
    check_problem(api.post(f"/sessions/{sid}/messages", json=body), 422, "invalid_request")


def test_images_count_towards_the_body_and_not_towards_the_text(start_server: StartServer) -> None:
    api = start_server(max_body=100_000, max_text=100).api
    sid = api.session()
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 90_000}}
    reply = api.send_whole(sid, [{"type": "text", "text": "x" * 100}, image])["reply"]
    assert reply["status"] == "completed"
    image["image_url"] = {"url": "data:image/png;base64," + "A" * 100_000}
    check_problem(api.post(f"/sessions/{sid}/messages", json={"content": [image]}), 413, "payload_too_large")
