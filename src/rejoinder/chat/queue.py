"""The queue of a session: which reply waits for which, read off the header and the index.

A reply waits for every reply that was accepted before it, has not ended, and stands above it or answers the same message.
So each branch has a queue of its own, in the order in which its sends were accepted, and other branches run beside it.
"""

from collections.abc import Collection, Sequence

from rejoinder.abc import Row, Store
from rejoinder.chat import branches
from rejoinder.entities import Key, OpenReply, Status


async def blockers(
    store: Store, key: Key, open_replies: Sequence[OpenReply], above: Row | None, answers: str | None = None
) -> list[OpenReply]:
    """The open replies that a new one must wait for: at or above `above`, or to the message `answers`."""
    if above is None or not open_replies:
        return []
    rows = await branches.known_rows(store, key, [reply.id for reply in open_replies])
    return [
        reply
        for reply in open_replies
        if (answers is not None and rows[reply.id].parent_id == answers)
        or await branches.holds(store, key, above, rows[reply.id])
    ]


async def waiting_for(
    store: Store, key: Key, open_replies: Sequence[OpenReply], blocking: Collection[OpenReply]
) -> list[OpenReply]:
    """The queued replies that wait for any of these, or for one that does."""
    behind = {reply.id for reply in blocking}
    waits = await _waits(store, key, open_replies)
    for reply in open_replies:
        if behind & waits.get(reply.id, set()):
            behind.add(reply.id)
    return [reply for reply in open_replies if reply.id in behind and reply.id in waits and reply not in blocking]


async def due(store: Store, key: Key, open_replies: Sequence[OpenReply]) -> list[OpenReply]:
    """The queued replies that wait for nothing any more, in the order in which they were accepted."""
    waits = await _waits(store, key, open_replies)
    return [reply for reply in open_replies if reply.id in waits and not waits[reply.id]]


async def _waits(store: Store, key: Key, open_replies: Sequence[OpenReply]) -> dict[str, set[str]]:
    """For each queued reply the ids of those that it waits for."""
    if all(reply.status is not Status.QUEUED for reply in open_replies):
        return {}
    rows = await branches.known_rows(store, key, [reply.id for reply in open_replies])
    waits: dict[str, set[str]] = {}
    for place, reply in enumerate(open_replies):
        if reply.status is Status.QUEUED:
            row = rows[reply.id]
            earlier = [rows[other.id] for other in open_replies[:place]]
            waits[reply.id] = {
                other.id
                for other in earlier
                if other.parent_id == row.parent_id or await branches.holds(store, key, row, other)
            }
    return waits
