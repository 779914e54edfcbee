"""Requests whose heads are bounded: in bytes, and in the time until they are whole. Below ASGI, by uvicorn's own protocol.

Uvicorn with httptools takes in a head of any size, each byte of a long header dearer than the one before, and waits for one for ever.
The app sees neither. A request that is well takes some comparisons here, and no timer but the first of its connection.
"""

import asyncio
from functools import cache
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from rejoinder.api.problems import problem

MOST = 64 << 10
"""Bytes of a request's address and headers, and of what may stand behind its body: browsers and proxies send a tenth of it at most."""

SECONDS = 20.0
"""For which a connection may be open without a whole head, or a further head be on its way."""


class _Head:
    """What a connection knows of the head that it waits for."""

    __slots__ = ("awaited", "barren", "patience")

    def __init__(self) -> None:
        self.awaited = True
        self.barren = 0
        """Bytes that came since the last thing that is of use by itself: a whole head, a piece of a body, an end."""
        self.patience: asyncio.TimerHandle | None = None


class BoundedHeads(HttpToolsProtocol):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # One attribute and no more, nor slots: Python lets all connections share the keys of their dictionaries up to 29 of them, of which
        # uvicorn has 28, and since 3.13 not where a class has slots. Else each connection takes 1.3 KB more.
        self._head = _Head()

    @property
    def _answers(self) -> bool:
        """Whether a request is being answered."""
        return self.cycle is not None and not self.cycle.response_complete

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # uvicorn's words
        super().connection_made(transport)
        self._wait_for_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._need_not_wait()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._head.barren += len(data)
        super().data_received(data)
        if self._head.barren > MOST:
            self._refuse()
        elif self._head.awaited:
            self._wait_for_head()
        elif self.timeout_keep_alive_task is None and not self._answers:
            # What came began no other request, and uvicorn has stopped its clock all the same.
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    # what the parser finds

    def on_message_begin(self) -> None:
        self._head.awaited = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        # What came in one piece was not counted: the piece may hold a body as well.
        if len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers) > MOST:
            self._head.barren = MOST + 1
            raise ValueError("too large")  # ends the parsing
        self._head.barren = 0
        self._head.awaited = False
        self._need_not_wait()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._head.barren = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._head.barren = 0
        super().on_message_complete()

    # what comes of it

    def send_400_response(self, msg: str) -> None:
        if self._head.barren > MOST:
            self._refuse()
        else:
            super().send_400_response(msg)

    def _refuse(self) -> None:
        if not self.transport.is_closing():
            if not self._answers:
                self.transport.write(_refusal())
            self.transport.close()

    def _wait_for_head(self) -> None:
        if self._head.patience is None:
            self._head.patience = self.loop.call_later(SECONDS, self._head_is_late)

    def _head_is_late(self) -> None:
        self._head.patience = None
        if self._answers:  # what comes behind waits for its turn
            self._wait_for_head()
        else:
            self.transport.close()

    def _need_not_wait(self) -> None:
        if self._head.patience is not None:
            self._head.patience.cancel()
            self._head.patience = None


@cache
def _refusal() -> bytes:
    said = problem(
        431,
        "headers_too_large",
        f"The address and the headers of a request may have {MOST} bytes.",
        {"connection": "close"},
    )
    headers = b"".join(b"%b: %b\r\n" % header for header in said.raw_headers)
    return b"%b%b\r\n%b" % (STATUS_LINE[431], headers, bytes(said.body))
