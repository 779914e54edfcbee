"""What a server's connection can do that ASGI has no word for, or a dear one: take bytes at once, tell that the client has gone,
and be broken off with all that waits.

All of it is there under uvicorn with httptools, where the request's cycle is at hand behind the ASGI `send`. Elsewhere streams
are written by ASGI alone, and closed in the server's own way: the same bytes at a higher price.
"""

import asyncio
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

from starlette.types import Message, Receive, Scope, Send

log = logging.getLogger(__name__)

CYCLE = "rejoinder.cycle"
"""Where the scope of a request carries it."""

BUFFERED = 16 << 10
"""Bytes that wait for a reader before it is waited for, and …"""
AT_ONCE = 32 << 10
"""… those that are written at a time: more than both together no reader has waiting for it."""


def parts(body: bytes, *, more: bool = False) -> Iterator[Message]:
    """The messages that write a body, no more at once than a slow reader may hold. With `more` another body comes behind it."""
    for start in range(0, len(body) or 1, AT_ONCE):
        behind = start + AT_ONCE
        yield {"type": "http.response.body", "body": body[start:behind], "more_body": more or behind < len(body)}


@contextmanager
def at_hand(scope: Scope, send: Send) -> Iterator[None]:
    """While a request is served. To be entered with the server's own `send`, before anything is wrapped around it.

    The cycle holds the scope as well. Left in each other they would be garbage that only the collector finds, with all that
    a request had, and it stops the service for as long as it looks.
    """
    scope[CYCLE] = getattr(send, "__self__", None)
    try:
        yield
    finally:
        del scope[CYCLE]


def abort(scope: Scope) -> None:
    """What was sent may be lost. The response must be left incomplete.

    A server closes a connection whose response stays incomplete, but only once its buffers are written: to a reader that
    takes nothing, never.
    """
    # Asked by name, since uvloop's transports are none of asyncio's classes.
    broken_off = getattr(getattr(scope.get(CYCLE), "transport", None), "abort", None)
    if broken_off is not None:
        broken_off()


class Departure:
    """Cancels the task that writes a response when its client has gone, until it is `over`. `come` tells that it has."""

    __slots__ = ("_cycle", "_leaving", "_task", "come")

    def __init__(self, scope: Scope, receive: Receive, task: "asyncio.Task[Any]") -> None:
        self.come = False
        self._task: asyncio.Task[Any] | None = task
        self._leaving: asyncio.Task[None] | None = None
        self._cycle = _cycle_of(scope)
        if self._cycle is not None:
            self._cycle.message_event = _Bell(self._look)
            self._look()
        else:
            # ASGI tells it to who waits: a task of its own, and some coroutines.
            self._leaving = asyncio.create_task(left(receive))
            self._leaving.add_done_callback(lambda _: self._leave())

    def over(self) -> None:
        self._cycle = self._task = None
        if self._leaving is not None:
            self._leaving.cancel()

    def _look(self) -> None:
        if self._cycle is not None and self._cycle.disconnected:
            self._leave()

    def _leave(self) -> None:
        if self._task is not None and not self.come:
            self.come = True
            self._task.cancel()


class _Bell(asyncio.Event):
    """An event that is heard at once, without anybody who waits for it."""

    def __init__(self, heard: Callable[[], None]) -> None:
        super().__init__()
        self._heard = heard

    def set(self) -> None:
        super().set()
        self._heard()


async def left(receive: Receive) -> None:
    """Returns when the client has gone."""
    while (await receive())["type"] != "http.disconnect":
        pass


class Outbox:
    """What was posted while a commit was told, until all readers have been told of it.

    Then it is written in one go. Whoever takes it in (a proxy on the same machine, most of all) is woken by the first piece, and
    still there for the others; between two pieces each would wake it, and it the other processor.
    """

    __slots__ = ("_posted",)

    def __init__(self) -> None:
        self._posted: list[tuple[Any, bytes]] = []

    def post(self, transport: Any, body: bytes) -> None:
        self._posted.append((transport, body))

    def send(self) -> None:
        posted, self._posted = self._posted, []
        for transport, body in posted:
            try:
                transport.write(body)
            except Exception:
                # A fault in the way to one reader is that reader's own. It can resume; what it has is not known.
                log.exception("a reader could not be written to")
                transport.abort()


class Wire:
    """The body of a response that has started, past ASGI: most of what a reader costs is the way there.

    It asks the connection alone, and not the request's cycle, which knows the same: what has to be looked up for each frame of each of a
    thousand readers is in no cache.
    """

    __slots__ = ("_flow", "_outbox", "_transport")

    def __init__(self, scope: Scope, outbox: Outbox) -> None:
        self._outbox = outbox
        self._flow: Any = None
        self._transport: Any = None
        if (cycle := _cycle_of(scope)) is not None:
            self._flow, self._transport = cycle.flow, cycle.transport
            # A reader that takes nothing soon makes us wait, and holds no more than this and one piece of its own.
            self._transport.set_write_buffer_limits(high=BUFFERED)

    @property
    def closed(self) -> bool:
        """Whether it is known that nobody reads any more. The server does not tell it where another request waits behind this one."""
        return bool(self._transport is not None and self._transport.is_closing())

    @property
    def flows(self) -> bool:
        """Whether it is known that nothing that is sent now, by whichever way, waits for the reader."""
        return self._flow is not None and not self._flow.write_paused

    def post(self, body: bytes) -> bool:
        """Leaves the next piece with the outbox, which has to be sent before anything else is done. False where that cannot be: then ASGI's
        way is the one."""
        transport = self._transport
        if (
            transport is None
            or transport.is_closing()
            or transport.get_write_buffer_size() > BUFFERED
            or len(body) > AT_ONCE
        ):
            return False
        self._outbox.post(transport, _chunk(body))
        return True

    def write(self, body: bytes) -> bool:
        """The same, and sends it."""
        if posted := self.post(body):
            self._outbox.send()
        return posted


def _cycle_of(scope: Scope) -> Any:
    """The cycle of a request whose response has started, where it is one that we know, and None elsewhere."""
    cycle: Any = scope.get(CYCLE)
    known = getattr(cycle, "chunked_encoding", None) is True and hasattr(cycle, "flow")
    return cycle if known else None


@lru_cache(1)
def _chunk(body: bytes) -> bytes:
    """As HTTP/1.1 frames it. All readers of a reply who keep up are written the same, one after the other."""
    return b"%x\r\n%b\r\n" % (len(body), body)
