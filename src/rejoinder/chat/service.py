"""The chat service: its parts, put together over a store, signals and models, and its life from opening to the last end."""

import asyncio
from collections.abc import Coroutine
from typing import Any, Self, TypeVar

from rejoinder.abc import Signals, Store
from rejoinder.chat.decisions import Decisions
from rejoinder.chat.following import Following
from rejoinder.chat.generation import Generation
from rejoinder.chat.history import History
from rejoinder.chat.models import Models
from rejoinder.chat.recovery import Recovery
from rejoinder.chat.replies import Replies
from rejoinder.chat.sending import Send, Sending, Turn
from rejoinder.chat.sessions import Sessions
from rejoinder.chat.stopping import Stopping
from rejoinder.chat.tails import Tails
from rejoinder.chat.watchdog import ReplyLimits
from rejoinder.chat.worker import Worker
from rejoinder.chat.writer import Writer
from rejoinder.entities import Key
from rejoinder.errors import StoreUnavailable

T = TypeVar("T")


class Chat:
    """Used inside `async with`; the store, the signals and the models are open before and closed after it.

    `lease` and `patience` are in seconds: after how long a silent worker is taken for dead, and how long a request waits for
    the store.
    """

    def __init__(
        self, store: Store, signals: Signals, models: Models, limits: ReplyLimits, *, lease: float, patience: float
    ) -> None:
        self.store = store
        self.models = models
        self.draining = False
        self._signals = signals
        self._patience = patience
        self._tails = Tails()
        self._writer = Writer(store, signals)
        decisions = Decisions(store, self._writer)
        self.history = History(decisions)
        self.following = Following(store, signals, self._tails)
        self.stopping = Stopping(decisions, self.history, self.following)
        self.sessions = Sessions(decisions, signals, models, self.stopping)
        recovery = Recovery(decisions, self.history)
        self.replies = Replies(
            decisions,
            recovery,
            lambda key, turn, mine: Generation(key, turn, mine, decisions, self.history, models, limits),
        )
        self._sending = Sending(decisions, models)
        self._worker = Worker(store, self._writer, self.replies, recovery, lease)
        self._requests: set[asyncio.Task[Any]] = set()

    async def __aenter__(self) -> Self:
        self._signals.listen(self._tails.push)
        self._signals.listen(self.replies.on_wake)
        await self._worker.start()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.drain(0)
        await self._worker.close()

    async def send(self, key: Key, message_id: str, wanted: Send) -> Turn:
        """Sends a message and starts its reply, or attaches to what the same request did before.

        Raises what `Sending.send` raises, and StoreUnavailable.
        """
        return await self.settled(self._send(key, message_id, wanted))

    async def settled(self, work: Coroutine[Any, Any, T]) -> T:
        """Does a change to its end, also when the request that asked for it goes away or its patience is over.

        Raises StoreUnavailable after that: the change may still come to stand, and asking again will tell.
        """
        task = asyncio.create_task(work)
        self._requests.add(task)
        task.add_done_callback(self._forget)
        done, _ = await asyncio.wait({task}, timeout=self._patience)
        if not done:
            raise StoreUnavailable("The store does not answer just now.")
        return task.result()

    async def drain(self, seconds: float) -> None:
        """From now on no reply starts; live ones may go on for so long, then end as interrupted."""
        self.draining = self._sending.closed = True
        if self._requests:
            await asyncio.wait(self._requests, timeout=self._patience)
        await self.replies.drain(seconds)

    @property
    def store_failing(self) -> StoreUnavailable | None:
        return self._writer.failing

    async def _send(self, key: Key, message_id: str, wanted: Send) -> Turn:
        turn = await self._sending.send(key, message_id, wanted)
        self.replies.start(key, turn)
        return turn

    def _forget(self, task: asyncio.Task[Any]) -> None:
        self._requests.discard(task)
        if not task.cancelled():
            # Fetched, so that a fault whose request has gone is not reported as one that nobody looked at.
            task.exception()
