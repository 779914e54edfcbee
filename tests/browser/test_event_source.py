"""A front-end on another site, with nothing but Chromium's own `fetch` and `EventSource`: send, read, resume, end."""

import json
import re
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from playwright.sync_api import BrowserContext, Page, Request

from server_process import Server
from strict_sse import TYPES, Frame, text_of

ODD = "a\u2028b\u0085c\rd\r\ne \U0001f3ee e\u0301 👩‍👩‍👧 \ufeff\n\ndata: f\nid: 1\n\n"

SEND_AND_READ = """
async ([base, types, content]) => {
  const post = (path, body, headers) =>
    fetch(base + path, { method: "POST", headers: { "content-type": "application/json", ...headers }, body: JSON.stringify(body) });
  const session = await (await post("/v1/sessions", {})).json();
  const sent = await post(`/v1/sessions/${session.id}/messages`, { content }, { prefer: "respond-async" });
  window.seen = [];
  window.opened = 0;
  window.source = new EventSource(base + sent.headers.get("location"));
  source.onopen = () => window.opened++;
  for (const type of ["message", ...types]) {
    source.addEventListener(type, ({ lastEventId, data }) => seen.push([type, lastEventId, data]));
  }
  return session.id;
}
"""

CLIENTS = Path(__file__).parents[2] / "docs/clients.md"


class EmptyPage(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/html")
        self.end_headers()
        self.wfile.write(b"<!doctype html><title>A front-end</title><link rel=icon href=data:,>")

    def log_message(self, *said: object) -> None:
        """Nobody wants to read it."""


@pytest.fixture(scope="module")
def front_end() -> Iterator[str]:
    """The address of another site. It is a real one, since Chromium lets no site of the internet reach this machine."""
    with ThreadingHTTPServer(("127.0.0.1", 0), EmptyPage) as site:
        serving = Thread(target=site.serve_forever)
        serving.start()
        yield f"http://127.0.0.1:{site.server_port}"
        site.shutdown()
        serving.join()


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory, front_end: str) -> Iterator[Server]:
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("REJOINDER_ORIGINS", front_end)
        environment.setenv("REJOINDER_HEARTBEAT", "0.1")
        with Server(tmp_path_factory.mktemp("server")) as server:
            yield server


@pytest.fixture
def page(context: BrowserContext, front_end: str) -> Page:
    page = context.new_page()
    page.goto(front_end)
    return page


@pytest.fixture
def asked(page: Page) -> list[Request]:
    """The requests for streams."""
    asked: list[Request] = []
    page.on("request", lambda request: asked.append(request) if request.url.endswith("/events") else None)
    return asked


def send_and_read(page: Page, server: Server, content: str) -> str:
    """The id of the session in which it was sent. From now on the page reads the reply."""
    sid: str = page.evaluate(SEND_AND_READ, [server.url, list(TYPES), content])
    return sid


def frames(page: Page) -> list[Frame]:
    seen: list[tuple[str, str, str]] = page.evaluate("seen")
    return [Frame(int(event_id), kind, json.loads(data), data.encode()) for kind, event_id, data in seen]


def read_to_the_end(page: Page) -> list[Frame]:
    page.wait_for_function("source.readyState === EventSource.CLOSED")
    return frames(page)


def check_whole(read: list[Frame], reply: dict[str, Any]) -> None:
    seqs = [frame.seq for frame in read]
    assert seqs == sorted(set(seqs)), "each event once, in order"
    assert all(frame.data["seq"] == frame.seq and frame.type in TYPES for frame in read)
    assert text_of(read, reply["id"]) == reply["content"]
    assert [frame.data["message"] for frame in read if frame.type == "message.ended"] == [reply]
    assert read[-1].type == "message.ended"


def cursors(asked: list[Request]) -> list[str | None]:
    """Of the requests that were answered: while the server was away, nothing was sent."""
    return [request.all_headers().get("last-event-id") for request in asked if request.response()]


def test_a_reply_is_read_and_its_end_is_the_end(page: Page, server: Server, asked: list[Request]) -> None:
    sid = send_and_read(page, server, f"/script echo first=0.5 pace=0.05\n{ODD}")
    read = read_to_the_end(page)
    reply = server.reply(sid)
    assert reply["content"] == ODD
    check_whole(read, reply)
    # It came once for the reply, and once more to be told, by 204, that there is nothing else.
    assert cursors(asked) == [None, str(read[-1].seq)]
    answer = asked[-1].response()
    assert answer is not None and answer.status == 204


def test_a_server_that_is_killed_and_comes_back_is_a_pause(page: Page, server: Server, asked: list[Request]) -> None:
    sid = send_and_read(page, server, "/script tokens=10000 pace=0.01")
    page.wait_for_function("seen.length > 20")
    server.kill()
    page.wait_for_function("source.readyState === EventSource.CONNECTING")
    before = frames(page)
    server.start()
    read = read_to_the_end(page)
    reply = server.reply(sid)
    assert (reply["status"], reply["error"]["code"]) == ("interrupted", "server_restarted")
    check_whole(read, reply)
    assert read[: len(before)] == before
    assert page.evaluate("opened") == 2
    assert cursors(asked) == [None, str(before[-1].seq), str(read[-1].seq)]


def test_the_documented_recipe(page: Page, server: Server) -> None:
    blocks = re.findall(r"^```js\n(.*?)^```$", CLIENTS.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    [recipe] = [block.replace("http://127.0.0.1:8000", server.url) for block in blocks if "new EventSource" in block]
    closed = "while (source.readyState !== EventSource.CLOSED) await new Promise((resolve) => setTimeout(resolve, 20));"
    assert page.evaluate(f"async () => {{ {recipe} {closed} return text; }}") == "Tell me a story."
