"""The chat service: its parts, put together over a store, signals and models, and its life from opening to the last end."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Self, TypeVar

from msgspec import Struct

from rejoinder.abc import Signals, Store
from rejoinder.chat.accepting import Accepting
from rejoinder.chat.asked import AnotherReply, Continuation, Send, ToolResults, Turn
from rejoinder.chat.asked_prompts import AskedPromptsReader
from rejoinder.chat.attempts import Retrying
from rejoinder.chat.decisions import Decisions
from rejoinder.chat.deletions import Deletions
from rejoinder.chat.endings import Endings
from rejoinder.chat.exporting import Exporting
from rejoinder.chat.following import Following
from rejoinder.chat.forking import Forking
from rejoinder.chat.generation import Tools
from rejoinder.chat.growth import Growth, Keeping
from rejoinder.chat.history import History
from rejoinder.chat.importing import Importing
from rejoinder.chat.models import Models
from rejoinder.chat.overview import Overview
from rejoinder.chat.prompts import Prompts
from rejoinder.chat.recovery import AfterCrash, Recovery
from rejoinder.chat.replies import Replies
from rejoinder.chat.search import Search
from rejoinder.chat.sending import Sending
from rejoinder.chat.sessions import Sessions
from rejoinder.chat.starting import Starting
from rejoinder.chat.stopping import Stopping
from rejoinder.chat.tails import Tails
from rejoinder.chat.titles import Titles
from rejoinder.chat.turns import Turns
from rejoinder.chat.unfinished import Unfinished
from rejoinder.chat.usage import UsageReader
from rejoinder.chat.watchdog import ReplyLimits
from rejoinder.chat.worker import Worker
from rejoinder.chat.writer import Writer
from rejoinder.entities import Key, Message
from rejoinder.errors import SessionNotFound, StoreUnavailable

T = TypeVar("T")


class Rules(Struct, frozen=True, kw_only=True):
    """How a service lives. `lease` and `patience` are in seconds: after how long a silent worker is taken for dead, and how
    long a request waits for the store. `max_queue` counts the queued replies of a session."""

    limits: ReplyLimits
    lease: float
    patience: float
    max_queue: int
    retrying: Retrying
    after_crash: AfterCrash
    title_model: str
    keeping: Keeping


class Chat:
    """Used inside `async with`; the store, the signals and the models are open before and closed after it."""

    def __init__(self, store: Store, signals: Signals, models: Models, rules: Rules) -> None:
        self.store = store
        self.models = models
        self.draining = False
        self._signals = signals
        self._patience = rules.patience
        self._tails = Tails()
        self._writer = Writer(store, signals)
        self._decisions = decisions = Decisions(store, self._writer)
        self.history = History(decisions)
        self.following = Following(store, signals, self._tails)
        self.overview = Overview(store, signals)
        self._starting = Starting(decisions, self.history, rules.limits.max_delta)
        endings = Endings(decisions, self._starting)
        self.stopping = Stopping(decisions, self.history, self.following, self._starting, endings)
        self._deletions = Deletions(decisions, signals)
        self.sessions = Sessions(decisions, models, self.stopping, self._deletions)
        prompts = Prompts(decisions, self.history, models)
        unfinished = Unfinished(self.history, prompts)
        self.forking = Forking(decisions, self.history, self.sessions, unfinished, self._deletions)
        self.exporting = Exporting(decisions, self.history, unfinished)
        self.importing = Importing(decisions, self._deletions)
        self.usage = UsageReader(decisions, self.history)
        self.search = Search(store)
        recovery = Recovery(decisions, self.history, models, self._starting, unfinished, endings, rules.after_crash)
        self.asked_prompts = AskedPromptsReader(decisions, self.history, models, self._starting, prompts)
        self._titles = Titles(decisions, self.history, models, rules.title_model)
        tools = Tools(decisions, prompts, models, endings, rules.limits, rules.retrying)
        self.replies = Replies(tools, recovery, self._titles, self._tails)
        endings.begin = self.replies.start
        accepting = Accepting(decisions, self._starting, rules.max_queue)
        turns = Turns(self._starting, prompts)
        self._sending = Sending(decisions, self.history, models, self._starting, accepting, turns)
        growth = Growth(store, self.sessions, rules.keeping)
        self._worker = Worker(store, self._writer, self.replies, recovery, growth, rules.lease)
        self._requests: set[asyncio.Task[Any]] = set()
        self._shared: dict[tuple[object, ...], asyncio.Task[Any]] = {}
        """Stops and deletions that are under way. Nothing else bounds what waits of them while the store is away."""

    async def __aenter__(self) -> Self:
        if not self.store.exclusive:
            self._signals.listen(self._decisions.on_wakes)
        self._signals.listen(self._tails.push)
        self._signals.listen(self.overview.push)
        self._signals.listen(self.replies.on_wakes)
        await self._worker.start()
        return self

    async def __aexit__(self, *exc: object) -> None:
        try:
            await self.drain(0)
        finally:
            await self._deletions.close()
            await self._worker.close()

    async def send(self, key: Key, chosen_id: str | None, wanted: Send) -> Turn:
        """Sends a message and starts its reply, or attaches to what the same request did before.

        Raises what `Sending.send` raises, and StoreUnavailable.
        """
        return await self.settled(self._begin(key, self._sending.send(key, chosen_id, wanted)))

    async def answer_calls(self, key: Key, chosen_id: str | None, wanted: ToolResults) -> Turn:
        """Sends the results of a reply's tool calls. Raises what `Sending.answer_calls` raises, and StoreUnavailable."""
        return await self.settled(self._begin(key, self._sending.answer_calls(key, chosen_id, wanted)))

    async def reply(self, key: Key, chosen_id: str | None, wanted: AnotherReply) -> Turn:
        """Starts another reply to a message. Raises what `Sending.reply` raises, and StoreUnavailable."""
        return await self.settled(self._begin(key, self._sending.reply(key, chosen_id, wanted)))

    async def go_on(self, key: Key, chosen_id: str | None, wanted: Continuation) -> Turn:
        """Starts a reply that goes on from another. Raises what `Sending.go_on` raises, and StoreUnavailable."""
        return await self.settled(self._begin(key, self._sending.go_on(key, chosen_id, wanted)))

    async def stop(self, key: Key, message_id: str) -> Message:
        """Ends a reply and returns it once it has ended. Raises what `Stopping.stop` raises, and StoreUnavailable."""
        after = await self._as_one(("stop", key, message_id), lambda: self.stopping.order(key, message_id))
        return await self.stopping.ended(key, message_id, after)

    async def delete(self, key: Key) -> None:
        """Deletes a session as `Sessions.delete` does. Raises SessionNotFound and StoreUnavailable."""
        deletion, deleted = ("deletion", key), False
        if deletion in self._shared:
            # It began before this request, and what it deletes may have been made again in between: another look tells.
            with contextlib.suppress(SessionNotFound):
                await self._as_one(deletion, lambda: self.sessions.delete(key))
                deleted = True
        try:
            await self._as_one(deletion, lambda: self.sessions.delete(key))
        except SessionNotFound:
            if not deleted:
                raise

    async def settled(self, work: Coroutine[Any, Any, T], more: float = 0) -> T:
        """Does a change to its end, also when the request that asked for it goes away or its patience is over.

        `more` are seconds of patience for a change that takes long. Raises StoreUnavailable after that: the change may
        still come to stand, and asking again will tell.
        """
        return await self._patiently(self._started(work), more)

    async def _as_one(self, what: tuple[object, ...], work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """As `settled`. Who asks for the same while it is under way waits for that, and nothing is left of it that waits on."""
        task = self._shared.get(what)
        if task is None:
            task = self._shared[what] = self._started(work())
            task.add_done_callback(lambda _: self._shared.pop(what))
        return await self._patiently(task)

    def _started(self, work: Coroutine[Any, Any, T]) -> "asyncio.Task[T]":
        task = asyncio.create_task(work)
        self._requests.add(task)
        task.add_done_callback(self._forget)
        return task

    async def _patiently(self, task: "asyncio.Task[T]", more: float = 0) -> T:
        done, _ = await asyncio.wait({task}, timeout=self._patience + more)
        if not done:
            raise StoreUnavailable("The store does not answer just now.")
        return task.result()

    async def drain(self, seconds: float) -> None:
        """From now on no reply starts; live ones may go on for so long, then end as interrupted."""
        self.draining = self._starting.closed = self._titles.closed = True
        if self._requests:
            await asyncio.wait(self._requests, timeout=self._patience)
        await self.replies.drain(seconds)
        await self._titles.close()

    @property
    def store_failing(self) -> StoreUnavailable | None:
        return self._writer.failing

    async def _begin(self, key: Key, sending: Awaitable[Turn]) -> Turn:
        tail = self._tails.hold(key)  # so that what it appends is there for its reader without a read of the store
        try:
            turn = await sending
            if turn.start is not None:
                self.replies.start(key, turn.start)
        finally:
            self._tails.let_go(key, tail)
        return turn

    def _forget(self, task: asyncio.Task[Any]) -> None:
        self._requests.discard(task)
        if not task.cancelled():
            # Fetched, so that a fault whose request has gone is not reported as one that nobody looked at.
            task.exception()
