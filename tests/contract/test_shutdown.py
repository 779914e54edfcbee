"""A server that must stop: live replies get their time, no reader is deceived, and nothing is lost."""

import asyncio
import signal
import time
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import ThreadPoolExecutor

import httpx2
import pytest
from starlette.types import Message

from rejoinder.api.sse import EventStream, Streams
from rejoinder.chat.following import Take
from rejoinder.chat.tails import Piece
from rejoinder.errors import Overloaded
from rejoinder.llm.scripted_answer import full_text
from serving import ServerProcess
from strict_sse import Frame, text_of
from wire import SILENT, Api, Json, check_problem, eventually, message_id, script, slow

StartProcess = Callable[..., ServerProcess]
CLEAN = (0, -signal.SIGTERM, 128 + signal.SIGTERM)


def follow_until_broken(api: Api, sid: str, mid: str | None) -> list[Frame]:
    with api.follow(sid, mid) if mid else api.follow_session(sid) as stream:
        return stream.broken()


def follow_to_the_end(api: Api, sid: str, mid: str) -> list[Frame]:
    with api.follow(sid, mid) as stream:
        return stream.rest()


def starting_to_drain(api: Api) -> None:
    eventually(lambda: api.get("//readyz").status_code == 503)


def test_a_reply_that_ends_in_time_is_whole_and_its_readers_see_the_end(start_process: StartProcess) -> None:
    server = start_process(drain=10)
    api, sid = server.api, server.api.session()
    mid = api.send_async(sid, slow(60, 0.02))["reply"]["id"]
    with ThreadPoolExecutor(2) as pool:
        reader = pool.submit(follow_to_the_end, api, sid, mid)
        of_session = pool.submit(follow_until_broken, api, sid, None)
        eventually(lambda: api.message(sid, mid)["content"])
        server.signal(signal.SIGTERM)
        frames, seen = reader.result(), of_session.result()
    assert server.ended(10) in CLEAN
    assert frames[-1].data["message"]["status"] == "completed"
    assert text_of(frames, mid) == text_of(seen, mid) == full_text("tokens=60")
    again = server.start()
    assert again.message(sid, mid)["content"] == full_text("tokens=60")


def test_what_does_not_end_in_time_is_interrupted_with_every_word_that_was_seen(start_process: StartProcess) -> None:
    server = start_process(drain=0.7)
    api, sid = server.api, server.api.session()
    mid = api.send_async(sid, slow(10_000, 0.01))["reply"]["id"]
    silent = api.send_async(sid, SILENT, parent_id=None)["reply"]["id"]
    with ThreadPoolExecutor(4) as pool:
        readers = [pool.submit(follow_to_the_end, api, sid, mid) for _ in range(2)]
        of_session = pool.submit(follow_until_broken, api, sid, None)
        for_json = pool.submit(api.send_whole, sid, slow(), parent_id=None)
        eventually(lambda: api.message(sid, mid)["content"] and len(api.all_messages(sid)) == 6)
        before = len(api.message(sid, mid)["content"])
        began = time.monotonic()
        server.signal(signal.SIGTERM)
        starting_to_drain(api)
        refused = api.post(f"/sessions/{sid}/messages", json={"content": "x", "parent_id": None})
        check_problem(refused, 503, "overloaded")
        assert api.get("//healthz").status_code == 200, "it lives still"
        assert api.message(sid, mid)["status"] == "streaming", "and goes on"
        assert server.ended(10) in CLEAN
        took = time.monotonic() - began
        frames, seen = [reader.result() for reader in readers], of_session.result()
        assert for_json.result()["reply"]["status"] == "interrupted", "who waits for JSON is told how it ended"
    assert 0.6 < took < 6, "it stops when the time is over, and soon"
    for read in frames:
        reply = read[-1].data["message"]
        assert (reply["status"], reply["error"]["code"]) == ("interrupted", "server_restarted")
        assert reply["usage"]["output_tokens"] > 0
        assert text_of(read, mid) == reply["content"] == text_of(seen, mid)
        assert len(reply["content"]) > before, "the reply went on while the server drained"
    again = server.start()
    assert derived(again.message(sid, mid)) == derived(frames[0][-1].data["message"])
    ended = again.message(sid, silent)
    assert (ended["status"], ended["content"], ended["usage"]["source"]) == ("interrupted", "", "estimated")
    assert again.send_whole(sid, "and on")["reply"]["status"] == "completed"


def derived(message: Json) -> Json:
    """A message but for what is derived and may grow."""
    return message | {"siblings": []}


def test_an_idle_server_stops_at_once_also_at_ctrl_c(start_process: StartProcess) -> None:
    server = start_process(store="memory:")
    server.api.session()
    began = time.monotonic()
    server.signal(signal.SIGINT)
    assert server.ended(10) in (0, -signal.SIGINT, 128 + signal.SIGINT)
    assert time.monotonic() - began < 4, "the time of a drain is for live replies"


def test_idle_readers_do_not_hold_up_the_stop(start_process: StartProcess) -> None:
    """Plain uvicorn would wait for them for ever."""
    server = start_process()
    api, sid = server.api, server.api.session()
    with api.follow_session(sid) as first, api.follow_session(sid, after=1) as second:
        first.until("session.created")
        assert second.read()
        began = time.monotonic()
        server.signal(signal.SIGTERM)
        assert server.ended(10) in CLEAN
        assert time.monotonic() - began < 4
        assert first.broken() and second.broken() == []


def test_while_it_drains_a_retry_attaches_and_a_stop_stops(start_process: StartProcess) -> None:
    server = start_process(drain=10)
    api, sid, own = server.api, server.api.session(), message_id()
    mid = api.send_async(sid, slow(), id=own)["reply"]["id"]
    server.signal(signal.SIGTERM)
    starting_to_drain(api)
    assert api.send_async(sid, slow(), id=own)["reply"]["id"] == mid
    with api.follow(sid, mid) as stream:
        stream.until("message.delta")
        began = time.monotonic()
        assert api.stop(sid, mid)["status"] == "stopped"
        assert stream.rest()[-1].data["message"]["status"] == "stopped"
    assert server.ended(10) in CLEAN
    assert time.monotonic() - began < 5, "with no reply left there is nothing to wait for"


def test_a_second_signal_does_not_wait(start_process: StartProcess) -> None:
    server = start_process(drain=60)
    api, sid = server.api, server.api.session()
    mid = api.send_async(sid, slow(100_000, 0.01))["reply"]["id"]
    waits = {"content": "waits", "if_busy": "queue"}
    with api.follow(sid, mid) as stream, ThreadPoolExecutor(1) as pool:
        queued = pool.submit(api.post, f"/sessions/{sid}/messages", json=waits, headers={"accept": "application/json"})
        eventually(lambda: len(api.all_messages(sid)) == 4)
        server.signal(signal.SIGTERM)
        starting_to_drain(api)
        began = time.monotonic()
        server.signal(signal.SIGTERM)
        assert server.ended(15) in CLEAN
        assert time.monotonic() - began < 4
        assert stream.rest()[-1].data["message"]["status"] == "interrupted"
        told = queued.result()
    check_problem(told, 503, "overloaded")
    assert told.headers["retry-after"]
    assert "Traceback" not in server.said()
    assert server.start().message(sid, mid)["status"] == "interrupted"


def test_after_a_restart_everything_is_there(start_process: StartProcess) -> None:
    server = start_process(drain=0.1)
    api = server.api
    sid, gone = api.session(title="Über 🏮", metadata={"a": "b"}), api.session()
    own = message_id()
    first = api.send_whole(sid, script("story"), id=own)
    api.send_whole(sid, script("tokens=4 reasoning=2 calls=1"))
    api.send_whole(sid, script("tokens=9 fail=500"), parent_id=None)
    api.ask("PATCH", f"/sessions/{sid}", json={"head": first["reply"]["id"]})
    api.ask("DELETE", f"/sessions/{gone}")
    before = (api.read_session(sid), api.all_messages(sid), api.history(sid), api.get("/sessions").json())
    with api.follow_session(sid) as stream:
        stream.until("session.updated")
        frames = [(frame.seq, frame.data) for frame in stream.frames]
    server.signal(signal.SIGTERM)
    assert server.ended(10) in CLEAN

    api = server.start()
    assert (api.read_session(sid), api.all_messages(sid), api.history(sid), api.get("/sessions").json()) == before
    with api.follow_session(sid) as stream:
        stream.until("session.updated")
        assert [(frame.seq, frame.data) for frame in stream.frames] == frames
    assert api.send_whole(sid, script("story"), id=own) == first, "a retry attaches also after a restart"
    check_problem(api.get(f"/sessions/{gone}"), 404, "session_not_found")
    assert api.send_whole(sid, "on")["message"]["parent_id"] == first["reply"]["id"]


def test_a_reader_that_was_broken_off_reads_on_after_the_restart(start_process: StartProcess) -> None:
    """The line of a reader breaks in the middle, the server is killed, and the cursor still holds."""
    server = start_process()
    api, sid = server.api, server.api.session()
    mid = api.send_async(sid, slow())["reply"]["id"]
    with api.follow(sid, mid) as stream:
        for _ in range(5):
            stream.until("message.delta")
        server.signal(signal.SIGKILL)
        seen = stream.broken()
    server.ended()
    with server.start().follow(sid, mid, after=seen[-1].seq) as stream:
        more = stream.rest()
    reply = more[-1].data["message"]
    assert (reply["status"], reply["error"]["code"]) == ("interrupted", "server_restarted")
    assert text_of(more, mid, start=text_of(seen, mid)) == reply["content"]
    assert reply["usage"]["output_tokens"] > 0


def test_a_store_that_another_server_holds_is_a_clear_error(start_process: StartProcess) -> None:
    first = start_process()
    with pytest.raises(AssertionError, match="did not start") as second:
        start_process()
    said = str(second.value)
    assert "store_locked" in said or "another" in said.lower()
    assert "Traceback" not in said, "an error that the user can act on is no fault of ours"
    assert first.api.get("//readyz").status_code == 200


def test_a_get_that_comes_while_the_streams_are_let_go_is_told_to_come_again(start_process: StartProcess) -> None:
    """Between the drain and the exit a reader gets 200 and a broken line, or no line at all, and never a clean end."""
    server = start_process(drain=0.3)
    api, sid = server.api, server.api.session()
    api.send_async(sid, slow())
    server.signal(signal.SIGTERM)
    for _ in range(200):
        try:
            with api.follow_session(sid) as stream:
                stream.broken()
        except httpx2.TransportError:
            break
    assert server.ended(10) in CLEAN


async def test_who_was_on_the_way_when_the_streams_were_let_go_is_let_go_as_well() -> None:
    """Over a connection that was open still. The server would wait for it, and then answer with a 500."""

    async def follow(_: Take) -> AsyncGenerator[Piece, None]:
        await asyncio.Event().wait()
        yield Piece([], 0)

    async def receive() -> Message:
        await asyncio.Event().wait()
        return {}

    async def send(message: Message) -> None:
        assert message.get("more_body", True), "a clean end would be taken for the reply's"

    streams = Streams(1, 1)
    await streams.let_go()
    waiting = asyncio.create_task(streams.or_let_go(asyncio.Event().wait()))
    reading = asyncio.create_task(EventStream(streams, follow)({"type": "http"}, receive, send))
    _, late = await asyncio.wait({waiting, reading}, timeout=1)
    assert not late
    assert isinstance(waiting.exception(), Overloaded)
    assert reading.result() is None
