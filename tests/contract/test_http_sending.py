"""Sending a message: the three forms of the answer, what the turn looks like, and what a retry gets."""

import re
from typing import Any

import httpx2
import pytest

from rejoinder.llm.scripted_answer import full_text
from strict_sse import text_of
from wire import Api, Json, check_problem, events_of, message_id, script, slow, together

MESSAGE_FIELDS = {
    *("id", "session_id", "parent_id", "role", "content", "reasoning", "tool_calls", "tool_call_id", "status", "model"),
    *("finish_reason", "usage", "error", "attempts", "continues", "siblings", "metadata", "created_at", "ended_at"),
}
ASYNC = {"prefer": "respond-async"}
JSON = {"accept": "application/json"}


def send(api: Api, sid: str, headers: dict[str, str], **body: Any) -> httpx2.Response:
    return api.post(f"/sessions/{sid}/messages", json={"content": "hi", **body}, headers=headers)


def check_links(answer: httpx2.Response, sid: str, reply_id: str) -> None:
    here = f"/v1/sessions/{sid}/messages/{reply_id}"
    assert (answer.headers["location"], answer.headers["content-location"]) == (f"{here}/events", here)


# --- the three forms ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("accept", ["text/event-stream", "*/*", "text/*", "text/event-stream, application/json;q=0.5"])
def test_a_stream_tells_the_turn_from_the_message_to_the_end_of_the_reply(api: Api, sid: str, accept: str) -> None:
    with api.send_streamed(sid, "hello there", headers={"accept": accept}) as stream:
        frames = stream.rest()
        asked, reply = frames[0].data["message"], frames[1].data["message"]
        check_links(stream.response, sid, reply["id"])
    kinds = [frame.type for frame in frames]
    assert kinds[:3] == ["message.created", "message.created", "message.started"]
    assert set(kinds[3:-1]) == {"message.delta"} and kinds[-1] == "message.ended"
    assert (asked["role"], asked["content"], asked["status"]) == ("user", "hello there", "completed")
    assert (reply["role"], reply["content"], reply["parent_id"]) == ("assistant", "", asked["id"])
    ended = frames[-1].data["message"]
    assert (ended["id"], ended["status"], ended["content"]) == (reply["id"], "completed", "hello there")
    assert text_of(frames, reply["id"]) == "hello there"


def test_a_client_that_says_nothing_of_what_it_accepts_gets_a_stream(api: Api, sid: str) -> None:
    request = api.http.build_request("POST", f"/v1/sessions/{sid}/messages", json={"content": "x"})
    del request.headers["accept"]
    answer = api.http.send(request)
    assert answer.headers["content-type"].startswith("text/event-stream")


@pytest.mark.parametrize("accept", ["application/json", "application/*", "application/json, text/event-stream;q=0.1"])
def test_json_comes_when_the_reply_has_ended(api: Api, sid: str, accept: str) -> None:
    answer = send(api, sid, {"accept": accept}, content=script("tokens=5 pace=0.02"))
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    said = answer.json()
    assert said.keys() == {"message", "reply"}
    assert (said["reply"]["status"], said["reply"]["content"]) == ("completed", "t0 t1 t2 t3 t4")
    check_links(answer, sid, said["reply"]["id"])
    assert said["reply"] == api.message(sid, said["reply"]["id"])
    assert said["message"] == api.message(sid, said["message"]["id"])


def test_several_lines_of_accept_are_one_list(api: Api, sid: str) -> None:
    path = f"/v1/sessions/{sid}/messages"
    for lines, kind in (
        (("text/html", "application/json"), "application/json"),
        (("application/json;q=0.5", "text/event-stream"), "text/event-stream; charset=utf-8"),
    ):
        headers = [("accept", line) for line in lines]
        answer = api.http.post(path, json={"content": "x"}, headers=headers)
        assert (answer.status_code, answer.headers["content-type"]) == (200, kind)


def test_json_comes_also_where_the_reply_failed(api: Api, sid: str) -> None:
    answer = send(api, sid, JSON, content=script("tokens=9 fail=reset@4"))
    assert answer.status_code == 200
    reply = answer.json()["reply"]
    assert (reply["status"], reply["content"], reply["error"]["code"]) == (
        "failed",
        "t0 t1 t2 t3",
        "upstream_incomplete",
    )


@pytest.mark.parametrize("headers", [ASYNC, ASYNC | JSON, {"prefer": 'wait=5, Respond-Async; x="y"'}])
def test_a_receipt_comes_at_once(api: Api, sid: str, headers: dict[str, str]) -> None:
    answer = send(api, sid, headers, content=slow())
    assert answer.status_code == 202
    assert answer.headers["preference-applied"] == "respond-async"
    said = answer.json()
    assert said.keys() == {"message", "reply"}
    assert (said["reply"]["status"], said["reply"]["parent_id"]) == ("streaming", said["message"]["id"])
    check_links(answer, sid, said["reply"]["id"])
    api.stop(sid, said["reply"]["id"])


def test_who_names_the_stream_gets_it_whatever_else_it_prefers(api: Api, sid: str) -> None:
    answer = send(api, sid, ASYNC | {"accept": "text/event-stream"})
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert "preference-applied" not in answer.headers


@pytest.mark.parametrize("accept", ["text/html", "image/*", "application/xml;q=1", "text/event-stream;q=0"])
@pytest.mark.parametrize("more", [{}, ASYNC])
def test_who_takes_neither_form_is_refused_and_nothing_is_sent(api: Api, sid: str, accept: str, more: Json) -> None:
    before = api.last_seq(sid)
    check_problem(send(api, sid, {"accept": accept, **more}), 406, "not_acceptable")
    assert api.last_seq(sid) == before


def test_the_places_that_an_answer_names_are_there(api: Api, sid: str) -> None:
    answer = send(api, sid, ASYNC, content=script("tokens=3"))
    with api.stream("GET", "/" + answer.headers["location"]) as stream:
        assert stream.rest()[-1].type == "message.ended"
    assert api.get("/" + answer.headers["content-location"]).json()["status"] == "completed"


# --- what a turn is ----------------------------------------------------------------------------------------------


def test_a_message_and_its_reply_are_whole(api: Api, sid: str) -> None:
    turn = api.send_whole(sid, "hello", metadata={"a": "b"})
    message, reply = turn["message"], turn["reply"]
    assert message.keys() == reply.keys() == MESSAGE_FIELDS
    assert re.fullmatch(r"msg_[0-9a-f]{32}", message["id"]) and re.fullmatch(r"msg_[0-9a-f]{32}", reply["id"])
    assert message | {"id": "", "created_at": "", "ended_at": ""} == {
        **dict.fromkeys(MESSAGE_FIELDS),
        **dict.fromkeys(("id", "reasoning", "created_at", "ended_at"), ""),
        **{name: [] for name in ("tool_calls", "attempts", "siblings")},
        "session_id": sid,
        "role": "user",
        "content": "hello",
        "status": "completed",
        "metadata": {"a": "b"},
    }
    assert message["ended_at"] == message["created_at"]
    assert (reply["role"], reply["finish_reason"], reply["error"]) == ("assistant", "stop", None)
    assert reply["usage"] == {"input_tokens": 1, "output_tokens": 1, "source": "provider"}
    assert reply["attempts"] == [{"model": reply["model"], "error": None}]


def test_the_next_message_stands_under_the_head(api: Api, sid: str) -> None:
    first = api.send_whole(sid, "one")
    second = api.send_whole(sid, "two")
    assert second["message"]["parent_id"] == first["reply"]["id"]
    assert [message["content"] for message in api.history(sid)["data"]] == ["one", "one", "two", "two"]


def test_the_head_moves_when_a_send_is_accepted(api: Api, sid: str) -> None:
    live = api.send_async(sid, slow())
    assert api.read_session(sid)["head"] == live["reply"]["id"]
    api.stop(sid, live["reply"]["id"])
    assert api.read_session(sid)["head"] == live["reply"]["id"]


def test_the_model_is_told_the_session_s_words_and_the_branch(api: Api) -> None:
    sid = api.session(system_prompt="five words of system prompt")
    first = api.send_whole(sid, "one two three")["reply"]
    assert first["usage"]["input_tokens"] == 8, "the scripted model counts words: the prompt's and the message's"
    second = api.send_whole(sid, "four")["reply"]
    assert second["usage"]["input_tokens"] == 8 + 3 + 1


def test_content_parts_are_kept_as_they_came(api: Api, sid: str) -> None:
    parts = [
        {"type": "text", "text": "what is "},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo=", "detail": "low"}},
        {"type": "text", "text": "this? é 🏮"},
    ]
    turn = api.send_whole(sid, parts)
    assert turn["message"]["content"] == parts
    assert turn["reply"]["content"] == "what is this? é 🏮"


ODD = [
    "\u2028\u2029\x85",
    "\r\n\r\n",
    "data: x\n\nid: 7\n\n",
    "👩\u200d👩\u200d👧\u200d👦 e\u0301",
    "\ufeff",
    "\x01\x7f",
    " ",
]


@pytest.mark.parametrize("text", ODD)
def test_any_text_comes_back_as_it_was_sent(api: Api, sid: str, text: str) -> None:
    with api.send_streamed(sid, f"<{text}>") as stream:
        frames = stream.rest()
    assert frames[0].data["message"]["content"] == f"<{text}>"
    assert text_of(frames, frames[-1].message_id or "") == frames[-1].data["message"]["content"] == f"<{text}>"


def test_reasoning_and_tool_calls_have_parts_and_offsets_of_their_own(api: Api, sid: str) -> None:
    with api.send_streamed(sid, script("tokens=3 reasoning=4 calls=2")) as stream:
        frames = stream.rest()
    reply = frames[-1].data["message"]
    assert text_of(frames, reply["id"], part="reasoning") == reply["reasoning"] == "r0 r1 r2 r3"
    assert text_of(frames, reply["id"]) == reply["content"] == "t0 t1 t2"
    assert reply["finish_reason"] == "tool_calls"
    for index, call in enumerate(reply["tool_calls"]):
        assert call == {
            "id": f"call_{index}",
            "type": "function",
            "function": {"name": "lookup", "arguments": f'{{"number": {index}}}'},
        }
        assert text_of(frames, reply["id"], part="tool_call", index=index) == call["function"]["arguments"]
        first = next(frame.data for frame in frames if frame.data.get("index") == index)
        assert (first["id"], first["name"]) == (call["id"], "lookup")


def test_offsets_count_code_points(api: Api, sid: str) -> None:
    with api.send_streamed(sid, script("story")) as stream:
        frames = stream.rest()
    text = text_of(frames, frames[-1].message_id or "")
    assert text == full_text("story")
    assert any(ord(character) > 0xFFFF for character in text)


def test_the_model_of_a_message_wins_over_the_session_s(api: Api) -> None:
    sid = api.session(model="scripted:tokens=1")
    assert api.send_whole(sid, "x")["reply"]["content"] == "t0"
    reply = api.send_whole(sid, "x", model="scripted:tokens=2")["reply"]
    assert (reply["content"], reply["model"]) == ("t0 t1", "scripted:tokens=2")
    assert api.send_whole(sid, "x")["reply"]["content"] == "t0"


def test_of_models_in_order_of_preference_the_first_answers(api: Api, sid: str) -> None:
    reply = api.send_whole(sid, "x", model=["scripted:tokens=3", "scripted:tokens=1"])["reply"]
    assert (reply["content"], reply["model"]) == ("t0 t1 t2", "scripted:tokens=3")


def test_params_of_a_message_win_one_by_one_over_the_session_s(api: Api) -> None:
    sid = api.session(params={"max_tokens": 2, "temperature": 1.0})
    assert api.send_whole(sid, script("tokens=9"))["reply"]["content"] == "t0 t1"
    longer = api.send_whole(sid, script("tokens=9"), params={"max_tokens": 3})["reply"]
    assert (longer["content"], longer["finish_reason"]) == ("t0 t1 t2", "length")


# --- branches and busy -------------------------------------------------------------------------------------------


def test_an_older_parent_makes_a_branch_and_null_one_at_the_root(api: Api, sid: str) -> None:
    first = api.send_whole(sid, "one")
    second = api.send_whole(sid, "two")
    edited = api.send_whole(sid, "two, edited", parent_id=first["reply"]["id"])
    rooted = api.send_whole(sid, "another beginning", parent_id=None)
    assert edited["message"]["parent_id"] == first["reply"]["id"]
    assert edited["message"]["siblings"] == [second["message"]["id"], edited["message"]["id"]]
    assert rooted["message"]["parent_id"] is None
    assert rooted["message"]["siblings"] == [first["message"]["id"], rooted["message"]["id"]]
    assert api.message(sid, second["message"]["id"])["siblings"] == edited["message"]["siblings"], (
        "siblings are derived"
    )


def test_a_message_under_a_running_reply_is_busy_and_changes_nothing(api: Api, sid: str) -> None:
    live = api.send_async(sid, slow())["reply"]["id"]
    where = {"reply_id": live, "events": f"/v1/sessions/{sid}/messages/{live}/events"}
    for headers in (JSON, ASYNC, {"accept": "text/event-stream"}):
        for parent in ({}, {"parent_id": live}, {"if_busy": "reject"}):
            problem = check_problem(send(api, sid, headers, **parent), 409, "session_busy")
            assert {name: problem[name] for name in where} == where
    assert len(api.all_messages(sid)) == 2
    with api.stream("GET", "/" + where["events"]) as stream:
        stream.until("message.delta")
    api.stop(sid, live)
    assert api.send_whole(sid, "now")["reply"]["status"] == "completed"


def test_other_branches_run_in_parallel(api: Api, sid: str) -> None:
    first = api.send_whole(sid, "one")
    live = [
        api.send_async(sid, slow()),
        api.send_async(sid, slow(), parent_id=first["reply"]["id"]),
        api.send_async(sid, slow(), parent_id=first["message"]["id"]),
        api.send_async(sid, slow(), parent_id=None),
        api.send_async(sid, slow(), parent_id=None),
    ]
    ids = [turn["reply"]["id"] for turn in live]
    assert {api.message(sid, mid)["status"] for mid in ids} == {"streaming"}
    for mid in ids:
        problem = check_problem(send(api, sid, JSON, parent_id=mid), 409, "session_busy")
        assert problem["reply_id"] == mid
    for mid in ids:
        assert api.stop(sid, mid)["status"] == "stopped"


def test_many_sends_at_once_to_one_branch_give_one_turn_and_the_others_are_busy(api: Api, sid: str) -> None:
    answers = together(lambda number: send(api, sid, ASYNC, content=slow(), metadata={"n": str(number)}), 10)
    assert sorted(answer.status_code for answer in answers) == [202] + [409] * 9
    assert len(api.all_messages(sid)) == 2
    api.stop(sid, api.read_session(sid)["head"])


def test_a_parent_of_another_session_is_not_found(api: Api, sid: str) -> None:
    other = api.send_whole(api.session(), "x")["reply"]["id"]
    for parent in (other, message_id()):
        check_problem(send(api, sid, JSON, parent_id=parent), 404, "message_not_found")
    assert api.all_messages(sid) == []


# --- retries -----------------------------------------------------------------------------------------------------


def test_twenty_of_the_same_at_once_make_one_turn(api: Api, sid: str) -> None:
    own = message_id()
    forms = (JSON, ASYNC, {"accept": "text/event-stream"})
    answers = together(lambda n: send(api, sid, forms[n % 3], id=own, content=script("tokens=20 pace=0.01")), 20)
    assert {answer.status_code for answer in answers} == {200, 202}
    assert len({answer.headers["location"] for answer in answers}) == 1
    messages = api.all_messages(sid)
    assert [message["role"] for message in messages] == ["user", "assistant"]
    assert messages[0]["id"] == own
    assert len(messages[1]["attempts"]) == 1, "no further call upstream"


def test_a_retry_while_the_reply_is_written_gets_the_stream_from_its_start(api: Api, sid: str) -> None:
    own = message_id()
    with api.send_streamed(sid, slow(40), id=own) as first:
        first.until("message.delta")
        with api.send_streamed(sid, slow(40), id=own) as again:
            frames = again.rest()
        whole = first.rest()
    assert [frame.type for frame in frames[:2]] == ["message.created"] * 2
    mid = frames[-1].message_id or ""
    assert text_of(frames, mid) == text_of(whole, mid) == full_text("tokens=40")


def test_a_retry_when_the_reply_has_ended_gets_the_same_turn(api: Api, sid: str) -> None:
    own = message_id()
    turn = api.send_whole(sid, "hi", id=own)
    seq = api.last_seq(sid)
    assert api.send_whole(sid, "hi", id=own) == turn
    assert api.send_async(sid, "hi", id=own) == turn
    with api.send_streamed(sid, "hi", id=own) as stream:
        frames = stream.rest()
    assert frames[-1].data["message"] == turn["reply"] | {"siblings": frames[-1].data["message"]["siblings"]}
    assert [frame.type for frame in frames[:2]] == ["message.created"] * 2
    assert api.last_seq(sid) == seq


def test_a_retry_of_what_is_long_gets_the_same_turn(api: Api, sid: str) -> None:
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 2_000_000}}
    own, content = message_id(), [picture, {"type": "text", "text": "hi"}]
    first, second = [api.send_whole(sid, content, id=own) for _ in range(2)]
    assert first == second


def test_a_retry_attaches_also_to_a_stopped_and_to_a_failed_reply(api: Api, sid: str) -> None:
    own = message_id()
    live = api.send_async(sid, slow(), id=own)
    stopped = api.stop(sid, live["reply"]["id"])
    assert api.send_whole(sid, slow(), id=own)["reply"] == stopped
    other = message_id()
    failed = api.send_whole(sid, script("fail=500"), id=other)["reply"]
    assert failed["status"] == "failed"
    assert api.send_whole(sid, script("fail=500"), id=other)["reply"] == failed


def test_a_retry_with_a_cursor_reads_on_from_there(api: Api, sid: str) -> None:
    own = message_id()
    with api.send_streamed(sid, script("tokens=30"), id=own) as stream:
        frames = stream.rest()
    mid = frames[-1].message_id or ""
    for cut in (0, 1, 2, len(frames) // 2, len(frames) - 2):
        seen = frames[: cut + 1]
        with api.send_streamed(sid, script("tokens=30"), id=own, headers={"last-event-id": str(seen[-1].seq)}) as again:
            more = again.rest()
        assert text_of(more, mid, start=text_of(seen, mid)) == full_text("tokens=30")
        assert more[-1] == frames[-1] or more[-1].data == frames[-1].data


def test_a_retry_with_a_cursor_at_the_end_has_nothing_more_to_read(api: Api, sid: str) -> None:
    own = message_id()
    with api.send_streamed(sid, "x", id=own) as stream:
        last = stream.rest()[-1]
    answer = send(api, sid, {"last-event-id": str(last.seq)}, id=own, content="x")
    assert (answer.status_code, answer.content) == (204, b"")
    check_links(answer, sid, last.message_id or "")


def test_a_retry_comes_before_any_check_for_being_busy(api: Api, sid: str) -> None:
    own = message_id()
    first = api.send_whole(sid, "one", id=own)
    live = api.send_async(sid, slow())["reply"]["id"]
    assert api.send_whole(sid, "one", id=own) == first
    check_problem(send(api, sid, JSON, content="another"), 409, "session_busy")
    api.stop(sid, live)


@pytest.mark.parametrize(
    "other",
    [
        {"content": "other"},
        {"content": [{"type": "text", "text": "hi"}]},
        {"metadata": {"a": "b"}},
        {"model": "scripted:story"},
        {"params": {"seed": 1}},
        {"parent_id": None},
    ],
    ids=str,
)
@pytest.mark.parametrize("live", [False, True])
def test_the_same_id_with_another_body_is_refused(api: Api, sid: str, other: Json, live: bool) -> None:
    own = message_id()
    content = script("tokens=1000 pace=0.01") if live else "hi"
    turn = api.send_async(sid, content, id=own)
    if not live:
        api.ended(sid, turn["reply"]["id"])
    for headers in (JSON, ASYNC, {"accept": "text/event-stream"}):
        answer = send(api, sid, headers, **{"id": own, "content": content} | other)
        check_problem(answer, 422, "idempotency_mismatch")
    assert len(api.all_messages(sid)) == 2
    api.stop(sid, turn["reply"]["id"])


def test_the_id_of_a_reply_is_no_id_for_a_message(api: Api, sid: str) -> None:
    reply = api.send_whole(sid, "x")["reply"]["id"]
    check_problem(send(api, sid, JSON, id=reply), 422, "idempotency_mismatch")


def test_message_ids_are_of_their_session(api: Api) -> None:
    own = message_id()
    turns = [api.send_whole(api.session(), content, id=own) for content in ("here", "there")]
    assert [turn["reply"]["content"] for turn in turns] == ["here", "there"]


def test_an_idempotency_key_names_one_turn_of_its_session(api: Api) -> None:
    first, second = api.session(), api.session()
    key = {"idempotency-key": "the-same-key"}
    answers = together(lambda _: send(api, first, JSON | key), 8)
    assert len({answer.text for answer in answers}) == 1
    assert answers[0].status_code == 200
    other = send(api, second, JSON | key).json()
    assert other["message"]["session_id"] == second
    assert len(api.all_messages(first)) == len(api.all_messages(second)) == 2
    check_problem(send(api, first, JSON | key, content="other"), 422, "idempotency_mismatch")


def test_an_id_and_an_idempotency_key_together_are_refused(api: Api, sid: str) -> None:
    check_problem(send(api, sid, JSON | {"idempotency-key": "k"}, id=message_id()), 422, "invalid_request")
    assert api.all_messages(sid) == []


# --- whatever happens then is the reply's own --------------------------------------------------------------------

CODES = [
    *("upstream_unavailable", "upstream_auth", "upstream_rate_limited", "upstream_error", "upstream_timeout"),
    *("upstream_stalled", "upstream_malformed", "upstream_incomplete", "content_filtered", "context_overflow"),
]


CANNOT_HAVE_BEGUN = ("upstream_unavailable", "upstream_rate_limited", "upstream_error")
"""Before the first byte: the same request is made again, three times."""


@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize("after", [0, 3])
def test_a_fault_upstream_ends_the_reply_with_its_code_and_keeps_what_there_was(
    api: Api, sid: str, code: str, after: int
) -> None:
    with api.send_streamed(sid, script(f"tokens=6 fail={code}@{after}")) as stream:
        frames = stream.rest()
    reply = frames[-1].data["message"]
    assert (reply["status"], reply["error"]["code"], reply["content"]) == ("failed", code, full_text(f"tokens={after}"))
    assert reply["error"].keys() == {"code", "message"} and reply["error"]["message"]
    told = {"model": reply["model"], "error": reply["error"]}
    assert reply["attempts"] == [told] * (4 if code in CANNOT_HAVE_BEGUN and not after else 1), "and none was hidden"
    assert reply["usage"]["source"] == "estimated" and reply["usage"]["output_tokens"] >= (after > 0)
    assert text_of(frames, reply["id"]) == reply["content"]
    assert api.send_whole(sid, "and on")["reply"]["status"] == "completed", "the session takes the next message"


def test_an_end_without_a_finish_is_never_completed(api: Api, sid: str) -> None:
    for what in ("reset", "close", "eof"):
        reply = api.send_whole(sid, script(f"tokens=3 fail={what}@3"))["reply"]
        assert (reply["status"], reply["error"]["code"]) == ("failed", "upstream_incomplete")


def test_a_reply_that_the_upstream_withheld_is_failed(api: Api, sid: str) -> None:
    reply = api.send_whole(sid, script("tokens=3 finish=content_filter"))["reply"]
    assert (reply["status"], reply["error"]["code"]) == ("failed", "content_filtered")
    assert (reply["content"], reply["finish_reason"]) == ("t0 t1 t2", "content_filter")


def test_usage_that_the_upstream_does_not_tell_is_estimated(api: Api, sid: str) -> None:
    reply = api.send_whole(sid, script("tokens=30 usage=no"))["reply"]
    assert reply["usage"]["source"] == "estimated"
    assert reply["usage"]["input_tokens"] > 0 and reply["usage"]["output_tokens"] > 0


def test_the_places_of_the_events_are_for_a_reader(api: Api, sid: str) -> None:
    turn = api.send_async(sid, "x")
    assert api.get(events_of(sid, turn["reply"]["id"])).headers["content-type"].startswith("text/event-stream")
