"""Branches that run through many lanes: every message was answered twice, and the conversation went on below the second."""

from collections import Counter
from typing import Any

from chat_service import chat_over
from rejoinder.abc import Store, Wake
from rejoinder.chat.asked import AnotherReply, Send
from rejoinder.chat.history import Window
from rejoinder.chat.ids import new_session_id
from rejoinder.chat.service import Chat
from rejoinder.chat.sessions import NewSession
from rejoinder.entities import Key
from rejoinder.stores.memory import MemoryStore

TURNS = 40


async def test_how_often_a_store_is_asked_does_not_grow_with_the_versions_of_a_branch() -> None:
    store = MemoryStore()
    async with chat_over(store) as chat:
        plain, twice = await conversation(chat, versions=1), await conversation(chat, versions=2)
        assert await asked(store, chat, twice) == await asked(store, chat, plain)


async def conversation(chat: Chat, versions: int) -> Key:
    key = Key("ann", new_session_id())
    await chat.sessions.create(key, NewSession())
    for _ in range(TURNS):
        turn = await chat.send(key, None, Send(content="again"))
        await chat.stop(key, turn.reply.id)
        for _ in range(versions - 1):
            other = await chat.reply(key, None, AnotherReply(to=turn.message.id))
            await chat.stop(key, other.reply.id)
    return key


async def asked(store: Store, chat: Chat, key: Key) -> Counter[str]:
    """What a worker that has not written it reads of the index for a page and for one more turn, its prompt included."""
    chat._decisions.on_wakes([Wake(key, elsewhere=True)])
    counted: Counter[str] = Counter()
    for name in ("rows", "children", "branch"):
        setattr(store, name, _counting(counted, name, getattr(store, name)))
    page = await chat.history.page(key, Window(limit=50, before="end"))
    assert len(page.data) == 50
    turn = await chat.send(key, None, Send(content="once more"))
    await chat.stop(key, turn.reply.id)
    assert len(await chat.history.above(key, turn.reply)) == 2 * TURNS + 1
    for name in ("rows", "children", "branch"):
        delattr(store, name)
    return counted


def _counting(counted: Counter[str], name: str, work: Any) -> Any:
    async def counting(*args: Any, **kwargs: Any) -> Any:
        counted[name] += 1
        return await work(*args, **kwargs)

    return counting
