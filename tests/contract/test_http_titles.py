"""Titles: made aside by the model, in nobody's way, and never over one that the user gave."""

import time
from collections.abc import Callable, Iterator

import msgspec
import pytest

from rejoinder.entities import JsonObject
from rejoinder.llm.script import parse
from rejoinder.llm.scripted_answer import Answer
from rejoinder.testing.upstream import ScriptedUpstream
from serving import ServerProcess, ServerThread
from upstreams import upstream_running
from wire import Api, Json, eventually, script

StartServer = Callable[..., ServerThread]


class Titling(ScriptedUpstream):
    """Knows a request for a title by its instruction, and answers it by the script `title`."""

    title = "tokens=3"

    def answer(self, asked: JsonObject) -> Answer:
        answer = super().answer(asked)
        if self.is_title(asked):
            return msgspec.structs.replace(answer, script=parse(self.title))
        return answer

    @staticmethod
    def is_title(asked: JsonObject) -> bool:
        return str(asked["messages"][0]["content"]).startswith("You give conversations a title")

    def titles(self) -> list[Json]:
        """The requests for titles so far."""
        asked = [msgspec.json.decode(record.body) for record in self.requests if record.method == "POST"]
        return [request for request in asked if self.is_title(request)]


@pytest.fixture
def upstream() -> Iterator[Titling]:
    with upstream_running(upstream=Titling()) as upstream:
        assert isinstance(upstream, Titling)
        yield upstream


@pytest.fixture
def titled(start_server: StartServer, upstream: Titling) -> Api:
    """A server that makes titles."""
    return start_server(model="openai:echo", openai_base_url=upstream.base_url, title_model="").api


def test_a_session_gets_a_title_after_its_first_reply_also_when_the_sender_has_gone(
    titled: Api, upstream: Titling
) -> None:
    sid = titled.session()
    with titled.follow_session(sid) as stream:
        titled.send_async(sid, "Tell me of the sea.")
        stream.until("message.ended")
        updated = stream.until("session.updated")
    assert updated.data["session"]["title"] == "t0 t1 t2" == titled.read_session(sid)["title"]
    [asked] = upstream.titles()
    assert "User: Tell me of the sea." in asked["messages"][1]["content"]
    assert "Assistant: Tell me of the sea." in asked["messages"][1]["content"]
    titled.send_whole(sid, "and more")
    assert len(upstream.titles()) == 1, "and no other"


def test_nobody_waits_for_a_title(titled: Api, upstream: Titling) -> None:
    upstream.title = "hang"
    sid = titled.session()
    with titled.send_streamed(sid, "one") as stream:
        assert stream.rest()[-1].type == "message.ended"
    assert titled.send_whole(sid, "two")["reply"]["status"] == "completed"
    eventually(lambda: len(upstream.titles()) == 1)
    assert titled.read_session(sid)["title"] is None


def test_a_shutdown_does_not_wait_for_a_title(start_process: Callable[..., ServerProcess], upstream: Titling) -> None:
    upstream.title = "hang"
    server = start_process(model="openai:echo", openai_base_url=upstream.base_url, title_model="", drain=30)
    sid = server.api.session()
    server.api.send_whole(sid, "one")
    eventually(lambda: len(upstream.titles()) == 1)
    began = time.monotonic()
    server.signal(15)
    server.ended()
    assert time.monotonic() - began < 20


def test_a_title_that_the_user_gave_stays(titled: Api, upstream: Titling) -> None:
    sid = titled.session(title="Mine")
    titled.send_whole(sid, "one")
    other = titled.session()
    upstream.title = "tokens=3 first=0.5"
    titled.send_whole(other, "one")
    eventually(upstream.titles)
    titled.ask("PATCH", f"/sessions/{other}", json={"title": "Also mine"})
    eventually(lambda: titled.get(f"/sessions/{other}/usage").json()["titles"] == 1)
    last = titled.last_seq(other)
    with titled.follow_session(other, after=0) as stream:
        stream.until(lambda frame: frame.seq == last)  # else a reader would wait for what no stream tells
    assert titled.read_session(other)["title"] == "Also mine" and len(upstream.titles()) == 1
    assert titled.read_session(sid)["title"] == "Mine"


def test_a_title_of_what_was_deleted_is_not_given_to_what_has_its_id_since(titled: Api, upstream: Titling) -> None:
    sid = titled.session()
    upstream.title = "tokens=3 first=0.5"
    titled.send_whole(sid, "A secret.")
    eventually(upstream.titles)
    assert titled.ask("DELETE", f"/sessions/{sid}").status_code == 204
    assert titled.session(id=sid) == sid
    [record] = [each for each in upstream.requests if each.method == "POST" and b"give conversations" in each.body]
    eventually(lambda: record.end)
    time.sleep(0.2)  # for what must not happen
    assert titled.read_session(sid)["title"] is None and titled.last_seq(sid) == 1
    assert titled.get(f"/sessions/{sid}/usage").json()["titles"] == 0


def test_a_title_that_cannot_be_had_is_tried_for_again_but_not_for_ever(titled: Api, upstream: Titling) -> None:
    upstream.title = "fail=500"
    sid = titled.session()
    while len(upstream.titles()) < 3:
        made = len(upstream.titles())
        assert titled.send_whole(sid, "one")["reply"]["status"] == "completed"
        eventually(lambda: len(upstream.titles()) == made + 1)  # noqa: B023 - waited for at once
    for _ in range(3):
        titled.send_whole(sid, "one")
    upstream.title = "tokens=2"
    other = titled.session()
    titled.send_whole(other, "one")
    eventually(lambda: titled.read_session(other)["title"] == "t0 t1")
    assert len(upstream.titles()) == 4 and titled.read_session(sid)["title"] is None


def test_what_says_nothing_gets_no_title(titled: Api, upstream: Titling) -> None:
    sid = titled.session()
    assert titled.send_whole(sid, script("fail=500"))["reply"]["status"] == "failed"
    stopped = titled.send_async(sid, script("hang"))["reply"]["id"]
    titled.stop(sid, stopped)
    other = titled.session()
    titled.send_whole(other, "one")
    eventually(lambda: titled.read_session(other)["title"])
    assert len(upstream.titles()) == 1


def test_a_long_answer_is_cut_and_the_upstream_let_go(titled: Api, upstream: Titling) -> None:
    upstream.title = "tokens=100000 pace=0.001"
    sid = titled.session()
    titled.send_whole(sid, "one")
    eventually(lambda: titled.read_session(sid)["title"])
    assert len(titled.read_session(sid)["title"]) <= 81
    [record] = [each for each in upstream.requests if each.method == "POST" and b"give conversations" in each.body]
    eventually(lambda: record.end == "client left")


def test_titles_are_counted(titled: Api) -> None:
    sid = titled.session()
    reply = titled.send_whole(sid, "one")["reply"]
    eventually(lambda: titled.get(f"/sessions/{sid}/usage").json()["titles"] == 1)
    usage = titled.get(f"/sessions/{sid}/usage").json()
    assert usage["output_tokens"] == reply["usage"]["output_tokens"] + 3 and usage["estimated_output_tokens"] == 0
    assert usage["replies"] == 1


def test_a_model_of_their_own_may_make_them_or_none(start_server: StartServer, upstream: Titling) -> None:
    api = start_server(model="openai:echo", openai_base_url=upstream.base_url, title_model="openai:another").api
    sid = api.session()
    api.send_whole(sid, "one")
    eventually(lambda: api.read_session(sid)["title"])
    [asked] = upstream.titles()
    assert asked["model"] == "another"
    api = start_server(model="openai:echo", openai_base_url=upstream.base_url, title_model="off").api
    api.send_whole(api.session(), "one")
    api.send_whole(api.session(), "one")
    assert len(upstream.titles()) == 1
