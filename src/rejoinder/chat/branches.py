"""Branches: the tree of messages read through the index, without reading the log.

A branch is a path from a first message to a tip. Every message lies in one lane (see `abc.NewRow`), so a branch is a few
ranges of lanes, and a page of it costs the same wherever it lies.
"""

from collections.abc import Collection, Sequence

from msgspec import Struct

from rejoinder.abc import NewRow, Row, Store
from rejoinder.entities import Key
from rejoinder.errors import SessionNotFound
from rejoinder.fold import siblings_of


class Stretch(Struct, frozen=True):
    """Where a branch runs along one lane: from depth `low` to depth `high`, both included."""

    lane: str
    low: int
    high: int


async def known_rows(store: Store, key: Key, ids: Collection[str]) -> dict[str, Row]:
    """The rows of messages that were there a moment ago. Raises SessionNotFound: only with their session do messages go."""
    rows = await store.rows(key, ids)
    if len(rows) < len(set(ids)):
        raise SessionNotFound(key.session_id)
    return rows


async def stretches(store: Store, key: Key, tip: Row) -> list[Stretch]:
    """The branch that ends at `tip`, from its first message on."""
    found: list[Stretch] = []
    row: Row | None = tip
    while row is not None:
        first = (await known_rows(store, key, [row.lane]))[row.lane]
        found.append(Stretch(row.lane, first.depth, row.depth))
        parent = first.parent_id
        row = (await known_rows(store, key, [parent]))[parent] if parent else None
    found.reverse()
    return found


async def between(store: Store, key: Key, path: list[Stretch], low: int, high: int) -> list[Row]:
    """The messages of a branch with `low <= depth <= high`, oldest first. Raises SessionNotFound, as `known_rows` does."""
    rows: list[Row] = []
    for stretch in path:
        if stretch.high >= low and stretch.low <= high:
            rows += await store.lane(key, stretch.lane, low=max(low, stretch.low), high=min(high, stretch.high))
    if len(rows) < min(high, path[-1].high) - max(low, 0) + 1:
        raise SessionNotFound(key.session_id)
    return rows


def holds(path: list[Stretch], row: Row) -> bool:
    """Whether a message lies on a branch."""
    return any(part.lane == row.lane and part.low <= row.depth <= part.high for part in path)


class Spot(Struct, frozen=True):
    """Where a new message goes: under `parent` (None: at the root), beside those that stand there already, oldest first."""

    parent: Row | None
    beside: Sequence[Row]

    def siblings(self, message_id: str) -> tuple[str, ...]:
        """As the new message has them."""
        return siblings_of((*(row.id for row in self.beside), message_id))

    def row(self, message_id: str, *, at: int) -> NewRow:
        """Of the new message, whole from the start: in its parent's lane if it is the first child."""
        lane, depth, parent = message_id, 0, self.parent
        if parent is not None:
            depth = parent.depth + 1
            if not self.beside:
                lane = parent.lane
        return NewRow(id=message_id, parent_id=parent.id if parent else None, lane=lane, depth=depth, at=at, ended=True)
