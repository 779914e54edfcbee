"""Servers on loopback that say what a test wants, byte for byte, and proxies before them."""

import asyncio
import contextlib
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeAlias

from msgspec import Struct

Talk: TypeAlias = "Callable[[Connection], Awaitable[None]]"

LEFT = (ConnectionError, asyncio.IncompleteReadError, ssl.SSLError)
"""What a server meets when its client has gone."""


class Request(Struct):
    head: str
    body: bytes

    @property
    def line(self) -> str:
        return self.head.partition("\r\n")[0]

    @property
    def headers(self) -> dict[str, str]:
        """By names in small letters."""
        fields = (line.split(": ", 1) for line in self.head.split("\r\n")[1:] if line)
        return {name.lower(): value for name, value in fields}


class Connection:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.requests: list[Request] = []

    async def request(self) -> Request:
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode()
        request = Request(head, b"")
        request.body = await self.reader.readexactly(int(request.headers.get("content-length", 0)))
        self.requests.append(request)
        return request

    async def say(self, *pieces: bytes) -> None:
        for piece in pieces:
            self.writer.write(piece)
            await self.writer.drain()
            await asyncio.sleep(0)  # so that its client may see this one alone

    async def answer(self, body: bytes = b"hi", status: str = "200 OK", headers: str = "") -> None:
        head = f"HTTP/1.1 {status}\r\ncontent-length: {len(body)}\r\n{headers}\r\n"
        await self.say(head.encode() + body)

    async def left(self) -> None:
        """Returns when the client has closed."""
        with contextlib.suppress(*LEFT):
            while await self.reader.read(1 << 16):
                pass

    def cut(self) -> None:
        """Closes at once. Under TLS without a word."""
        self.writer.transport.abort()

    def reset(self) -> None:
        lingering = struct.pack("ii", 1, 0)
        self.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, lingering)
        self.writer.transport.abort()


class Server:
    def __init__(self, talk: Talk, scheme: str) -> None:
        self.connections: list[Connection] = []
        self.address, self.port, self.url = "", 0, ""
        self._talk = talk
        self._scheme = scheme
        self._tasks: set[asyncio.Task[None]] = set()
        self._faults: list[Exception] = []

    @property
    def requests(self) -> list[Request]:
        return [request for connection in self.connections for request in connection.requests]

    def at(self, address: str, port: int) -> None:
        self.port = port
        self.address = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
        self.url = f"{self._scheme}://{self.address}"

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = Connection(reader, writer)
        self.connections.append(connection)
        try:
            await self._talk(connection)
        except LEFT:
            pass
        except Exception as fault:  # noqa: BLE001  # told where the server is left
            self._faults.append(fault)
        finally:
            writer.close()

    async def leave(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for connection in self.connections:
            connection.cut()
            with contextlib.suppress(*LEFT):
                await connection.writer.wait_closed()
        if self._faults:
            raise self._faults[0]


@asynccontextmanager
async def serving(talk: Talk, *, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None) -> AsyncIterator[Server]:
    """A connection is closed when its talk has returned. What a talk raises is raised at the end."""
    server = Server(talk, "https" if tls else "http")
    listening = await asyncio.start_server(server.accept, host, 0, ssl=tls)
    server.at(host, listening.sockets[0].getsockname()[1])
    try:
        yield server
    finally:
        listening.close()
        await server.leave()


def passing_on(known: dict[str, int]) -> Talk:
    """A proxy to servers on loopback, by the names under which it knows them and their ports."""

    async def talk(client: Connection) -> None:
        request = await client.request()
        method, where, _ = request.line.split(" ")
        name = where.removeprefix("http://").partition("/")[0]
        reader, writer = await asyncio.open_connection("127.0.0.1", known[name])
        if method == "CONNECT":
            await client.say(b"HTTP/1.1 200 Connection established\r\n\r\n")
        else:
            own = request.head.replace(f"http://{name}", "", 1)
            writer.write(own.encode() + request.body)
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(passed(client.reader, writer))
                both.create_task(passed(reader, client.writer))
        finally:
            writer.transport.abort()

    return talk


async def passed(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Until the reader's side ends, which closes the writer's."""
    try:
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
    except LEFT:
        pass
    finally:
        writer.close()
