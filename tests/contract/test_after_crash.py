"""What becomes of a reply whose server was killed is a setting: it ends, it is asked for anew, or it goes on."""

import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from rejoinder.llm.scripted_answer import full_text
from retold import check_retold
from serving import ServerProcess, processes
from strict_sse import Frame, text_of
from upstreams import upstream_running
from wire import Api, Json, check_problem, eventually, message_id, script

ServerThat = Callable[[str], ServerProcess]

TOKENS = 60
WORDS = f"tokens={TOKENS} pace=0.02"
WHOLE = full_text(f"tokens={TOKENS}")


@pytest.fixture(scope="module")
def server_that(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerThat]:
    """By what it does after a crash: a server that these tests kill and start again, on one store, with no time to drain."""
    with processes(tmp_path_factory.mktemp("servers")) as start:
        servers: dict[str, ServerProcess] = {}

        def server(after_crash: str) -> ServerProcess:
            if after_crash not in servers:
                store = f"sqlite:///{tmp_path_factory.mktemp(after_crash)}/chat.db"
                servers[after_crash] = start(store=store, after_crash=after_crash, drain=0)
            return servers[after_crash]

        yield server


def cut_off(server: ServerProcess, number: int, words: str = WORDS) -> tuple[str, str, list[Frame]]:
    """A session, its reply, and what a reader saw of it before the server went."""
    api = server.api
    sid = api.session()
    mid = api.send_async(sid, script(words))["reply"]["id"]
    with api.follow(sid, mid) as stream:
        while len([frame for frame in stream.frames if frame.type == "message.delta"]) < 5:
            assert stream.read()
        server.signal(number)
        seen = stream.broken()
    server.ended()
    return sid, mid, seen


def rest_of(api: Api, sid: str, mid: str, seen: list[Frame]) -> tuple[list[Frame], Json]:
    """What the same reader sees when it comes back, and the reply at its end. The offsets of all of it agree."""
    with api.follow(sid, mid, after=seen[-1].seq) as stream:
        more = stream.rest()
    reply: Json = more[-1].data["message"]
    assert text_of([*seen, *more], mid) == reply["content"], "one consistent reply"
    check_retold(api, sid)
    return more, reply


@pytest.mark.crash
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_reply_that_is_to_begin_anew_does(server_that: ServerThat, number: int) -> None:
    server = server_that("restart")
    sid, mid, seen = cut_off(server, number)
    more, reply = rest_of(server.start(), sid, mid, seen)
    kinds = [frame.type for frame in more if frame.type != "message.delta"]
    assert kinds == ["message.reset", "message.started", "message.ended"]
    assert (reply["status"], reply["content"], len(reply["attempts"])) == ("completed", WHOLE, 2)


@pytest.mark.crash
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_reply_that_is_to_go_on_does(server_that: ServerThat, number: int) -> None:
    server = server_that("continue")
    sid, mid, seen = cut_off(server, number)
    more, reply = rest_of(server.start(), sid, mid, seen)
    assert "message.reset" not in {frame.type for frame in more}, "what was seen stays"
    assert (reply["status"], reply["content"], len(reply["attempts"])) == ("completed", WHOLE, 2)


@pytest.mark.crash
def test_the_prompt_of_a_reply_that_had_no_words_yet_can_be_asked_for_where_its_model_is_gone(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    store = f"sqlite:///{tmp_path}/chat.db"
    with processes(tmp_path_factory.mktemp("servers")) as start, upstream_running() as upstream:
        server = start(store=store, model="openai:echo", openai_base_url=upstream.base_url)
        sid = server.api.session()
        mid = server.api.send_async(sid, script("hang"))["reply"]["id"]
        eventually(lambda: any(record.method == "POST" for record in upstream.requests))
        server.signal(signal.SIGKILL)
        server.ended()
        api = start(store=store, model="scripted:echo").api
        assert api.message(sid, mid)["status"] == "interrupted"
        [told] = api.get(f"/sessions/{sid}/messages/{mid}/prompt").json()["data"]
        assert (told["model"], told["exact"], told["sha256"]) == ("openai:echo", False, None)
        assert told["request"]["messages"] == [{"role": "user", "content": script("hang")}]


@pytest.mark.crash
@pytest.mark.parametrize("after_crash", ["restart", "continue"])
def test_who_waits_for_the_whole_reply_is_told_when_to_ask_again(server_that: ServerThat, after_crash: str) -> None:
    server = server_that(after_crash)
    api = server.api if server.runs else server.start()
    sid, mid = api.session(), message_id()
    with ThreadPoolExecutor() as pool:
        asked: dict[str, Any] = {
            "json": {"content": script(WORDS), "id": mid},
            "headers": {"accept": "application/json"},
        }
        waiting = pool.submit(lambda: api.post(f"/sessions/{sid}/messages", **asked))
        eventually(lambda: api.history(sid)["data"])
        server.signal(signal.SIGTERM)
        check_problem(waiting.result(), 503, "overloaded")
    server.ended()
    assert server.start().send_whole(sid, script(WORDS), id=mid)["reply"]["content"] == WHOLE


@pytest.mark.crash
def test_where_the_text_cannot_be_gone_on_from_it_ends(server_that: ServerThat) -> None:
    server = server_that("continue")
    sid, mid, seen = cut_off(server, signal.SIGKILL, "reasoning=200 tokens=3 pace=0.02")
    _, reply = rest_of(server.start(), sid, mid, seen)
    assert (reply["status"], reply["error"]["code"]) == ("interrupted", "server_restarted")
    assert reply["reasoning"].startswith("r0 r1") and reply["usage"]


@pytest.mark.crash
def test_a_continuation_never_begins_anew(server_that: ServerThat) -> None:
    server = server_that("restart")
    api = server.api
    sid = api.session()
    with api.send_streamed(sid, script(WORDS)) as stream:
        for _ in range(4):
            source = stream.until("message.delta").message_id or ""
        api.stop(sid, source)
    body = {"json": {}, "headers": {"prefer": "respond-async"}}
    mid = api.post(f"/sessions/{sid}/messages/{source}/continue", **body).json()["reply"]["id"]
    with api.follow(sid, mid) as stream:
        while len([frame for frame in stream.frames if frame.type == "message.delta"]) < 3:
            assert stream.read()
        server.signal(signal.SIGKILL)
        seen = stream.broken()
    server.ended()
    more, reply = rest_of(server.start(), sid, mid, seen)
    assert "message.reset" not in {frame.type for frame in more}
    assert (reply["status"], reply["content"]) == ("completed", WHOLE)


@pytest.mark.crash
def test_a_stop_that_was_asked_for_counts_also_after_the_crash(server_that: ServerThat) -> None:
    server = server_that("restart")
    sid, mid, _ = cut_off(server, signal.SIGKILL)
    reply = server.start().stop(sid, mid)
    assert reply["status"] == "stopped"
    check_retold(server.api, sid)


@pytest.mark.crash
def test_a_reply_that_brings_the_server_down_is_given_up(server_that: ServerThat) -> None:
    server = server_that("restart")
    sid, mid, seen = cut_off(server, signal.SIGKILL, f"tokens={TOKENS} pace=0.5")
    for _ in range(4):
        with server.start().follow(sid, mid, after=seen[-1].seq) as stream:
            stream.until("message.started")
            server.signal(signal.SIGKILL)
        server.ended()
    reply = server.start().ended(sid, mid)
    assert (reply["status"], reply["error"]["code"], len(reply["attempts"])) == ("interrupted", "server_restarted", 5)
