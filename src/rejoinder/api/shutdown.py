"""SIGTERM and SIGINT: live replies get their time, then the streams are broken off, and only then the server stops.

Uvicorn waits for open streams for ever, so they must end before it is told. This works wherever the app runs in the main
thread of a uvicorn process, whether or not we started it. A second signal stops at once.
"""

import asyncio
import logging
import signal
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from types import FrameType
from typing import Any

log = logging.getLogger(__name__)

SIGNALS = (signal.SIGTERM, signal.SIGINT)


@asynccontextmanager
async def drained_on_signal(drain: Callable[[], Awaitable[None]]) -> AsyncIterator[None]:
    """While inside, a signal first drains and then goes to whoever handled it before."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may handle signals
        return
    loop = asyncio.get_running_loop()
    before: dict[int, Any] = {number: signal.getsignal(number) for number in SIGNALS}
    draining: list[asyncio.Task[None]] = []

    async def drain_and_pass_on(number: int) -> None:
        try:
            await drain()
        finally:
            before[number](number, None)

    def handle(number: int, frame: FrameType | None) -> None:
        if draining:
            before[number](number, frame)
        else:
            log.info("stopping: live replies may come to their end")
            loop.call_soon_threadsafe(lambda: draining.append(loop.create_task(drain_and_pass_on(number))))

    ours = [number for number in SIGNALS if callable(before[number])]
    for number in ours:
        signal.signal(number, handle)
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, before[number])
