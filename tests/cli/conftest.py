"""A command as its user starts it: a process, in a folder of its own."""

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from screen import COMMAND
from serving import ServerProcess


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., "subprocess.CompletedProcess[str]"]:
    def run(*arguments: str, stdin: str = "", **environment: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [*COMMAND, *arguments],
            cwd=tmp_path,
            env=os.environ | environment,
            input=stdin,
            check=False,
            capture_output=True,
            text=True,
            timeout=50,
        )

    return run


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    """A server on a SQLite file, which can be killed and started again at the same address."""
    process = ServerProcess(f"sqlite:///{tmp_path}/chat.db", tmp_path / "server.log")
    process.start()
    yield process
    process.close()
