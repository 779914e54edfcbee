"""Ctrl-C: it stops what it is pressed for, keeps what there is, and never holds anyone."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from rejoinder.cli import main
from rejoinder.testing.upstream import ScriptedUpstream
from screen import COMMAND, Screen
from serving import ServerProcess

LONG = "/script tokens=5000 pace=0.02"


def test_while_a_command_is_being_loaded_it_leaves_without_a_word(monkeypatch: pytest.MonkeyPatch) -> None:
    class Pressed(ModuleType):
        def __getattr__(self, name: str) -> Any:
            raise KeyboardInterrupt

    monkeypatch.setitem(sys.modules, "rejoinder.cli.entry", Pressed("rejoinder.cli.entry"))
    with pytest.raises(SystemExit) as done:
        main()
    assert done.value.code == 130


async def test_while_asking_it_closes_the_upstream(tmp_path: Path) -> None:
    async with ScriptedUpstream() as upstream:
        process = await asyncio.create_subprocess_exec(
            *(*COMMAND, "ask", "--model", "openai:m", LONG),
            cwd=tmp_path,
            env=os.environ | {"OPENAI_BASE_URL": upstream.base_url},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        assert process.stdout is not None
        await process.stdout.readuntil(b"t3")
        process.send_signal(signal.SIGINT)
        record = await upstream.ended(within=20)
        _, errors = await process.communicate()
    assert (record.end, process.returncode, errors) == ("client left", 130, b"")


def test_in_a_pipe_it_stops_the_reply_and_sends_no_more(tmp_path: Path, server: ServerProcess) -> None:
    sid = server.api.session()
    command = [*COMMAND, "chat", "--url", server.api.url, "--session", sid]
    with subprocess.Popen(command, cwd=tmp_path, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(f"{LONG}\nand this\n".encode())
        process.stdin.close()
        shown = b""
        while b"t3" not in shown:
            shown += os.read(process.stdout.fileno(), 65536)
        process.send_signal(signal.SIGINT)
        shown += process.stdout.read()
        assert process.wait(20) == 130
    asked, reply = server.api.history(sid)["data"]
    assert (asked["content"], reply["status"]) == (LONG, "stopped")
    assert shown.decode() == f"{reply['content']}\n"


def test_an_import_that_waits_for_its_file_ends_at_the_first_one(tmp_path: Path) -> None:
    with subprocess.Popen(
        [*COMMAND, "import", "-"], cwd=tmp_path, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdin is not None and process.stderr is not None
        process.stdin.write(b" " * (1 << 20))  # far more than a pipe holds, so it is being read
        process.stdin.flush()
        process.send_signal(signal.SIGINT)
        try:
            assert process.wait(20) == 130
        finally:
            process.kill()
        assert b"Traceback" not in process.stderr.read()


@pytest.fixture
def live(server: ServerProcess) -> Iterator[Screen]:
    """A chat that is opened while a reply is being written in its session, and reads on."""
    sid = server.api.session()
    server.api.send_async(sid, LONG)
    screen = Screen("chat", "--url", server.api.url, "--session", sid)
    screen.until("t20 ")
    yield screen
    screen.close()


def test_a_reply_that_was_there_before_the_chat_is_read_on_and_stopped(live: Screen, server: ServerProcess) -> None:
    live.press_ctrl_c()
    live.until("[stopped]")
    live.until("> ")
    live.press_ctrl_c_until("Ctrl-D leaves.")
    live.until("> ")
    live.type("/histroy\n")
    live.until("There is no /histroy.")
    live.until("> ")  # before that, the terminal itself would take a Ctrl-D
    live.type("\x04")
    assert live.process.wait(20) == 0
    [session] = server.api.get("/sessions").json()["data"]
    assert server.api.history(session["id"])["data"][1]["status"] == "stopped"


def test_a_second_one_leaves_where_the_server_stays_away(live: Screen, server: ServerProcess) -> None:
    server.signal(signal.SIGKILL)
    server.ended()
    live.until("the server is away")
    live.press_ctrl_c()
    live.until("Ctrl-C again")
    live.press_ctrl_c()
    live.until("[left: ")
    live.until("> ")
    live.type("/quit\n")
    assert live.process.wait(20) == 0
