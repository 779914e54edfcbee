"""A deletion of which the store does not say what became of it: readers are told as soon as that is known."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import aclosing

import pytest

from chat_service import chat_over
from rejoinder.chat import deletions
from rejoinder.chat.asked import Send
from rejoinder.chat.ids import new_session_id
from rejoinder.chat.importing import Reader
from rejoinder.chat.service import Chat
from rejoinder.chat.sessions import NewSession
from rejoinder.entities import Key
from rejoinder.errors import SessionGone, SessionNotFound, StoreUnavailable
from rejoinder.stores.memory import MemoryStore


class Doubtful(MemoryStore):
    """Does a deletion (or not), says that it cannot be reached, and then cannot be for a while."""

    deletes = True
    away = 0

    async def delete(self, key: Key, version: int) -> bool:
        if self.deletes:
            await super().delete(key, version)
        self.away = 2
        raise StoreUnavailable("The disk is full.")

    async def ping(self) -> None:
        if self.away:
            self.away -= 1
            raise StoreUnavailable("The disk is full.")
        await super().ping()


@pytest.fixture(autouse=True)
def _looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deletions, "LOOK", 0.01)


async def follow(chat: Chat, key: Key) -> None:
    async for _ in chat.following.follow(key, 0, None, 60):
        pass


async def doubtfully_deleted(chat: Chat) -> tuple[Key, "asyncio.Task[None]"]:
    """A session, and who reads it, whose deletion has been asked for and answered by nothing that tells."""
    key = Key("ann", new_session_id())
    await chat.sessions.create(key, NewSession())
    reading = asyncio.create_task(follow(chat, key))
    await asyncio.sleep(0.05)
    with pytest.raises(StoreUnavailable):
        await chat.sessions.delete(key)
    return key, reading


async def test_readers_learn_of_a_deletion_whose_answer_was_lost() -> None:
    async with chat_over(Doubtful()) as chat:
        key, reading = await doubtfully_deleted(chat)
        with pytest.raises(SessionGone):
            await asyncio.wait_for(reading, 5)
        with pytest.raises(SessionNotFound):
            await chat.sessions.delete(key)


async def test_readers_of_a_session_that_was_not_deleted_after_all_read_on() -> None:
    store = Doubtful()
    store.deletes = False
    async with chat_over(store) as chat:
        _, reading = await doubtfully_deleted(chat)
        await asyncio.sleep(0.2)
        assert not reading.done()
        assert not chat._deletions._untold
        reading.cancel()


async def test_a_service_that_ends_does_not_wait_for_what_a_store_that_is_away_would_say() -> None:
    async with chat_over(store := Doubtful()) as chat:
        _, reading = await doubtfully_deleted(chat)
        reading.cancel()
        store.away = 1_000_000


class Slow(MemoryStore):
    """Its answer to a deletion takes a while, or never comes."""

    lost = False

    def __init__(self) -> None:
        super().__init__()
        self.deleted, self.answers = asyncio.Event(), asyncio.Event()

    async def delete(self, key: Key, version: int) -> bool:
        done = await super().delete(key, version)
        self.deleted.set()
        await self.answers.wait()
        if self.lost:
            raise StoreUnavailable("The answer was lost.")
        return done


async def test_who_deletes_what_was_made_again_is_not_answered_for_the_deletion_before_it() -> None:
    async with chat_over(store := Slow()) as chat:
        key = Key("ann", new_session_id())
        await chat.sessions.create(key, NewSession())
        first = asyncio.create_task(chat.delete(key))
        await store.deleted.wait()
        await chat.sessions.create(key, NewSession(title="again"))
        others = [asyncio.create_task(chat.delete(key)) for _ in range(3)]
        await asyncio.sleep(0.01)
        store.answers.set()
        await asyncio.gather(first, *others)
        with pytest.raises(SessionNotFound):
            await chat.sessions.get(key)


async def test_who_deletes_what_is_being_deleted_is_told_that_it_is_and_later_that_it_is_not_there() -> None:
    async with chat_over(store := Slow()) as chat:
        key = Key("ann", new_session_id())
        await chat.sessions.create(key, NewSession())
        asked = [asyncio.create_task(chat.delete(key)) for _ in range(3)]
        await store.deleted.wait()
        store.answers.set()
        await asyncio.gather(*asked)
        with pytest.raises(SessionNotFound):
            await chat.delete(key)


async def by_creating(chat: Chat, key: Key) -> None:
    await chat.sessions.create(key, NewSession(title="again"))


async def by_forking(chat: Chat, key: Key) -> None:
    of = Key(key.owner, new_session_id())
    await chat.sessions.create(of, NewSession())
    turn = await chat.send(of, None, Send(content="hello"))
    await chat.forking.fork(of, turn.message.id, key)


async def by_importing(chat: Chat, key: Key) -> None:
    """Of what was exported before it was deleted: so all its times are the same."""
    async with chat_over(MemoryStore()) as before:
        await before.sessions.create(key, NewSession())
        async with aclosing(await before.exporting.begin(key)) as pieces:
            lines = [line async for piece in pieces for line in piece.splitlines(keepends=True)]
    reader = Reader(key.owner)
    for line in lines:
        reader.take(line)
    await chat.importing.take(reader.whole())


@pytest.mark.parametrize("late", ["lost", "late"])
@pytest.mark.parametrize("again", [by_creating, by_forking, by_importing])
async def test_what_is_made_again_is_not_told_to_be_deleted(
    again: Callable[[Chat, Key], Awaitable[None]], late: str
) -> None:
    key, told = Key("ann", new_session_id()), list[str]()

    async def watch(chat: Chat) -> None:
        async with aclosing(chat.overview.follow(key.owner, idle=60)) as pieces:
            async for piece in pieces:
                told.extend(frame.type for frame in piece.frames if key.session_id.encode() in frame.data)

    async with chat_over(store := Slow()) as chat:
        store.lost = late == "lost"
        await chat.sessions.create(key, NewSession())
        watching = [asyncio.create_task(watch(chat)), asyncio.create_task(follow(chat, key))]
        await asyncio.sleep(0.05)
        deleting = asyncio.create_task(chat.delete(key))
        await store.deleted.wait()
        if store.lost:
            store.answers.set()
            with pytest.raises(StoreUnavailable):
                await deleting
        await again(chat, key)
        with pytest.raises(SessionGone):
            await asyncio.wait_for(watching.pop(), 5)
        watching.append(asyncio.create_task(follow(chat, key)))
        await asyncio.sleep(0.05)
        store.answers.set()
        await asyncio.wait({deleting})
        await asyncio.sleep(0.1)
        assert not watching[-1].done()
        assert told.count("session.deleted") == 1
        assert told.index("session.deleted") < told.index("session.created")
        assert not chat._deletions._untold
        for task in watching:
            task.cancel()
