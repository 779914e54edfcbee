"""Long sessions in a Redis store: they come and go by portions, between which others write, and are there or gone at once."""

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Iterator

import pytest
from msgspec import structs
from redis import Redis

from pens import KEY, NOON, OTHER, Pen, create, delta, log, long_session, reply, row, said
from redis_server import RedisServer, redis_server
from rejoinder.abc import Append, EndedRow, Refused, Row, Store, Text
from rejoinder.entities import Key
from rejoinder.errors import LeaseLost, StoreUnavailable
from rejoinder.redis_link import RedisUrl
from rejoinder.stores import open_store, staging
from rejoinder.stores.redis import index as redis_index
from rejoinder.stores.redis import portions as redis_portions
from rejoinder.stores.redis import store as redis
from tcp_proxy import tcp_proxy

numbers = itertools.count(1)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    # Else short hashes are looked through as a whole.
    options = {"appendonly": "yes", "appendfsync": "always", "hash_max_listpack_entries": 0}
    with redis_server(tmp_path_factory.mktemp("redis"), **options) as started:
        yield started


@pytest.fixture
def url(server: RedisServer) -> str:
    return f"{server.url}?prefix=test-{next(numbers)}"


SIZES = {"stream": "XLEN", "hash": "HLEN", "zset": "ZCARD", "list": "LLEN"}
AROUND = {"schema", "epoch", "expiries", "lease", "numbers"}


def left_of(server: RedisServer, url: str) -> dict[str, int]:
    """How much there is of each kind of key, but for what there always is."""
    found: dict[str, int] = {}
    names = RedisUrl.parse(url).names
    with Redis(port=server.port) as client, client.pipeline(transaction=False) as asked:
        kinds = {key: key.decode().removeprefix(names).partition(":")[0] for key in client.keys(names + "*")}
        sized = [key for key, kind in kinds.items() if kind not in AROUND]
        for key in sized:
            asked.type(key)
        types = asked.execute()
        for key, of in zip(sized, types, strict=True):
            asked.execute_command(SIZES.get(of.decode(), "EXISTS"), key)
        for key, size in zip(sized, asked.execute(), strict=True):
            found[kinds[key]] = found.get(kinds[key], 0) + size
    return {kind: size for kind, size in found.items() if size}


async def until_left(server: RedisServer, url: str, *kinds: str) -> dict[str, int]:
    """What there is once there are no other kinds."""
    async with asyncio.timeout(5):
        while (left := left_of(server, url)).keys() - set(kinds):  # noqa: ASYNC110  # Redis's affair
            await asyncio.sleep(0.01)
    return left


SESSION = ("session", "events", "rows", "index", "texts", "list", "found", "keys", "idle", "ripe")


@pytest.fixture(autouse=True)
def short_is_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(staging, "GREAT", 1_000)
    monkeypatch.setattr(staging, "PIECE", 12_000)
    monkeypatch.setattr(redis_portions, "PORTION", 10)


async def imported(pen: Pen, append: Append) -> None:
    await pen.made(await pen.store.stage(pen.lease, append))


async def found(store: Store, word: str) -> int:
    return len(await store.search("ann", [word], limit=99))


# --- come and gone -----------------------------------------------------------------------------------------------


async def test_others_write_while_a_long_session_is_imported(server: RedisServer, url: str) -> None:
    async with open_store(url) as store:
        pen = await Pen.of(store)
        await pen.made(create(OTHER))
        staging_it = asyncio.create_task(store.stage(pen.lease, long_session()))
        sizes = set[int]()
        while not staging_it.done():
            [seq] = await pen.made(delta("", OTHER))
            sizes.add(left_of(server, url)["events"] - seq)
        assert len(sizes) > 3, "it was done at once"
        assert await store.header(KEY) is None
        await pen.made(await staging_it)
        # Without the bulk, which would be another long one.
        assert await found(store, "secret") == 60
        assert len(await store.ripe("2027", 99)) == 60


async def test_others_write_while_a_long_session_is_deleted(server: RedisServer, url: str) -> None:
    async with open_store(url) as store:
        pen = await Pen.of(store)
        await pen.made(create(OTHER), long_session())
        assert await store.delete(KEY, 1)
        sizes = set[int]()
        while (left := left_of(server, url)).get("deleted"):
            await pen.made(delta("", OTHER))
            sizes.add(left.get("found", 0))
            assert await found(store, "secret") == 0
        assert len(sizes) > 3, "it was done at once"
        assert await store.header(KEY) is None
        assert await log(store) == []
        assert await store.ripe("2027", 99) == []


async def test_a_deleted_session_leaves_nothing(server: RedisServer, url: str) -> None:
    async with open_store(url) as store:
        pen = await Pen.of(store)
        await pen.made(
            create(KEY, replies=[reply(pen.lease)]),
            Append(
                key=KEY,
                drafts=(said("a", "msg_1"), said("b", "msg_1")),
                created=(row("msg_1", ended=False), row("msg_2", at=1)),
                texts=(Text(message_id=None, words="title", at=NOON), Text(message_id="msg_1", words="a b", at=NOON)),
            ),
            Append(key=KEY, drafts=(said(),), ended=(EndedRow(id="msg_1", at=0, ended_at=NOON),)),
        )
        assert left_of(server, url).keys() == {*SESSION, "owned", "writing"}
        assert await store.delete(KEY, 1)
        assert await until_left(server, url) == {}


async def test_rows_of_a_long_session_are_read_by_portions(
    server: RedisServer, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_index, "PIECE", 10)
    async with open_store(url) as store:
        names = [f"msg_{n:02}" for n in range(60)]
        created = tuple(
            row(name, names[n - 1] if n else None, lane="msg_00", depth=n, at=n) for n, name in enumerate(names)
        )
        await (await Pen.of(store)).made(structs.replace(long_session(), created=created, ended=()))
        reads: list[tuple[Callable[[], Awaitable[list[Row]]], range]] = [
            (lambda: store.branch(KEY, "msg_59", low=5, high=1 << 40), range(5, 60)),
            (lambda: store.branch(KEY, "msg_59", low=5, high=44), range(5, 45)),
            (lambda: store.created(KEY, after=5, before=1 << 40, limit=1 << 40), range(5, 60)),
            (lambda: store.created(KEY, after=5, before=50, limit=41), range(5, 46)),
            (lambda: store.created(KEY, after=5, before=1 << 40, limit=51, newest=True), range(9, 60)),
        ]
        for read, depths in reads:
            server.ask("CONFIG", "RESETSTAT")
            assert [found.depth for found in await read()] == list(depths)
            assert server.ask("INFO", "commandstats")["cmdstat_evalsha"]["calls"] >= len(depths) / 10


# --- broken off --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("begun", [False, True])
async def test_a_deletion_that_was_broken_off_is_finished_by_any_other_process(
    server: RedisServer, url: str, begun: bool
) -> None:
    """As by a kill. Whoever makes the session again meanwhile has a new one, which keeps what it has."""
    async with open_store(url) as store:
        await imported(await Pen.of(store), long_session())
        assert await found(store, "secret") == 60
        assert await store.delete(KEY, 1)
        while begun and left_of(server, url)["found"] == 60:  # noqa: ASYNC110  # Redis's affair
            await asyncio.sleep(0)
    assert left_of(server, url)["deleted"]
    async with open_store(url) as store:
        again = long_session(word="again", count=40)
        await imported(await Pen.of(store), again)
        assert await found(store, "again") == 40
        await store.revoke_expired()
        left = await until_left(server, url, *SESSION)
        assert {kind: left[kind] for kind in ("found", "texts", "ripe", "rows", "events")} == dict.fromkeys(
            ("found", "texts", "ripe", "rows", "events"), 40
        )
        assert await found(store, "again") == 40
        assert await found(store, "secret") == 0
        assert len(await store.ripe("2027", 99)) == 40
        assert [event.data for event in await log(store)] == [draft.data for draft in again.drafts]


async def test_what_the_shared_sets_were_not_told_of_yet_is_found(url: str) -> None:
    """Also by another process, and as it is by then."""
    async with open_store(url) as store:
        pen = await Pen.of(store)
        later = (Text(message_id="msg_01", words="new", at=NOON), Text(message_id="msg_02", words="", at=NOON))
        await pen.made(await store.stage(pen.lease, long_session()), Append(key=KEY, drafts=(), texts=later))
    async with open_store(url) as store:
        await store.compact(KEY, ["msg_03"], [])
        assert await found(store, "secret") == 58
        assert await found(store, "new") == 1
        assert len(await store.ripe("2027", 99)) == 59


async def test_texts_of_a_deleted_session_take_no_place_of_others_in_what_is_found(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While they are dropped."""
    monkeypatch.setattr(redis, "SCANNED", 5)
    async with open_store(url) as store:
        await (await Pen.of(store)).made(long_session(Key("ann", "ses_0"), count=1), long_session())
        assert await store.delete(KEY, 1)
    async with open_store(url) as store:
        assert await found(store, "secret") == 1


async def test_events_of_a_message_deep_in_a_long_log_are_looked_for_by_pieces(server: RedisServer, url: str) -> None:
    """Between which others are served. The first ends among those that are wanted."""

    def scripts() -> int:
        return int(server.ask("INFO", "commandstats")["cmdstat_evalsha"]["calls"])

    async with open_store(url) as store:
        await (await Pen.of(store)).made(create(KEY, *(said(message_id=f"msg_{n // 2_000}") for n in range(2_100))))
        before = scripts()
        events = await store.events(KEY, after=0, message_ids=["msg_1"])
        assert [event.seq for event in events] == list(range(2_001, 2_101))
        assert scripts() - before == 2


async def test_long_events_are_read_at_their_seqs_by_pieces(url: str) -> None:
    async with open_store(url) as store:
        long = said("x" * (2 << 20))
        await (await Pen.of(store)).made(create(KEY, long, long, said(), said()))
        assert [event.seq for event in await store.events_at(KEY, [4, 1, 2, 3])] == [1, 2, 3, 4]


async def test_texts_are_looked_through_by_pieces_and_not_for_ever(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis, "PIECE", 20)
    async with open_store(url) as store:
        await (await Pen.of(store)).made(long_session())
        assert await found(store, "secret") == 60
        monkeypatch.setattr(redis, "SCANNED", 30)
        assert await found(store, "secret") == 40


async def test_what_was_staged_in_vain_is_dropped(server: RedisServer, url: str) -> None:
    async with open_store(url) as store:
        pen, other = await Pen.of(store), await Pen.of(store, "other")
        staged = await store.stage(pen.lease, long_session())
        await pen.made(create(KEY))
        assert await pen.write(staged) == [Refused("exists")]
        await store.stage(other.lease, long_session(OTHER))
        await store.release_lease(other.lease)
        await store.revoke_expired()
        assert (await until_left(server, url, *SESSION[:2], *SESSION[5:]))["events"] == 1
        with pytest.raises(LeaseLost):
            await store.stage(other.lease, long_session(OTHER))
        # In the middle of it.
        staging_it = asyncio.create_task(store.stage(pen.lease, long_session(OTHER)))
        while left_of(server, url).get("rows", 0) < 20:  # noqa: ASYNC110  # Redis's affair
            await asyncio.sleep(0)
        staging_it.cancel()
        await asyncio.gather(staging_it, return_exceptions=True)
        await until_left(server, url, *SESSION[:2], *SESSION[5:])


async def test_a_piece_whose_answer_was_lost_is_there_once(
    server: RedisServer, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(staging, "PAUSES", (0.01, 0.01))
    with tcp_proxy(("127.0.0.1", server.port)) as proxy:
        async with open_store(url.replace(str(server.port), str(proxy.port))) as store:
            pen = await Pen.of(store)
            answers = itertools.count(1)
            proxy.loses = lambda _: next(answers) % 3 == 0
            staged = await store.stage(pen.lease, long_session())
            proxy.loses = lambda _: False
            await pen.made(staged)
            assert next(answers) > 10
            assert [event.data for event in await log(store)] == [draft.data for draft in long_session().drafts]
            assert await found(store, "secret") == 60


@pytest.mark.parametrize("whole", [False, True])
async def test_of_what_redis_has_lost_a_part_nothing_is_made(server: RedisServer, url: str, whole: bool) -> None:
    """As by a fail-over: the log would have a hole."""
    staged_at = RedisUrl.parse(url).names + "staged"
    async with open_store(url) as store:
        pen = await Pen.of(store)
        staging_it = asyncio.create_task(store.stage(pen.lease, long_session()))
        while not (staging_it.done() if whole else left_of(server, url).get("events")):  # noqa: ASYNC110  # Redis's affair
            await asyncio.sleep(0)
        [n] = server.ask("HKEYS", staged_at)
        server.ask("HDEL", staged_at, n)
        with pytest.raises(LeaseLost):
            await pen.made(await staging_it)
        assert await store.header(KEY) is None


async def test_a_full_memory_keeps_nothing_of_an_import_and_is_emptied_by_a_deletion(
    server: RedisServer, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(staging, "PAUSES", (0.01,))
    async with open_store(url) as store:
        pen = await Pen.of(store)
        await pen.made(long_session())
        server.ask("CONFIG", "SET", "maxmemory", int(server.ask("INFO", "memory")["used_memory"]) + 1_000_000)
        try:
            with pytest.raises(StoreUnavailable, match="memory"):
                await store.stage(pen.lease, create(OTHER, *(said("x" * 10_000) for _ in range(1_000))))
            left = await until_left(server, url, *SESSION)
            assert left["events"] == 60
            server.ask("CONFIG", "SET", "maxmemory", 1)
            assert await store.delete(KEY, 1)
            assert await until_left(server, url) == {}
        finally:
            server.ask("CONFIG", "SET", "maxmemory", 0)
