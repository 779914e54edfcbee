"""SIGTERM and SIGINT: live replies get their time, then the streams are broken off, and only then the server stops.

Uvicorn waits for open streams for ever, so they must end before it is told. This works wherever the app runs in the main
thread of a uvicorn process, whether or not we started it. A second signal ends what is live at once, and a third is uvicorn's.
"""

import asyncio
import logging
import signal
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from types import FrameType
from typing import Any

log = logging.getLogger(__name__)

SIGNALS = (signal.SIGTERM, signal.SIGINT)


@asynccontextmanager
async def drained_on_signal(
    drain: Callable[[], Coroutine[Any, Any, None]], hurry: Callable[[], Coroutine[Any, Any, None]]
) -> AsyncIterator[None]:
    """While inside, a signal first drains and then goes to whoever handled it before.

    A second one meanwhile makes the drain `hurry`: whoever waits is told, as at its end. Any further goes to that handler at once.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may handle signals
        return
    loop = asyncio.get_running_loop()
    before: dict[int, Any] = {number: signal.getsignal(number) for number in SIGNALS}
    stopping: list[asyncio.Task[None]] = []
    received = 0

    async def drain_and_pass_on(number: int) -> None:
        try:
            await drain()
            await asyncio.gather(*stopping[1:])  # what hurries may have text to commit
        finally:
            before[number](number, None)

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal received
        received += 1
        if received == 1:
            log.info("stopping: live replies may come to their end")
            loop.call_soon_threadsafe(lambda: stopping.append(loop.create_task(drain_and_pass_on(number))))
        elif received == 2:
            log.info("stopping now")
            loop.call_soon_threadsafe(lambda: stopping.append(loop.create_task(hurry())))
        else:
            before[number](number, frame)

    ours = [number for number in SIGNALS if callable(before[number])]
    for number in ours:
        signal.signal(number, handle)
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, before[number])
