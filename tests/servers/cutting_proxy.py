"""A proxy between a client and a server that can lose answers: what was asked arrives, and the connection dies then."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class CuttingProxy:
    def __init__(self, port: int) -> None:
        self._server_port = port
        self.port = 0
        self.cuts = 0
        """So many of the next answers are lost, each with its connection."""
        self._writers: set[asyncio.StreamWriter] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there_reader, there_writer = await asyncio.open_connection("127.0.0.1", self._server_port)
        both = {writer, there_writer}
        self._writers |= both
        asking = asyncio.create_task(self._pass_on(reader, there_writer))
        try:
            await self._pass_on(there_reader, writer, may_cut=True)
        finally:
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
            for each in both:
                each.close()
            self._writers -= both

    async def _pass_on(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, may_cut: bool = False
    ) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(1 << 16):
                if may_cut and self.cuts:
                    self.cuts -= 1
                    return
                writer.write(data)
                await writer.drain()

    def close(self) -> None:
        for writer in self._writers:
            writer.close()


@asynccontextmanager
async def cutting_proxy(port: int) -> AsyncIterator[CuttingProxy]:
    """Before a server on this loopback port."""
    proxy = CuttingProxy(port)
    async with await asyncio.start_server(proxy.serve, "127.0.0.1", 0) as listening:
        proxy.port = listening.sockets[0].getsockname()[1]
        try:
            yield proxy
        finally:
            proxy.close()
