"""The folder of flat files: what lies in it, under which names, who may hold it, and that its index can be made again."""

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from files_script import SCRIPT, snapshot, take
from pens import KEY, NOON, OTHER, Pen, change, create, delta, log, reply, row, said
from rejoinder.abc import Append, EndedRow, Lease, Refused, Store
from rejoinder.entities import Key
from rejoinder.errors import LeaseLost, Misconfigured, StoreLocked, StoreUnavailable
from rejoinder.events import Draft
from rejoinder.stores import open_store, staging
from rejoinder.stores.files import commits as files_commits
from rejoinder.stores.files import state as files_state
from rejoinder.stores.files import store as files
from rejoinder.stores.files.catalogue import Entry
from rejoinder.stores.files.names import name_of, path_of
from rejoinder.stores.files.staging import Staged
from rejoinder.stores.files.store import FilesStore
from rejoinder.stores.threads import READERS

CHILDREN = Path(__file__).with_name("files_children.py")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "chat"


def at(folder: Path, option: str = "") -> Store:
    return open_store(f"files:///{folder}{option}")


async def opened_once(folder: Path) -> None:
    async with at(folder):
        pass


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


# --- the URL -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "word"),
    [
        ("files:", "files:///"),
        ("files:///", "files:///"),
        ("files://chat", "files:///"),
        ("files:chat", "files:///"),
        ("files:///chat?fsync=sometimes", "always"),
        ("files:///chat?fsync=always&fsync=never", "always"),
        ("files:///chat?mode=ro", "fsync"),
        ("files:///chat?", "fsync"),
        ("files:///ch\0at", "NUL"),
    ],
)
def test_a_wrong_url_is_told_what_is_right(url: str, word: str) -> None:
    with pytest.raises(Misconfigured, match=word):
        open_store(url)


@pytest.mark.parametrize("option", ["", "?fsync=always", "?fsync=second", "?fsync=never"])
async def test_whatever_is_chosen_what_was_written_is_there(folder: Path, option: str) -> None:
    async with at(folder, option) as store:
        pen = await Pen.of(store)
        await pen.made(create())
        for number in range(20):
            await pen.made(delta(str(number)))
    async with at(folder) as store:
        assert len(await log(store)) == 21


# --- what a person finds -----------------------------------------------------------------------------------------


async def test_a_session_is_a_file_of_lines_of_json(folder: Path) -> None:
    data = b'{"text": "a \\u00f6 \xc3\xb6",  "n":1.50}'
    async with at(folder) as store:
        pen = await Pen.of(store)
        await pen.made(create(title="mine"), delta("hello"))
        await pen.made(Append(key=KEY, drafts=(Draft("message.delta", "msg_1", data),)))
    file = folder / "sessions/ann/ses_1.jsonl"
    lines = file.read_bytes().splitlines()
    first, *appends = [json.loads(line) for line in lines]
    assert first == {"rejoinder": "session", "format": 1, "owner": "ann", "session": "ses_1"}
    assert [[event["seq"] for event in append["events"]] for append in appends] == [[1], [2], [3]]
    assert appends[0]["header"]["session"]["title"] == "mine"
    assert appends[1] == {
        "events": [{"seq": 2, "type": "message.delta", "message_id": "msg_1", "data": {"text": "hello"}}]
    }
    assert data in lines[3]
    assert set(contents(folder)) == {"rejoinder.json", "lock", "epoch", "index.jsonl", "sessions/ann/ses_1.jsonl"}


@pytest.mark.parametrize(
    "data", [b"", b"{", b'{"a":1}\n', b'{"a":\n1}', b'{"a":tru}', b'"a"', b' {"a":1}', b'{"a":1} ']
)
async def test_data_that_could_not_be_read_back_is_refused(folder: Path, data: bytes) -> None:
    async with at(folder) as store:
        pen = await Pen.of(store)
        await pen.made(create())
        draft = Draft("message.delta", None, data)
        with pytest.raises(ValueError, match=r"JSON|truncated"):
            await pen.write(delta(), Append(key=KEY, drafts=(draft,)))
        assert await pen.again(delta()) != []
        assert len(await log(store)) == 2


async def test_what_was_deleted_is_soon_in_no_file(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where a kill came between."""

    async def until_it_is_gone(folder: Path) -> None:
        async with asyncio.timeout(10):
            while any(b"secret" in data for data in contents(folder).values()):  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        assert not (folder / "sessions/ann").exists()

    async with at(folder) as store:
        pen = await Pen.of(store)
        await pen.made(create(KEY, title="my secret"), delta("secret words"))
        assert any(b"secret" in data for data in contents(folder).values())
        monkeypatch.setattr(files_commits, "ERASE_AFTER", 0.2)
        assert await store.delete(KEY, 1)
        killed = shutil.copytree(folder, tmp_path / "killed")
        await until_it_is_gone(folder)
    async with at(killed):
        await until_it_is_gone(killed)


# --- names -------------------------------------------------------------------------------------------------------

HOSTILE = [
    "",
    ".",
    "..",
    "../../etc/passwd",
    "/etc/passwd",
    "a/b",
    "a\\b",
    "a\0b",
    "C:",
    "con",
    "CON",
    "nul",
    "lpt1",
    "a",
    "A",
    "%41",
    "%",
    "~",
    "é",
    "e\u0301",
    "É",
    "\U0001f600",
    "\u202e",
    "a ",
    " a",
    "a.",
    ".jsonl",
    "x" * 120,
    "x" * 121,
    "x" * 10_000,
    "X" * 10_000,
    "😀" * 2_000,
    "\n",
    "*",
    "-rf",
    "$(id)",
]


async def test_no_id_gets_out_of_its_place_or_into_anothers(folder: Path) -> None:
    keys = [Key(name, "ses_1") for name in HOSTILE] + [Key("ann", name) for name in HOSTILE]
    async with at(folder) as store:
        pen = await Pen.of(store)
        await pen.made(*(create(key, title=f"{number}") for number, key in enumerate(keys)))
    assert {path.name for path in folder.parent.iterdir()} == {"chat"}
    (folder / "index.jsonl").unlink()
    files = [path for path in (folder / "sessions").rglob("*") if path.is_file()]
    assert len({str(path).casefold() for path in files}) == len(keys)
    assert {len(path.relative_to(folder).parts) for path in files} == {3}
    async with at(folder) as store:
        for number, key in enumerate(keys):
            header = await store.header(key)
            assert header is not None
            assert (header.session.id, header.session.title) == (key.session_id, f"{number}")
        assert await store.keys(after=None, limit=1_000) == sorted(keys)


@given(st.text(), st.text())
def test_two_names_never_meet_whatever_a_file_system_makes_of_them(one: str, other: str) -> None:
    names = name_of(one), name_of(other)
    assert (one == other) == (names[0].casefold() == names[1].casefold())
    for name in names:
        assert name.isascii()
        assert name == name.lower()
        assert 0 < len(name) <= 120
        assert not set(name) & set("/\\.:\0 ")


# --- the index ---------------------------------------------------------------------------------------------------


def entries(store: Store) -> list[Entry]:
    assert isinstance(store, FilesStore)
    return sorted(store._now.state.catalogue, key=lambda entry: entry.key)


async def lived(folder: Path) -> object:
    """A store that has been through everything; what it shows, and what it knew when it was closed."""
    async with at(folder) as store:
        pen = await Pen.of(store)
        for step in SCRIPT:
            await take(store, pen, step)
        await pen.made(create(Key("zoe", "ses_1"), replies=[reply(pen.lease)]))
        return await snapshot(store), entries(store)


def cut(index: Path) -> None:
    data = index.read_bytes()
    index.write_bytes(data[: len(data) // 2])


def damage(index: Path) -> None:
    lines = index.read_bytes().splitlines(keepends=True)
    index.write_bytes(b"".join(line.replace(b'"version":', b'"version":9') for line in lines))


@pytest.mark.parametrize(
    "harm",
    [
        lambda _: None,
        lambda index: index.unlink(),
        cut,
        damage,
        lambda index: index.write_bytes(b""),
        lambda index: index.write_bytes(b"\0" * 1_000 + b"\n\n\xff{}"),
        lambda index: index.write_bytes(index.read_bytes() * 3),
    ],
    ids=["kept", "missing", "cut", "damaged", "empty", "garbage", "thrice"],
)
async def test_an_index_that_is_made_again_is_the_one_that_was_kept(folder: Path, harm: object) -> None:
    kept = await lived(folder)
    assert callable(harm)
    harm(folder / "index.jsonl")
    for _ in range(2):
        async with at(folder) as store:
            assert (await snapshot(store), entries(store)) == kept


async def test_an_index_that_is_older_than_the_files_is_seen_through(folder: Path) -> None:
    async with at(folder) as store:
        await (await Pen.of(store)).made(create(), create(Key("ann", "ses_0")), create(Key("ann", "ses_9")))
    old = (folder / "index.jsonl").read_bytes()
    async with at(folder) as store:
        pen = await Pen.of(store)
        await pen.made(delta("x"), change(KEY, 1, title="new"))
        assert await store.delete(Key("ann", "ses_9"), 1)
        kept = await snapshot(store), entries(store)
    (folder / "index.jsonl").write_bytes(old)
    async with at(folder) as store:
        assert (await snapshot(store), entries(store)) == kept


async def test_a_store_whose_index_is_whole_opens_without_reading_its_sessions(folder: Path) -> None:
    async with at(folder) as store:
        keys = [Key("ann", f"ses_{number}") for number in range(10)]
        await (await Pen.of(store)).made(*map(create, keys))
    # What cannot be read would be noticed if it were.
    for file in (folder / "sessions/ann").iterdir():
        stat = file.stat()
        file.write_bytes(b"\0" * stat.st_size)
        os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    async with at(folder) as store:
        assert await store.keys(after=None, limit=100) == keys
        assert await store.idle("9999", 100) == keys
        with pytest.raises(StoreUnavailable, match="damaged"):
            await store.header(keys[0])


@pytest.mark.parametrize(
    "name", ["x.sync-conflict.jsonl", "000000000009 (copy).jsonl", "9.jsonl", "²³.jsonl", "notes.txt"]
)
async def test_what_others_put_beside_the_journal_is_told_and_left_alone(
    folder: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with at(folder) as store:
        await (await Pen.of(store)).made(create(), delta("a"))
        [journal] = (folder / "journal").iterdir()
        copy = journal.read_bytes()
        assert await store.delete(KEY, 1)
    foreign = folder / "journal" / name
    foreign.write_bytes(copy)
    for _ in range(2):
        async with at(folder) as store:
            await (await Pen.of(store)).made(create(OTHER), delta("b", OTHER))
            assert await store.header(KEY) is None, "an old copy of a journal is not taken again"
            assert await store.delete(OTHER, 1)
    assert [*(folder / "journal").iterdir()] == [foreign] and foreign.read_bytes() == copy
    assert str(foreign) in caplog.text


async def test_a_session_from_a_backup_is_there_again(folder: Path) -> None:
    file = folder / "sessions/ann/ses_1.jsonl"
    async with at(folder) as store:
        await (await Pen.of(store)).made(create(title="old"), delta("a"))
    backup = file.read_bytes()
    async with at(folder) as store:
        assert await store.delete(KEY, 1)
    file.parent.mkdir()
    file.write_bytes(backup)
    async with at(folder) as store:
        assert len(await log(store)) == 2
        await (await Pen.of(store)).made(change(KEY, 1, title="goes on"))


@pytest.mark.parametrize("reopened", [True, False], ids=["journal of its own", "journal of the compaction"])
async def test_a_backup_that_is_put_back_after_a_kill_is_left_as_it_is(
    folder: Path, reopened: bool, caplog: pytest.LogCaptureFixture
) -> None:
    file, killed = folder / "sessions/ann/ses_1.jsonl", folder.with_name("killed")
    async with at(folder) as store:
        pen = await Pen.of(store)
        await pen.made(create(), change(KEY, 1, created=[row("msg_1", ended=False)]))
        for number in range(50):
            await pen.made(delta(f"word {number}"))
        await pen.made(change(KEY, 2, ended=[EndedRow(id="msg_1", at=0, ended_at=NOON)]))
    backup = file.read_bytes()
    async with at(folder) as store:
        await store.compact(KEY, ["msg_1"], ["message.delta"])
        if not reopened:
            await (await Pen.of(store)).made(create(OTHER), change(KEY, 3, title="a later change"))
            shutil.copytree(folder, killed)
    if reopened:
        async with at(folder) as store:
            await (await Pen.of(store)).made(create(OTHER), change(KEY, 3, title="a later change"))
            shutil.copytree(folder, killed)
    (killed / "sessions/ann/ses_1.jsonl").write_bytes(backup)
    async with at(killed) as store:
        assert len(await log(store)) == 53
        assert await store.header(OTHER), "what the journal has of all others is done"
        await (await Pen.of(store)).made(change(KEY, 3, title="goes on"))
    assert (killed / "sessions/ann/ses_1.jsonl").read_bytes().startswith(backup)
    assert f"{killed / 'sessions/ann/ses_1.jsonl'} is not the file" in caplog.text


def left(folder: Path) -> list[Path]:
    return [path for path in folder.glob("sessions/*/*") if path.suffix == ".tmp"]


async def test_a_great_session_is_written_beside_its_place_and_the_commit_is_small(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So nobody else waits for it, however large it is."""
    monkeypatch.setattr(staging, "GREAT", 1_000)
    great, again = (create(KEY, *(said("x" * 1_000) for _ in range(200))) for _ in range(2))
    async with at(folder) as store:
        pen, other = await Pen.of(store), await Pen.of(store, "other")
        staged = [await store.stage(lease, append) for lease in (pen.lease, other.lease) for append in (great, again)]
        await pen.made(create(OTHER))
        [journal] = (folder / "journal").iterdir()
        before = journal.stat().st_size
        assert await store.header(KEY) is None
        await pen.made(staged[0], change(KEY, 1))
        assert journal.stat().st_size < before + 2_000
        assert len(await log(store)) == 201
        assert len(left(folder)) == 3
        assert await pen.write(staged[1]) == [Refused("exists")]
        await store.release_lease(other.lease)
        assert not left(folder)
        await store.stage(pen.lease, create(Key("ann", "ses_3"), *great.drafts))
        with pytest.raises(LeaseLost):
            await store.stage(other.lease, great)
        shutil.copytree(folder, folder.with_name("killed"))
    for closed in (folder, folder.with_name("killed")):
        async with at(closed) as store:
            assert len(await log(store)) == 201
            assert await store.keys(after=None, limit=9) == [KEY, OTHER]
        assert not left(closed)


async def test_others_read_while_many_great_sessions_are_written(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(staging, "GREAT", 100)
    goes_on = threading.Event()

    class Slow(Staged):
        def __init__(self, *args: Any) -> None:
            goes_on.wait(10)
            super().__init__(*args)

    monkeypatch.setattr(files, "Staged", Slow)
    async with at(folder) as store:
        pen = await Pen.of(store)
        great = [create(Key("ann", f"ses_{number}"), said("x" * 100)) for number in range(READERS + 1)]
        being_written = [asyncio.create_task(store.stage(pen.lease, append)) for append in great]
        try:
            async with asyncio.timeout(0.5):
                for _ in range(READERS):
                    await asyncio.sleep(0)
                    assert await store.header(KEY) is None
        finally:
            goes_on.set()
            await pen.made(*await asyncio.gather(*being_written))


# --- memory ------------------------------------------------------------------------------------------------------


async def test_indexes_of_sessions_are_dropped_and_read_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files_state, "KEPT", 20_000)
    keys = [Key("ann", f"ses_{number:03}") for number in range(100)]
    async with at(folder, "?fsync=never") as store:
        assert isinstance(store, FilesStore)
        pen = await Pen.of(store)
        await pen.made(*map(create, keys))
        for number in range(5):
            await pen.made(*(delta(f"{number}", key) for key in keys))
        assert len(store._now.state.logs) < 12
        for key in keys:
            assert len(await log(store, key)) == 6
            assert len(await store.events_at(key, [2, 4])) == 2
        assert len(store._now.state.logs) < 12


# --- reading while it is rewritten -------------------------------------------------------------------------------


async def test_readers_see_no_difference_while_files_are_replaced_under_them(folder: Path) -> None:
    async with at(folder, "?fsync=never") as store:
        pen = await Pen.of(store)
        for step in SCRIPT:
            await take(store, pen, step)
        whole = [event for event in await log(store) if event.type != "message.delta"]
        done = asyncio.Event()

        async def read() -> int:
            reads = 0
            while not done.is_set():
                kept = [event for event in await log(store) if event.type != "message.delta"]
                assert kept[: len(whole)] == whole
                assert await store.events_at(KEY, [event.seq for event in whole]) == whole
                assert (await store.sessions("ann", after=None, limit=9))[0].session.id == "ses_2"
                reads += 1
            return reads

        readers = [asyncio.create_task(read()) for _ in range(4)]
        for number in range(30):
            await asyncio.gather(
                store.compact(KEY, ["msg_1", "msg_3"], ["message.delta"]),
                store.compact(KEY, ["msg_1"], ["message.delta"]),
                pen.made(delta(f"{number}", message_id="msg_4"), change(KEY, number + 1)),
            )
        done.set()
        assert all(reads > 3 for reads in await asyncio.gather(*readers))


# --- who may hold it ---------------------------------------------------------------------------------------------


@contextmanager
def holding(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the store, with a reply that it has begun."""
    command = [sys.executable, str(CHILDREN), "hold", f"files:///{folder}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == "held\n"
            yield holder
        finally:
            holder.kill()


def test_a_second_process_is_told_so_until_the_first_is_dead(folder: Path, tmp_path: Path) -> None:
    with holding(folder) as holder:
        (tmp_path / "link").symlink_to(folder)
        for place in (folder, tmp_path / "link"):
            with pytest.raises(StoreLocked, match=rf"pid {holder.pid}\b.*lock"):
                asyncio.run(opened_once(place))
        holder.send_signal(signal.SIGKILL)
        holder.wait()

        async def take_over() -> None:
            async with at(folder) as store:
                [(key, orphan)] = await store.orphans(10)
                assert orphan.epoch is not None
                assert (key, orphan) == (KEY, reply(Lease("worker", orphan.epoch)))
                assert (await store.acquire_lease("successor", 60)).epoch > orphan.epoch

        asyncio.run(take_over())


async def test_epochs_rise_also_where_the_file_that_counts_them_is_gone(folder: Path) -> None:
    async with at(folder) as store:
        pen = await Pen.of(store)
        await pen.made(create(replies=[reply(pen.lease)]))
    (folder / "epoch").unlink()
    async with at(folder) as store:
        assert (await store.acquire_lease("worker", 9)).epoch > pen.lease.epoch


# --- what is left alone ------------------------------------------------------------------------------------------


def foreign(folder: Path) -> None:
    folder.mkdir()
    (folder / "diary.txt").write_text("Dear diary")


def later(folder: Path) -> None:
    asyncio.run(opened_once(folder))
    (folder / "rejoinder.json").write_text('{"rejoinder":"store","format":1000}')


def unmarked(folder: Path) -> None:
    asyncio.run(opened_once(folder))
    (folder / "rejoinder.json").write_text("{}")


def no_epoch(folder: Path) -> None:
    asyncio.run(opened_once(folder))
    (folder / "epoch").write_text("many")


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (foreign, "no store of Rejoinder"),
        (later, "later version"),
        (unmarked, "not that of a store"),
        (no_epoch, "epoch is damaged"),
        (lambda folder: folder.write_text("Dear diary"), "is a file"),
    ],
    ids=["foreign", "later", "unmarked", "epoch", "file"],
)
def test_what_is_no_store_of_ours_is_refused_and_left_as_it_is(folder: Path, make: object, why: str) -> None:
    assert callable(make)
    make(folder)
    before = contents(folder.parent)
    for _ in range(2):
        with pytest.raises(Misconfigured, match=why) as told:
            asyncio.run(opened_once(folder))
        assert str(folder) in str(told.value)
    after = contents(folder.parent)
    assert {name: data for name, data in after.items() if not name.endswith("lock")} == {
        name: data for name, data in before.items() if not name.endswith("lock")
    }


async def test_a_missing_folder_is_named_and_one_whose_parent_is_there_is_made(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match=r"There is no folder \S+/no/such for"):
        await opened_once(tmp_path / "no/such/chat")
    assert contents(tmp_path) == {}
    (tmp_path / "empty").mkdir()
    for name in ("empty", "new"):
        await opened_once(tmp_path / name)
        assert (tmp_path / name / "rejoinder.json").exists()


async def test_a_cancelled_opening_leaves_nothing_held(folder: Path) -> None:
    for pause in (0, 0.001, 0.003, 0.006, 0.01, 0.02, 0.04):
        opening = asyncio.create_task(opened_once(folder))
        await asyncio.sleep(pause)
        opening.cancel()
        await asyncio.gather(opening, return_exceptions=True)
        await opened_once(folder)


def test_a_folder_that_cannot_be_written_is_refused_and_left_as_it_is() -> None:
    # Not in tmp_path, whose parents only their owner may enter.
    with tempfile.TemporaryDirectory() as parent:
        Path(parent).chmod(0o755)
        command = [sys.executable, str(CHILDREN), "find_no_right_to_write", f"files:///{parent}/chat"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
        assert (done.returncode, done.stderr) == (0, "")


def test_paths_are_those_of_keys() -> None:
    assert path_of(Key("ann", "ses_1")) == "ann/ses_1.jsonl"
    assert path_of(Key("Ann Lee", "../x")) == "%41nn%20%4cee/%2e%2e%2fx.jsonl"
