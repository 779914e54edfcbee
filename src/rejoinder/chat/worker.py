"""This worker's lease: taken at start, renewed while it lives, and taken anew where it was lost. And its sweeps."""

import asyncio
import contextlib
import logging
import socket
import uuid

from rejoinder.abc import Lease, Store
from rejoinder.chat.growth import Growth
from rejoinder.chat.recovery import Recovery
from rejoinder.chat.replies import Replies
from rejoinder.chat.writer import Writer
from rejoinder.errors import LeaseLost, StoreUnavailable

log = logging.getLogger(__name__)

RETRY = 1.0
"""Seconds between tries to renew the lease, once one has failed."""


class Worker:
    def __init__(
        self, store: Store, writer: Writer, replies: Replies, recovery: Recovery, growth: Growth, ttl: float
    ) -> None:
        self.name = f"{socket.gethostname()}-{uuid.uuid4().hex[:8]}"
        self._store = store
        self._writer = writer
        self._replies = replies
        self._recovery = recovery
        self._growth = growth
        self._ttl = ttl
        self._lease: Lease | None = None
        self._lost = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._sweeping: asyncio.Task[None] | None = None
        self._away: StoreUnavailable | None = None
        """Why the lease could not be renewed last."""
        self._sweeps_after = 0.0
        """Seconds of the event loop until which other workers are not taken for dead."""

    async def start(self) -> None:
        """Takes a lease and ends what dead workers left. After this the service may answer."""
        self._writer.on_lease_lost = self._lost.set
        await self._take()
        self._sweeping = asyncio.create_task(self._first_sweep(), name="first sweep")
        if not self._store.exclusive:
            # An exclusive store's leases have no time, and nobody else could take over.
            self._tasks.append(asyncio.create_task(self._keep(), name="lease"))
        try:
            await self._sweeping
        except BaseException:
            await self._end_tasks()
            raise
        self._tasks.append(asyncio.create_task(self._growth.run(), name="growth"))

    async def close(self) -> None:
        await self._end_tasks()
        await self._writer.close()
        if self._lease is not None:
            try:
                await self._store.release_lease(self._lease)
            except StoreUnavailable as away:
                log.warning("the lease was not given back: %s", away.detail)

    async def _end_tasks(self) -> None:
        tasks = [*self._tasks, *([self._sweeping] if self._sweeping else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _take(self) -> None:
        self._lease = await self._store.acquire_lease(self.name, self._ttl)
        self._lost.clear()
        self._writer.start(self._lease)

    async def _keep(self) -> None:
        pause = self._ttl / 3
        while True:
            # Not `asyncio.wait_for`: before Python 3.12 it forgets a cancellation that comes as the lease is lost.
            with contextlib.suppress(TimeoutError):  # the time to renew, and nothing was lost
                async with asyncio.timeout(pause):
                    await self._lost.wait()
            now = asyncio.get_running_loop().time()
            pause = self._ttl / 3
            try:
                await self._renew()
            except StoreUnavailable as away:
                self._tell(away)
                await asyncio.sleep(min(self._ttl / 3, RETRY))
                pause = 0.0
                self._spare_others()
            except Exception:
                log.exception("the lease could not be renewed, by a fault of our own")
            else:
                self._tell(None)
                # Beside this: a dead worker may have left more than can be ended before the lease has to be renewed again.
                if now >= self._sweeps_after and (self._sweeping is None or self._sweeping.done()):
                    self._sweeping = asyncio.create_task(self._sweep(), name="sweep")
                self._replies.look()

    def _tell(self, away: StoreUnavailable | None) -> None:
        """Once when the store is away, and once when it is back: in between the log is for what else happens."""
        if away is not None and self._away is None:
            log.warning("the lease could not be renewed, trying on: %s", away.detail)
        elif away is None and self._away is not None:
            log.warning("the lease is renewed again")
        self._away = away

    def _spare_others(self) -> None:
        # What was away for us was away for all, and who comes back first must not take the others for dead.
        self._sweeps_after = asyncio.get_running_loop().time() + self._ttl

    async def _first_sweep(self) -> None:
        # Where others live their leases may have run out while the store was away for all. They are given time to renew them.
        try:
            await self._recovery.sweep(revoke=self._store.exclusive)
        except LeaseLost:
            # Paused for too long it is as any other: it takes another lease, and then looks again.
            log.warning("the lease was lost while the service started")

    async def _sweep(self) -> None:
        try:
            await self._recovery.sweep()
        except StoreUnavailable as away:
            log.warning("the sweep for replies of dead workers was broken off: %s", away.detail)
            self._spare_others()
        except LeaseLost:
            log.warning("the lease was lost while other workers' replies were ended")
        except Exception:
            # A fault of our own in one reply must not cost this worker its lease and with it all others.
            log.exception("the sweep for replies of dead workers failed")

    async def _renew(self) -> None:
        if self._lease is not None and not self._lost.is_set():
            try:
                await self._store.renew_lease(self._lease, self._ttl)
            except LeaseLost:
                self._lost.set()  # and so is everything that was being written under it
            else:
                return
        log.error("this worker's lease was lost: its live replies are left to recovery")
        await self._replies.abandon()
        if self._lease is not None:
            # The store may hold it still: it refused a batch since it had lost one before. Its replies would wait for its time.
            await self._store.release_lease(self._lease)
            self._lease = None
        await self._take()
