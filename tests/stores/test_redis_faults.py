"""A store in Redis when things break: nothing acknowledged is lost, nothing is half done, and it recovers by itself."""

import asyncio
import itertools
import random
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from functools import partialmethod
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs
from redis.asyncio.connection import AbstractConnection

from pens import KEY, NOON, OTHER, Pen, change, create, delta, log, reply, row, said, texts
from redis_server import RedisServer, free_port, redis_server
from rejoinder.abc import Append, Appended, AppendResult, EndedRow, Store, Text
from rejoinder.entities import Key
from rejoinder.errors import LeaseLost, StoreUnavailable
from rejoinder.redis_link import RedisUrl
from rejoinder.stores import open_store
from rejoinder.stores.redis import batch as redis_batch
from rejoinder.stores.redis import client as redis_client
from rejoinder.stores.redis import store as redis_store
from tcp_proxy import tcp_proxy

numbers = itertools.count(1)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """One that keeps what it acknowledges, and that these tests may end and start again."""
    with redis_server(tmp_path_factory.mktemp("redis"), appendonly="yes", appendfsync="always") as started:
        yield started


@pytest.fixture
def url(server: RedisServer) -> str:
    return f"{server.url}?prefix=test-{next(numbers)}"


async def until_taken(write: Callable[[], Awaitable[list[AppendResult]]]) -> tuple[list[AppendResult], int]:
    """The results of a batch that is sent until there is an answer, as the writer does, and how often it was refused."""
    for refusals in range(2_000):
        try:
            return await write(), refusals
        except StoreUnavailable:
            await asyncio.sleep(0.005)
    raise AssertionError("the store did not come back")


# --- killed ------------------------------------------------------------------------------------------------------


@pytest.mark.crash
async def test_a_kill_loses_nothing_acknowledged_and_doubles_nothing(server: RedisServer, url: str) -> None:
    """Four workers append while the server is killed and comes again, in the middle of what they do."""
    keys = [Key("ann", f"ses_{number}") for number in range(4)]
    done: dict[Key, list[bytes]] = {key: [] for key in keys}
    over = asyncio.Event()
    refused = 0

    async def work(store: Store, key: Key) -> None:
        nonlocal refused
        pen = await Pen.of(store)
        await pen.made(create(key))
        for number in itertools.count():
            if over.is_set():
                return
            pen.number += 1
            batch = [Append(key=key, drafts=(said(f"{number} {piece}"), said("x" * 3_000))) for piece in range(3)]
            results, refusals = await until_taken(lambda pen=pen, batch=batch: pen.again(*batch))  # type: ignore[misc]
            refused += refusals
            assert all(isinstance(result, Appended) for result in results)
            done[key] += (draft.data for append in batch for draft in append.drafts)
            again, refusals = await until_taken(lambda pen=pen, batch=batch: pen.again(*batch))  # type: ignore[misc]
            refused += refusals
            assert again == results

    async with open_store(url) as store:
        workers = [asyncio.create_task(work(store, key)) for key in keys]
        for _ in range(5):
            await asyncio.sleep(random.uniform(0.05, 0.2))
            await asyncio.to_thread(server.kill)
            await asyncio.to_thread(server.start)
        over.set()
        await asyncio.gather(*workers)
        assert refused
        for key in keys:
            assert (await texts(store, key))[1:] == done[key]
            seqs = [event.seq for event in await log(store, key)]
            assert seqs == list(range(1, len(seqs) + 1))


async def test_a_server_that_was_started_again_knows_the_last_batch_of_each_lease(
    server: RedisServer, url: str
) -> None:
    async with open_store(url) as store:
        pen = await Pen.of(store)
        batch = (create(KEY, replies=[reply(pen.lease)]), delta("a"), delta("b", OTHER))
        results = await pen.write(*batch)
        server.kill()
        for call in (store.ping, lambda: store.header(KEY), lambda: pen.again(*batch), lambda: log(store)):
            with pytest.raises(StoreUnavailable, match="reached"):
                await call()
        server.start()
        assert await pen.again(*batch) == results
        assert len(await log(store)) == 2
        assert await store.orphans(9) == []
        await pen.made(delta("c"))


# --- answers that are lost ---------------------------------------------------------------------------------------


def lose_next() -> Callable[[bytes], bool]:
    """Of the answers that come, the first is lost and no other."""
    place = itertools.count()
    return lambda _: next(place) == 0


async def test_a_batch_whose_answer_was_lost_is_done_once(server: RedisServer, url: str) -> None:
    async with AsyncExitStack() as stack:
        proxy = stack.enter_context(tcp_proxy(("127.0.0.1", server.port)))
        through = url.replace(str(server.port), str(proxy.port))
        store = await stack.enter_async_context(open_store(through))
        beside = await stack.enter_async_context(open_store(url))
        pen = await Pen.of(store)
        await pen.made(create())
        for number in range(5):
            batch = (delta(str(number)), change(KEY, number + 1, said("changed")), delta("x", OTHER))
            pen.number += 1
            proxy.loses = lose_next()
            with pytest.raises(StoreUnavailable):
                await pen.again(*batch)
            # It was done, and only this worker does not know it.
            assert len(await log(beside)) == 1 + 2 * (number + 1)
            # What another does meanwhile changes nothing of what this one is told.
            results = await pen.again(*batch)
            assert [type(result).__name__ for result in results] == ["Appended", "Appended", "Refused"]
            assert len(await log(store)) == 1 + 2 * (number + 1)
        for call in (lambda: store.header(KEY), store.ping, lambda: store.delete(KEY, 6)):
            proxy.loses = lose_next()
            with pytest.raises(StoreUnavailable):
                await call()
        assert await store.delete(KEY, 6)


async def test_what_was_asked_of_a_server_that_hangs_is_done_once_whenever_it_goes_on(
    server: RedisServer, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server finds both when it goes on, and the first of them has nobody who waits for it."""
    monkeypatch.setattr(RedisUrl, "client", partialmethod(RedisUrl.client, answer=0.5))
    async with open_store(url) as store:
        pen = await Pen.of(store)
        await pen.made(create())
        pen.number += 1
        with server.frozen(), pytest.raises(StoreUnavailable, match="Timeout"):
            await pen.again(delta("once"))
        results = await pen.again(delta("once"))
        await pen.made(delta("twice"))
        assert await texts(store) == [said().data, said("once").data, said("twice").data]
        assert isinstance(results[0], Appended)


async def test_a_batch_that_is_large_has_more_time_and_twice_as_much_when_it_was_late(
    server: RedisServer, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever comes behind it waits for it, so it may not be given up for ever."""
    monkeypatch.setattr(RedisUrl, "client", partialmethod(RedisUrl.client, answer=0.2))
    monkeypatch.setattr(redis_client, "ANSWER_SECONDS", 0.2)
    monkeypatch.setattr(redis_store, "ANSWER_SECONDS", 0.2)
    monkeypatch.setattr(redis_client, "A_SECOND", 4 << 20)
    large = create(OTHER, said("x" * (2 << 20)))
    async with open_store(url) as store:
        pen = await Pen.of(store)
        await pen.made(create())
        with server.frozen():
            with pytest.raises(StoreUnavailable, match="Timeout"):
                await pen.write(delta())
            begun = time.monotonic()
            with pytest.raises(StoreUnavailable, match="Timeout"):
                await pen.write(large)
            first = time.monotonic() - begun
            with pytest.raises(StoreUnavailable, match="Timeout"):
                await pen.again(large)
            assert 0.5 < first < time.monotonic() - begun - first
        await pen.again(large)
        assert await texts(store, OTHER) == [said("x" * (2 << 20)).data]


async def test_a_large_batch_is_put_together_in_threads(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it holds up no reader. For many megabytes it takes long."""
    where = set[int]()

    def noted(work: Any) -> Any:
        def and_done(*args: Any) -> Any:
            if len(args) > 100 or (work is ours and len(args[-1][-1].drafts) > 100):
                where.add(threading.get_ident())
            return work(*args)

        return and_done

    ours = redis_batch.arguments
    monkeypatch.setattr(redis_batch, "arguments", noted(ours))
    monkeypatch.setattr(AbstractConnection, "pack_command", noted(AbstractConnection.pack_command))
    monkeypatch.setattr(redis_client, "HEAVY", 1_000)
    async with open_store(url) as store:
        pen = await Pen.of(store)
        await pen.made(create(KEY, *(said("x" * 100) for _ in range(200))))
        assert len(await log(store)) == 200
    assert where
    assert threading.get_ident() not in where


async def test_a_primary_that_moves_behind_its_name_is_found(server: RedisServer, tmp_path: Path) -> None:
    """The old one lives on as a replica of the new one, and keeps the connections that it has."""
    with redis_server(tmp_path) as old, tcp_proxy(("127.0.0.1", old.port)) as name:
        async with open_store(f"redis://127.0.0.1:{name.port}") as store:
            pen = await Pen.of(store)
            await pen.made(create())
            await asyncio.gather(*(store.header(KEY) for _ in range(4)))
            (new_folder := tmp_path / "new").mkdir()
            with redis_server(new_folder) as new:
                new.ask("REPLICAOF", "127.0.0.1", old.port)
                while not new.ask("EXISTS", "{rejoinder}:schema"):  # noqa: ASYNC110  # another process's affair
                    await asyncio.sleep(0.05)
                new.ask("REPLICAOF", "NO", "ONE")
                old.ask("REPLICAOF", "127.0.0.1", new.port)
                name.targets = [("127.0.0.1", new.port)]
                pen.number += 1
                with pytest.raises(StoreUnavailable, match=r"(?i)read only"):
                    await pen.again(delta())
                await pen.again(delta())
                await store.ping()
                old.kill()
                assert len(await log(store)) == 2


async def test_scripts_that_were_forgotten_are_told_again(server: RedisServer, url: str) -> None:
    async with open_store(url) as store:
        pen = await Pen.of(store)
        await pen.made(create(KEY, *(said(str(number)) for number in range(1_000))))
        for number in range(3):
            server.ask("SCRIPT", "FLUSH")
            await pen.made(delta(str(number)))
            assert len(await log(store)) == 1_001 + number


async def test_whoever_is_cancelled_in_the_middle_of_a_call_is(url: str) -> None:
    """At whatever moment, also with the answer: else a reply that is stopped just then would run on."""

    async def ask_for_ever(store: Store) -> None:
        while True:
            await store.header(KEY)

    async with open_store(url) as store:
        await (await Pen.of(store)).made(create())
        for ticks in range(200):
            task = asyncio.create_task(ask_for_ever(store))
            for _ in range(ticks % 40):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task], timeout=5)
            assert task.cancelled()


# --- refused -----------------------------------------------------------------------------------------------------

REFUSALS = {
    "memory is full": (("CONFIG", "SET", "maxmemory", "1"), ("CONFIG", "SET", "maxmemory", "0"), "memory"),
    "replicas are missing": (
        ("CONFIG", "SET", "min-replicas-to-write", "1"),
        ("CONFIG", "SET", "min-replicas-to-write", "0"),
        "(?i)replicas",
    ),
    "it is a replica": (("REPLICAOF", "127.0.0.1", "1"), ("REPLICAOF", "NO", "ONE"), "(?i)read only"),
}


@pytest.mark.parametrize(("refuse", "allow", "word"), REFUSALS.values(), ids=REFUSALS.keys())
async def test_what_is_refused_is_not_done_and_can_be_done_later(
    server: RedisServer, url: str, refuse: tuple[str, ...], allow: tuple[str, ...], word: str
) -> None:
    async with open_store(url) as store:
        pen = await Pen.of(store)
        await pen.made(create(KEY), create(OTHER))
        before = await log(store), await store.header(KEY), await store.keys(after=None, limit=9)
        batch = (delta("b", OTHER), change(KEY, 1, said("x" * 100_000)), create(Key("ann", "ses_3")))
        pen.number += 1
        server.ask(*refuse)
        try:
            for _ in range(2):
                with pytest.raises(StoreUnavailable, match=word):
                    await pen.again(*batch)
                with pytest.raises(StoreUnavailable, match=word):
                    await store.ping()
                with pytest.raises(StoreUnavailable, match=word):
                    await store.acquire_lease("another", 60)
                assert (await log(store), await store.header(KEY), await store.keys(after=None, limit=9)) == before
        finally:
            server.ask(*allow)
        results = await pen.again(*batch)
        assert await pen.again(*batch) == results
        assert [len(await log(store, key)) for key in (KEY, OTHER, Key("ann", "ses_3"))] == [2, 2, 1]


async def test_memory_that_fills_up_leaves_what_was_acknowledged_and_no_more(server: RedisServer, url: str) -> None:
    async with open_store(url) as store:
        pen = await Pen.of(store)
        await pen.made(create())
        used = int(server.ask("INFO", "memory")["used_memory"])
        server.ask("CONFIG", "SET", "maxmemory", used + 3_000_000)
        try:
            for number in range(1_000):
                batch = [Append(key=KEY, drafts=(said(f"{number} {piece}" + "x" * 20_000),)) for piece in range(5)]
                pen.number += 1
                try:
                    await pen.again(*batch)
                except StoreUnavailable:
                    break
            assert len(await log(store)) == 1 + 5 * number
            assert 0 < number < 999
        finally:
            server.ask("CONFIG", "SET", "maxmemory", 0)
        await pen.again(*batch)
        assert len(await log(store)) == 1 + 5 * (number + 1)


async def test_in_a_full_memory_compaction_gives_room_and_leases_are_renewed(server: RedisServer, url: str) -> None:
    """Whatever the compaction of others has done before."""
    async with open_store(url) as store, open_store(url) as other:
        pen = await Pen.of(store, ttl=0.2)
        ended = EndedRow(id="msg_1", at=0, ended_at=NOON)
        await pen.made(create(), change(KEY, 1, created=[row("msg_1", ended=False)]), delta("x" * 10_000))
        await pen.made(change(KEY, 2, said("whole", "msg_1", "message.ended"), ended=[ended]))
        server.ask("CONFIG", "SET", "maxmemory", "1")
        try:
            for _ in range(2):
                await store.compact(KEY, ["msg_1"], ["message.delta"])
                assert [event.seq for event in await log(store)] == [1, 2, 4]
            await store.renew_lease(pen.lease, 60)
            await asyncio.sleep(0.21)
            await other.revoke_expired()
        finally:
            server.ask("CONFIG", "SET", "maxmemory", "0")
        await pen.made(delta())
        assert await store.ripe("2027", 9) == []


async def test_what_contradicts_itself_is_not_done_and_no_reason_to_ask_again(url: str) -> None:
    async with open_store(url) as store:
        pen = await Pen.of(store)
        await pen.made(create(KEY), create(OTHER))
        twice = Append(key=OTHER, drafts=(said(),), created=(row("msg_1"), row("msg_1")))
        nobody = change(OTHER, 1, ended=[EndedRow(id="msg_9", at=0, ended_at=NOON)])
        for wrong in (twice, nobody):
            with pytest.raises(ValueError, match="message msg_"):
                await pen.write(delta(), create(Key("ann", "ses_3")), wrong)
        assert await store.keys(after=None, limit=9) == [KEY, OTHER]
        results = [await pen.again(delta("a"), delta("b")) for _ in range(2)]
        assert results[0] == results[1]
        assert len(await log(store)) == 3
        with pytest.raises(ValueError, match="after batch"):
            await store.append(pen.lease, 1, [delta()])


# --- several stores at one place ---------------------------------------------------------------------------------


async def test_of_two_that_decide_at_one_version_one_is_refused(url: str) -> None:
    async with open_store(url) as one, open_store(url) as two:
        pens = [await Pen.of(store) for store in (one, two)]
        await pens[0].made(create())
        for version in range(1, 30):
            both = await asyncio.gather(*(pen.write(change(KEY, version), delta()) for pen in pens))
            assert sorted(type(results[0]).__name__ for results in both) == ["Appended", "Refused"]
            assert all(isinstance(results[1], Appended) for results in both)
        assert await log(one) == await log(two)
        assert len(await log(one)) == 1 + 29 * 3


async def test_whoever_was_thought_dead_writes_no_more(url: str) -> None:
    async with open_store(url) as one, open_store(url) as two:
        slow, heir = await Pen.of(one, ttl=0.2), await Pen.of(two)
        await slow.made(create(replies=[reply(slow.lease)]))
        await two.revoke_expired()
        await slow.made(delta("in time"))
        await asyncio.sleep(0.21)
        await two.revoke_expired()
        assert await two.orphans(9) == [(KEY, reply(slow.lease))]
        for call in (lambda: slow.write(delta("late")), lambda: one.renew_lease(slow.lease, 60)):
            with pytest.raises(LeaseLost):
                await call()
        await heir.made(change(KEY, 1, said("taken"), replies=[reply(heir.lease)]))
        assert await one.orphans(9) == []
        assert (await texts(one))[1:] == [said("in time").data, said("taken").data]


async def test_the_time_of_a_lease_is_the_servers(
    server: RedisServer, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker whose own clock is wrong neither lives for ever nor dies at once."""
    monkeypatch.setattr("time.time", lambda: 4e9)
    async with open_store(url) as store:
        lease = await store.acquire_lease("worker", 60)
        seconds, micros = server.ask("TIME")
        left = (
            float(server.ask("ZSCORE", RedisUrl.parse(url).names + "expiries", lease.epoch)) / 1_000
            - seconds
            - micros / 1e6
        )
        assert 50 < left <= 60


# --- large, and gone ---------------------------------------------------------------------------------------------


async def test_an_append_of_five_thousand_messages_is_one(url: str) -> None:
    """As a fork of a long session makes it."""
    ids = [f"msg_{number}" for number in range(5_000)]
    rows = [
        row(message_id, ids[at - 1] if at else None, lane=ids[0], depth=at, at=at + 1)
        for at, message_id in enumerate(ids)
    ]
    drafts = [said(), *(said(f"text {number}", message_id, "message.created") for number, message_id in enumerate(ids))]
    words = tuple(Text(message_id=message_id, words=f"text {at}", at=NOON) for at, message_id in enumerate(ids))
    async with open_store(url) as store:
        pen = await Pen.of(store)
        whole = structs.replace(create(KEY, *drafts), created=tuple(rows), texts=words)
        await pen.made(await store.stage(pen.lease, whole))
        assert len(await log(store)) == 5_001
        assert len(await store.rows(KEY, ids)) == 5_000
        assert [found.id for found in await store.branch(KEY, ids[-1], low=0, high=1 << 40)] == ids
        assert len(await store.children(KEY, ids)) == 4_999
        assert [found.message_id for found in await store.search("ann", ["text", "77"], limit=3)] == [
            "msg_779", "msg_778", "msg_777",
        ]  # fmt: skip
        assert await store.delete(KEY, 1)


async def test_one_shard_of_a_cluster_is_enough(tmp_path: Path) -> None:
    # Left to itself its second port is 10,000 above the first, which may be no port.
    second = {"cluster_port": free_port()}
    with redis_server(tmp_path, cluster_enabled="yes", cluster_require_full_coverage="no", **second) as shard:
        with pytest.raises(StoreUnavailable, match=r"(?i)slot"):
            async with open_store(shard.url):
                pass
        shard.ask("CLUSTER", "ADDSLOTSRANGE", 0, 16_383)
        await asyncio.to_thread(until_whole, shard)
        async with open_store(shard.url) as store:
            pen = await Pen.of(store)
            await pen.made(create(KEY, replies=[reply(pen.lease)]), create(OTHER))
            await pen.made(change(KEY, 1, created=[row("msg_1")]))
            assert len(await log(store)) == 2
            assert await store.delete(KEY, 2)


def until_whole(shard: RedisServer) -> None:
    deadline = time.monotonic() + 10
    while "cluster_state:ok" not in str(shard.ask("CLUSTER", "INFO")).replace("': '", ":"):
        assert time.monotonic() < deadline
        time.sleep(0.02)
