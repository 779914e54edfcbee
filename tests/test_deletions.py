"""A deletion of which the store does not say what became of it: readers are told as soon as that is known."""

import asyncio

import pytest

from chat_service import chat_over
from rejoinder.chat import sessions
from rejoinder.chat.ids import new_session_id
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
    monkeypatch.setattr(sessions, "LOOK", 0.01)


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
        assert not chat.sessions._doubtful
        reading.cancel()


async def test_a_service_that_ends_does_not_wait_for_what_a_store_that_is_away_would_say() -> None:
    async with chat_over(store := Doubtful()) as chat:
        _, reading = await doubtfully_deleted(chat)
        reading.cancel()
        store.away = 1_000_000


class Slow(MemoryStore):
    """Its answer to the first deletion takes a while."""

    def __init__(self) -> None:
        super().__init__()
        self.deleted, self.answers = asyncio.Event(), asyncio.Event()

    async def delete(self, key: Key, version: int) -> bool:
        done = await super().delete(key, version)
        self.deleted.set()
        await self.answers.wait()
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
