"""The recipes of docs/clients.md work as they are printed: they are taken out of it and run, with another port and no other change."""

import json
import re
import sys
import threading
from collections.abc import Callable
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import rejoinder
import tools
from rejoinder.llm.scripted_answer import full_text
from serving import ServerProcess
from test_examples import STEADY, Running, Start, folder, here, output, shell, start
from wire import Json, message_id

__all__ = ["folder", "start"]  # fixtures

PAGE = (Path(__file__).parent.parent / "docs/clients.md").read_text(encoding="utf-8")
BLOCKS: list[tuple[str, str]] = re.findall(r"^```(\w*)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)

STORAGE = """
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
mkdirSync("unsent", { recursive: true });
globalThis.localStorage = Object.create({
  getItem(key) {
    return this[key] ?? null;
  },
  setItem(key, value) {
    writeFileSync(`unsent/${key}`, (this[key] = value));
  },
  removeItem(key) {
    delete this[key];
    rmSync(`unsent/${key}`, { force: true });
  },
});
for (const key of readdirSync("unsent")) localStorage[key] = readFileSync(`unsent/${key}`, "utf8");
"""
"""What a browser keeps over a reload, for Node."""

JAVASCRIPT_PAGE = """
import "./storage.mjs";
import { open, say } from "./recipe.mjs";
const [session, content] = process.argv.slice(2);
open(session, ({ messages }) => {
  const reply = messages.at(-1);
  console.log(JSON.stringify(reply ?? null));
  if (reply?.role === "assistant" && reply.status === "completed") process.exit();
});
if (content) say(session, content);
"""

PYTHON_PAGE = """
import asyncio, sys
import msgspec
from recipe import Client, say, watch

def show(history):
    reply = [None, *history.messages.values()][-1]
    print(msgspec.json.encode(reply).decode(), flush=True)
    if reply and reply.role == "assistant" and reply.status == "completed":
        sys.exit()

async def main(session_id, content=""):
    async with Client("http://127.0.0.1:8000") as client:
        if content:
            await say(client, session_id, content)
        await watch(client, session_id, show)

asyncio.run(main(*sys.argv[1:]))
"""


def recipe(language: str, words: str) -> str:
    [found] = [code for name, code in BLOCKS if name == language and words in code]
    return found


def javascript(folder: Path, server: ServerProcess) -> list[str]:
    program = str(tools.needed(tools.node))
    output(shell(here(recipe("sh", "client.mjs"), server)), folder)
    (folder / "storage.mjs").write_text(STORAGE, encoding="utf-8")
    (folder / "recipe.mjs").write_text(here(recipe("js", "fetchHistory"), server), encoding="utf-8")
    (folder / "page.mjs").write_text(JAVASCRIPT_PAGE, encoding="utf-8")
    return [program, "page.mjs"]


def python(folder: Path, server: ServerProcess) -> list[str]:
    (folder / "recipe.py").write_text(recipe("python", "deliver"), encoding="utf-8")
    (folder / "page.py").write_text(here(PYTHON_PAGE, server), encoding="utf-8")
    return [sys.executable, "-W", "error", "page.py"]


PAGES = pytest.mark.parametrize("page", [pytest.param(javascript, marks=pytest.mark.node), python])
MakePage = Callable[[Path, ServerProcess], list[str]]


def last_shown(written: bytes) -> Json:
    shown: Json = json.loads(written.splitlines()[-1])
    return shown


@PAGES
def test_a_reload_in_the_middle_of_a_reply(start: Start, folder: Path, page: MakePage) -> None:
    server = start(STEADY)
    sid, command = server.api.session(), page(folder, server)
    with Running([*command, sid, "Tell me a story."], folder) as running:
        shown = running.some()
        while b'"status":"streaming"' not in shown:
            shown += running.some()
    with Running([*command, sid], folder) as running:
        reply = last_shown(running.rest())
    assert reply["content"] == full_text("story")
    assert [reply] == server.api.history(sid)["data"][1:]


@PAGES
@pytest.mark.parametrize("arrived", [False, True])
def test_a_reload_before_it_is_known_whether_the_message_arrived(
    start: Start, folder: Path, page: MakePage, arrived: bool
) -> None:
    server = start("scripted:echo")
    sid, command = server.api.session(), page(folder, server)
    ids = sorted(message_id() for _ in range(2))
    for mid, content in zip(ids, ("Good evening", "And good night"), strict=True):
        leave_unsent(folder, page, mid, sid, content)
    if arrived:
        server.api.send_whole(sid, "Good evening", id=ids[0], if_busy="queue")
    with Running([*command, sid], folder) as running:
        assert last_shown(running.rest())["content"] == "And good night"
    said = server.api.history(sid)["data"]
    assert [message["content"] for message in said] == ["Good evening"] * 2 + ["And good night"] * 2
    assert not list((folder / "unsent").iterdir())


def leave_unsent(folder: Path, page: MakePage, mid: str, sid: str, content: str) -> None:
    """A message as the page keeps it until the server has taken it."""
    (folder / "unsent").mkdir(exist_ok=True)
    unsent = [sid, content] if page is python else {"id": mid, "session": sid, "content": content}
    (folder / "unsent" / mid).write_text(json.dumps(unsent))


class Gateway(SimpleHTTPRequestHandler):
    """Something in between that lets nobody send, with words of its own. The page's files it has kept."""

    def do_GET(self) -> None:
        if self.path.startswith("/page/"):
            super().do_GET()
        else:
            self.send_error(503)

    def do_POST(self) -> None:
        self.send_error(403)

    def log_message(self, *_: object) -> None:
        pass


@pytest.mark.node
def test_a_message_that_something_in_between_refuses_is_kept(folder: Path) -> None:
    files = partial(Gateway, directory=str(Path(rejoinder.__file__).parent))
    with ThreadingHTTPServer(("127.0.0.1", 0), files) as gateway:
        threading.Thread(target=gateway.serve_forever, daemon=True).start()
        server: Any = SimpleNamespace(api=SimpleNamespace(url=f"http://127.0.0.1:{gateway.server_port}"))
        with Running([*javascript(folder, server), f"ses_{1:032x}", "Good evening"], folder) as running:
            assert running.failed() != 0
        gateway.shutdown()
    [kept] = (folder / "unsent").iterdir()
    assert "Good evening" in kept.read_text()
