"""When the writer commits: what someone waits for at once, and what can wait with others."""

import asyncio
from collections.abc import Sequence
from typing import Self

import pytest
from msgspec import structs

from rejoinder.abc import ABSENT, Append, Appended, AppendResult, Lease, Refused, TextChunk, Wake
from rejoinder.chat import rests, room
from rejoinder.chat import writer as writers
from rejoinder.chat.deltas import DeltaBuffer
from rejoinder.chat.rests import Look
from rejoinder.chat.room import EACH, Room
from rejoinder.chat.writer import Writer
from rejoinder.entities import Header, Key, Session
from rejoinder.errors import LeaseLost, Overloaded, StoreUnavailable
from rejoinder.events import Draft, SessionCreated, draft
from rejoinder.fold import ReplyText
from rejoinder.signals.local import LocalSignals
from rejoinder.stores.memory import MemoryStore

AT = "2026-01-01T00:00:00.000Z"
LONG, SOON = 5.0, 2.0
"""Seconds: a pause that no machine is slow enough to miss, and what is at once compared with it."""


class Watched(MemoryStore):
    """Tells how many drafts each commit has."""

    def __init__(self) -> None:
        super().__init__()
        self.commits: list[int] = []
        self.committed = asyncio.Condition()

    async def append(
        self, lease: Lease, number: int, appends: Sequence[Append], *, acknowledged: int = 0
    ) -> list[AppendResult]:
        self.commits.append(sum(len(append.drafts) for append in appends))
        async with self.committed:
            self.committed.notify_all()
        return await super().append(lease, number, appends, acknowledged=acknowledged)


def creating(name: str) -> Append:
    session = Session(id=name, created_at=AT, updated_at=AT)
    said = draft(SessionCreated(session=session))
    header = Header(session=session, version=1)
    return Append(key=Key("o", name), drafts=(said,), expect=ABSENT, header=header)


class Scene:
    def __init__(self, store: Watched | None = None, signals: LocalSignals | None = None) -> None:
        self.store = store or Watched()
        self.writer = Writer(self.store, signals or LocalSignals())

    async def __aenter__(self) -> Self:
        self.writer.start(await self.store.acquire_lease("w", 10))
        await self.writer.append(creating("s"))
        self.store.commits.clear()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.writer.close()

    def buffer(self) -> DeltaBuffer:
        assert self.writer.epoch is not None
        return DeltaBuffer(Key("o", "s"), "msg", ReplyText(), epoch=self.writer.epoch, max_delta=1 << 20)

    async def begun(self) -> DeltaBuffer:
        """A buffer whose first word is committed, in one commit more."""
        buffer, before = self.buffer(), len(self.store.commits)
        self.say(buffer, "first")
        await self.until(before + 1)
        return buffer

    def say(self, buffer: DeltaBuffer, text: str) -> None:
        buffer.add(TextChunk("content", text))
        self.writer.write(buffer)

    async def until(self, commits: int) -> None:
        async with asyncio.timeout(SOON), self.store.committed:
            await self.store.committed.wait_for(lambda: len(self.store.commits) >= commits)


@pytest.fixture(autouse=True)
def long_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writers, "EACH", LONG)
    monkeypatch.setattr(writers, "BUSY", 2 * LONG)


async def test_a_first_word_is_committed_at_once_and_further_ones_wait() -> None:
    async with Scene() as scene:
        buffer = await scene.begun()
        scene.say(buffer, "second")
        await asyncio.sleep(0.2)
        assert scene.store.commits == [1]


async def test_what_is_pressing_takes_with_it_what_waits() -> None:
    async with Scene() as scene:
        one, other = await scene.begun(), scene.buffer()
        scene.say(one, "second")
        scene.say(other, "a first word")
        await scene.until(2)
        scene.say(one, "third")
        async with asyncio.timeout(SOON):
            await scene.writer.append(creating("another session"))
        assert scene.store.commits == [1, 2, 2]


@pytest.mark.parametrize(("bound", "value"), [("BATCH", 2), ("BATCH_BYTES", creating("session 0").size + 1)])
async def test_what_is_long_goes_in_commits_of_bounded_size_one_right_behind_the_other(
    monkeypatch: pytest.MonkeyPatch, bound: str, value: int
) -> None:
    monkeypatch.setattr(writers, bound, value)
    async with Scene() as scene:
        async with asyncio.timeout(SOON):
            await asyncio.gather(*(scene.writer.append(creating(f"session {n}")) for n in range(5)))
        assert scene.store.commits == [2, 2, 1]


async def test_what_was_decided_under_a_lease_that_is_over_is_never_written_and_who_waits_for_it_is_told() -> None:
    async with Scene() as scene:
        before, buffer = scene.writer.epoch, await scene.begun()
        scene.writer.start(await scene.store.acquire_lease("w", 10))
        scene.say(buffer, "second")
        async with asyncio.timeout(SOON):
            with pytest.raises(LeaseLost):
                await scene.writer.append(creating("t"), before)
            await scene.writer.append(creating("u"))
        assert (buffer.refused, buffer.fault) == (True, None)
        assert scene.store.commits == [1, 1]
        assert await scene.store.header(Key("o", "t")) is None


async def test_a_lease_that_the_store_knows_no_more_is_told_of_once_and_nothing_is_written_without_another() -> None:
    async with Scene() as scene:
        told: list[int | None] = []
        scene.writer.on_lease_lost = lambda: told.append(scene.writer.epoch)
        await scene.store.release_lease(scene.writer.lease)
        for _ in range(2):
            async with asyncio.timeout(SOON):
                with pytest.raises(LeaseLost):
                    await scene.writer.append(creating("t"))
        assert told == [None]
        scene.writer.start(await scene.store.acquire_lease("w", 10))
        await scene.writer.append(creating("t"))


async def test_a_fault_of_our_own_in_one_turn_is_not_the_end_of_the_writer() -> None:
    class Deaf(LocalSignals):
        deaf = False

        def publish(self, wakes: Sequence[Wake]) -> None:
            if self.deaf:
                raise RuntimeError("a fault of our own")
            super().publish(wakes)

    signals = Deaf()
    async with Scene(signals=signals) as scene:
        signals.deaf = True
        async with asyncio.timeout(SOON):
            assert await scene.writer.append(creating("t")) == Appended(1), "it stands, and who waits is told"
        signals.deaf = False
        async with asyncio.timeout(SOON):
            await scene.writer.append(creating("u"))


async def test_what_is_refused_keeps_nobody_from_hearing_of_what_was_committed_with_it() -> None:
    told: list[str] = []

    class Heard(LocalSignals):
        def publish(self, wakes: Sequence[Wake]) -> None:
            told.extend(wake.key.session_id for wake in wakes)

    async with Scene(signals=Heard()) as scene:
        appending = asyncio.gather(*(scene.writer.append(creating(name)) for name in ("s", "t")))
        async with asyncio.timeout(SOON):
            assert await appending == [Refused("exists"), Appended(1)]
        assert (scene.store.commits, told) == ([2], ["s", "t"]), "of the first one as the scene began"


async def test_an_end_waits_for_company_and_comes_with_it() -> None:
    async with Scene() as scene:
        ending = asyncio.create_task(scene.writer.append(creating("t"), pressing=False))
        await asyncio.sleep(0.2)
        assert not ending.done()
        async with asyncio.timeout(SOON):
            await scene.writer.append(creating("u"))
            await ending
        assert scene.store.commits == [2]


async def test_who_rests_is_woken_at_the_next_beat_and_what_it_says_then_is_committed_with_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(writers, "EACH", 0.05)
    async with Scene() as scene:
        buffers = [await scene.begun() for _ in range(3)]
        before = len(scene.store.commits)

        async def reply(buffer: DeltaBuffer) -> None:
            for word in ("second", "third"):
                scene.say(buffer, word)
                await scene.writer.rest(waking)
            scene.say(buffer, "last")

        await asyncio.gather(*map(reply, buffers))
        await scene.until(before + 2)
        # The second and third words of each are one delta: they were said before and at the same beat.
        assert scene.store.commits[before:] == [3, 3]


async def test_who_rests_is_not_woken_by_what_is_pressing() -> None:
    async with Scene() as scene:
        buffer = await scene.begun()
        resting = scene.writer.rest(waking)
        await scene.writer.append(creating("another session"))
        await asyncio.sleep(0.1)
        assert not resting.done()
        scene.say(buffer, "second")
        resting.cancel()


async def test_who_rests_is_looked_at_at_each_beat_until_its_rest_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writers, "EACH", 0.02)
    async with Scene() as scene:
        buffer, words = await scene.begun(), ["second", "third", "fourth"]
        before = len(scene.store.commits)

        def look(soon: bool) -> int | None:
            scene.say(buffer, words.pop(0))
            return 3 - len(words) if words else None

        async with asyncio.timeout(SOON):
            await scene.writer.rest(look)
        assert not words
        await scene.until(before + 3)
        assert scene.store.commits[before:] == [1, 1, 1], "what a look says is committed with its beat"


class Away(Watched):
    """A store that cannot be had for as long as that is said."""

    away = False

    async def append(
        self, lease: Lease, number: int, appends: Sequence[Append], *, acknowledged: int = 0
    ) -> list[AppendResult]:
        if self.away:
            raise StoreUnavailable("It is away.")
        return await super().append(lease, number, appends, acknowledged=acknowledged)


async def test_while_the_store_is_away_what_clients_ask_for_is_bounded_and_what_replies_write_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(writers, "BACKOFF", (0.01,))
    store = Away()
    async with Scene(store) as scene:
        scene.writer.room = Room(usual=3 * EACH, great=EACH)
        buffer = await scene.begun()
        store.away = True
        asked = [await scene.writer.begin(creating(f"asked {number}")) for number in range(3)]
        for _ in range(2):
            with pytest.raises(Overloaded):
                await scene.writer.append(creating("one more"))
        # Text of a reply that is live, and its end.
        scene.say(buffer, "more")
        end = Append(key=Key("o", "s"), drafts=(Draft("message.ended", "msg", b"{}"),))
        ending = await scene.writer.begin(end)
        asked[0].cancel()  # who asked has gone; it is written all the same
        with pytest.raises(Overloaded):
            await scene.writer.append(creating("one more"))
        store.away = False
        async with asyncio.timeout(SOON):
            await asyncio.gather(*asked[1:], ending)
            assert [await store.header(Key("o", f"asked {number}")) is not None for number in range(3)] == [True] * 3
            assert await store.header(Key("o", "one more")) is None
            # There is room again, also behind what is refused.
            for _ in range(9):
                await scene.writer.append(creating("asked 1"))


async def test_what_is_great_holds_up_nothing_but_what_is_great(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writers, "BACKOFF", (0.01,))
    monkeypatch.setattr(room, "IS_GREAT", 1 << 20)
    store = Away()
    async with Scene(store) as scene:
        scene.writer.room = Room(usual=100 * EACH, great=1 << 20)
        store.away = True
        great = [
            structs.replace(creating(name), drafts=(Draft("a", None, b"x" * (1 << 20)),)) for name in ("one", "other")
        ]
        first = await scene.writer.begin(great[0])
        with pytest.raises(Overloaded):
            await scene.writer.append(great[1])
        usual = await scene.writer.begin(creating("usual"))
        store.away = False
        async with asyncio.timeout(SOON):
            await asyncio.gather(first, usual)
            await scene.writer.append(great[1])


async def test_what_could_not_be_staged_leaves_its_place() -> None:
    class Full(Watched):
        async def stage(self, lease: Lease, append: Append) -> Append:
            if append.key.session_id == "large":
                raise StoreUnavailable("It does not fit.")
            return append

    async with Scene(Full()) as scene:
        scene.writer.room = Room(usual=EACH)
        for _ in range(3):
            with pytest.raises(StoreUnavailable):
                await scene.writer.append(creating("large"))
        async with asyncio.timeout(SOON):
            await scene.writer.append(creating("small"))


async def test_what_a_look_raises_is_raised_where_it_is_waited_for_and_hurts_nobody_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(writers, "EACH", 0.02)

    def fault(soon: bool) -> int | None:
        raise ValueError("of one")

    async with Scene() as scene:
        await scene.begun()
        one, other = scene.writer.rest(fault), scene.writer.rest(waking)
        async with asyncio.timeout(SOON):
            await other
            with pytest.raises(ValueError, match="of one"):
                await one
            await scene.writer.append(creating("another session"))


async def test_who_has_left_is_not_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writers, "EACH", 0.02)
    looks: list[bool] = []

    def look(soon: bool) -> None:
        looks.append(soon)

    async with Scene() as scene:
        await scene.begun()
        left, stays = scene.writer.rest(look), scene.writer.rest(waking)
        left.cancel()
        async with asyncio.timeout(SOON):
            await stays
    assert not looks


async def test_a_look_is_told_whether_there_is_another_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """That is where so many are written that beats come whoever has something to say then."""
    monkeypatch.setattr(writers, "EACH", 0.01)
    monkeypatch.setattr(writers, "BUSY", 0.03)
    async with Scene() as scene:
        buffers = [await scene.begun() for _ in range(3)]
        told: list[bool] = []
        for speaking in (1, 3, 3, 0, 0):

            def look(soon: bool, speaking: int = speaking) -> None:
                told.append(soon)
                for buffer in buffers[:speaking]:
                    scene.say(buffer, "word")

            async with asyncio.timeout(SOON):
                await scene.writer.rest(look)
        assert told == [False, False, True, True, False]


async def test_a_service_whose_beats_take_long_has_them_more_seldom(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writers, "EACH", 0.01)
    monkeypatch.setattr(writers, "SLOWEST", LONG)
    assert await seconds_between_beats(taking=0.2) >= 0.2 / writers.LOAD - 0.01


async def test_after_the_store_was_away_replies_go_on_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writers, "EACH", 0.01)
    assert 0.99 <= await seconds_between_beats(taking=1) < 1.5


def waking(soon: bool) -> None:
    """A look of one whose rest is over at the next beat."""


async def seconds_between_beats(taking: float) -> float:
    """From a beat with two replies, whose commit takes so many seconds, to the next."""

    class Slow(Watched):
        async def append(
            self, lease: Lease, number: int, appends: Sequence[Append], *, acknowledged: int = 0
        ) -> list[AppendResult]:
            await asyncio.sleep(taking if len(appends) == 2 else 0)
            return await super().append(lease, number, appends, acknowledged=acknowledged)

    async with Scene(Slow()) as scene:
        buffers = [await scene.begun() for _ in range(2)]
        await asyncio.sleep(0.05)  # behind the beat of the first words
        for buffer in buffers:
            scene.say(buffer, "second")
        await scene.writer.rest(waking)
        began = asyncio.get_running_loop().time()
        await scene.writer.rest(waking)
        return asyncio.get_running_loop().time() - began


async def test_the_pause_is_as_long_as_the_last_commit_was_great(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writers, "EACH", 0.001)
    async with Scene() as scene:
        buffers = [scene.buffer() for _ in range(round(LONG / 0.001))]
        scene.say(buffers[0], "first")
        await scene.until(1)
        scene.say(buffers[0], "second")
        await scene.until(2)  # the one before it was small
        for buffer in buffers:
            scene.say(buffer, "more")
        await scene.until(3)
        scene.say(buffers[0], "third")
        await asyncio.sleep(0.2)
        assert len(scene.store.commits) == 3


async def test_after_the_pause_it_is_committed_without_company(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writers, "EACH", 0.05)
    async with Scene() as scene:
        buffer = await scene.begun()
        scene.say(buffer, "second")
        await scene.until(2)


async def test_a_busy_service_looks_at_each_reply_when_it_is_time_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is read in lumps at any rate seldom, another often; and both are committed together where that falls together."""
    monkeypatch.setattr(writers, "EACH", 0.004)
    monkeypatch.setattr(writers, "BUSY", 0.008)
    async with Scene() as scene:
        loop = asyncio.get_running_loop()
        looks: dict[int, list[float]] = {30: [], 100: []}
        began = loop.time()

        def look_at(speed: int, buffer: DeltaBuffer) -> Look:
            def look(soon: bool) -> int | None:
                looks[speed].append(loop.time())
                scene.say(buffer, "word")
                return None if loop.time() > began + 1.5 else round(speed * (loop.time() - began))

            return look

        resting = [scene.writer.rest(look_at(speed, await scene.begun())) for speed in looks]
        async with asyncio.timeout(LONG):
            await asyncio.gather(*resting)
    often, seldom = (len([at for at in looks[speed] if at > began + 0.5]) for speed in looks)
    (_, medium), (_, fast) = rests.PAUSES[1:]
    assert often == pytest.approx(1 / (medium * rests.TICK), rel=0.3)
    assert seldom == pytest.approx(1 / (fast * rests.TICK), rel=0.3)
    together = {round(at / rests.TICK) for at in looks[30]} & {round(at / rests.TICK) for at in looks[100]}
    assert len(together) >= seldom // 2, "the second of two looks at the one falls together with one at the other"
