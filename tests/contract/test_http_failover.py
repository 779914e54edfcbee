"""Further attempts: the same model again, or the next one that the session names, in one reply that a reader can trust."""

import time
from collections.abc import Callable
from typing import Any

import pytest

from rejoinder.llm.scripted_answer import full_text
from retold import check_retold
from serving import ServerThread
from strict_sse import Frame, text_of
from upstreams import upstream_running
from wire import Api, Json, eventually, message_id, script

StartServer = Callable[..., ServerThread]


def once(words: str, times: int = 1) -> str:
    """A prompt of its own, since a fault that happens only some times is counted by prompt."""
    return script(f"{words} times={times}", message_id())


def told(reply: Json) -> list[tuple[str, str | None]]:
    return [(attempt["model"], attempt["error"] and attempt["error"]["code"]) for attempt in reply["attempts"]]


def streamed(api: Api, sid: str, content: str, **fields: Any) -> tuple[list[Frame], Json]:
    with api.send_streamed(sid, content, **fields) as stream:
        frames = stream.rest()
    reply: Json = frames[-1].data["message"]
    assert text_of(frames, reply["id"]) == reply["content"]
    assert [frame.type for frame in frames].count("message.ended") == 1
    starts = [frame.data for frame in frames if frame.type == "message.started"]
    assert [start["model"] for start in starts] == [attempt["model"] for attempt in reply["attempts"]]
    assert [start["attempt"] for start in starts] == list(range(1, len(starts) + 1))
    return frames, reply


# --- the same again ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "code"), [("503", "upstream_error"), ("429", "upstream_rate_limited"), ("500", "upstream_error")]
)
def test_a_fault_before_the_first_byte_is_tried_again(api: Api, sid: str, fault: str, code: str) -> None:
    _, reply = streamed(api, sid, once(f"tokens=5 fail={fault}", times=2))
    assert (reply["status"], reply["content"], reply["error"]) == ("completed", full_text("tokens=5"), None)
    assert told(reply) == [("scripted:echo", code)] * 2 + [("scripted:echo", None)]
    assert reply["usage"]["source"] == "provider", "nothing is billed for what never began"
    assert reply["usage"]["output_tokens"] == 5
    check_retold(api, sid)


def test_it_is_tried_so_often_and_no_more(api: Api, sid: str) -> None:
    _, reply = streamed(api, sid, once("tokens=5 fail=503", times=4))
    assert (reply["status"], reply["error"]["code"]) == ("failed", "upstream_error")
    assert told(reply) == [("scripted:echo", "upstream_error")] * 4


def test_how_often_is_a_setting(start_server: StartServer) -> None:
    api = start_server(retries=0).api
    assert len(api.send_whole(api.session(), once("fail=503"))["reply"]["attempts"]) == 1


@pytest.mark.parametrize("fault", ["401", "403", "404", "400", "reset@0", "malformed@0", "eof@2", "429@0 finish=x"])
def test_what_will_not_help_is_not_tried(api: Api, sid: str, fault: str) -> None:
    reply = api.send_whole(sid, once(f"tokens=5 fail={fault}"))["reply"]
    if fault.startswith("429"):
        assert reply["status"] == "completed" and len(reply["attempts"]) == 2
    else:
        assert reply["status"] == "failed" and len(reply["attempts"]) == 1


def test_the_upstream_says_how_long_to_wait(api: Api, sid: str) -> None:
    began = time.monotonic()
    reply = api.send_whole(sid, once("tokens=2 fail=429 retry_after=0.6"))["reply"]
    assert reply["status"] == "completed"
    assert 0.6 <= time.monotonic() - began < 5


def test_who_asks_for_too_long_a_wait_is_not_waited_for(api: Api, sid: str) -> None:
    began = time.monotonic()
    reply = api.send_whole(sid, once("tokens=2 fail=429 retry_after=300"))["reply"]
    assert (reply["status"], reply["error"]["code"]) == ("failed", "upstream_rate_limited")
    assert time.monotonic() - began < 5


def test_a_stop_in_the_wait_for_a_retry_ends_the_reply_at_once(start_server: StartServer) -> None:
    with upstream_running() as upstream:
        server = start_server(model="openai:some", openai_base_url=upstream.base_url, openai_api_key="sk-x")
        api, sid = server.api, server.api.session()
        mid = api.send_async(sid, script("tokens=2 fail=429 times=1 retry_after=25"))["reply"]["id"]
        eventually(lambda: upstream.requests and upstream.requests[0].end)
        began = time.monotonic()
        reply = api.stop(sid, mid)
        assert time.monotonic() - began < 2
        assert (reply["status"], reply["content"], len(reply["attempts"])) == ("stopped", "", 1)
        assert len(upstream.requests) == 1
        assert api.send_whole(sid, "on")["reply"]["status"] == "completed"
        check_retold(api, sid)


def test_over_http_it_is_the_same_and_the_upstream_was_asked_so_often(start_server: StartServer) -> None:
    with upstream_running() as upstream:
        server = start_server(model="openai:some", openai_base_url=upstream.base_url, openai_api_key="sk-x")
        api, sid = server.api, server.api.session()
        _, reply = streamed(api, sid, script("tokens=5 fail=503 times=2"))
        assert (reply["status"], reply["content"]) == ("completed", full_text("tokens=5"))
        assert told(reply) == [("openai:some", "upstream_error")] * 2 + [("openai:some", None)]
        assert len(upstream.requests) == 3 and len({record.body for record in upstream.requests}) == 1
        usage = upstream.requests[-1].usage
        assert usage == (reply["usage"]["input_tokens"], reply["usage"]["output_tokens"])


def test_an_upstream_that_is_not_there_is_tried_again(start_server: StartServer) -> None:
    with upstream_running() as upstream:
        url = upstream.base_url
    api = start_server(model="openai:some", openai_base_url=url, openai_api_key="sk-x").api
    reply = api.send_whole(api.session(), "x")["reply"]
    assert told(reply) == [("openai:some", "upstream_unavailable")] * 4
    assert (reply["status"], reply["usage"]["output_tokens"]) == ("failed", 0)


# --- the next model ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", ["503", "429", "401", "reset@0"])
def test_where_the_first_fails_before_its_reply_the_next_is_asked(api: Api, sid: str, fault: str) -> None:
    models = [f"scripted:tokens=9+fail={fault}", "scripted:tokens=4"]
    frames, reply = streamed(api, sid, "hi", model=models)
    assert (reply["status"], reply["content"], reply["model"]) == ("completed", full_text("tokens=4"), models[1])
    assert [model for model, _ in told(reply)] == models, "at once, without another try of the first"
    assert reply["attempts"][0]["error"]["code"] and reply["attempts"][1]["error"] is None
    assert "message.reset" not in [frame.type for frame in frames]
    check_retold(api, sid)


def test_where_it_fails_in_the_middle_the_next_goes_on_exactly(api: Api, sid: str) -> None:
    models = ["scripted:tokens=9+fail=reset@4+pace=0.01", "scripted:tokens=9+pace=0.01"]
    frames, reply = streamed(api, sid, "hi", model=models)
    assert (reply["status"], reply["content"]) == ("completed", full_text("tokens=9"))
    assert told(reply) == [(models[0], "upstream_incomplete"), (models[1], None)]
    assert "message.reset" not in [frame.type for frame in frames]
    assert reply["usage"]["output_tokens"] >= 5 and reply["usage"]["source"] == "estimated", "of both attempts"
    check_retold(api, sid)


@pytest.mark.parametrize("words", ["tokens=9 reasoning=6 fail=reset@5", "tokens=2 calls=2 fail=reset@3"])
def test_what_no_prefill_can_carry_is_begun_anew(api: Api, sid: str, words: str) -> None:
    models = ["scripted:" + words.replace(" ", "+"), "scripted:tokens=6"]
    frames, reply = streamed(api, sid, "hi", model=models)
    assert (reply["content"], reply["reasoning"], reply["tool_calls"]) == (full_text("tokens=6"), "", [])
    [reset] = [frame.data for frame in frames if frame.type == "message.reset"]
    assert (reset["attempt"], reset["reason"]) == (2, "upstream_incomplete")
    check_retold(api, sid)


def test_a_reply_that_has_done_its_thinking_goes_on(api: Api, sid: str) -> None:
    models = ["scripted:tokens=9+reasoning=3+fail=reset@5", "scripted:tokens=9"]
    frames, reply = streamed(api, sid, "hi", model=models)
    assert (reply["content"], reply["reasoning"]) == (full_text("tokens=9"), "r0 r1 r2")
    assert "message.reset" not in [frame.type for frame in frames]
    check_retold(api, sid)


def test_where_there_is_no_prefill_the_next_begins_anew(start_server: StartServer) -> None:
    with upstream_running() as upstream:
        server = start_server(model="openai:some", openai_base_url=upstream.base_url, openai_api_key="sk-x")
        models = ["openai:tokens=9+fail=reset@4+pace=0.01", "openai:tokens=6+pace=0.01"]
        api = server.api
        sid = api.session(model=models)
        frames, reply = streamed(api, sid, "hi")
        assert (reply["status"], reply["content"]) == ("completed", full_text("tokens=6"))
        kinds = [frame.type for frame in frames]
        at = kinds.index("message.reset")
        assert "message.delta" in kinds[:at], "readers had seen text of the first"
        assert kinds[at + 1] == "message.started", "told together"
        assert (frames[at].data["attempt"], frames[at].data["reason"]) == (2, "upstream_incomplete")
        later = next(frame for frame in frames[at:] if frame.type == "message.delta")
        assert later.data["offset"] == 0
        assert told(reply) == [(models[0], "upstream_incomplete"), (models[1], None)]
        check_retold(api, sid)


def test_the_last_is_tried_again_as_one_alone_would_be(api: Api, sid: str) -> None:
    models = ["scripted:fail=401", f"scripted:fail=503+times=2+tokens={4}"]
    _, reply = streamed(api, sid, message_id(), model=models)
    assert told(reply) == [(models[0], "upstream_auth")] + [(models[1], "upstream_error")] * 2 + [(models[1], None)]


def test_where_all_fail_the_reply_fails_as_the_last_did_and_keeps_its_text(api: Api, sid: str) -> None:
    models = ["scripted:tokens=9+fail=reset@2", "scripted:tokens=9+fail=error@5", "scripted:tokens=9+fail=malformed@7"]
    _, reply = streamed(api, sid, "hi", model=models)
    assert (reply["status"], reply["error"]["code"]) == ("failed", "upstream_malformed")
    assert reply["content"] == full_text("tokens=7")
    assert [code for _, code in told(reply)] == ["upstream_incomplete", "upstream_error", "upstream_malformed"]
    check_retold(api, sid)


@pytest.mark.parametrize(("words", "code", "attempts"), [("hang", "upstream_timeout", 1), ("tokens=9+stall@3", "", 2)])
def test_after_a_silent_request_nobody_else_is_asked_and_after_a_stall_the_next_goes_on(
    start_server: StartServer, words: str, code: str, attempts: int
) -> None:
    api = start_server(first_token_timeout=0.3, stall_timeout=0.3).api
    sid = api.session(model=[f"scripted:{words}", "scripted:tokens=9"])
    _, reply = streamed(api, sid, "hi")
    assert len(reply["attempts"]) == attempts
    assert (reply["error"] or {}).get("code", "") == code
    if not code:
        assert told(reply)[0][1] == "upstream_stalled"
        assert reply["content"] == full_text("tokens=9")


def test_a_stop_counts_in_whatever_attempt(api: Api, sid: str) -> None:
    models = ["scripted:tokens=9+fail=reset@4", "scripted:tokens=9000+pace=0.01"]
    with api.send_streamed(sid, "hi", model=models) as stream:
        second = stream.until(lambda frame: frame.type == "message.started" and frame.data["attempt"] == 2)
        stream.until("message.delta")
        reply = api.stop(sid, second.message_id or "")
        stream.rest()
    assert (reply["status"], len(reply["attempts"])) == ("stopped", 2)
    assert full_text("tokens=9000").startswith(reply["content"]) and reply["content"]
    check_retold(api, sid)
