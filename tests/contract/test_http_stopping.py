"""Stopping a reply and deleting a session: both end what is written, tell its readers, and only then answer."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from rejoinder.llm.scripted_answer import full_text
from strict_sse import text_of
from wire import SILENT, Api, check_problem, events_of, eventually, message_id, script, session_id, slow, together

# --- stop --------------------------------------------------------------------------------------------------------


def test_a_stop_in_the_middle_keeps_what_was_written_and_tells_every_reader(api: Api, sid: str) -> None:
    with api.send_streamed(sid, slow()) as stream:
        for _ in range(3):
            mid = stream.until("message.delta").message_id or ""
        stopped = api.stop(sid, mid)
        frames = stream.rest()
    assert stopped["status"] == "stopped"
    assert stopped["content"] and full_text("tokens=10000").startswith(stopped["content"])
    assert stopped["usage"] and stopped["usage"]["output_tokens"] > 0
    assert (stopped["error"], stopped["ended_at"] is None) == (None, False)
    assert [frame.type for frame in frames if frame.type != "message.delta"][-2:] == [
        "message.stopping",
        "message.ended",
    ]
    assert frames[-1].data["message"] == stopped == api.message(sid, mid)
    assert text_of(frames, mid) == stopped["content"]


def test_when_a_stop_has_been_answered_nothing_more_is_written(api: Api, sid: str) -> None:
    mid = api.send_async(sid, slow())["reply"]["id"]
    stopped, seq = api.stop(sid, mid), api.last_seq(sid)
    time.sleep(0.1)
    assert (api.message(sid, mid), api.last_seq(sid)) == (stopped, seq)
    assert api.send_whole(sid, "the next")["reply"]["status"] == "completed"


def test_a_stop_before_the_first_token_ends_the_reply_at_once(api: Api, sid: str) -> None:
    mid = api.send_async(sid, SILENT)["reply"]["id"]
    began = time.monotonic()
    stopped = api.stop(sid, mid)
    assert time.monotonic() - began < 5
    assert (stopped["status"], stopped["content"]) == ("stopped", "")
    assert stopped["usage"]["input_tokens"] > 0, "usage is told of every reply that has ended"


def test_a_stop_while_the_upstream_is_silent_in_the_middle(api: Api, sid: str) -> None:
    with api.send_streamed(sid, script("tokens=9 stall@4")) as stream:
        stream.until(lambda frame: text_of(stream.frames, frame.message_id or "") == full_text("tokens=4"))
        stopped = api.stop(sid, stream.frames[-1].message_id or "")
        stream.rest()
    assert (stopped["status"], stopped["content"]) == ("stopped", full_text("tokens=4"))


def test_a_stop_of_an_ended_reply_changes_nothing(api: Api, sid: str) -> None:
    for content in ("done", script("fail=500")):
        reply = api.send_whole(sid, content)["reply"]
        seq = api.last_seq(sid)
        assert api.stop(sid, reply["id"]) == reply
        assert api.last_seq(sid) == seq


def test_many_stops_at_once_are_one(api: Api, sid: str) -> None:
    with api.send_streamed(sid, slow()) as stream:
        mid = stream.until("message.delta").message_id or ""
        stopped = together(lambda _: api.stop(sid, mid), 12)
        frames = stream.rest()
    assert all(reply == stopped[0] for reply in stopped)
    assert [frame.type for frame in frames].count("message.stopping") == 1


def test_a_user_message_cannot_be_stopped(api: Api, sid: str) -> None:
    turn = api.send_async(sid, slow())
    seq = api.last_seq(sid)
    check_problem(api.post(f"/sessions/{sid}/messages/{turn['message']['id']}/stop"), 409, "not_a_reply")
    assert api.message(sid, turn["reply"]["id"])["status"] == "streaming"
    assert api.last_seq(sid) >= seq
    api.stop(sid, turn["reply"]["id"])


@pytest.mark.parametrize("mid", ["msg_" + "0" * 32, "msg_1", "x"])
def test_a_reply_that_is_not_there_cannot_be_stopped(api: Api, sid: str, mid: str) -> None:
    check_problem(api.post(f"/sessions/{sid}/messages/{mid}/stop"), 404, "message_not_found")


def test_a_stop_touches_one_reply_alone(api: Api, sid: str) -> None:
    first = api.send_async(sid, slow(60))["reply"]["id"]
    second = api.send_async(sid, slow(), parent_id=None)["reply"]["id"]
    api.stop(sid, second)
    assert api.ended(sid, first)["content"] == full_text("tokens=60")


def test_who_waits_for_json_gets_the_stopped_reply(api: Api, sid: str) -> None:
    own = message_id()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(api.send_whole, sid, slow(), id=own)
        eventually(lambda: len(api.all_messages(sid)) == 2)
        stopped = api.stop(sid, api.read_session(sid)["head"])
        assert waiting.result()["reply"] == stopped


def test_a_stop_that_meets_the_end_finds_one_end(api: Api, sid: str) -> None:
    """Whoever comes first, the reply has one end, and the stop's answer is it."""
    for number in range(15):
        with api.send_streamed(sid, script("tokens=3"), parent_id=None) as stream:
            mid = stream.until("message.started").message_id or ""
            time.sleep(number * 0.0005)
            stopped = api.stop(sid, mid)
            frames = stream.rest()
        assert [frame.type for frame in frames].count("message.ended") == 1
        assert frames[-1].data["message"]["status"] == stopped["status"] == api.message(sid, mid)["status"]
        assert stopped["status"] in ("stopped", "completed")


# --- delete ------------------------------------------------------------------------------------------------------


def test_a_deleted_session_is_gone_with_all_that_belongs_to_it(api: Api, sid: str) -> None:
    turn = api.send_whole(sid, "x")
    gone = api.ask("DELETE", f"/sessions/{sid}")
    assert (gone.status_code, gone.content) == (204, b"")
    mid = turn["reply"]["id"]
    for method, path in (
        *(("GET", ""), ("DELETE", ""), ("GET", "/events"), ("GET", "/messages")),
        *(("GET", f"/messages/{mid}"), ("GET", f"/messages/{mid}/events"), ("POST", f"/messages/{mid}/stop")),
    ):
        check_problem(api.ask(method, f"/sessions/{sid}{path}"), 404, "session_not_found")
    check_problem(api.post(f"/sessions/{sid}/messages", json={"content": "x"}), 404, "session_not_found")
    assert sid not in [found["id"] for found in api.get("/sessions", params={"limit": 1000}).json()["data"]]


def test_readers_of_a_reply_see_its_end_and_readers_of_the_session_are_cut(api: Api, sid: str) -> None:
    live = [api.send_async(sid, slow(), parent_id=None)["reply"]["id"] for _ in range(2)]
    ready = threading.Barrier(4)

    def read_reply(mid: str) -> None:
        with api.follow(sid, mid) as stream:
            stream.until("message.delta")
            ready.wait()
            frames = stream.rest()
        ended = frames[-1].data["message"]
        assert (ended["id"], ended["status"]) == (mid, "stopped")
        assert text_of(frames, mid) == ended["content"]

    def read_session() -> None:
        with api.follow_session(sid) as stream:
            stream.until("message.delta")
            ready.wait()
            assert {frame.message_id for frame in stream.broken() if frame.type == "message.ended"} == set(live)
        check_problem(api.get(f"/sessions/{sid}/events"), 404, "session_not_found")

    with ThreadPoolExecutor(3) as pool:
        readers = [pool.submit(read_reply, mid) for mid in live] + [pool.submit(read_session)]
        ready.wait()
        assert api.ask("DELETE", f"/sessions/{sid}").status_code == 204
        for reader in readers:
            reader.result()
    check_problem(api.get(events_of(sid, live[0])), 404, "session_not_found")


def test_a_reader_that_sent_the_message_sees_the_end_too(api: Api, sid: str) -> None:
    with api.send_streamed(sid, slow()) as stream:
        stream.until("message.delta")
        assert api.ask("DELETE", f"/sessions/{sid}").status_code == 204
        assert stream.rest()[-1].data["message"]["status"] == "stopped"


def test_a_session_is_deleted_also_before_the_first_token(api: Api, sid: str) -> None:
    mid = api.send_async(sid, SILENT)["reply"]["id"]
    with api.follow(sid, mid) as stream:
        assert api.ask("DELETE", f"/sessions/{sid}").status_code == 204
        assert stream.rest()[-1].data["message"]["status"] == "stopped"


def test_two_deletes_at_once_both_find_it_deleted(api: Api, sid: str) -> None:
    api.send_async(sid, slow())
    answers = together(lambda _: api.ask("DELETE", f"/sessions/{sid}"), 6)
    assert {answer.status_code for answer in answers} <= {204, 404}
    assert 204 in {answer.status_code for answer in answers}
    check_problem(api.get(f"/sessions/{sid}"), 404, "session_not_found")


def test_a_deleted_id_may_be_used_again_and_begins_empty(api: Api) -> None:
    own = session_id()
    api.session(id=own, title="old")
    old = api.send_whole(own, "secret")["message"]["id"]
    api.ask("DELETE", f"/sessions/{own}")
    api.session(id=own, title="new")
    assert api.read_session(own)["title"] == "new"
    assert api.all_messages(own) == []
    check_problem(api.get(f"/sessions/{own}/messages/{old}"), 404, "message_not_found")
    assert api.send_whole(own, "hi")["reply"]["content"] == "hi"
