"""The one write path: everything that is appended to any log goes through one queue and one commit at a time.

While one commit runs, what comes next gathers; so an idle service commits at once, and a loaded one commits more at a
time (group commit). A commit costs nearly as much for one token as for a hundred, and so does each reply's part in it. So what can
wait does so until the next beat: more text of replies whose readers have some, and ends. A first word, a message and a stop never wait.
At a beat replies that have rested since they last said something (`rests.py`) are looked at, one after the other, for what has come
meanwhile; all of it is committed as one event per part and reply, and published, in order; only then do those who appended learn of it.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence

from rejoinder.abc import ABSENT, Append, Appended, AppendResult, Lease, Refused, Signals, Store, Wake
from rejoinder.chat.deltas import DeltaBuffer
from rejoinder.chat.latest import Latest
from rejoinder.chat.rests import FIRST, TICK, Look, Rests
from rejoinder.chat.room import Place, Room
from rejoinder.chat.texts import with_texts
from rejoinder.errors import LeaseLost, StoreUnavailable
from rejoinder.events import Event

log = logging.getLogger(__name__)

BATCH, BATCH_BYTES = 1_000, 4 << 20
"""Appends of one commit at most, and bytes of all but the last: bounds how long the first of them waits for the last. A store that needs
longer for a commit than it has is tried again with the same."""

EACH, BUSY = 0.004, FIRST * TICK
"""Seconds from one beat to the next: so many for each append that the last one had, so a service with few replies hardly waits. Where
that makes so many and more, beats come when it is time to look at somebody who rests. Who reads does not see it: some words come
ten to twenty times a second."""

LOAD, SLOWEST = 0.9, 0.25
"""How much of the time beats may take. Where one took longer than its share of the time until the next, that comes later, though
not later than so many seconds, and finds more: so a service with more replies than it can serve at that pace does less for each
of them, and does not fall behind."""

SETTLE = 3
"""Turns of the event loop that replies have at a beat, to read and to end."""

BACKOFF = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0)
"""Seconds between tries of a commit that the store did not take; the last goes on for ever."""


class Writer:
    """Appends under one lease. Runs between `start` and `close`."""

    def __init__(self, store: Store, signals: Signals) -> None:
        self._store = store
        self._signals = signals
        self._lease: Lease | None = None
        self._number = self._acknowledged = 0
        self.latest = Latest()
        self.room = Room()
        self._waiting: list[_Item] = []
        self._written: dict[DeltaBuffer, None] = {}
        self._wanted = asyncio.Event()
        self._pressing = asyncio.Event()
        self._beat = 0.0
        """When the next one is, in seconds of the event loop."""
        self._rests = Rests()
        self._busy = False
        """Whether so many have something to say that each is looked at when it is time for it, and not at each beat."""
        self._task: asyncio.Task[None] | None = None
        self.failing: StoreUnavailable | None = None
        """Why the commit that is being tried has not been taken yet."""
        self.on_lease_lost: Callable[[], None] = lambda: None

    def start(self, lease: Lease) -> None:
        """Takes up a lease: the first, or a new one after the old one was lost.

        That may have been since the store has lost what it had acknowledged, so nothing is remembered of it.
        """
        self._lease, self._number, self._acknowledged = lease, 0, 0
        self.latest = Latest()
        if self._task is None:
            self._loop = asyncio.get_running_loop()
            self._task = asyncio.create_task(self._run(), name="writer")

    async def close(self) -> None:
        """Nothing may be appended any more, and nobody is told any more what became of a commit that is still running."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    @property
    def lease(self) -> Lease:
        if self._lease is None:
            raise LeaseLost("This worker holds no lease just now.")
        return self._lease

    @property
    def epoch(self) -> int | None:
        """Of the lease that this worker holds, None where it holds none."""
        return self._lease.epoch if self._lease is not None else None

    async def append(self, append: Append, epoch: int | None = None, *, pressing: bool = True) -> AppendResult:
        """Commits as `begin` does, and waits for as long as the store needs."""
        return await (await self.begin(append, epoch, pressing=pressing))

    async def begin(
        self, append: Append, epoch: int | None = None, *, pressing: bool = True
    ) -> "asyncio.Future[AppendResult]":
        """Commits an append, and what a search shall find of it, with the next batch. The result is there once that is done.

        `epoch` is that under which it was decided, else the present one. Raises LeaseLost where it is over, as the result
        does: what was decided under one lease is never written under another. And Overloaded where too much that clients asked for
        waits already, and StoreUnavailable where it could not be staged. What is not `pressing` can wait for company.
        """
        place = self.room.take(append)
        try:
            told = await with_texts(append)
            lease = self.lease
            if append.expect == ABSENT:
                told = await self._store.stage(lease, told)
        except BaseException:
            place.leave()
            raise
        item = _Placed(told, lease.epoch if epoch is None else epoch, place)
        self._waiting.append(item)
        self._want(pressing)
        return item.result()

    def write(self, buffer: DeltaBuffer) -> None:
        """Commits what the buffer holds with the next batch."""
        self._written[buffer] = None
        self._want(buffer.pressing)

    def rest(self, look: Look, said: int = 0) -> asyncio.Future[None]:
        """Calls `look` at beats, at each or when it is time for it, until it says that the rest is over: what is written then, or by
        who rested, is committed right away. `said` is how many pieces there were before. What `look` raises is raised by the future."""
        self._wanted.set()
        return self._rests.add(look, said, self._loop)

    def _want(self, pressing: bool) -> None:
        self._wanted.set()
        if pressing:
            self._pressing.set()

    async def _run(self) -> None:
        while True:
            await self._wanted.wait()
            await self._pressing_or_beat()
            try:
                await self._turn()
            except Exception:
                # A fault of our own. Whatever it was about, all others are still to be written.
                log.exception("the writer met a fault of our own")
                await asyncio.sleep(BACKOFF[0])
            if not (self._waiting or self._written or self._rests):
                self._wanted.clear()

    async def _turn(self) -> None:
        if (began := self._loop.time()) >= self._beat:
            if self._rests.look(began, busy=self._busy):
                for _ in range(SETTLE):
                    await asyncio.sleep(0)
            self._beat = self._next_beat(began, await self._commit_all())
        else:
            await self._commit_all()

    def _next_beat(self, began: float, size: int) -> float:
        """After one that had so many appends."""
        pause = EACH * max(size, self._rests.speaking)
        self._busy = pause >= BUSY
        beat = self._rests.next if self._busy else began + pause
        load = (self._loop.time() - began) / LOAD if size > 1 else 0
        return max(beat, began + min(SLOWEST, load))

    async def _pressing_or_beat(self) -> None:
        if self._pressing.is_set() or self._loop.time() >= self._beat:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(self._beat):
                await self._pressing.wait()

    async def _commit_all(self) -> int:
        """Commits what there is, and tells of how many appends it was."""
        self._pressing.clear()
        if items := self._gather():
            await self._commit(items)
        return len(items)

    def _gather(self) -> list["_Item"]:
        items, self._waiting = self._portion()
        if self._waiting:
            self._pressing.set()  # and the next is committed right behind this one
        buffers, self._written = self._written, {}
        for buffer in buffers:
            try:
                append = buffer.take()
            except Exception:  # which the buffer remembers: its reply ends of it
                log.exception("what a reply said could not be written")
                continue
            if append is not None:
                items.append(_Item(append, buffer.epoch, buffer))
        return items

    def _portion(self) -> tuple[list["_Item"], list["_Item"]]:
        """As many of those that wait as one commit takes, and the others."""
        taken = size = 0
        while taken < len(self._waiting) and taken < BATCH and size < BATCH_BYTES:
            size += self._waiting[taken].append.size
            taken += 1
        return self._waiting[:taken], self._waiting[taken:]

    async def _commit(self, gathered: Sequence["_Item"]) -> None:
        lease, epoch = self._lease, self.epoch
        items = [item for item in gathered if item.epoch == epoch]
        if len(items) < len(gathered):
            late = [item for item in gathered if item.epoch != epoch]
            _fail(late, LeaseLost("The lease was lost meanwhile."))
        if lease is None or not items:
            return
        appends = [item.append for item in items]
        try:
            self._number += 1
            results = await self._persist(lease, self._number, appends)
        except LeaseLost as lost:
            _fail(items, lost)
            if self._lease is lease:  # else another has been taken up meanwhile
                self._lease = None
                self.on_lease_lost()
            return
        except Exception as fault:
            # A fault in one append (of our own making) must not sink the others: each is tried alone.
            log.exception("a commit failed for a reason that the store does not know")
            if len(items) == 1:
                items[0].fail(fault)
                return
            for item in items:
                await self._commit([item])
            return
        self.latest.learn(appends, results)
        try:
            self._signals.publish(_wakes(appends, results))
        except Exception:
            # It stands all the same, and who waits for it is told below. Readers that missed it find it at their next look.
            log.exception("a commit could not be told to all who read")
        for item, result in zip(items, results, strict=True):
            item.done(result)

    async def _persist(self, lease: Lease, number: int, appends: Sequence[Append]) -> list[AppendResult]:
        """One batch under one number, tried until the store says what became of it."""
        tries = 0
        while True:
            try:
                results = await self._store.append(lease, number, appends, acknowledged=self._acknowledged)
            except StoreUnavailable as away:
                if self.failing is None:
                    log.warning("the store does not take a commit, trying on: %s", away.detail)
                self.failing = away
                await asyncio.sleep(BACKOFF[min(tries, len(BACKOFF) - 1)])
                tries += 1
            else:
                if self.failing is not None:
                    log.warning("the store takes commits again")
                self.failing = None
                if self._lease is lease:
                    self._acknowledged = number
                return results


def _wakes(appends: Sequence[Append], results: Sequence[AppendResult]) -> list[Wake]:
    wakes = []
    for append, result in zip(appends, results, strict=True):
        if isinstance(result, Appended):
            events = [
                Event(seq, draft.type, draft.message_id, draft.data)
                for seq, draft in enumerate(append.drafts, result.first)
            ]
            wakes.append(Wake(append.key, tuple(events)))
    return wakes


class _Item:
    """An append on its way, and who waits for it: a caller, or the buffer that it came from."""

    __slots__ = ("_buffer", "_future", "append", "epoch")

    def __init__(self, append: Append, epoch: int, buffer: DeltaBuffer | None = None) -> None:
        self.append = append
        self.epoch = epoch
        self._buffer = buffer
        self._future: asyncio.Future[AppendResult] | None = None

    def result(self) -> "asyncio.Future[AppendResult]":
        self._future = asyncio.get_running_loop().create_future()
        return self._future

    def done(self, result: AppendResult) -> None:
        if self._buffer is not None:
            self._buffer.committed(refused=isinstance(result, Refused))
        elif self._future is not None and not self._future.done():
            self._future.set_result(result)

    def fail(self, fault: Exception) -> None:
        if self._buffer is not None:
            self._buffer.lost(fault)
        elif self._future is not None and not self._future.done():
            self._future.set_exception(fault)


class _Placed(_Item):
    """An append that leaves its place once it is known what became of it."""

    __slots__ = ("_place",)

    def __init__(self, append: Append, epoch: int, place: Place) -> None:
        super().__init__(append, epoch)
        self._place = place

    def done(self, result: AppendResult) -> None:
        self._place.leave()
        super().done(result)

    def fail(self, fault: Exception) -> None:
        self._place.leave()
        super().fail(fault)


def _fail(items: Sequence[_Item], fault: Exception) -> None:
    for item in items:
        item.fail(fault)
