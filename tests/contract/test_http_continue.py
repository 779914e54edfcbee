"""Going on with a reply that broke off: exactly from its last character, in a reply of its own beside it."""

from collections.abc import Callable
from typing import Any

import httpx2
import pytest

from rejoinder.llm.scripted_answer import full_text
from retold import check_retold
from serving import ServerThread
from strict_sse import text_of
from upstreams import upstream_running
from wire import SILENT, Api, check_problem, message_id, script, slow

ASYNC = {"prefer": "respond-async"}
JSON = {"accept": "application/json"}


def go_on(api: Api, sid: str, mid: str, headers: dict[str, str] = JSON, **body: Any) -> httpx2.Response:
    return api.post(f"/sessions/{sid}/messages/{mid}/continue", json=body, headers=headers)


def stopped_in_the_middle(api: Api, sid: str, words: str = "tokens=60 pace=0.01") -> str:
    with api.send_streamed(sid, script(words)) as stream:
        for _ in range(4):
            mid = stream.until("message.delta").message_id or ""
        assert api.stop(sid, mid)["status"] == "stopped"
        stream.rest()
    return mid


def test_a_stopped_reply_goes_on_exactly_where_it_broke_off(api: Api, sid: str) -> None:
    source = stopped_in_the_middle(api, sid)
    had = api.message(sid, source)
    with api.stream("POST", f"/sessions/{sid}/messages/{source}/continue", json={}) as stream:
        frames = stream.rest()
    mid = frames[0].message_id or ""
    assert {frame.message_id for frame in frames} == {mid}
    created = frames[0].data["message"]
    assert (created["continues"], created["content"], created["status"]) == (source, "", "streaming")
    first = next(frame for frame in frames if frame.type == "message.delta")
    assert (first.data["text"], first.data["offset"]) == (had["content"], 0), "it repeats what there was"
    assert text_of(frames, mid) == full_text("tokens=60")
    ended = frames[-1].data["message"]
    assert (ended["status"], ended["content"], ended["continues"]) == ("completed", full_text("tokens=60"), source)
    assert ended["siblings"] == [source, mid] == api.message(sid, source)["siblings"]
    assert len(ended["attempts"]) == 1
    assert api.message(sid, source) == had | {"siblings": [source, mid]}, "what broke off stays as it is"
    assert api.read_session(sid)["head"] == mid
    [asked] = api.get(f"/sessions/{sid}/messages/{mid}/prompt").json()["data"]
    assert asked["request"]["messages"][-1] == {"role": "assistant", "content": had["content"]}
    assert asked["exact"]
    check_retold(api, sid)


@pytest.mark.parametrize("words", ["tokens=9 fail=reset@4", "tokens=9 finish=content_filter fail=error@2"])
def test_a_failed_reply_goes_on(api: Api, sid: str, words: str) -> None:
    source = api.send_whole(sid, script(words))["reply"]
    assert source["status"] == "failed"
    reply = go_on(api, sid, source["id"], params={"max_tokens": 100}).json()["reply"]
    assert reply["content"] == full_text("tokens=9")


def test_a_reply_cut_by_its_limit_goes_on_until_it_is_whole(api: Api, sid: str) -> None:
    reply = api.send_whole(sid, script("tokens=10"), params={"max_tokens": 4})["reply"]
    assert (reply["finish_reason"], reply["content"]) == ("length", full_text("tokens=4"))
    reply = go_on(api, sid, reply["id"]).json()["reply"]
    assert (reply["finish_reason"], reply["content"]) == ("length", full_text("tokens=8")), "under the same limit"
    reply = go_on(api, sid, reply["id"], params={"max_tokens": 50}).json()["reply"]
    assert (reply["finish_reason"], reply["content"]) == ("stop", full_text("tokens=10"))
    assert len(reply["siblings"]) == 3
    check_problem(go_on(api, sid, reply["id"]), 409, "cannot_continue")
    check_retold(api, sid)


def test_a_finish_of_length_goes_on(api: Api, sid: str) -> None:
    source = api.send_whole(sid, script("tokens=5 finish=length"))["reply"]["id"]
    reply = go_on(api, sid, source).json()["reply"]
    assert (reply["content"], reply["continues"]) == (full_text("tokens=5"), source)


def test_a_long_text_is_repeated_in_deltas_of_their_limit(start_server: Callable[..., ServerThread]) -> None:
    api = start_server(max_delta=16).api
    sid = api.session()
    source = api.send_whole(sid, script("tokens=50 finish=length"))["reply"]["id"]
    with api.stream("POST", f"/sessions/{sid}/messages/{source}/continue", json={}) as stream:
        frames = stream.rest()
    assert text_of(frames, frames[0].message_id or "") == full_text("tokens=50")
    assert max(len(frame.data["text"]) for frame in frames if frame.type == "message.delta") <= 16


def test_what_cannot_go_on(api: Api, sid: str) -> None:
    whole = api.send_whole(sid, "x")
    check_problem(go_on(api, sid, whole["reply"]["id"]), 409, "cannot_continue")
    check_problem(go_on(api, sid, whole["message"]["id"]), 409, "not_a_reply")
    check_problem(go_on(api, sid, message_id()), 404, "message_not_found")
    empty = api.send_whole(sid, script("tokens=3 fail=401"))["reply"]["id"]
    check_problem(go_on(api, sid, empty), 409, "cannot_continue")
    calls = api.send_whole(sid, script("tokens=3 calls=1 fail=reset@4"))["reply"]["id"]
    check_problem(go_on(api, sid, calls), 409, "cannot_continue")
    running = api.send_async(sid, SILENT)["reply"]["id"]
    queued = api.send_async(sid, "x", if_busy="queue")["reply"]["id"]
    for mid in (running, queued):
        for if_busy in ("reject", "queue", "interrupt"):
            check_problem(go_on(api, sid, mid, if_busy=if_busy), 409, "cannot_continue")
    assert api.message(sid, running)["status"] == "streaming"
    api.stop(sid, queued)
    api.stop(sid, running)


def test_a_retry_attaches_and_another_body_is_refused(api: Api, sid: str) -> None:
    source, own = stopped_in_the_middle(api, sid), message_id()
    first = go_on(api, sid, source, id=own).json()
    assert first["reply"]["id"] == own
    assert go_on(api, sid, source, id=own).json() == first
    with api.stream("POST", f"/sessions/{sid}/messages/{source}/continue", json={"id": own}) as stream:
        assert text_of(stream.rest(), own) == full_text("tokens=60")
    check_problem(go_on(api, sid, source, id=own, params={"seed": 1}), 422, "idempotency_mismatch")
    check_problem(go_on(api, sid, own, id=own), 422, "idempotency_mismatch")


def test_beside_another_reply_it_waits_or_is_busy(api: Api, sid: str) -> None:
    source = stopped_in_the_middle(api, sid)
    asked = api.message(sid, source)["parent_id"]
    live = api.post(
        f"/sessions/{sid}/messages/{asked}/replies", json={"model": "scripted:tokens=9+pace=0.05"}, headers=ASYNC
    ).json()["reply"]["id"]
    check_problem(go_on(api, sid, source), 409, "session_busy")
    queued = go_on(api, sid, source, ASYNC, if_busy="queue").json()["reply"]
    assert (queued["status"], queued["continues"]) == ("queued", source)
    api.stop(sid, live)
    assert api.ended(sid, queued["id"])["content"] == full_text("tokens=60")
    check_retold(api, sid)


def test_a_continuation_that_broke_off_goes_on_too(api: Api, sid: str) -> None:
    source = stopped_in_the_middle(api, sid, "tokens=10000 pace=0.01")
    with api.stream("POST", f"/sessions/{sid}/messages/{source}/continue", json={}) as stream:
        for _ in range(4):
            mid = stream.until("message.delta").message_id or ""
        second = api.stop(sid, mid)
    assert second["content"].startswith(api.message(sid, source)["content"])
    third = go_on(api, sid, mid, ASYNC).json()["reply"]["id"]
    with api.follow(sid, third) as stream:
        for _ in range(3):
            stream.until("message.delta")
        api.stop(sid, third)
        text = text_of(stream.rest(), third)
    assert text.startswith(second["content"]) and full_text("tokens=10000").startswith(text)
    check_retold(api, sid)


@pytest.mark.parametrize("prefill", [(), ("openai",), ("openai:some",), ("openai:other",)])
def test_an_upstream_goes_on_only_where_the_settings_say_so(
    start_server: Callable[..., ServerThread], prefill: tuple[str, ...]
) -> None:
    with upstream_running() as upstream:
        server = start_server(
            model="openai:some", openai_base_url=upstream.base_url, openai_api_key="sk-x", prefill=prefill
        )
        api, sid = server.api, server.api.session()
        source = api.send_whole(sid, script("tokens=9 fail=reset@5"))["reply"]
        assert source["status"] == "failed" and source["content"] == full_text("tokens=5")
        answer = go_on(api, sid, source["id"])
        if prefill in (("openai",), ("openai:some",)):
            assert answer.json()["reply"]["content"] == full_text("tokens=9")
        else:
            check_problem(answer, 409, "cannot_continue")
            assert len(upstream.requests) == 1


def test_of_several_models_those_that_can_go_on(api: Api, sid: str) -> None:
    source = stopped_in_the_middle(api, sid)
    reply = go_on(api, sid, source, model=["scripted:echo", "scripted:story"]).json()["reply"]
    assert (reply["model"], reply["content"]) == ("scripted:echo", full_text("tokens=60"))
    check_problem(go_on(api, sid, source, model="scripted:nonsense"), 422, "invalid_request")


def test_a_stop_keeps_what_was_repeated(api: Api, sid: str) -> None:
    source = stopped_in_the_middle(api, sid, "tokens=10000 pace=0.01")
    mid = go_on(api, sid, source, ASYNC).json()["reply"]["id"]
    stopped = api.stop(sid, mid)
    assert stopped["content"].startswith(api.message(sid, source)["content"])
    assert api.send_whole(sid, slow(3))["reply"]["status"] == "completed"
