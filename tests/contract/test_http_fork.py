"""A fork: a new session that starts with a branch of another, and changes nothing of it."""

import json
from typing import Any

import httpx2
import pytest

from rejoinder.chat.ids import request_hash
from retold import check_retold
from wire import SILENT, Api, Json, check_problem, events_of, eventually, message_id, script, session_id, slow


def fork(api: Api, sid: str, at: str, headers: dict[str, str] | None = None, **body: Any) -> httpx2.Response:
    return api.post(f"/sessions/{sid}/fork", json={"at": at, **body}, headers=headers or {})


def forked(api: Api, sid: str, at: str, **body: Any) -> Json:
    made = fork(api, sid, at, **body)
    assert made.status_code == 201, made.text
    found: Json = made.json()
    assert made.headers["location"] == f"/v1/sessions/{found['id']}"
    return found


def without(message: Json, *names: str) -> Json:
    return {name: value for name, value in message.items() if name not in names}


def test_a_fork_begins_with_the_branch_and_lives_on_by_itself(api: Api) -> None:
    sid = api.session(title="Trip", system_prompt="Be brief.", params={"temperature": 0.5}, metadata={"a": "b"})
    first = api.send_whole(sid, "one")["reply"]["id"]
    api.send_whole(sid, "two")
    other = api.send_whole(sid, "another two", parent_id=first)["reply"]["id"]
    before = api.all_messages(sid)
    session = forked(api, sid, other)
    assert (session["title"], session["system_prompt"], session["params"]) == (
        "Trip",
        "Be brief.",
        {"temperature": 0.5},
    )
    assert (session["metadata"], session["head"]) == ({"a": "b"}, other)
    copies = api.all_messages(session["id"])
    assert [copy["content"] for copy in copies] == ["one", "one", "another two", "another two"]
    branch = [message for message in before if message["id"] in {copy["id"] for copy in copies}]
    assert [without(copy, "session_id", "siblings") for copy in copies] == [
        without(message, "session_id", "siblings") for message in branch
    ], "the same messages under the same ids"
    check_retold(api, session["id"])
    reply = api.send_whole(session["id"], "and on")["reply"]
    assert reply["usage"]["input_tokens"] == 2 + 1 + 1 + 2 + 2 + 2, "the model is told the branch"
    assert api.all_messages(sid) == before, "the other session knows nothing of it"
    check_retold(api, session["id"])


def test_a_reply_of_a_fork_has_a_stream_like_any_other(api: Api, sid: str) -> None:
    mid = api.send_whole(sid, "one two three")["reply"]["id"]
    new = forked(api, sid, mid)["id"]
    with api.follow(new, mid) as stream:
        frames = stream.rest()
    assert [frame.type for frame in frames] == ["message.created", "message.ended"]
    assert frames[-1].data["message"]["content"] == "one two three"
    assert api.get(events_of(new, mid), params={"after": frames[-1].seq}).status_code == 204


def test_a_reply_that_is_being_written_is_copied_as_far_as_it_is(api: Api, sid: str) -> None:
    with api.send_streamed(sid, slow(2_000), params={"temperature": 0.25}) as stream:
        for _ in range(5):
            mid = stream.until("message.delta").message_id or ""
        new = forked(api, sid, mid)["id"]
        copy = api.message(new, mid)
        assert (copy["status"], copy["error"]["code"]) == ("interrupted", "forked")
        assert copy["content"].startswith("t0 t1")
        assert copy["attempts"] == [{"model": "scripted:echo", "error": copy["error"]}]
        check_estimated(copy)
        told = api.get(f"/sessions/{new}/messages/{mid}/prompt").json()
        assert told["data"] == [], "what was sent for it is in the other log"
        assert api.message(sid, mid)["status"] == "streaming", "and the other goes on"
    gone_on = api.post(f"/sessions/{new}/messages/{mid}/continue", json={}, headers={"prefer": "respond-async"})
    assert gone_on.status_code == 202, "the copy can be taken further"
    reply = gone_on.json()["reply"]["id"]
    with api.follow(new, reply) as stream:
        assert stream.until("message.delta").data["text"].startswith(copy["content"])
    [asked] = api.get(f"/sessions/{new}/messages/{reply}/prompt").json()["data"]
    assert asked["request"]["temperature"] == 0.25, "with what it was asked with"
    api.stop(new, reply)
    api.stop(sid, mid)
    check_retold(api, new)


def check_estimated(copy: Json) -> None:
    """Its upstream was asked with something, and has written what is there."""
    usage = copy["usage"]
    assert usage["source"] == "estimated" and usage["input_tokens"] > 4
    assert usage["output_tokens"] == -(-len(copy["content"]) // 4)


def test_a_copy_of_a_reply_counts_what_all_of_its_attempts_wrote_and_none_where_nobody_was_asked(
    api: Api, sid: str
) -> None:
    silent = api.send_async(sid, SILENT)["reply"]["id"]
    queued = api.send_async(sid, "and then", if_busy="queue")["reply"]["id"]
    eventually(lambda: api.message(sid, silent)["attempts"])
    new = forked(api, sid, queued)["id"]
    check_estimated(api.message(new, silent))
    assert api.message(new, queued)["usage"] == {"input_tokens": 0, "output_tokens": 0, "source": "estimated"}
    assert api.message(new, queued)["attempts"] == []
    api.stop(sid, queued)
    api.stop(sid, silent)


def test_what_is_forked_and_what_is_exported_of_a_live_reply_are_the_same(api: Api, sid: str) -> None:
    mid = api.send_async(sid, script("tokens=9 stall@5"))["reply"]["id"]
    eventually(lambda: api.message(sid, mid)["content"].strip().endswith("t4"))
    copy = api.message(forked(api, sid, mid)["id"], mid)
    lines = [json.loads(line) for line in api.get(f"/sessions/{sid}/export").text.splitlines()]
    exported = lines[-2]["message"]
    assert exported["usage"] == copy["usage"]
    assert [each["error"]["code"] for each in exported["attempts"]] == ["exported"]
    check_estimated(copy)
    api.stop(sid, mid)


def test_a_fork_may_end_at_a_message(api: Api, sid: str) -> None:
    turn = api.send_whole(sid, "one")
    session = forked(api, sid, turn["message"]["id"], title="Anew")
    assert (session["title"], session["head"]) == ("Anew", turn["message"]["id"])
    assert [copy["role"] for copy in api.all_messages(session["id"])] == ["user"]
    check_retold(api, session["id"])


def test_a_retry_finds_the_fork(api: Api, sid: str) -> None:
    mid = api.send_whole(sid, "one")["reply"]["id"]
    new = session_id()
    assert forked(api, sid, mid, id=new) == forked(api, sid, mid, id=new)
    check_problem(fork(api, sid, mid, id=new, title="Another"), 422, "idempotency_mismatch")
    check_problem(fork(api, sid, mid, id=sid), 422, "idempotency_mismatch")
    key = {"idempotency-key": message_id()}
    assert fork(api, sid, mid, key).json() == fork(api, sid, mid, key).json()
    check_problem(fork(api, sid, mid, key, id=session_id()), 422, "invalid_request")


TITLES: list[Json] = [
    {},
    *({"title": title} for title in (None, "None", "UNSET", "", "none", "['None']", "Another")),
]


@pytest.mark.parametrize("first", TITLES)
def test_a_retry_has_the_very_title(api: Api, sid: str, first: Json) -> None:
    mid = api.send_whole(sid, "one")["reply"]["id"]
    new = session_id()
    made = forked(api, sid, mid, id=new, **first)
    for again in TITLES:
        if again == first:
            assert forked(api, sid, mid, id=new, **again) == made
        else:
            check_problem(fork(api, sid, mid, id=new, **again), 422, "idempotency_mismatch")


@pytest.mark.parametrize(("title", "told"), [({}, "UNSET"), ({"title": None}, "None"), ({"title": "Trip"}, "Trip")])
def test_the_retry_of_a_fork_that_an_earlier_version_made_finds_it(api: Api, sid: str, title: Json, told: str) -> None:
    mid = api.send_whole(sid, "one")["reply"]["id"]
    new = session_id()
    forked(api, sid, mid, id=new, **title)
    first = json.loads(api.get(f"/sessions/{new}/export").text.splitlines()[0])
    assert first["request_hash"] == request_hash({"kind": "fork", "of": sid, "at": mid, "title": told})


def test_a_fork_at_what_is_not_there_makes_nothing(api: Api, sid: str) -> None:
    api.send_whole(sid, script("tokens=1"))
    new = session_id()
    check_problem(fork(api, sid, message_id(), id=new), 404, "message_not_found")
    check_problem(fork(api, sid, "msg_1", id=new), 422, "invalid_request")
    check_problem(api.get(f"/sessions/{new}"), 404, "session_not_found")
