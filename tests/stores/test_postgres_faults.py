"""A Postgres store when things break: nothing acknowledged is lost, nothing is half done, and it recovers by itself."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import asyncpg
import pytest
from msgspec import structs

from pens import KEY, NOON, OTHER, Pen, change, create, delta, log, reply, row, said
from postgres_server import Databases, PostgresServer, postgres_server
from rejoinder import postgres_link
from rejoinder.abc import Append, Appended, AppendResult, EndedRow, Store, Text
from rejoinder.entities import Key
from rejoinder.errors import LeaseLost, StoreUnavailable
from rejoinder.stores import open_store, staging
from rejoinder.stores.postgres import connections as postgres_connections
from rejoinder.stores.postgres import store as postgres
from tcp_proxy import TcpProxy, tcp_proxy

KEYS = [Key("ann", f"ses_{number}") for number in range(4)]


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """A server of our own, that may be killed."""
    with postgres_server() as server:
        yield server


@pytest.fixture(scope="module")
def own(server: PostgresServer) -> Databases:
    return Databases(server.url())


@pytest.fixture
def url(own: Databases) -> str:
    return own.new()


@pytest.fixture
def proxy(server: PostgresServer) -> Iterator[TcpProxy]:
    parts = urlsplit(server.url())
    assert parts.hostname is not None and parts.port is not None
    with tcp_proxy((parts.hostname, parts.port)) as proxy:
        yield proxy


def through(proxy: TcpProxy, url: str) -> str:
    parts = urlsplit(url)
    return parts._replace(netloc=f"{parts.netloc.rpartition('@')[0]}@127.0.0.1:{proxy.port}").geturl()


def end_backends(own: Databases) -> None:
    own.run("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'rejoinder'")


async def until_told(pen: Pen, *batch: Append) -> list[AppendResult]:
    """As the writer does: the same batch under its number until the store says what became of it."""
    while True:
        try:
            return await pen.again(*batch)
        except StoreUnavailable:
            await asyncio.sleep(0.02)


@asynccontextmanager
async def locked(url: str, statement: str) -> AsyncIterator[asyncpg.Connection]:
    """Another program's transaction, that holds what it has locked until it is ended or its server dies."""
    place = postgres_link.parse(url)
    connection = await asyncpg.connect(place.dsn, server_settings={"search_path": place.schema})
    try:
        await connection.execute("BEGIN")
        await connection.execute(statement)
        yield connection
    finally:
        connection.terminate()


async def waits(own: Databases) -> None:
    """Until a call of our store waits for a lock of another program."""
    asked = (
        "SELECT FROM pg_locks JOIN pg_stat_activity USING (pid) WHERE NOT granted AND application_name = 'rejoinder'"
    )
    for _ in range(500):
        if own.run(asked):
            return
        await asyncio.sleep(0.01)
    raise AssertionError("nothing waits")


# --- a kill between every two steps ------------------------------------------------------------------------------

STEPS = ("leases", "places", "sessions", "open_replies", "events", "messages", "texts")
"""The tables in the order in which a batch comes to them: where one is locked, all steps before it have been done."""


def batch(pen: Pen) -> tuple[Append, ...]:
    """Touches every table."""
    text = Text(message_id="msg_1", words="some words", at=NOON)
    changed = change(
        KEY,
        1,
        said("a", "msg_1"),
        said("b", "msg_1"),
        replies=[reply(pen.lease)],
        created=[row("msg_1", ended=False)],
        ended=[EndedRow(id="msg_1", at=1, ended_at=NOON)],
    )
    return (
        Append(
            key=KEY,
            drafts=changed.drafts,
            expect=1,
            header=changed.header,
            created=changed.created,
            ended=changed.ended,
            texts=(text,),
        ),
        delta("c"),
        create(OTHER),
    )


async def state(store: Store) -> object:
    return (
        [await log(store, key) for key in (KEY, OTHER)],
        [await store.header(key) for key in (KEY, OTHER)],
        await store.rows(KEY, ["msg_1"]),
        await store.search("ann", ["some"], limit=9),
    )


def end_by_backend(own: Databases, server: PostgresServer) -> None:
    end_backends(own)


def end_by_kill(own: Databases, server: PostgresServer) -> None:
    server.kill()
    server.start()


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("end", [end_by_backend, end_by_kill])
async def test_a_batch_that_is_killed_at_any_step_was_not_done_and_is_done_when_it_comes_again(
    server: PostgresServer,
    own: Databases,
    url: str,
    step: str,
    end: Callable[[Databases, PostgresServer], None],
) -> None:
    async with open_store(url) as store:
        pen = await Pen.of(store)
        await pen.made(create(KEY))
        before = await state(store)
        async with locked(url, f"LOCK TABLE {step} IN EXCLUSIVE MODE"):
            call = asyncio.create_task(pen.write(*batch(pen)))
            await waits(own)
            end(own, server)
            with pytest.raises(StoreUnavailable):
                await call
        assert await state(store) == before
        results = await until_told(pen, *batch(pen))
        assert [type(result).__name__ for result in results] == ["Appended"] * 3
        after = await state(store)
        assert await pen.again(*batch(pen)) == results
        assert await state(store) == after
        assert [len(await log(store, key)) for key in (KEY, OTHER)] == [4, 1]


async def test_a_batch_whose_answer_was_lost_was_done_once(proxy: TcpProxy, url: str) -> None:
    async with open_store(through(proxy, url)) as store:
        pen = await Pen.of(store)
        await pen.made(create(KEY))
        for number in range(5):
            proxy.loses = lambda _: True
            with pytest.raises(StoreUnavailable):
                await pen.write(delta(str(number)))
            proxy.loses = lambda _: False
            results = await pen.again(delta(str(number)))
            assert await pen.again(delta(str(number))) == results
        assert [event.data for event in await log(store)][1:] == [b'{"text":"%d"}' % number for number in range(5)]


# --- restarts under load -----------------------------------------------------------------------------------------


async def write_on(pen: Pen, stop: asyncio.Event) -> dict[bytes, int]:
    """Writes to all sessions as fast as it goes; returns the seq of each text that was acknowledged, by session and text."""
    seqs = {}
    while not stop.is_set():
        pen.number += 1
        name = f"{pen.lease.worker} {pen.number}"
        batch = [delta(name, key) for key in KEYS]
        results = await until_told(pen, *batch)
        if pen.number % 10 == 0:
            assert await until_told(pen, *batch) == results
        for key, result in zip(KEYS, results, strict=True):
            assert isinstance(result, Appended)
            seqs[f"{key.session_id} {name}".encode()] = result.first
    return seqs


def stop_and_start(own: Databases, server: PostgresServer) -> None:
    server.restart()


@pytest.mark.parametrize("end", [end_by_backend, end_by_kill, stop_and_start])
async def test_nothing_acknowledged_is_lost_and_nothing_is_done_twice_whatever_breaks(
    server: PostgresServer, own: Databases, url: str, end: Callable[[Databases, PostgresServer], None]
) -> None:
    async with open_store(url) as one, open_store(url) as two:
        await (await Pen.of(one)).made(*(create(key) for key in KEYS))
        stop = asyncio.Event()
        pens = [await Pen.of(store, name) for name, store in (("a", one), ("b", one), ("c", two))]
        writers = [asyncio.create_task(write_on(pen, stop)) for pen in pens]
        for _ in range(4):
            await asyncio.sleep(random.uniform(0.02, 0.2))
            with contextlib.suppress(asyncpg.PostgresError, OSError):
                await asyncio.to_thread(end, own, server)
        stop.set()
        acknowledged = {text: seq for seqs in await asyncio.gather(*writers) for text, seq in seqs.items()}
        found = {}
        for key in KEYS:
            events = await log(two, key)
            assert [event.seq for event in events] == list(range(1, len(events) + 1))
            for event in events[1:]:
                text = key.session_id.encode() + b" " + event.data[len(b'{"text":"') : -len(b'"}')]
                assert text not in found
                found[text] = event.seq
        assert found == acknowledged
        assert len(found) > 50


async def test_who_reads_does_not_notice_a_restart(server: PostgresServer, url: str) -> None:
    async with open_store(url) as store:
        pen = await Pen.of(store)
        await pen.made(create(KEY))
        await asyncio.gather(*(store.header(KEY) for _ in range(20)))
        for end in (server.stop, server.kill):
            end()
            server.start()
            assert all(await asyncio.gather(*(store.header(KEY) for _ in range(20))))


async def test_a_server_that_is_away_is_told_and_found_again(server: PostgresServer, url: str) -> None:
    async with open_store(url) as store:
        pen = await Pen.of(store)
        await pen.made(create(KEY))
        server.stop()
        for call in (store.ping, lambda: store.header(KEY), lambda: pen.write(delta())):
            with pytest.raises(StoreUnavailable):
                await call()
        server.start()
        await store.ping()
        await pen.again(delta())
        assert len(await log(store)) == 2


# --- locked, read-only, full ------------------------------------------------------------------------------------


async def test_waiting_for_a_lock_has_an_end(
    own: Databases, url: str, monkeypatch: pytest.MonkeyPatch, server: PostgresServer
) -> None:
    monkeypatch.setattr(postgres_link, "STATEMENT_SECONDS", 0.3)
    async with open_store(url) as store:
        pen = await Pen.of(store)
        await pen.made(create(KEY))
        async with locked(url, "LOCK TABLE events IN ACCESS EXCLUSIVE MODE"):
            for call in (lambda: pen.write(delta()), lambda: log(store), lambda: store.delete(KEY, 1)):
                with pytest.raises(StoreUnavailable):
                    await call()
        await pen.again(delta())
        assert len(await log(store)) == 2


async def test_a_batch_that_was_given_up_has_more_time_the_next_time(
    own: Databases, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_link, "STATEMENT_SECONDS", 0.2)
    async with open_store(url) as store:
        pen = await Pen.of(store)
        await pen.made(create(KEY))
        schema = postgres_link.parse(url).schema
        own.run(
            f"CREATE FUNCTION {schema}.slowly() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN PERFORM pg_sleep(0.5); RETURN NEW; END $$",
            f"CREATE TRIGGER slow BEFORE INSERT ON {schema}.events FOR EACH ROW EXECUTE FUNCTION {schema}.slowly()",
        )
        with pytest.raises(StoreUnavailable):
            await pen.write(delta())
        assert await pen.again(delta()) == [Appended(2)]
        with pytest.raises(StoreUnavailable):  # and others have what all have
            await pen.write(delta())
        own.run(f"CREATE TRIGGER slow_end BEFORE DELETE ON {schema}.events EXECUTE FUNCTION {schema}.slowly()")
        with pytest.raises(StoreUnavailable):
            await store.delete(KEY, 1)
        assert await store.delete(KEY, 1)


async def test_the_time_of_a_lease_stands_still_while_a_long_batch_runs(own: Databases, url: str) -> None:
    async with open_store(url) as store, open_store(url) as other:
        pen = await Pen.of(store, ttl=2.0)
        await pen.made(create(KEY))
        async with locked(url, "LOCK TABLE events IN EXCLUSIVE MODE"):
            written = asyncio.create_task(pen.write(delta()))
            await asyncio.sleep(2.5)
        await written
        await other.revoke_expired()
        await pen.made(delta())


async def test_what_was_staged_in_vain_is_dropped(own: Databases, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(staging, "GREAT", 10)
    monkeypatch.setattr(postgres, "DROPPED", 2)
    schema = postgres_link.parse(url).schema
    append = change(KEY, 0, *[said("x")] * 5, created=[row(f"msg_{n}", at=n) for n in range(5)])
    append = structs.replace(append, texts=(Text(message_id="msg_1", words="word", at=NOON),))

    def left() -> list[int]:
        tables = ("staged", "events", "messages", "texts")
        return [own.run(f"SELECT count(*) FROM {schema}.{table}", url=url)[0][0] for table in tables]

    async with open_store(url) as store:
        gone, pen = await Pen.of(store), await Pen.of(store)
        await store.stage(gone.lease, append)
        staged = [await store.stage(pen.lease, append) for _ in range(3)]
        await pen.write(*staged[:2])
        assert left() == [3, 20, 20, 4]
        await store.release_lease(gone.lease)
        for _ in range(5):
            await store.revoke_expired()
        # What is alive stays: a session, and what may yet become one.
        assert left() == [1, 10, 10, 2]
        with pytest.raises(LeaseLost):
            await store.stage(gone.lease, append)
        # Broken off in the middle, by a worker that lives on.
        monkeypatch.setattr(staging, "PIECE", 10)
        staging_it = asyncio.create_task(store.stage(pen.lease, append))
        while left()[1] == 10:  # noqa: ASYNC110  # the database's affair
            await asyncio.sleep(0)
        staging_it.cancel()
        await asyncio.gather(staging_it, return_exceptions=True)
        for _ in range(5):
            await store.revoke_expired()
        assert left() == [1, 10, 10, 2]


async def test_waiting_for_a_free_connection_has_an_end(
    own: Databases, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_connections, "FREE_SECONDS", 0.3)
    async with open_store(url) as store:
        async with locked(url, "LOCK TABLE sessions IN ACCESS EXCLUSIVE MODE"):
            reads = [asyncio.create_task(store.header(KEY)) for _ in range(20)]
            await asyncio.wait(reads, timeout=0.8)
            failed = [read for read in reads if read.done()]
            assert 10 <= len(failed) < 20
            assert all(isinstance(read.exception(), StoreUnavailable) for read in failed)
            # Those that write have connections of their own.
            await store.ping()
        assert await asyncio.gather(*(read for read in reads if read not in failed)) == [None] * (20 - len(failed))


async def test_a_server_that_is_silent_is_given_up(
    proxy: TcpProxy, url: str, server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_connections, "ANSWER_SECONDS", 0.3)
    monkeypatch.setattr(postgres_link, "CONNECT_SECONDS", 0.3)
    async with open_store(through(proxy, url)) as store:
        pen = await Pen.of(store)
        await pen.made(create(KEY))
        proxy.silent = True
        for call in (lambda: pen.write(delta()), lambda: store.header(KEY)):
            with pytest.raises(StoreUnavailable, match="in time"):
                await call()
        proxy.silent = False
        await pen.again(delta())
        assert len(await log(store)) == 2


async def test_of_connections_that_something_on_the_way_has_forgotten_one_is_waited_for_and_not_each(
    proxy: TcpProxy, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_connections, "ANSWER_SECONDS", 0.2)
    async with open_store(through(proxy, url)) as store:
        await asyncio.gather(*(store.ping() for _ in range(2)), *(store.header(KEY) for _ in range(6)))
        proxy.forsake()
        with pytest.raises(StoreUnavailable):
            await store.ping()
        await store.ping()
        with pytest.raises(StoreUnavailable):
            await store.header(KEY)
        await store.header(KEY)


async def test_a_database_that_turns_read_only_is_told_and_found_again(own: Databases, url: str) -> None:
    async with open_store(url) as store:
        pen = await Pen.of(store)
        await pen.made(create(KEY))
        own.run("ALTER DATABASE postgres SET default_transaction_read_only = on")
        end_backends(own)
        for call in (store.ping, lambda: pen.write(delta())):
            with pytest.raises(StoreUnavailable):
                await call()
        with pytest.raises(StoreUnavailable, match="takes no writes"):
            await pen.again(delta())
        assert len(await log(store)) == 1
        own.run(
            "SET default_transaction_read_only = off", "ALTER DATABASE postgres RESET default_transaction_read_only"
        )
        await pen.again(delta())
        await store.ping()
        assert len(await log(store)) == 2


async def test_what_we_ask_wrongly_is_raised_as_what_it_is(url: str) -> None:
    async with open_store(url) as store:
        pen = await Pen.of(store)
        await pen.made(create(KEY), change(KEY, 1, created=[row("msg_1")]))
        with pytest.raises(asyncpg.UniqueViolationError):
            await pen.write(change(KEY, 2, created=[row("msg_1")]), delta())
        assert len(await log(store)) == 2
        with pytest.raises(ValueError, match="comes after"):
            await store.append(pen.lease, 0, [delta()])
        await pen.made(delta())
