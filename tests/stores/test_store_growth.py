"""Growth: what is dropped leaves everything else as it was, and what is old is found without reading all."""

import asyncio
from itertools import count

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from openers import Opener
from pens import KEY, OTHER, Pen, change, create, delta, log, row, said
from rejoinder.abc import Append, EndedRow, Store
from rejoinder.entities import Key

DELTAS = ("message.delta", "message.reset")


def second(number: int) -> str:
    return f"2026-11-24T12:00:{number:02}.000Z"


def begun(*message_ids: str, key: Key = KEY) -> Append:
    """Open messages; their `message.created` are the drafts."""
    drafts = tuple(said("", message_id, "message.created") for message_id in message_ids)
    rows = tuple(row(message_id, at=at, ended=False) for at, message_id in enumerate(message_ids))
    return Append(key=key, drafts=drafts, created=rows)


def ended(message_id: str = "msg_1", at: int = 0, key: Key = KEY) -> Append:
    """The rest of a message's text, and its end."""
    drafts = (said("rest", message_id), said("whole", message_id, "message.ended"))
    return Append(key=key, drafts=drafts, ended=(EndedRow(id=message_id, at=1, ended_at=second(at)),))


async def kinds(store: Store, key: Key = KEY) -> list[str]:
    return [f"{event.message_id} {event.type.removeprefix('message.')}" for event in await log(store, key)]


# --- compaction --------------------------------------------------------------------------------------------------


async def test_the_deltas_of_an_ended_message_go_and_all_else_keeps_its_place(store: Store, pen: Pen) -> None:
    await pen.made(
        create(KEY, said(kind="session.created")), begun("msg_1", "msg_2"), delta(), delta(message_id="msg_2")
    )
    await pen.made(Append(key=KEY, drafts=(said("prompt", "msg_1", "prompt.sent"),)), delta(), ended())
    before = await log(store)
    rows = await store.rows(KEY, ["msg_1", "msg_2"])
    await store.compact(KEY, ["msg_1", "msg_2", "nobody"], DELTAS)
    kept = [event for event in before if event.type != "message.delta" or event.message_id == "msg_2"]
    assert await log(store) == kept
    assert len(kept) == len(before) - 3
    assert await store.rows(KEY, ["msg_1", "msg_2"]) == rows
    [end] = await store.events_at(KEY, [rows["msg_1"].ended or 0])
    assert end.type == "message.ended"
    dropped = [event.seq for event in before if event not in kept]
    assert await store.events_at(KEY, dropped) == []
    assert await store.events(KEY, after=dropped[0] - 1, limit=1) == [kept[kept.index(before[4])]]


async def test_a_log_grows_on_behind_what_was_dropped(store: Store, pen: Pen) -> None:
    await pen.made(create(), begun("msg_1"), delta(), ended())
    last = (await log(store))[-1].seq
    await store.compact(KEY, ["msg_1"], DELTAS)
    header = await store.header(KEY)
    assert header is not None
    assert header.session.last_seq == last
    [first, *_] = await pen.made(delta(message_id="msg_2"), change(KEY, 1))
    assert first > last
    assert (await log(store))[-2].seq == first


async def test_types_that_are_not_named_stay(store: Store, pen: Pen) -> None:
    resets = Append(key=KEY, drafts=(said("", "msg_1", "message.reset"), said("", "msg_1", "message.started")))
    await pen.made(create(), begun("msg_1"), delta(), resets, ended())
    await store.compact(KEY, ["msg_1"], [])
    assert len(await kinds(store)) == 7
    await store.compact(KEY, ["msg_1"], ["message.reset", "no such type"])
    assert (await kinds(store))[1:] == ["msg_1 created", "msg_1 delta", "msg_1 started", "msg_1 delta", "msg_1 ended"]


async def test_an_open_message_and_what_is_not_there_are_left_alone(store: Store, pen: Pen) -> None:
    await store.compact(KEY, ["msg_1"], DELTAS)
    assert await store.header(KEY) is None
    await pen.made(create(), create(OTHER), begun("msg_1", "msg_2"), begun("msg_1", key=OTHER))
    await pen.made(delta(), delta(key=OTHER), ended(key=OTHER))
    before = await log(store)
    await store.compact(KEY, ["msg_1", "nobody"], DELTAS)
    assert await log(store) == before
    # It was no compaction: once it has ended, it is ripe.
    await pen.made(ended(at=1))
    assert await store.ripe(second(9), 9) == [(OTHER, "msg_1"), (KEY, "msg_1")]
    await store.compact(OTHER, ["msg_1"], DELTAS)
    assert await log(store) == [*before, *(await log(store))[len(before) :]]
    await store.compact(KEY, [], DELTAS)
    assert await store.ripe(second(9), 9) == [(KEY, "msg_1")]


async def test_whoever_reads_while_it_goes_on_finds_a_beginning_also_where_it_was_broken_off(
    store: Store, pen: Pen
) -> None:
    await pen.made(create(), begun("msg_1"))
    for _ in range(30):
        await pen.made(*[delta()] * 100)
    await pen.made(ended())
    whole = await log(store)

    async def reads_on() -> bool:
        """Whether the second delta is there. Behind the first one comes that, or the end."""
        [following] = await store.events(KEY, after=whole[2].seq, limit=1)
        assert following in (whole[3], whole[-1])
        return following == whole[3]

    async def check() -> None:
        left = await log(store)
        assert left == [*whole[: len(left) - 1], whole[-1]]

    for broken_off in (True, False):
        compacting = asyncio.create_task(store.compact(KEY, ["msg_1"], DELTAS))
        while not compacting.done() and (await reads_on() or not broken_off):  # noqa: ASYNC110 - a task has no event
            await asyncio.sleep(0)
        if broken_off:
            compacting.cancel()
        await asyncio.wait({compacting})
        await check()
    assert await log(store) == [*whole[:2], whole[-1]]


async def test_what_ended_first_is_ripe_first_until_it_is_compacted(store: Store, pen: Pen) -> None:
    ids = [f"msg_{number}" for number in range(6)]
    await pen.made(create(KEY), create(OTHER), begun(*ids), begun(*ids, key=OTHER))
    whole = [row("msg_whole")]
    await pen.made(change(KEY, 1, said("", "msg_whole", "message.created"), created=whole))
    order = [(KEY, "msg_3"), (OTHER, "msg_0"), (KEY, "msg_1"), (OTHER, "msg_5")]
    for at, (key, message_id) in sorted(enumerate(order), key=lambda place: place[1]):
        await pen.made(ended(message_id, at, key))
    assert await store.ripe(second(0), 9) == []
    assert await store.ripe(second(2), 9) == order[:2]
    assert await store.ripe(second(9), 9) == order
    assert await store.ripe(second(9), 3) == order[:3]
    await store.compact(OTHER, ["msg_0", "msg_1"], DELTAS)
    await store.compact(KEY, ["msg_1"], DELTAS)
    assert await store.ripe(second(9), 9) == [order[0], order[3]]
    assert await store.delete(KEY, 2)
    assert await store.ripe(second(9), 9) == [order[3]]


async def test_a_message_that_one_append_makes_and_ends_is_ripe(store: Store, pen: Pen) -> None:
    drafts = (said("", "msg_1", "message.created"), said("", "msg_1"), said("", "msg_1", "message.ended"))
    end = EndedRow(id="msg_1", at=2, ended_at=second(0))
    await pen.made(create(), change(KEY, 1, *drafts, created=[row("msg_1", ended=False)], ended=[end]))
    assert await store.ripe(second(1), 9) == [(KEY, "msg_1")]
    await store.compact(KEY, ["msg_1"], DELTAS)
    assert (await kinds(store))[1:] == ["msg_1 created", "msg_1 ended"]


async def test_what_was_compacted_stays_so_after_the_store_was_closed(opener: Opener) -> None:
    async with opener() as store:
        pen = await Pen.of(store)
        await pen.made(create(), begun("msg_1", "msg_2"), delta(), delta(message_id="msg_2"))
        await pen.made(ended("msg_1", 1), ended("msg_2", 2))
        await store.compact(KEY, ["msg_1"], DELTAS)
        kept, last = await log(store), (await log(store))[-1].seq
    async with opener() as store:
        assert await log(store) == kept
        assert await store.ripe(second(9), 9) == [(KEY, "msg_2")]
        await store.compact(KEY, ["msg_2"], DELTAS)
    async with opener() as store:
        assert await store.ripe(second(9), 9) == []
        assert [event for event in kept if event.type != "message.delta"] == await log(store)
        [first] = await (await Pen.of(store)).made(delta(message_id="msg_3"))
        assert first > last


# --- whatever was written ----------------------------------------------------------------------------------------

writes = st.lists(
    st.tuples(st.integers(0, 4), st.sampled_from(["delta", "delta", "delta", "reset", "end"])), max_size=40
)


async def play(store: Store, owner: str, written: list[tuple[int, str]], dropped: set[int], limit: int) -> None:
    key, pen = Key(owner, "ses_1"), await Pen.of(store)
    ids = [f"msg_{number}" for number in range(5)]
    await pen.made(create(key), begun(*ids, key=key))
    over: set[int] = set()
    for number, kind in written:
        if number not in over:
            reset = Append(key=key, drafts=(said("", ids[number], "message.reset"),))
            made = {"delta": delta(str(number), key, ids[number]), "reset": reset, "end": ended(ids[number], key=key)}
            await pen.made(made[kind])
            over |= {number} if kind == "end" else set()
    before = await log(store, key)
    gone = {ids[number] for number in dropped & over}
    expected = [event for event in before if event.message_id not in gone or event.type not in DELTAS]
    for number in dropped:
        await store.compact(key, [ids[number]], DELTAS)
    ripe = {message_id for where, message_id in await store.ripe(second(9), 10_000) if where == key}
    assert ripe == {ids[number] for number in over} - gone
    header = await store.header(key)
    assert header is not None
    assert header.session.last_seq == before[-1].seq
    for cursor in range(before[-1].seq + 1):
        page = await store.events(key, after=cursor, limit=limit)
        assert page == [event for event in expected if event.seq > cursor][:limit]
        mine = await store.events(key, after=cursor, message_ids=ids[:2], limit=limit)
        assert mine == [event for event in expected if event.seq > cursor and event.message_id in ids[:2]][:limit]
    await store.delete(key, 1)
    await store.release_lease(pen.lease)


def test_compaction_keeps_every_other_event_and_the_pages_of_every_cursor(opener: Opener) -> None:
    owners = count()
    with asyncio.Runner() as runner:
        store = opener()
        runner.run(store.__aenter__())

        @settings(max_examples=25, deadline=None, database=None, suppress_health_check=list(HealthCheck))
        @given(written=writes, dropped=st.sets(st.integers(0, 4)), limit=st.integers(1, 50))
        def same(written: list[tuple[int, str]], dropped: set[int], limit: int) -> None:
            runner.run(play(store, f"owner {next(owners)}", written, dropped, limit))

        try:
            same()
        finally:
            runner.run(store.__aexit__(None, None, None))


# --- what is old, and what is there at all -----------------------------------------------------------------------


async def test_the_longest_idle_comes_first_whoever_owns_it(store: Store, pen: Pen) -> None:
    keys = [Key(owner, f"ses_{number}") for number, owner in enumerate(["bob", "ann", "ann", "cleo"])]
    await pen.made(*(create(key, updated_at=second(10 - at)) for at, key in enumerate(keys)))
    assert await store.idle(second(7), 9) == []
    assert await store.idle(second(9), 9) == [keys[3], keys[2]]
    assert await store.idle(second(20), 3) == keys[:0:-1]
    await pen.made(change(keys[3], 1, updated_at=second(30)))
    assert await store.delete(keys[2], 1)
    assert await store.idle(second(20), 9) == [keys[1], keys[0]]


async def test_all_keys_are_told_in_order_page_by_page(store: Store, pen: Pen) -> None:
    owners, ids = ["", "Z", "a", "é", "\U0001f600", "\uffff", "a\u0001"], ["ses_1", "ses_10", "ses_2", "ü"]
    keys = [Key(owner, session_id) for owner in owners for session_id in ids]
    await pen.made(*map(create, reversed(keys)))
    for limit in (1, 3, 100):
        found: list[Key] = []
        while page := await store.keys(after=found[-1] if found else None, limit=limit):
            found += page
        assert found == sorted(keys)
    assert await store.keys(after=Key("a", "ses_1x"), limit=1) == [Key("a", "ses_2")]
    assert await store.delete(Key("", "ses_1"), 1)
    assert await store.keys(after=None, limit=1) == [Key("", "ses_10")]
