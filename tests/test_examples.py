"""The examples of the README work as they are printed: they are taken out of it and run, with another port and no other change."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Self

import pytest

import rejoinder
import tools
from rejoinder.llm.scripted_answer import full_text
from serving import ServerProcess, processes
from strict_sse import StrictReader, text_of
from wire import Json

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
BLOCKS: list[tuple[str, str]] = re.findall(r"^```(\w*)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
PORT = "8000"

STORY = full_text("story")
QUICK, STEADY = "scripted:story", "scripted:story+pace=0.006"

Start = Callable[[str], ServerProcess]
"""Starts a server with this model."""


def example(language: str, words: str = "") -> str:
    """The one example in this language with these words in it."""
    [found] = [code for name, code in BLOCKS if name == language and words in code]
    return found


def commands(code: str) -> list[str]:
    lines = code.replace("\\\n", " ").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


CURL = commands(example("sh", "S=$("))
COPY = example("sh", "client.mjs")
JAVASCRIPT, PYTHON = example("js"), example("python")
TERMINAL = commands(example("sh", "rejoinder ask"))


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    with processes(tmp_path) as start:
        yield lambda model: start(model=model)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where whoever tries the examples has gone to."""
    made = tmp_path / "trying"
    made.mkdir()
    return made


def here(text: str, server: ServerProcess) -> str:
    """The example with the port of this server."""
    assert PORT in text
    return text.replace(f":{PORT}", server.api.url.removeprefix("http://127.0.0.1"))


def shell(command: str) -> list[str]:
    tools.needed(tools.curl)
    return ["bash", "-euo", "pipefail", "-c", command]


class Running:
    """A command that somebody has typed. Leaving this interrupts it."""

    def __init__(self, command: list[str], folder: Path) -> None:
        # As in an environment that was set up: its programs come first.
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        self._complaints = folder / "complaints"
        with self._complaints.open("wb") as errors:
            self._process = subprocess.Popen(
                command, cwd=folder, env=os.environ | {"PATH": path}, stdout=subprocess.PIPE, stderr=errors
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._process.kill()
        self._process.__exit__(None, None, None)

    def some(self) -> bytes:
        """What it wrote next. It must not have ended."""
        assert self._process.stdout is not None
        written = os.read(self._process.stdout.fileno(), 65536)
        assert written, self._complaints.read_text()
        return written

    def failed(self) -> int:
        """Its exit code, where it ends by itself."""
        return self._process.wait(10)

    def rest(self) -> bytes:
        """What it writes until it ends, which it must by itself and well."""
        assert self._process.stdout is not None
        written = self._process.stdout.read()
        assert self._process.wait(10) == 0, self._complaints.read_text()
        return written


def output(command: list[str], folder: Path) -> str:
    with Running(command, folder) as running:
        return running.rest().decode()


def node(folder: Path, server: ServerProcess) -> list[str]:
    """The program of the JavaScript example, beside the module that it imports."""
    program = str(tools.needed(tools.node))
    output(shell(here(COPY, server)), folder)
    (folder / "example.mjs").write_text(here(JAVASCRIPT, server), encoding="utf-8")
    return [program, "example.mjs"]


def python(folder: Path, server: ServerProcess) -> list[str]:
    (folder / "example.py").write_text(here(PYTHON, server), encoding="utf-8")
    return [sys.executable, "-W", "error", "example.py"]


FRONT_ENDS = pytest.mark.parametrize("front_end", [pytest.param(node, marks=pytest.mark.node), python])


def newest_reply(server: ServerProcess) -> Json:
    [session] = server.api.get("/sessions", params={"limit": 1}).json()["data"]
    reply: Json = server.api.history(session["id"])["data"][-1]
    return reply


def test_every_example_is_tried_here() -> None:
    """Only how to set it up is not: that needs the network, and is what made the environment of these tests."""
    tried = [("sh", example("sh", "S=$(")), ("sh", COPY), ("js", JAVASCRIPT), ("python", PYTHON)]
    rest = [block for block in BLOCKS if block not in [*tried, ("sh", example("sh", "rejoinder ask"))]]
    assert rest and all(re.search(r"(^|\s)\./dev (run|test)\b", line) for _, code in rest for line in commands(code))


def test_with_curl(start: Start, folder: Path) -> None:
    server = start(STEADY)
    new_session, send, history, read_on, whole = (here(command, server) for command in CURL)
    sid = output(shell(f"{new_session}\necho $S"), folder).strip()

    def in_session(command: str) -> list[str]:
        return shell(f"S={sid}\n{command}")

    with Running(in_session(send), folder) as running:
        heard = running.some()
        while b"event: message.delta" not in heard:
            heard += running.some()
    # It was interrupted, and the reply goes on.
    message, reply = server.api.history(sid)["data"]
    assert (message["content"], reply["status"]) == ("Tell me a story.", "streaming")
    assert '"content": "Tell me a story."' in output(in_session(history), folder)

    reader = StrictReader()
    with Running(in_session(read_on), folder) as running:
        while not reader.frames or reader.frames[-1].type != "message.ended":
            reader.feed(running.some())
    assert text_of(reader.frames, reply["id"]) == STORY
    assert reader.frames[0].seq > 5

    answer = output(in_session(whole), folder)
    assert '"content":"Thank you. And shorter?"' in answer
    assert newest_reply(server)["status"] == "completed"


@FRONT_ENDS
def test_a_front_end(start: Start, folder: Path, front_end: Callable[[Path, ServerProcess], list[str]]) -> None:
    server = start(QUICK)
    assert output(front_end(folder, server), folder) == STORY
    assert newest_reply(server)["content"] == STORY


@FRONT_ENDS
def test_a_front_end_never_loses_a_reply(
    start: Start, folder: Path, front_end: Callable[[Path, ServerProcess], list[str]]
) -> None:
    """The server is killed while the reply is written, and comes back: all that was kept of it was shown, once."""
    server = start(STEADY)
    with Running(front_end(folder, server), folder) as running:
        shown = running.some()
        server.signal(signal.SIGKILL)
        server.ended()
        server.start()
        shown += running.rest()
    reply = newest_reply(server)
    assert reply["status"] == "interrupted"
    assert shown.decode() == reply["content"]


def test_in_the_terminal(
    start: Start, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    server = start("scripted:echo")
    monkeypatch.setenv("REJOINDER_URL", server.api.url)  # `rejoinder chat` as printed looks at the usual port
    monkeypatch.setenv("REJOINDER_MODEL", "scripted:echo")
    chat, ask = TERMINAL
    assert "Good evening" in output(shell(f"echo Good evening | {chat}"), folder)
    assert newest_reply(server)["content"] == "Good evening"
    assert output(shell(ask), folder) == "What is a fold?\n"


def test_from_a_script(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REJOINDER_MODEL", "scripted:echo")
    monkeypatch.chdir(folder)
    [call] = re.findall(r'`rejoinder\.ask\("(.+?)"\)`', README)
    assert rejoinder.ask(call) == call
    assert "".join(rejoinder.ask(call, stream=True)) == call
