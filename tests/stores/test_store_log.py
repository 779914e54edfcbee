"""Reading the log: from a cursor on, in pages that are bounded in count and in bytes."""

import pytest

from pens import KEY, OTHER, Pen, create, log, said
from rejoinder.abc import Append, Store
from rejoinder.events import Event


@pytest.fixture
async def seqs(pen: Pen) -> list[int]:
    """A log of 40 events of three messages in turn, beside another one; its seqs."""
    await pen.made(create(KEY, said(kind="session.created")), create(OTHER))
    for number in range(13):
        drafts = tuple(said(f"{number}", message_id) for message_id in ("msg_1", "msg_2", None))
        await pen.made(Append(key=KEY, drafts=drafts), Append(key=OTHER, drafts=drafts))
    return [event.seq for event in await log(pen.store)]


def of(events: list[Event]) -> list[int]:
    return [event.seq for event in events]


async def test_events_come_from_behind_the_cursor_up_to_until(store: Store, seqs: list[int]) -> None:
    assert len(seqs) == 40
    for after in (0, seqs[0], seqs[20], seqs[38], seqs[39], 1 << 62, 1 << 70):
        assert of(await store.events(KEY, after=after)) == [seq for seq in seqs if seq > after]
    for until in (0, seqs[0], seqs[20], seqs[39], 1 << 62, 1 << 70):
        expected = [seq for seq in seqs if seqs[5] < seq <= until]
        assert of(await store.events(KEY, after=seqs[5], until=until)) == expected


@pytest.mark.parametrize("limit", [1, 3, 39, 40, 41])
async def test_a_page_has_at_most_limit_events(store: Store, seqs: list[int], limit: int) -> None:
    assert of(await store.events(KEY, after=0, limit=limit)) == seqs[:limit]
    assert of(await store.events(KEY, after=seqs[7], limit=limit)) == seqs[8 : 8 + limit]


async def test_no_event_stands_behind_the_one_that_reaches_max_bytes(store: Store, pen: Pen) -> None:
    sizes = [len(said("x" * size).data) for size in (10, 20, 30)]
    await pen.made(create(KEY, said("x" * 10), said("x" * 20), said("x" * 30)))
    for max_bytes in range(1, sum(sizes) + 10):
        expected = next((n for n in (1, 2) if sum(sizes[:n]) >= max_bytes), 3)
        assert len(await store.events(KEY, after=0, max_bytes=max_bytes)) == expected


async def test_a_page_of_long_events_is_short(store: Store, pen: Pen) -> None:
    await pen.made(create(KEY, *(said("x" * (300 << 10)) for _ in range(10))))
    assert len(await store.events(KEY, after=0)) == 4
    assert len(await log(store)) == 10


async def test_events_of_some_messages_alone(store: Store, seqs: list[int]) -> None:
    ones, twos = seqs[1::3], seqs[2::3]
    assert of(await store.events(KEY, after=0, message_ids=["msg_1"])) == ones
    assert of(await store.events(KEY, after=0, message_ids={"msg_1", "msg_2", "msg_3"})) == sorted(ones + twos)
    assert of(await store.events(KEY, after=ones[2], until=ones[9], message_ids=["msg_1"])) == ones[3:10]
    assert of(await store.events(KEY, after=ones[2], message_ids=["msg_1", "msg_1"], limit=4)) == ones[3:7]
    assert of(await store.events(KEY, after=0, message_ids=["msg_1"], max_bytes=30)) == ones[:3]
    assert await store.events(KEY, after=0, message_ids=["msg_3"]) == []


async def test_events_at_some_seqs(store: Store, seqs: list[int]) -> None:
    every = await log(store)
    assert await store.events_at(KEY, [seqs[9], seqs[3], seqs[9], seqs[39]]) == [every[3], every[9], every[39]]
    assert await store.events_at(KEY, (seq for seq in (0, seqs[39] + 1, -1, seqs[0]))) == [every[0]]
    assert await store.events_at(KEY, []) == []
