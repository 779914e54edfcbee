"""The life of the local model's process: loading, failing to load, dying in the middle, and never outliving its parent."""

import asyncio
import contextlib
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import aclosing
from pathlib import Path

import pytest
from msgspec import structs

from rejoinder.abc import Chunk, TextChunk
from rejoinder.errors import Misconfigured, ProviderError
from rejoinder.llm import local, local_process
from rejoinder.llm.local import LocalProvider
from rejoinder.llm.local_process import LINE, MAIN, ModelProcess
from rejoinder.llm.model_files import ModelFiles, find_model
from rejoinder.testing.heard import asked, hear

HI = asked("hi", temperature=0, max_tokens=2)
ENDLESS = asked("Count from 1 to 10000.", temperature=0, max_tokens=400, logit_bias=[[2, False]])
"""The token that ends a turn is forbidden: it takes seconds."""
LOADED = 30.0
"""Seconds within which a model has loaded on a busy machine."""


linux = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")


@pytest.fixture
def gguf(tmp_path: Path) -> Path:
    """A place for a model that a test may fill with what it likes."""
    return tmp_path / "model.gguf"


@pytest.fixture
def never_loads(gguf: Path) -> Callable[[], ModelFiles]:
    """A model that loads for ever: a pipe that nobody writes to."""
    os.mkfifo(gguf)
    return at(gguf)


@pytest.fixture
def no_model(gguf: Path) -> Path:
    gguf.write_bytes(b"this is no model")
    return gguf


def mend(gguf: Path) -> None:
    gguf.unlink()
    gguf.symlink_to(find_model().gguf)


def at(gguf: Path) -> Callable[[], ModelFiles]:
    return lambda: structs.replace(find_model(), gguf=gguf)


def small(find: Callable[[], ModelFiles] = find_model) -> LocalProvider:
    return LocalProvider(slots=1, context=512, find=find)


def loading_models(parent: int) -> set[int]:
    """The children of a process that are about to load a model: they have its engine in memory. Told by Linux alone."""
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has ended
            ppid = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            if ppid == parent and "xllamacpp" in (folder / "maps").read_text():
                found.add(int(folder.name))
    return found


def wait_for_loading(parent: int) -> set[int]:
    deadline = time.monotonic() + LOADED
    while not (found := loading_models(parent)):
        assert time.monotonic() < deadline, "nothing is loaded"
        time.sleep(0.01)
    return found


def lives(pid: int) -> bool:
    """Whether it is there, and no zombie that its new parent has not met yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def pid_of(provider: LocalProvider) -> int:
    return provider._loading.result().process._process.pid


# --- loading -----------------------------------------------------------------------------------------------------


async def test_it_opens_at_once_and_the_first_prompt_waits_for_the_model(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "rejoinder.llm.local")
    began = time.monotonic()
    async with small() as provider:
        assert time.monotonic() - began < 0.5
        heard = await asyncio.gather(hear(provider, HI), hear(provider, HI))
        assert [each.error for each in heard] == [None, None]
    assert "loading the local model" in caplog.messages[0]
    assert "ready in" in caplog.messages[1]
    assert len(caplog.messages) == 2, "all who wait share one loading"


async def test_a_model_that_is_not_installed_keeps_it_from_opening() -> None:
    provider = LocalProvider(find=lambda: find_model(weights="no_such_weights"))
    with pytest.raises(Misconfigured, match="get-model"):
        await provider.__aenter__()


async def test_a_model_that_cannot_be_loaded_is_an_error_and_the_next_prompt_tries_again(
    no_model: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with small(at(no_model)) as provider:
        first = (await hear(provider, HI)).error
        assert first is not None
        assert (first.code, first.before_reply) == ("upstream_unavailable", True)
        assert str(no_model) not in first.detail
        attempts = caplog.text.count("did not start")
        assert attempts == 1, "nobody tries again by himself"
        again = await asyncio.gather(*(hear(provider, HI) for _ in range(2)))
        assert all(each.error for each in again)
        assert caplog.text.count("did not start") <= attempts + 2, "at most one attempt for a prompt"
        await asyncio.to_thread(mend, no_model)
        assert (await hear(provider, HI)).error is None


TALKATIVE = """\
import json, os, sys
sys.stdin.readline()
print("x" * 300_000, "y" * 10, "the last words", sep="\\n", end="", file=sys.stderr, flush=True)
print(json.dumps({"address": "http://127.0.0.1:1"}), flush=True)
os.close(2)
sys.stdin.read()
"""


async def test_what_the_child_says_may_have_lines_of_any_length(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "rejoinder.llm.local")
    main = tmp_path / "main.py"
    main.write_text(TALKATIVE)
    monkeypatch.setattr(local_process, "MAIN", main)
    child = await ModelProcess.start(find_model(), threads=1, slots=1, context=1)
    await asyncio.wait_for(asyncio.shield(child._log), 20)
    await child.stop()
    said = [message.removeprefix("llama.cpp: ") for message in caplog.messages if message.startswith("llama.cpp: ")]
    assert said == ["x" * LINE, "y" * 10, "the last words"]


async def test_a_model_that_takes_too_long_is_given_up(
    never_loads: Callable[[], ModelFiles], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local_process, "LOADING", 0.5)
    async with small(never_loads) as provider:
        error = (await hear(provider, HI)).error
    assert error is not None
    assert error.code == "upstream_unavailable"


@linux
async def test_a_prompt_that_waits_for_the_model_can_leave_and_takes_nobody_with_it(
    never_loads: Callable[[], ModelFiles],
) -> None:
    async with small(never_loads) as provider:
        loading = provider._loading
        waiting = [asyncio.create_task(hear(provider, HI)) for _ in range(2)]
        await asyncio.to_thread(wait_for_loading, os.getpid())
        waiting[0].cancel()
        await asyncio.wait({waiting[0]}, timeout=1)
        assert waiting[0].cancelled()
        assert provider._loading is loading and not loading.done()
        assert not waiting[1].done()
        waiting[1].cancel()
        await asyncio.wait(waiting)


@linux
async def test_closing_while_it_loads_is_quick_and_leaves_no_process(never_loads: Callable[[], ModelFiles]) -> None:
    provider = small(never_loads)
    await provider.__aenter__()
    waiting = asyncio.create_task(hear(provider, HI))
    children = await asyncio.to_thread(wait_for_loading, os.getpid())
    began = time.monotonic()
    await provider.__aexit__()
    assert time.monotonic() - began < 1
    assert not any(map(lives, children))
    async with asyncio.timeout(1):
        error = (await waiting).error
    assert error is not None
    assert error.code == "upstream_unavailable"


# --- dying -------------------------------------------------------------------------------------------------------


async def test_a_crash_ends_the_reply_with_what_came_and_the_next_prompt_is_answered() -> None:
    async with small() as provider:
        async with aclosing(provider.stream(ENDLESS)) as reads:
            said = [chunk for _ in range(3) for chunk in await anext(reads)]
            dead = pid_of(provider)
            os.kill(dead, signal.SIGKILL)
            with pytest.raises(ProviderError) as caught:
                await rest(reads)
        assert (caught.value.code, caught.value.before_reply) == ("upstream_incomplete", False)
        assert any(isinstance(chunk, TextChunk) for chunk in said)
        assert (await hear(provider, HI)).error is None
        assert pid_of(provider) != dead

        # one that died while nobody asked is found out as well
        process = provider._loading.result().process
        os.kill(pid_of(provider), signal.SIGKILL)
        assert await process.exited(10)
        assert (await hear(provider, HI)).error is None


# --- hanging -----------------------------------------------------------------------------------------------------


@pytest.fixture
async def hanging(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[LocalProvider]:
    """A model that has answered and then hangs, with what its process is asked thereafter."""
    monkeypatch.setattr(local, "SILENCE", 3.0)  # its first ping comes after two seconds
    async with small() as provider:
        assert (await hear(provider, HI)).error is None
        os.kill(pid_of(provider), signal.SIGSTOP)
        yield provider


async def test_one_that_hangs_is_replaced_for_the_next_prompt(
    hanging: LocalProvider, caplog: pytest.LogCaptureFixture
) -> None:
    hung = pid_of(hanging)
    error = (await hear(hanging, HI)).error
    assert error is not None and error.code == "upstream_timeout"
    assert (await hear(hanging, HI)).error is None
    assert pid_of(hanging) != hung
    assert [record.message for record in caplog.records if record.levelno >= logging.ERROR] == [
        "the local model hangs and is stopped; the next prompt loads it again"
    ]


async def test_one_that_hangs_in_the_middle_of_a_reply_is_replaced_too(hanging: LocalProvider) -> None:
    os.kill(pid_of(hanging), signal.SIGCONT)
    async with aclosing(hanging.stream(ENDLESS)) as reads:
        await anext(reads)
        os.kill(pid_of(hanging), signal.SIGSTOP)
        with pytest.raises(ProviderError) as caught:
            await rest(reads)
    assert caught.value.code == "upstream_stalled"
    assert (await hear(hanging, HI)).error is None


async def test_who_leaves_one_that_hangs_leaves_no_trap(
    hanging: LocalProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "IMPATIENCE", 0.5)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(hear(hanging, HI), 1)
    assert (await hear(hanging, HI)).error is None


async def test_one_that_reads_a_long_prompt_gives_signs_of_life(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "SILENCE", 3.0)
    long = asked("word " * 800, max_tokens=1)
    async with LocalProvider(threads=1, slots=1, context=1024) as provider:
        heard = await hear(provider, long)
        assert heard.error is None
        assert heard.reads > len(heard.chunks), "pings"


async def rest(reads: AsyncIterator[Sequence[Chunk]]) -> None:
    async for _ in reads:
        pass


# --- never without its parent ------------------------------------------------------------------------------------

PARENT = """
import asyncio, sys
from pathlib import Path
from msgspec import structs
from rejoinder.llm.local import LocalProvider
from rejoinder.llm.model_files import find_model
from rejoinder.testing.heard import asked, hear

async def main():
    async with LocalProvider(slots=1, context=512) as provider:
        heard = await hear(provider, asked("hi", temperature=0, max_tokens=20))
        child = provider._loading.result().process
        print(heard.error, child.address, flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


@contextlib.contextmanager
def parent() -> Iterator["subprocess.Popen[str]"]:
    with subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def listens(address: str) -> bool:
    host, port = address.removeprefix("http://").split(":")
    with socket.socket() as trying:
        return trying.connect_ex((host, int(port))) == 0


def test_the_model_dies_with_a_parent_that_was_killed() -> None:
    with parent() as process:
        assert process.stdout is not None
        error, address = process.stdout.readline().split()
        assert error == "None"
        assert listens(address)
        process.kill()
        process.wait()
        deadline = time.monotonic() + 5
        while listens(address):
            assert time.monotonic() < deadline, "the model outlived its parent"
            time.sleep(0.01)


@linux
def test_a_model_that_was_loading_dies_with_its_parent_too(never_loads: Callable[[], ModelFiles], gguf: Path) -> None:
    loading = PARENT.replace("slots=1,", "slots=1, find=lambda: structs.replace(find_model(), gguf=Path(sys.argv[1])),")
    with subprocess.Popen([sys.executable, "-c", loading, str(gguf)]) as process:
        try:
            children = wait_for_loading(process.pid)
        finally:
            process.kill()
    deadline = time.monotonic() + 5
    while any(map(lives, children)):
        assert time.monotonic() < deadline, "the model outlived its parent"
        time.sleep(0.01)


def test_the_end_of_its_pipe_ends_it_on_every_system() -> None:
    files = find_model()
    order = {"gguf": str(files.gguf), "threads": 1, "slots": 1, "context": 64, "name": "m", "key": "k"}
    with subprocess.Popen(
        [sys.executable, "-P", str(MAIN)],
        env=files.environment(os.environ),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as child:
        assert child.stdin and child.stdout
        child.stdin.write(json.dumps(order | {"parent": os.getpid()}).encode() + b"\n")
        child.stdin.flush()
        assert listens(json.loads(child.stdout.readline())["address"])
        child.send_signal(signal.SIGTERM)  # when it stops is its parent's business
        child.send_signal(signal.SIGINT)
        child.stdin.close()
        assert child.wait(LOADED) == 0
