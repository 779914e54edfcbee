"""One URL chooses the store, and a wrong one is told apart before anything is served."""

import subprocess
import sys
from pathlib import Path

import pytest

from pens import KEY, NOON, Pen, create, log, row, said
from rejoinder.abc import Append, EndedRow
from rejoinder.errors import Misconfigured
from rejoinder.stores import open_store
from store_urls import LASTING, STORE_URLS


@pytest.mark.parametrize(
    ("url", "word"),
    [
        ("", "sqlite:///"),
        ("rejoinder.db", "sqlite:///"),
        ("/var/lib/rejoinder.db", "sqlite:///"),
        ("mysql://root:hunter2@db/chat", "mysql"),
        ("sqlite:rejoinder.db", "sqlite:///"),
        ("sqlite://rejoinder.db", "sqlite:///"),
        ("sqlite://", "sqlite:///"),
        ("sqlite:///", "sqlite:///"),
        ("sqlite:///:memory:", "memory:"),
        ("sqlite:///chat.db?mode=ro", "options"),
        ("sqlite:///chat\0.db", "NUL"),
        ("memory:hunter2", "memory:"),
        ("hunter2", "sqlite:///"),
        ("hunter2:x@db/chat", "sqlite:///"),
        ("postgresql://root:1/hunter2@db", "%XX"),
        ("postgresql://root:1/hunter2@db/chat", "%XX"),
        ("postgresql://root:1?hunter2@db/chat", "cannot be read"),
        ("postgresql://root:1#hunter2@db/chat", "%XX"),
        ("postgresql:///root:hunter2@db", "%XX"),
        ("postgresql:root:hunter2@db/chat", "%XX"),
        ("redis://root:1/hunter2@db", "number"),
        ("redis://root:1/hunter2@db/0", "number"),
        ("redis://:1/hunter2@db/0", "form"),
        ("redis://root:1?hunter2@db/0", "option"),
        ("redis://root:hunter2@db:port/0", "form"),
    ],
)
def test_a_wrong_url_is_told_what_is_right(url: str, word: str) -> None:
    with pytest.raises(Misconfigured, match=word) as told:
        open_store(url)
    assert "hunter2" not in str(told.value)


async def test_three_slashes_are_relative_and_four_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a folder").mkdir()
    for url, path in (
        ("sqlite:///chat.db", "chat.db"),
        ("sqlite:///a folder/chat #1 100%41.db", "a folder/chat #1 100%41.db"),
        (f"sqlite:///{tmp_path}/absolute.db", "absolute.db"),
    ):
        assert not (tmp_path / path).exists()
        async with open_store(url) as store:
            await store.ping()
        assert (tmp_path / path).exists()


def folder_content(folder: Path) -> list[Path]:
    return list(folder.iterdir())


async def test_opening_waits_for_entering(tmp_path: Path) -> None:
    open_store(f"sqlite:///{tmp_path}/chat.db")
    open_store(f"sqlite:///{tmp_path}/no/such/folder/chat.db")
    assert not any(folder_content(tmp_path))


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@pytest.mark.parametrize("kind", ["sqlite", "files"])
async def test_closing_lets_go_of_every_file(tmp_path: Path, kind: str) -> None:
    begun = Append(key=KEY, drafts=(said(), said(message_id="msg_1")), created=(row("msg_1", ended=False),))
    ended = Append(key=KEY, drafts=(said(),), ended=(EndedRow(id="msg_1", at=0, ended_at=NOON),))
    for _ in range(2):
        async with open_store(STORE_URLS[kind](tmp_path)) as store:
            await (await Pen.of(store)).made(create(), begun, ended)
            await store.compact(KEY, ["msg_1"], ["message.delta"])
            assert len(await store.sessions("ann", after=None, limit=9)) == 1
            assert len(await log(store)) == 3
            assert await store.delete(KEY, 1)
            assert [path for path in held() if path.is_relative_to(tmp_path)]
        assert not [path for path in held() if path.is_relative_to(tmp_path)]


def held() -> list[Path]:
    """The files that this process has open."""
    return [fd.resolve() for fd in Path("/proc/self/fd").iterdir()]


@pytest.mark.parametrize("kind", STORE_URLS)
async def test_one_that_is_only_looked_for_is_not_made(tmp_path: Path, kind: str) -> None:
    url = STORE_URLS[kind](tmp_path)
    before = folder_content(tmp_path)
    for _ in range(2):
        with pytest.raises(Misconfigured, match="There is no store at"):
            async with open_store(url, make=False):
                pass
    assert folder_content(tmp_path) == before
    if kind in LASTING:
        async with open_store(url):
            pass
        async with open_store(url, make=False) as store:
            await store.ping()


def test_only_the_chosen_backend_is_imported() -> None:
    check = (
        "import sys; from rejoinder.stores import open_store; open_store('memory:'); "
        "assert not {'sqlite3', 'rejoinder.stores.sqlite.store'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", check], check=True, timeout=30)


@pytest.mark.parametrize(
    ("driver", "opening"),
    [
        ("redis", "from rejoinder.stores import open_store as open; open('redis://localhost')"),
        ("redis", "from rejoinder.signals import open_signals as open; open('memory:', 'redis://localhost')"),
        ("asyncpg", "from rejoinder.stores import open_store as open; open('postgresql://localhost/chat')"),
        (
            "asyncpg",
            "from rejoinder.signals import open_signals as open; open('memory:', 'postgresql://localhost/chat')",
        ),
    ],
)
def test_without_its_driver_it_says_how_to_install_what_there_is(driver: str, opening: str) -> None:
    check = f"import sys; sys.modules['{driver}'] = None\n{opening}"
    done = subprocess.run([sys.executable, "-c", check], check=False, timeout=30, capture_output=True, text=True)
    told = done.stderr.splitlines()[-1]
    extra = "redis" if driver == "redis" else "postgres"
    assert told.startswith("rejoinder.errors.Misconfigured: ") and f"pip install '.[{extra}]'" in told
    assert f"\n{extra} = [" in (Path(__file__).parents[2] / "pyproject.toml").read_text()
