"""Long branches, and such as hold pictures: what forks take in memory, and that whoever reads one holds up nobody."""

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


async def test_whoever_reads_a_long_branch_lets_others_in_between() -> None:
    """Also where the store reads at once."""
    async with chat_over(open_store("memory:")) as chat:
        key = Key("ann", new_session_id())
        await chat.sessions.create(key, NewSession())
        for _ in range(5):
            turn = await chat.send(key, None, Send(content="hello"))
            await chat.stop(key, turn.reply.id)
        tip, turns = await chat.history.row(key, turn.reply.id), 0

        async def others() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        beside = asyncio.create_task(others())
        pages = [rows async for rows, _ in chat.history.upwards(key, tip, 2)]
        beside.cancel()
        assert [len(rows) for rows in pages] == [2, 2, 2, 2, 1]
        assert turns >= 4
