"""The child process of the local model, as its parent sees it: starting, ready, dead, stopped.

The model lives in a process of its own because it computes in native threads that cannot be cut short, and may crash:
so a stop is a kill, and a crash costs the replies in it and nothing else. `local_main` is the other side.
"""

import asyncio
import contextlib
import json
import logging
import os
import secrets
import sys
import time
from collections import deque
from pathlib import Path
from typing import Self

from rejoinder.errors import ProviderError
from rejoinder.llm.local_prompt import MODEL
from rejoinder.llm.model_files import COMMAND, ModelFiles

logger = logging.getLogger("rejoinder.llm.local")

MAIN = Path(__file__).with_name("local_main.py")
LOADING = 120.0
"""Seconds for which a model may load. It takes 1 to 3, and tens where the disk is slow and cold."""

READ = 64 << 10
LINE = 2_000
"""Bytes that are read at once of what the child says, and those that are kept of a line."""


class ModelProcess:
    """A model that is loaded. Made by `start`."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.key = secrets.token_urlsafe(24)
        self.address = ""
        """`http://host:port`."""
        self._process = process
        self._killed = False
        self._last_words: deque[str] = deque(maxlen=5)
        self._log = asyncio.create_task(self._keep_log())

    @classmethod
    async def start(cls, files: ModelFiles, *, threads: int, slots: int, context: int) -> Self:
        """Starts a child and returns when it answers prompts. Raises ProviderError `upstream_unavailable`.

        Cancelling stops it.
        """
        logger.info("loading the local model %s (%d threads)", files.gguf.stem, threads)
        began = time.monotonic()
        child = cls(await _spawn(files.environment(os.environ)))
        order = {"gguf": str(files.gguf), "threads": threads, "slots": slots, "context": context}
        try:
            await child._load(order)
        except BaseException:
            await child.stop()
            raise
        logger.info("the local model is ready in %.1f s", time.monotonic() - began)
        return child

    @property
    def alive(self) -> bool:
        return self._process.returncode is None and not self._killed

    async def exited(self, patience: float) -> bool:
        """Whether it is dead, or will be within so many seconds: its sockets close before its death is known."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._process.wait(), patience)
        return not self.alive

    def kill(self) -> None:
        """It keeps nothing that could be lost."""
        self._killed = True
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()

    async def stop(self) -> None:
        """Kills it and waits until it is gone."""
        self.kill()
        await self._process.wait()
        await self._log

    async def _load(self, order: dict[str, object]) -> None:
        assert self._process.stdin and self._process.stdout
        order |= {"name": MODEL, "key": self.key, "parent": os.getpid()}
        try:
            async with asyncio.timeout(LOADING):
                self._process.stdin.write(json.dumps(order).encode() + b"\n")
                answer = await self._process.stdout.readline()
        except TimeoutError:
            logger.error("the local model did not load within %.0f s", LOADING)  # noqa: TRY400 - there is no more to tell
            raise _unavailable(f"The local model did not load within {LOADING:.0f} s.") from None
        if not answer.endswith(b"\n"):
            await self.stop()  # and with it the log is whole
            words = " / ".join(self._last_words) or "it said nothing"
            logger.error("the local model did not start: %s (missing libraries: try `%s`)", words, COMMAND)
            raise _unavailable("The local model did not start; the log of the service says why.")
        self.address = json.loads(answer)["address"]

    async def _keep_log(self) -> None:
        assert self._process.stderr
        rest = b""
        while data := await self._process.stderr.read(READ):  # not by lines, whose length is the child's affair
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                self._note(line)
            rest = rest[:LINE]
        if rest:
            self._note(rest)

    def _note(self, line: bytes) -> None:
        text = line[:LINE].decode(errors="replace").rstrip()
        self._last_words.append(text)
        logger.debug("llama.cpp: %s", text)


async def _spawn(environment: dict[str, str]) -> asyncio.subprocess.Process:
    try:
        return await asyncio.create_subprocess_exec(
            # -P: the folder of the file that is run holds modules named like packages, and must not be searched.
            *(sys.executable, "-P", str(MAIN)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=environment,
            start_new_session=True,  # a Ctrl-C is for the parent, which lets replies end first
        )
    except OSError as fault:  # no memory, no more processes, no files
        logger.error("the local model did not start: %s", fault)  # noqa: TRY400 - the fault is the system's
        raise _unavailable("The local model did not start; the log of the service says why.") from fault


def _unavailable(detail: str) -> ProviderError:
    return ProviderError("upstream_unavailable", detail, before_reply=True)


def usable_threads() -> int:
    """The threads to compute with: a processor is left to the service, and a model this small gains nothing past four.

    Never more than there are processors: each thread waits for all others a hundred times a token. On two shared cores two
    threads gave 93 tokens/s when nothing else ran, and fewer than 1 beside one busy neighbour; one thread gave 78 and 65.
    """
    return max(1, min(4, _processors() - 1))


def _processors() -> int:
    here = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    try:  # the quota of a container: Linux' cgroup v2, which a container sees as its root
        limit, period = Path("/sys/fs/cgroup/cpu.max").read_text(encoding="ascii").split()
        return min(here, int(limit) // int(period))
    except (OSError, ValueError):  # no such file, or "max"
        return here
