"""What was sent upstream for a reply, told again byte for byte, and what all of it cost."""

import asyncio
import hashlib
import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec
import pytest

from rejoinder.chat.branch_end import Tip
from rejoinder.chat.ids import request_hash
from rejoinder.chat.prompts import Asking, Composed, Prompts
from rejoinder.entities import Key
from serving import ServerThread
from upstreams import upstream_running
from wire import SILENT, Api, Json, check_problem, message_id, script, session_id, slow

StartServer = Callable[..., ServerThread]


def requests_of(api: Api, sid: str, mid: str) -> list[tuple[bytes, Json]]:
    """Each attempt's request as the bytes that stand in the answer, and the attempt."""
    answer = api.get(f"/sessions/{sid}/messages/{mid}/prompt")
    assert answer.status_code == 200, answer.text

    class Attempt(msgspec.Struct):
        request: msgspec.Raw

    class Prompts(msgspec.Struct):
        data: list[Attempt]

    raw = msgspec.json.decode(answer.content, type=Prompts)
    return [(bytes(attempt.request), told) for attempt, told in zip(raw.data, answer.json()["data"], strict=True)]


def test_the_prompt_is_what_the_upstream_received(start_server: StartServer) -> None:
    with upstream_running() as upstream:
        api = start_server(model="openai:echo", openai_base_url=upstream.base_url).api
        sid = api.session(system_prompt="Be brief. é 🏮", params={"temperature": 0.5, "stop": ["x"]})
        api.send_whole(sid, "one")
        parts = [
            {"type": "text", "text": "two"},
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}},
        ]
        api.send_whole(sid, parts, params={"max_tokens": 7})
        tools = [{"type": "function", "function": {"name": "f", "parameters": {}}}]
        api.send_whole(sid, "three", params={"tools": tools})
        replies = [message["id"] for message in api.history(sid)["data"] if message["role"] == "assistant"]
        api.ask("PATCH", f"/sessions/{sid}", json={"system_prompt": "Something else.", "params": {}})
        received = [record.body for record in upstream.requests if record.path.endswith("completions")]
        assert len(received) == 3
        for mid, body in zip(replies, received, strict=True):
            [(request, told)] = requests_of(api, sid, mid)
            assert request == body, "whatever the session says by now"
            assert (told["exact"], told["attempt"], told["left_out"]) == (True, 1, [])


def test_numbers_go_upstream_as_they_came_and_a_retry_may_write_them_otherwise(api: Api) -> None:
    whole = '{"temperature":1,"top_p":1.0,"presence_penalty":-2,"seed":7,"logit_bias":{"5":-100,"6":0.5}}'
    other = '{"temperature":1.0,"top_p":1,"presence_penalty":-2.0,"seed":7,"logit_bias":{"5":-100.0,"6":0.5}}'
    sid, own = session_id(), message_id()
    headers = {"content-type": "application/json", "accept": "application/json"}

    def asked(path: str, body: str) -> Any:
        answer = api.post(path, content=body, headers=headers)
        assert answer.status_code in (200, 201), answer.text
        return answer.json()

    for params in (whole, other):
        asked("/sessions", f'{{"id":"{sid}","params":{params}}}')
        turn = asked(f"/sessions/{sid}/messages", f'{{"id":"{own}","content":"x","params":{params}}}')
    [(request, _)] = requests_of(api, sid, turn["reply"]["id"])
    for said in ('"temperature":1,', '"top_p":1.0,', '"presence_penalty":-2,', '"logit_bias":{"5":-100,"6":0.5}'):
        assert said.encode() in request
    answer = api.post(f"/sessions/{sid}/messages", json={"id": own, "content": "x", "params": {"temperature": 1.5}})
    check_problem(answer, 422, "idempotency_mismatch")


def test_the_hash_of_a_request_is_what_an_earlier_version_made() -> None:
    """It made fractions of all numbers that may be one."""
    params = {"temperature": 1, "logit_bias": {"5": -100}, "seed": 7, "max_tokens": 5}
    before = {"params": params | {"temperature": 1.0, "logit_bias": {"5": -100.0}}, "title": "x"}
    canonical = json.dumps(before, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    expected = hashlib.sha256(canonical.encode()).hexdigest()[:32]
    assert request_hash({"title": "x", "params": params}) == request_hash(before) == expected


async def out_of_order(*_: Any, **__: Any) -> Composed | None:
    raise RuntimeError("not today")


@pytest.mark.parametrize("out", ["compose_early", "compose"])
def test_a_prompt_is_made_while_its_turn_is_committed_and_otherwise_behind_it(
    start_server: StartServer, monkeypatch: pytest.MonkeyPatch, out: str
) -> None:
    monkeypatch.setattr(Prompts, out, out_of_order)
    with upstream_running() as upstream:
        api = start_server(model="openai:echo", openai_base_url=upstream.base_url).api
        sid = api.session(system_prompt="Be brief.")
        said = []
        for text in ("one", "two"):
            mid = api.send_whole(sid, text)["reply"]["id"]
            [(request, told)] = requests_of(api, sid, mid)
            assert (request, told["exact"]) == (upstream.requests[-1].body, True)
            said.append([message["content"] for message in told["request"]["messages"]])
        assert said == [["Be brief.", "one"], ["Be brief.", "one", "one", "two"]]


def test_a_prompt_is_of_the_session_as_it_was_when_the_message_was_sent(
    start_server: StartServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, changed, early = threading.Event(), threading.Event(), Prompts.compose_early

    async def late(self: Prompts, key: Key, tip: Tip, asking: Asking) -> Composed | None:
        composed = await early(self, key, tip, asking)
        made.set()
        await asyncio.to_thread(changed.wait, 10)
        return composed

    monkeypatch.setattr(Prompts, "compose_early", late)
    with upstream_running() as upstream, ThreadPoolExecutor(1) as aside:
        api = start_server(model="openai:echo", openai_base_url=upstream.base_url).api
        sid = api.session(system_prompt="As it was.")
        sending = aside.submit(api.send_whole, sid, "one")
        assert made.wait(10)
        assert api.ask("PATCH", f"/sessions/{sid}", json={"system_prompt": "As it is."}).status_code == 200
        changed.set()
        [(request, told)] = requests_of(api, sid, sending.result(10)["reply"]["id"])
        assert (request, told["exact"]) == (upstream.requests[0].body, True)
        assert told["request"]["messages"][0]["content"] == "As it was."


def test_each_attempt_has_its_own(start_server: StartServer) -> None:
    with upstream_running() as upstream:
        api = start_server(model="openai:echo", openai_base_url=upstream.base_url).api
        sid = api.session()
        mid = api.send_whole(sid, script("tokens=3 fail=503 times=2", message_id()))["reply"]["id"]
        found = requests_of(api, sid, mid)
        assert [request for request, _ in found] == [record.body for record in upstream.requests]
        assert [told["attempt"] for _, told in found] == [1, 2, 3] and all(told["exact"] for _, told in found)


def test_what_was_left_out_is_told(api: Api, sid: str) -> None:
    empty = api.send_async(sid, SILENT)["reply"]["id"]
    api.stop(sid, empty)
    mid = api.send_whole(sid, "and on")["reply"]["id"]
    [(_, told)] = requests_of(api, sid, mid)
    assert told["left_out"] == [{"message_id": empty, "reason": "empty"}]
    assert [message["role"] for message in told["request"]["messages"]] == ["user", "user"]


def test_before_the_first_token_it_is_what_is_being_sent(api: Api) -> None:
    sid = api.session(system_prompt="Be brief.")
    mid = api.send_async(sid, SILENT)["reply"]["id"]
    [(_, told)] = requests_of(api, sid, mid)
    assert (told["exact"], told["sha256"]) == (False, None)
    assert told["request"]["messages"][0] == {"role": "system", "content": "Be brief."}
    api.stop(sid, mid)


def test_a_queued_reply_has_none_yet_and_a_message_never(api: Api, sid: str) -> None:
    running = api.send_async(sid, slow())
    queued = api.send_async(sid, "next", if_busy="queue")["reply"]["id"]
    assert requests_of(api, sid, queued) == []
    check_problem(api.get(f"/sessions/{sid}/messages/{running['message']['id']}/prompt"), 409, "not_a_reply")
    check_problem(api.get(f"/sessions/{sid}/messages/{message_id()}/prompt"), 404, "message_not_found")
    api.stop(sid, queued)
    api.stop(sid, running["reply"]["id"])


# --- usage -------------------------------------------------------------------------------------------------------


def test_the_usage_of_a_session_is_what_the_upstream_counted(start_server: StartServer) -> None:
    with upstream_running() as upstream:
        api = start_server(model="openai:echo", openai_base_url=upstream.base_url).api
        sid = api.session()
        for content in ("one two", script("tokens=5"), script("tokens=4 fail=503 times=1", message_id())):
            api.send_whole(sid, content)
        counted: list[Any] = [record.usage for record in upstream.requests if record.usage]
        assert api.get(f"/sessions/{sid}/usage").json() == {
            "replies": 3,
            "titles": 0,
            "summaries": 0,
            "attempts": 4,
            "input_tokens": sum(usage[0] for usage in counted),
            "output_tokens": sum(usage[1] for usage in counted),
            "estimated_input_tokens": 0,
            "estimated_output_tokens": 0,
        }


def test_what_nobody_counted_is_told_apart(api: Api, sid: str) -> None:
    told = api.send_whole(sid, "one two")["reply"]["usage"]
    guessed = api.send_whole(sid, script("tokens=9 fail=reset@4"))["reply"]["usage"]
    assert (told["source"], guessed["source"]) == ("provider", "estimated")
    usage = api.get(f"/sessions/{sid}/usage").json()
    assert usage["input_tokens"] == told["input_tokens"] + guessed["input_tokens"]
    assert usage["output_tokens"] == told["output_tokens"] + guessed["output_tokens"]
    assert usage["estimated_output_tokens"] == guessed["output_tokens"] > 0


@pytest.mark.parametrize("route", ["usage", "fork"])
def test_of_a_session_that_is_not_there_there_is_nothing(api: Api, route: str) -> None:
    unknown = "ses_" + "0" * 32
    body = {} if route == "usage" else {"json": {"at": message_id()}}
    check_problem(
        api.ask("GET" if route == "usage" else "POST", f"/sessions/{unknown}/{route}", **body), 404, "session_not_found"
    )
