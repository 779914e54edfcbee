"""Asks Redis: scripts by their digest, with one pool for writes and one for reads, so that neither waits for the other."""

from typing import Any

from redis.exceptions import NoScriptError

from rejoinder.redis_link import RedisUrl, redis_away
from rejoinder.stores.lua import script
from rejoinder.stores.redis_batch import Argument

WRITES = 4
"""Connections: a batch is under way at a time, beside it leases and deletions."""

READS = 16


class RedisClient:
    """Raises StoreUnavailable for whatever Redis cannot do now; a broken connection is made anew at the next call."""

    def __init__(self, url: RedisUrl) -> None:
        self._url = url
        self._names = url.names.encode()
        self._writes = url.client(WRITES)
        self._reads = url.client(READS)

    async def close(self) -> None:
        for client in (self._writes, self._reads):
            await client.connection_pool.aclose()

    def key(self, kind: str, name: bytes = b"") -> bytes:
        return self._names + kind.encode() + (b":" + name if name else b"")

    async def write(self, name: str, *arguments: Argument) -> Any:
        """Runs a script that writes. Sent once: who asks again knows whether that is right."""
        return await self._run(self._writes, name, arguments)

    async def read(self, name: str, *arguments: Argument) -> Any:
        """Runs a script that only reads."""
        return await self._run(self._reads, name, arguments)

    async def set(self, *command: Argument) -> Any:
        """One command that writes."""
        with redis_away():
            return await self._writes.execute_command(*command)

    async def get(self, *command: Argument) -> Any:
        """One command that only reads."""
        with redis_away():
            return await self._reads.execute_command(*command)

    async def ask(self, *command: Argument) -> Any:
        """One command, with the driver's own errors: for those who look what they say."""
        return await self._reads.execute_command(*command)

    async def get_each(self, *commands: tuple[Argument, ...]) -> list[Any]:
        """Several such commands in one round trip."""
        if not commands:
            return []
        with redis_away():
            pipeline = self._reads.pipeline(transaction=False)
            for command in commands:
                pipeline.execute_command(*command)
            found: list[Any] = await pipeline.execute()
        return found

    async def _run(self, client: Any, name: str, arguments: tuple[Argument, ...]) -> Any:
        found = script(name)
        with redis_away():
            try:
                return await client.execute_command("EVALSHA", found.sha, 1, self._names, *arguments)
            except NoScriptError:
                # A server that was started anew has forgotten it, and has done nothing. This runs and keeps it.
                return await client.execute_command("EVAL", found.text, 1, self._names, *arguments)
