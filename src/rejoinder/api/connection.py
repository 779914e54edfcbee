"""What a server's connection can do that ASGI has no word for: take bytes at once, and be broken off with all that waits.

Both are there under uvicorn with httptools, where the request's cycle is at hand behind the ASGI `send`. Elsewhere streams
are written by ASGI alone, and closed in the server's own way: the same bytes at a higher price.
"""

from typing import Any

from starlette.types import Scope, Send

CYCLE = "rejoinder.cycle"
"""Where the scope of a request carries it."""

BUFFERED = 16 << 10
"""Bytes that wait for a reader before it is waited for."""


def remember(scope: Scope, send: Send) -> None:
    """To be called with the server's own `send`, before anything is wrapped around it."""
    scope[CYCLE] = getattr(send, "__self__", None)


def abort(scope: Scope) -> None:
    """What was sent may be lost. The response must be left incomplete.

    A server closes a connection whose response stays incomplete, but only once its buffers are written: to a reader that
    takes nothing, never.
    """
    # Asked by name, since uvloop's transports are none of asyncio's classes.
    broken_off = getattr(getattr(scope.get(CYCLE), "transport", None), "abort", None)
    if broken_off is not None:
        broken_off()


class Wire:
    """The body of a response that has started, past ASGI: most of what a reader costs is the way there."""

    def __init__(self, scope: Scope) -> None:
        cycle: Any = scope.get(CYCLE)
        direct = getattr(cycle, "chunked_encoding", None) is True and hasattr(cycle, "flow")
        self._cycle = cycle if direct else None
        if direct:
            # A reader that takes nothing soon makes us wait, and holds no more than this and one piece of its own.
            cycle.transport.set_write_buffer_limits(high=BUFFERED)

    def write(self, body: bytes) -> bool:
        """Sends the next piece at once. False where that cannot be: then nothing was sent, and ASGI's way is the one."""
        cycle = self._cycle
        if cycle is None or cycle.flow.write_paused or cycle.disconnected or cycle.response_complete:
            return False
        cycle.transport.write(b"%x\r\n%b\r\n" % (len(body), body))
        return True
