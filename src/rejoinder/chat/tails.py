"""Tails: the newest frames of each session that is being read or written, shared by all its readers in this process.

An event is encoded as a frame once, when it is committed; a reader keeps nothing but a cursor. A tail holds every event
after its `base` or it says that it does not, and then the reader reads the store. So a lost wake, a gap or a slow reader
costs a read, never an event.
"""

import abc
import asyncio
import logging
import time
from collections import deque
from collections.abc import Sequence

from msgspec import Struct

from rejoinder.abc import Wake
from rejoinder.entities import Header, Key
from rejoinder.events import FACTS, Event, frame

log = logging.getLogger(__name__)

TAIL_BYTES = 256 << 10
"""Bytes of frames of one session that are kept. A reader further behind is served by the store."""

PIECE = 16 << 10
"""Bytes with which one write to a reader is full: what a slow one holds of its own."""


class Frame(Struct, frozen=True, gc=False):
    """An event as it goes to a reader, with what a stream is chosen by."""

    seq: int
    type: str
    message_id: str | None
    data: bytes

    @classmethod
    def of(cls, event: Event) -> "Frame":
        return cls(event.seq, event.type, event.message_id, frame(event))


class Piece(Struct, frozen=True):
    """The next frames for a reader, none where all of the next events are no concern of it, and the seq up to which they tell.

    `body` is what they are written as, and `ended` the message with whose end it closes: both found once for all readers who
    keep up.
    """

    frames: list[Frame]
    upto: int
    body: bytes = b""
    ended: str | None = None

    @classmethod
    def of(cls, frames: list[Frame], upto: int) -> "Piece":
        if not frames:
            return cls(frames, upto)
        last = frames[-1]
        body = last.data if len(frames) == 1 else b"".join([frame.data for frame in frames])
        return cls(frames, upto, body, last.message_id if last.type == "message.ended" else None)


NOTHING = Piece([], 0)
"""What a reader is given when it is time to show that the line is alive."""


class Tail:
    """There is one for each session that somebody follows, so it is small while nothing happens."""

    __slots__ = (
        "_base",
        "_before",
        "_frames",
        "_news",
        "_pieces",
        "_size",
        "_waiting",
        "deleted",
        "holders",
        "last",
        "made_at",
        "moved_at",
        "moves",
    )

    def __init__(self) -> None:
        self.holders = 0
        self.deleted = False
        self.moves = 0
        """Rises whenever something was committed, so that a reader sees whether it happened while it read the store."""
        self.moved_at = 0.0
        self.last = 0
        """The seq of the newest event known here, 0 where none is."""
        self.made_at: str | None = None
        """The `created_at` of the session that this is of, where somebody has looked."""
        self._base: int | None = None
        self._frames: deque[Frame] | None = None
        self._size = 0
        self._before, self._news = -1, list[Frame]()
        """What was pushed last, and the cursor of those who had all that came before."""
        self._pieces: dict[frozenset[str] | None, Piece] = {}
        """Of it, by what readers choose: one for all who keep up."""
        self._waiting: list[Waiter] = []

    def after(self, cursor: int, message_ids: frozenset[str] | None) -> Piece | None:
        """What comes next behind a cursor, of these messages or of all; None where the tail does not hold all of it."""
        if self._base is None or cursor < self._base:
            return None
        if cursor >= self.last:
            return Piece([], cursor)
        if cursor == self._before:
            piece = self._pieces.get(message_ids)
            if piece is None:
                piece = self._pieces[message_ids] = piece_of(self._news, message_ids)
            return piece
        found: list[Frame] = []
        for held in reversed(self._frames or ()):
            if held.seq <= cursor:
                break
            found.append(held)
        found.reverse()
        return piece_of(found, message_ids)

    def is_of(self, header: Header, known: int) -> bool:
        """Whether this is of the session with this header, and not of one that was deleted and whose id was given again.

        `known` is what `last` was before the header was read.
        """
        if not header.session.may_be(self.made_at, known):
            return False
        self.made_at = header.session.created_at
        return True

    def push(self, wake: Wake) -> None:
        if wake.events:
            self._extend(wake.events)
        elif not wake.deleted:
            self._forget()
        self.deleted = self.deleted or wake.deleted
        self.moves += 1
        self.moved_at = time.monotonic()
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            try:
                goes_on = waiter.pushed()
            except Exception:
                # A fault in the way to one reader is that reader's own: in its turn it will meet it again.
                log.exception("a reader could not take what was committed")
                goes_on = False
            if goes_on:
                self._waiting.append(waiter)
            else:
                waiter.wake(True)

    async def wait(self, seconds: float, waiter: "Waiter") -> bool:
        """Until something is pushed that the waiter does not deal with on the spot: True. After so many seconds: False."""
        loop = asyncio.get_running_loop()
        woken: asyncio.Future[bool] = loop.create_future()
        waiter.woken = woken
        self._waiting.append(waiter)
        timer = loop.call_later(seconds, waiter.wake, False)
        try:
            return await woken
        finally:
            timer.cancel()
            if waiter in self._waiting:
                self._waiting.remove(waiter)

    def _extend(self, events: tuple[Event, ...]) -> None:
        if events[0].seq <= self.last or events[-1].seq - events[0].seq >= len(events):
            # Late or doubled (another worker's wake, which this one's own commit has overtaken), or no single stretch.
            self._forget()
            self.last = max(self.last, events[-1].seq)
            return
        if self._base is None or events[0].seq != self.last + 1:
            # Another worker wrote in between, or this is the first that is known here.
            self._forget()
            self._base = events[0].seq - 1
        news = [Frame.of(event) for event in events]
        self._before, self._news = self.last, news
        self._pieces.clear()
        frames = self._frames = deque() if self._frames is None else self._frames
        for held in news:
            frames.append(held)
            self._size += len(held.data)
        self.last = events[-1].seq
        while self._size > TAIL_BYTES and len(frames) > 1:
            dropped = frames.popleft()
            self._size -= len(dropped.data)
            self._base = dropped.seq

    def _forget(self) -> None:
        self._frames, self._size, self._base = None, 0, None
        self._before, self._news = -1, []
        self._pieces.clear()


def piece_of(frames: list[Frame], message_ids: frozenset[str] | None) -> Piece:
    """Of the first of these frames (one at least) as many as fill a piece, without what is the log's own, and of other messages."""
    chosen: list[Frame] = []
    size = 0
    for held in frames:
        size += len(held.data)
        if held.type in FACTS and (message_ids is None or held.message_id in message_ids):
            chosen.append(held)
        if size >= PIECE:
            break
    return Piece.of(chosen, held.seq)


class Tails:
    """The tails of the sessions that are being read or written, made by the first who holds one and dropped with the last."""

    def __init__(self) -> None:
        self._tails: dict[Key, Tail] = {}

    def push(self, wakes: Sequence[Wake]) -> None:
        for wake in wakes:
            tail = self._tails.get(wake.key)
            if tail is not None:
                tail.push(wake)
                if wake.deleted:
                    # A session that is made again under this id is another one: its readers get a tail of their own.
                    del self._tails[wake.key]

    def end(self, key: Key, tail: Tail) -> None:
        """The session of this tail is no more, and nobody told so."""
        if self._tails.get(key) is tail:
            self.push([Wake(key, deleted=True)])

    def hold(self, key: Key) -> Tail:
        """The tail of a session, which is kept until it is let go as often as it was held."""
        tail = self._tails.get(key)
        if tail is None:
            tail = self._tails[key] = Tail()
        tail.holders += 1
        return tail

    def let_go(self, key: Key, tail: Tail) -> None:
        tail.holders -= 1
        if not tail.holders and self._tails.get(key) is tail:
            del self._tails[key]


class Waiter(abc.ABC):
    """A reader that has all there is. It is a base, and no object beside the reader, since what each of a thousand readers has to be
    looked up for a frame is in no cache."""

    __slots__ = ("woken",)
    woken: asyncio.Future[bool]

    @abc.abstractmethod
    def pushed(self) -> bool:
        """Deals with what was just pushed. False where that needs the reader's own turn: then it is woken."""

    def wake(self, pushed: bool) -> None:
        if not self.woken.done():
            self.woken.set_result(pushed)
