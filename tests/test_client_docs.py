"""The recipes of docs/clients.md work as they are printed: they are taken out of it and run, with another port and no other change."""

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import tools
from rejoinder.llm.scripted_answer import full_text
from serving import ServerProcess
from test_examples import STEADY, Running, Start, folder, here, output, shell, start
from wire import Json, message_id

__all__ = ["folder", "start"]  # fixtures

PAGE = (Path(__file__).parent.parent / "docs/clients.md").read_text(encoding="utf-8")
BLOCKS: list[tuple[str, str]] = re.findall(r"^```(\w*)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)

STORAGE = """
import { existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
const file = (key) => `${key}.json`;
globalThis.localStorage = {
  getItem: (key) => (existsSync(file(key)) ? readFileSync(file(key), "utf8") : null),
  setItem: (key, value) => writeFileSync(file(key), value),
  removeItem: (key) => rmSync(file(key), { force: true }),
};
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
    try:
        program = str(tools.node())
    except tools.ToolMissing as missing:
        pytest.skip(str(missing))
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
    sid, mid, command = server.api.session(), message_id(), page(folder, server)
    unsent = [sid, "Good evening", mid] if page is python else {"session": sid, "content": "Good evening", "id": mid}
    (folder / "unsent.json").write_text(json.dumps(unsent))
    if arrived:
        server.api.send_whole(sid, "Good evening", id=mid)
    with Running([*command, sid], folder) as running:
        assert last_shown(running.rest())["content"] == "Good evening"
    assert [message["role"] for message in server.api.history(sid)["data"]] == ["user", "assistant"]
    assert not (folder / "unsent.json").exists()
