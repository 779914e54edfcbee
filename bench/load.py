"""The readers: connections that ask and only keep what comes, with the time of each read.

Nothing is understood while the clock runs (`recording` does that afterwards), so that reading costs little beside what is
measured. Times are `time.perf_counter()`, in seconds.
"""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import cast

from msgspec import Struct, field

from bench.processes import Failed

OPENING_SECONDS = 60.0
LAST_CHUNK = b"\r\n0\r\n\r\n"
"""The end of a body in chunks. No event has such a line, so it need not be parsed to be seen."""
LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)


class Recording(Struct):
    """An answer as it came: when it was asked for, when each piece was read, and why it broke off, if it did."""

    asked: float = 0.0
    reads: list[tuple[float, bytes]] = field(default_factory=list)
    ended: bool = False
    fault: str = ""


class Stream(asyncio.Protocol):
    """One connection, one request at a time."""

    def __init__(self) -> None:
        self._recording = Recording(ended=True)
        self._done: asyncio.Future[None] | None = None
        self._tail = b""
        self._chunked = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is one in all but its base class

    def connection_lost(self, exc: Exception | None) -> None:
        self._end(f"the connection was closed: {exc or 'without an error'}")

    def close(self) -> None:
        self._transport.abort()

    def stop_reading(self) -> None:
        """From now on it takes nothing."""
        self._transport.pause_reading()

    async def ask(self, request: bytes, *, chunked: bool = True) -> Recording:
        """Sends a request and returns its answer once that has ended or broken off. Cancelling leaves it as it is."""
        recording = self._recording = Recording()
        self._done = asyncio.get_running_loop().create_future()
        self._tail, self._chunked = b"", chunked
        recording.asked = time.perf_counter()
        if self._transport.is_closing():
            self._end("the connection was closed before it was used")
        else:
            self._transport.write(request)
        await self._done
        return recording

    def recorded(self) -> Recording:
        """The last answer, whole or not."""
        return self._recording

    def data_received(self, data: bytes) -> None:
        recording = self._recording
        recording.reads.append((time.perf_counter(), data))
        if not self._chunked:
            self._end_if_whole()
            return
        self._tail = (self._tail + data[-7:])[-7:]
        if self._tail == LAST_CHUNK:
            self._end("")
        elif len(recording.reads) == 1 and not data.startswith(b"HTTP/1.1 200"):
            self._end(f"it was refused: {data[:300]!r}")

    def _end_if_whole(self) -> None:
        data = b"".join(data for _, data in self._recording.reads)
        head, found, body = data.partition(b"\r\n\r\n")
        size = LENGTH.search(head + b"\r\n")
        if found and (size is None or len(body) >= int(size[1])):
            self._end("" if head.startswith(b"HTTP/1.1 20") and size else f"it was refused: {data[:300]!r}")

    def _end(self, fault: str) -> None:
        """The first end counts."""
        if not self._recording.ended:
            self._recording.ended, self._recording.fault = True, fault
            if self._done is not None and not self._done.done():
                self._done.set_result(None)


@asynccontextmanager
async def opened(port: int, openings: Sequence[bytes]) -> AsyncIterator[list[Stream]]:
    """A stream for each opening request, which has been answered. Raises Failed."""
    loop = asyncio.get_running_loop()
    streams: list[Stream] = []
    asked: list[asyncio.Future[Recording]] = []
    try:
        async with asyncio.timeout(OPENING_SECONDS):
            for opening in openings:
                _, stream = await loop.create_connection(Stream, "127.0.0.1", port)
                streams.append(stream)
                asked.append(asyncio.ensure_future(stream.ask(opening, chunked=False)))
            for recording in await asyncio.gather(*asked):
                if recording.fault:
                    raise Failed(f"an opening request failed: {recording.fault}")
        yield streams
    except OSError as error:  # a time-out is one too
        raise Failed(f"the streams could not be opened: {error!r}") from error
    finally:
        for stream in streams:
            stream.close()


async def converse(
    streams: Sequence[Stream], requests: Sequence[bytes], starts: Sequence[float], limit: float
) -> list[Recording]:
    """Each stream asks at its start (seconds from now). Whatever has not ended after `limit` seconds is left as it is."""

    async def one(stream: Stream, request: bytes, start: float) -> None:
        await asyncio.sleep(start)
        await stream.ask(request)

    parts = zip(streams, requests, starts, strict=True)
    tasks = [asyncio.create_task(one(*each)) for each in parts]
    _, late = await asyncio.wait(tasks, timeout=limit)
    for task in late:
        task.cancel()
    await asyncio.gather(*late, return_exceptions=True)
    for task in tasks:
        if task not in late:
            task.result()
    return [stream.recorded() for stream in streams]
