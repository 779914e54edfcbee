"""Another reply to a message, and messages beside others: old branches stay, and what runs on one mixes with no other."""

from typing import Any

import httpx2
import pytest

from rejoinder.llm.scripted_answer import full_text
from retold import check_retold
from strict_sse import text_of
from wire import Api, Json, check_problem, message_id, script, slow, together

ASYNC = {"prefer": "respond-async"}
JSON = {"accept": "application/json"}


def regenerate(api: Api, sid: str, mid: str, headers: dict[str, str] = JSON, **body: Any) -> httpx2.Response:
    return api.post(f"/sessions/{sid}/messages/{mid}/replies", json=body, headers=headers)


def replies_of(sid: str, mid: str) -> str:
    return f"/sessions/{sid}/messages/{mid}/replies"


def test_another_reply_stands_beside_the_first(api: Api, sid: str) -> None:
    turn = api.send_whole(sid, "hello")
    answer = regenerate(api, sid, turn["message"]["id"], metadata={"n": "2"})
    assert answer.status_code == 200
    said: Json = answer.json()
    reply = said["reply"]
    assert answer.headers["location"].endswith(f"/messages/{reply['id']}/events")
    assert said["message"] == turn["message"]
    assert (reply["status"], reply["content"], reply["metadata"]) == ("completed", "hello", {"n": "2"})
    assert reply["parent_id"] == turn["message"]["id"]
    both = [turn["reply"]["id"], reply["id"]]
    assert reply["siblings"] == api.message(sid, both[0])["siblings"] == both
    assert api.read_session(sid)["head"] == reply["id"]
    assert [message["id"] for message in api.history(sid, branch=both[0])["data"]] == [turn["message"]["id"], both[0]]
    assert api.message(sid, both[0]) == turn["reply"] | {"siblings": both}, "the old one has not changed"
    check_retold(api, sid)


def test_no_body_at_all_is_enough(api: Api, sid: str) -> None:
    turn = api.send_whole(sid, "hello")
    assert api.post(replies_of(sid, turn["message"]["id"]), headers=JSON).json()["reply"]["content"] == "hello"


def test_the_stream_of_another_reply_is_the_reply_alone(api: Api, sid: str) -> None:
    turn = api.send_whole(sid, script("tokens=20 pace=0.005"))
    with api.stream("POST", replies_of(sid, turn["message"]["id"]), json={}) as stream:
        frames = stream.rest()
    mid = frames[0].message_id or ""
    assert {frame.message_id for frame in frames} == {mid}
    assert [frame.type for frame in frames][:2] == ["message.created", "message.started"]
    assert frames[-1].type == "message.ended"
    assert text_of(frames, mid) == full_text("tokens=20")
    assert (frames[0].data["message"]["status"], frames[0].data["message"]["content"]) == ("streaming", "")


def test_it_may_ask_another_model_with_other_parameters(api: Api, sid: str) -> None:
    turn = api.send_whole(sid, "hello")
    said = regenerate(api, sid, turn["message"]["id"], model="scripted:tokens=9", params={"max_tokens": 4}).json()
    assert (said["reply"]["model"], said["reply"]["content"]) == ("scripted:tokens=9", full_text("tokens=4"))
    assert said["reply"]["finish_reason"] == "length"
    check_problem(regenerate(api, sid, turn["message"]["id"], model="scripted:nonsense"), 422, "invalid_request")


def test_it_came_again_and_found_what_it_made(api: Api, sid: str) -> None:
    mid, own = api.send_whole(sid, slow(30))["message"]["id"], message_id()
    answers = together(lambda _: regenerate(api, sid, mid, ASYNC, id=own), 6)
    assert {answer.json()["reply"]["id"] for answer in answers} == {own}
    with api.stream("POST", replies_of(sid, mid), json={"id": own}) as stream:
        frames = stream.rest()
    assert text_of(frames, own) == full_text("tokens=30")
    with api.stream("POST", replies_of(sid, mid), json={"id": own}) as stream:
        assert stream.rest()[-1].data["message"] == frames[-1].data["message"], "also when it has ended"
    at = {"last-event-id": str(frames[3].seq)}
    with api.stream("POST", replies_of(sid, mid), json={"id": own}, headers=at) as stream:
        assert [frame.seq for frame in stream.rest()] == [frame.seq for frame in frames[4:]]
    end = {"last-event-id": str(frames[-1].seq)}
    assert regenerate(api, sid, mid, end, id=own).status_code == 204
    assert len(api.all_messages(sid)) == 3


def test_a_key_does_as_an_id(api: Api, sid: str) -> None:
    mid = api.send_whole(sid, "x")["message"]["id"]
    key = {"idempotency-key": "the-key"}
    first, second = (regenerate(api, sid, mid, JSON | key) for _ in range(2))
    assert first.json() == second.json()
    check_problem(regenerate(api, sid, mid, JSON | key, params={"seed": 2}), 422, "idempotency_mismatch")


@pytest.mark.parametrize("other", [{"model": "scripted:story"}, {"params": {"seed": 1}}, {"metadata": {"a": "b"}}])
def test_the_same_id_with_another_body_is_refused(api: Api, sid: str, other: Json) -> None:
    mid, own = api.send_whole(sid, "x")["message"]["id"], message_id()
    assert regenerate(api, sid, mid, id=own).status_code == 200
    check_problem(regenerate(api, sid, mid, id=own, **other), 422, "idempotency_mismatch")


def test_an_id_is_of_one_request_alone(api: Api, sid: str) -> None:
    first, second = api.send_whole(sid, "one"), api.send_whole(sid, "two")
    own = message_id()
    regenerate(api, sid, first["message"]["id"], id=own)
    for path, body in (
        (f"{second['message']['id']}/replies", {}),
        (f"{first['reply']['id']}/continue", {}),
        (f"{second['message']['id']}/replies", {"id": first["reply"]["id"]}),
        (f"{second['message']['id']}/replies", {"id": first["message"]["id"]}),
    ):
        refused = api.post(f"/sessions/{sid}/messages/{path}", json={"id": own} | body, headers=JSON)
        check_problem(refused, 422, "idempotency_mismatch")
    refused = api.post(f"/sessions/{sid}/messages", json={"id": own, "content": "x"}, headers=JSON)
    check_problem(refused, 422, "idempotency_mismatch")


def test_while_a_reply_to_it_runs_it_is_busy(api: Api, sid: str) -> None:
    turn = api.send_async(sid, slow())
    mid, live = turn["message"]["id"], turn["reply"]["id"]
    problem = check_problem(regenerate(api, sid, mid), 409, "session_busy")
    assert problem["reply_id"] == live and problem["events"].endswith(f"/messages/{live}/events")
    queued = regenerate(api, sid, mid, ASYNC, if_busy="queue").json()["reply"]
    assert queued["status"] == "queued"
    assert queued["siblings"] == [live, queued["id"]]
    api.stop(sid, live)
    with api.follow(sid, queued["id"]) as stream:
        stream.until("message.delta")
    now = regenerate(api, sid, mid, ASYNC, if_busy="interrupt", model="scripted:tokens=3").json()["reply"]
    assert api.ended(sid, queued["id"])["status"] == "stopped"
    api.stop(sid, now["id"])
    check_retold(api, sid)


def test_while_an_answer_to_an_old_reply_runs_another_is_free(api: Api, sid: str) -> None:
    first = api.send_whole(sid, "one")
    live = api.send_async(sid, slow(60))["reply"]["id"]
    assert regenerate(api, sid, first["message"]["id"]).json()["reply"]["content"] == "one"
    assert api.ended(sid, live)["content"] == full_text("tokens=60")
    check_retold(api, sid)


def test_only_a_message_can_be_answered(api: Api, sid: str) -> None:
    reply = api.send_whole(sid, "x")["reply"]["id"]
    check_problem(regenerate(api, sid, reply), 422, "invalid_request")
    check_problem(regenerate(api, sid, message_id()), 404, "message_not_found")
    assert len(api.all_messages(sid)) == 2


def test_an_edit_runs_beside_the_reply_to_what_was_edited(api: Api, sid: str) -> None:
    opening = api.send_whole(sid, "opening")["reply"]["id"]
    old = api.send_async(sid, slow(60))
    edited = api.send_async(sid, script("tokens=50 pace=0.01", "edited"), parent_id=opening)
    root = api.send_async(sid, script("story"), parent_id=None)
    texts = {old["reply"]["id"]: "tokens=60", edited["reply"]["id"]: "tokens=50", root["reply"]["id"]: "story"}
    for mid, words in texts.items():
        with api.follow(sid, mid) as stream:
            frames = stream.rest()
        assert {frame.message_id for frame in frames} == {mid}
        assert text_of(frames, mid) == full_text(words)
    both = [old["message"]["id"], edited["message"]["id"]]
    assert edited["message"]["siblings"] == api.message(sid, both[0])["siblings"] == both
    roots = api.message(sid, root["message"]["id"])["siblings"]
    assert roots == [api.all_messages(sid)[0]["id"], root["message"]["id"]]
    assert [message["id"] for message in api.history(sid, branch=old["reply"]["id"])["data"]][1:] == [
        opening,
        both[0],
        old["reply"]["id"],
    ]
    check_retold(api, sid)


def test_the_head_may_go_back_to_an_old_branch_while_another_is_written(api: Api, sid: str) -> None:
    first = api.send_whole(sid, "one")
    live = regenerate(api, sid, first["message"]["id"], ASYNC, model="scripted:tokens=60+pace=0.01").json()["reply"]
    moved = api.ask("PATCH", f"/sessions/{sid}", json={"head": first["reply"]["id"]})
    assert moved.json()["head"] == first["reply"]["id"]
    second = api.send_whole(sid, "two")
    assert second["message"]["parent_id"] == first["reply"]["id"]
    assert api.ended(sid, live["id"])["content"] == full_text("tokens=60")
    assert api.read_session(sid)["head"] == second["reply"]["id"], "an end moves no head"
    check_retold(api, sid)


def test_many_others_at_once_are_all_written(api: Api, sid: str) -> None:
    mid = api.send_whole(sid, "hello")["message"]["id"]
    made = together(lambda _: regenerate(api, sid, mid, if_busy="queue").json()["reply"], 8)
    assert {reply["content"] for reply in made} == {"hello"}
    assert set(api.message(sid, mid and made[0]["id"])["siblings"]) >= {reply["id"] for reply in made}
    check_retold(api, sid)
