"""The overview where wakes may be lost, or come without their events: it tells all the same, from what the store says."""

import asyncio
import json
import random
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, ExitStack, aclosing, asynccontextmanager, contextmanager
from typing import Any

import pytest
from msgspec import structs

from rejoinder.abc import Wake
from rejoinder.api import app
from rejoinder.chat import polled_feeds
from rejoinder.chat.asked import Send
from rejoinder.chat.ids import new_message_id, new_session_id
from rejoinder.chat.service import Chat
from rejoinder.chat.sessions import NewSession, SessionChange
from rejoinder.entities import Key
from rejoinder.settings import Settings
from rejoinder.signals.local import LocalSignals
from rejoinder.stores import open_store

Told = tuple[str, dict[str, Any]]
CHANCE = random.Random(7)


class WorstSignals(LocalSignals):
    """What the contract allows: `fate` says what becomes of each wake."""

    reliable = False

    def __init__(self, fate: Callable[[Wake], list[Wake]]) -> None:
        super().__init__()
        self._fate = fate

    def publish(self, wakes: Sequence[Wake]) -> None:
        super().publish([left for wake in wakes for left in self._fate(wake)])


FATES: dict[str, Callable[[Wake], list[Wake]]] = {
    "all are lost": lambda _: [],
    "none carries its events": lambda wake: [structs.replace(wake, events=())],
    "some are lost": lambda wake: [wake] if CHANCE.random() < 0.5 else [],
    "some come twice": lambda wake: [wake] * CHANCE.randint(1, 2),
    "deletions are lost": lambda wake: [] if wake.deleted else [wake],
}


@asynccontextmanager
async def serving(fate: Callable[[Wake], list[Wake]]) -> AsyncIterator[Chat]:
    settings = Settings(store="memory:", model="scripted:echo", title_model="off", _env_file=None)
    async with AsyncExitStack() as stack:
        store = await stack.enter_async_context(open_store("memory:"))
        signals = await stack.enter_async_context(WorstSignals(fate))
        models = await app._open_models(stack, settings)
        yield await stack.enter_async_context(Chat(store, signals, models, app._rules(settings)))


class Reader:
    def __init__(self, chat: Chat) -> None:
        self.told: list[Told] = []
        self._frames = chat.overview.follow("ann", idle=60)

    async def until(self, wanted: Callable[[str, dict[str, Any]], bool]) -> list[Told]:
        """All that came so far, up to the first for which this is true."""
        async with asyncio.timeout(20):
            async for batch in self._frames:
                for frame in batch.frames:
                    kind, data = frame.data.decode().removeprefix("event: ").split("\ndata: ", 1)
                    self.told.append((kind, json.loads(data)))
                if any(wanted(*each) for each in self.told):
                    return self.told
        raise AssertionError("it ended")

    def of(self, key: Key) -> list[str]:
        return [kind for kind, data in self.told if data.get("session_id") == key.session_id]

    def seqs(self, key: Key) -> list[int]:
        return [data["seq"] for _, data in self.told if data.get("session_id") == key.session_id and "seq" in data]


@asynccontextmanager
async def reading(chat: Chat) -> AsyncIterator[Reader]:
    reader = Reader(chat)
    async with aclosing(reader._frames):
        await reader.until(lambda kind, _: kind == "snapshot")
        yield reader


@pytest.fixture(autouse=True)
def _looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(polled_feeds, "POLL", 0.2)
    monkeypatch.setattr(polled_feeds, "LOOK_PAUSE", 0.02)


def new_key() -> Key:
    return Key("ann", new_session_id())


async def turn(chat: Chat, key: Key, content: str = "/script tokens=20 pace=0.01\n") -> str:
    sent = await chat.send(key, new_message_id(), Send(content=content))
    return sent.reply.id


WHOLE = ["session.created", "message.created", "message.created", "message.started", "message.ended", "session.updated"]


@pytest.mark.parametrize("fate", FATES.values(), ids=FATES.keys())
async def test_everything_is_told_once_and_in_order(fate: Callable[[Wake], list[Wake]]) -> None:
    async with serving(fate) as chat:
        old, new = new_key(), new_key()
        await chat.sessions.create(old, NewSession())
        async with reading(chat) as reader:
            await chat.sessions.create(new, NewSession())
            for key in (old, new):
                mid = await turn(chat, key)
                await reader.until(
                    lambda kind, data, mid=mid: kind == "message.ended" and data["message"]["id"] == mid  # type: ignore[misc]
                )
                await chat.sessions.update(key, SessionChange(title=f"title {key.session_id}"))
                await reader.until(
                    lambda kind, data, key=key: kind == "session.updated" and key.session_id in data["session"]["title"]  # type: ignore[misc]
                )
            assert reader.of(new) == WHOLE
            assert reader.of(old) == WHOLE[1:]
            for key in (old, new):
                assert reader.seqs(key) == sorted(set(reader.seqs(key)))
            assert [kind for kind, _ in reader.told].count("snapshot") == 1
            await chat.sessions.delete(new)
            await reader.until(lambda kind, _: kind == "session.deleted")
            assert reader.of(new)[: len(WHOLE) + 1] == [*WHOLE, "session.deleted"], "a deletion may be told twice"


async def test_what_was_long_asleep_is_told_when_it_wakes() -> None:
    """More sessions than a look reads, and the one that changes is none of them."""
    async with serving(FATES["all are lost"]) as chat:
        asleep = new_key()
        await chat.sessions.create(asleep, NewSession())
        for _ in range(polled_feeds.PAGE + 5):
            await asyncio.sleep(0)
            await chat.sessions.create(new_key(), NewSession())
        async with reading(chat) as reader:
            mid = await turn(chat, asleep)
            await reader.until(lambda kind, data: kind == "message.ended" and data["message"]["id"] == mid)


async def test_what_was_long_asleep_is_told_whole_where_its_first_wake_carried_nothing() -> None:
    """Events that are too long for a wake, and then some that are not."""

    def fate(wake: Wake) -> list[Wake]:
        long = any(event.type == "message.created" for event in wake.events)
        return [structs.replace(wake, events=()) if long else wake]

    async with serving(fate) as chat:
        asleep = new_key()
        await chat.sessions.create(asleep, NewSession())
        for _ in range(polled_feeds.PAGE + 5):
            await chat.sessions.create(new_key(), NewSession())
        async with reading(chat) as reader:
            mid = await turn(chat, asleep)
            await reader.until(lambda kind, data: kind == "message.ended" and data["message"]["id"] == mid)
            assert reader.of(asleep) == [
                "session.created",
                "message.created",
                "message.created",
                "message.started",
                "message.ended",
            ]


async def test_more_news_than_a_look_reads_is_a_snapshot() -> None:
    async with serving(FATES["all are lost"]) as chat, reading(chat) as reader:
        for _ in range(polled_feeds.PAGE + 5):
            await chat.sessions.create(new_key(), NewSession())
        key = new_key()
        await chat.sessions.create(key, NewSession())
        mid = await turn(chat, key, "/script tokens=30 pace=0.1\n")

        def is_marked(kind: str, data: dict[str, Any]) -> bool:
            return kind == "snapshot" and [key.session_id] == [each["session_id"] for each in data["writing"]]

        await reader.until(is_marked)
        await chat.stopping.stop(key, mid)
        await reader.until(lambda kind, data: kind == "message.ended" and data["message"]["id"] == mid)


async def test_however_many_change_what_wakes_tell_is_told_once_and_without_another_snapshot() -> None:
    async with serving(lambda wake: [wake]) as chat, reading(chat) as reader:
        keys = [new_key() for _ in range(polled_feeds.PAGE + 20)]
        for key in keys:
            await chat.sessions.create(key, NewSession())
        for title in ("one", "two"):
            for key in keys:
                await chat.sessions.update(key, SessionChange(title=title))
            feed: Any = chat.overview._feeds["ann"]
            for _ in range(2):  # the second has begun behind all of it
                before = feed._looked_at
                while feed._looked_at is before:  # noqa: ASYNC110  # nobody tells when a look is over
                    await asyncio.sleep(0.002)
        last = new_key()
        await chat.sessions.create(last, NewSession())
        await reader.until(lambda _, data: data.get("session_id") == last.session_id)
        assert [kind for kind, _ in reader.told].count("snapshot") == 1
        assert all(reader.of(key) == ["session.created", "session.updated", "session.updated"] for key in keys)


class SlowAnswer:
    """The first answer that the store gives a look to one of its questions: it is read, and comes when it may."""

    def __init__(self) -> None:
        self.read = asyncio.Event()
        self.may_come = asyncio.Event()


@contextmanager
def answering_late(chat: Chat, question: str) -> Iterator[SlowAnswer]:
    slow, ask = SlowAnswer(), getattr(chat.store, question)

    async def late(*args: Any, **kwargs: Any) -> Any:
        task = asyncio.current_task()
        answer = await ask(*args, **kwargs)
        if task is not None and task.get_name() == "overview" and not slow.read.is_set():
            slow.read.set()
            await slow.may_come.wait()
        return answer

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chat.store, question, late)
        yield slow


async def talk(chat: Chat, key: Key, title: str, turns: int) -> str:
    """A new session with some turns that have ended; the last reply."""
    await chat.sessions.create(key, NewSession(title=title))
    for _ in range(turns):
        mid = await turn(chat, key, "hello")
        while (header := await chat.store.header(key)) is not None and header.open:  # noqa: ASYNC110  # its wake may be lost
            await asyncio.sleep(0.002)
    return mid


@pytest.mark.parametrize("question", ["sessions", "events", "created"])
async def test_what_a_look_read_of_a_session_counts_no_more_once_another_has_its_id(question: str) -> None:
    silent = False
    key = new_key()
    async with serving(lambda wake: [] if silent else [wake]) as chat, reading(chat) as reader:
        with ExitStack() as stack:
            if question == "created":  # which is asked of a session that the feed never heard of
                silent = True
                earlier = stack.enter_context(answering_late(chat, "sessions"))
                await earlier.read.wait()
            await talk(chat, key, "one", 3)
            slow = stack.enter_context(answering_late(chat, question))
            if question == "created":
                earlier.may_come.set()
            if question == "events":  # which are asked of a session with news that no wake told
                silent = True
                await chat.sessions.update(key, SessionChange(title="renamed"))
            await slow.read.wait()
            silent = False
            await chat.sessions.delete(key)
            await chat.sessions.create(key, NewSession(title="two"))
            slow.may_come.set()
            feed: Any = chat.overview._feeds["ann"]
            before = feed._looked_at
            while feed._looked_at is before:  # noqa: ASYNC110  # nobody tells when a look is over
                await asyncio.sleep(0.002)
        mid = await turn(chat, key)
        await reader.until(lambda kind, data: kind == "message.ended" and data["message"]["id"] == mid)
        told = reader.of(key)
        assert told[told.index("session.deleted") :] == ["session.deleted", *WHOLE[:-1]]
        assert reader.seqs(key)[-5:] == [1, 2, 3, 4, reader.seqs(key)[-1]]


@pytest.mark.parametrize("turns", [1, 6], ids=["shorter", "longer"])
async def test_a_session_that_was_made_again_unheard_is_told_from_its_beginning(turns: int) -> None:
    """Whether the log of the one that has the id now is shorter than what was told of the other or longer."""
    key = new_key()
    async with serving(FATES["all are lost"]) as chat, reading(chat) as reader:

        def is_end(kind: str, data: dict[str, Any]) -> bool:
            return kind == "message.ended" and data["message"]["id"] == mid

        mid = await talk(chat, key, "one", 3)
        await reader.until(is_end)
        with answering_late(chat, "sessions") as slow:
            await slow.read.wait()
            await chat.sessions.delete(key)
            await asyncio.sleep(0.002)  # a session is known by when it was made, in milliseconds
            mid = await talk(chat, key, "two", turns)
            slow.may_come.set()
            await reader.until(is_end)
        told = [data for _, data in reader.told if data.get("session_id") == key.session_id]
        kinds = reader.of(key)
        place = kinds.index("session.deleted")
        assert kinds.count("session.deleted") == 1
        assert (kinds[place + 1], told[place + 1]["session"]["title"]) == ("session.created", "two")
        assert kinds[place + 1 :].count("message.ended") == turns


async def test_a_feed_ends_with_its_last_reader() -> None:
    async with serving(FATES["all are lost"]) as chat:
        async with reading(chat), reading(chat):
            assert sum(task.get_name() == "overview" for task in asyncio.all_tasks()) == 1
        await asyncio.sleep(0)
        assert not chat.overview._feeds
        assert not any(task.get_name() == "overview" and not task.done() for task in asyncio.all_tasks())


@pytest.mark.parametrize("turns", range(5))
async def test_a_wake_as_the_last_reader_leaves_does_not_let_it_look_on_for_nobody(
    turns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(polled_feeds, "LOOK_PAUSE", 0.001)
    async with open_store("memory:") as store:
        feed = polled_feeds.PolledFeed(store, "ann")
        await feed.open()
        await asyncio.sleep(0.01)
        feed.take(Wake(Key("ann", "ses_1")))
        for _ in range(turns):
            await asyncio.sleep(0)
        feed.close()
        assert feed._task is not None
        done, _ = await asyncio.wait([feed._task], timeout=0.05)
        assert done
