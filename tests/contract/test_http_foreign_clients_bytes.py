"""Python's parsers of others under hard conditions: bytes cut anywhere, text that looks like a frame, heartbeats between.

A strict reader sees the very same bytes, so that nothing a forgiving parser swallows goes unseen.
"""

from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from httpx_sse import EventSource, ServerSentEvent, connect_sse
from openai._streaming import ServerSentEvent as OpenAIEvent
from openai._streaming import SSEDecoder

from serving import ServerThread
from strict_sse import StrictReader
from test_http_foreign_clients import TEXT, Seen, check
from wire import PATIENCE, Api, events_of, script, slow

FRAMES_AS_TEXT = '\n\nevent: error\ndata: {"seq":1}\nid: 1\n\n: ping\n\nretry: 1\n\ndata: [DONE]\n\n'

HARD_TEXTS = {
    "odd characters": TEXT,
    "frames": FRAMES_AS_TEXT,
    "ends of lines": "\u2028a\u2029b\u0085c\x0bd\x0ce\x1cf\x1eg\rh\r\ni\n\r\nj\ufeffk\x7f\r",
    "characters of every length": "é漢👩‍👩‍👧\U0010ffff" * 50,
}

Decode = Callable[[Iterator[bytes]], list[Seen]]


def by_httpx_sse(data: Iterator[bytes]) -> list[Seen]:
    response = httpx.Response(200, headers={"content-type": "text/event-stream; charset=utf-8"}, content=data)
    return [seen(event) for event in EventSource(response).iter_sse()]


def by_openai(data: Iterator[bytes]) -> list[Seen]:
    return [seen(event) for event in SSEDecoder().iter_bytes(data)]


def seen(event: ServerSentEvent | OpenAIEvent) -> Seen:
    """An event as it was decoded. An empty one, which has no type and no data, is the trap of every heartbeat."""
    assert event.event and event.id and event.data, f"an empty event: {event!r}"
    data: dict[str, Any] = event.json()
    return int(event.id), event.event, data


BOTH = pytest.mark.parametrize("decode", [by_httpx_sse, by_openai])


@BOTH
@pytest.mark.parametrize("text", HARD_TEXTS.values(), ids=HARD_TEXTS.keys())
@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_wherever_the_bytes_are_cut(api: Api, sid: str, decode: Decode, text: str, size: int) -> None:
    reply = api.send_whole(sid, text)["reply"]
    assert reply["content"] == text
    with api.follow(sid, reply["id"]) as stream:
        data = b"".join(stream.response.iter_raw())
    check(decode(data[start : start + size] for start in range(0, len(data), size)), reply)


@BOTH
def test_heartbeats_make_no_empty_events(start_server: Callable[..., ServerThread], decode: Decode) -> None:
    """Behind a frame with an id both parsers would make an event of a blank line."""
    api = start_server(heartbeat=0.05).api
    sid = api.session()
    mid = api.send_async(sid, script("tokens=4 first=0.5 pace=0.3"))["reply"]["id"]
    reader = StrictReader()

    def shown(data: Iterator[bytes]) -> Iterator[bytes]:
        for piece in data:
            reader.feed(piece)
            yield piece

    with api.follow(sid, mid) as stream:
        read = decode(shown(stream.response.iter_raw()))
    assert reader.heartbeats >= 8
    assert read == [(frame.seq, frame.type, frame.data) for frame in reader.frames]
    check(read, api.message(sid, mid))


def test_a_reader_of_httpx_sse_that_leaves_after_every_event_misses_nothing(api: Api, sid: str) -> None:
    """As its documents advise: keep the id of the last event, and send it along when you come back."""
    mid = api.send_async(sid, slow(20, 0.004))["reply"]["id"]
    read: list[Seen] = []
    with httpx.Client(timeout=PATIENCE, trust_env=False) as client:
        while True:
            headers = {"Last-Event-ID": str(read[-1][0])} if read else {}
            with connect_sse(client, "GET", f"{api.url}/v1{events_of(sid, mid)}", headers=headers) as source:
                if source.response.status_code == 204:
                    break
                event = next(source.iter_sse())
                assert event.retry == 1000, "it travels in the first frame of every connection"
                read.append(seen(event))
    check(read, api.message(sid, mid))
