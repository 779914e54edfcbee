"""What the tests of flat files run in processes of their own: `python files_children.py NAME URL …`."""

import asyncio
import importlib
import os
import random
import sys
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from files_script import SCRIPT, as_told, play, snapshot, take
from pens import KEY, OTHER, Pen, change, create, delta, log, reply, texts
from rejoinder.abc import Refused, Store
from rejoinder.errors import Misconfigured, StoreUnavailable
from rejoinder.stores import open_store, staging
from rejoinder.stores.files import commits as files_commits
from rejoinder.stores.files import keeper as files_keeper

KILLED = 7
"""The exit code of a process that was killed at a step."""


def tell(said: object) -> None:
    sys.stdout.write(f"{said}\n")
    sys.stdout.flush()


async def hold(url: str) -> None:
    """Holds the store until it is killed."""
    async with open_store(url) as store:
        pen = await Pen.of(store)
        await pen.write(create(replies=[reply(pen.lease)]))
        tell("held")
        await asyncio.sleep(3_600)


# --- killed between every two steps ------------------------------------------------------------------------------

CALLS = ("open", "fsync", "ftruncate", "replace", "unlink", "mkdir", "rmdir")


class Killer:
    """Kills this process before its `at`th call that changes something on the disk; each write counts twice."""

    def __init__(self, at: int) -> None:
        self._left = at
        for name in CALLS:
            setattr(os, name, self._counted(getattr(os, name)))
        os.pwrite = self._in_halves(os.pwrite)

    def step(self) -> None:
        self._left -= 1
        if self._left == 0:
            os._exit(KILLED)

    def _counted(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*args: Any, **kwargs: Any) -> Any:
            if call.__name__ != "open" or args[1] & os.O_CREAT:
                self.step()
            return call(*args, **kwargs)

        return counted

    def _in_halves(self, call: Callable[[int, Any, int], int]) -> Callable[[int, Any, int], int]:
        def in_halves(fd: int, data: Any, at: int) -> int:
            self.step()
            half = len(data) // 2
            if half:
                call(fd, data[:half], at)
                self.step()
            return half + call(fd, data[half:], at + half)

        return in_halves


def in_child(at: int, what: Callable[[], Coroutine[Any, Any, None]]) -> bool:
    """Runs it in a process that is killed at a step. Returns whether it came to that."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            Killer(at)
            asyncio.run(what())
            code = 0
        finally:
            os._exit(code)
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) in (0, KILLED)
    return os.waitstatus_to_exitcode(status) == KILLED


async def open_and_close(url: str) -> None:
    async with open_store(url):
        pass


def kill_everywhere(folder: str, option: str, stride: str, great: str) -> None:
    """The script, killed at every `stride`th of its steps, then a start that is killed as well, then one that is not.

    Which of the first steps it begins with is by chance, so that many runs come to all of them. Tells how many there are.
    """
    files_commits.ROTATE_BYTES = 0
    files_keeper.TICK = 0.002
    staging.GREAT = int(great)
    expected = asyncio.run(as_told())
    for at in count(random.randint(1, int(stride)), int(stride)):
        path = Path(folder) / str(at)
        url, told = f"files:///{path}{option}", path.with_suffix(".told")
        killed = in_child(at, partial(play, url, told))
        in_child(1 + at % 13, partial(open_and_close, url))
        asyncio.run(came_to(url, len(told.read_bytes()) if told.exists() else 0, expected))
        check_index(path, url, expected)
        if not killed:
            break
    tell(at)


async def came_to(url: str, done: int, expected: list[object]) -> None:
    """The store is as after what was acknowledged, or as after what came next; and it goes on."""
    async with open_store(url) as store:
        state = await snapshot(store)
        assert state in expected[done : done + 2], (done, state, expected[done : done + 2])
        done = len(expected) - 1 - expected[::-1].index(state)
        pen = await Pen.of(store)
        for step in SCRIPT[done:]:
            await take(store, pen, step)
        assert await snapshot(store) == expected[-1]


def check_index(folder: Path, url: str, expected: list[object]) -> None:
    """Closed, a store is its sessions and an index that says no more than they do."""
    assert not list(folder.glob("**/*.tmp"))
    assert not list(folder.glob("journal/*"))
    (folder / "index.jsonl").unlink()

    async def same() -> None:
        async with open_store(url) as store:
            assert await snapshot(store) == expected[-1]

    asyncio.run(same())


# --- full --------------------------------------------------------------------------------------------------------


def limit_files(size: int | None) -> None:
    """No file may grow beyond it any more, as with a full disk or a quota."""
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard if size is None else size, hard))


async def fails(call: Callable[[], Awaitable[object]]) -> None:
    with pytest.raises(StoreUnavailable) as told:
        await call()
    assert isinstance(told.value.__cause__, OSError)


def largest(folder: Path) -> int:
    return max((path.stat().st_size for path in folder.glob("**/*.jsonl")), default=0)


async def fill(url: str, where: str) -> None:
    """The disk is full for a while: the journal cannot grow, or it can and the files of the sessions cannot."""
    folder = Path(url.removeprefix("files:///"))
    if where == "sessions":
        async with open_store(url) as store:
            await (await Pen.of(store)).made(create(Key3, *[delta("x" * 10_000).drafts[0]] * 3))
    async with open_store(url) as store:
        pen = await Pen.of(store)
        await pen.made(create(KEY), change(KEY, 1), create(OTHER))
        before = await log(store), await store.header(KEY)
        batch = (delta("b", OTHER), change(KEY, 2), delta("x" * 9_000, Key3 if where == "sessions" else KEY))
        limit_files(largest(folder) + 5_000)
        pen.number += 1
        for _ in range(3):
            await fails(lambda: pen.again(*batch))
            assert (await log(store), await store.header(KEY)) == before
            assert len(await log(store, OTHER)) == 1
        await pings_until_full(store)
        limit_files(None)
        await store.ping()
        results = await pen.again(*batch)
        assert await pen.again(*batch) == results
        assert len(await log(store, OTHER)) == 2
        kept = await log(store), await log(store, OTHER)
    async with open_store(url) as store:
        assert (await log(store), await log(store, OTHER)) == kept


Key3 = KEY._replace(session_id="ses_3")


async def pings_until_full(store: Store) -> None:
    """What is left of the limit takes a few small writes yet."""
    for _ in range(200):
        try:
            await store.ping()
        except StoreUnavailable:
            return
    raise AssertionError("the store said that it could be written")


# --- without the right to write ----------------------------------------------------------------------------------


def become_nobody() -> None:
    """Root may write everything. Nobody may not read what is in root's home, where this checkout may be."""
    importlib.import_module("rejoinder.stores.files.store")
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)


async def may_not_write_one_file(url: str) -> None:
    """One session's file loses its mode: before a commit, and while the service is down."""
    become_nobody()
    folder = Path(url.removeprefix("files:///"))
    file, journal = folder / "sessions/ann/ses_1.jsonl", folder / "journal"
    files_commits.ROTATE_BYTES, files_keeper.TICK, files_keeper.PAUSE = 0, 0.002, 0.002

    async def served(store: Store, pen: Pen) -> None:
        for text in ("before", "after"):
            await pen.made(delta(text, OTHER))
            await store.ping()
            with pytest.raises(StoreUnavailable, match=r"ses_1\.jsonl cannot be written: Permission denied"):
                await store.header(KEY)
        for _ in range(2_000):
            if len(list(journal.iterdir())) == 1:
                return
            await asyncio.sleep(0.002)
        raise AssertionError("what is durable in the files goes, as always")

    async with open_store(url) as store:
        pen = await Pen.of(store)
        await pen.made(create(KEY), create(OTHER), delta("a"))
        file.chmod(0o400)
        await pen.made(delta("b"), delta("c", OTHER))
        await served(store, pen)
        assert await pen.write(delta("d")) == [Refused("missing")]
    for _ in range(2):
        async with open_store(url) as store:
            assert [header.session.id for header in await store.sessions("ann", after=None, limit=9)] == ["ses_2"]
            await served(store, await Pen.of(store))
    file.chmod(0o600)
    async with open_store(url) as store:
        assert (await texts(store))[1:] == [b'{"text":"a"}', b'{"text":"b"}'], "it was acknowledged"
        await (await Pen.of(store)).made(delta("e"))
    assert not list(journal.iterdir())


def find_no_right_to_write(url: str) -> None:
    """Makes a store, takes away the right to write in its folders, and opens it again."""
    folder = Path(url.removeprefix("files:///"))

    async def made() -> None:
        async with open_store(url) as store:
            await (await Pen.of(store)).made(create())

    asyncio.run(made())
    for path in (folder, *folder.glob("**/*")):
        path.chmod(0o555 if path.is_dir() else 0o444)
    (folder / "lock").chmod(0o666)
    become_nobody()
    before = contents(folder)
    with pytest.raises(Misconfigured, match=str(folder)):
        asyncio.run(open_and_close(url))
    assert contents(folder) == before


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.glob("**/*")
        if path.is_file() and path.name != "lock"
    }


if __name__ == "__main__":
    done = globals()[sys.argv[1]](*sys.argv[2:])
    if done is not None:
        asyncio.run(done)
