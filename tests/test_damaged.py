"""A store that has lost a part of what it had: the service starts all the same, and recovers all that can be."""

import asyncio
import sqlite3
from pathlib import Path

import pytest

from chat_service import chat_over
from rejoinder.chat.asked import Send
from rejoinder.chat.ids import new_session_id
from rejoinder.chat.service import Chat
from rejoinder.chat.sessions import NewSession
from rejoinder.entities import Key
from rejoinder.stores import open_store

LOST = {
    "the row of a reply": "DELETE FROM messages WHERE id = :reply",
    "the row of a reply that waits": "DELETE FROM messages WHERE id = :queued",
    "the row of a message above": "DELETE FROM messages WHERE id = :message",
    "all events of a reply": "DELETE FROM events WHERE message_id = :reply",
    "the session of an open reply": "UPDATE sessions SET header = replace(CAST(header AS TEXT), :reply, :message)",
    "the epoch of an open reply": "UPDATE open_replies SET reply = replace(CAST(reply AS TEXT), '\"epoch\":', '\"epoch\":9') "
    "WHERE id = :reply",
}


async def with_a_queue(chat: Chat) -> tuple[Key, dict[str, str]]:
    key = Key("ann", new_session_id())
    await chat.sessions.create(key, NewSession())
    turn = await chat.send(key, None, Send(content="/script tokens=1000 pace=0.01\n"))
    queued = await chat.send(key, None, Send(content="and then?", if_busy="queue"))
    return key, {"message": turn.message.id, "reply": turn.reply.id, "queued": queued.reply.id}


@pytest.mark.parametrize("after_crash", ["interrupt", "continue"])
@pytest.mark.parametrize("lost", LOST.values(), ids=LOST.keys())
async def test_a_service_starts_over_what_is_damaged(lost: str, after_crash: str, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/x.db"
    async with chat_over(open_store(url), after_crash="continue") as chat:
        _, named = await with_a_queue(chat)
        key, whole = await with_a_queue(chat)
        await asyncio.sleep(0.1)
    database = sqlite3.connect(tmp_path / "x.db")
    with database:
        assert database.execute(lost, {name: named[name] for name in named if f":{name}" in lost}).rowcount > 0
    database.close()
    async with asyncio.timeout(10):
        async with chat_over(open_store(url), after_crash=after_crash) as chat:
            if after_crash == "continue":
                await chat.stop(key, whole["reply"])
            await chat.following.ended(key, whole["queued"], 0)
            for reply in (whole["reply"], whole["queued"]):
                assert (await chat.history.message(key, reply)).status.ended
