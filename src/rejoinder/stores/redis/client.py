"""Asks Redis: scripts by their digest, with one pool for writes and one for reads, so that neither waits for the other."""

import asyncio
from collections.abc import Coroutine
from typing import Any

from redis.exceptions import NoScriptError, ReadOnlyError

from rejoinder.redis_link import ANSWER_SECONDS, RedisUrl, redis_away
from rejoinder.stores.redis.batch import Argument
from rejoinder.stores.redis.lua import script

WRITES = 4
"""Connections: a batch is under way at a time, beside it leases and deletions."""

READS = 16

HEAVY, A_SECOND = 1 << 20, 1 << 20
"""Bytes from which a call has more time than others, and how many have a second each: a slow line carries some ten times as much."""


def more_seconds(size: int) -> float:
    """That a call of so many bytes may take above what all may."""
    return size / A_SECOND if size >= HEAVY else 0


class RedisClient:
    """Raises StoreUnavailable for whatever Redis cannot do now; a broken connection is made anew at the next call."""

    def __init__(self, url: RedisUrl) -> None:
        self._url = url
        self._names = url.names.encode()
        self._writes = url.client(WRITES)
        self._reads = url.client(READS)
        self._calls: set[asyncio.Task[Any]] = set()

    async def close(self) -> None:
        """Waits for what is under way, whose caller may have gone."""
        await asyncio.gather(*self._calls, return_exceptions=True)
        for client in (self._writes, self._reads):
            await client.connection_pool.aclose()

    def key(self, kind: str, name: bytes = b"") -> bytes:
        return self._names + kind.encode() + (b":" + name if name else b"")

    async def write(self, name: str, *arguments: Argument, more: float = 0) -> Any:
        """Runs a script that writes. Sent once: who asks again knows whether that is right.

        `more` are seconds that it may take above what all may, on a connection of its own.
        """
        with redis_away():
            if more:
                return await self._whole(self._on_the_primary(self._run_long(name, arguments, more)))
            return await self._whole(self._on_the_primary(self._run_script(self._writes, name, arguments)))

    async def read(self, name: str, *arguments: Argument) -> Any:
        """Runs a script that only reads."""
        with redis_away():
            return await self._whole(self._run_script(self._reads, name, arguments))

    async def set(self, *command: Argument) -> Any:
        """One command that writes."""
        with redis_away():
            return await self._whole(self._on_the_primary(self._writes.execute_command(*command)))

    async def get(self, *command: Argument) -> Any:
        """One command that only reads."""
        with redis_away():
            return await self._whole(self._reads.execute_command(*command))

    async def ask(self, *command: Argument) -> Any:
        """One command, with the driver's own errors: for those who look what they say."""
        return await self._whole(self._reads.execute_command(*command))

    async def get_each(self, *commands: tuple[Argument, ...]) -> list[Any]:
        """Several such commands in one round trip."""
        if not commands:
            return []
        with redis_away():
            pipeline = self._reads.pipeline(transaction=False)
            for command in commands:
                pipeline.execute_command(*command)
            found: list[Any] = await self._whole(pipeline.execute())
        return found

    async def _run_long(self, name: str, arguments: tuple[Argument, ...], more: float) -> Any:
        command = "EVAL", script(name).text, 1, self._names, *arguments
        pool = self._url.client(1, answer=ANSWER_SECONDS + more).connection_pool
        try:
            connection = await pool.get_connection()
            # In a thread, and as one piece: for as many arguments the driver would hold up everybody.
            packed = await asyncio.to_thread(lambda: b"".join(connection.pack_command(*command)))
            await connection.send_packed_command(packed)
            return await connection.read_response()
        finally:
            await pool.aclose()

    async def _run_script(self, client: Any, name: str, arguments: tuple[Argument, ...]) -> Any:
        found = script(name)
        try:
            return await client.execute_command("EVALSHA", found.sha, 1, self._names, *arguments)
        except NoScriptError:
            # A server that was started anew has forgotten it, and has done nothing. This runs and keeps it.
            return await client.execute_command("EVAL", found.text, 1, self._names, *arguments)

    async def _on_the_primary(self, call: Coroutine[Any, Any, Any]) -> Any:
        """Where a connection turns out to lead to a replica, the others do too: the primary has moved, and its name leads to the
        new one for who connects anew."""
        try:
            return await call
        except ReadOnlyError:
            for client in (self._writes, self._reads):
                await client.connection_pool.disconnect(inuse_connections=False)
            raise

    async def _whole(self, call: Coroutine[Any, Any, Any]) -> Any:
        """A call of the driver, which runs to its end also when its caller is cancelled: a connection is never left in the
        middle of an answer. And the caller is cancelled for certain: the driver sends inside `asyncio.wait_for`, which before
        Python 3.12 forgets a cancellation that comes with the result.
        """
        task = asyncio.create_task(call)
        self._calls.add(task)
        task.add_done_callback(self._done)
        return await asyncio.shield(task)

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._calls.discard(task)
        if not task.cancelled():
            task.exception()  # it is told to the caller, or there is none any more
