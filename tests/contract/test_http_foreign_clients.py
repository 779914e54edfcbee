"""The streams read by parsers that others wrote: in Python httpx-sse and the openai SDK's, in Node the usual two.

Chromium's own EventSource reads them in tests/browser/test_modules.py.
"""

import json
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import httpx_sse
import pytest
from openai._streaming import SSEDecoder

import tools
from serving import ServerProcess, ServerThread
from wire import Api, script

READ = Path(__file__).parent.parent / "node" / "read.mjs"

TEXT = "a\u2028b\u0085c\rd \U0001f3ee e\u0301 “x”: data: y id: 9 " * 20

Seen = tuple[int, str, dict[str, Any]]


def by_httpx_sse(url: str) -> list[Seen]:
    with httpx.Client(timeout=20) as client, httpx_sse.connect_sse(client, "GET", url) as source:
        return [(int(event.id), event.event, json.loads(event.data)) for event in source.iter_sse()]


def by_openai(url: str) -> list[Seen]:
    with httpx.stream("GET", url, timeout=20) as response:
        events = list(SSEDecoder().iter_bytes(response.iter_bytes()))
    return [(int(event.id or 0), event.event or "", event.json()) for event in events]


@contextmanager
def node_reading(kind: str, *where: str) -> Iterator["subprocess.Popen[str]"]:
    node, _ = tools.needed(tools.node), tools.needed(tools.node_packages)
    command = [str(node), str(READ), kind, *where]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def told(process: "subprocess.Popen[str]", until: Callable[[Seen], bool] | None = None) -> list[Seen]:
    """What a reader in Node has seen, until something or until it has come to rest."""
    assert process.stdout is not None and process.stderr is not None
    seen: list[Seen] = []
    for line in process.stdout:
        said = json.loads(line)
        if "closed" in said:
            return seen
        seen.append((int(said["id"]), said["type"], json.loads(said["data"])))
        if until is not None and until(seen[-1]):
            return seen
    raise AssertionError(f"the reader ended: {process.stderr.read()}")


def by_node(kind: str) -> Callable[[str], list[Seen]]:
    def read(url: str) -> list[Seen]:
        where = [url]
        if kind == "client":
            base, _, rest = url.partition("/v1/sessions/")
            where = [base, rest.split("/")[0], rest.split("/")[2]]
        with node_reading(kind, *where) as process:
            return told(process)

    return read


NODE_KINDS = ("eventsource", "fetch-event-source", "client")
READERS = {"httpx-sse": by_httpx_sse, "openai": by_openai, **{kind: by_node(kind) for kind in NODE_KINDS}}


def text_of(seen: list[Seen]) -> str:
    """The text of a reply's events, held to their offsets."""
    text = ""
    for _, kind, data in seen:
        if kind == "message.delta":
            assert data["offset"] == len(text), "a piece is missing, or came twice"
            text += data["text"]
    return text


def check(seen: list[Seen], reply: dict[str, Any]) -> None:
    seqs = [seq for seq, _, _ in seen]
    assert seqs == sorted(set(seqs)), "in order, and none twice"
    assert all(data["seq"] == seq and kind for seq, kind, data in seen), "no event without a type or a seq"
    assert [kind for _, kind, _ in seen].count("message.ended") == 1 and seen[-1][1] == "message.ended"
    assert text_of(seen) == seen[-1][2]["message"]["content"] == reply["content"]


@pytest.mark.parametrize("reader", READERS)
def test_a_reply_is_read_to_its_end_with_heartbeats_in_between(
    start_server: Callable[..., ServerThread], reader: str
) -> None:
    api = start_server(heartbeat=0.05).api
    sid = api.session()
    mid = api.send_async(sid, script("tokens=12 pace=0.12 first=0.2"))["reply"]["id"]
    seen = READERS[reader](f"{api.url}/v1/sessions/{sid}/messages/{mid}/events")
    check(seen, api.message(sid, mid))


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("text", [TEXT, script("big=200000")], ids=["odd characters", "a big delta"])
def test_whatever_the_text_holds_it_arrives(api: Api, sid: str, reader: str, text: str) -> None:
    mid = api.send_async(sid, text)["reply"]["id"]
    seen = READERS[reader](f"{api.url}/v1/sessions/{sid}/messages/{mid}/events")
    check(seen, api.message(sid, mid))
    assert text is not TEXT or text_of(seen) == TEXT


@pytest.mark.node
@pytest.mark.parametrize("kind", NODE_KINDS)
def test_a_reader_in_node_outlives_a_server_that_is_killed(
    start_process: Callable[..., ServerProcess], kind: str
) -> None:
    """It comes back by itself behind what it has seen, and rests when the reply has ended."""
    server = start_process()
    api = server.api
    sid = api.session()
    mid = api.send_async(sid, script("tokens=3000 pace=0.01"))["reply"]["id"]
    url = f"{api.url}/v1/sessions/{sid}/messages/{mid}/events"
    with node_reading(kind, *([url] if kind != "client" else [api.url, sid, mid])) as process:
        seen = told(process, until=lambda event: event[2].get("offset", 0) > 50)
        server.signal(signal.SIGKILL)
        server.ended()
        server.start()
        seen += told(process)
    reply = server.api.message(sid, mid)
    assert (reply["status"], reply["error"]["code"]) == ("interrupted", "server_restarted")
    check(seen, reply)
