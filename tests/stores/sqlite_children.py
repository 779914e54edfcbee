"""What the tests of SQLite run in processes of their own: `python sqlite_children.py NAME URL …`."""

import asyncio
import os
import sqlite3
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from pens import KEY, OTHER, Pen, change, create, delta, log, reply, said
from rejoinder.abc import Append, Store
from rejoinder.entities import Key
from rejoinder.errors import Misconfigured, StoreUnavailable
from rejoinder.stores import open_store

KEYS = [Key("ann", f"ses_{number}") for number in range(4)]


def tell(said: object) -> None:
    sys.stdout.write(f"{said}\n")
    sys.stdout.flush()


async def write_for_ever(url: str) -> None:
    """Each batch appends two events to each of four sessions; its count is told once it is acknowledged."""
    tell("opening")
    async with open_store(url) as store:
        pen = await Pen.of(store)
        await pen.write(*(create(key) for key in KEYS))
        done = (len(await log(store)) - 1) // 2
        while True:
            done += 1
            await pen.made(*(Append(key=key, drafts=(said(str(done)), said("x" * 5_000))) for key in KEYS))
            tell(done)


async def hold(url: str) -> None:
    """Holds the store until it is killed."""
    async with open_store(url) as store:
        pen = await Pen.of(store)
        await pen.write(create(replies=[reply(pen.lease)]))
        tell("held")
        await asyncio.sleep(3_600)


async def fill(url: str) -> None:
    """The disk is full for a while: no file may grow any more, as with a quota."""
    import resource

    log_ahead = url.removeprefix("sqlite:///") + "-wal"
    async with open_store(url) as store:
        pen = await Pen.of(store)
        await pen.made(create(KEY), change(KEY, 1, said("a")), create(OTHER))
        before = await log(store), await store.header(KEY)
        _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size(log_ahead) + 20_000, hard))
        batch = (delta("b", OTHER), change(KEY, 2, said("x" * 1_000_000)), delta("c", KEY))
        pen.number += 1
        for _ in range(3):
            await fails(lambda: pen.again(*batch))
            assert (await log(store), await store.header(KEY)) == before
            assert len(await log(store, OTHER)) == 1
        await pings_until_full(store)
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        await store.ping()
        results = await pen.again(*batch)
        assert await pen.again(*batch) == results
        assert [len(await log(store, key)) for key in (KEY, OTHER)] == [4, 2]


def size(path: str) -> int:
    return Path(path).stat().st_size


async def pings_until_full(store: Store) -> None:
    """What is left of the limit takes a few small writes yet."""
    for _ in range(100):
        try:
            await store.ping()
        except StoreUnavailable:
            return
    raise AssertionError("the store said that it could be written")


async def find_no_right_to_write(url: str, what: str) -> None:
    """Makes a store, takes away the right to write it, and opens it again."""
    path = Path(url.removeprefix("sqlite:///"))
    async with open_store(url):
        pass
    before = make_read_only(path, what)
    with pytest.raises(Misconfigured, match=str(path)):
        async with open_store(url):
            pass
    assert before == make_read_only(path, what)


def make_read_only(path: Path, what: str) -> bytes:
    """The file alone, or also its folder; and the file's content."""
    if os.access(path, os.W_OK):
        path.with_name("chat.db.lock").chmod(0o666)
        path.chmod(0o444)
        path.parent.chmod(0o555 if what == "folder" else 0o777)
    if os.geteuid() == 0:
        # Root may write everything, so this process becomes nobody.
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)
    return path.read_bytes()


async def fails(call: Callable[[], Awaitable[object]]) -> None:
    with pytest.raises(StoreUnavailable) as told:
        await call()
    assert isinstance(told.value.__cause__, sqlite3.Error)


if __name__ == "__main__":
    asyncio.run(globals()[sys.argv[1]](*sys.argv[2:]))
