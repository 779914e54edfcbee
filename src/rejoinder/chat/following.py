"""The one read path: read after the cursor, then wait for a wake that promises nothing, and read again.

It is the same for a new, a resumed and a late reader, for a second tab and for a session that another worker writes.
"""

import asyncio
import math
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import TypeAlias

from rejoinder.abc import Signals, Store
from rejoinder.chat.tails import NOTHING, PIECE, Frame, Piece, Tail, Tails, piece_of
from rejoinder.entities import Key
from rejoinder.errors import SessionGone, SessionNotFound

NEVER = -math.inf
"""The time of what has not happened."""

FOREVER = 3600.0
"""Seconds between two looks at nothing: who waits for an end waits for an event, not for a time."""

Take: TypeAlias = Callable[[Piece], bool]
"""Takes a piece, of one frame at least, and returns True; or returns False, and has taken nothing."""

POLL = (1.0, 2.0, 4.0, 8.0)
"""Seconds after which a reader looks for itself, where wakes can be lost: soon after something came, then more and more
seldom, since thousands may follow sessions in which nothing happens."""


class Following:
    def __init__(self, store: Store, signals: Signals, tails: Tails) -> None:
        self._store = store
        self._tails = tails
        self._polls = not signals.reliable

    async def follow(
        self,
        key: Key,
        after: int,
        message_ids: frozenset[str] | None,
        idle: float,
        take: Take = lambda _: False,
    ) -> AsyncGenerator[Piece, None]:
        """What comes behind the cursor `after`, of these messages alone where any are given, for ever.

        Frames come in order, none twice and none left out: while the caller waits for the next, to `take`, which is called as
        they are committed and says whether it took them; and what it does not take is yielded. NOTHING is yielded
        whenever `idle` seconds went by without a frame, and at the beginning unless there are frames at hand.
        Raises SessionGone when the session has been deleted, and StoreUnavailable.
        """
        now = time.monotonic
        looks, look = 0, False
        tail = self._tails.hold(key)
        try:
            reader = _Reader(tail, after, message_ids, take)
            while True:
                moves, known = tail.moves, tail.last
                before, piece = reader.cursor, tail.after(reader.cursor, message_ids)
                if look:
                    known = max(known, await self._last_seq(key))
                    piece = None if known > reader.cursor else piece
                if piece is None:
                    if reader.last_told == NEVER:
                        yield NOTHING
                        reader.last_told = now()
                    piece = await self._read(key, reader.cursor, message_ids, known)
                reader.cursor, look = piece.upto, False
                if piece.frames:
                    yield piece
                    reader.last_told = now()
                elif now() >= reader.last_told + idle:
                    # Also while others write all the time: what they write is nothing to this reader.
                    yield NOTHING
                    reader.last_told = now()
                elif before == reader.cursor and moves == tail.moves:
                    if tail.deleted:
                        raise _gone(key)
                    pause = max(0.0, reader.last_told + idle - now())
                    woken = await tail.wait(min(POLL[looks], pause) if self._polls else pause, reader.pushed)
                    # What was taken while it waited has shown that wakes come.
                    look = self._polls and not woken and moves == tail.moves
                    looks = min(looks + 1, len(POLL) - 1) if look else 0
        finally:
            self._tails.let_go(key, tail)

    async def ended(self, key: Key, message_id: str, after: int) -> None:
        """Returns when a reply whose end lies behind `after` has ended. Raises SessionNotFound and StoreUnavailable."""
        try:
            async with aclosing(self.follow(key, after, frozenset((message_id,)), FOREVER)) as pieces:
                async for piece in pieces:
                    if piece.ended == message_id:
                        return
        except SessionGone as gone:
            raise SessionNotFound(key.session_id) from gone

    async def _read(self, key: Key, cursor: int, message_ids: frozenset[str] | None, known: int) -> Piece:
        # A store may answer without ever waiting, and a reader that is far behind must not hold up the others.
        await asyncio.sleep(0)
        events = await self._store.events(key, after=cursor, message_ids=message_ids, max_bytes=PIECE)
        if not events:
            # Everything that was known before the read is known to be of no concern.
            return Piece([], max(cursor, known))
        return piece_of([Frame.of(event) for event in events], message_ids)

    async def _last_seq(self, key: Key) -> int:
        header = await self._store.header(key)
        if header is None:
            raise _gone(key)
        return header.session.last_seq


class _Reader:
    """Where a reader is. It needs no turn of its own for what can be dealt with as it is committed."""

    __slots__ = ("_message_ids", "_tail", "_take", "cursor", "last_told")

    def __init__(self, tail: Tail, cursor: int, message_ids: frozenset[str] | None, take: Take) -> None:
        self.cursor = cursor
        self.last_told = NEVER
        """When it was last given anything."""
        self._tail = tail
        self._message_ids = message_ids
        self._take = take

    def pushed(self) -> bool:
        """Deals with what was just pushed. False where that needs the reader's own turn."""
        tail = self._tail
        while not tail.deleted and (piece := tail.after(self.cursor, self._message_ids)) is not None:
            if piece.frames:
                if not self._take(piece):
                    return False
                self.last_told = tail.moved_at
            self.cursor = piece.upto
            if piece.upto >= tail.last:
                return True
        return False


def _gone(key: Key) -> SessionGone:
    return SessionGone(f"Session {key.session_id} has been deleted.")
