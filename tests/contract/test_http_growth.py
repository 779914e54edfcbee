"""What goes after a while: the deltas of ended replies, which nobody misses, and sessions that are idle for too long."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from rejoinder.fold import fold
from rejoinder.llm.scripted_answer import full_text
from retold import check_retold
from serving import ServerThread, serving
from strict_sse import Frame, text_of
from test_http_history_follows import events, snapshot
from wire import Api, Json, check_problem, events_of, eventually, script, slow

StartServer = Callable[..., ServerThread]

KEPT = 0.8
"""Seconds for which deltas stay here: time enough to read them all while they are written."""


@pytest.fixture(scope="module", params=["memory", "sqlite"])
def kept_short(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    folder = tmp_path_factory.mktemp("growth")
    store = "memory:" if request.param == "memory" else f"sqlite:///{folder}/chat.db"
    with serving(store=store, keep_deltas=KEPT, model="scripted:echo") as server:
        yield server.api


def kept(api: Api, sid: str) -> list[Frame]:
    """All events of a session that are there now."""
    last = api.last_seq(sid)
    with api.follow_session(sid) as stream:
        stream.until(lambda frame: frame.seq == last)
        return list(stream.frames)


def compacted(api: Api, sid: str) -> list[Frame]:
    """All events of a session in which nothing runs, once its deltas are gone."""
    eventually(lambda: not any(frame.type == "message.delta" for frame in kept(api, sid)))
    return kept(api, sid)


def test_a_reader_goes_on_from_every_cursor_to_the_end_of_a_reply(kept_short: Api) -> None:
    api = kept_short
    sid = api.session(title="x")
    with api.send_streamed(sid, script("reasoning=4 tokens=30 burst=3 pace=0.005")) as stream:
        whole = stream.rest()
    mid = whole[-1].message_id or ""
    assert text_of(whole, mid) == full_text("tokens=30")
    every = kept(api, sid)
    assert any(frame.type == "message.delta" for frame in every)
    left = compacted(api, sid)
    assert [frame.data for frame in left] == [frame.data for frame in every if frame.type != "message.delta"]
    for cursor in range(whole[-1].seq + 1):
        if cursor == whole[-1].seq:
            assert api.get(events_of(sid, mid), params={"after": cursor}).status_code == 204
            continue
        with api.follow(sid, mid, after=cursor) as stream:
            rest = stream.rest()
        mine = [frame.data for frame in left if frame.seq > cursor and frame.message_id == mid]
        assert [frame.data for frame in rest] == mine
        assert rest[-1].data["message"]["content"] == full_text("tokens=30")
    check_retold(api, sid)


def test_a_history_and_the_events_behind_it_give_the_history_also_where_deltas_are_gone(kept_short: Api) -> None:
    api = kept_short
    sid = api.session()
    api.send_whole(sid, "one")
    halves = []
    with api.send_streamed(sid, script("tokens=20 pace=0.01")) as stream:
        stream.until("message.delta")
        halves.append(snapshot(api, sid, 10))
        stream.rest()
    every = kept(api, sid)
    halves += [fold(events(every, until=frame.seq)) for frame in every]
    left = compacted(api, sid)
    now = snapshot(api, sid, 10)
    for half in halves:
        assert fold(events(left, until=now.as_of), half) == now


def test_the_deltas_of_what_is_being_written_stay(kept_short: Api) -> None:
    api = kept_short
    sid = api.session()
    ended = api.send_whole(sid, "ended", parent_id=None)["reply"]["id"]
    live = api.send_async(sid, slow(), parent_id=None)["reply"]["id"]
    eventually(lambda: not any(f.type == "message.delta" and f.message_id == ended for f in kept(api, sid)))
    with api.follow(sid, live) as stream:
        stream.until("message.delta")
        assert text_of(stream.frames, live) != ""
    api.stop(sid, live)
    compacted(api, sid)


def test_what_was_asked_and_spent_is_still_told_and_replies_are_taken_further(kept_short: Api) -> None:
    api = kept_short
    sid = api.session(system_prompt="Be brief.")
    first = api.send_whole(sid, "one two three")["reply"]["id"]
    with api.send_streamed(sid, script("tokens=60 pace=0.005")) as stream:
        for _ in range(4):
            broken = stream.until("message.delta").message_id or ""
        api.stop(sid, broken)
    prompt = f"/sessions/{sid}/messages/{broken}/prompt"
    before = [api.get(path).json() for path in (prompt, f"/sessions/{sid}/usage")], api.all_messages(sid)
    compacted(api, sid)
    assert ([api.get(path).json() for path in (prompt, f"/sessions/{sid}/usage")], api.all_messages(sid)) == before
    assert before[0][0]["data"][0]["exact"]
    fork = api.post(f"/sessions/{sid}/fork", json={"at": broken}).json()["id"]
    assert [said["content"] for said in api.all_messages(fork)] == [said["content"] for said in before[1]]
    for where in (sid, fork):
        asked = f"/sessions/{where}/messages/{broken}/continue"
        went_on: Json = api.post(asked, json={}, headers={"accept": "application/json"}).json()["reply"]
        assert (went_on["status"], went_on["content"]) == ("completed", full_text("tokens=60"))
    again = api.post(f"/sessions/{sid}/messages/{api.message(sid, first)['parent_id']}/replies", json={})
    assert again.status_code == 200
    assert api.send_whole(sid, "and on")["reply"]["content"] == "and on"
    check_retold(api, sid)


def test_without_a_time_deltas_stay_for_ever(start_server: StartServer) -> None:
    api = start_server(keep_deltas=None, session_ttl=None).api
    sid = api.session()
    api.send_whole(sid, "x")
    # For as long as another server needs to drop its own.
    other = start_server(keep_deltas=0).api
    swept = other.session()
    other.send_whole(swept, "x")
    compacted(other, swept)
    assert any(frame.type == "message.delta" for frame in kept(api, sid))


# --- sessions ----------------------------------------------------------------------------------------------------


def test_a_session_that_is_idle_for_too_long_is_deleted(start_server: StartServer, tmp_path: Path) -> None:
    api = start_server(store=f"sqlite:///{tmp_path}/chat.db", session_ttl=0.6).api
    idle, live = api.session(title="idle"), api.session()
    reply = api.send_async(live, slow())["reply"]["id"]
    with api.follow_session(idle) as stream:
        stream.until("session.created")
        assert [frame.type for frame in stream.broken()] == ["session.created"]
    check_problem(api.get(f"/sessions/{idle}"), 404, "session_not_found")
    assert api.get("/search", params={"q": "idle"}).json()["data"] == []
    # Longer idle than the other, but for the reply that is being written.
    assert api.message(live, reply)["status"] == "streaming"
    second = api.session()
    eventually(lambda: api.get(f"/sessions/{second}").status_code == 404)
    assert api.message(live, reply)["status"] == "streaming"
    assert api.stop(live, reply)["status"] == "stopped"
    eventually(lambda: api.get(f"/sessions/{live}").status_code == 404)


# --- when the store is away --------------------------------------------------------------------------------------


def test_a_sweep_goes_on_when_the_store_is_there_again(start_server: StartServer, tmp_path: Path) -> None:
    path = tmp_path / "chat.db"
    api = start_server(store=f"sqlite:///{path}", keep_deltas=0).api
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        sid = api.session()
        api.send_whole(sid, "x")
        compacted(api, sid)
        turn = api.send_async(sid, slow(tokens=30))
        other.execute("BEGIN IMMEDIATE")
        # The store refuses whatever is written, for longer than it waits by itself.
        eventually(lambda: api.get("//readyz").status_code == 503)
        other.execute("ROLLBACK")
    assert api.ended(sid, turn["reply"]["id"])["status"] == "completed"
    compacted(api, sid)
