"""An export whose reader takes its time while the reply that was live when it began ends, and its deltas go."""

import json
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from pathlib import Path

import pytest

from chat_service import chat_over
from rejoinder.abc import Store
from rejoinder.chat.asked import Send, Turn
from rejoinder.chat.growth import DROPPED
from rejoinder.chat.ids import new_session_id
from rejoinder.chat.importing import Reader
from rejoinder.chat.service import Chat
from rejoinder.chat.sessions import NewSession
from rejoinder.entities import Key
from rejoinder.stores import open_store

STORES: dict[str, Callable[[Path], str]] = {
    "memory": lambda _: "memory:",
    "sqlite": lambda path: f"sqlite:///{path}/x.db",
    "files": lambda path: f"files:///{path}/x",
}


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return open_store(STORES[request.param](tmp_path))


async def with_a_live_reply(chat: Chat, said: str) -> tuple[Key, Turn]:
    """A session whose reply has begun to speak."""
    key = Key("ann", new_session_id())
    await chat.sessions.create(key, NewSession())
    turn = await chat.send(key, None, Send(content=said))
    async with aclosing(chat.following.follow(key, 0, frozenset((turn.reply.id,)), 60)) as pieces:
        async for piece in pieces:
            if any(frame.type == "message.delta" for frame in piece.frames):
                break
    return key, turn


async def exported(chat: Chat, key: Key, ends: Callable[[], Awaitable[None]] | None = None, after: int = 0) -> bytes:
    """A file, and what `ends` makes is awaited once its reader has so many lines."""
    file = b""
    async with aclosing(await chat.exporting.begin(key)) as pieces:
        async for piece in pieces:
            file += piece
            if ends is not None and file.count(b"\n") >= after:
                await ends()
                ends = None
    return file


async def imported(file: bytes, key: Key) -> bytes:
    """What a service elsewhere exports that has imported it."""
    async with chat_over(open_store("memory:")) as elsewhere:
        reader = Reader(key.owner)
        for line in file.splitlines(keepends=True):
            reader.take(line)
        await elsewhere.importing.take(reader.whole())
        return await exported(elsewhere, key)


@pytest.mark.parametrize("compacted", [True, False])
@pytest.mark.parametrize("after", [1, 2])
async def test_no_text_that_was_there_is_missing_when_its_deltas_are_gone(
    store: Store, after: int, compacted: bool
) -> None:
    async with chat_over(store) as chat:
        key, turn = await with_a_live_reply(chat, "/script tokens=10000 pace=0.002\n")
        seen = (await chat.history.message(key, turn.reply.id)).content

        async def ends() -> None:
            await chat.stop(key, turn.reply.id)
            if compacted:
                await store.compact(key, [turn.reply.id], DROPPED)

        file = await exported(chat, key, ends, after)
        reply = json.loads(file.splitlines()[2])["message"]
        ended = await chat.history.message(key, turn.reply.id)
        assert isinstance(seen, str) and seen and reply["content"].startswith(seen)
        assert str(ended.content).startswith(reply["content"])
        assert reply["status"] == ("stopped" if compacted else "interrupted")
        assert await imported(file, key) == file


async def test_a_reply_that_had_said_nothing_stays_as_it_was(store: Store) -> None:
    async with chat_over(store) as chat:
        key, first = await with_a_live_reply(chat, "/script tokens=10000 pace=0.002\n")
        queued = (await chat.send(key, None, Send(content="and then?", if_busy="queue"))).reply

        async def ends() -> None:
            for reply in (queued, first.reply):
                await chat.stop(key, reply.id)
                await store.compact(key, [reply.id], DROPPED)

        file = await exported(chat, key, ends, 1)
        last = json.loads(file.splitlines()[4])["message"]
        assert (last["id"], last["status"], last["content"]) == (queued.id, "interrupted", "")
        assert await imported(file, key) == file
