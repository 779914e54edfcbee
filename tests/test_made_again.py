"""A session that is deleted and made again under its id while somebody decides on the one that was there before."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from chat_service import chat_over
from rejoinder.abc import Append, AppendResult
from rejoinder.chat.asked import Send, Turn
from rejoinder.chat.history import Window
from rejoinder.chat.ids import new_message_id, new_session_id
from rejoinder.chat.service import Chat
from rejoinder.chat.sessions import NewSession, SessionChange
from rejoinder.entities import Key
from rejoinder.stores.memory import MemoryStore


async def turn(chat: Chat, key: Key, text: str) -> Turn:
    asked = await chat.send(key, new_message_id(), Send(content=text))
    await chat.following.ended(key, asked.reply.id, asked.after)
    return asked


async def with_a_turn(chat: Chat, key: Key, text: str) -> Turn:
    """A session in which as much has happened as in any other that this made."""
    await chat.sessions.create(key, NewSession())
    return await turn(chat, key, text)


def between(monkeypatch: pytest.MonkeyPatch, chat: Chat, work: Callable[[], Awaitable[object]]) -> None:
    """Does something once after the next decision was made, right before it is appended."""
    writer, begin = chat._writer, chat._writer.begin

    async def beginning(
        append: Append, epoch: int | None = None, *, pressing: bool = True
    ) -> "asyncio.Future[AppendResult]":
        monkeypatch.setattr(writer, "begin", begin)
        await work()
        return await begin(append, epoch, pressing=pressing)

    monkeypatch.setattr(writer, "begin", beginning)


async def test_a_message_that_was_decided_on_the_old_one_finds_its_place_in_the_new(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with chat_over(MemoryStore()) as chat:
        key = Key("ann", new_session_id())
        await with_a_turn(chat, key, "old")
        new: list[Turn] = []

        async def made_again() -> None:
            await chat.sessions.delete(key)
            new.append(await with_a_turn(chat, key, "new"))

        between(monkeypatch, chat, made_again)
        asked = await turn(chat, key, "and on")
        assert asked.message.parent_id == new[0].reply.id
        said = [message.content for message in (await chat.history.page(key, Window(limit=10), branch="all")).data]
        assert said == ["new", "new", "and on", "and on"]


async def test_a_deletion_that_was_decided_on_the_old_one_leaves_the_new() -> None:
    store = MemoryStore()
    async with chat_over(store) as chat:
        key = Key("ann", new_session_id())
        await with_a_turn(chat, key, "old")
        old = await store.header(key)
        assert old is not None
        await chat.sessions.delete(key)
        await with_a_turn(chat, key, "new")
        assert not await store.delete(key, old.version)


async def test_a_title_that_was_decided_on_the_old_one_is_given_to_the_new_by_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with chat_over(MemoryStore()) as chat:
        key = Key("ann", new_session_id())
        await chat.sessions.create(key, NewSession(system_prompt="old"))

        async def made_again() -> None:
            await chat.sessions.delete(key)
            await chat.sessions.create(key, NewSession(system_prompt="new"))

        between(monkeypatch, chat, made_again)
        session = await chat.sessions.update(key, SessionChange(title="named"))
        assert (session.title, session.system_prompt) == ("named", "new")
