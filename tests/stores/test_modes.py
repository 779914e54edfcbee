"""Who may read what the stores keep on a machine that many share: the one user whose they are."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from pens import KEY, NOON, Pen, change, create, delta, row, said
from rejoinder.abc import Append, EndedRow, Store, Text
from rejoinder.errors import Misconfigured
from rejoinder.stores import open_store


@pytest.fixture(autouse=True)
def open_handed() -> Iterator[None]:
    """A user who lets everybody read and write what is made without care."""
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.fixture(params=["sqlite", "files"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return f"{request.param}:///{tmp_path}/store"


async def use(store: Store) -> None:
    """Writes, compacts and searches, as years of use do."""
    pen = await Pen.of(store)
    await pen.made(create(KEY))
    begun = said("a", "msg_1", "message.created")
    await pen.made(change(KEY, 1, begun, created=[row("msg_1")]), delta())
    await pen.made(
        change(KEY, 2, said("b", "msg_1", "message.ended"), ended=[EndedRow(id="msg_1", at=0, ended_at=NOON)])
    )
    await pen.made(Append(key=KEY, drafts=(), texts=(Text(message_id="msg_1", words="word", at=NOON),)))
    await store.search(KEY.owner, ["word"], limit=1)
    await store.compact(KEY, ["msg_1"], ["message.delta"])


def modes(folder: Path) -> dict[str, int]:
    return {str(path.relative_to(folder)): stat.S_IMODE(path.lstat().st_mode) for path in folder.rglob("*")}


def open_up(folder: Path) -> None:
    for path in folder.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)


def lock_of(folder: Path) -> Path:
    [lock] = [path for path in folder.rglob("*") if path.name.endswith("lock")]
    return lock


async def test_nobody_else_can_read_what_a_store_makes(url: str, tmp_path: Path) -> None:
    async with open_store(url) as store:
        await use(store)
        while_open = modes(tmp_path)
    async with open_store(url):
        found = while_open | modes(tmp_path)
    assert len(while_open) >= 4
    assert {name: oct(mode) for name, mode in found.items() if mode & 0o077} == {}


async def test_what_is_there_keeps_its_mode(url: str, tmp_path: Path) -> None:
    async with open_store(url) as store:
        await use(store)
    open_up(tmp_path)
    there = modes(tmp_path)
    async with open_store(url) as store:
        await (await Pen.of(store)).made(delta())
        await store.compact(KEY, ["msg_1"], ["message.delta"])
    found = modes(tmp_path)
    assert {name: mode for name, mode in there.items() if found.get(name, mode) != mode} == {}


async def test_a_lock_that_leads_elsewhere_is_not_followed(url: str, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("not to be touched")
    async with open_store(url):
        pass
    lock = lock_of(tmp_path)
    lock.unlink()
    lock.symlink_to(elsewhere)
    with pytest.raises(Misconfigured):
        async with open_store(url):
            pass
    assert elsewhere.read_text() == "not to be touched"
