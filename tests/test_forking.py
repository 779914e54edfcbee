"""Forks of branches that hold pictures: what they take in memory, whoever asks for how many at once."""

import asyncio
import tracemalloc
from pathlib import Path

from chat_service import chat_over
from rejoinder.chat.asked import Send
from rejoinder.chat.ids import new_session_id
from rejoinder.chat.sessions import NewSession
from rejoinder.entities import Key
from rejoinder.stores import open_store

MB = 1 << 20


async def test_forks_at_once_hold_no_more_than_a_few_branches(tmp_path: Path) -> None:
    picture = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{'A' * MB}"}}
    async with chat_over(open_store(f"sqlite:///{tmp_path}/x.db")) as chat:
        key = Key("ann", new_session_id())
        await chat.sessions.create(key, NewSession())
        for _ in range(4):
            turn = await chat.send(key, None, Send(content=(picture,)))
            await chat.stop(key, turn.reply.id)
        tracemalloc.start()
        try:
            forks = (chat.forking.fork(key, turn.reply.id, Key("ann", new_session_id())) for _ in range(12))
            made = await asyncio.gather(*forks)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert peak < 32 * MB, "a third of what all of them take"
        copies = await chat.history.above(Key("ann", made[-1].id), turn.reply)
        assert [message.content for message in copies if message.role == "user"] == [(picture,)] * 4
