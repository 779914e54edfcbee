"""The overview: whoever lists sessions learns what happens in all of them, and never shows a mark that is not so."""

import gc
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from overview import OverviewReader, OverviewStream, overview, settled
from serving import ServerProcess, ServerThread
from strict_sse import BadStream
from test_http_streams_at_the_limit import check_not_now, deaf, open_streams, resident
from wire import PATIENCE, SILENT, Api, check_problem, eventually, script, session_id, slow, together

StartServer = Callable[..., ServerThread]
StartProcess = Callable[..., ServerProcess]


def kinds(stream: OverviewStream, sid: str) -> list[str]:
    return [frame.type for frame in stream.of(sid)]


# --- what is told ------------------------------------------------------------------------------------------------


def test_a_session_is_told_from_its_making_to_its_deletion(api: Api) -> None:
    with overview(api) as stream:
        stream.until("snapshot")
        sid = api.session(title="first")
        turn = api.send_whole(sid, "hello")
        api.ask("PATCH", f"/sessions/{sid}", json={"title": "second"})
        changed = api.read_session(sid)
        assert api.ask("DELETE", f"/sessions/{sid}").status_code == 204
        assert stream.until_of(sid, "session.deleted") == {"session_id": sid}
        assert kinds(stream, sid) == [
            *("session.created", "message.created", "message.created", "message.started"),
            *("message.ended", "session.updated", "session.deleted"),
        ]
        created, asked, begun, started, ended, updated, _ = [frame.data for frame in stream.of(sid)]
        assert (created["session"]["title"], created["seq"], created["session"]["last_seq"]) == ("first", 1, 1)
        assert (asked["message"]["id"], begun["message"]["id"]) == (turn["message"]["id"], turn["reply"]["id"])
        assert (started["message_id"], started["attempt"]) == (turn["reply"]["id"], 1)
        assert ended["message"] == turn["reply"]
        assert (updated["session"], updated["seq"]) == (changed, changed["last_seq"])


def test_an_event_is_that_of_the_session_s_stream_with_the_session_s_id(api: Api) -> None:
    with overview(api) as stream:
        stream.until("snapshot")
        sid = api.session()
        api.send_whole(sid, script("tokens=6 reasoning=2 calls=1"))
        stream.until_of(sid, "message.ended")
        with api.follow_session(sid) as of_session:
            of_session.until("message.ended")
            told = [frame.data for frame in of_session.frames if frame.type != "message.delta"]
        assert [frame.data for frame in stream.of(sid)] == [{"session_id": sid} | data for data in told]


def test_no_text_on_its_way_is_told_but_the_end_carries_it_whole(api: Api, sid: str) -> None:
    with overview(api) as stream:
        stream.until("snapshot")
        reply = api.send_whole(sid, script("tokens=200 pace=0.001 reasoning=20"))["reply"]
        assert stream.until_of(sid, "message.ended")["message"] == reply
        assert kinds(stream, sid) == ["message.created", "message.created", "message.started", "message.ended"]


@pytest.mark.parametrize(("words", "status"), [("tokens=5 fail=500", "failed"), ("tokens=5 fail=eof", "failed")])
def test_a_reply_that_fails_is_told_to_have_ended(api: Api, sid: str, words: str, status: str) -> None:
    with overview(api) as stream:
        stream.until("snapshot")
        api.send_async(sid, script(words))
        ended = stream.until_of(sid, "message.ended")["message"]
        assert (ended["status"], bool(ended["error"]["code"])) == (status, True)
        assert sid not in stream.marks.writing


def test_a_reply_that_is_stopped_is_told_to_have_ended(api: Api, sid: str) -> None:
    with overview(api) as stream:
        stream.until("snapshot")
        mid = api.send_async(sid, SILENT)["reply"]["id"]
        stream.until_of(sid, "message.started")
        assert stream.marks.writing[sid] == {mid: "streaming"}
        stopped = api.stop(sid, mid)
        assert stream.until_of(sid, "message.ended")["message"] == stopped
        assert sid not in stream.marks.writing


def test_a_queue_is_told_as_it_moves_on(api: Api, sid: str) -> None:
    with overview(api) as stream:
        stream.until("snapshot")
        first = api.send_async(sid, SILENT)["reply"]["id"]
        second = api.send_async(sid, SILENT, if_busy="queue")["reply"]["id"]
        settled(api, stream)
        assert stream.marks.writing[sid] == {first: "streaming", second: "queued"}
        api.stop(sid, first)
        stream.until(lambda frame: frame.type == "message.started" and frame.data["message_id"] == second)
        assert stream.marks.writing[sid] == {second: "streaming"}
        api.stop(sid, second)
        stream.until(lambda frame: frame.type == "message.ended" and frame.data["message"]["id"] == second)
        assert sid not in stream.marks.writing


def test_deleting_a_session_that_writes_tells_the_end_first(api: Api, sid: str) -> None:
    with overview(api) as stream:
        stream.until("snapshot")
        api.send_async(sid, slow())
        stream.until_of(sid, "message.started")
        api.ask("DELETE", f"/sessions/{sid}")
        stream.until_of(sid, "session.deleted")
        assert kinds(stream, sid)[-2:] == ["message.ended", "session.deleted"]
        assert sid not in stream.marks.writing


def test_a_session_that_is_made_again_under_its_id_is_another_one(api: Api) -> None:
    own = session_id()
    with overview(api) as stream:
        for title in ("one", "two"):
            api.session(id=own, title=title)
            assert stream.until_of(own, "session.created")["session"]["title"] == title
            mid = api.send_async(own, SILENT)["reply"]["id"]
            stream.until_of(own, "message.started")
            if title == "one":
                with overview(api) as late:
                    late.until("snapshot")
                    assert mid in late.marks.writing[own]
                    api.ask("DELETE", f"/sessions/{own}")
                    late.until_of(own, "session.deleted")
                    assert own not in late.marks.writing
        assert stream.marks.writing[own] == {mid: "streaming"}
    api.ask("DELETE", f"/sessions/{own}")


# --- the snapshot ------------------------------------------------------------------------------------------------


def test_a_snapshot_names_what_is_being_written_and_waits(api: Api, sid: str) -> None:
    still = api.session()
    api.send_whole(still, "hello")
    running = api.send_async(sid, SILENT)["reply"]["id"]
    queued = api.send_async(sid, SILENT, if_busy="queue")["reply"]["id"]
    beside = api.send_async(sid, SILENT, parent_id=None)["reply"]["id"]
    with overview(api) as stream:
        snapshot = stream.until("snapshot").data
        [found] = [session for session in snapshot["writing"] if session["session_id"] == sid]
        assert found == {
            "session_id": sid,
            "last_seq": api.last_seq(sid),
            "replies": [
                {"id": running, "status": "streaming"},
                {"id": queued, "status": "queued"},
                {"id": beside, "status": "streaming"},
            ],
        }
        assert still not in stream.marks.writing
        for mid in (queued, running, beside):
            api.stop(sid, mid)
        settled(api, stream)
        assert sid not in stream.marks.writing


def test_what_the_snapshot_knows_is_not_told_again(api: Api, sid: str) -> None:
    """The reader would raise at an event at or before a session's `last_seq`."""
    mid = api.send_async(sid, slow(pace=0.002))["reply"]["id"]
    for _ in range(20):
        with overview(api) as stream:
            stream.until("snapshot")
            settled(api, stream)
            assert stream.of(sid) == []
            assert stream.marks.writing[sid] == {mid: "streaming"}
    api.stop(sid, mid)


def test_a_reader_that_comes_back_begins_with_a_snapshot_again(api: Api, sid: str) -> None:
    with overview(api) as stream:
        stream.until("snapshot")
        first = api.send_async(sid, SILENT)["reply"]["id"]
        stream.until_of(sid, "message.started")
    api.stop(sid, first)
    second = api.send_async(sid, SILENT)["reply"]["id"]
    with overview(api, headers={"last-event-id": "7"}) as stream:
        stream.until("snapshot")
        assert stream.marks.writing[sid] == {second: "streaming"}
    api.stop(sid, second)


def test_no_line_carries_an_id(api: Api, sid: str) -> None:
    with overview(api) as stream:
        api.send_whole(sid, "x")
        stream.until_of(sid, "message.ended")
        assert not any(b"\nid:" in frame.raw for frame in stream.frames)


def test_at_any_interleaving_marks_are_what_is_written(start_server: StartServer, tmp_path: Path) -> None:
    """Readers come at any moment while replies begin and end everywhere, and in the end have the marks of a fresh one.

    On a store that answers from other threads: in memory a snapshot takes no time in which anything could happen.
    """
    api = start_server(store=f"sqlite:///{tmp_path}/chat.db").api
    sids = [api.session() for _ in range(6)]
    at_rest = session_id()
    over = threading.Event()
    with ThreadPoolExecutor(9) as pool, ExitStack() as stack:
        reader = pool.submit(come_again_and_again, api, over, stack)
        for writer in [pool.submit(write_everywhere, api, number, sids) for number in range(8)]:
            writer.result()
        over.set()
        streams = reader.result()
        api.session(id=at_rest)
        mid = api.send_async(at_rest, SILENT)["reply"]["id"]
        for stream in streams:
            stream.until_of(at_rest, "message.started")
            assert stream.marks.writing == {at_rest: {mid: "streaming"}}


def write_everywhere(api: Api, number: int, sids: list[str]) -> None:
    for turn in range(12):
        sid = sids[(number + turn) % len(sids)]
        if turn % 4 == 3:
            api.stop(sid, api.send_async(sid, SILENT, parent_id=None)["reply"]["id"])
        else:
            api.send_whole(sid, script(f"tokens={3 + turn % 12} pace=0.001"), parent_id=None)


def come_again_and_again(api: Api, over: threading.Event, stack: ExitStack) -> list[OverviewStream]:
    """A connection, and another one, until it is over, and a dozen at least."""
    streams: list[OverviewStream] = []
    while not over.wait(0.03) or len(streams) < 12:
        streams.append(stack.enter_context(overview(api)))
        streams[-1].until("snapshot")
    return streams


# --- as a stream -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("accept", ["application/json", "text/html", "text/event-stream;q=0"])
def test_who_does_not_take_a_stream_is_refused(api: Api, accept: str) -> None:
    check_problem(api.get("/events", headers={"accept": accept}), 406, "not_acceptable")


def test_other_methods_are_not_allowed(api: Api) -> None:
    for method in ("POST", "PUT", "PATCH", "DELETE"):
        check_problem(api.ask(method, "/events"), 405, "method_not_allowed")


def test_heartbeats_come_while_nothing_happens(start_server: StartServer) -> None:
    api = start_server(heartbeat=0.05).api
    with overview(api) as stream:
        stream.until("snapshot")
        while stream.heartbeats < 5:
            assert stream.read()


def test_an_overview_counts_as_a_stream(start_server: StartServer) -> None:
    api = start_server(max_streams=1).api
    with overview(api) as stream:
        stream.until("snapshot")
        check_not_now(api, "/events")
    eventually(lambda: open_streams(api) == 0)
    with overview(api) as stream:
        stream.until("snapshot")


def test_a_stop_of_the_server_breaks_it_off_and_the_next_one_has_the_marks_right(start_process: StartProcess) -> None:
    server = start_process(drain=0.1)
    api, sid = server.api, server.api.session()
    mid = api.send_async(sid, SILENT)["reply"]["id"]
    with overview(api) as stream:
        stream.until("snapshot")
        assert stream.marks.writing == {sid: {mid: "streaming"}}
        server.signal(15)
        assert stream.broken()[-1].data["message"]["status"] == "interrupted", "the end is told while it can be"
    server.ended()
    with overview(server.start()) as stream:
        assert stream.until("snapshot").data == {"writing": []}


def test_after_a_kill_the_next_one_has_the_marks_right(start_process: StartProcess) -> None:
    server = start_process(after_crash="restart")
    api = server.api
    ended, restarted = api.session(), api.session()
    api.send_whole(ended, "x")
    mid = api.send_async(restarted, SILENT)["reply"]["id"]
    queued = api.send_async(restarted, SILENT, if_busy="queue")["reply"]["id"]
    server.signal(9)
    server.ended()
    with overview(server.start()) as stream:
        stream.until("snapshot")
        assert stream.marks.writing == {restarted: {mid: "streaming", queued: "queued"}}


# --- many, and slow ----------------------------------------------------------------------------------------------


def test_readers_that_take_nothing_are_cut_and_cost_no_more_than_a_piece_each(start_server: StartServer) -> None:
    api = start_server(write_timeout=2).api
    sid = api.session()
    with overview(api) as good, ExitStack() as stack:
        good.until("snapshot")
        for _ in range(DEAF):
            stack.enter_context(deaf(api, "/events"))
        eventually(lambda: open_streams(api) == DEAF + 1)
        gc.collect()
        before, least = resident(), time.monotonic() + PATIENCE
        for _ in range(ENDS):
            api.send_whole(sid, script("big=300000"), parent_id=None)
            good.until_of(sid, "message.ended")
        each = (resident() - before) // DEAF
        assert open_streams(api) == DEAF + 1, "they are not cut yet"
        assert each < ENDS * 300_000 // 2, f"{each >> 10} KiB for each"
        while open_streams(api) > 1:
            api.send_whole(sid, "x", parent_id=None)
            assert time.monotonic() < least, "the deaf readers were not cut"
        good.until_of(sid, "message.ended")


DEAF, ENDS = 40, 20
"""Readers that take nothing, and replies that end meanwhile: 6 MB, which none of the readers may hold for itself."""


def test_a_reader_that_fell_behind_is_given_a_snapshot_and_goes_on(start_server: StartServer) -> None:
    """More happens than the feed holds while one reader takes nothing: it misses events, and is told so."""
    api = start_server().api
    sid = api.session()
    kept = api.send_async(api.session(), SILENT)["reply"]
    with overview(api) as slow_one:
        slow_one.until("snapshot")
        for _ in range(60):
            api.send_whole(sid, script("big=300000"), parent_id=None)
        mid = api.send_async(sid, SILENT, parent_id=None)["reply"]["id"]
        slow_one.until("snapshot")
        api.stop(sid, mid)
        slow_one.until(lambda frame: frame.type == "message.ended" and frame.data["message"]["id"] == mid)
        assert slow_one.marks.writing == {kept["session_id"]: {kept["id"]: "streaming"}}
        ends = [frame for frame in slow_one.frames if frame.type == "message.ended"]
        assert len(ends) < 61, "else it did not fall behind, and this shows nothing"


def test_thousands_of_sessions_of_which_many_write(start_server: StartServer) -> None:
    api = start_server().api
    many = together(lambda _: [api.session() for _ in range(250)], 8)
    writing = [sids[at] for sids in many for at in range(40)]
    with ThreadPoolExecutor(8) as pool:
        replies = list(pool.map(lambda sid: api.send_async(sid, slow(pace=0.5))["reply"]["id"], writing))
    with overview(api) as stream:
        began = time.monotonic()
        stream.until("snapshot")
        took = time.monotonic() - began
        assert stream.marks.writing == {sid: {mid: "streaming"} for sid, mid in zip(writing, replies, strict=True)}
        assert took < 5
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(api.stop, writing, replies))
        settled(api, stream)
        assert stream.marks.writing == {}


def test_an_overview_costs_nearly_nothing_while_text_is_written(start_server: StartServer) -> None:
    api = start_server(heartbeat=15).api
    sids = [api.session() for _ in range(20)]
    for sid in sids:
        api.send_async(sid, slow(pace=0.02))
    with overview(api) as stream:
        stream.until("snapshot")
        frames, beats = len(stream.frames), stream.heartbeats
        with api.follow_session(sids[0]) as text:
            for _ in range(50):
                text.until("message.delta")
        settled(api, stream)
        assert len(stream.frames) == frames + 1 and stream.heartbeats == beats, "of a thousand deltas it heard nothing"


# --- the reader itself would see a breach ------------------------------------------------------------------------

SNAPSHOT = b'retry: 1000\nevent: snapshot\ndata: {"writing":[{"session_id":"s","last_seq":7,"replies":[]}]}\n\n'
STARTED = b'event: message.started\ndata: {"session_id":"s","seq":8,"message_id":"m","attempt":1,"model":"x"}\n\n'


@pytest.mark.parametrize(
    "data",
    [
        STARTED,
        SNAPSHOT + STARTED.replace(b"\n\n", b"\nid: 8\n\n"),
        SNAPSHOT + STARTED + STARTED,
        SNAPSHOT + STARTED.replace(b'"seq":8', b'"seq":7'),
        SNAPSHOT + STARTED.replace(b'"session_id":"s",', b""),
        SNAPSHOT + STARTED.replace(b"message.started", b"message.delta"),
        SNAPSHOT + SNAPSHOT,
    ],
)
def test_the_reader_takes_nothing_else(data: bytes) -> None:
    assert len(OverviewReader().feed(SNAPSHOT + STARTED)) == 2
    with pytest.raises(BadStream):
        OverviewReader().feed(data)
