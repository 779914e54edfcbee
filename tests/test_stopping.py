"""What a stop reads of the store (nothing of what the reply has said so far, however long it is), and what it waits for."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from chat_service import Switch, chat_over
from rejoinder.abc import Append, AppendResult, Lease
from rejoinder.chat.asked import Send
from rejoinder.chat.ids import new_session_id
from rejoinder.chat.sessions import NewSession
from rejoinder.entities import Key, Status, Usage
from rejoinder.errors import SessionNotFound, StoreUnavailable
from rejoinder.events import Event
from rejoinder.stores.memory import MemoryStore


class Read(MemoryStore):
    """Tells behind which seqs it was read."""

    def __init__(self) -> None:
        super().__init__()
        self.behind: list[int] = []

    async def events(self, key: Key, *, after: int, **asked: Any) -> list[Event]:
        self.behind.append(after)
        return await super().events(key, after=after, **asked)


@pytest.mark.parametrize("together", [1, 3])
async def test_a_stop_reads_on_from_where_the_reply_is(together: int) -> None:
    store = Read()
    async with chat_over(store) as chat:
        key = Key("ann", new_session_id())
        await chat.sessions.create(key, NewSession())
        turn = await chat.send(key, None, Send(content="/script tokens=10000 pace=0.001\n"))
        last_seq = 0
        while last_seq < 20:
            await asyncio.sleep(0.02)
            header = await store.header(key)
            assert header is not None
            last_seq = header.session.last_seq
        store.behind.clear()
        ended = await asyncio.gather(*(chat.stopping.stop(key, turn.reply.id) for _ in range(together)))
        assert {message.status for message in ended} == {Status.STOPPED}
        assert len({message.content for message in ended}) == 1
        assert all(after >= last_seq for after in store.behind)


@pytest.mark.parametrize("what", ["live", "queued"])
async def test_a_stop_does_not_wait_for_the_next_beat(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rejoinder.chat.writer.EACH", 30.0)
    monkeypatch.setattr("rejoinder.chat.writer.BUSY", 1_000.0)
    async with chat_over(MemoryStore()) as chat:
        key = Key("ann", new_session_id())
        await chat.sessions.create(key, NewSession())
        live = (await chat.send(key, None, Send(content="/script tokens=10000 pace=0.001\n"))).reply
        queued = (await chat.send(key, None, Send(content="and then?", if_busy="queue"))).reply
        async with asyncio.timeout(10):
            async for piece in chat.following.follow(key, 0, frozenset((live.id,)), 60):
                if any(frame.type == "message.delta" for frame in piece.frames):
                    break
            stopped = await chat.stopping.stop(key, live.id if what == "live" else queued.id)
        assert stopped.status is Status.STOPPED
        await chat.stopping.stop(key, live.id)


async def test_several_stops_of_what_waits_end_it_once() -> None:
    store, key = MemoryStore(), Key("ann", new_session_id())
    async with chat_over(store) as chat:
        await chat.sessions.create(key, NewSession())
        await chat.send(key, None, Send(content="/script tokens=10000 pace=0.01\n"))
        queued = (await chat.send(key, None, Send(content="and then?", if_busy="queue"))).reply.id
        ended = await asyncio.gather(*(chat.stopping.stop(key, queued) for _ in range(3)))
        assert {message.status for message in ended} == {Status.STOPPED}
        assert ended[0].usage == Usage(input_tokens=0, output_tokens=0, source="estimated"), "nobody was asked"
        told = [event.type for event in await store.events(key, after=0, message_ids=[queued])]
        assert told == ["message.created", "message.stopping", "message.ended"]


async def test_an_interrupt_is_noted_of_what_runs_and_ends_what_waits_with_the_send_itself() -> None:
    class Noting(MemoryStore):
        last: Append | None = None

        async def append(
            self, lease: Lease, number: int, appends: Sequence[Append], *, acknowledged: int = 0
        ) -> list[AppendResult]:
            for append in appends:
                if any(draft.type == "message.stopping" for draft in append.drafts):
                    self.last = append
            return await super().append(lease, number, appends, acknowledged=acknowledged)

    store, key = Noting(), Key("ann", new_session_id())
    async with chat_over(store) as chat:
        await chat.sessions.create(key, NewSession())
        runs = (await chat.send(key, None, Send(content="/script tokens=10000 pace=0.01\n"))).reply.id
        waits = (await chat.send(key, None, Send(content="and then?", if_busy="queue"))).reply.id
        sent = (await chat.send(key, None, Send(content="no: this", if_busy="interrupt"))).reply.id
        assert store.last is not None and store.last.header is not None
        open_replies = [(reply.id, reply.status, reply.stopping) for reply in store.last.header.open]
        assert open_replies == [(runs, Status.STREAMING, True), (sent, Status.QUEUED, False)]
        assert [row.id for row in store.last.ended] == [waits]


async def test_stops_and_deletions_that_are_asked_for_again_and_again_do_not_heap_up_while_the_store_is_away() -> None:
    switch = Switch(store := MemoryStore())
    async with chat_over(store, store_patience=0.02) as chat:
        key = Key("ann", new_session_id())
        await chat.sessions.create(key, NewSession())
        reply = (await chat.send(key, None, Send(content="/script tokens=10000 pace=0.01\n"))).reply
        switch.away = True
        before = len(asyncio.all_tasks())
        for _ in range(3):
            asked = [work for _ in range(20) for work in (chat.stop(key, reply.id), chat.delete(key))]
            told = await asyncio.gather(*asked, return_exceptions=True)
            assert {type(each) for each in told} == {StoreUnavailable}
        assert len(asyncio.all_tasks()) - before <= 2
        assert len(chat._writer._waiting) <= 2
        switch.away = False
        await asyncio.wait(chat._requests, timeout=10)
        with pytest.raises(SessionNotFound):
            await chat.sessions.get(key)
