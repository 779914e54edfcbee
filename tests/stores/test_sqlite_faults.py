"""A SQLite store when things break: nothing acknowledged is lost, nothing is half done, and it recovers by itself."""

import asyncio
import contextlib
import os
import random
import resource
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from pens import KEY, NOON, OTHER, Pen, create, delta, log, row, said
from rejoinder.abc import Append, Store, Text
from rejoinder.entities import Key
from rejoinder.errors import StoreUnavailable
from rejoinder.stores import open_store, staging
from rejoinder.stores.sqlite import growth
from rejoinder.stores.sqlite import threads as sqlite_threads
from rejoinder.stores.sqlite.threads import SqliteThreads
from rejoinder.stores.threads import READERS
from sqlite_children import KEYS

CHILDREN = Path(__file__).with_name("sqlite_children.py")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "chat.db"


def at(path: Path) -> Store:
    return open_store(f"sqlite:///{path}")


# --- killed ------------------------------------------------------------------------------------------------------


def killed(path: Path, seconds: float, *, opening: bool = False) -> int:
    """Lets a process write for a while and kills it; the last batch that it was told is committed (0: none)."""
    command = [sys.executable, str(CHILDREN), "write_for_ever", f"sqlite:///{path}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "opening\n"
        if not opening:
            assert writer.stdout.readline().strip().isdigit()
        time.sleep(seconds)
        writer.kill()
        # A torn last line is no acknowledgement that anyone read.
        lines = [line for line in writer.stdout if line.endswith("\n")]
    return int(lines[-1]) if lines else 0


async def done_batches(path: Path) -> int:
    """How many batches are there, each whole in all four sessions."""
    async with at(path) as store:
        texts = [[event.data for event in await log(store, key)] for key in KEYS]
        counts = {len(text) for text in texts}
        assert len(counts) == 1
        done = max(0, counts.pop() - 1) // 2
        expected = [said(text).data for number in range(1, done + 1) for text in (str(number), "x" * 5_000)]
        assert all(text[1:] == expected for text in texts)
        return done


@pytest.mark.crash
def test_a_kill_loses_nothing_acknowledged_and_leaves_nothing_half_done(path: Path) -> None:
    for _ in range(5):
        acknowledged = killed(path, random.uniform(0, 0.15))
        done = asyncio.run(done_batches(path))
        # The last batch may have been committed just before it could be told.
        assert done >= acknowledged
        assert sqlite_is_sound(path)


@pytest.mark.crash
def test_a_kill_while_a_new_store_is_made_leaves_one_that_opens(tmp_path: Path) -> None:
    for number in range(4):
        path = tmp_path / f"{number}.db"
        acknowledged = killed(path, random.uniform(0, 0.02), opening=True)
        assert asyncio.run(done_batches(path)) >= acknowledged
        assert sqlite_is_sound(path)


def sqlite_is_sound(path: Path) -> bool:
    with closing(sqlite3.connect(path)) as connection:
        return bool(connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)])


# --- full, locked, broken ----------------------------------------------------------------------------------------


@pytest.mark.skipif(sys.platform == "win32", reason="limits of processes are POSIX")
def test_a_full_disk_is_told_and_gone_when_there_is_room_again(path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(CHILDREN), "fill", f"sqlite:///{path}"],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert sqlite_is_sound(path)


async def test_while_another_program_locks_the_file_it_can_be_read_and_not_written(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_threads, "BUSY", 0.3)
    known, new = (Text(message_id=f"msg_{word}", words=word, at=NOON) for word in ("known", "new"))
    async with at(path) as store:
        pen = await Pen.of(store)
        await pen.made(create(), Append(key=KEY, drafts=(), texts=(known,)))
        assert len(await store.search("ann", ["known"], limit=9)) == 1
        await pen.made(Append(key=KEY, drafts=(), texts=(new,)))
        pen.number += 1
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            for call in (pen.again(delta()), store.ping()):
                with pytest.raises(StoreUnavailable, match="locked") as told:
                    await call
                assert isinstance(told.value.__cause__, sqlite3.OperationalError)
            assert len(await log(store)) == 1
            assert [len(await store.search("ann", [word], limit=9)) for word in ("known", "new")] == [1, 0]
            # Others have their turn meanwhile.
            writing, began = asyncio.create_task(pen.again(delta())), asyncio.get_running_loop().time()
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            assert asyncio.get_running_loop().time() < began + 0.2
            with pytest.raises(StoreUnavailable, match="locked"):
                await writing
            monkeypatch.setattr(sqlite_threads, "BUSY", 30.0)
            writing = asyncio.create_task(pen.again(delta()))
            await asyncio.sleep(0.1)
            other.execute("ROLLBACK")
        await writing
        await store.ping()
        assert len(await log(store)) == 2
        assert len(await store.search("ann", ["new"], limit=9)) == 1


async def test_texts_that_could_not_be_learnt_are_learnt_later(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(self: SqliteThreads, result: object) -> object:
        with self._all_or_nothing():
            raise sqlite3.OperationalError("disk I/O error")

    async with at(path) as store:
        text = Text(message_id="msg_1", words="word", at=NOON)
        await (await Pen.of(store)).made(create(), Append(key=KEY, drafts=(), texts=(text,)))
        with monkeypatch.context() as broken:
            broken.setattr(SqliteThreads, "_committed", failing)
            assert await store.search("ann", ["word"], limit=9) == []
        assert len(await store.search("ann", ["word"], limit=9)) == 1


async def test_what_was_staged_of_an_import_that_failed_is_dropped_when_there_is_room_again(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a start."""
    full = False

    def failing(self: SqliteThreads, result: object, work: Any = SqliteThreads._committed) -> object:
        with self._all_or_nothing():
            if full and left() >= 20:
                raise sqlite3.OperationalError("database or disk is full")
        return work(self, result)

    def left() -> int:
        with closing(sqlite3.connect(path)) as connection:
            [count] = connection.execute("SELECT count(*) FROM events").fetchone()
        return int(count)

    monkeypatch.setattr(sqlite_threads, "LATER", 0.01)
    for name, value in (("GREAT", 1_000), ("PIECE", 3_000), ("PAUSES", (0.01,))):
        monkeypatch.setattr(staging, name, value)
    monkeypatch.setattr(SqliteThreads, "_committed", failing)
    async with at(path) as store:
        pen = await Pen.of(store)
        full = True
        with pytest.raises(StoreUnavailable, match="full"):
            await store.stage(pen.lease, create(KEY, *(said("x" * 100) for _ in range(100))))
        await asyncio.sleep(0.03)
        assert left() >= 20
        full = False
        async with asyncio.timeout(2):
            while left():  # noqa: ASYNC110  # the writer's affair
                await asyncio.sleep(0.01)


def break_page(path: Path, holding: bytes) -> None:
    data = path.read_bytes()
    place = data.index(holding)
    start = place - place % 4096
    path.write_bytes(data[:start] + b"\xa5" * 4096 + data[start + 4096 :])


async def test_a_broken_page_is_told(path: Path) -> None:
    async with at(path) as store:
        pen = await Pen.of(store)
        await pen.made(create())
        for number in range(100):
            await pen.made(delta(f"{number}" + "x" * 3_000))
    break_page(path, b'{"text":"70xxx')
    async with at(path) as store:
        assert len(await store.events(KEY, after=0, until=10)) == 10
        with pytest.raises(StoreUnavailable, match="malformed"):
            await log(store)


async def test_a_batch_that_fails_half_way_is_not_done(path: Path) -> None:
    """What we ask wrongly is no StoreUnavailable: asking again would never help."""
    async with at(path) as store:
        pen = await Pen.of(store)
        await pen.made(create(KEY), create(OTHER))
        twice = Append(key=OTHER, drafts=(said(),), created=(row("msg_1"), row("msg_1")))
        with pytest.raises(sqlite3.IntegrityError):
            await pen.write(delta(), create(Key("ann", "ses_3")), twice)
        assert await store.header(Key("ann", "ses_3")) is None
        results = [await pen.again(delta("a"), delta("b")) for _ in range(2)]
        assert results[0] == results[1]
        assert len(await log(store)) == 3
        assert len(await log(store, OTHER)) == 1


async def close_while_writing(path: Path, text: str) -> None:
    async with at(path) as store:
        pen = await Pen.of(store)
        await pen.write(create())
        writing = [asyncio.create_task(pen.made(delta(text))) for _ in range(20)]
        await asyncio.sleep(0.001)
    assert len(await asyncio.gather(*writing)) == 20


async def test_closing_waits_for_what_was_begun(path: Path) -> None:
    for number in range(5):
        await close_while_writing(path, str(number))
    async with at(path) as store:
        assert len(await log(store)) == 1 + 5 * 20


async def test_a_deletion_that_is_committed_is_done_whatever_becomes_of_what_it_leaves(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_: object) -> bool:
        raise sqlite3.OperationalError("database is locked")

    monkeypatch.setattr(growth, "DROPPED", 1)  # it takes several portions
    async with at(path) as store:
        pen = await Pen.of(store)
        text = Text(message_id="msg_1", words="orchid", at=NOON)
        await pen.made(create(), Append(key=KEY, drafts=(said("orchid " * 100),) * 3, texts=(text,)))
        assert await store.search("ann", ["orchid"], limit=1)
        with monkeypatch.context() as broken:
            broken.setattr(growth, "drop_some", failing)
            assert await store.delete(KEY, 1)
        assert await store.header(KEY) is None
        # The next work of the kind goes on with it.
        await store.compact(OTHER, [], [])
        assert b"orchid" not in on_disk(path)


def on_disk(path: Path) -> bytes:
    return path.read_bytes() + path.with_name(path.name + "-wal").read_bytes()


# --- no further file -----------------------------------------------------------------------------------------------


@contextmanager
def no_further_file() -> Iterator[None]:
    """As where all files that a process may open are connections of its clients."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken: list[int] = []
    taken.append(os.dup(0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (taken[0] + 64, before[1]))
    try:
        with contextlib.suppress(OSError):
            while True:
                taken.append(os.dup(0))
        yield
    finally:
        for fd in taken:
            os.close(fd)
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


async def test_a_store_that_is_open_needs_no_further_file(path: Path) -> None:
    async with at(path) as store:
        pen = await Pen.of(store)
        await pen.made(create())
        with no_further_file():
            with pytest.raises(OSError, match="open files"):
                path.open("rb")
            assert await store.header(KEY) is not None
            for _ in range(2 * READERS):
                assert len(await store.sessions(KEY.owner, after=None, limit=10)) == 1
            await pen.made(delta())
