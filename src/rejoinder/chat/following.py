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
from rejoinder.chat.tails import NOTHING, PIECE, Frame, Piece, Tail, Tails, Waiter, piece_of
from rejoinder.entities import Header, Key
from rejoinder.errors import SessionGone, SessionNotFound, StoreUnavailable

NEVER = -math.inf
"""The time of what has not happened."""

FOREVER = 3600.0
"""Seconds between two looks at nothing: who waits for an end waits for an event, not for a time."""

Take: TypeAlias = Callable[[Piece], bool]
"""Takes a piece, of one frame at least, and returns True; or returns False, and has taken nothing."""

POLL = (1.0, 2.0, 4.0, 8.0)
"""Seconds after which a reader looks for itself, where wakes can be lost: soon after something came, then more and more
seldom, since thousands may follow sessions in which nothing happens."""

TRUSTED = 1.0
"""Seconds for which a session that was looked at is taken for the same, where its deletion may not be told. Who finds nothing behind
its cursor looks in any case."""


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
            reader = _Reader(tail, after, message_ids, take, doubts=self._polls)
            if self._polls:
                tail = await self._begin(key, reader)
            while True:
                moves, known = tail.moves, tail.last
                before, piece = reader.cursor, reader.at_hand()
                if self._polls:
                    known = await self._looked(key, reader, known, piece, look=look)
                    piece = None if look and known > reader.cursor else piece
                if piece is None:
                    if reader.last_told == NEVER:
                        yield NOTHING
                        reader.last_told = now()
                    piece = await self._read(key, reader, known)
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
                    woken = await tail.wait(min(POLL[looks], pause) if self._polls else pause, reader)
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

    async def _read(self, key: Key, reader: "_Reader", known: int) -> Piece:
        # A store may answer without ever waiting, and a reader that is far behind must not hold up the others.
        await asyncio.sleep(0)
        asked, reader.stored = reader.message_ids, known
        events = await self._store.events(key, after=reader.cursor, message_ids=asked, max_bytes=PIECE)
        if reader.tail.deleted:
            raise _gone(key)  # what was read may be of another session that has its id since
        if not events or (self._polls and time.monotonic() >= reader.looked_at + TRUSTED):
            # Behind the read: what was read is of the session that is there now, or of one that it takes the place of. And who
            # finds nothing may have begun right behind a deletion, of which nobody is told twice.
            await self._last_seq(key, reader)
        if not events:
            # Everything that was known before the read is known to be of no concern.
            return Piece([], max(reader.cursor, known))
        return piece_of([Frame.of(event) for event in events], asked)

    async def _begin(self, key: Key, reader: "_Reader") -> Tail:
        """Learns which session the reader follows, and gives it another tail where it has that of one that had this id before."""
        tail, known = reader.tail, reader.tail.last
        try:
            header = await self._store.header(key)
        except StoreUnavailable:
            return tail  # the first look that is answered will tell
        if header is None:
            raise _gone(key)
        reader.learn(header)
        if not tail.is_of(header, known):
            self._tails.end(key, tail)
        if tail.deleted:
            self._tails.let_go(key, tail)
            reader.tail = self._tails.hold(key)
        return reader.tail

    async def _looked(self, key: Key, reader: "_Reader", known: int, piece: Piece | None, *, look: bool) -> int:
        """The seq of the newest event that is known, after a look where one is due: also before a reader that was ahead of what was
        committed is given what comes then."""
        if look:
            return max(known, await self._last_seq(key, reader))
        if piece is not None and reader.cursor > known:
            reader.doubtful = True
        elif piece is not None and piece.frames and reader.doubtful:
            await self._last_seq(key, reader)
        return known

    async def _last_seq(self, key: Key, reader: "_Reader") -> int:
        """Looks at the session. Raises SessionGone also where another has its id: the wakes that told so were lost."""
        tail, known = reader.tail, reader.tail.last
        header = await self._store.header(key)
        if header is not None and not tail.is_of(header, known):
            self._tails.end(key, tail)
        if header is None or not reader.is_of(header):
            raise _gone(key)
        reader.learn(header)
        return header.session.last_seq


class _Reader(Waiter):
    """Where a reader is. It needs no turn of its own for what can be dealt with as it is committed."""

    __slots__ = (
        "_doubts",
        "_made_at",
        "_take",
        "cursor",
        "doubtful",
        "last_told",
        "looked_at",
        "message_ids",
        "stored",
        "tail",
    )

    def __init__(
        self, tail: Tail, cursor: int, message_ids: frozenset[str] | None, take: Take, *, doubts: bool
    ) -> None:
        self._doubts = doubts
        self.cursor = cursor
        self.stored = 0
        """The seq up to which it reads the store, once it has begun to: of what is compacted there the tail may hold a part still,
        without the beginning."""
        self.last_told = NEVER
        """When it was last given anything."""
        self.doubtful = False
        """Whether something was committed behind which it is already: a wake that came late, or the log of another session."""
        self.looked_at = NEVER
        """When it was last seen that the session is still the same."""
        self.tail = tail
        self.message_ids = message_ids
        self._take = take
        self._made_at: str | None = None

    def at_hand(self) -> Piece | None:
        """What the tail has next for it; None where the store is to be read."""
        return None if self.cursor < self.stored else self.tail.after(self.cursor, self.message_ids)

    def learn(self, header: Header) -> None:
        self._made_at, self.looked_at = header.session.created_at, time.monotonic()
        self.doubtful = False

    def is_of(self, header: Header) -> bool:
        """Whether the reader began with this session, as far as that is known, and not with one that had its id before."""
        return header.session.may_be(self._made_at, self.cursor)

    def pushed(self) -> bool:
        """Deals with what was just pushed. False where that needs the reader's own turn."""
        tail = self.tail
        while not tail.deleted and (piece := tail.after(self.cursor, self.message_ids)) is not None:
            if piece.frames:
                if self.doubtful or not self._take(piece):
                    return False
                self.last_told = tail.moved_at
            self.cursor = piece.upto
            if piece.upto >= tail.last:
                if piece.upto > tail.last:
                    self.doubtful = self._doubts
                return True
        return False


def _gone(key: Key) -> SessionGone:
    return SessionGone(
        f"Session {key.session_id} has been deleted, or it is another than was read: made again, or its store has lost the end of it."
    )
