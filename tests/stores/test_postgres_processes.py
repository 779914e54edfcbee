"""Several processes on one Postgres database: who writes what is decided in it, and by its clock alone."""

import asyncio
import itertools
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import asyncpg
import pytest

from pens import KEY, OTHER, Pen, change, create, delta, header, log, reply, said
from postgres_server import Databases, databases
from rejoinder import postgres_link
from rejoinder.abc import Append, Appended, AppendResult, Refused, Store
from rejoinder.entities import Key
from rejoinder.errors import LeaseLost
from rejoinder.stores import open_store

CHILDREN = Path(__file__).with_name("postgres_children.py")


@pytest.fixture(scope="module")
def own() -> Databases:
    return databases()


@pytest.fixture
def url(own: Databases) -> str:
    return own.new()


@pytest.fixture
async def stores(url: str) -> AsyncIterator[list[Store]]:
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(open_store(url)) for _ in range(3)]


# --- leases ------------------------------------------------------------------------------------------------------


async def test_a_lease_is_one_for_all_stores_and_its_time_is_the_databases(stores: list[Store]) -> None:
    one, two, three = stores
    over, fresh = await Pen.of(one, "over", ttl=0.05), await Pen.of(two, "fresh", ttl=60)
    await over.made(create(KEY, replies=[reply(over.lease)]))
    assert over.lease.epoch < fresh.lease.epoch
    await asyncio.sleep(0.1)
    assert await two.orphans(10) == []  # it holds until it is revoked
    await over.made(delta())
    await asyncio.gather(*(store.revoke_expired() for store in stores))
    with pytest.raises(LeaseLost):
        await over.write(delta())
    with pytest.raises(LeaseLost):
        await three.renew_lease(over.lease, 60)
    await three.renew_lease(fresh.lease, 60)
    for store in stores:
        assert await store.orphans(10) == [(KEY, reply(over.lease))]


async def test_revoking_waits_for_a_batch_that_is_under_way_and_sees_a_renewal(
    own: Databases, url: str, stores: list[Store]
) -> None:
    one, two, _ = stores
    pen = await Pen.of(one, ttl=0.01)
    await pen.made(create(KEY))
    place = postgres_link.parse(url)
    blocking = await asyncpg.connect(place.dsn, server_settings={"search_path": place.schema})
    try:
        await blocking.execute("BEGIN; LOCK TABLE events IN EXCLUSIVE MODE")
        written = asyncio.create_task(pen.write(delta()))
        await waiting(own, 1)
        revoked = asyncio.create_task(two.revoke_expired())
        await waiting(own, 2)
        await blocking.execute("COMMIT")
        assert [type(result) for result in await written] == [Appended]
        await revoked
        with pytest.raises(LeaseLost):
            await pen.again(delta())
        assert len(await log(two)) == 2
    finally:
        blocking.terminate()


async def waiting(own: Databases, calls: int) -> None:
    asked = "SELECT FROM pg_stat_activity WHERE application_name = 'rejoinder' AND wait_event_type = 'Lock'"
    for _ in range(500):
        if len(own.run(asked)) >= calls:
            return
        await asyncio.sleep(0.01)
    raise AssertionError("they do not wait")


@pytest.fixture
def child(url: str) -> Iterator["subprocess.Popen[str]"]:
    """A process that writes under a lease of half a second."""
    command = [sys.executable, str(CHILDREN), "write_until_fenced", url, "0.5"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        try:
            yield child
        finally:
            child.kill()


async def test_a_process_that_was_paused_beyond_its_lease_writes_no_more(
    child: "subprocess.Popen[str]", stores: list[Store]
) -> None:
    assert child.stdout is not None
    assert child.stdout.readline().strip().isdigit()
    child.send_signal(signal.SIGSTOP)
    store, orphans = stores[0], []
    for _ in range(200):
        await asyncio.sleep(0.05)
        await store.revoke_expired()
        if orphans := await store.orphans(10):
            break
    assert [(key, orphan.worker) for key, orphan in orphans] == [(KEY, "child")]
    before = await log(store)
    await (await Pen.of(store)).made(change(KEY, 1, said("of the successor")))
    child.send_signal(signal.SIGCONT)
    told, _ = child.communicate(timeout=30)
    *acknowledged, last = told.split()
    assert last == "fenced"
    after = await log(store)
    assert after[: len(before)] == before
    assert [event.data for event in after[len(before) :]] == [b'{"text":"of the successor"}']
    assert all(int(seq) <= before[-1].seq for seq in acknowledged)


# --- two at once -------------------------------------------------------------------------------------------------


async def test_of_those_who_decide_at_one_version_one_succeeds(stores: list[Store]) -> None:
    pens = [await Pen.of(store, f"worker {place}") for place, store in enumerate(stores)]
    await pens[0].made(create(KEY))

    all_have_read = asyncio.Barrier(len(pens))  # once: on a busy machine they may else take turns

    async def decide(pen: Pen, times: int) -> int:
        done = tried = 0
        while done < times:
            version = (await pen.store.header(KEY) or header()).version
            if not tried:
                await all_have_read.wait()
            [result] = await pen.write(change(KEY, version, said(f"{pen.lease.worker} {done}")))
            tried += 1
            done += isinstance(result, Appended)
        return tried - done

    refused = await asyncio.gather(*(decide(pen, 20) for pen in pens))
    kept = await stores[0].header(KEY)
    assert kept is not None
    assert kept.version == 61
    assert [event.seq for event in await log(stores[1])] == list(range(1, 62))
    assert sum(refused) >= len(pens) - 1


async def test_a_session_is_made_by_one_of_those_who_make_it_at_once(stores: list[Store]) -> None:
    pens = [await Pen.of(store, f"worker {place}") for place, store in enumerate(stores)]
    for number in range(20):
        keys = [Key("ann", f"ses_{number}_{place}") for place in range(4)]
        batch = [append for key in keys for append in (create(key), delta("x", key))]
        results = await asyncio.gather(*(pen.write(*batch) for pen in pens))
        for place, key in enumerate(keys):
            made = [type(told[place * 2]) for told in results]
            assert sorted(kind.__name__ for kind in made) == ["Appended", "Refused", "Refused"]
            assert all(isinstance(told[place * 2 + 1], Appended) for told in results)
            assert [event.seq for event in await log(stores[0], key)] == [1, 2, 3, 4]


async def test_a_session_that_another_makes_meanwhile_is_found(own: Databases, url: str, stores: list[Store]) -> None:
    pen = await Pen.of(stores[0])
    place = postgres_link.parse(url)
    other = await asyncpg.connect(place.dsn, server_settings={"search_path": place.schema})
    try:
        await other.execute(
            "BEGIN; INSERT INTO sessions (owner, id, updated_at, header) VALUES ('ann', 'ses_1', '', '{}');"
            "INSERT INTO places SELECT n, 7, 9 FROM sessions"
        )
        written = asyncio.create_task(pen.write(create(OTHER), create(KEY), delta()))
        await waiting(own, 1)
        await other.execute("COMMIT")
        assert await written == [Appended(1), Refused("exists"), Appended(10)]
        assert len(await log(stores[1], OTHER)) == 1
    finally:
        other.terminate()


async def test_batches_over_the_same_sessions_in_any_order_never_wait_for_each_other(stores: list[Store]) -> None:
    keys = [Key("ann", f"ses_{number}") for number in range(6)]
    pens = [await Pen.of(store, f"worker {place}") for place, store in enumerate(stores)]
    await pens[0].made(*(create(key) for key in keys))

    async def write(pen: Pen, sessions: list[Key]) -> None:
        for order in itertools.islice(itertools.permutations(sessions), 60):
            # A deadlock would come out as StoreUnavailable.
            await pen.made(*(delta(pen.lease.worker, key) for key in order))
            await pen.store.delete(keys[0], 99)
            await pen.store.compact(order[0], ["msg_1"], ["message.delta"])

    await asyncio.gather(*(write(pen, keys if place % 2 else keys[::-1]) for place, pen in enumerate(pens)))
    for key in keys:
        assert [event.seq for event in await log(stores[0], key)] == list(range(1, 182))


async def test_a_deletion_beside_writers_leaves_nothing(own: Databases, url: str, stores: list[Store]) -> None:
    pens = [await Pen.of(store, f"worker {place}") for place, store in enumerate(stores)]
    await pens[0].made(create(KEY))

    async def write(pen: Pen) -> None:
        results: list[AppendResult] = [Appended(1)]
        while isinstance(results[0], Appended):
            results = await pen.write(Append(key=KEY, drafts=(said("x", "msg_1"),)))

    writing = [asyncio.create_task(write(pen)) for pen in pens]
    await asyncio.sleep(0.05)
    assert await stores[0].delete(KEY, 1)
    await asyncio.gather(*writing)
    for table in ("sessions", "places", "events", "messages", "open_replies", "texts"):
        assert own.run(f"SELECT FROM {table}", url=url) == []
