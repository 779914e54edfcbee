"""A worker's lease, and what it makes of the replies of others: they end, or go on, once, and nobody else's are touched."""

import asyncio
import logging
from collections.abc import Collection, Sequence
from typing import Self

import pytest

from chat_service import chat_over
from rejoinder.abc import Append, AppendResult, Lease, Row
from rejoinder.chat import worker
from rejoinder.chat.recovery import TOGETHER, Recovery
from rejoinder.entities import Key, OpenReply, Status
from rejoinder.errors import LeaseLost, StoreUnavailable
from rejoinder.stores.memory import MemoryStore
from test_reply_life import FOREVER, STOP, Reads, Told, asked, ended, left_behind, says, words


async def test_a_lease_is_renewed_while_the_replies_of_a_dead_worker_are_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    renewed = 0

    class Shared(MemoryStore):
        exclusive = False

        async def renew_lease(self, lease: Lease, ttl: float) -> None:
            nonlocal renewed
            renewed += 1
            await super().renew_lease(lease, ttl)

    sweeps: list[bool] = []

    async def long(_: Recovery, *, revoke: bool = True) -> int:
        sweeps.append(revoke)
        await asyncio.sleep(1.5)
        return 1

    monkeypatch.setattr(Recovery, "sweep", long)
    async with chat_over(Shared(), lease=0.3) as chat:
        assert renewed >= 3, "also while it starts"
        assert sweeps == [False]
        await asyncio.sleep(0.3)
        before = renewed
        await asyncio.sleep(0.8)
        assert sweeps == [False, True], "one after the other"
        assert renewed > before + 3
        swept = chat._worker._sweeping
    assert swept is not None and swept.cancelled(), "it is over with the service"


async def test_a_lease_that_could_not_be_renewed_is_soon_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "RETRY", 0.01)
    tries = list[float]()
    renewed = asyncio.Event()

    class Stumbling(MemoryStore):
        exclusive = False

        async def renew_lease(self, lease: Lease, ttl: float) -> None:
            tries.append(asyncio.get_running_loop().time())
            if len(tries) < 3:
                raise StoreUnavailable("It is away.")
            renewed.set()

    async with asyncio.timeout(5), chat_over(Stumbling(), lease=0.9):
        await renewed.wait()
    assert tries[2] - tries[0] < 0.3, "a third of the lease is between two that went well"


async def test_who_waited_long_to_learn_that_the_store_is_away_takes_nobody_for_dead_when_it_is_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = asyncio.get_running_loop().time
    lease, back, swept = 0.15, list[float](), list[float]()

    class Silent(MemoryStore):
        exclusive = False

        async def renew_lease(self, lease: Lease, ttl: float) -> None:
            if not back:
                await asyncio.sleep(1.5 * ttl)
                back.append(now())
                raise StoreUnavailable("It did not answer in time.")
            await super().renew_lease(lease, ttl)

    async def sweep(_: Recovery, *, revoke: bool = True) -> int:
        if revoke:
            swept.append(now())
        return 0

    monkeypatch.setattr(Recovery, "sweep", sweep)
    async with chat_over(Silent(), lease=lease):
        await asyncio.sleep(5 * lease)
    assert swept[0] - back[0] >= lease, "the others had no time to renew theirs"


async def test_a_store_that_is_away_for_long_is_told_of_when_it_goes_and_when_it_is_back(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Away(Others):
        tries = 0

        async def renew_lease(self, lease: Lease, ttl: float) -> None:
            self.tries += 1
            if self.tries <= 5:
                raise StoreUnavailable("The disk is full.")
            await super().renew_lease(lease, ttl)

    async with chat_over(Away(), lease=0.1):
        await asyncio.sleep(0.4)
    assert [told for told in caplog.messages if "lease" in told] == [
        "the lease could not be renewed, trying on: The disk is full.",
        "the lease is renewed again",
    ]


class Others(MemoryStore):
    """One that others write as well."""

    exclusive = False


async def test_who_loses_its_lease_in_its_start_takes_another_and_ends_what_was_left() -> None:
    class Paused(Others):
        taken: list[Lease]

        async def acquire_lease(self, worker: str, ttl: float) -> Lease:
            self.taken.append(await super().acquire_lease(worker, ttl))
            return self.taken[-1]

        async def orphans(self, limit: int) -> list[tuple[Key, OpenReply]]:
            found = await super().orphans(limit)
            if found and len(self.taken) == 2:  # it is paused there, and another revokes its lease
                await self.release_lease(self.taken[1])
            return found

    store = Paused()
    store.taken = []
    [(key, turn)] = await left_behind(store, 1, "one ")
    async with asyncio.timeout(5), chat_over(store, lease=0.1) as chat:
        await chat.following.ended(key, turn.reply.id, turn.after)
        assert (await chat.history.message(key, turn.reply.id)).status is Status.INTERRUPTED


async def test_a_distant_store_is_waited_for_once_for_some_of_those_that_a_dead_worker_left() -> None:
    class Distant(Others):
        waiting = most = 0

        async def rows(self, key: Key, ids: Collection[str]) -> dict[str, Row]:
            self.waiting += 1
            self.most = max(self.most, self.waiting)
            await asyncio.sleep(0.01)
            self.waiting -= 1
            return await super().rows(key, ids)

    store = Distant()
    left = await left_behind(store, 2 * TOGETHER, "one ")
    async with asyncio.timeout(5), chat_over(store) as chat:
        for key, turn in left:
            await chat.following.ended(key, turn.reply.id, turn.after)
    assert store.most == TOGETHER


async def test_whose_batch_was_refused_takes_another_lease_at_once_though_the_store_holds_the_old_one() -> None:
    class Refusing(Others):
        refuses = False

        async def append(
            self, lease: Lease, number: int, appends: Sequence[Append], *, acknowledged: int = 0
        ) -> list[AppendResult]:
            refuses, self.refuses = self.refuses, False
            if refuses:
                raise LeaseLost("The batch before this one never came.")
            return await super().append(lease, number, appends, acknowledged=acknowledged)

    closed = asyncio.Event()

    async def endless() -> Reads:
        try:
            yield words("one ")
            await asyncio.sleep(FOREVER)
        finally:
            closed.set()

    store = Refusing()
    async with asyncio.timeout(5), chat_over(store, Told({"a": endless, "b": says(STOP)}), lease=60) as chat:
        key, turn = await asked(chat, "a")
        await asyncio.sleep(0.05)
        store.refuses = True
        with pytest.raises(LeaseLost):
            await asked(chat, "b")
        await closed.wait()
        await chat.following.ended(key, turn.reply.id, turn.after)
        assert len(store._leases) == 1
        await ended(chat, *await asked(chat, "b"))


async def test_a_stop_of_which_no_wake_came_is_found_by_whoever_writes_the_reply() -> None:
    class Silent(Others):
        async def __aenter__(self) -> Self:
            return self  # also for the second: it revokes nothing

    store = Silent()
    models = Told({"a": says(words("one "), FOREVER)})
    async with chat_over(store, models, lease=0.3) as chat, chat_over(store, models, lease=30) as other:
        (key, turn), (left, more) = [await asked(chat, "a") for _ in range(2)]
        await other.stopping.order(key, turn.reply.id)
        assert (await ended(chat, key, turn)).status is Status.STOPPED
        await asyncio.sleep(0.15)  # another look
        header = await store.header(left)
        assert header is not None and header.open_reply(more.reply.id) is not None, "and no other is stopped"


async def test_a_reply_that_another_worker_has_taken_up_meanwhile_is_left_to_it() -> None:
    class Late(Others):
        """Tells each worker in its first look of what there was to begin with."""

        found: Sequence[tuple[Key, OpenReply]] = ()
        late = False

        async def __aenter__(self) -> Self:
            return self

        async def orphans(self, limit: int) -> list[tuple[Key, OpenReply]]:
            late, self.late = self.late, False
            if not late:
                self.found = await super().orphans(limit) or self.found
                return await super().orphans(limit)
            return list(self.found)

    store = Late()
    [(key, turn)] = await left_behind(store, 1, "one ")
    model = Told({"a": says(words("anew"), FOREVER)})
    async with chat_over(store, model, after_crash="restart") as first:
        for after_crash in ("restart", "interrupt"):
            store.late = True
            async with asyncio.timeout(5), chat_over(store, model, after_crash=after_crash):
                assert not store.late
        header = await store.header(key)
        assert header is not None
        assert [(reply.id, reply.epoch) for reply in header.open] == [(turn.reply.id, first._writer.epoch)]
        assert model.asked == ["a"]


async def test_a_fault_in_the_way_to_one_reply_of_a_dead_worker_keeps_no_other_from_its_end(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Broken(MemoryStore):
        broken: Key | None = None

        async def rows(self, key: Key, ids: Collection[str]) -> dict[str, Row]:
            if key == self.broken:
                raise RuntimeError("a fault of our own")
            return await super().rows(key, ids)

    store = Broken()
    left = await left_behind(store, 3, "one ")
    store.broken = left[0][0]
    async with asyncio.timeout(5), chat_over(store):
        headers = [await store.header(key) for key, _ in left]
    assert [header is not None and len(header.open) for header in headers] == [1, 0, 0]
    assert "could not be recovered" in caplog.text


async def test_a_reply_that_another_worker_recovers_first_is_no_trouble(caplog: pytest.LogCaptureFixture) -> None:
    class Late(Others):
        others = 0

        async def __aenter__(self) -> Self:
            return self  # it is open: another worker comes to it

        async def orphans(self, limit: int) -> list[tuple[Key, OpenReply]]:
            found, self.others = await super().orphans(limit), self.others + 1
            if self.others == 1:  # of all workers that may sweep
                async with chat_over(self):
                    pass
            return found

    store = Late()
    left = await left_behind(store, 3, "one ")
    store.others = 0
    with caplog.at_level(logging.INFO, "rejoinder"):
        async with chat_over(store) as chat:
            for key, turn in left:
                assert (await chat.history.message(key, turn.reply.id)).status is Status.INTERRUPTED
    assert [told for told in caplog.messages if "repl" in told] == ["3 replies were left by a worker that is gone"]


@pytest.mark.parametrize("turns", range(5))
async def test_a_lease_that_is_lost_as_the_service_stops_keeps_it_from_nothing(turns: int) -> None:
    async with asyncio.timeout(1), chat_over(Others()) as chat:
        chat._worker._lost.set()
        for _ in range(turns):
            await asyncio.sleep(0)
