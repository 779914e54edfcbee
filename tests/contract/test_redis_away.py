"""The Redis below the service goes in the middle of a reply and comes back: the reply goes on, and nothing of it is lost."""

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx2
import pytest

from redis_server import RedisServer, redis_server
from rejoinder.llm.scripted_answer import full_text
from retold import check_retold
from serving import ServerProcess
from strict_sse import Frame, text_of
from wire import Api, check_problem, eventually, script

WORDS = "tokens=150 pace=0.02"

BROKEN = (httpx2.NetworkError, httpx2.RemoteProtocolError)


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with redis_server(tmp_path_factory.mktemp("redis"), appendonly="yes", appendfsync="always") as server:
        yield server


@pytest.fixture
def server(start_process: Callable[..., ServerProcess], redis: RedisServer, tmp_path: Path) -> ServerProcess:
    return start_process(store=f"{redis.url}?prefix={tmp_path.name}", store_patience=0.3)


def read_on(api: Api, sid: str, reply: str, frames: list[Frame], began: threading.Event) -> None:
    """Reads a reply to its end, over as many connections as it takes."""
    deadline = time.monotonic() + 40
    while not frames or frames[-1].type != "message.ended":
        assert time.monotonic() < deadline
        try:
            with api.follow(sid, reply, frames[-1].seq if frames else None) as stream:
                try:
                    while stream.read():
                        if len(stream.frames) > 5:
                            began.set()
                finally:
                    frames += stream.frames
        except (*BROKEN, AssertionError):
            time.sleep(0.05)  # it is away, and says so


@pytest.mark.crash
def test_a_reply_goes_on_when_redis_was_killed_and_came_back(server: ServerProcess, redis: RedisServer) -> None:
    api = server.api
    sid = api.session()
    reply = api.send_async(sid, script(WORDS))["reply"]["id"]
    frames: list[Frame] = []
    began = threading.Event()
    beside = Api(api.url)
    reader = threading.Thread(target=read_on, args=(beside, sid, reply, frames, began))
    reader.start()
    assert began.wait(20)
    redis.kill()
    try:
        check_problem(api.ask("GET", f"/sessions/{sid}"), 503, "store_unavailable")
        check_problem(api.ask("POST", "/sessions", json={}), 503, "store_unavailable")
    finally:
        redis.start()
    reader.join(45)
    beside.close()
    assert not reader.is_alive()
    assert api.ended(sid, reply)["status"] == "completed"
    assert text_of(frames, reply) == full_text(WORDS) == api.message(sid, reply)["content"]
    assert [frame.seq for frame in frames] == sorted({frame.seq for frame in frames})
    check_retold(api, sid)


def test_a_reply_of_which_redis_lost_the_last_moments_ends_with_what_there_is(
    server: ServerProcess, redis: RedisServer
) -> None:
    api = server.api
    sid = api.session()
    reply = api.send_async(sid, script("tokens=1000 pace=0.02"))["reply"]["id"]
    with api.follow(sid, reply) as stream:
        stream.until(lambda _: len(stream.frames) > 50)
        redis.die(lost=3_000)
        redis.start()
        told = stream.frames[-1].seq
        eventually(lambda: api.ask("GET", f"/sessions/{sid}/messages/{reply}").is_success)
    ended = api.ended(sid, reply)
    assert ended["status"] == "interrupted"
    assert full_text("tokens=1000 pace=0.02").startswith(ended["content"]) and ended["content"]
    assert check_retold(api, sid)[-1].seq < told, "something was lost"
    check_problem(api.ask("GET", f"/sessions/{sid}/events?after={told}"), 400, "invalid_cursor")
    api.send_whole(sid, "and it goes on")
    check_retold(api, sid)


def test_a_full_redis_refuses_and_goes_on_when_there_is_room(server: ServerProcess, redis: RedisServer) -> None:
    api = server.api
    sid = api.session()
    reply = api.send_async(sid, script(WORDS))["reply"]["id"]
    with api.follow(sid, reply) as stream:
        stream.until("message.delta")
        redis.ask("CONFIG", "SET", "maxmemory", "1")
        try:
            check_problem(api.ask("POST", "/sessions", json={}), 503, "store_unavailable")
            assert api.read_session(sid)["id"] == sid, "it can be read"
        finally:
            redis.ask("CONFIG", "SET", "maxmemory", "0")
        frames = stream.rest()
    assert text_of(frames, reply) == full_text(WORDS)
    eventually(lambda: api.post("/sessions", json={}).is_success)
    check_retold(api, sid)
