"""The life of one reply that this worker writes: ask upstreams, log their text as it comes, end it, exactly once.

A generation belongs to the service and not to the request that asked for it. It ends in one place (`_end`), whatever
happened: a finish, a fault that nothing follows, a stop, a limit or a shutdown.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from functools import partial
from typing import TypeVar

import msgspec
from msgspec import Struct, structs

from rejoinder.abc import (
    Chunk,
    ChunkStream,
    DetailsChunk,
    FinishChunk,
    LifeChunk,
    Prompt,
    Provider,
    TextChunk,
    UsageChunk,
)
from rejoinder.chat import attempts, prompt_record
from rejoinder.chat.decisions import Decision, Decisions, change
from rejoinder.chat.deltas import DeltaBuffer
from rejoinder.chat.endings import Ending, Endings, Outcome, ended_reply, failed, stopped
from rejoinder.chat.models import Models
from rejoinder.chat.prompts import Asking, Composed, Prompts, Shorter
from rejoinder.chat.spending import Spending
from rejoinder.chat.starting import Start, goes_on, next_attempt
from rejoinder.chat.watchdog import ReplyLimits, Watchdog
from rejoinder.entities import Header, Key, OpenReply, ReplyError, Status
from rejoinder.errors import Invalid, LeaseLost, NotFound, ProviderError, SessionNotFound, StoreUnavailable
from rejoinder.events import MessageEnded, draft
from rejoinder.fold import ReplyText

log = logging.getLogger(__name__)
T = TypeVar("T")

EACH_CALL = 256
"""Bytes that a tool call counts beside its arguments: it has a name and an id, and costs more than these in a history."""


class Tools(Struct, frozen=True):
    """What every generation of a service works with."""

    decisions: Decisions
    prompts: Prompts
    models: Models
    endings: Endings
    limits: ReplyLimits
    retrying: attempts.Retrying


class Generation:
    """One reply. `run` writes it to its end; `halt` makes that end come now."""

    def __init__(self, key: Key, start: Start, tools: Tools) -> None:
        self.key = key
        self.reply = start.reply
        self.mine = start.mine
        self._tools = tools
        self._writer = tools.decisions.writer
        self._models = start.models
        self._params = start.params
        self._text = ReplyText.of(start.reply)
        assert start.mine.epoch is not None
        self._buffer = DeltaBuffer(
            key, start.reply.id, self._text, epoch=start.mine.epoch, max_delta=tools.limits.max_delta
        )
        self._spending = Spending(start.spent)
        self._system_prompt: str | None = None
        self._composed = start.composed
        self._shorter: Shorter | None = None
        self._finish = ""
        self._bytes = len(self._text.part("content").encode()) + len(self._text.part("reasoning").encode())
        self._halted: Outcome | None = None
        self._asking: asyncio.Task[Outcome] | None = None
        self._telling: asyncio.Task[bool] | None = None

    async def run(self) -> None:
        outcome = self._halted or await self._ask()
        await self._end(outcome)

    def halt(self, outcome: Outcome) -> None:
        """Closes the upstream and lets the reply end with this outcome. The first halt counts."""
        if self._halted is None:
            self._halted = outcome
            if self._asking is not None:
                self._asking.cancel()

    async def commit_text(self) -> None:
        """Commits what is left of the text, without an end: whoever takes the reply over goes on from it."""
        if (append := self._buffer.take()) is not None:
            await self._writer.append(append, self.mine.epoch)

    async def _ask(self) -> Outcome:
        """Asks in a task of its own, so that halting cancels the asking and not the end of the reply."""
        self._asking = asyncio.create_task(self._attempts(), name=f"asking for {self.reply.id}")
        try:
            return await self._asking
        except asyncio.CancelledError:
            if self._halted is None or _is_cancelled():
                # It is this generation that is cancelled: the lease was lost, and the reply is another worker's to end.
                raise
            if self._telling is not None:  # what it has taken of the text is committed with it, or put back
                await self._telling
            return self._halted
        except (ProviderError, Invalid) as fault:
            log.info("reply %s: %s, and it has failed", self.reply.id, fault.code)
            return failed(fault.code, fault.detail)
        except NotFound:
            return stopped()  # the session was deleted meanwhile, and nobody will see how it ends
        except LeaseLost:
            raise  # it is another worker's to end
        except Exception:
            log.exception("reply %s failed by a fault of our own", self.reply.id)
            return failed("internal_error", "The service failed while it asked for this reply.")
        finally:
            # A generation that is given up must not leave its upstream writing.
            self._asking.cancel()
            if self._telling is not None:
                self._telling.cancel()

    async def _attempts(self) -> Outcome:
        """Attempt after attempt, as long as something follows a fault. The first was told of by whoever started this."""
        # A stop may have come from elsewhere before wakes could halt this reply: then its wake has made this worker forget the session.
        header = await patiently(lambda: self._tools.decisions.last_known(self.key))
        if not self._goes_on(header.open_reply(self.reply.id)):
            return stopped()
        tries = 1
        watchdog = Watchdog(self._tools.limits)
        self._system_prompt = (
            self._composed.asking.system_prompt if self._composed is not None else header.session.system_prompt
        )
        while True:
            try:
                return await self._attempt(watchdog)
            except ProviderError as fault:
                self._spending.end(self._buffer.size, asked=not self._unasked(fault))
                following = await self._after(fault, tries)
                if following is None:
                    raise
                log.info("reply %s: %s, and %s is asked", self.reply.id, fault.code, following.models[0])
                await asyncio.sleep(following.wait)
                if following.share is None:
                    tries = tries + 1 if following.models == self._models else 1
                    self._turn_to(following.models)
                self._telling = asyncio.create_task(self._tell_attempt(fault))
                # To halt is not to break off a decision: it may stand already, and what it is about be told in it.
                if not await asyncio.shield(self._telling):
                    return stopped()

    async def _after(self, fault: ProviderError, tries: int) -> attempts.Next | None:
        """What follows a fault. Where that is a shorter prompt, it is there already."""
        if fault.window is not None:
            self._tools.models.learn_window(self._models[0], fault.window)
        if self.reply.continues is not None and self._buffer.calls:
            return None  # it would begin anew, and go on from nothing
        # Once only, and not where the reply had begun: then it was no matter of the prompt.
        shortens = self._shorter is None and self._composed is not None and not self._buffer.size
        following = attempts.after(fault, self._models, tries, self._tools.retrying, shortens=shortens)
        if following is not None and following.share is not None and not await self._shorten(following.share):
            following = attempts.after(fault, self._models, tries, self._tools.retrying)
        return following

    def _unasked(self, fault: ProviderError) -> bool:
        """Whether the upstream cannot have begun a reply, so that nothing is owed."""
        return fault.before_reply or fault.refused or (fault.code == "context_overflow" and not self._buffer.size)

    async def _shorten(self, share: float) -> bool:
        """Leaves out more of the branch. False where no more can be, or should be: then the same would be refused again."""
        before = self._composed
        if before is None or self._prompt_wanted().policy == "error":
            return False
        self._shorter = Shorter(share, before.first)
        self._composed = await self._compose()
        return self._composed.messages != before.messages

    def _turn_to(self, models: tuple[str, ...]) -> None:
        """From the next attempt on. Its prompt may be another: for another model, or to go on from what is there."""
        if models != self._models:
            self._models, self._shorter = models, None
        self._composed = None

    def _prompt_wanted(self) -> Asking:
        return Asking(
            model=self._models[0],
            params=self._params,
            system_prompt=self._system_prompt,
            prefill=self._text.part("content"),
            shorter=self._shorter,
        )

    async def _compose(self) -> Composed:
        return await patiently(lambda: self._tools.prompts.compose(self.key, self.reply, self._prompt_wanted()))

    async def _attempt(self, watchdog: Watchdog) -> Outcome:
        """Asks once and reads the upstream to its end. What one read brought is committed together.

        Between two reads it rests until the next commit gathers: what came sooner would wait there, read piece by piece.
        """
        provider, model = self._tools.models.resolve(self._models[0])
        composed = self._composed = self._composed or await self._compose()
        self._spending.begin(composed.messages, self._text.size, self._params)
        try:
            await self._read(provider, model, composed, watchdog)
        except ProviderError:
            if not self._finish:  # else the reply is whole, whatever goes wrong behind it
                raise
        if self._buffer.refused:
            return stopped()
        if self._finish == "content_filter":
            return failed("content_filtered", "The upstream withheld the rest of this reply.", self._finish)
        return Outcome(status=Status.COMPLETED, finish_reason=self._finish_reason())

    async def _read(self, provider: Provider, model: str, composed: Composed, watchdog: Watchdog) -> None:
        """Asks an upstream, and takes what it says until its end, or until the log takes no more."""
        writer, buffer = self._writer, self._buffer
        with watchdog.watching():
            params = self._tools.models.taken(provider, prompt_record.upstream_params(self._params))
            asked = await provider.prepare(Prompt(model=model, messages=composed.messages, params=params))
            self._tell_prompt(provider.body(asked), asked, composed)
            async with aclosing(provider.stream(asked)) as reads:
                look = partial(self._look, reads, watchdog)
                async for chunks in reads:
                    self._hear(chunks, watchdog)
                    if not (self._finish or buffer.refused):
                        await writer.rest(look, reads.pieces)
                    if buffer.refused:
                        return
                    watchdog.go_on()

    def _look(self, reads: ChunkStream, watchdog: Watchdog, soon: bool) -> int | None:
        """Takes what has come. How many pieces that makes in all; None where the reply does not rest on: where the stream has to be
        waited for, and at its end.

        Where nothing has come it does if it is looked at again `soon`: to be told by the event loop costs as much as some looks.
        """
        chunks = reads.ready()
        if chunks:
            self._hear(chunks, watchdog)
            return None if self._finish or self._buffer.refused else reads.pieces
        if chunks is None:
            return None
        watchdog.silent()
        return reads.pieces if soon else None

    def _finish_reason(self) -> str:
        """In the words of Chat Completions: some servers end tool calls with `stop`, others with what they were called once."""
        if self._finish in ("stop", "function_call") and self._buffer.calls:
            return "tool_calls"
        return self._finish

    def _tell_prompt(self, body: bytes, asked: Prompt, composed: Composed) -> None:
        """Notes what is sent upstream, to be committed right before whatever comes of it.

        Never by itself: streams skip it, and a session whose last event no reader sees would look ahead of its readers.
        """
        sent = prompt_record.sent(body, self.reply, asked.model, composed)
        self._buffer.note(draft(sent))

    async def _tell_attempt(self, fault: ProviderError) -> bool:
        """Tells of the next attempt before it is made. Returns False where someone has asked for an end meanwhile."""
        rest = self._buffer.take_drafts()
        *earlier, last = self.reply.attempts
        error = ReplyError(code=fault.code, message=fault.detail)
        self.reply = structs.replace(self.reply, attempts=(*earlier, structs.replace(last, error=error)))
        written = self._text.on(self.reply)
        kept = goes_on(written, self._tools.models.prefills(self._models[0]))
        begun, told = next_attempt(written, self._models[0], None if kept else fault.code, self._spending.so_far)

        async def plan(header: Header) -> Decision[bool]:
            if not self._goes_on(header.open_reply(self.reply.id)):
                return Decision(False)
            return Decision(True, change(self.key, header, header.session, (*rest, *told)))

        try:
            told_of = (await patiently(lambda: self._tools.decisions.decide(self.key, plan))).outcome
        except SessionNotFound:
            return False
        if told_of:
            self.reply = begun
            if not kept:
                self._text = ReplyText()
                self._buffer.restart(self._text)
                self._bytes = 0
        else:
            self._buffer.note(*rest)
        return told_of

    def _goes_on(self, mine: OpenReply | None) -> bool:
        return mine is not None and not mine.stopping and mine.epoch == self.mine.epoch == self._writer.epoch

    def _hear(self, chunks: Sequence[Chunk], watchdog: Watchdog) -> None:
        if isinstance(chunks[0], LifeChunk):
            watchdog.alive()
        else:
            watchdog.heard()
            self._take(chunks)

    def _take(self, chunks: Sequence[Chunk]) -> None:
        self._writer.write(self._buffer)
        for chunk in chunks:
            match chunk:
                case TextChunk():
                    self._add(chunk)
                case DetailsChunk(details=details):
                    self._text.details = details
                case FinishChunk(reason=reason):
                    self._finish = reason
                case UsageChunk(usage=usage):
                    self._spending.told(usage)

    def _add(self, chunk: TextChunk) -> None:
        size = len(chunk.text.encode()) + (EACH_CALL + len(chunk.id or "") if chunk.id or chunk.name else 0)
        if chunk.extra:
            size += len(msgspec.json.encode(chunk.extra))
        room = self._tools.limits.max_bytes - self._bytes
        if size > room:
            kept = chunk.text.encode()[: max(0, room)].decode(errors="ignore")
            self._buffer.add(structs.replace(chunk, text=kept))
            raise ProviderError("reply_too_long", f"The reply grew longer than {self._tools.limits.max_bytes} bytes.")
        self._bytes += size
        self._buffer.add(chunk)

    async def _end(self, outcome: Outcome) -> None:
        """Appends the end with what text is left, if the reply is still this worker's to end.

        Raises the fault of our own for which a part of the text is not in the log: then the log alone says how far the reply came.
        """
        if self._buffer.fault is not None:
            raise self._buffer.fault
        rest = self._buffer.take_drafts()
        self._spending.end(self._text.size)
        usage = self._spending.usage()

        async def plan(header: Header, mine: OpenReply) -> Ending | None:
            if mine.epoch != self.mine.epoch:
                return None
            if mine.epoch != self._writer.epoch:
                # This worker has another lease by now. Under that it may take the reply up, as any other may, and no more.
                raise LeaseLost("The lease under which this reply was written is over.")
            said = stopped() if mine.stopping else outcome
            now = self._tools.decisions.now(header.session)
            ended = ended_reply(self._text.on(self.reply), said, usage, now)
            return Ending(drafts=(*rest, draft(MessageEnded(message=ended))), now=now)

        halted = self._halted is not None  # by somebody who waits for it
        if not await patiently(lambda: self._tools.endings.end(self.key, self.reply.id, plan, pressing=halted)):
            log.info("reply %s ended after its session was deleted", self.reply.id)


async def patiently(work: Callable[[], Awaitable[T]]) -> T:
    """Work of the service's own, which has nobody to tell that the store is away: it waits until it is back."""
    while True:
        try:
            return await work()
        except StoreUnavailable as away:
            log.warning("waiting for the store: %s", away.detail)
            await asyncio.sleep(1)


def _is_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
