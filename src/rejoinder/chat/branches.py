"""Branches: the tree of messages read through the index, without reading the log.

A branch is a path from a first message to a tip. Every message lies in one lane (see `abc.NewRow`), so for a store a branch is
a few ranges of lanes, and a page of it costs the same wherever it lies.
"""

from collections.abc import Collection, Sequence

from msgspec import Struct

from rejoinder.abc import NewRow, Row, Store
from rejoinder.entities import Key
from rejoinder.errors import SessionNotFound
from rejoinder.fold import siblings_of


async def known_rows(store: Store, key: Key, ids: Collection[str]) -> dict[str, Row]:
    """The rows of messages that were there a moment ago. Raises SessionNotFound: only with their session do messages go."""
    rows = await store.rows(key, ids)
    if len(rows) < len(set(ids)):
        raise SessionNotFound(key.session_id)
    return rows


async def between(store: Store, key: Key, tip: Row, low: int, high: int) -> list[Row]:
    """The messages of the branch that ends at `tip` with `low <= depth <= high`, oldest first. Raises SessionNotFound, as
    `known_rows` does."""
    low, high = max(low, 0), min(high, tip.depth)
    if low > high:
        return []
    rows = await store.branch(key, tip.id, low=low, high=high)
    if len(rows) <= high - low:
        raise SessionNotFound(key.session_id)
    return rows


async def holds(store: Store, key: Key, tip: Row, row: Row) -> bool:
    """Whether a message lies on the branch that ends at `tip`. Raises SessionNotFound, as `known_rows` does."""
    if row.lane == tip.lane:  # as in nearly every queue: nothing need be read
        return row.depth <= tip.depth
    return row.id in [found.id for found in await between(store, key, tip, row.depth, row.depth)]


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
