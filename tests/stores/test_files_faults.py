"""Flat files when things break: nothing acknowledged is lost, nothing is half done, and the store recovers by itself."""

import asyncio
import errno
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest
from msgspec import structs

from failing_disk import FailingDisk
from files_script import SCRIPT, snapshot, take
from pens import KEY, NOON, OTHER, Pen, change, create, delta, log, reply, row, said
from rejoinder.abc import Append, EndedRow, Store, Text
from rejoinder.entities import Key
from rejoinder.errors import Misconfigured, StoreUnavailable
from rejoinder.stores import open_store, staging
from rejoinder.stores.files import commits as files_commits
from rejoinder.stores.files import disk as files_disk
from rejoinder.stores.files import journal as files_journal
from rejoinder.stores.files import keeper as files_keeper
from rejoinder.stores.files import lines as files_lines
from rejoinder.stores.files import reads as files_reads
from rejoinder.stores.files import replay as files_replay
from rejoinder.stores.files.state import State
from rejoinder.stores.files.store import FilesStore

CHILDREN = Path(__file__).with_name("files_children.py")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "chat"


def at(folder: Path, option: str = "") -> Store:
    return open_store(f"files:///{folder}{option}")


def child(*args: object) -> str:
    done = subprocess.run(
        [sys.executable, str(CHILDREN), *map(str, args)], capture_output=True, text=True, check=False, timeout=280
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


# --- killed ------------------------------------------------------------------------------------------------------


@pytest.mark.crash
@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("option", "stride", "great"),
    [
        ("?fsync=never", 4, 1 << 20),
        ("?fsync=never", 4, 1),
        pytest.param("?fsync=never", 1, 1 << 20, marks=pytest.mark.full),
        pytest.param("?fsync=never", 1, 1, marks=pytest.mark.full),
        pytest.param("", 1, 1 << 20, marks=pytest.mark.full),
    ],
)
def test_a_kill_between_any_two_steps_loses_nothing_and_leaves_nothing_half_done(
    tmp_path: Path, option: str, stride: int, great: int
) -> None:
    """`great`: the bytes from which a session is staged that is new."""
    steps = int(child("kill_everywhere", tmp_path, option, stride, great))
    assert steps > 50


# --- torn --------------------------------------------------------------------------------------------------------


async def before_and_after(folder: Path) -> tuple[Path, Path, list[object]]:
    """Copies of a store before and after a batch over two sessions, as a kill would leave them, and what they show."""
    copies = folder.with_name("before"), folder.with_name("after")
    shown = []
    async with at(folder) as store:
        pen = await Pen.of(store)
        for step in SCRIPT[:-1]:
            await take(store, pen, step)
        for copy in copies:
            shutil.copytree(folder, copy)
            shown.append(await snapshot(store))
            await pen.made(delta("x"), delta("ÿ", OTHER))
    return *copies, shown


def sizes(first: int, last: int) -> list[int]:
    """Where something is torn: at each byte near its beginning and near its end, and at some between."""
    return sorted({*range(first, min(first + 60, last)), *range(first, last, 11), *range(max(first, last - 60), last)})


def only_journal(folder: Path) -> Path:
    [journal] = folder.glob("journal/*")
    return journal


async def shows(folder: Path, scratch: Path) -> object:
    shutil.rmtree(scratch, ignore_errors=True)
    shutil.copytree(folder, scratch)
    async with at(scratch, "?fsync=never") as store:
        return await snapshot(store)


async def test_a_batch_whose_record_is_torn_anywhere_is_not_done_in_any_session(folder: Path, tmp_path: Path) -> None:
    before, after, (shown_before, shown_after) = await before_and_after(folder)
    whole = only_journal(after).read_bytes()
    journal = only_journal(before)
    for size in sizes(journal.stat().st_size, len(whole) + 1):
        journal.write_bytes(whole[:size])
        expected = shown_after if size == len(whole) else shown_before
        assert await shows(before, tmp_path / "scratch") == expected
    # Whatever stands there instead.
    journal.write_bytes(whole[:-5] + b"\0\0\0\0\n")
    assert await shows(before, tmp_path / "scratch") == shown_before


async def test_a_line_that_is_torn_anywhere_is_written_again_from_the_journal(folder: Path, tmp_path: Path) -> None:
    _, after, (_, shown) = await before_and_after(folder)
    for name in ("ses_1", "ses_2"):
        file = after / f"sessions/ann/{name}.jsonl"
        whole = file.read_bytes()
        for size in sizes(whole[:-1].rindex(b"\n"), len(whole)):
            file.write_bytes(whole[:size])
            assert await shows(after, tmp_path / "scratch") == shown
        file.write_bytes(whole)


async def test_without_a_journal_a_torn_last_line_is_cut_off_and_the_session_goes_on(folder: Path) -> None:
    async with at(folder) as store:
        await (await Pen.of(store)).made(create(), delta("a"), delta("b"))
    file = folder / "sessions/ann/ses_1.jsonl"
    whole = file.read_bytes()
    last = whole[:-1].rindex(b"\n") + 1
    for size in sizes(last, len(whole)):
        file.write_bytes(whole[:size])
        async with at(folder, "?fsync=never") as store:
            assert len(await log(store)) == 2
            assert file.read_bytes() == whole[:last]
    async with at(folder) as store:
        assert await (await Pen.of(store)).made(delta("b")) == [3]
    assert file.read_bytes() == whole


# --- damaged -----------------------------------------------------------------------------------------------------


async def three(folder: Path) -> Path:
    """A store with three sessions; the file of the second."""
    async with at(folder) as store:
        keys = [Key("ann", f"ses_{number}") for number in range(3)]
        await (await Pen.of(store)).made(*map(create, keys), *(delta(key=key) for key in keys))
    return folder / "sessions/ann/ses_1.jsonl"


@pytest.mark.parametrize("place", ["first", "middle", "last"])
async def test_a_damaged_file_is_told_and_left_and_all_others_are_served(folder: Path, place: str) -> None:
    file = await three(folder)
    lines = file.read_bytes().splitlines(keepends=True)
    lines[{"first": 0, "middle": 1, "last": 2}[place]] = b'{"events":[{"seq":1\xff\n'
    file.write_bytes(b"".join(lines))
    async with at(folder) as store:
        for reading in (store.header(KEY), log(store), store.rows(KEY, ["msg_1"])):
            with pytest.raises(StoreUnavailable, match=r"ses_1\.jsonl is damaged"):
                await reading
        pen = await Pen.of(store)
        with pytest.raises(Misconfigured, match="damaged"):
            await pen.write(create(KEY))
        listed = await store.sessions("ann", after=None, limit=9)
        assert [header.session.id for header in listed] == ["ses_2", "ses_0"]
        await pen.made(delta(key=OTHER))
    assert file.read_bytes() == b"".join(lines)


async def test_a_file_that_vanishes_keeps_no_other_session_from_being_written(folder: Path) -> None:
    file = await three(folder)
    async with at(folder) as store:
        pen = await Pen.of(store)
        file.unlink()
        await pen.write(delta("lost"), delta(key=OTHER))
        assert len(await log(store, OTHER)) == 3
        with pytest.raises(StoreUnavailable, match="something else"):
            await store.header(KEY)
        await pen.made(delta(key=OTHER))
    async with at(folder) as store:
        assert await store.header(KEY) is None
        assert len(await log(store, OTHER)) == 4


HARMS: dict[str, Callable[[Path], object]] = {
    "is removed": Path.unlink,
    "is cut": lambda file: os.truncate(file, 20),
    "is spoilt": lambda file: file.write_bytes(file.read_bytes().replace(b"{", b"\xff")),
}


@pytest.mark.parametrize("harm", HARMS.values(), ids=HARMS.keys())
async def test_one_sessions_file_takes_no_list_from_the_others(folder: Path, harm: Callable[[Path], object]) -> None:
    keys = [Key("ann", f"ses_{number}") for number in range(5)]
    async with at(folder) as store:
        pen = await Pen.of(store)
        for key in keys:
            texts = (Text(message_id="msg_1", words="apple", at=NOON),)
            await pen.made(create(key, replies=[reply(pen.lease)]))
            made = change(key, 1, replies=[reply(pen.lease)], created=[row("msg_1", ended=False)])
            await pen.made(structs.replace(made, texts=texts, ended=(EndedRow(id="msg_1", at=0, ended_at=NOON),)))
    file = folder / "sessions/ann/ses_3.jsonl"
    async with at(folder) as store:
        harm(file)
        left = [key for key in keys if key.session_id != "ses_3"]
        assert {found.key for found in await store.search("ann", ["apple"], limit=9)} == set(left)
        assert [key for key, _ in await store.ripe("2027", 9)] == left
    for reads in ("sessions", "writing"):
        file.unlink(missing_ok=True)
        async with at(folder) as store:
            pen = await Pen.of(store)
            await pen.made(create(keys[3], replies=[reply(pen.lease)]))
            harm(file)
            # A whole page, though one of it is not there.
            if reads == "sessions":
                found = await store.sessions("ann", after=None, limit=4)
            else:
                found = await store.writing("ann", after=None, limit=4)
            assert sorted(header.session.id for header in found) == ["ses_0", "ses_1", "ses_2", "ses_4"]
            for again in (store.header(keys[3]), log(store, keys[3])):
                with pytest.raises(StoreUnavailable, match=r"ses_3\.jsonl"):
                    await again
            await store.compact(keys[0], ["msg_1"], ["message.delta"])
            assert keys[3] not in await store.idle("2027", 9)
            await pen.made(delta(key=keys[4]))


async def test_a_file_that_cannot_be_opened_at_the_start_keeps_no_other_session_from_being_served(folder: Path) -> None:
    file = await three(folder)
    file.unlink()
    file.mkdir()
    async with at(folder) as store:
        pen = await Pen.of(store)
        await pen.made(delta(key=OTHER))
        with pytest.raises(StoreUnavailable, match=file.name):
            await store.header(KEY)


async def test_a_link_that_leads_nowhere_keeps_no_other_session_from_being_served(folder: Path) -> None:
    file = await three(folder)
    file.unlink()
    file.symlink_to(file)
    async with at(folder) as store:
        await (await Pen.of(store)).made(delta(key=OTHER))
        with pytest.raises(StoreUnavailable, match=file.name):
            await store.header(KEY)


def test_a_file_that_may_not_be_written_keeps_no_other_session_from_it_and_loses_nothing() -> None:
    # Not in tmp_path, whose parents only their owner may enter.
    with tempfile.TemporaryDirectory() as parent:
        Path(parent).chmod(0o777)
        done = subprocess.run(
            [sys.executable, str(CHILDREN), "may_not_write_one_file", f"files:///{parent}/chat"],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("reading", [(State, "open"), (files_commits, "before")])
async def test_a_moment_without_files_is_no_fault_of_what_is_written(
    folder: Path, monkeypatch: pytest.MonkeyPatch, reading: tuple[object, str]
) -> None:
    """The end of a reply needs the index of its session, which may have to be read again, and what the journal is to tell of its file."""

    def none_left(*_: object) -> int:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    async with at(folder) as store:
        pen = await Pen.of(store)
        await pen.made(create(), change(KEY, 1, replies=[reply(pen.lease)], created=[row("msg_1", ended=False)]))
    async with at(folder) as store:
        pen = await Pen.of(store)
        assert isinstance(store, FilesStore)
        store._now.state.logs.drop(KEY)
        end = change(KEY, 2, ended=[EndedRow(id="msg_1", at=0, ended_at=NOON)])
        with monkeypatch.context() as patched:
            patched.setattr(*reading, none_left)
            with pytest.raises(StoreUnavailable, match="Too many open files"):
                await pen.write(end)
        await pen.again(end)
        assert len(await log(store)) == 3


async def test_lists_are_there_again_with_a_folder_that_was_away(folder: Path) -> None:
    await three(folder)
    async with at(folder) as store:
        move(folder, folder.with_name("away"))
        for reading in (store.sessions("ann", after=None, limit=9), store.header(KEY)):
            with pytest.raises(StoreUnavailable):
                await reading
        move(folder.with_name("away"), folder)
        assert len(await store.sessions("ann", after=None, limit=9)) == 3


async def test_an_append_that_is_long_has_many_lines_and_is_whole_or_not_there(folder: Path, tmp_path: Path) -> None:
    """So who reads one message of a session that was imported reads no more than a line."""
    drafts = [said("x" * 3_000, f"msg_{number}") for number in range(1_200)]
    rows = [row(f"msg_{number}", at=number + 1) for number in range(1_200)]
    texts = tuple(Text(message_id=f"msg_{number}", words=f"w{number} all", at=NOON) for number in range(1_200))
    rows[-1] = structs.replace(rows[-1], ended=False)
    made = structs.replace(
        create(KEY, said(kind="session.created"), *drafts),
        created=tuple(rows[::-1]),
        ended=(EndedRow(id="msg_1199", at=1_200, ended_at=NOON),),
        texts=texts,
    )
    async with at(folder) as store:
        pen = await Pen.of(store)
        await pen.made(made, delta(), delta(key=KEY))
        shown = await snapshot(store)
        shutil.copytree(folder, tmp_path / "crashed")
    file = folder / "sessions/ann/ses_1.jsonl"
    assert max(map(len, file.read_bytes().splitlines())) < files_lines.PIECE + 60_000
    assert file.read_bytes().count(b"w1199 ") == 1
    (folder / "index.jsonl").unlink()
    for place in (folder, tmp_path / "crashed"):
        async with at(place) as store:
            assert await snapshot(store) == shown
            assert [each.ended for each in (await store.children(KEY, [None]))[None]] == list(range(2, 1_202))
            assert [found.message_id for found in await store.search("ann", ["w1199"], limit=9)] == ["msg_1199"]
            assert len(await log(store)) == 1_203
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join(lines[:5]))
    async with at(folder) as store:
        assert await store.keys(after=None, limit=9) == []
        await (await Pen.of(store)).made(made)


# --- full, read-only, away ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["journal", "sessions"])
def test_a_full_disk_is_told_and_gone_when_there_is_room_again(folder: Path, where: str) -> None:
    child("fill", f"files:///{folder}", where)


@pytest.mark.parametrize("policy", ["always", "second"])
@pytest.mark.parametrize("seed", range(4))
async def test_what_was_acknowledged_is_on_a_disk_that_fails_now_and_then(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, policy: str, seed: int
) -> None:
    """An fsync that failed is never made up for by another one: what it was to make durable is written again."""
    monkeypatch.setattr(files_keeper, "TICK", 0.002)
    monkeypatch.setattr(files_keeper, "PAUSE", 0.002)
    monkeypatch.setattr(files_journal, "SYNC_EVERY", 0.01)
    monkeypatch.setattr(files_commits, "ROTATE_BYTES", 3_000)
    async with at(folder):
        pass
    disk = FailingDisk(folder, monkeypatch, Random(seed))
    async with at(folder, f"?fsync={policy}") as store:
        pen = await Pen.of(store)
        await pen.made(create(KEY), create(OTHER))
        disk.fails = 0.3
        for number in range(1_200):
            if number >= 120 and disk.failed > 3:  # how often it is asked to sync is a matter of time
                break
            pen.number += 1
            await until_taken(pen, delta(f"{number}" + "x" * 100), delta(f"{number}", OTHER))
            if policy == "always" and number % 20 == 0:
                shown = await snapshot(store)
                disk.crash(tmp_path / f"crashed {number}")
                assert await shows(tmp_path / f"crashed {number}", tmp_path / "scratch") == shown
        disk.fails = 0.0
        await asyncio.sleep(0.2)  # longer than the policy takes
        shown = await snapshot(store)
        disk.crash(tmp_path / "crashed")
    assert disk.failed > 3
    assert await shows(tmp_path / "crashed", tmp_path / "scratch") == shown


@pytest.mark.parametrize("great", [1, 1 << 20])
async def test_what_was_acknowledged_is_on_the_disk_when_the_machine_goes_down(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, great: int
) -> None:
    """Also what was compacted, and what was staged."""
    monkeypatch.setattr(staging, "GREAT", great)
    async with at(folder):
        pass
    disk = FailingDisk(folder, monkeypatch, Random(0))
    async with at(folder) as store:
        pen = await Pen.of(store)
        for number, step in enumerate(SCRIPT):
            await take(store, pen, step)
            shown = await snapshot(store)
            disk.crash(tmp_path / f"crashed {number}")
            assert await shows(tmp_path / f"crashed {number}", tmp_path / "scratch") == shown


async def test_who_reads_does_not_notice_that_a_file_is_written_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was read in the middle of it, found too short, and its session given up with the reply that was being written."""
    fails, looks = [OSError(errno.EIO, os.strerror(errno.EIO))], 0
    sync_file, write_at = files_disk.sync_file, files_disk.write_at

    def failing_once(path: Path) -> bool:
        if fails:
            raise fails.pop()
        return sync_file(path)

    monkeypatch.setattr(files_keeper, "TICK", 0.002)
    monkeypatch.setattr(files_keeper, "PAUSE", 0.002)
    async with at(folder) as store:
        assert isinstance(store, FilesStore)
        pen, state = await Pen.of(store), store._now.state
        await pen.made(create(), create(OTHER))
        assert await store.delete(OTHER, 1)  # its file is away, and made again: both are in the journal
        await pen.made(create(OTHER))
        for _ in range(9):
            await pen.made(delta(), delta(key=OTHER))

        def looked_at(fd: int, data: bytes, place: int) -> None:
            nonlocal looks
            write_at(fd, data, place)
            if again := sys._getframe(1).f_code.co_name == "_write_over":
                looks += again
                for key in (KEY, OTHER):
                    assert len(files_reads.events(state, key, 0, None, None, 99, 1 << 20)) >= 10

        monkeypatch.setattr(files_replay, "write_at", looked_at)
        monkeypatch.setattr(files_keeper, "sync_file", failing_once)
        monkeypatch.setattr(files_commits, "ROTATE_FILES", 0)
        for _ in range(200):
            await asyncio.sleep(0.005)
            await pen.made(delta(), delta(key=OTHER))
            if looks:
                break
        assert looks >= 20
    async with at(folder) as store:
        assert len(await log(store, OTHER)) == len(await log(store))


async def until_taken(pen: Pen, *batch: Append) -> None:
    """As the writer does: the same batch under its number until the store has done it."""
    for _ in range(1_000):
        try:
            await pen.again(*batch)
        except StoreUnavailable:
            await asyncio.sleep(0.002)
        else:
            return
    raise AssertionError("the store does not come back")


def move(folder: Path, to: Path) -> None:
    folder.rename(to)


async def test_a_folder_that_is_moved_away_is_told_and_nothing_is_lost_when_it_is_back(folder: Path) -> None:
    async with at(folder) as store:
        pen = await Pen.of(store)
        await pen.made(create(), delta("a"))
        move(folder, folder.with_name("away"))
        pen.number += 1
        for call in (pen.again(delta("b")), store.ping(), log(store), store.acquire_lease("b", 9)):
            with pytest.raises(StoreUnavailable):
                await call
        move(folder.with_name("away"), folder)
        await store.ping()
        await pen.again(delta("b"))
        await pen.again(delta("b"))
        assert len(await log(store)) == 3
        # Nor is a copy that lies in its place taken for it.
        move(folder, folder.with_name("away"))
        shutil.copytree(folder.with_name("away"), folder)
        with pytest.raises(StoreUnavailable):
            await pen.write(delta("c"))
        shutil.rmtree(folder)
        move(folder.with_name("away"), folder)
        await pen.again(delta("c"))
        assert len(await log(store)) == 4
    async with at(folder) as store:
        assert len(await log(store)) == 4


async def test_closing_waits_for_what_was_begun(folder: Path) -> None:
    async with at(folder) as store:
        pen = await Pen.of(store)
        await pen.write(create())
        writing = [asyncio.create_task(pen.made(delta(str(number)))) for number in range(20)]
        await asyncio.sleep(0.001)
    assert len(await asyncio.gather(*writing)) == 20
    async with at(folder) as store:
        assert len(await log(store)) == 21
