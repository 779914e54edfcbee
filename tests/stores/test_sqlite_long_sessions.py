"""Long sessions in a SQLite store: they come and go by portions, between which others write, and are there or gone at once."""

import asyncio
import sqlite3
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from pens import KEY, NOON, OTHER, Pen, create, delta, header, log, long_session
from rejoinder.abc import Append, Refused, Store, Text
from rejoinder.errors import LeaseLost
from rejoinder.stores import open_store, staging
from rejoinder.stores.sql import migrations
from rejoinder.stores.sqlite import growth
from rejoinder.stores.sqlite import store as sqlite
from rejoinder.stores.sqlite.file import teach


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "chat.db"


def at(path: Path) -> Store:
    return open_store(f"sqlite:///{path}")


TABLES = ("unseen", "events", "messages", "texts", "word_index", "new_texts", "staged_texts")


def left_of(path: Path) -> dict[str, int]:
    """How many rows the tables have, where they have any."""
    with closing(sqlite3.connect(path)) as connection:
        counts = {table: connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in TABLES}
        return {table: count for table, count in counts.items() if count}


@pytest.fixture
def short_is_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(staging, "GREAT", 1_000)
    monkeypatch.setattr(staging, "PIECE", 3_000)
    monkeypatch.setattr(growth, "DROPPED", 20)
    monkeypatch.setattr(growth, "FORGOTTEN", 20)


async def imported(store: Store, pen: Pen, append: Append) -> None:
    await pen.made(await store.stage(pen.lease, append))


@pytest.mark.usefixtures("short_is_long")
async def test_others_write_while_a_long_session_is_imported_and_deleted(path: Path) -> None:
    async with at(path) as store:
        pen = await Pen.of(store)
        await pen.made(create(OTHER))
        for work in (lambda: store.stage(pen.lease, long_session()), lambda: store.delete(KEY, 1)):
            doing = asyncio.create_task(work())
            states = list[dict[str, int]]()
            while not doing.done():
                await pen.made(delta("", OTHER))
                states.append(left_of(path))
            assert len({state["events"] - len(states) for state in states}) > 3, "it was done at once"
            if isinstance(staged := await doing, Append):
                assert await store.header(KEY) is None
                await pen.made(staged)
                assert len(await store.search("ann", ["secret"], limit=99)) == 60
        assert left_of(path) == {"events": len(await log(store, OTHER))}


@pytest.mark.usefixtures("short_is_long")
async def test_a_deletion_is_answered_before_all_is_dropped_that_takes_long(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else nobody would be there any more to hear it."""
    monkeypatch.setattr(sqlite, "OVERWRITING", 0.01)
    goes_on = threading.Event()

    def slowly(connection: sqlite3.Connection, *args: Any, work: Any = growth.drop_some) -> bool:
        goes_on.wait(10)
        return bool(work(connection, *args))

    async with at(path) as store:
        pen = await Pen.of(store)
        await pen.made(long_session())
        monkeypatch.setattr(growth, "drop_some", slowly)
        async with asyncio.timeout(1):
            assert await store.delete(KEY, 1)
        assert await store.header(KEY) is None
        assert left_of(path)["events"] == 60
        goes_on.set()
        async with asyncio.timeout(2):
            while left_of(path):  # noqa: ASYNC110  # the writer's affair
                await asyncio.sleep(0.01)


@pytest.mark.usefixtures("short_is_long")
@pytest.mark.parametrize("portions", [0, 1, 3])
async def test_a_deletion_that_was_broken_off_is_finished_by_the_next_start(
    path: Path, monkeypatch: pytest.MonkeyPatch, portions: int
) -> None:
    """As by a kill. Whoever makes the session again meanwhile has a new one, which keeps what it has."""
    done = list[int]()

    def broken_off(connection: sqlite3.Connection, *args: Any, work: Any = growth.drop_some) -> bool:
        if len(done) == portions:
            raise sqlite3.OperationalError("killed")
        done.append(0)
        return bool(work(connection, *args))

    async with at(path) as store:
        pen = await Pen.of(store)
        await imported(store, pen, long_session())
        await store.search("ann", ["secret"], limit=1)
        with monkeypatch.context() as broken:
            broken.setattr(growth, "drop_some", broken_off)
            assert await store.delete(KEY, 1)
            again = long_session(word="again", count=3)
            await pen.made(again)
            await store.release_lease(pen.lease)
    assert len(done) == portions
    for _ in range(2):
        async with at(path) as store:
            assert await store.search("ann", ["secret"], limit=9) == []
            assert [event.data for event in await log(store)] == [draft.data for draft in again.drafts]
            assert len(await store.created(KEY, after=0, before=99, limit=99)) == 3
            assert len(await store.search("ann", ["again"], limit=9)) == 3
            for _ in range(15):
                await store.ping()
        assert left_of(path) == {"events": 3, "messages": 3, "texts": 3, "word_index": 3}


@pytest.mark.usefixtures("short_is_long")
async def test_what_was_staged_in_vain_is_dropped_at_the_latest_at_the_next_start(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def pings(store: Store) -> dict[str, int]:
        for _ in range(15):
            await store.ping()
        return left_of(path)

    async with at(path) as store:
        pen, other = await Pen.of(store), await Pen.of(store, "other")
        staged = await store.stage(pen.lease, long_session())
        await pen.made(create(KEY))
        assert await pen.write(staged) == [Refused("exists")]
        assert await pings(store) == {"events": 1}
        await store.stage(other.lease, long_session(OTHER))
        await store.release_lease(other.lease)
        assert await pings(store) == {"events": 1}
        # In the middle of it.
        for end in (asyncio.CancelledError, LeaseLost):
            other = await Pen.of(store, "other")
            staging_it = asyncio.create_task(store.stage(other.lease, long_session(OTHER)))
            while left_of(path).get("events", 0) < 20:
                await store.ping()
            if end is LeaseLost:
                await store.release_lease(other.lease)
            else:
                staging_it.cancel()
            with pytest.raises(end):
                await staging_it
            assert await pings(store) == {"events": 1}
        await store.stage(pen.lease, long_session(OTHER))
        # Nor does the index take it in where the texts that wait for it have to be counted anew.
        with pytest.raises(ValueError, match="decided at version"):
            await pen.write(Append(key=KEY, drafts=(), expect=1, header=header(KEY, 9)))
        assert await store.search("ann", ["secret"], limit=1) == []
    assert left_of(path).keys() == {"unseen", "events", "messages", "staged_texts"}
    async with at(path) as store:
        await imported(store, await Pen.of(store), long_session(OTHER, count=50))
        assert await pings(store) == {"events": 51, "messages": 50, "texts": 50, "word_index": 50}


@pytest.mark.usefixtures("short_is_long")
@pytest.mark.parametrize("again", [False, True])
async def test_texts_that_were_staged_are_replaced_by_what_comes_later(path: Path, again: bool) -> None:
    """In whatever order the index takes them in, and also after a start."""

    def replacing(*names: str) -> Append:
        return Append(key=KEY, drafts=(), texts=tuple(Text(message_id=name, words="new", at=NOON) for name in names))

    async with at(path) as store:
        pen = await Pen.of(store)
        staged = [await store.stage(pen.lease, long_session(key, count=300)) for key in (OTHER, KEY)]
        await pen.made(*staged, replacing("msg_299"))
        await pen.made(replacing("msg_01"))
        if not again:
            await pen.made(replacing("msg_150"))
            assert len(await store.search("ann", ["secret"], limit=999)) == 597
            assert len(await store.search("ann", ["new"], limit=999)) == 3
    async with at(path) as store:
        await (await Pen.of(store)).made(replacing("msg_150"))
        assert len(await store.search("ann", ["secret"], limit=999)) == 597
        assert len(await store.search("ann", ["new"], limit=999)) == 3
        assert left_of(path).keys() == {"events", "messages", "texts", "word_index"}


@pytest.mark.usefixtures("short_is_long")
async def test_texts_of_a_deleted_session_take_no_place_of_others_in_what_is_found(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While they are taken out of the index."""

    def failing(*_: object) -> bool:
        raise sqlite3.OperationalError("disk I/O error")

    async with at(path) as store:
        pen = await Pen.of(store)
        await pen.made(long_session(OTHER, count=1), long_session())
        await store.search("ann", ["secret"], limit=1)
        monkeypatch.setattr(growth, "drop_some", failing)
        assert await store.delete(KEY, 1)
        assert [found.key for found in await store.search("ann", ["secret"], limit=5)] == [OTHER]


async def test_texts_that_an_earlier_version_left_of_a_deleted_session_are_dropped(path: Path) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        teach(connection)
        for script in migrations("sqlite")[:5]:
            connection.executescript(script)
        connection.executescript(f"PRAGMA application_id = {0x526A6E64}; PRAGMA user_version = 5;")
        connection.execute("BEGIN")
        for n in range(1, 501):
            connection.execute("INSERT INTO texts VALUES (?, ?, NULL, 7, ?)", (n, -n, NOON))
            connection.execute("INSERT INTO word_index (rowid, words) VALUES (?, 'secret')", (n,))
        connection.execute("COMMIT")
    async with at(path) as store:
        for _ in range(5):
            await store.ping()
        assert left_of(path) == {}
        await (await Pen.of(store)).made(long_session())
