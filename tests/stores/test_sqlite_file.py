"""The file of a SQLite store: what is taken for one, what is left alone, and who may hold it."""

import asyncio
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec import structs
from msgspec.json import encode

from pens import KEY, NOON, OTHER, Pen, change, create, delta, header, log, reply, row, said
from rejoinder.abc import Append, EndedRow, Lease, Store, Text
from rejoinder.entities import Key, OpenReply, Status
from rejoinder.errors import Misconfigured, StoreLocked, StoreUnavailable
from rejoinder.stores import open_store
from rejoinder.stores.sql import migrations
from rejoinder.stores.sqlite import store as sqlite
from rejoinder.stores.sqlite.batch import append_batch
from rejoinder.stores.sqlite.search import GATHERED, LEARNT, Texts

CHILDREN = Path(__file__).with_name("sqlite_children.py")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "chat.db"


def at(path: Path) -> Store:
    return open_store(f"sqlite:///{path}")


def pragma(path: Path, name: str) -> object:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(f"PRAGMA {name}").fetchone()[0]


@contextmanager
def holding(path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the store, with a reply that it has begun."""
    command = [sys.executable, str(CHILDREN), "hold", f"sqlite:///{path}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == "held\n"
            yield holder
        finally:
            holder.kill()


# --- what a new file becomes -------------------------------------------------------------------------------------


def make_empty(path: Path) -> None:
    path.write_bytes(b"")


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir() if file.is_file()}


@pytest.mark.parametrize("empty_file", [False, True])
async def test_a_new_file_is_brought_to_the_present_schema(path: Path, empty_file: bool) -> None:
    if empty_file:
        make_empty(path)
    for _ in range(2):
        async with at(path) as store:
            await store.ping()
        assert pragma(path, "user_version") == len(migrations("sqlite"))
        assert pragma(path, "application_id") == 0x526A6E64
        assert pragma(path, "journal_mode") == "wal"
        assert pragma(path, "auto_vacuum") == 2
    assert contents(path.parent).keys() == {"chat.db", "chat.db.lock"}


async def test_a_file_of_the_first_schema_knows_its_queued_replies_afterwards(path: Path) -> None:
    queued = OpenReply(id="msg_2", status=Status.QUEUED)
    kept = header(replies=[OpenReply(id="msg_1", worker="dead", epoch=7), queued])
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(migrations("sqlite")[0])
        row = (KEY.owner, KEY.session_id, 1, kept.session.updated_at, msgspec.json.encode(kept))
        connection.execute("INSERT INTO sessions (owner, id, version, updated_at, header) VALUES (?, ?, ?, ?, ?)", row)
        connection.execute(f"PRAGMA application_id = {0x526A6E64}")
        connection.execute("PRAGMA user_version = 1")
        connection.commit()
    async with at(path) as store:
        assert await store.writing(KEY.owner, after=None, limit=10) == [kept]
        assert await store.orphans(10) == [(KEY, kept.open[0])]


async def test_a_closed_store_says_so(path: Path) -> None:
    store = at(path)
    with pytest.raises(StoreUnavailable):
        await store.ping()
    async with store:
        await store.ping()
    for call in (store.ping(), store.header(KEY)):
        with pytest.raises(StoreUnavailable):
            await call


# --- what is left alone ------------------------------------------------------------------------------------------


def foreign(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE notes (text)")


def foreign_with_a_log(path: Path) -> None:
    """As a crashed application leaves it: what it wrote last is in the write-ahead log alone."""
    source = path.with_name("source")
    with closing(sqlite3.connect(source, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE notes (text)")
        for end in ("", "-wal"):
            shutil.copy(f"{source}{end}", f"{path}{end}")
    source.unlink()


def later(path: Path) -> None:
    asyncio.run(opened_once(path))
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 1000")
        connection.execute("PRAGMA journal_mode = DELETE")


def damaged(path: Path) -> None:
    asyncio.run(opened_once(path))
    data = path.read_bytes()
    path.write_bytes(data[:4096] + b"\xa5" * (len(data) - 4096))


def cut(path: Path) -> None:
    asyncio.run(opened_once(path))
    path.write_bytes(path.read_bytes()[:6000])


async def opened_once(path: Path) -> None:
    async with at(path):
        pass


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda path: path.write_text("Dear diary"), "no SQLite database"),
        (lambda path: path.write_bytes(b"\0" * 8192), "no SQLite database"),
        (foreign, "another application"),
        (foreign_with_a_log, "another application"),
        (later, "later version"),
        (damaged, "malformed"),
        (cut, "malformed"),
        (lambda path: path.mkdir(), "is a folder"),
    ],
    ids=["text", "zeros", "foreign", "foreign-with-a-log", "later", "damaged", "cut", "folder"],
)
def test_what_is_no_store_of_ours_is_refused_and_left_as_it_is(path: Path, make: object, why: str) -> None:
    assert callable(make)
    make(path)
    before = contents(path.parent)
    for _ in range(2):
        with pytest.raises(Misconfigured, match=why) as told:
            asyncio.run(opened_once(path))
        assert str(path) in str(told.value)
    # The lock's file is made before anything is looked at.
    assert contents(path.parent) | {"chat.db.lock": b""} == before | {"chat.db.lock": b""}


async def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match=r"There is no folder \S+/no/such for"):
        await opened_once(tmp_path / "no/such/chat.db")
    assert contents(tmp_path) == {}


async def test_an_empty_file_is_no_store_that_is_there(path: Path) -> None:
    make_empty(path)
    with pytest.raises(Misconfigured, match="There is no store at"):
        async with open_store(f"sqlite:///{path}", make=False):
            pass
    assert contents(path.parent) == {"chat.db": b""}


# --- who may hold it ---------------------------------------------------------------------------------------------


async def test_a_second_store_on_the_same_file_is_told_so(path: Path) -> None:
    async with at(path) as store:
        for _ in range(2):
            with pytest.raises(StoreLocked, match=f"pid {os.getpid()}"):
                await opened_once(path)
        await store.ping()
    await opened_once(path)


def test_a_second_process_is_told_so_until_the_first_is_dead(path: Path) -> None:
    with holding(path) as holder:
        with pytest.raises(StoreLocked, match=rf"pid {holder.pid}\b.*chat\.db\.lock"):
            asyncio.run(opened_once(path))
        holder.send_signal(signal.SIGKILL)
        holder.wait()

        async def take_over() -> None:
            async with at(path) as store:
                [(key, orphan)] = await store.orphans(10)
                assert orphan.epoch is not None
                assert (key, orphan) == (KEY, reply(Lease("worker", orphan.epoch)))
                assert (await store.acquire_lease("successor", 60)).epoch > orphan.epoch

        asyncio.run(take_over())


def test_two_paths_to_one_file_are_one_store(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "link").symlink_to("a")
    (tmp_path / "chat.db").symlink_to("a/chat.db")
    with holding(tmp_path / "a/chat.db"):
        for other in ("link/chat.db", "chat.db"):
            with pytest.raises(StoreLocked):
                asyncio.run(opened_once(tmp_path / other))


def test_a_failed_opening_leaves_nothing_held(path: Path) -> None:
    foreign(path)
    with pytest.raises(Misconfigured):
        asyncio.run(opened_once(path))
    path.unlink()
    asyncio.run(opened_once(path))


async def test_a_cancelled_opening_leaves_nothing_held(path: Path) -> None:
    for pause in (
        0,
        0.001,
        0.002,
        0.003,
        0.004,
        0.005,
        0.006,
        0.008,
        0.01,
        0.015,
        0.02,
    ):  # in the opening and in the closing
        opening = asyncio.create_task(opened_once(path))
        await asyncio.sleep(pause)
        opening.cancel()
        await asyncio.gather(opening, return_exceptions=True)
        await opened_once(path)


# --- what another user owns --------------------------------------------------------------------------------------


@pytest.mark.skipif(sys.platform == "win32", reason="modes of files are POSIX")
@pytest.mark.parametrize("what", ["file", "folder"])
def test_a_place_that_cannot_be_written_is_refused_and_left_as_it_is(what: str) -> None:
    # Not in tmp_path, whose parents only their owner may enter.
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, str(CHILDREN), "find_no_right_to_write", f"sqlite:///{folder}/chat.db", what]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
        Path(folder).chmod(0o700)
        assert (done.returncode, done.stderr) == (0, "")


# --- what lies in the file ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("searched", [True, False])
async def test_nothing_of_a_deleted_session_is_left_in_the_file(path: Path, searched: bool) -> None:
    """Neither in a table nor on a page that is free: of short and long events, a header, the index and the words, also those that
    the index of words did not know yet."""
    secret, other = "zanzibar", "kilimanjaro"
    events = [said(secret * size, f"msg_{secret}") for size in (1, 10, 1_000, 5_000)] * 20
    text = Text(message_id=f"msg_{secret}", words=f"{secret} and others", at=NOON)
    async with at(path) as store:
        pen = await Pen.of(store)
        await pen.made(create(KEY, *events, replies=[reply(pen.lease, f"msg_{secret}")], title=secret))
        await pen.made(
            Append(key=KEY, drafts=(said("a"),), created=(row(f"msg_{secret}"),), texts=(text,)),
            create(OTHER, said(other), title=other),
            Append(key=OTHER, drafts=(said("b"),), texts=(structs.replace(text, words=other, message_id="msg_1"),)),
        )
        assert b"".join(contents(path.parent).values()).count(secret.encode()) > 20
        await store.compact(KEY, [f"msg_{secret}"], ["message.delta"])
        if searched:
            assert [found.message_id for found in await store.search("ann", [secret], limit=9)] == [f"msg_{secret}"]
        assert await store.delete(KEY, 1)
        for _ in range(2):
            left = b"".join(contents(path.parent).values())
            assert other.encode() in left
            # The index keeps the beginning of a word that is like the one before it only once.
            assert secret[2:].encode() not in left
        with closing(sqlite3.connect(path)) as connection:
            tables = dict.fromkeys(("messages", "open_replies", "texts", "word_index", "new_texts"), 0)
            tables |= {"sessions": 1, "events": 2}
            tables |= {"texts": 1, "word_index": 1} if searched else {"new_texts": 1}
            for table, rows in tables.items():
                assert len(connection.execute(f"SELECT * FROM {table}").fetchall()) == rows, table
        assert [found.message_id for found in await store.search("ann", [other], limit=9)] == ["msg_1"]


async def test_texts_wait_for_the_index_in_their_order_and_what_they_replace_is_gone(path: Path) -> None:
    def telling(word: str, message_id: str | None, minute: int) -> Append:
        text = Text(message_id=message_id, words=word, at=NOON.replace("12:00", f"12:{minute:02}"))
        return Append(key=KEY, drafts=(), texts=(text,))

    async with at(path) as store:
        await (await Pen.of(store)).made(create(), telling("later", "msg_5", 5), telling("title", None, 6))
    for rounds in range(2):
        async with at(path) as store:
            pen = await Pen.of(store)
            if not rounds:
                await pen.made(telling("later", "msg_1", 1))
            assert [found.message_id for found in await store.search("ann", ["later"], limit=1)] == ["msg_5"]
            assert [found.message_id for found in await store.search("ann", ["later"], limit=9)] == ["msg_5", "msg_1"]
    async with at(path) as store:
        await (await Pen.of(store)).made(telling("other", "msg_5", 7), telling("", None, 8), telling("", "msg_1", 9))
        assert await store.search("ann", ["later"], limit=9) == []
        with closing(sqlite3.connect(path)) as connection:
            for table in ("texts", "word_index"):
                assert connection.execute(f"SELECT count(*) FROM {table}").fetchone() == (1,), table


async def test_what_is_long_is_written_in_the_writers_thread(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wrote = list[int]()

    def noted(*args: Any) -> Any:
        wrote.append(threading.get_ident())
        return append_batch(*args)

    monkeypatch.setattr(sqlite, "append_batch", noted)
    async with at(path) as store:
        pen = await Pen.of(store)
        await pen.made(create(), *(delta() for _ in range(100)))
        await pen.made(*(delta() for _ in range(2_000)))
        await pen.made(change(KEY, 1, said("x" * 2_000_000)))
        texts = tuple(Text(message_id=f"msg_{number}", words="word", at=NOON) for number in range(200))
        await pen.made(Append(key=KEY, drafts=(), texts=texts))
        await store.search("ann", ["word"], limit=1)  # for which the index takes them in
        await pen.made(delta())
    here = threading.get_ident()
    assert [thread == here for thread in wrote] == [True, False, False, False, True]


async def test_texts_that_are_many_go_to_the_index_in_the_writers_thread(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where long ones hold nobody up."""
    learnt = list[int]()

    def learn(self: Texts, connection: sqlite3.Connection, learn: Callable[..., Any] = Texts.learn) -> Any:
        learnt.append(threading.get_ident())
        return learn(self, connection)

    monkeypatch.setattr(Texts, "learn", learn)
    async with at(path) as store:
        pen = await Pen.of(store)
        await pen.made(create())
        for number in range(2 * GATHERED):
            text = Text(message_id=f"msg_{number}", words="word", at=NOON)
            await pen.made(Append(key=KEY, drafts=(), texts=(text,)))
        await store.ping()
        assert len(learnt) == 2
        assert threading.get_ident() not in learnt
        with closing(sqlite3.connect(path)) as connection:
            assert connection.execute("SELECT count(*) FROM texts").fetchone() == (2 * GATHERED,)
            assert connection.execute("SELECT count(*) FROM new_texts").fetchone() == (0,)


async def test_what_the_index_is_just_taking_in_is_found(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    learns, committed = threading.Event(), threading.Event()

    def slowly(self: Texts, connection: sqlite3.Connection, learn: Callable[..., Any] = Texts.learn) -> Any:
        done = learn(self, connection)
        learns.set()
        committed.wait(0.1)
        return done

    monkeypatch.setattr(Texts, "learn", slowly)
    texts = tuple(Text(message_id=f"msg_{number}", words="word", at=NOON) for number in range(GATHERED))
    async with at(path) as store:
        await (await Pen.of(store)).made(create(), Append(key=KEY, drafts=(), texts=texts))
        await asyncio.to_thread(learns.wait)
        assert len(await store.search("ann", ["word"], limit=999)) == GATHERED
        committed.set()


def waiting(path: Path) -> int:
    """The texts that the index does not know yet."""
    with closing(sqlite3.connect(path)) as connection:
        [count] = connection.execute("SELECT count(*) FROM new_texts").fetchone()
    return int(count)


@pytest.mark.parametrize(("count", "words"), [(20 * GATHERED, "word"), (GATHERED, "long " * (LEARNT // 5))])
async def test_others_write_while_the_index_takes_in_many_texts_or_long_ones(
    path: Path, count: int, words: str
) -> None:
    texts = [Text(message_id=f"msg_{number}", words=f"{words} the{number}", at=NOON) for number in range(count)]
    async with at(path) as store:
        await (await Pen.of(store)).made(create(), Append(key=KEY, drafts=(), texts=tuple(texts)))
        left = [count]
        for _ in range(3):
            await store.ping()
            left.append(waiting(path))
        assert left == sorted(left, reverse=True)
        assert left[-1] > count // 2, "a ping waited for a few of them"
        last = f"the{count - 1}"
        assert [found.message_id for found in await store.search("ann", [last], limit=9)] == [f"msg_{count - 1}"]
        assert waiting(path) == 0


async def test_the_index_takes_in_all_that_are_many_without_being_asked(path: Path) -> None:
    texts = [Text(message_id=f"msg_{number % 300}", words=f"the{number}", at=NOON) for number in range(600)]
    async with at(path) as store:
        pen = await Pen.of(store)
        await pen.made(create(), Append(key=KEY, drafts=(), texts=tuple(texts)))
        for _ in range(600 // GATHERED + 1):
            await store.ping()
        assert waiting(path) < GATHERED
        assert [found.message_id for found in await store.search("ann", ["the599"], limit=9)] == ["msg_299"]
        assert not await store.search("ann", ["the0"], limit=9), "it was said anew"


# --- growth ------------------------------------------------------------------------------------------------------


async def test_what_compaction_frees_goes_back_to_the_disk_and_what_stays_is_used_again(path: Path) -> None:
    async with at(path) as store:
        pen = await Pen.of(store)
        sizes = []
        for round_ in range(6):
            key, ended = Key("ann", f"ses_{round_}"), EndedRow(id="msg_1", at=0, ended_at=NOON)
            await pen.made(
                create(key, said("x", "msg_1", "message.created")),
                change(key, 1, created=[row("msg_1", ended=False)]),
                *(delta("x" * 1_000, key) for _ in range(3_000)),
                change(key, 2, said("x", "msg_1", "message.ended"), ended=[ended]),
            )
            if round_ < 4:
                await store.compact(key, ["msg_1"], ["message.delta"])
            sizes.append(int(str(pragma(path, "page_count"))))
        assert sizes[3] < sizes[4] / 2
        assert max(sizes[:4]) < sizes[5] * 0.75


async def test_what_was_compacted_is_small_in_the_file_and_reads_as_it_was(path: Path) -> None:
    words = " ".join(f"word{number}" for number in range(500))
    async with at(path) as store:
        pen = await Pen.of(store)
        await pen.made(
            create(KEY, said(kind="session.created"), said(words, "msg_0", "message.created")),
            change(KEY, 1, said("", "msg_1", "message.created"), created=[row("msg_1", ended=False)]),
            *(delta(words) for _ in range(10)),
        )
        live = change(KEY, 2, said("live", "msg_2", "message.created"), created=[row("msg_2", ended=False)])
        end = EndedRow(id="msg_1", at=0, ended_at=NOON)
        await pen.made(live, delta("live", message_id="msg_2"))
        await pen.made(
            change(KEY, 3, said(words, "msg_1", "message.ended"), ended=[end]), delta("on", message_id="msg_2")
        )
        before = await log(store)
        for _ in range(2):
            await store.compact(KEY, ["msg_1"], ["message.delta"])
            kept = [event for event in before if event.type != "message.delta" or event.message_id != "msg_1"]
            assert await log(store) == kept
            assert await store.events_at(KEY, [event.seq for event in kept]) == kept
            assert await store.events(KEY, after=0, limit=9, message_ids=["msg_0"]) == [kept[1]]
            assert len(await store.events(KEY, after=0, max_bytes=len(kept[0].data) + 1)) == 2
        with closing(sqlite3.connect(path)) as connection:
            [size] = connection.execute("SELECT sum(length(data)) FROM events").fetchone()
    assert size < sum(len(event.data) for event in kept) / 2


async def test_an_older_file_is_brought_up_to_date_with_what_is_ripe_in_it(path: Path) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.executescript(migrations("sqlite")[0])
        connection.executescript(f"PRAGMA application_id = {0x526A6E64}; PRAGMA user_version = 1;")
        connection.execute("INSERT INTO sessions VALUES (1, 'ann', 'ses_1', 1, 't', ?)", (encode(header()),))
        for seq, kind in enumerate(("created", "delta", "ended", "created"), 1):
            data = encode({"message": {"ended_at": f"2026-11-24T12:00:0{seq}.000Z"}})
            connection.execute("INSERT INTO events VALUES (1, ?, ?, 'msg_1', ?)", (seq, f"message.{kind}", data))
        connection.execute("INSERT INTO messages VALUES (1, 1, 'msg_1', NULL, 'msg_1', 0, 3)")
        connection.execute("INSERT INTO messages VALUES (1, 4, 'msg_2', NULL, 'msg_2', 0, 4)")
    async with at(path) as store:
        assert await store.ripe("2026-11-24T12:00:03.000Z", 9) == []
        assert await store.ripe("2026-11-24T12:00:03.001Z", 9) == [(KEY, "msg_1")]
        await store.compact(KEY, ["msg_1"], ["message.delta"])
        assert [event.seq for event in await log(store)] == [1, 3, 4]
