"""Compaction beneath who reads, and the sweep of what is idle, for those who keep things longer than anybody lives."""

import math
from contextlib import aclosing

import pytest

from chat_service import chat_over
from rejoinder.chat.asked import Send
from rejoinder.chat.growth import DROPPED, Growth, Keeping
from rejoinder.chat.ids import new_session_id
from rejoinder.chat.sessions import NewSession
from rejoinder.chat.tails import PIECE
from rejoinder.entities import Key
from rejoinder.fold import fold
from rejoinder.stores.memory import MemoryStore


@pytest.mark.parametrize("seconds", [4e10, 1e11, math.inf])
async def test_what_is_kept_for_a_thousand_years_and_more_is_kept(seconds: float) -> None:
    async with chat_over(MemoryStore()) as chat:
        key = Key("ann", new_session_id())
        await chat.sessions.create(key, NewSession())
        await Growth(chat.store, chat.sessions, Keeping(deltas=seconds, sessions=seconds)).sweep()
        assert (await chat.sessions.get(key)).id == key.session_id


async def test_who_reads_late_finds_no_hole_though_others_follow_since_before_the_deltas_were_dropped() -> None:
    store = MemoryStore()
    async with chat_over(store) as chat:
        key = Key("ann", new_session_id())
        await chat.sessions.create(key, NewSession())
        # Who follows keeps the deltas at hand.
        async with aclosing(chat.following.follow(key, 0, None, 1)) as others:
            await anext(others)
            first = await chat.send(key, None, Send(content="/script tokens=20 pace=0.005\n"))
            async with aclosing(chat.following.follow(key, first.after, None, 1)) as reading:
                while not any(frame.type == "message.delta" for frame in (await anext(reading)).frames):
                    pass
            # It fills a piece in the middle of the text.
            second = await chat.send(key, None, Send(content="x" * PIECE, if_busy="queue"))
            await chat.following.ended(key, second.reply.id, 0)
            await store.compact(key, [first.reply.id], DROPPED)
            last = (await chat.sessions.get(key)).last_seq
            seqs = list[int]()
            async with aclosing(chat.following.follow(key, 0, None, 1)) as late:
                while not seqs or seqs[-1] < last:
                    seqs += [frame.seq for frame in (await anext(late)).frames]
        events = {event.seq: event for event in await store.events(key, after=0)}
        assert set(seqs) <= set(events), "it was given deltas that are gone, and none of those before them"
        assert fold(events[seq] for seq in seqs).messages[first.reply.id].content
