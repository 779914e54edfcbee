"""A service that is about to stop, over a store that comes back at the wrong moment: nothing begins that nobody would end."""

import asyncio
from pathlib import Path

import pytest

from chat_service import Switch, chat_over
from rejoinder.abc import ChunkStream, Prompt
from rejoinder.chat.asked import Send
from rejoinder.chat.history import Window
from rejoinder.chat.ids import new_session_id
from rejoinder.chat.service import Chat
from rejoinder.chat.sessions import NewSession
from rejoinder.entities import Key, Message, Status
from rejoinder.errors import StoreUnavailable
from rejoinder.llm.scripted import ScriptedProvider
from rejoinder.stores import open_store


class Asked(ScriptedProvider):
    """Counts how often it was asked."""

    times = 0

    def stream(self, prompt: Prompt) -> ChunkStream:
        self.times += 1
        return super().stream(prompt)


async def last_of(chat: Chat, key: Key) -> Message:
    return (await chat.history.page(key, Window(limit=10))).data[-1]


@pytest.mark.parametrize("after_crash", ["interrupt", "continue"])
async def test_a_send_that_the_store_takes_behind_the_drain_is_left_to_whoever_comes_after(
    after_crash: str, tmp_path: Path
) -> None:
    url, key, asked = f"sqlite:///{tmp_path}/x.db", Key("ann", new_session_id()), Asked()
    switch = Switch(store := open_store(url))
    async with chat_over(store, asked, store_patience=0.2, after_crash=after_crash) as chat:
        await chat.sessions.create(key, NewSession())
        switch.away = True
        with pytest.raises(StoreUnavailable):
            await chat.send(key, None, Send(content="/script tokens=30 pace=0.01\n"))
        await chat.drain(0.1)
        switch.away = False
        await asyncio.wait(chat._requests, timeout=10)
        await asyncio.sleep(0.1)
        assert (len(chat.replies), asked.times) == (0, 0)
        assert (await last_of(chat, key)).status is Status.STREAMING
    async with chat_over(open_store(url), after_crash=after_crash) as chat:
        reply = await last_of(chat, key)
        await chat.following.ended(key, reply.id, 0)
        reply = await last_of(chat, key)
    assert reply.status is (Status.INTERRUPTED if after_crash == "interrupt" else Status.COMPLETED)
