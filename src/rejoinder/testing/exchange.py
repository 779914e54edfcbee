"""One request and its answer, as the upstream writes it: when each piece is due, and no faster than it is read."""

import asyncio
import socket
import struct
import time
from collections.abc import Callable, Iterator
from http import HTTPStatus

import msgspec

from rejoinder.testing.records import End, Record
from rejoinder.testing.wire import Piece

AT_ONCE = 32
"""Pieces of an answer without a pace that are written at once, before other answers get their turn."""
RESET_AFTER = 0.02
"""Seconds in which a client can read what came before a reset, which throws away what was not read."""


class Exchange:
    def __init__(self, transport: asyncio.Transport, record: Record) -> None:
        self.record = record
        self._transport = transport
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.Handle | None = None
        self._pieces: Iterator[Piece] = iter(())
        self._next: Piece | None = None
        self._paused = False
        self._began = 0.0

    def begin(self, after: float) -> None:
        """Pieces are due from `after` seconds from now."""
        self._began = self._loop.time() + after

    def at(self, due: float, call: Callable[[], None]) -> None:
        when = self._began + due
        self._timer = self._loop.call_at(when, call) if when > self._loop.time() else self._loop.call_soon(call)

    def send(self, status: int, body: object, headers: dict[str, str] | None = None, end: End = "answered") -> None:
        data = body if isinstance(body, bytes) else msgspec.json.encode(body)
        fields = {"content-type": "application/json", "content-length": str(len(data)), **(headers or {})}
        self._transport.write(_head(status, fields) + data)
        self.end(end)

    def send_whole(self, piece: Piece) -> None:
        self._count(piece)
        if not piece.fault:
            self.send(200, piece.data)
        else:
            fields = {"content-type": "application/json", "content-length": str(len(piece.data))}
            self._transport.write(_head(200, fields) + piece.data[: len(piece.data) // 2])
            self.fail("close" if piece.fault == "eof" else piece.fault)

    def stream(self, pieces: Iterator[Piece]) -> None:
        fields = {"content-type": "text/event-stream; charset=utf-8", "transfer-encoding": "chunked"}
        self._transport.write(_head(200, fields))
        self._pieces = pieces
        self._next = next(pieces, None)
        self._pump()

    def pause(self) -> None:
        self._paused = True

    def resume(self) -> None:
        self._paused = False
        self._pump()

    def fail(self, fault: str) -> None:
        """Lets the answer end here, in this way."""
        if fault == "eof":
            self._transport.write(b"0\r\n\r\n")
        elif fault == "close":
            self._transport.close()
        elif fault == "reset":
            connection: socket.socket = self._transport.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # close with a RST
            self._loop.call_later(RESET_AFTER, self._transport.abort)
        else:
            return  # a stall, which has no end but the client's
        self.end("failed")

    def end(self, how: End) -> None:
        """The first end counts."""
        if self._timer is not None:
            self._timer.cancel()
        if not self.record.end:
            self.record.end, self.record.ended = how, time.monotonic()

    def _pump(self) -> None:
        """Writes what is due, and comes back when the next piece is."""
        if self._paused or self.record.end:
            return
        now = self._loop.time() - self._began
        out: list[bytes] = []
        while (piece := self._next) is not None and piece.due <= now and len(out) < AT_ONCE:
            if piece.data:
                out.append(b"%x\r\n%b\r\n" % (len(piece.data), piece.data))
            self._count(piece)
            if piece.fault:
                self._transport.write(b"".join(out))
                self.fail(piece.fault)
                return
            self._next = next(self._pieces, None)
        if self._next is None:
            self._transport.write(b"".join((*out, b"0\r\n\r\n")))
            self.end("answered")
        else:
            self._transport.write(b"".join(out))
            self.at(self._next.due, self._pump)

    def _count(self, piece: Piece) -> None:
        record = self.record
        if piece.tokens and record.first is None:
            record.first = time.monotonic()
        record.tokens += piece.tokens
        record.usage = piece.usage or record.usage


def _head(status: int, fields: dict[str, str]) -> bytes:
    lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}", *(f"{name}: {value}" for name, value in fields.items())]
    return "\r\n".join((*lines, "", "")).encode()
