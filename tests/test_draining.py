"""A service that is about to stop, over a store that comes back at the wrong moment: nothing begins that nobody would end."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Sequence
from pathlib import Path

import pytest

from chat_service import Switch, chat_over
from rejoinder.abc import Chunk, ChunkStream, Prompt, Row, TextChunk
from rejoinder.chat.asked import Send
from rejoinder.chat.history import Window
from rejoinder.chat.ids import new_session_id
from rejoinder.chat.service import Chat
from rejoinder.chat.sessions import NewSession, SessionChange
from rejoinder.entities import Key, Message, OpenReply, Status
from rejoinder.errors import Overloaded, StoreUnavailable
from rejoinder.llm.scripted import ScriptedProvider
from rejoinder.stores import open_store
from rejoinder.stores.memory import MemoryStore


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


async def test_what_waits_for_a_reply_that_ends_with_the_drain_is_started_by_whoever_comes_after() -> None:
    store, key, asked = MemoryStore(), Key("ann", new_session_id()), Asked()
    async with chat_over(store, asked) as chat:
        await chat.sessions.create(key, NewSession())
        await chat.send(key, None, Send(content="/script tokens=1000 pace=0.01\n"))
        turns = [await chat.send(key, None, Send(content="/script tokens=1\n", if_busy="queue")) for _ in range(2)]
        await chat.drain(0)
        with pytest.raises(Overloaded):
            await chat.send(key, None, Send(content="one more", if_busy="queue"))
        header = await store.header(key)
        assert header is not None and [reply.status for reply in header.open] == [Status.QUEUED] * 2
        assert asked.times == 1
    async with asyncio.timeout(10), chat_over(store) as chat:
        for turn in turns:
            await chat.following.ended(key, turn.reply.id, turn.after)
            assert (await chat.history.message(key, turn.reply.id)).status is Status.COMPLETED


async def test_what_was_left_for_a_model_that_is_there_no_more_keeps_its_text_and_what_waits_ends_for_that_reason() -> (
    None
):
    store, key = MemoryStore(), Key("ann", new_session_id())
    async with chat_over(store, after_crash="continue") as chat:
        await chat.sessions.create(key, NewSession())
        live = await chat.send(key, None, Send(content="/script tokens=1000 pace=0.01\n"))
        waiting = await chat.send(key, None, Send(content="and then?", if_busy="queue"))
        await chat.drain(0.1)
    other = Asked()
    other.name = "other"
    async with asyncio.timeout(10), chat_over(store, other, after_crash="restart") as chat:
        await chat.following.ended(key, waiting.reply.id, waiting.after)
        left, refused = [await chat.history.message(key, turn.reply.id) for turn in (live, waiting)]
    assert (left.status, bool(left.content), len(left.attempts)) == (Status.INTERRUPTED, True, 1)
    assert refused.status is Status.FAILED
    assert refused.error is not None and refused.error.code == "invalid_request"
    assert "scripted" in refused.error.message


class Shared(MemoryStore):
    """Others write it as well, so that it is swept beside all else; what they left is found once `left` is set."""

    exclusive = False
    left = False
    on_look: Callable[[], Awaitable[None]] | None = None

    async def orphans(self, limit: int) -> list[tuple[Key, OpenReply]]:
        return await super().orphans(limit) if self.left else []

    async def rows(self, key: Key, ids: Collection[str]) -> dict[str, Row]:
        if self.on_look is not None:
            await self.on_look()
        return await super().rows(key, ids)


@pytest.mark.parametrize("after_crash", ["restart", "continue"])
async def test_a_sweep_that_is_under_way_takes_up_no_more_once_the_service_is_about_to_stop(after_crash: str) -> None:
    store, asked = Shared(), Asked()
    async with chat_over(store, after_crash="continue") as chat:
        for _ in range(5):
            key = Key("ann", new_session_id())
            await chat.sessions.create(key, NewSession())
            await chat.send(key, None, Send(content="/script tokens=1000 pace=0.01\n"))
        await asyncio.sleep(0.1)
    async with chat_over(store, asked, after_crash=after_crash, prefill="scripted") as chat:
        live = Key("ann", new_session_id())
        await chat.sessions.create(live, NewSession())
        await chat.send(live, None, Send(content="/script tokens=1000 pace=0.01\n"))
        draining: list[asyncio.Task[None]] = []

        async def stop() -> None:
            if not draining:
                draining.append(asyncio.create_task(chat.drain(0.3)))
            await asyncio.sleep(0.1)

        store.left, store.on_look = True, stop
        await chat._worker._recovery.sweep()
        await asyncio.gather(*draining)
        assert asked.times == 1, "the one that was live"
    assert len(await store.orphans(10)) == 6


class Broken(ScriptedProvider):
    """Says, after a while, what can be told or, where it is asked to, what cannot: a fault of our own."""

    def stream(self, prompt: Prompt) -> ChunkStream:
        async def reads() -> AsyncGenerator[Sequence[Chunk], None]:
            await asyncio.sleep(0.2)
            broken = "break" in str(prompt.messages)
            yield [TextChunk("tool_call", "{}", 0, "call", "\ud800") if broken else TextChunk("content", "well")]
            await asyncio.Event().wait()

        return ChunkStream(reads())


async def test_a_text_that_cannot_be_committed_keeps_no_other_from_it_nor_the_service_from_its_end() -> None:
    switch = Switch(store := MemoryStore())
    async with chat_over(store, Broken(), after_crash="continue") as chat:
        keys = [Key("ann", new_session_id()) for _ in range(3)]
        for key, said in zip(keys, ("break", "go on", "go on"), strict=True):
            await chat.sessions.create(key, NewSession())
            await chat.send(key, None, Send(content=said))
        switch.away = True
        renaming = asyncio.create_task(chat.sessions.update(keys[0], SessionChange(title="what all others wait for")))
        await asyncio.sleep(0.4)
        draining = asyncio.create_task(chat.drain(0))
        await asyncio.sleep(0.1)
        switch.away = False
        await asyncio.gather(draining, renaming)
        assert [(await last_of(chat, key)).content for key in keys] == ["", "well", "well"]
        assert {(await last_of(chat, key)).status for key in keys} == {Status.STREAMING}
