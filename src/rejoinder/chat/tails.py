"""Tails: the newest frames of each session that is being read or written, shared by all its readers in this process.

An event is encoded as a frame once, when it is committed; a reader keeps nothing but a cursor. A tail holds every event
after its `base` or it says that it does not, and then the reader reads the store. So a lost wake, a gap or a slow reader
costs a read, never an event.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from msgspec import Struct

from rejoinder.abc import Wake
from rejoinder.entities import Key
from rejoinder.events import Event, frame

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


class Tail:
    def __init__(self) -> None:
        self.holders = 0
        self.deleted = False
        self.moves = 0
        """Rises whenever something was committed, so that a reader sees whether it happened while it read the store."""
        self.last = 0
        """The seq of the newest event known here, 0 where none is."""
        self._base: int | None = None
        self._frames: deque[Frame] = deque()
        self._size = 0
        self._before, self._news = 0, list[Frame]()
        """What was pushed last, and the cursor of those who had all that came before."""
        self._waiting: list[_Waiter] = []

    def after(self, cursor: int) -> list[Frame] | None:
        """The next frames behind a cursor, no more than a piece, or None where the tail does not hold all of them."""
        if self._base is None or cursor < self._base:
            return None
        if cursor >= self.last:
            return []
        if cursor == self._before:
            return self._news  # one list for all readers that keep up
        found: list[Frame] = []
        for held in reversed(self._frames):
            if held.seq <= cursor:
                break
            found.append(held)
        found.reverse()
        return _piece(found)

    def push(self, wake: Wake) -> None:
        if wake.events:
            self._extend(wake.events)
        elif not wake.deleted:
            self._forget()
        self.deleted = self.deleted or wake.deleted
        self.moves += 1
        waiting, self._waiting = self._waiting, []
        self._waiting += [waiter for waiter in waiting if waiter.goes_on()]

    async def wait(self, seconds: float, on_push: Callable[[], bool]) -> bool:
        """Until something is pushed that `on_push` does not deal with on the spot: True. After so many seconds: False."""
        loop = asyncio.get_running_loop()
        waiter = _Waiter(loop.create_future(), on_push)
        self._waiting.append(waiter)
        timer = loop.call_later(seconds, waiter.wake, False)
        try:
            return await waiter.woken
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
        self._before, self._news = self.last, _piece(news)
        for held in news:
            self._frames.append(held)
            self._size += len(held.data)
        self.last = events[-1].seq
        while self._size > TAIL_BYTES and len(self._frames) > 1:
            dropped = self._frames.popleft()
            self._size -= len(dropped.data)
            self._base = dropped.seq

    def _forget(self) -> None:
        self._frames.clear()
        self._size, self._base = 0, None
        self._before, self._news = -1, []


def _piece(frames: list[Frame]) -> list[Frame]:
    """As many as fill a piece, at least one."""
    size = 0
    for place, held in enumerate(frames, 1):
        size += len(held.data)
        if size >= PIECE:
            return frames[:place]
    return frames


class Tails:
    """The tails of the sessions that are being read or written, made by the first who holds one and dropped with the last."""

    def __init__(self) -> None:
        self._tails: dict[Key, Tail] = {}

    def push(self, wake: Wake) -> None:
        tail = self._tails.get(wake.key)
        if tail is not None:
            tail.push(wake)
            if wake.deleted:
                # A session that is made again under this id is another one: its readers get a tail of their own.
                del self._tails[wake.key]

    @contextmanager
    def reading(self, key: Key) -> Iterator[Tail]:
        tail = self.hold(key)
        try:
            yield tail
        finally:
            self.let_go(key, tail)

    def hold(self, key: Key) -> Tail:
        """The tail of a session, which is kept until it is let go as often as it was held."""
        tail = self._tails.setdefault(key, Tail())
        tail.holders += 1
        return tail

    def let_go(self, key: Key, tail: Tail) -> None:
        tail.holders -= 1
        if not tail.holders and self._tails.get(key) is tail:
            del self._tails[key]


class _Waiter:
    """A reader that has all there is."""

    def __init__(self, woken: asyncio.Future[bool], on_push: Callable[[], bool]) -> None:
        self.woken = woken
        self._on_push = on_push

    def goes_on(self) -> bool:
        """Whether it goes on waiting after a push."""
        if self.woken.done():
            return False
        if self._on_push():
            return True
        self.wake(True)
        return False

    def wake(self, pushed: bool) -> None:
        if not self.woken.done():
            self.woken.set_result(pushed)
