"""Where hosts are: what the system says of a name, asked once for all connections of a while.

Few systems keep it themselves, and an upstream that is asked for many replies at once would be looked up for each of them.
"""

import asyncio
import socket
from collections.abc import Sequence
from typing import Any, TypeAlias

KEPT = 10.0
"""Seconds. A host that moves sooner is found again as soon as somebody was sent to where it is not."""

Address: TypeAlias = tuple[Any, ...]
"""As getaddrinfo gives it."""


class Addresses:
    def __init__(self) -> None:
        self._found: dict[tuple[str, int], asyncio.Task[Sequence[Address]]] = {}

    async def of(self, host: str, port: int) -> Sequence[Address]:
        """Raises OSError, of which gaierror says that there is no such host: who comes then asks again."""
        asking = self._found.get((host, port))
        if asking is None:
            asking = asyncio.create_task(_resolved(host, port), name=f"looking for {host}")
            self._found[host, port] = asking
            asking.add_done_callback(lambda asked: self._keep(host, port, asked))
        # Others may wait for it as well, and whoever comes next has use for it.
        return await asyncio.shield(asking)

    def forget(self, host: str, port: int) -> None:
        """To be called where nobody answers there."""
        self._found.pop((host, port), None)

    def _keep(self, host: str, port: int, asked: "asyncio.Task[Sequence[Address]]") -> None:
        def over() -> None:
            if self._found.get((host, port)) is asked:
                self.forget(host, port)

        if asked.cancelled() or asked.exception() is not None:
            over()
        else:
            asyncio.get_running_loop().call_later(KEPT, over)


async def _resolved(host: str, port: int) -> Sequence[Address]:
    return await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
