"""The life of one reply that this worker writes: ask an upstream, log its text as it comes, end it, exactly once.

A generation belongs to the service and not to the request that asked for it. It ends in one place (`_end`), whatever
happened: a finish, a fault upstream, a stop, a limit or a shutdown.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import TypeVar

from msgspec import structs

from rejoinder.abc import Chunk, FinishChunk, Prompt, TextChunk, UsageChunk
from rejoinder.chat import prompt
from rejoinder.chat.decisions import Decision, Decisions
from rejoinder.chat.deltas import DeltaBuffer
from rejoinder.chat.endings import Outcome, end, ended_reply, estimated_usage, failed, stopped
from rejoinder.chat.history import History
from rejoinder.chat.models import Models
from rejoinder.chat.sending import Turn, attempted
from rejoinder.chat.watchdog import ReplyLimits, Watchdog
from rejoinder.entities import Header, JsonObject, Key, OpenReply, Status, Usage
from rejoinder.errors import Invalid, ProviderError, SessionNotFound, StoreUnavailable
from rejoinder.fold import ReplyText

log = logging.getLogger(__name__)
T = TypeVar("T")


class Generation:
    """One reply. `run` writes it to its end; `halt` makes that end come now.

    `mine` is the reply as the session's header names it for as long as it is this worker's.
    """

    def __init__(
        self,
        key: Key,
        turn: Turn,
        mine: OpenReply,
        decisions: Decisions,
        history: History,
        models: Models,
        limits: ReplyLimits,
    ) -> None:
        self.key = key
        self.reply = attempted(turn.reply, turn.models[0])
        self.mine = mine
        self._turn = turn
        self._decisions = decisions
        self._history = history
        self._models = models
        self._limits = limits
        self._buffer = DeltaBuffer(key, turn.reply.id, ReplyText(), max_delta=limits.max_delta)
        self._usage: Usage | None = None
        self._asked: tuple[JsonObject, ...] = ()
        self._finish = ""
        self._bytes = 0
        self._halted: Outcome | None = None
        self._asking: asyncio.Task[Outcome] | None = None

    async def run(self) -> None:
        outcome = self._halted or await self._ask()
        await self._end(outcome)

    def halt(self, outcome: Outcome) -> None:
        """Closes the upstream and lets the reply end with this outcome. The first halt counts."""
        if self._halted is None:
            self._halted = outcome
            if self._asking is not None:
                self._asking.cancel()

    async def _ask(self) -> Outcome:
        """Asks in a task of its own, so that halting cancels the asking and not the end of the reply."""
        self._asking = asyncio.create_task(self._relay(), name=f"asking for {self.reply.id}")
        try:
            return await self._asking
        except asyncio.CancelledError:
            if self._halted is None or _is_cancelled():
                # It is this generation that is cancelled: the lease was lost, and the reply is another worker's to end.
                raise
            return self._halted
        except (ProviderError, Invalid) as fault:
            return failed(fault.code, fault.detail)
        except Exception:
            log.exception("reply %s failed by a fault of our own", self.reply.id)
            return failed("internal_error", "The service failed while it asked for this reply.")

    async def _relay(self) -> Outcome:
        """Reads the upstream to its end. What one read brought is committed together."""
        header = await patiently(lambda: self._decisions.header(self.key))
        mine = header.open_reply(self.reply.id)
        if mine is None or mine.stopping or mine.epoch != self.mine.epoch:
            return stopped()
        provider, model = self._models.resolve(self._turn.models[0])
        self._asked = await patiently(
            lambda: prompt.prompt_messages(self._history, self.key, self.reply, header.session.system_prompt)
        )
        asked = Prompt(model=model, messages=self._asked, params=upstream_params(self._turn.params))
        with Watchdog(self._limits, self.halt) as watchdog:
            async with aclosing(provider.stream(asked)) as reads:
                async for chunks in reads:
                    watchdog.heard()
                    self._take(chunks)
                    self._decisions.writer.write(self._buffer)
                    with watchdog.paused():
                        await self._buffer.room()
                    if self._buffer.refused:
                        return stopped()
        if self._finish == "content_filter":
            return failed("content_filtered", "The upstream withheld the rest of this reply.", self._finish)
        return Outcome(status=Status.COMPLETED, finish_reason=self._finish)

    def _take(self, chunks: Sequence[Chunk]) -> None:
        for chunk in chunks:
            match chunk:
                case TextChunk():
                    self._add(chunk)
                case FinishChunk(reason=reason):
                    self._finish = reason
                case UsageChunk(usage=usage):
                    self._usage = usage

    def _add(self, chunk: TextChunk) -> None:
        size = len(chunk.text.encode())
        room = self._limits.max_bytes - self._bytes
        if size > room:
            kept = chunk.text.encode()[:room].decode(errors="ignore")
            self._buffer.add(structs.replace(chunk, text=kept))
            raise ProviderError("reply_too_long", f"The reply grew longer than {self._limits.max_bytes} bytes.")
        self._bytes += size
        self._buffer.add(chunk)

    async def _end(self, outcome: Outcome) -> None:
        """Appends the end with what text is left, if the reply is still this worker's to end."""
        rest = self._buffer.take_drafts()

        async def plan(header: Header) -> Decision[None]:
            mine = header.open_reply(self.reply.id)
            if mine is None or mine.epoch != self.mine.epoch:
                return Decision(None)
            said = stopped() if mine.stopping else outcome
            written = self._buffer.text.on(self.reply)
            ended = ended_reply(written, said, self._usage or self._estimate(), self._decisions.now(header.session))
            return Decision(None, end(self.key, header, ended, before=rest))

        try:
            await patiently(lambda: self._decisions.decide(self.key, plan))
        except SessionNotFound:
            log.info("reply %s ended after its session was deleted", self.reply.id)

    def _estimate(self) -> Usage:
        return estimated_usage(self._asked, self._buffer.text.size)


async def patiently(work: Callable[[], Awaitable[T]]) -> T:
    """Work of the service's own, which has nobody to tell that the store is away: it waits until it is back."""
    while True:
        try:
            return await work()
        except StoreUnavailable as away:
            log.warning("waiting for the store: %s", away.detail)
            await asyncio.sleep(1)


def upstream_params(params: JsonObject) -> JsonObject:
    """Without what the service itself makes use of."""
    return {name: value for name, value in params.items() if name != "context"}


def _is_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
