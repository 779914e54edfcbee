"""Opening a store in Redis: what is refused, what is warned of, and that no password is told."""

import asyncio
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from pens import KEY, NOON, Pen, change, create, delta, log, row
from redis_server import RedisServer, free_port, redis_server
from rejoinder.abc import EndedRow, Wake
from rejoinder.errors import LeaseLost, Misconfigured, StoreLocked, StoreUnavailable
from rejoinder.signals import open_signals
from rejoinder.stores import open_store, staging

PASSWORD = "correct-horse:battery/staple@1"
QUOTED = "correct-horse%3Abattery%2Fstaple%401"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    folder = tmp_path_factory.mktemp("redis")
    with redis_server(folder, appendonly="yes", appendfsync="always", requirepass=PASSWORD) as started:
        yield started


@pytest.fixture(autouse=True)
def nothing_kept(server: RedisServer) -> None:
    server.ask("FLUSHALL")
    for setting in (("appendonly", "yes"), ("appendfsync", "always"), ("maxmemory-policy", "noeviction")):
        server.ask("CONFIG", "SET", *setting)


def at(server: RedisServer, user: str = f":{QUOTED}", rest: str = "/0") -> str:
    return f"redis://{user}@127.0.0.1:{server.port}{rest}"


async def opened(url: str) -> None:
    async with open_store(url) as store:
        await store.ping()


async def refused(url: str, word: str) -> str:
    with pytest.raises(Misconfigured, match=word) as told:
        await opened(url)
    assert "correct-horse" not in str(told.value) and "wrong-horse" not in str(told.value)
    return str(told.value)


# --- URLs --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "word"),
    [
        ("redis:", "redis://"),
        ("redis://", "redis://"),
        ("redis:///0", "redis://"),
        ("redis://:wrong-horse@localhost:port/0", "redis://"),
        ("redis://:wrong-horse@localhost/chat", "number"),
        ("redis://:wrong-horse@localhost/0?db=1", "prefix"),
        ("redis://:wrong-horse@localhost/0?ca=file", "prefix"),
        ("redis://:wrong-horse@localhost/0?prefix=", "letters"),
        ("redis://:wrong-horse@localhost/0?prefix={a}", "letters"),
        ("redis://:wrong-horse@localhost/0#wrong-horse", "redis://"),
    ],
)
def test_a_wrong_url_is_told_what_is_right(url: str, word: str) -> None:
    with pytest.raises(Misconfigured, match=word) as told:
        open_store(url)
    assert "wrong-horse" not in str(told.value)


async def test_prefixes_and_databases_are_places_of_their_own(server: RedisServer) -> None:
    for rest in ("", "/0?prefix=other", "/1", "/15?prefix=other"):
        async with open_store(at(server, rest=rest)) as store:
            assert await store.keys(after=None, limit=9) == []
            await (await Pen.of(store)).made(create())


async def test_its_keys_lie_under_the_prefix_alone(server: RedisServer) -> None:
    await opened(at(server, rest="/0?prefix=a.b-c_1"))
    assert all(key.startswith(b"{a.b-c_1}:") for key in server.ask("KEYS", "*"))


# --- refused -----------------------------------------------------------------------------------------------------


async def test_a_wrong_password_and_none_are_told_apart_from_a_server_that_is_away(server: RedisServer) -> None:
    await refused(at(server, ":wrong-horse"), "user and password")
    await refused(at(server, "nobody:wrong-horse"), "user and password")
    await refused(f"redis://127.0.0.1:{server.port}/0", "user and password")
    with pytest.raises(StoreUnavailable, match="reached") as told:
        await opened(f"redis://:wrong-horse@127.0.0.1:{free_port()}/0")
    assert "wrong-horse" not in str(told.value)
    await opened(at(server))


async def test_a_database_that_is_not_there(server: RedisServer) -> None:
    await refused(at(server, rest="/99"), "DB index")


async def test_a_user_who_may_not_write(server: RedisServer) -> None:
    server.ask("ACL", "SETUSER", "reader", "on", ">correct-horse", "~*", "&*", "+@read", "+@connection")
    await refused(at(server, "reader:correct-horse"), "may not")


@pytest.mark.parametrize(
    "command",
    [
        ("SET", "{rejoinder}:something", "else"),
        ("SET", "{rejoinder}:schema", "else"),
        ("HSET", "{rejoinder}:schema", "rejoinder", "1"),
        ("SET", "{rejoinder}:schema", "rejoinder one"),
    ],
)
async def test_what_is_somebody_elses_is_left_alone(server: RedisServer, command: tuple[str, ...]) -> None:
    for number in range(50):
        server.ask("SET", f"other:{number}", "x")
    server.ask(*command)
    before = sorted(server.ask("KEYS", "*"))
    await refused(at(server), "something else")
    assert sorted(server.ask("KEYS", "*")) == before


async def test_what_is_written_after_redis_came_back_empty_can_be_opened_again(server: RedisServer) -> None:
    async with open_store(at(server)) as store:
        server.ask("FLUSHALL")
        pen = await Pen.of(store)
        await pen.made(create(KEY))
    async with open_store(at(server)) as store:
        assert await store.header(KEY) is not None


async def test_a_schema_of_a_later_version(server: RedisServer) -> None:
    await opened(at(server))
    server.ask("SET", "{rejoinder}:schema", "rejoinder 3")
    await refused(at(server), "later version")


async def test_a_schema_of_an_earlier_version_is_left_to_whoever_serves_it(server: RedisServer) -> None:
    async with open_store(at(server)) as store:
        server.ask("SET", "{rejoinder}:schema", "rejoinder 1")
        lease = await store.acquire_lease("earlier", 60)
        with pytest.raises(StoreLocked, match="earlier"):
            await opened(at(server))
        assert server.ask("GET", "{rejoinder}:schema") == b"rejoinder 1"
        # One that was killed is gone when its lease is over.
        await store.renew_lease(lease, 0.001)
        await asyncio.sleep(0.01)
        await opened(at(server))
        with pytest.raises(LeaseLost):
            await store.renew_lease(lease, 60)


# --- warned of ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        (("appendonly", "yes"), []),
        (("appendonly", "no"), ["appendonly is off"]),
        (("appendfsync", "everysec"), ["appendfsync is everysec"]),
        (("appendfsync", "no"), ["appendfsync is no"]),
        (("maxmemory-policy", "allkeys-lru"), ["maxmemory-policy is allkeys-lru"]),
    ],
)
async def test_settings_that_weaken_the_promise_are_warned_of(
    server: RedisServer, caplog: pytest.LogCaptureFixture, setting: tuple[str, str], words: list[str]
) -> None:
    server.ask("CONFIG", "SET", *setting)
    with caplog.at_level(logging.WARNING, "rejoinder"):
        await opened(at(server))
    assert len(caplog.messages) == len(words)
    assert all(word in told for word, told in zip(words, caplog.messages, strict=True))


RIGHTS = ("~{rejoinder}:*", "&{rejoinder}:*", "+@all", "-@admin", "-@dangerous")


@pytest.mark.parametrize("may_look", [True, False])
async def test_a_user_of_our_keys_alone_is_enough_and_settings_that_are_secret_are_said_to_be(
    server: RedisServer, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, may_look: bool
) -> None:
    """The rights that docs/stores.md asks for, and the same without a look at the settings."""
    look = ("+config|get", "+info") if may_look else ()
    documented = " ".join((*RIGHTS, "+config|get", "+info"))
    assert documented in (Path(__file__).parents[2] / "docs" / "stores.md").read_text(encoding="utf-8")
    server.ask("ACL", "SETUSER", "chat", "reset", "on", ">correct-horse", *RIGHTS, *look)
    url = at(server, "chat:correct-horse")
    with caplog.at_level(logging.WARNING, "rejoinder"):
        async with open_store(url) as store, open_signals(url) as signals:
            signals.publish([Wake(KEY)])
            pen = await Pen.of(store)
            await pen.made(create(), change(KEY, 1, created=[row("msg_1", ended=False)]), delta())
            await pen.made(change(KEY, 2, ended=[EndedRow(id="msg_1", at=0, ended_at=NOON)]))
            await store.renew_lease(pen.lease, 60)
            await store.revoke_expired()
            await store.compact(KEY, ["msg_1"], ["message.delta"])
            assert len(await log(store)) == 3
            await store.ping()
            assert await store.delete(KEY, 3)
            monkeypatch.setattr(staging, "GREAT", 1)
            await pen.made(await store.stage(pen.lease, create()))
            await store.ripe(NOON, 1)
    assert len(caplog.messages) == (0 if may_look else 1)
    assert may_look or "does not tell its settings" in caplog.text
