"""The threads of a store whose work blocks: one that writes, and a few that read.

Work that has begun ends, also if its call is cancelled; closing waits for it, also if closing is cancelled meanwhile.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import TypeVar

from rejoinder.errors import StoreUnavailable

READERS = 4
"""Threads that read. Reads are short and mostly from memory: more would wait for Python."""

T = TypeVar("T")


class Threads:
    def __init__(self, name: str) -> None:
        self.writing = ThreadPoolExecutor(1, f"{name}-writer")
        self.reading = ThreadPoolExecutor(READERS, f"{name}-reader")

    async def write(self, work: Callable[[], T]) -> T:
        return await _run(self.writing, work)

    async def read(self, work: Callable[[], T]) -> T:
        return await _run(self.reading, work)

    async def close(self, last_reading: Callable[[], None], last: Callable[[], None]) -> None:
        """Ends reading, then writing, and calls each of these once that has ended."""

        def end() -> None:
            try:
                self.reading.shutdown()
                last_reading()
                self.writing.shutdown()
            finally:
                last()

        ending = asyncio.create_task(asyncio.to_thread(end))
        try:
            await asyncio.shield(ending)
        except asyncio.CancelledError:
            await asyncio.wait({ending})
            raise


async def _run(threads: Executor, work: Callable[[], T]) -> T:
    try:
        running = asyncio.get_running_loop().run_in_executor(threads, work)
    except RuntimeError as closed:
        raise StoreUnavailable("The store is closed.") from closed
    return await running
