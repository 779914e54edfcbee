"""The threads of a store whose work blocks: one that writes, and a few that read.

Work that has begun ends, also if its call is cancelled; closing waits for it, also if closing is cancelled meanwhile.
"""

import asyncio
import contextlib
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from queue import SimpleQueue
from threading import Lock, Thread
from typing import TypeAlias, TypeVar

from rejoinder.errors import StoreUnavailable

READERS = 4
"""Threads that read. Reads are short and mostly from memory: more would wait for Python."""

Told: TypeAlias = Callable[[], None]
"""What a job leaves behind: tells what came of it, once the next one may begin."""

Job: TypeAlias = Callable[[], Told]

S = TypeVar("S")
T = TypeVar("T")


class Threads:
    def __init__(self, name: str) -> None:
        self.writing = WritingThread(f"{name}-writer")
        self._reading = ThreadPoolExecutor(READERS, f"{name}-reader")

    async def write(self, work: Callable[[], T]) -> T:
        return await self.writing.do(work)

    async def read(self, work: Callable[[], T]) -> T:
        try:
            running = asyncio.get_running_loop().run_in_executor(self._reading, work)
        except RuntimeError as closed:
            raise _closed() from closed
        return await running

    async def close(self, last_reading: Callable[[], None], last: Callable[[], None]) -> None:
        """Ends reading, then writing, and calls each of these once that has ended."""

        def end() -> None:
            try:
                self._reading.shutdown()
                last_reading()
                self.writing.end()
            finally:
                last()

        ending = asyncio.create_task(asyncio.to_thread(end))
        try:
            await asyncio.shield(ending)
        except asyncio.CancelledError:
            await asyncio.wait({ending})
            raise


class WritingThread:
    """One thread that does one thing after the other, until `end`. An executor and its futures would cost a commit 30 µs more."""

    def __init__(self, name: str) -> None:
        self._jobs: SimpleQueue[Job | None] = SimpleQueue()
        self._ended = False
        self._undone = 0
        """Jobs that are done now, or wait."""
        self._lock = Lock()  # nothing may come behind the end, nor while something is done from elsewhere
        self._thread = Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def do(self, work: Callable[[], T]) -> "asyncio.Future[T]":
        """Does it when its turn has come, unless the future has been cancelled by then. Raises StoreUnavailable after the end."""
        done, job = _told_here(work)
        with self._lock:
            self._put(lambda: _nothing if done.cancelled() else job())
        return done

    def do_from_here(self, first: Callable[[], S], then: Callable[[S], T]) -> "asyncio.Future[T] | None":
        """Does the one at once, in the caller's thread, and the other in this one, whatever becomes of the future.

        Nothing else is done between them. None, and nothing is done, where they would have to wait for something. Raises what
        the first one raises, which then was all, and StoreUnavailable after the end.
        """
        with self._lock:
            if self._undone:
                return None
            if self._ended:
                raise _closed()
            came_of_it = first()
            done, job = _told_here(lambda: then(came_of_it))
            self._put(job)
        return done

    def wait_for(self, work: Callable[[], T]) -> T:
        """The same for another thread, which waits. Raises what the work raises, and StoreUnavailable after the end."""
        done: Future[T] = Future()
        with self._lock:
            self._put(_job(work, done.set_result, done.set_exception))
        return done.result()

    def end(self) -> None:
        """Returns when all has been done."""
        with self._lock:
            if not self._ended:
                self._ended = True
                self._jobs.put(None)
        self._thread.join()

    def _put(self, job: Job) -> None:
        if self._ended:
            raise _closed()
        self._undone += 1
        self._jobs.put(job)

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            tell = job()
            with self._lock:
                self._undone -= 1
            tell()
            del job, tell  # what they hold is not to be held until the next one comes


def _nothing() -> None:
    """Nobody is told."""


def _job(work: Callable[[], T], succeeded: Callable[[T], None], failed: Callable[[BaseException], None]) -> Job:
    def job() -> Told:
        try:
            return partial(succeeded, work())
        except BaseException as fault:  # noqa: BLE001 - whoever waits for it is told
            return partial(failed, fault)

    return job


def _told_here(work: Callable[[], T]) -> "tuple[asyncio.Future[T], Job]":
    """A job for the thread, and the future that is told what came of it, in the event loop that is running now."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()
    return done, _job(work, partial(_tell, loop, _succeeded, done), partial(_tell, loop, _failed, done))


def _tell(loop: asyncio.AbstractEventLoop, told: Callable[..., None], *args: object) -> None:
    with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
        loop.call_soon_threadsafe(told, *args)


def _succeeded(done: "asyncio.Future[T]", result: T) -> None:
    if not done.done():
        done.set_result(result)


def _failed(done: "asyncio.Future[T]", fault: BaseException) -> None:
    if not done.done():
        done.set_exception(fault)


def _closed() -> StoreUnavailable:
    return StoreUnavailable("The store is closed.")
