"""Room for what waits to be committed, in bytes: while a store is away, clients that ask again and again must not fill the memory.

Only what clients ask for is counted and refused. What replies write that are live is bounded by what is live, and never refused.
"""

from rejoinder.abc import ABSENT, Append
from rejoinder.errors import Overloaded

USUAL = 64 << 20
"""Bytes that may wait before a further append of usual size is refused: thousands of messages, or some with pictures."""

GREAT = 256 << 20
"""The same for great ones, imports and forks, which take long and hold up no others: two or three, or one of any size."""

IS_GREAT = 16 << 20
"""Bytes from which an append is great: more than a request body may have, and so no message."""

EACH = 8 << 10
"""Bytes for which an append counts at least, with the request that waits for it."""


class Room:
    def __init__(self, usual: float = USUAL, great: float = GREAT) -> None:
        self._most = {False: usual, True: great}
        self._held = {False: 0, True: 0}

    def take(self, append: Append) -> "Place":
        """Raises Overloaded where too much waits already."""
        if not _is_asked_for(append):
            return Place(self, 0)
        size = EACH + append.size
        great = size >= IS_GREAT
        if self._held[great] >= self._most[great]:
            raise Overloaded("Too much waits to be stored just now.")
        self._held[great] += size
        return Place(self, size)

    def _give_back(self, size: int) -> None:
        self._held[size >= IS_GREAT] -= size


class Place:
    """What one append takes, until it is left."""

    __slots__ = ("_room", "_size")

    def __init__(self, room: Room, size: int) -> None:
        self._room = room
        self._size = size

    def leave(self) -> None:
        size, self._size = self._size, 0
        if size:
            self._room._give_back(size)  # noqa: SLF001  # a part of it


def _is_asked_for(append: Append) -> bool:
    """Whether a client asks for it: a session, a message or a change of a session. Ends, stops, titles and text are not."""
    first = append.drafts[0].type if append.drafts else ""
    return append.expect == ABSENT or bool(append.created) or first == "session.updated"
