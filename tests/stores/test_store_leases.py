"""Leases: the right to write, under an epoch that is never given twice."""

import asyncio

import pytest

from openers import Opener
from pens import KEY, Pen, change, create, delta, reply, texts
from rejoinder.abc import Lease, Store
from rejoinder.errors import LeaseLost


async def holds(store: Store, lease: Lease) -> bool:
    try:
        await store.renew_lease(lease, 60)
    except LeaseLost:
        return False
    return True


async def test_epochs_rise_and_are_never_given_twice(opener: Opener) -> None:
    epochs = []
    for _ in range(3):
        async with opener() as store:
            for _ in range(3):
                lease = await store.acquire_lease("worker", 60)
                epochs.append(lease.epoch)
                await store.release_lease(lease)
    assert epochs == sorted(set(epochs))


async def test_a_lease_names_its_worker(store: Store) -> None:
    lease = await store.acquire_lease("host-1", 60)
    assert lease.worker == "host-1"
    assert await holds(store, lease)
    assert not await holds(store, Lease("host-1", lease.epoch + 1))
    assert not await holds(store, Lease("host-2", lease.epoch))


async def test_a_released_lease_is_gone_and_may_be_released_again(store: Store) -> None:
    lease, other = await store.acquire_lease("a", 60), await store.acquire_lease("b", 60)
    await store.release_lease(lease)
    await store.release_lease(lease)
    assert not await holds(store, lease)
    assert await holds(store, other)


async def test_a_lease_whose_time_is_over_holds_until_it_is_revoked(store: Store) -> None:
    pen = await Pen.of(store, ttl=0.01)
    await asyncio.sleep(0.05)
    await pen.made(create())
    assert await holds(store, pen.lease)


async def test_what_is_revoked_are_the_leases_whose_time_is_over(store: Store) -> None:
    """In an exclusive store they have no time: nobody else could write, so nobody needs to be kept from it."""
    over, renewed, fresh = [await Pen.of(store, name, ttl=0.05) for name in "abc"]
    await over.made(create(replies=[reply(over.lease)]))
    await store.renew_lease(renewed.lease, 60)
    await store.renew_lease(fresh.lease, 60)
    await asyncio.sleep(0.1)
    await store.revoke_expired()
    assert await holds(store, over.lease) == store.exclusive
    assert len(await store.orphans(10)) == (0 if store.exclusive else 1)
    assert await holds(store, renewed.lease)
    assert await holds(store, fresh.lease)


async def test_opening_an_exclusive_store_revokes_every_lease(opener: Opener) -> None:
    async with opener() as store:
        pen = await Pen.of(store)
        await pen.made(create(replies=[reply(pen.lease)]))
        exclusive = store.exclusive
    async with opener() as store:
        again = Pen(store, pen.lease)
        again.number = pen.number
        if exclusive:
            with pytest.raises(LeaseLost):
                await again.write(delta())
            assert await store.orphans(10) == [(KEY, reply(pen.lease))]
        else:
            await again.made(delta())
            assert await store.orphans(10) == []


# --- orphans -----------------------------------------------------------------------------------------------------


async def test_open_replies_are_orphans_once_no_lease_holds_their_epoch(store: Store) -> None:
    dead, alive = await Pen.of(store, "dead"), await Pen.of(store, "alive")
    replies = [reply(dead.lease, "msg_1"), reply(alive.lease, "msg_2"), reply(dead.lease, "msg_3")]
    await alive.made(create(replies=replies))
    assert await store.orphans(10) == []
    await store.release_lease(dead.lease)
    orphans = await store.orphans(10)
    assert sorted(orphans, key=lambda orphan: orphan[1].id) == [(KEY, replies[0]), (KEY, replies[2])]
    assert len(await store.orphans(1)) == 1
    await alive.made(change(KEY, 1, replies=replies[1:]))
    assert await store.orphans(10) == [(KEY, replies[2])]
    await alive.made(delta())
    assert len(await store.orphans(10)) == 1
    await alive.made(change(KEY, 2, replies=replies[1:2]))
    assert await store.orphans(10) == []


async def test_a_deleted_session_leaves_no_orphan(store: Store) -> None:
    pen = await Pen.of(store)
    await pen.made(create(replies=[reply(pen.lease)]))
    await store.release_lease(pen.lease)
    assert len(await store.orphans(10)) == 1
    assert await store.delete(KEY, 1)
    assert await store.orphans(10) == []


# --- closing -----------------------------------------------------------------------------------------------------


async def test_what_was_acknowledged_stays(opener: Opener) -> None:
    async with opener() as store:
        pen = await Pen.of(store)
        await pen.made(create(title="title"), delta("a"))
        kept = await store.header(KEY), await texts(store)
    for _ in range(2):
        async with opener() as store:
            assert (await store.header(KEY), await texts(store)) == kept
            await store.ping()
