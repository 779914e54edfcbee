"""`rejoinder export`, `import` and `copy`: real servers, real stores, real kills."""

import asyncio
import os
import re
import signal
import sqlite3
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from functools import partialmethod
from pathlib import Path
from typing import Any

import pytest

from rejoinder.chat.export_format import FORMAT, MessageLine, Seal, SessionLine
from rejoinder.chat.importing import Reader
from rejoinder.cli import moving
from rejoinder.client import Client
from rejoinder.entities import Message, Session, Usage
from rejoinder.stores.sqlite.store import SqliteStore
from screen import COMMAND
from serving import ServerProcess
from wire import eventually, script, slow

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def other(tmp_path: Path) -> Iterator[ServerProcess]:
    """Another server, with a store of its own."""
    process = ServerProcess("memory:", tmp_path / "other.log")
    process.start()
    yield process
    process.close()


def talked(server: ServerProcess, *messages: Any) -> str:
    sid = server.api.session(title="Trip é")
    for message in messages:
        server.api.send_whole(sid, message)
    return sid


# --- export and import -------------------------------------------------------------------------------------------


def test_a_session_goes_through_a_file_to_another_server(
    run: Run, server: ServerProcess, other: ServerProcess, tmp_path: Path
) -> None:
    sid = talked(server, "one ünï", script("tokens=9 fail=reset@5"))
    file = tmp_path / "trip.jsonl"
    done = run("export", sid, "--url", server.api.url, "-o", str(file))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert file.read_bytes() == server.api.get(f"/sessions/{sid}/export").content
    done = run("import", str(file), "--url", other.api.url)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{sid}  {file}\n", "")
    done = run("export", sid, "--url", other.api.url)
    assert done.stdout == file.read_text(encoding="utf-8")
    assert [path.name for path in tmp_path.iterdir() if path.name.endswith(".part")] == []


def test_all_sessions_go_through_a_folder(
    run: Run, server: ServerProcess, other: ServerProcess, tmp_path: Path
) -> None:
    sids = {talked(server, "one"), talked(server, "two"), server.api.session()}
    folder = tmp_path / "backup" / "today"
    done = run("export", "--all", "-o", str(folder), "--url", server.api.url)
    assert (done.returncode, done.stderr) == (0, f"Sessions in {folder}: 3.\n")
    assert {path.name for path in folder.iterdir()} == {f"{sid}.jsonl" for sid in sids}
    done = run("import", *map(str, folder.iterdir()), "--url", other.api.url)
    assert (done.returncode, len(done.stdout.splitlines())) == (0, 3)
    again = tmp_path / "again"
    run("export", "--all", "-o", str(again), "--url", other.api.url)
    assert {path.name: path.read_bytes() for path in again.iterdir()} == {
        path.name: path.read_bytes() for path in folder.iterdir()
    }


def test_a_session_that_changes_while_all_are_exported_is_among_them(
    server: ServerProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Client, "sessions", partialmethod(Client.sessions, page=2))
    sids = [server.api.session() for _ in range(5)]
    export = moving._export_into
    new = list[str]()

    async def meanwhile(*args: Any) -> bool:
        if not new:
            server.api.ask("PATCH", f"/sessions/{sids[0]}", json={"title": "Moved"})
        new.append(server.api.session())
        return await export(*args)

    monkeypatch.setattr(moving, "_export_into", meanwhile)
    moving.export_all(server.api.url, tmp_path / "all")
    assert {path.stem for path in (tmp_path / "all").iterdir()} == set(sids)


def test_a_server_of_small_pages_is_listed_and_exported_as_any_other(run: Run, tmp_path: Path) -> None:
    server = ServerProcess("memory:", tmp_path / "server.log", max_page=2)
    server.start()
    try:
        sids = {talked(server, "one", "two") for _ in range(3)}
        done = run("sessions", "--url", server.api.url)
        assert (done.returncode, {line.split()[0] for line in done.stdout.splitlines()}) == (0, sids)
        done = run("export", "--all", "-o", str(tmp_path / "all"), "--url", server.api.url)
        assert (done.returncode, {path.stem for path in (tmp_path / "all").iterdir()}) == (0, sids)
        done = run("chat", "--session", min(sids), "--url", server.api.url, stdin="/history\n")
        assert (done.returncode, done.stdout) == (0, "> one\none\n> two\ntwo\n" * 2)
    finally:
        server.close()


def test_what_cannot_be_imported_is_told_and_the_rest_comes_in(
    run: Run, server: ServerProcess, other: ServerProcess, tmp_path: Path
) -> None:
    one, two = tmp_path / "one.jsonl", tmp_path / "two.jsonl"
    for file in (one, two):
        assert run("export", talked(server, "x"), "--url", server.api.url, "-o", str(file)).returncode == 0
    cut = tmp_path / "cut.jsonl"
    cut.write_bytes(one.read_bytes()[:-100])
    assert run("import", str(one), "--url", other.api.url).returncode == 0
    done = run("import", str(cut), str(one), "nowhere.jsonl", str(two), "--url", other.api.url)
    assert done.returncode == 1
    told = done.stderr.splitlines()
    assert (
        len(told) == 3
        and "Line 3 of the file: The file is not whole" in told[0]
        and "already" in told[1]
        and "No such file" in told[2]
    )
    assert str(two) in done.stdout and len(done.stdout.splitlines()) == 1


def test_a_file_comes_in_through_a_pipe(run: Run, server: ServerProcess, other: ServerProcess) -> None:
    sid = talked(server, "x")
    file = run("export", sid, "--url", server.api.url).stdout
    assert run("import", "-", "--url", other.api.url, stdin=file).returncode == 0
    assert other.api.get(f"/sessions/{sid}/export").text == file


def test_files_may_be_pipes_as_well(run: Run, server: ServerProcess, other: ServerProcess, tmp_path: Path) -> None:
    sids = [talked(server, "x"), talked(server, "y")]
    done = run("export", sids[0], "--url", server.api.url, "-o", "-")
    (tmp_path / f"{sids[0]}.jsonl").write_text(done.stdout)
    export = f"{' '.join(COMMAND)} export {sids[1]} --url {server.api.url} -o pipe"
    line = f"mkfifo pipe && {{ cat pipe > {sids[1]}.jsonl & {export}; test -p pipe && wait; }}"
    subprocess.run(["bash", "-c", line], cwd=tmp_path, check=True, timeout=50)
    files = " ".join(f"<(cat {tmp_path}/{sid}.jsonl)" for sid in sids)
    line = f"{' '.join(COMMAND)} import --url {other.api.url} {files}"
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=False, timeout=50)
    assert (done.returncode, done.stderr) == (0, "")
    for sid in sids:
        assert other.api.get(f"/sessions/{sid}/export").text == (tmp_path / f"{sid}.jsonl").read_text()


def test_an_export_that_fails_leaves_the_file_as_it_was(run: Run, server: ServerProcess, tmp_path: Path) -> None:
    file = tmp_path / "kept.jsonl"
    file.write_text("kept")
    for session, said in ((f"ses_{'0' * 32}", "There is no session"), ("../../etc", "There is no session")):
        done = run("export", session, "--url", server.api.url, "-o", str(file))
        assert (done.returncode, done.stdout) == (1, "") and said in done.stderr
    assert file.read_text() == "kept"
    done = run("export", talked(server, "x"), "--url", server.api.url, "-o", str(tmp_path / "no" / "folder.jsonl"))
    assert done.returncode == 1 and "No such file" in done.stderr and "Traceback" not in done.stderr
    for folder in (".", str(tmp_path)):
        done = run("export", talked(server, "x"), "--url", server.api.url, "-o", folder)
        assert done.returncode == 1 and done.stderr.startswith(f"rejoinder: {folder}: ")
        assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    "arguments", [["export"], ["export", "x", "--all"], ["export", "--all"], ["import"], ["copy", "--from", "memory:"]]
)
def test_what_was_not_understood_exits_with_2(run: Run, arguments: list[str]) -> None:
    assert run(*arguments).returncode == 2


def test_without_a_server_it_says_so(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "x.jsonl"
    file.write_text("x")
    for arguments in (["export", f"ses_{'0' * 32}"], ["import", str(file)]):
        done = run(*arguments, "--url", "http://127.0.0.1:9")
        assert done.returncode == 1 and "No server answers" in done.stderr


# --- copy --------------------------------------------------------------------------------------------------------


def a_store(path: Path, sessions: int, turns: int = 2, owner: str = "local") -> None:
    """A store with so many sessions, written as an import would."""

    async def write() -> None:
        async with SqliteStore(path) as store:
            lease = await store.acquire_lease("test", 60)
            appends = []
            for _ in range(sessions):
                reader = Reader(owner)
                for line in a_file(turns):
                    reader.take(line)
                appends.append(reader.whole().append)
            await store.append(lease, 1, appends)

    asyncio.run(write())


def a_file(turns: int) -> list[bytes]:
    now = "2026-01-01T00:00:00.000Z"
    sid = f"ses_{uuid.uuid4().hex}"
    head = f"msg_{2 * turns:032x}" if turns else None
    seal = Seal()
    session = Session(id=sid, title="é", head=head, created_at=now, updated_at=now)
    lines = [seal.add(SessionLine(rejoinder=FORMAT, session=session).encoded())]
    usage = Usage(input_tokens=1, output_tokens=1, source="provider")
    for n in range(1, 2 * turns + 1):
        message = Message(
            id=f"msg_{n:032x}",
            session_id=sid,
            parent_id=f"msg_{n - 1:032x}" if n > 1 else None,
            role="user" if n % 2 else "assistant",
            content="word " * 20,
            usage=None if n % 2 else usage,
            created_at=now,
            ended_at=now,
        )
        lines.append(seal.add(MessageLine(message=message).encoded()))
    return [*lines, seal.end().encoded()]


def sums(said: str) -> list[list[str]]:
    """Of both sides: sessions, messages and the hash."""
    found = re.findall(r"^(?:source|target)  ([\d,]+) sessions  ([\d,]+) messages  sha256 (\w+)$", said, re.MULTILINE)
    assert len(found) == 2, said
    return [list(side) for side in found]


def test_a_store_is_copied_and_serves(run: Run, server: ServerProcess, tmp_path: Path) -> None:
    sid = talked(server, "one", script("tokens=9 fail=reset@5"), [{"type": "text", "text": "é"}])
    live = server.api.send_async(sid, slow())["reply"]["id"]
    eventually(lambda: server.api.message(sid, live)["content"])
    server.signal(signal.SIGKILL)
    server.ended()
    arguments = ["copy", "--from", f"sqlite:///{tmp_path}/chat.db", "--to", f"sqlite:///{tmp_path}/new.db"]
    done = run(*arguments)
    assert done.returncode == 0, done.stderr
    source, target = sums(done.stdout)
    assert source == target and source[:2] == ["1", "8"]
    again = run(*arguments)
    assert (again.returncode, again.stdout) == (0, done.stdout) and "1 were there" in again.stderr
    moved = ServerProcess(f"sqlite:///{tmp_path}/new.db", tmp_path / "moved.log")
    try:
        api = moved.start()
        assert api.message(sid, live)["status"] == "interrupted" and api.message(sid, live)["content"]
        assert api.send_whole(sid, "and on")["reply"]["content"] == "and on"
    finally:
        moved.close()
    changed = run(*arguments)
    assert changed.returncode == 1 and f"{sid} of 'local' is there with other content" in changed.stderr


def test_all_owners_are_copied_to_their_own(run: Run, tmp_path: Path) -> None:
    for owner in ("ann", "bob", "local"):
        a_store(tmp_path / "from.db", 10, owner=owner)
    done = run("copy", "--from", f"sqlite:///{tmp_path}/from.db", "--to", f"sqlite:///{tmp_path}/to.db")
    assert done.returncode == 0, done.stderr
    assert sums(done.stdout)[1][:2] == ["30", "120"]
    with sqlite3.connect(tmp_path / "to.db") as connection:
        rows = connection.execute("SELECT owner, count(*) FROM sessions GROUP BY owner ORDER BY owner").fetchall()
    connection.close()
    assert rows == [("ann", 10), ("bob", 10), ("local", 10)]


def test_an_empty_store_is_copied(run: Run, tmp_path: Path) -> None:
    a_store(tmp_path / "from.db", 0)
    done = run("copy", "--from", f"sqlite:///{tmp_path}/from.db", "--to", f"sqlite:///{tmp_path}/to.db")
    assert done.returncode == 0 and sums(done.stdout)[0][:2] == ["0", "0"]


@pytest.mark.parametrize("source", ["sqlite:///none.db", "files:///none", "sqlite:///nowhere/none.db"])
def test_a_store_that_is_not_there_is_not_copied_and_not_made(run: Run, tmp_path: Path, source: str) -> None:
    done = run("copy", "--from", source, "--to", "sqlite:///to.db")
    assert (done.returncode, done.stdout) == (1, "")
    place = source.partition(":///")[2]
    assert done.stderr == f"rejoinder: There is no store at {tmp_path.resolve() / place}.\n"
    assert list(tmp_path.iterdir()) == []


def test_a_store_in_memory_is_no_place_to_copy_from_or_to(run: Run, tmp_path: Path) -> None:
    for source, target in (("memory:", "sqlite:///to.db"), ("sqlite:///from.db", "memory:")):
        done = run("copy", "--from", source, "--to", target)
        assert done.returncode == 2 and "memory" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_copy_that_is_killed_is_simply_made_again(run: Run, tmp_path: Path) -> None:
    a_store(tmp_path / "from.db", 300, turns=5)
    stores = ["--from", f"sqlite:///{tmp_path}/from.db", "--to", f"sqlite:///{tmp_path}/to.db"]
    killed = 0
    for wanted in (20, 100, 200):
        process = subprocess.Popen(
            [*COMMAND, "copy", *stores], cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        while process.poll() is None and count(tmp_path / "to.db") < wanted:
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        killed += process.wait(20) == -signal.SIGKILL
        assert whole(tmp_path / "to.db"), "no session is there in part"
    assert killed == 3, "each was killed in the middle"
    there = count(tmp_path / "to.db")
    done = run("copy", *stores)
    assert done.returncode == 0, done.stderr
    assert f"{there:,} were there" in done.stderr
    source, target = sums(done.stdout)
    assert source == target and source[:2] == ["300", "3,000"]


def count(path: Path) -> int:
    """The sessions of a file that another process writes."""
    try:
        return _asked(path, "SELECT count(*) FROM sessions")
    except sqlite3.OperationalError:
        return 0


def whole(path: Path) -> bool:
    """Whether every session has all of its ten messages."""
    return _asked(path, "SELECT count(*) FROM messages") == 10 * count(path)


def _asked(path: Path, sql: str) -> int:
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        [number] = connection.execute(sql).fetchone()
    finally:
        connection.close()
    return int(number)


def test_a_store_that_a_server_holds_is_refused(run: Run, server: ServerProcess, tmp_path: Path) -> None:
    held, free = f"sqlite:///{tmp_path}/chat.db", f"sqlite:///{tmp_path}/other.db"
    a_store(tmp_path / "other.db", 1)
    for source, target in ((held, free), (free, held)):
        done = run("copy", "--from", source, "--to", target)
        assert done.returncode == 1 and "Traceback" not in done.stderr
        [line] = done.stderr.splitlines()
        assert line.startswith("rejoinder: ") and "chat.db" in line
    assert run("copy", "--from", held, "--to", held).returncode == 2


def test_what_was_copied_is_told(tmp_path: Path) -> None:
    a_store(tmp_path / "from.db", 300, turns=20)
    process = subprocess.run(
        [*COMMAND, "copy", "--from", f"sqlite:///{tmp_path}/from.db", "--to", f"sqlite:///{tmp_path}/to.db"],
        cwd=tmp_path,
        env=os.environ,
        capture_output=True,
        text=True,
        timeout=50,
        check=True,
    )
    lines = process.stderr.splitlines()
    assert re.fullmatch(r"300 sessions copied with 12,000 messages \([\d,]+/s\); 0 were there, 0 differ", lines[-2])
    source, target = sums(process.stdout)
    assert source == target
