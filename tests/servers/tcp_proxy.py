"""A small TCP proxy for tests: to one server or, by turns, to several; it can be cut, and can lose answers.

It runs on an event loop in a thread of its own, so that tests may use it from anywhere.
"""

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeAlias

Address: TypeAlias = tuple[str, int]


class TcpProxy:
    def __init__(self, *targets: Address) -> None:
        self.targets = list(targets)
        """Taken by turns; one that refuses is passed over."""
        self.port = 0
        self.loses: Callable[[bytes], bool] = lambda _: False
        """Asked about each piece that a server answers: True loses it, and the connection with it."""
        self.silent = False
        """Whether what servers answer is held back."""
        self._turn = 0
        self._forsaken: set[asyncio.StreamWriter] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def cut(self) -> None:
        """Breaks every connection."""
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._abort)

    def forsake(self) -> None:
        """What is connected now carries nothing any more, and nobody is told: as behind a firewall that has forgotten it."""
        self._forsaken |= self._writers

    def _abort(self) -> None:
        for writer in self._writers:
            writer.transport.abort()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        with self._known(writer):
            found = await self._connect()
            if found is None:
                return
            server_reader, server_writer = found
            with self._known(server_writer):
                await asyncio.gather(
                    self._pass(reader, server_writer, lambda _: False),
                    self._pass(server_reader, writer, self._is_lost),
                )

    def _is_lost(self, piece: bytes) -> bool:
        return self.loses(piece)

    @contextmanager
    def _known(self, writer: asyncio.StreamWriter) -> Iterator[None]:
        self._writers.add(writer)
        try:
            yield
        finally:
            self._writers.discard(writer)
            writer.transport.abort()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        for _ in self.targets:
            target = self.targets[self._turn % len(self.targets)]
            self._turn += 1
            with contextlib.suppress(OSError):
                return await asyncio.open_connection(*target)
        return None

    async def _pass(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, loses: Callable[[bytes], bool]
    ) -> None:
        """Until one side ends: then the other does too."""
        with contextlib.suppress(OSError):
            while piece := await reader.read(1 << 16):
                if loses(piece):
                    break
                while self.silent:  # noqa: ASYNC110  # it is set by another thread
                    await asyncio.sleep(0.01)
                if writer in self._forsaken:
                    continue
                writer.write(piece)
                await writer.drain()
        writer.close()

    async def serve(self, started: Callable[[], None], ended: asyncio.Event) -> None:
        self._loop = asyncio.get_running_loop()
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        started()
        await ended.wait()
        server.close()
        self._abort()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


@contextmanager
def tcp_proxy(*targets: Address) -> Iterator[TcpProxy]:
    proxy, started = TcpProxy(*targets), threading.Event()
    loop, ended = asyncio.new_event_loop(), asyncio.Event()
    thread = threading.Thread(target=loop.run_until_complete, args=(proxy.serve(started.set, ended),), name="proxy")
    thread.start()
    assert started.wait(10), "the proxy did not start"
    try:
        yield proxy
    finally:
        loop.call_soon_threadsafe(ended.set)
        thread.join(10)
        loop.close()
