"""Sessions: whose they are, how they are listed, and that a deleted one is gone."""

import pytest

from pens import KEY, NOON, OTHER, Pen, change, create, delta, log, reply, row, said, texts
from rejoinder.abc import Refused, SessionCursor, Store
from rejoinder.entities import Header, Key, OpenReply, Status


def names(headers: list[Header]) -> list[str]:
    return [header.session.id for header in headers]


def minute(number: int) -> str:
    return f"2026-11-24T12:{number:02}:00.000Z"


async def pages(store: Store, owner: str, limit: int) -> list[str]:
    """All pages of the list, each from the place where the last one ended."""
    found: list[str] = []
    after = None
    while page := await store.sessions(owner, after=after, limit=limit):
        assert len(page) <= limit
        found += names(page)
        after = SessionCursor(page[-1].session.updated_at, page[-1].session.id)
    return found


async def test_there_is_no_session_before_it_is_created(store: Store) -> None:
    assert await store.header(KEY) is None
    assert await store.sessions("ann", after=None, limit=10) == []
    assert await store.events(KEY, after=0) == []
    assert await store.events_at(KEY, [1]) == []
    assert await store.rows(KEY, ["msg_1"]) == {}
    assert await store.children(KEY, [None]) == {}
    assert await store.branch(KEY, "msg_1", low=0, high=9) == []
    assert await store.created(KEY, after=0, before=9, limit=9) == []


# --- the list ----------------------------------------------------------------------------------------------------


async def test_the_newest_activity_comes_first(store: Store, pen: Pen) -> None:
    for number, at in enumerate([3, 1, 5, 2, 4]):
        await pen.made(create(Key("ann", f"ses_{number}"), updated_at=minute(at)))
    assert names(await store.sessions("ann", after=None, limit=10)) == ["ses_2", "ses_4", "ses_0", "ses_3", "ses_1"]
    await pen.made(change(Key("ann", "ses_1"), 1, updated_at=minute(6)))
    assert names(await store.sessions("ann", after=None, limit=2)) == ["ses_1", "ses_2"]


async def test_a_delta_is_no_activity_but_the_list_knows_the_last_seq(store: Store, pen: Pen) -> None:
    await pen.made(create(KEY, updated_at=minute(1)), create(OTHER, updated_at=minute(2)))
    [last] = await pen.made(delta())
    listed = await store.sessions("ann", after=None, limit=10)
    assert names(listed) == [OTHER.session_id, KEY.session_id]
    assert listed[1].session.last_seq == last
    assert listed[1] == await store.header(KEY)


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 100])
async def test_pages_fit_together_also_where_times_are_equal(store: Store, pen: Pen, limit: int) -> None:
    keys = [(minute(number // 3), f"ses_{number:02}") for number in range(20)]
    await pen.made(*(create(Key("ann", session_id), updated_at=at) for at, session_id in keys))
    assert await pages(store, "ann", limit) == [session_id for _, session_id in sorted(keys, reverse=True)]


async def test_a_cursor_is_a_place_also_where_its_session_is_gone(store: Store, pen: Pen) -> None:
    await pen.made(*(create(Key("ann", f"ses_{number}"), updated_at=minute(number)) for number in range(3)))
    assert await store.delete(Key("ann", "ses_1"), 1)
    after = SessionCursor(minute(1), "ses_1")
    assert names(await store.sessions("ann", after=after, limit=10)) == ["ses_0"]


async def test_ids_are_ordered_by_code_points(store: Store, pen: Pen) -> None:
    ids = ["Z", "a", "é", "\uffff", "\U0001f600", "aa", "a_", "a0"]
    await pen.made(*(create(Key("ann", session_id)) for session_id in ids))
    assert await pages(store, "ann", 3) == sorted(ids, reverse=True)


# --- owners ------------------------------------------------------------------------------------------------------


async def test_what_belongs_to_another_does_not_exist(store: Store, pen: Pen) -> None:
    mine, yours = Key("ann", "ses_1"), Key("bob", "ses_1")
    await pen.made(create(mine, title="ann's"))
    assert await store.header(yours) is None
    assert await pen.write(delta(key=yours)) == [Refused("missing")]
    assert await store.delete(yours, 1)
    await pen.made(create(yours, said("hers", "m"), title="bob's"))
    await pen.made(
        change(mine, 1, said("a", "msg_1"), created=[row("msg_1")], title="ann's"),
        change(yours, 1, said("b", "msg_1"), created=[row("msg_1")], title="bob's"),
    )
    for key, title, last in ((mine, "ann's", b"a"), (yours, "bob's", b"b")):
        read = await store.sessions(key.owner, after=None, limit=10)
        assert [(header.version, names([header])) for header in read] == [(2, ["ses_1"])]
        assert (await texts(store, key))[-1] == b'{"text":"%b"}' % last
        assert len(await log(store, key)) == 2
        assert list(await store.rows(key, ["msg_1"])) == ["msg_1"]
        header = await store.header(key)
        assert header is not None
        assert header.session.title == title
    assert await store.delete(yours, 2)
    assert await store.header(yours) is None
    assert len(await log(store, mine)) == 2


# --- those that are writing --------------------------------------------------------------------------------------


async def test_those_that_are_writing_are_those_with_open_replies_whatever_they_are(store: Store, pen: Pen) -> None:
    queued = OpenReply(id="msg_2", status=Status.QUEUED)
    replies: dict[str, list[OpenReply]] = {
        "ses_1": [],
        "ses_2": [queued],
        "ses_3": [reply(pen.lease), queued],
        "ses_4": [reply(pen.lease)],
    }
    await pen.made(*(create(Key("ann", name), replies=open_replies) for name, open_replies in replies.items()))
    await pen.made(create(Key("bob", "ses_2"), replies=[reply(pen.lease)]), delta(key=Key("ann", "ses_2")))
    found = await store.writing("ann", after=None, limit=10)
    assert found == [await store.header(Key("ann", name)) for name in ("ses_2", "ses_3", "ses_4")]
    assert [list(header.open) for header in found] == [replies[name] for name in names(found)]
    await store.release_lease(pen.lease)
    assert names(await store.writing("ann", after=None, limit=10)) == ["ses_2", "ses_3", "ses_4"], "orphans too"
    assert names(await store.writing("bob", after=None, limit=10)) == ["ses_2"]
    assert await store.writing("cid", after=None, limit=10) == []


async def test_a_queued_reply_is_no_orphan_also_where_no_lease_is_left(store: Store, pen: Pen) -> None:
    await pen.made(create(replies=[OpenReply(id="msg_1", status=Status.QUEUED)]))
    await store.release_lease(pen.lease)
    assert await store.orphans(10) == []


async def test_a_session_whose_replies_have_ended_is_not_writing_any_more(store: Store, pen: Pen) -> None:
    await pen.made(create(KEY, replies=[reply(pen.lease)]), create(OTHER, replies=[reply(pen.lease)]))
    await pen.made(change(KEY, 1))
    assert names(await store.writing("ann", after=None, limit=10)) == [OTHER.session_id]
    assert await store.delete(OTHER, 1)
    assert await store.writing("ann", after=None, limit=10) == []


@pytest.mark.parametrize("limit", [1, 2, 3, 100])
async def test_pages_of_those_that_are_writing_go_by_id_whatever_their_activity(
    store: Store, pen: Pen, limit: int
) -> None:
    ids = ["Z", "a", "é", "\uffff", "\U0001f600", "aa", "a_", "a0"]
    await pen.made(*(create(Key("ann", name), replies=[reply(pen.lease)]) for name in ids))
    found: list[str] = []
    while page := await store.writing("ann", after=found[-1] if found else None, limit=limit):
        assert len(page) <= limit
        found += names(page)
    assert found == sorted(ids)


# --- deleting ----------------------------------------------------------------------------------------------------


async def test_deleting_is_conditional(store: Store, pen: Pen) -> None:
    await pen.made(create(), change(KEY, 1), delta())
    for version in (1, 3):
        assert not await store.delete(KEY, version)
        assert len(await log(store)) == 3
    assert await store.delete(KEY, 2)
    assert await store.delete(KEY, 2)
    assert await store.delete(OTHER, 5)


async def test_a_deleted_session_is_gone_with_all_that_belongs_to_it(store: Store, pen: Pen) -> None:
    for key in (KEY, OTHER):
        await pen.made(create(key), change(key, 1, said("a", "msg_1"), created=[row("msg_1")]))
    assert await store.delete(KEY, 2)
    assert await store.header(KEY) is None
    assert names(await store.sessions("ann", after=None, limit=10)) == [OTHER.session_id]
    assert await log(store) == []
    assert await store.rows(KEY, ["msg_1"]) == {}
    assert await store.children(KEY, [None]) == {}
    assert await store.created(KEY, after=0, before=99, limit=9) == []
    assert len(await log(store, OTHER)) == 2
    assert list(await store.rows(OTHER, ["msg_1"])) == ["msg_1"]


async def test_nothing_brings_a_deleted_session_back_but_creating_it(store: Store, pen: Pen) -> None:
    await pen.made(create(), change(KEY, 1, said("old", "msg_1"), created=[row("msg_1")]))
    assert await store.delete(KEY, 2)
    assert await pen.write(delta(), change(KEY, 2)) == [Refused("missing")] * 2
    assert await store.header(KEY) is None
    await pen.made(create(KEY, said("new")))
    assert await texts(store) == [b'{"text":"new"}']
    assert await store.rows(KEY, ["msg_1"]) == {}
    header = await store.header(KEY)
    assert header is not None
    assert (header.version, header.session.updated_at) == (1, NOON)


async def test_a_batch_refuses_what_was_deleted_before_it(store: Store, pen: Pen) -> None:
    await pen.made(create(KEY), create(OTHER))
    assert await store.delete(KEY, 1)
    refused, done = await pen.write(delta(key=KEY), delta(key=OTHER))
    assert refused == Refused("missing")
    assert done != refused
