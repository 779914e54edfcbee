"""Whatever an upstream does, the reply ends honestly: with its code, with every character that came, and with its usage.

The whole way: a scripted Chat Completions server, the `openai` provider, the service, and a reader of the stream. In a service that
has little to do a reply waits for its upstream; in a busy one it is looked at with all others, now and then.
"""

import socket
from collections.abc import Callable, Iterator

import pytest

from rejoinder.chat.writer import BUSY, EACH
from rejoinder.llm.scripted_answer import full_text
from rejoinder.testing.upstream import ScriptedUpstream
from serving import ServerThread, serving
from strict_sse import text_of
from upstreams import upstream_running
from wire import Api, Json, eventually, message_id, script

StartServer = Callable[..., ServerThread]


@pytest.fixture(scope="module")
def upstream() -> Iterator[ScriptedUpstream]:
    with upstream_running() as upstream:
        yield upstream


OTHERS = round(3 * BUSY / EACH)
"""Replies that are written all the time in a busy service: enough for each to be looked at at its own time."""


@pytest.fixture(scope="module", params=["quiet", "busy"])
def asking(upstream: ScriptedUpstream, request: pytest.FixtureRequest) -> Iterator[Api]:
    """A server that asks that upstream, and gives it up after half a second of silence."""
    with serving(
        model="openai:echo", openai_base_url=upstream.base_url, first_token_timeout=0.5, stall_timeout=0.5
    ) as server:
        if request.param == "busy":
            before = len(upstream.requests)
            for _ in range(OTHERS):
                server.api.send_async(server.api.session(), script("tokens=100000 pace=0.02"))
            eventually(lambda: len(upstream.requests) == before + OTHERS)
        yield server.api


def outcome(api: Api, words: str) -> Json:
    """The reply to a script, as its stream tells it and as the history has it."""
    sid = api.session()
    with api.send_streamed(sid, script(words, message_id())) as stream:
        frames = stream.rest()
    reply: Json = frames[-1].data["message"]
    assert text_of(frames, reply["id"]) == reply["content"]
    assert api.message(sid, reply["id"]) == reply
    assert reply["usage"], "whatever happened"
    assert api.send_whole(sid, "and on")["reply"]["status"] == "completed", "the session takes the next message"
    return reply


WHOLE = [
    *("story crlf", "story nodone", "story null empty pings", "story cut halves", "story whole", "story usage=no"),
    *("big=1000000", "tokens=100000", "tokens=5 headers=0.2", "tokens=20 pace=0.05"),
]


@pytest.mark.parametrize("words", WHOLE)
def test_whatever_form_it_comes_in_the_reply_is_whole(asking: Api, words: str) -> None:
    reply = outcome(asking, words)
    assert (reply["status"], reply["finish_reason"], reply["error"]) == ("completed", "stop", None)
    what = next(word for word in words.split() if word.startswith(("story", "big", "tokens")))
    assert reply["content"] == full_text(what)
    assert reply["usage"]["source"] == ("estimated" if "usage=no" in words else "provider")


FAULTS = [
    ("fail=401", "upstream_auth", 0, 1),
    ("fail=403", "upstream_auth", 0, 1),
    ("fail=404", "upstream_unavailable", 0, 1),
    ("fail=429", "upstream_rate_limited", 0, 4),
    ("fail=500", "upstream_error", 0, 4),
    ("fail=503", "upstream_error", 0, 4),
    ("headers=9", "upstream_timeout", 0, 1),
    ("fail=stall@0", "upstream_timeout", 0, 1),
    ("fail=stall@4", "upstream_stalled", 4, 1),
    ("fail=reset@0", "upstream_incomplete", 0, 1),
    ("fail=reset@4", "upstream_incomplete", 4, 1),
    ("fail=close@4", "upstream_incomplete", 4, 1),
    ("fail=eof@4", "upstream_incomplete", 4, 1),
    ("fail=eof@4 nodone", "upstream_incomplete", 4, 1),
    ("fail=error@4", "upstream_error", 4, 1),
    ("fail=malformed@4", "upstream_malformed", 4, 1),
    ("fail=context_overflow", "context_overflow", 0, 1),
    ("fail=content_filtered", "content_filtered", 0, 1),
]


@pytest.mark.parametrize(("words", "code", "kept", "asked"), FAULTS)
def test_a_fault_ends_the_reply_honestly(
    asking: Api, upstream: ScriptedUpstream, words: str, code: str, kept: int, asked: int
) -> None:
    upstream.requests.clear()
    reply = outcome(asking, f"tokens=9 {words}")
    assert (reply["status"], reply["error"]["code"], reply["content"]) == ("failed", code, full_text(f"tokens={kept}"))
    assert len(reply["attempts"]) == asked, "and each is on record"
    assert len([record for record in upstream.requests if b"/script" in record.body]) - 1 == asked, (
        "with the next message, that many requests were made"
    )


@pytest.mark.parametrize("reason", ["length", "tool_calls", "content_filter"])
def test_the_reason_of_a_finish_is_told(asking: Api, reason: str) -> None:
    reply = outcome(asking, f"tokens=3 finish={reason}")
    assert reply["finish_reason"] == reason
    assert reply["status"] == ("failed" if reason == "content_filter" else "completed")


@pytest.mark.parametrize("host", ["127.0.0.1:{refusing}", "nowhere.invalid"])
def test_an_upstream_that_cannot_be_reached_is_tried_a_few_times(start_server: StartServer, host: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        refusing = closed.getsockname()[1]
    api = start_server(model="openai:echo", openai_base_url=f"http://{host.format(refusing=refusing)}/v1").api
    reply = api.send_whole(api.session(), "hello")["reply"]
    assert (reply["status"], reply["error"]["code"], len(reply["attempts"])) == ("failed", "upstream_unavailable", 4)
    assert reply["usage"] == {"input_tokens": 0, "output_tokens": 0, "source": "estimated"}, "nobody was asked"
