"""Breaking a connection off at once, with all that waits in its buffers. ASGI has no word for it.

A server closes a connection whose response stays incomplete, but only once its buffers are written: to a reader that
takes nothing, never. Under uvicorn the transport is at hand behind the ASGI `send`; elsewhere the server's own way does.
"""

from collections.abc import Callable

from starlette.types import Scope, Send

ABORT = "rejoinder.abort"
"""Where the scope of a request carries it."""


def remember(scope: Scope, send: Send) -> None:
    """To be called with the server's own `send`, before anything is wrapped around it."""
    transport = getattr(getattr(send, "__self__", None), "transport", None)
    # Asked by name, since uvloop's transports are none of asyncio's classes.
    if (broken_off := getattr(transport, "abort", None)) is not None:
        scope[ABORT] = broken_off


def abort(scope: Scope) -> None:
    """What was sent may be lost. The response must be left incomplete."""
    broken_off: Callable[[], None] | None = scope.get(ABORT)
    if broken_off is not None:
        broken_off()
