"""The message index: rows by id, children by parent, stretches of a branch, and messages in order of creation.

m1 ─ m2 ─ m3 ─ m4        lane m1
      └── b3 ─ b4        lane b3
r1                       lane r1: another message without a parent
"""

from collections.abc import Iterable
from random import Random

import pytest

from pens import KEY, NOON, OTHER, Pen, change, create, row, said
from rejoinder.abc import EndedRow, NewRow, Row, Store


def ids(rows: Iterable[Row]) -> list[str]:
    return [row.id for row in rows]


@pytest.fixture
async def firsts(pen: Pen) -> list[int]:
    """Makes the tree above, with a message of the same name in another session; the first seqs of its four appends."""
    await pen.made(create(KEY), create(OTHER), change(OTHER, 1, created=[row("m1")]))
    return await pen.made(
        change(
            KEY,
            1,
            said(),
            said(),
            said(),
            created=[row("m1", at=0), row("m2", "m1", lane="m1", depth=1, at=1, ended=False)],
        ),
        change(KEY, 2, said(), ended=[EndedRow(id="m2", at=0, ended_at=NOON)]),
        change(
            KEY,
            3,
            *[said()] * 5,
            created=[
                row("m3", "m2", lane="m1", depth=2, at=0),
                row("b3", "m2", lane="b3", depth=2, at=1),
                row("m4", "m3", lane="m1", depth=3, at=3, ended=False),
                row("b4", "b3", lane="b3", depth=3, at=4),
            ],
        ),
        change(KEY, 4, said(), created=[row("r1")]),
    )


async def test_a_row_tells_where_its_message_begins_and_ends(store: Store, firsts: list[int]) -> None:
    rows = await store.rows(KEY, ["m4", "m1", "m2", "nobody", "m1"])
    assert rows == {
        "m1": Row(id="m1", parent_id=None, lane="m1", depth=0, created=firsts[0], ended=firsts[0]),
        "m2": Row(id="m2", parent_id="m1", lane="m1", depth=1, created=firsts[0] + 1, ended=firsts[1]),
        "m4": Row(id="m4", parent_id="m3", lane="m1", depth=3, created=firsts[2] + 3, ended=None),
    }
    assert await store.rows(KEY, []) == {}
    assert list(await store.rows(OTHER, ["m1", "m2"])) == ["m1"]


async def test_an_append_may_end_a_message_behind_other_events(store: Store, pen: Pen, firsts: list[int]) -> None:
    [first] = await pen.made(change(KEY, 5, said(), said(), said(), ended=[EndedRow(id="m4", at=2, ended_at=NOON)]))
    assert (await store.rows(KEY, ["m4"]))["m4"].ended == first + 2


async def test_children_come_in_order_of_creation(store: Store, firsts: list[int]) -> None:
    children = await store.children(KEY, [None, "m2", "m2", "m4", "b3", "nobody"])
    assert {parent: ids(rows) for parent, rows in children.items()} == {
        None: ["m1", "r1"],
        "m2": ["m3", "b3"],
        "b3": ["b4"],
    }
    assert await store.children(KEY, []) == {}
    assert ids((await store.children(OTHER, {None}))[None]) == ["m1"]


async def test_a_stretch_of_a_branch(store: Store, firsts: list[int]) -> None:
    for low, high, expected in (
        (0, 99, ["m1", "m2", "m3", "m4"]),
        (1, 2, ["m2", "m3"]),
        (3, 3, ["m4"]),
        (4, 9, []),
        (2, 1, []),
        (-1, 0, ["m1"]),
    ):
        assert ids(await store.branch(KEY, "m4", low=low, high=high)) == expected
    every = await store.branch(KEY, "b4", low=0, high=1 << 40)
    assert ids(every) == ["m1", "m2", "b3", "b4"]
    assert {row.id: row for row in every} == await store.rows(KEY, ids(every))
    assert ids(await store.branch(KEY, "b4", low=1, high=2)) == ["m2", "b3"]
    assert ids(await store.branch(KEY, "m3", low=0, high=9)) == ["m1", "m2", "m3"]
    assert ids(await store.branch(KEY, "r1", low=0, high=9)) == ["r1"]
    assert ids(await store.branch(OTHER, "m1", low=0, high=9)) == ["m1"]
    assert await store.branch(KEY, "nobody", low=0, high=9) == []


async def test_a_branch_is_found_through_whatever_lanes(store: Store, pen: Pen) -> None:
    """Each message under one of those before it: every stretch of every branch is what its parents say."""
    await pen.made(create(KEY))
    dice = Random(7)
    made: list[NewRow] = []
    for at in range(40):
        above = dice.choice([None, *made[-6:]])
        first = above is not None and all(other.parent_id != above.id for other in made)
        message_id = f"m{at}"
        depth = above.depth + 1 if above is not None else 0
        lane = above.lane if above is not None and first else message_id
        made.append(row(message_id, above.id if above is not None else None, lane=lane, depth=depth, at=at))
    await pen.made(change(KEY, 1, *[said()] * 40, created=made))
    known = {one.id: one for one in made}
    for tip in made:
        branch = [tip.id]
        while (parent := known[branch[0]].parent_id) is not None:
            branch.insert(0, parent)
        assert ids(await store.branch(KEY, tip.id, low=0, high=99)) == branch
        low, high = sorted((dice.randrange(-1, 8), dice.randrange(8)))
        assert ids(await store.branch(KEY, tip.id, low=low, high=high)) == branch[max(low, 0) : high + 1]


async def test_messages_in_order_of_creation(store: Store, firsts: list[int]) -> None:
    every = ["m1", "m2", "m3", "b3", "m4", "b4", "r1"]
    rows = await store.created(KEY, after=0, before=1 << 62, limit=99)
    assert ids(rows) == every
    assert {row.id: row for row in rows} == await store.rows(KEY, every)
    assert ids(await store.created(KEY, after=0, before=1 << 70, limit=3)) == every[:3]
    assert ids(await store.created(KEY, after=0, before=1 << 62, limit=3, newest=True)) == every[-3:]
    assert ids(await store.created(KEY, after=0, before=1 << 62, limit=99, newest=True)) == every
    after, before = rows[1].created, rows[5].created
    assert ids(await store.created(KEY, after=after, before=before, limit=99)) == every[2:5]
    assert ids(await store.created(KEY, after=after, before=before, limit=2)) == every[2:4]
    assert ids(await store.created(KEY, after=after, before=before, limit=2, newest=True)) == every[3:5]
    assert await store.created(KEY, after=before, before=after, limit=9) == []
