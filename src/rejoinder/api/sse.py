"""Streams of Server-Sent Events: frames as they are committed, heartbeats between them, and an honest end.

A reply's stream ends cleanly behind its `message.ended` and nowhere else; whenever the server has to let go before, it
breaks the connection, so that no client takes what it has for the whole.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from typing import Any, TypeVar

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from rejoinder.api import connection
from rejoinder.api.problems import NOBODY_ELSE_S
from rejoinder.chat.following import Take
from rejoinder.chat.tails import Piece
from rejoinder.errors import Overloaded, SessionGone, StoreUnavailable

log = logging.getLogger(__name__)
T = TypeVar("T")

HEADERS: dict[str, str] = {
    "content-type": "text/event-stream; charset=utf-8",
    "cache-control": "no-cache, no-store, no-transform",
    "x-accel-buffering": "no",
    **NOBODY_ELSE_S,
}


def _raw(headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    """As ASGI takes them."""
    return [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]


RAW_HEADERS = _raw(HEADERS)

HEARTBEAT = b":\n"
"""A line alone: with a blank line behind it some parsers would make an empty event of it."""

RETRY = b"retry: 1000\n"
"""Milliseconds after which a browser reconnects. Travels inside the first frame, for the same reason."""

NOT_NOW = b"retry: 5000\n:\n"


class Streams:
    """The open streams of this process: how many there may be, and how they are let go."""

    def __init__(self, limit: int, write_timeout: float) -> None:
        self.write_timeout = write_timeout
        self.outbox = connection.Outbox()
        self.letting_go = False
        self._limit = limit
        self._open: dict[asyncio.Task[object], bool] = {}
        self._awaited: set[asyncio.Future[Any]] = set()

    def __len__(self) -> int:
        return len(self._open)

    @property
    def full(self) -> bool:
        return len(self._open) >= self._limit or self.letting_go

    def opened(self, task: asyncio.Task[object], *, ends: bool) -> None:
        """The task writes a stream, until it is `closed`; `ends` tells whether it comes to an end by itself."""
        self._open[task] = ends
        if self.letting_go:
            task.cancel()

    def closed(self, task: asyncio.Task[object]) -> None:
        del self._open[task]

    async def let_go(self, grace: float = 1.0) -> None:
        """Breaks off every stream, and those that are still on their way; readers resume elsewhere or later. Those that are at their
        end may write it."""
        if ending := [*(task for task, ends in self._open.items() if ends), *self._awaited]:
            await asyncio.wait(ending, timeout=grace)
        self.letting_go = True
        for task in (*self._open, *self._awaited):
            task.cancel()

    async def or_let_go(self, work: Awaitable[T]) -> T:
        """Waits, without a stream, for what may take as long as a reply does. Raises Overloaded once everybody is let go."""
        awaited = asyncio.ensure_future(work)
        self._awaited.add(awaited)
        if self.letting_go:
            awaited.cancel()
        try:
            return await awaited
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if self.letting_go and task is not None and not task.cancelling():
                raise Overloaded("The server is about to stop; ask again in a moment.") from None
            raise
        finally:
            self._awaited.discard(awaited)
            awaited.cancel()


class EventStream(Response):
    """Writes frames until the reply `until` has ended, or for ever where there is none. There may be thousands that wait.

    `follow` gives pieces as `Following.follow` does: to a function as they are committed, where that can take them, else as
    they are asked for; one without frames when it is time for a heartbeat, as it is at the beginning where nothing is at hand: a first
    byte leaves at once.
    """

    media_type = "text/event-stream"
    streams = True

    def __init__(
        self,
        streams: Streams,
        follow: Callable[[Take], AsyncGenerator[Piece, None]],
        *,
        until: str = "",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.status_code = 200
        self.background = None
        self.body = b""
        # Past init_headers, which would count a length for the empty body: a stream has none.
        self.raw_headers = [*RAW_HEADERS, *_raw(headers or {})]
        self._streams = streams
        self._follow = follow
        self._until = until

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        task = asyncio.current_task()
        assert task is not None
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        departure = connection.Departure(scope, receive, task)
        self._streams.opened(task, ends=bool(self._until))
        try:
            await self._write(scope, send)
        except asyncio.CancelledError:
            if not departure.come and not self._streams.letting_go:
                raise
            task.uncancel()
        except TimeoutError:
            log.info("a reader that took nothing for %g s was cut", self._streams.write_timeout)
            connection.abort(scope)
        except (SessionGone, StoreUnavailable) as why:
            log.info("a stream was broken off: %s", why.detail)
        finally:
            self._streams.closed(task)
            departure.over()

    async def _write(self, scope: Scope, send: Send) -> None:
        wire, until = _Reader(scope, self._streams.outbox, self._until), self._until
        pieces = self._follow(wire.take)
        try:
            async for piece in pieces:
                if wire.closed:
                    return
                if not piece.frames:
                    await self._send(send, wire, HEARTBEAT)
                    continue
                whole, body = piece.ended == until, wire.lead + piece.body
                if whole or not wire.write(body):
                    await self._send(send, wire, body, more=not whole)
                wire.lead = b""
                if whole:
                    return
        finally:
            await pieces.aclose()

    async def _send(self, send: Send, wire: connection.Wire, body: bytes, *, more: bool = True) -> None:
        # In parts, since the end of a reply brings all of its text, and a slow reader is not to hold a copy of it.
        for part in connection.parts(body, more=more):
            if wire.flows:
                await send(part)
            else:
                async with asyncio.timeout(self._streams.write_timeout):
                    await send(part)


class _Reader(connection.Wire):
    """Who reads a stream. What comes first and last is its task's own: that comes with more than itself."""

    __slots__ = ("_until", "lead")

    def __init__(self, scope: Scope, outbox: connection.Outbox, until: str) -> None:
        super().__init__(scope, outbox)
        self._until = until
        self.lead = RETRY
        """What goes before the next frames."""

    def take(self, piece: Piece) -> bool:
        return not self.lead and piece.ended != self._until and self.post(piece.body)


class NotNow(Response):
    """For a reader that cannot be served just now: any other status than 200 makes browsers give up for good."""

    def __init__(self) -> None:
        super().__init__(headers=HEADERS)
        del self.headers["content-length"]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": NOT_NOW, "more_body": True})
