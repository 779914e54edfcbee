"""The sweep of what is idle, for those who keep things longer than anybody lives."""

import math

import pytest

from chat_service import chat_over
from rejoinder.chat.growth import Growth, Keeping
from rejoinder.chat.ids import new_session_id
from rejoinder.chat.sessions import NewSession
from rejoinder.entities import Key
from rejoinder.stores.memory import MemoryStore


@pytest.mark.parametrize("seconds", [4e10, 1e11, math.inf])
async def test_what_is_kept_for_a_thousand_years_and_more_is_kept(seconds: float) -> None:
    async with chat_over(MemoryStore()) as chat:
        key = Key("ann", new_session_id())
        await chat.sessions.create(key, NewSession())
        await Growth(chat.store, chat.sessions, Keeping(deltas=seconds, sessions=seconds)).sweep()
        assert (await chat.sessions.get(key)).id == key.session_id
