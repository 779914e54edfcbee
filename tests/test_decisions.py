"""Decisions on a store that others write as well: on what a worker remembers, and right all the same. No wake passes between the two."""

from collections import Counter
from collections.abc import Collection
from typing import Any, Self

import pytest
from msgspec import UNSET, structs

from chat_service import chat_over
from rejoinder.abc import Row, Wake
from rejoinder.chat.asked import Send
from rejoinder.chat.ids import new_message_id, new_session_id
from rejoinder.chat.service import Chat
from rejoinder.chat.sessions import NewSession, SessionChange
from rejoinder.entities import Header, Key, Status
from rejoinder.errors import SessionBusy
from rejoinder.stores.memory import MemoryStore

KEY = Key("ann", new_session_id())


class Shared(MemoryStore):
    """Of several workers at a time. Counts what it is asked."""

    exclusive = False

    def __init__(self) -> None:
        super().__init__()
        self.asked = Counter[str]()

    async def __aenter__(self) -> Self:
        return self

    async def header(self, key: Key) -> Header | None:
        self.asked["header"] += 1
        return await super().header(key)

    async def rows(self, key: Key, ids: Collection[str]) -> dict[str, Row]:
        self.asked["rows"] += 1
        return await super().rows(key, ids)

    async def children(self, key: Key, parents: Collection[str | None]) -> dict[str | None, list[Row]]:
        self.asked["children"] += 1
        return await super().children(key, parents)


async def said(chat: Chat, content: str, **asked: Any) -> tuple[str, str | None]:
    """A message once it is answered: its id, and what it stands under."""
    turn = await chat.send(KEY, new_message_id(), Send(content=content, **asked))
    await chat.stopping.ended(KEY, turn.reply.id, turn.after)
    return turn.reply.id, turn.message.parent_id


async def test_a_worker_that_wrote_a_session_last_does_not_read_it_to_decide() -> None:
    store = Shared()
    async with chat_over(store) as chat:
        await chat.sessions.create(KEY, NewSession())
        await said(chat, "one")
        store.asked.clear()
        await chat.send(KEY, new_message_id(), Send(content="two"))
        assert store.asked == {"rows": 1}, "whether the same request came before"


async def test_what_another_worker_wrote_meanwhile_is_decided_on_however_it_became_known() -> None:
    store = Shared()
    async with chat_over(store) as one, chat_over(store) as other:
        await one.sessions.create(KEY, NewSession())
        last, _ = await said(one, "one")
        for chat in (other, one, other, other, one):
            reply, above = await said(chat, "more")
            assert above == last
            last = reply


async def test_no_answer_but_an_append_counts_before_the_store_has_said_how_the_session_is() -> None:
    store = Shared()
    async with chat_over(store) as one, chat_over(store) as other:
        await one.sessions.create(KEY, NewSession())
        running = await other.send(KEY, None, Send(content="/script tokens=1000 pace=0.01\n"))
        await one.sessions.update(KEY, SessionChange(title="mine"))
        with pytest.raises(SessionBusy):
            await one.send(KEY, None, Send(content="now?"))
        await one.sessions.update(KEY, SessionChange(title="mine again"))
        assert (await other.stop(KEY, running.reply.id)).status is Status.STOPPED
        await said(one, "and now?")  # one remembers a reply that has not ended

        for chat, title in ((other, "theirs"), (one, "ours"), (other, "theirs"), (one, "ours")):
            assert (await chat.sessions.update(KEY, SessionChange(title=title))).title == title


async def test_what_stands_under_a_message_is_remembered_together_with_the_session_or_not_at_all() -> None:
    """A header that was read while an own append was on its way may be newer than that."""
    store = Shared()
    async with chat_over(store) as chat:
        await chat.sessions.create(KEY, NewSession())
        reply, _ = await said(chat, "one")
        decisions = chat._decisions
        remembered = decisions.writer.latest.header(KEY)
        assert remembered is not None
        newest = decisions.newest(KEY, remembered)
        assert newest and newest.id == reply
        assert decisions.newest(KEY, structs.replace(remembered)) is UNSET


@pytest.mark.parametrize("elsewhere", [False, True])
async def test_a_wake_from_elsewhere_is_forgotten_for(elsewhere: bool) -> None:
    store = Shared()
    async with chat_over(store) as chat:
        await chat.sessions.create(KEY, NewSession())
        chat._signals.publish([Wake(KEY, elsewhere=elsewhere)])
        assert (chat._decisions.writer.latest.header(KEY) is None) == elsewhere


async def test_under_a_new_lease_nothing_is_remembered() -> None:
    """The old one may have been lost with what the store had acknowledged."""
    store = Shared()
    async with chat_over(store) as chat:
        await chat.sessions.create(KEY, NewSession())
        writer = chat._decisions.writer
        writer.start(await store.acquire_lease("again", 60))
        assert writer.latest.header(KEY) is None
