"""Two things at once that each go well alone."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable
from contextlib import aclosing
from pathlib import Path

import pytest

from chat_service import chat_over
from rejoinder.abc import ChunkStream, FinishChunk, Prompt, Row, TextChunk
from rejoinder.chat.asked import Continuation, Send
from rejoinder.chat.growth import DROPPED
from rejoinder.chat.ids import new_session_id
from rejoinder.chat.service import Chat
from rejoinder.chat.sessions import NewSession
from rejoinder.entities import JsonObject, Key, Status
from rejoinder.errors import SessionGone
from rejoinder.events import Event
from rejoinder.llm.scripted import ScriptedProvider
from rejoinder.stores import open_store
from rejoinder.stores.memory import MemoryStore
from test_exporting import with_a_live_reply
from test_reply_life import GONE, STOP, Reads, Told, asked, call, ended, says, words

SLOW = "/script tokens=10000 pace=0.01\n"


class Other(ScriptedProvider):
    name = "other"


class Asides(ScriptedProvider):
    """Counts requests for summaries and for titles."""

    def __init__(self) -> None:
        super().__init__()
        self.summaries = self.titles = 0

    def stream(self, prompt: Prompt) -> ChunkStream:
        told = str(prompt.messages[0]["content"])
        if "keep the notes" not in told and "conversations a title" not in told:
            return super().stream(prompt)

        async def reads() -> Reads:
            self.summaries += "keep the notes" in told
            self.titles += "conversations a title" in told
            yield [TextChunk("content", "Something short."), FinishChunk("stop")]

        return ChunkStream(reads())


async def begun(chat: Chat, said: str) -> tuple[Key, str]:
    key = Key("ann", new_session_id())
    await chat.sessions.create(key, NewSession())
    return key, (await chat.send(key, None, Send(content=said))).reply.id


async def said(chat: Chat, key: Key, content: str, model: str | None = None) -> None:
    turn = await chat.send(key, None, Send(content=content, model=model))
    async with asyncio.timeout(20):
        await chat.following.ended(key, turn.reply.id, turn.after)


@pytest.mark.parametrize("after_crash", ["continue", "restart"])
async def test_a_reply_whose_model_has_left_the_settings_ends_with_its_text(tmp_path: Path, after_crash: str) -> None:
    url = f"sqlite:///{tmp_path}/chat.db"
    async with chat_over(open_store(url), Other(), after_crash=after_crash) as chat:
        key, reply_id = await begun(chat, SLOW)
        await asyncio.sleep(0.3)
        await chat.drain(0)
    async with chat_over(open_store(url), ScriptedProvider(), after_crash=after_crash) as chat:
        reply = await chat.history.message(key, reply_id)
        assert reply.status is Status.INTERRUPTED
        assert str(reply.content).startswith("t0 t1 ")


async def test_notes_that_took_many_steps_are_not_taken_again() -> None:
    provider = Asides()
    async with chat_over(MemoryStore(), provider) as chat:
        key = Key("ann", new_session_id())
        await chat.sessions.create(key, NewSession(params={"context": "summarise"}))
        for n in range(20):
            await said(chat, key, f"{n} " + "word " * 300)
        await said(chat, key, "a little more", "scripted:window=2000")
        taken = provider.summaries
        assert taken > 6, "more than stand among the first events of a reply"
        for _ in range(2):
            await said(chat, key, "a little more", "scripted:window=2000")
        assert provider.summaries == taken


@pytest.mark.parametrize("kind", ["memory", "sqlite", "files"])
async def test_a_slow_reader_of_what_was_deleted_is_given_nothing_of_what_has_its_id(tmp_path: Path, kind: str) -> None:
    async with chat_over(open_store("memory:" if kind == "memory" else f"{kind}:///{tmp_path}/chats")) as chat:
        key = Key("ann", new_session_id())
        await chat.sessions.create(key, NewSession())
        for n in range(3):
            await said(chat, key, f"{n} " + "x" * 200_000)
        seqs: list[int] = []

        async def read() -> None:
            async with aclosing(chat.following.follow(key, 0, None, 60)) as pieces, asyncio.timeout(10):
                async for piece in pieces:
                    had, seqs[len(seqs) :] = len(seqs), [frame.seq for frame in piece.frames]
                    if seqs and not had:
                        await chat.sessions.delete(key)
                        await chat.sessions.create(key, NewSession())
                        await said(chat, key, "new")

        with pytest.raises(SessionGone):
            await read()
        assert seqs == [1, 2], "what came before it was deleted"


async def test_a_continuation_never_begins_anew() -> None:
    class Able(Told):
        def prefills(self, model: str) -> bool:
            return True

    a = says(words("goes on "), call("f", '{"x"'), GONE)
    models = {"first": says(words("It begins "), GONE), "a": a, "b": says(words("anew"), STOP)}
    async with chat_over(MemoryStore(), Able(models), retries=0) as chat:
        key, turn = await asked(chat, "first")
        await ended(chat, key, turn)
        more = await chat.go_on(key, None, Continuation(source=turn.reply.id, model=("told:a", "told:b")))
        reply = await ended(chat, key, more)
        assert (reply.status, reply.content) == (Status.FAILED, "It begins goes on ")


async def test_who_is_about_to_stop_asks_for_no_titles() -> None:
    provider = Asides()
    async with chat_over(MemoryStore(), provider, title_model="") as chat:
        await begun(chat, SLOW)
        await asyncio.sleep(0.3)
        await chat.drain(0)
        assert provider.titles == 0


async def test_what_is_forked_of_a_reply_that_ends_and_is_compacted_just_then_is_whole() -> None:
    class Found(MemoryStore):
        ends: Callable[[], Awaitable[None]] | None = None

        async def rows(self, key: Key, ids: Collection[str]) -> dict[str, Row]:
            rows = await super().rows(key, ids)
            ends, self.ends = self.ends, None
            if ends is not None:
                await ends()
            return rows

    store = Found()
    async with chat_over(store) as chat:
        key, turn = await with_a_live_reply(chat, SLOW)
        reply = turn.reply.id
        seen = (await chat.history.message(key, reply)).content

        async def ends() -> None:
            await chat.stop(key, reply)
            await store.compact(key, [reply], DROPPED)

        store.ends, fork = ends, Key("ann", new_session_id())
        await chat.forking.fork(key, reply, fork)
        copy = await chat.history.message(fork, reply)
        assert seen and str(copy.content).startswith(str(seen))
        assert copy.content == (await chat.history.message(key, reply)).content


class Weighed(MemoryStore):
    """`most` are the bytes of events that were asked for at a time, at most; `all` those of all of them."""

    most = all = 0

    async def events_at(self, key: Key, seqs: Iterable[int]) -> list[Event]:
        events = await super().events_at(key, seqs)
        size = sum(len(event.data) for event in events)
        self.most, self.all = max(self.most, size), self.all + size
        return events


def picture(size: int) -> JsonObject:
    return {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * size}}


async def test_of_a_branch_of_pictures_no_more_is_read_than_a_prompt_can_hold() -> None:
    store = Weighed()
    async with chat_over(store, context_windows="scripted=4000") as chat:
        key = Key("ann", new_session_id())
        await chat.sessions.create(key, NewSession())
        for _ in range(30):
            content = ({"type": "text", "text": "/script tokens=1\npicture"}, picture(1 << 20))
            turn = await chat.send(key, None, Send(content=content))
            await chat.following.ended(key, turn.reply.id, turn.after)
        store.most = store.all = 0
        await said(chat, key, "and now?")
        assert store.most < 10 << 20 and store.all < 40 << 20, (store.most, store.all)


async def test_messages_with_pictures_are_not_held_together() -> None:
    store = Weighed()
    async with chat_over(store) as chat:
        key = Key("ann", new_session_id())
        await chat.sessions.create(key, NewSession())
        for _ in range(30):
            content = ({"type": "text", "text": "/script tokens=1\npicture"}, picture(1 << 20))
            turn = await chat.send(key, None, Send(content=content, parent_id=None))
            await chat.following.ended(key, turn.reply.id, turn.after)
        store.most = 0
        assert (await chat.usage.of(key)).replies == 30
        assert store.most < 1 << 20, "what others said does not count"
        assert len((await chat.search.find("ann", "picture", 1_000)).data) == 30
        assert store.most < 17 << 20
        store.most = 0
        pieces = [piece async for piece in await chat.exporting.begin(key)]
        assert store.most < 3 << 20 and max(map(len, pieces)) < 3 << 20
        assert sum(piece.count(b'"role":"user"') for piece in pieces) == 30
