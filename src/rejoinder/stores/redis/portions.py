"""What is long in a Redis store goes by portions: while a script runs, nobody else has an answer.

The bulk of a great first append is put away under a number, and its commit gives it the session's name. Then the sets that sessions
share are told of it, before anybody asks them. A deletion leaves what these sets have of the session, which is dropped behind it, as
is what was staged in vain. What a process leaves that is killed in the middle, any other one finds.
"""

import asyncio
import contextlib
from typing import Any

from rejoinder.abc import Append, Lease
from rejoinder.errors import StoreUnavailable
from rejoinder.stores.batch import lost
from rejoinder.stores.redis.batch import Argument, piece_arguments
from rejoinder.stores.redis.client import RedisClient, more_seconds
from rejoinder.stores.staging import Piece, pieces, with_patience

SHARE = 4
"""So many pieces of what is staged make one of those of other stores: 2 to 10 ms of the server, in which it holds up every process."""

PORTION = 500
"""Texts or rows that the shared sets are told of at a time, or whose places there are dropped: some 3 ms of the server."""

WHOLE = "whole"
"""What is said of a number behind the last piece."""


class Portions:
    """One portion at a time, so that others wait for one alone, and behind all else what is left to do."""

    def __init__(self, client: RedisClient) -> None:
        self._client = client
        self._one = asyncio.Lock()
        self._given_up = dict[int, int]()
        """Numbers that were staged under in vain, with their epochs."""
        self._asked = False
        self._behind: asyncio.Task[None] | None = None

    async def close(self) -> None:
        """What is not done yet is left to whoever opens the store next, or has it open."""
        if self._behind is not None:
            self._behind.cancel()
            await asyncio.gather(self._behind, return_exceptions=True)

    async def stage(self, lease: Lease, append: Append) -> int:
        """The number under which the bulk of an append is put away. Raises LeaseLost and StoreUnavailable."""
        n: int = await with_patience(lambda _: self._write("begin_staging", lease.epoch, lease.worker))
        if not n:
            raise lost(lease)
        try:
            place = 0
            for place, piece in enumerate(pieces(append, SHARE), 1):
                await self._put(lease, n, place - 1, place, piece)
            await self._put(lease, n, place, WHOLE, Piece())
        except BaseException:
            self._given_up[n] = lease.epoch
            self.go_on()
            raise
        return n

    async def _put(self, lease: Lease, n: int, before: int, after: int | str, piece: Piece) -> None:
        arguments = n, lease.epoch, lease.worker, before, after, *piece_arguments(piece)

        async def put(tries: int) -> Any:
            return await self._write("stage", *arguments, more=2**tries * more_seconds(piece.weight))

        if not await with_patience(put):
            raise lost(lease)

    async def learn(self) -> None:
        """Tells the shared sets of all that was staged and is committed. Where nothing can be written, they know what they know."""
        with contextlib.suppress(StoreUnavailable):
            while await self._write("learn", PORTION):
                pass

    async def finish(self) -> None:
        """Does all that is left to do, as far as anything can be written now."""
        await self.learn()
        with contextlib.suppress(StoreUnavailable):
            while await self._drop():
                pass

    def go_on(self) -> None:
        """The same, behind: nobody waits for it. What could not be done is left to the next call."""
        self._asked = True
        if self._behind is None or self._behind.done():
            self._behind = asyncio.create_task(self._go_on(), name="what is long in Redis")

    async def _go_on(self) -> None:
        while self._asked:
            self._asked = False
            await self.finish()

    async def _drop(self) -> bool:
        given_up = dict(self._given_up)
        more = await self._write("drop", PORTION, *(part for pair in given_up.items() for part in pair))
        for n in given_up:
            self._given_up.pop(n, None)
        return bool(more)

    async def _write(self, name: str, *arguments: Argument, more: float = 0) -> Any:
        async with self._one:
            return await self._client.write(name, *arguments, more=more)
