"""Appending: conditional, all or nothing, numbered by the store, with a result for each."""

import asyncio

import pytest
from msgspec import structs

from openers import Opener
from pens import KEY, NOON, OTHER, Pen, at_seq, change, create, delta, header, log, reply, row, said, texts
from rejoinder.abc import ABSENT, Append, Appended, EndedRow, Refused, Store, Text
from rejoinder.entities import Key
from rejoinder.errors import LeaseLost
from rejoinder.events import Draft, Event
from rejoinder.stores import staging
from rejoinder.stores.memory import MemoryStore

# --- what an append does -----------------------------------------------------------------------------------------


async def test_events_get_consecutive_seqs_behind_all_that_were_given_before(store: Store, pen: Pen) -> None:
    [first] = await pen.made(create(KEY, said("a"), said("b")))
    [second] = await pen.made(Append(key=KEY, drafts=(said("c"), said("d"), said("e"))))
    assert first >= 1
    assert second > first + 1
    assert [event.seq for event in await log(store)] == [first, first + 1, second, second + 1, second + 2]


async def test_an_event_is_read_as_it_was_written(store: Store, pen: Pen) -> None:
    drafts = (
        Draft("session.created", None, b"{}"),
        Draft("message.delta", "msg_1", '{"text":"ö\U0001f600 \\u0000 \\" \\\\"}'.encode()),
        Draft("a type of a later version", "msg_\u00fc", b'{"a":  [1.0, 1e400, 12345678901234567890123]}'),
        Draft("message.delta", "msg_1", b'{"text":"' + b"x" * (4 << 20) + b'"}'),
    )
    [first] = await pen.made(create(KEY, *drafts))
    assert await store.events(KEY, after=0, max_bytes=1 << 30) == [
        Event(first + place, draft.type, draft.message_id, draft.data) for place, draft in enumerate(drafts)
    ]


async def test_a_change_replaces_the_header_and_carries_the_last_seq(store: Store, pen: Pen) -> None:
    await pen.made(create(title="old"))
    open_reply = reply(pen.lease)
    changed = change(KEY, 1, said("a"), said("b"), title="new", params={"n": [1, {"x": None}]}, replies=[open_reply])
    [first] = await pen.made(changed)
    assert changed.header is not None
    assert await store.header(KEY) == at_seq(changed.header, first + 1)


async def test_a_delta_moves_the_last_seq_and_nothing_else(store: Store, pen: Pen) -> None:
    await pen.made(create(title="title", metadata={"a": "b"}))
    before = await store.header(KEY)
    [first] = await pen.made(delta())
    assert before is not None
    assert await store.header(KEY) == at_seq(before, first)


async def test_a_condition_without_a_header_is_kept_and_leaves_the_version(store: Store, pen: Pen) -> None:
    await pen.made(create())
    at = [await pen.write(Append(key=KEY, drafts=(said(),), expect=version)) for version in (1, 2, 1)]
    assert isinstance(at[0][0], Appended)
    assert at[1] == [Refused("version")]
    assert isinstance(at[2][0], Appended)


async def test_what_is_handed_in_or_out_is_nobody_elses(store: Store, pen: Pen) -> None:
    metadata, params = {"a": "1"}, {"stop": ["x"]}
    await pen.made(create(metadata=metadata, params=params))
    metadata["a"] = "2"
    params["stop"].append("y")
    for read in (await store.header(KEY), (await store.sessions("ann", after=None, limit=1))[0]):
        assert read is not None
        assert read.session.metadata == {"a": "1"}
        assert read.session.params == {"stop": ["x"]}
        read.session.metadata["a"] = "3"
        read.session.params["stop"].append("z")
    (await log(store)).clear()
    assert len(await log(store)) == 1


# --- what is refused ---------------------------------------------------------------------------------------------


async def everything(store: Store, key: Key = KEY) -> object:
    ids = ["msg_1", "msg_2"]
    return (
        await store.header(key),
        await log(store, key),
        await store.rows(key, ids),
        await store.children(key, [None, *ids]),
        await store.orphans(10),
        await store.sessions(key.owner, after=None, limit=10),
    )


async def test_nothing_but_absent_creates_a_session(store: Store, pen: Pen) -> None:
    before = await everything(store)
    for append in (delta(), change(KEY, 1), Append(key=KEY, drafts=(said(),), expect=3)):
        assert await pen.write(append) == [Refused("missing")]
    assert await everything(store) == before


async def test_a_session_is_created_once(store: Store, pen: Pen) -> None:
    await pen.made(create(title="first"))
    before = await everything(store)
    assert await pen.write(create(title="second")) == [Refused("exists")]
    assert await everything(store) == before


@pytest.mark.parametrize("expect", [1, 3, 4])
async def test_a_refused_change_changes_nothing(store: Store, pen: Pen, expect: int) -> None:
    await pen.made(create(), change(KEY, 1, said(), created=[row("msg_1", ended=False)], replies=[reply(pen.lease)]))
    before = await everything(store)
    refused = change(
        KEY,
        expect,
        said(),
        said(),
        title="x",
        created=[row("msg_2", "msg_1", at=1)],
        ended=[EndedRow(id="msg_1", at=0, ended_at=NOON)],
    )
    assert await pen.write(refused) == [Refused("version")]
    assert await everything(store) == before


async def test_a_session_begins_at_whatever_version_it_is_made_at(store: Store, pen: Pen) -> None:
    born = 1_795_795_200_000_000  # a time in microseconds
    await pen.made(create(version=born))
    assert [await pen.write(change(KEY, version)) for version in (1, born - 1)] == [[Refused("version")]] * 2
    await pen.made(change(KEY, born, title="x"))
    assert await store.header(KEY) == header(version=born + 1, title="x", last_seq=(await log(store))[-1].seq)
    assert not await store.delete(KEY, born)
    assert await store.delete(KEY, born + 1)


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        (create(version=ABSENT), "decided at version"),
        (structs.replace(change(OTHER, 1), header=header(OTHER, 3)), "decided at version"),
        (structs.replace(create(), header=None), "brings its header"),
    ],
)
async def test_a_version_that_does_not_follow_is_refused_as_a_fault_of_ours(
    store: Store, pen: Pen, wrong: Append, why: str
) -> None:
    await pen.made(create(OTHER))
    with pytest.raises(ValueError, match=why):
        await pen.write(wrong)
    assert [event.type for key in (KEY, OTHER) for event in await log(store, key)] == ["session.created"]


async def test_a_refusal_concerns_its_own_append_alone(store: Store, pen: Pen) -> None:
    await pen.made(create(KEY))
    results = await pen.write(
        delta("a"), change(KEY, 7), delta("b", OTHER), create(OTHER), create(OTHER), delta("c", OTHER), delta("d")
    )
    assert [type(result) for result in results] == [Appended, Refused, Refused, Appended, Refused, Appended, Appended]
    assert [result.reason for result in results if isinstance(result, Refused)] == ["version", "missing", "exists"]
    assert (await texts(store))[1:] == [b'{"text":"a"}', b'{"text":"d"}']
    assert (await texts(store, OTHER))[1:] == [b'{"text":"c"}']


# --- batches -----------------------------------------------------------------------------------------------------


async def test_a_later_append_of_a_batch_sees_the_earlier(store: Store, pen: Pen) -> None:
    results = await pen.write(
        create(),
        delta("a"),
        change(KEY, 1, said("b"), created=[row("msg_1", ended=False)], replies=[reply(pen.lease)]),
        change(KEY, 1, said("never")),
        delta("c"),
        change(KEY, 2, said("d"), ended=[EndedRow(id="msg_1", at=0, ended_at=NOON)]),
    )
    firsts = [result.first for result in results if isinstance(result, Appended)]
    assert results[3] == Refused("version")
    assert firsts == sorted(set(firsts))
    assert [event.seq for event in await log(store)] == firsts
    assert (await store.rows(KEY, ["msg_1"]))["msg_1"].ended == firsts[-1]
    assert await store.header(KEY) == at_seq(header(version=3), firsts[-1])


async def test_a_batch_may_be_large(store: Store, pen: Pen) -> None:
    keys = [Key("ann", f"ses_{number}") for number in range(300)]
    await pen.made(*(create(key) for key in keys))
    many = [delta(str(number), key) for number in range(3) for key in keys]
    firsts = await pen.made(*many, Append(key=KEY, drafts=tuple(said(str(number)) for number in range(700))))
    assert len(set(firsts[:300])) == 1
    for key in (keys[0], keys[150], keys[299]):
        assert (await texts(store, key))[1:4] == [b'{"text":"%d"}' % number for number in range(3)]
    assert len(await log(store)) == 1 + 3 + 700


async def test_appends_from_many_tasks_are_all_there_in_order(store: Store) -> None:
    pens = [await Pen.of(store, f"worker {number}") for number in range(5)]
    keys = [Key("ann", f"ses_{number}") for number in range(5)]

    async def write(pen: Pen, key: Key) -> None:
        await pen.made(create(key))
        for number in range(20):
            await pen.made(delta(str(number), key))
            # A read sees what was acknowledged before it began.
            assert (await texts(store, key))[-1] == b'{"text":"%d"}' % number

    await asyncio.gather(*(write(pen, key) for pen, key in zip(pens, keys, strict=True)))


async def test_every_reader_sees_what_was_acknowledged_before_it_began(store: Store, pen: Pen) -> None:
    await pen.made(create())
    for _ in range(20):
        [first] = await pen.made(change(KEY, (await store.header(KEY) or header()).version))
        reads = await asyncio.gather(*(store.header(KEY) for _ in range(8)))
        assert [read.session.last_seq for read in reads if read] == [first] * 8


# --- a batch that comes again ------------------------------------------------------------------------------------


async def test_a_batch_that_comes_again_is_done_once(store: Store, pen: Pen) -> None:
    await pen.made(create())
    batch = (delta("a"), change(KEY, 1, said("b")), delta("c", OTHER), create(KEY))
    results = await pen.write(*batch)
    before = await everything(store)
    assert [type(result) for result in results] == [Appended, Appended, Refused, Refused]
    assert [await pen.again(*batch), await pen.again(*batch)] == [results, results]
    assert await everything(store) == before


async def test_its_results_are_the_first_whatever_has_become_of_the_session_since(store: Store, pen: Pen) -> None:
    results = await pen.write(create())
    assert await store.delete(KEY, 1)
    assert await pen.again(create()) == results
    assert await store.header(KEY) is None


async def test_each_lease_counts_its_own_batches(store: Store, pen: Pen) -> None:
    other = await Pen.of(store, "other")
    await pen.made(create(), delta("a"))
    await other.made(delta("b"))
    results = await pen.write(delta("c"))
    await other.made(delta("d"))
    assert await pen.again(delta("c")) == results
    assert (await texts(store))[1:] == [b'{"text":"%b"}' % letter for letter in (b"a", b"b", b"c", b"d")]


@pytest.mark.parametrize("ticks", [0, 1, 2, 5])
async def test_a_batch_whose_call_was_cancelled_can_come_again(store: Store, pen: Pen, ticks: int) -> None:
    await pen.made(create())
    for number in range(10):
        batch = (delta(str(number)), delta("x", OTHER))
        call = asyncio.create_task(pen.write(*batch))
        await asyncio.sleep(0)
        for _ in range(ticks):
            await asyncio.sleep(0.0005)
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
        [result, refused] = await pen.again(*batch)
        assert isinstance(result, Appended)
        assert refused == Refused("missing")
    assert (await texts(store))[1:] == [b'{"text":"%d"}' % number for number in range(10)]


async def test_a_number_may_be_passed_over(store: Store, pen: Pen) -> None:
    await pen.made(create())
    pen.number += 1
    await pen.made(delta("a"))
    assert len(await log(store)) == 2


async def test_what_comes_behind_a_batch_that_the_store_has_lost_is_not_done(store: Store, pen: Pen) -> None:
    await pen.made(create())
    before = await everything(store)
    pen.number = pen.acknowledged = 2  # as after a fail-over without it
    for call in (pen.write(delta()), pen.again(delta()), pen.write(create(OTHER))):
        with pytest.raises(LeaseLost):
            await call
    assert await everything(store) == before
    pen.acknowledged = 1
    await pen.made(delta("a"))


# --- fencing -----------------------------------------------------------------------------------------------------


async def test_without_its_lease_a_worker_writes_nothing(store: Store, pen: Pen) -> None:
    await pen.made(create())
    before = await everything(store)
    await store.release_lease(pen.lease)
    for call in (pen.write(delta()), pen.write(create(OTHER)), pen.again(create(OTHER))):
        with pytest.raises(LeaseLost):
            await call
    assert await everything(store) == before
    assert await store.header(OTHER) is None


async def test_a_revoked_worker_does_not_even_learn_what_it_did(store: Store, pen: Pen) -> None:
    await pen.made(create())
    await store.release_lease(pen.lease)
    with pytest.raises(LeaseLost):
        await pen.again(create())


async def test_the_successor_writes_where_the_other_cannot(opener: Opener) -> None:
    async with opener() as store:
        old = await Pen.of(store, "one and the same name")
        await old.made(create())
        await store.release_lease(old.lease)
        new = await Pen.of(store, "one and the same name")
        await new.made(delta("new"))
        with pytest.raises(LeaseLost):
            await old.write(delta("old"))
        assert (await texts(store))[1:] == [b'{"text":"new"}']


# --- what is large -----------------------------------------------------------------------------------------------


@pytest.fixture
def small_is_great(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(staging, "GREAT", 10_000)
    monkeypatch.setattr(staging, "PIECE", 3_000)


def great(key: Key = KEY) -> Append:
    """A session with a title, and fifty messages of which every second has ended as a reply does."""
    drafts, created, ended = [said(kind="session.created")], [], []
    found = [Text(message_id=None, words="first title", at=NOON)]
    for n in range(50):
        name, parent = f"msg_{n:02}", f"msg_{n - 1:02}" if n else None
        created.append(row(name, parent, lane="msg_00", depth=n, at=len(drafts), ended=n % 2 == 0))
        drafts.append(said("x" * 300, name, "message.created"))
        if n % 2:
            ended.append(EndedRow(id=name, at=len(drafts), ended_at=NOON))
            drafts.append(said("y" * 300, name, "message.ended"))
        found.append(Text(message_id=name, words=f"apple number{n}", at=NOON))
    drafts.append(said(kind="session.updated"))
    found.append(Text(message_id=None, words="title", at=NOON))
    return Append(
        key=key,
        drafts=tuple(drafts),
        expect=ABSENT,
        header=header(key, title="title"),
        created=tuple(created),
        ended=tuple(ended),
        texts=tuple(found),
    )


async def whole_of(store: Store, key: Key = KEY) -> list[object]:
    found = await store.search("ann", ["apple"], limit=100)
    return [
        await store.header(key),
        await log(store, key),
        await store.created(key, after=0, before=1 << 40, limit=100),
        await store.branch(key, "msg_07", low=0, high=100),
        await store.children(key, [None, "msg_07"]),
        sorted(one.message_id for one in found if one.key == key),
        [one.session.id for one in await store.sessions("ann", after=None, limit=9, words=["title"])],
        [one.session.id for one in await store.sessions("ann", after=None, limit=9, words=["first"])],
        sorted(await store.ripe("2027", 100)),
    ]


@pytest.mark.usefixtures("small_is_great")
async def test_what_is_staged_comes_to_be_what_would_have_been_appended_at_once(store: Store, pen: Pen) -> None:
    staged = await pen.store.stage(pen.lease, great())
    assert await store.header(KEY) is None
    assert await log(store) == []
    assert await store.search("ann", ["apple"], limit=9) == []
    assert await store.ripe("2027", 9) == []
    assert await store.keys(after=None, limit=9) == []
    assert await pen.made(staged, change(KEY, 1)) == [1, len(great().drafts) + 1]
    async with MemoryStore() as other:
        plain = await Pen.of(other)
        await plain.made(great(), change(KEY, 1))
        assert await whole_of(store) == await whole_of(other)
    await store.delete(KEY, 2)
    assert await log(store) == []
    assert await store.search("ann", ["apple"], limit=9) == []


@pytest.mark.usefixtures("small_is_great")
async def test_what_is_staged_of_a_session_that_is_there_by_then_changes_nothing(store: Store, pen: Pen) -> None:
    staged = [await pen.store.stage(pen.lease, great()) for _ in range(3)]
    assert await pen.write(staged[0], staged[1]) == [Appended(1), Refused("exists")]
    before = await whole_of(store)
    assert await pen.write(staged[2]) == [Refused("exists")]
    await store.revoke_expired()
    assert await whole_of(store) == before
    # The answer to a batch that was lost.
    assert await pen.again(staged[2]) == [Refused("exists")]


@pytest.mark.usefixtures("small_is_great")
async def test_what_was_staged_is_of_no_use_once_the_lease_is_gone(store: Store, pen: Pen) -> None:
    staged = await pen.store.stage(pen.lease, great())
    await store.release_lease(pen.lease)
    with pytest.raises(LeaseLost):
        await pen.write(staged)
    await store.revoke_expired()
    other = await Pen.of(store)
    await other.made(await store.stage(other.lease, great()))
    assert len(await log(store)) == len(great().drafts)
