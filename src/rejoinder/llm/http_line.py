"""A connection to an upstream, as a socket that is read when somebody wants what has come.

A transport would call for each piece that comes, some twenty a second for each reply, with a turn of the event loop for it.
Here what comes gathers in the system until the reply's next read, which takes all of it in one call; the event loop is
asked only by who finds nothing and has to wait. TLS is a line over a line, so that it goes through a proxy's TLS as well.
"""

import asyncio
import socket
import ssl
from collections.abc import Sequence
from typing import Protocol

import aiohappyeyeballs

from rejoinder.llm.http_addresses import Address

READ = 32 << 10
"""Bytes of one call of the system."""
MOST = 8 * READ
"""Bytes that one read takes: an upstream that is faster than it is read waits."""
LOOK = 0.01
"""Seconds between two looks, where an event loop cannot tell that there is something to read (that of Windows)."""
NEXT_ADDRESS = 0.25
"""Seconds after which a host's next address is tried beside the one that does not answer (RFC 8305)."""


class Line(Protocol):
    """All but `close` raise OSError (SSLError is one). `receive` gives what has come: None is nothing yet, and b"" the end."""

    def receive(self) -> bytes | None: ...

    async def readable(self) -> None:
        """Returns when there may be something to receive, or the end."""

    async def send(self, data: bytes) -> None: ...

    def close(self) -> None: ...


async def connect(addresses: Sequence[Address]) -> "TcpLine":
    """A line to the first of a host's addresses that answers. Raises OSError."""
    found = await aiohappyeyeballs.start_connection(addresses, happy_eyeballs_delay=NEXT_ADDRESS, interleave=1)
    found.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    found.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    return TcpLine(found, asyncio.get_running_loop())


async def secured(line: Line, host: str, context: ssl.SSLContext) -> "TlsLine":
    """TLS with a host over a line. Raises OSError, and SSLError where the host cannot be trusted."""
    over = TlsLine(line, host, context)
    await over.shake_hands()
    return over


class TcpLine:
    def __init__(self, connected: socket.socket, loop: asyncio.AbstractEventLoop) -> None:
        self._socket = connected
        self._loop = loop
        self._fault: OSError | None = None
        """What was met behind bytes that had come."""

    def receive(self) -> bytes | None:
        if self._fault is not None:
            raise self._fault
        try:
            data = self._socket.recv(READ)
        except BlockingIOError:
            return None
        return data if len(data) < READ else self._more(data)

    def _more(self, data: bytes) -> bytes:
        pieces = [data]
        try:
            while len(data) == READ and len(pieces) * READ < MOST:
                data = self._socket.recv(READ)
                pieces.append(data)
        except BlockingIOError:
            pass
        except OSError as fault:
            self._fault = fault
        return b"".join(pieces)

    async def readable(self) -> None:
        ready = self._loop.create_future()
        try:
            self._loop.add_reader(self._socket, _tell, ready)
        except NotImplementedError:
            return await asyncio.sleep(LOOK)
        try:
            await ready
        finally:
            self._loop.remove_reader(self._socket)

    async def send(self, data: bytes) -> None:
        try:
            sent = self._socket.send(data)
        except BlockingIOError:
            sent = 0
        if sent < len(data):
            await self._loop.sock_sendall(self._socket, memoryview(data)[sent:])

    def close(self) -> None:
        self._socket.close()


class TlsLine:
    def __init__(self, line: Line, host: str, context: ssl.SSLContext) -> None:
        self._line = line
        self._coming, self._going = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._coming, self._going, server_hostname=host)
        self._fault: ssl.SSLError | None = None
        """What was met behind bytes that are good."""

    async def shake_hands(self) -> None:
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                await self._flush()
                while self._take() is None:
                    await self._line.readable()
            else:
                return await self._flush()

    def receive(self) -> bytes | None:
        if self._fault is not None:
            raise self._fault
        # No more is taken from the line before what had come is given.
        while self._coming.pending or self._coming.eof or self._take() is not None:
            if (data := self._decrypted()) is not None:
                return data
        return None

    def _decrypted(self) -> bytes | None:
        pieces, size = [], 0
        try:
            while size < MOST:
                if not (data := self._tls.read(READ)):  # it said that this is the end, and may leave the line open
                    self._coming.write_eof()
                    break
                pieces.append(data)
                size += len(data)
        except ssl.SSLWantReadError:
            if not pieces:
                return None
        except ssl.SSLEOFError:
            pass  # servers leave without a word; whether that is an end is for the protocol above to say
        except ssl.SSLError as fault:
            self._fault = fault
            if not pieces:
                raise
        return b"".join(pieces)

    async def readable(self) -> None:
        await self._line.readable()

    async def send(self, data: bytes) -> None:
        self._tls.write(data)
        await self._flush()

    def close(self) -> None:
        self._line.close()

    def _take(self) -> bytes | None:
        """Moves what has come to where TLS reads it."""
        data = self._line.receive()
        if data:
            self._coming.write(data)
        elif data is not None:
            self._coming.write_eof()
        return data

    async def _flush(self) -> None:
        if data := self._going.read():
            await self._line.send(data)


def _tell(ready: "asyncio.Future[None]") -> None:
    if not ready.done():
        ready.set_result(None)
