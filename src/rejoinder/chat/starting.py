"""Starting a reply: what is written down before an upstream is asked, and all that whoever writes the reply must know."""

from collections.abc import Sequence

from msgspec import Struct, structs

from rejoinder.chat.decisions import Decisions
from rejoinder.chat.deltas import deltas_of
from rejoinder.chat.history import History
from rejoinder.chat.prompts import Composed
from rejoinder.entities import Attempt, JsonObject, Key, Message, OpenReply, Status, Usage
from rejoinder.events import Draft, Fact, MessageCreated, MessageReset, MessageStarted, draft, fact


class Start(Struct, frozen=True, kw_only=True):
    """A reply that this worker is to write. `reply` is as the log tells it, its last attempt just begun.

    `models` are those still to be asked, the one of that attempt first. `mine` is how the header names the reply for
    as long as it is this worker's. `composed` is the prompt of that attempt, where it was made while the start was committed.
    """

    reply: Message
    models: tuple[str, ...]
    params: JsonObject
    mine: OpenReply
    composed: Composed | None = None
    spent: Usage | None = None
    """What attempts before that one have cost, where another worker made them."""


class Starting:
    """`closed`: the service is about to stop, and what could start is left to whoever comes after."""

    def __init__(self, decisions: Decisions, history: History, max_delta: int) -> None:
        self._decisions = decisions
        self._history = history
        self._max_delta = max_delta
        self.closed = False

    def owned(self, reply_id: str, status: Status = Status.STREAMING) -> OpenReply:
        """An open reply under this worker's lease. Raises LeaseLost."""
        lease = self._decisions.writer.lease
        return OpenReply(id=reply_id, worker=lease.worker, epoch=lease.epoch, status=status)

    def begin(
        self,
        reply: Message,
        models: tuple[str, ...],
        params: JsonObject,
        anew: str | None = None,
        spent: Usage | None = None,
    ) -> tuple[Start, tuple[Draft, ...]]:
        """The next attempt at a reply, as `next_attempt` has it, and the drafts that tell of it.

        The first attempt of a continuation repeats the text that it goes on from.
        """
        begun, drafts = next_attempt(reply, models[0], anew, spent)
        if not reply.attempts:
            drafts += tuple(map(draft, deltas_of(begun, self._max_delta)))
        return Start(reply=begun, models=models, params=params, mine=self.owned(reply.id), spent=spent), drafts

    async def next(
        self, key: Key, open_replies: tuple[OpenReply, ...], ready: Sequence[OpenReply]
    ) -> tuple[tuple[OpenReply, ...], list[Start], list[Draft]]:
        """Starts those of the open replies that are `ready`. Returns the open replies then, the starts and their drafts."""
        changed: dict[str, OpenReply] = {}
        starts: list[Start] = []
        drafts: list[Draft] = []
        for reply in ready:
            if self.closed:
                # Under our epoch it is an orphan as soon as we are gone, and whoever sweeps then starts it.
                changed[reply.id] = self.owned(reply.id, Status.QUEUED)
                continue
            created = await self.created(key, reply.id)
            source = await self._continued(key, created.message)
            start, begun = self.begin(source, created.models, created.params)
            changed[reply.id] = start.mine
            starts.append(start)
            drafts += begun
        return tuple(changed.get(reply.id, reply) for reply in open_replies), starts, drafts

    async def created(self, key: Key, reply_id: str) -> MessageCreated:
        """What a reply was asked with."""
        row = await self._history.row(key, reply_id)
        [event] = await self._history.events_at(key, [row.created])
        said = fact(event)
        assert isinstance(said, MessageCreated)
        return said

    async def _continued(self, key: Key, reply: Message) -> Message:
        """A reply as it begins: one that goes on from another begins with the text of that."""
        if reply.continues is None:
            return reply
        return continuing(reply, await self._history.message(key, reply.continues))


def continuing(reply: Message, source: Message) -> Message:
    return structs.replace(reply, content=source.content, reasoning=source.reasoning)


def broke_off_in_its_text(reply: Message) -> bool:
    """Whether a model that takes a prefill could go on from there: the content has begun, and no tool call behind it."""
    return bool(reply.content) and not reply.tool_calls


def goes_on(written: Message, prefills: bool) -> bool:
    """Whether another attempt can go on from what a reply has: from nothing at all, or from inside its text with a model that can."""
    said = written.content or written.reasoning or written.tool_calls
    return not said or (prefills and broke_off_in_its_text(written))


def next_attempt(
    reply: Message, model: str, anew: str | None = None, spent: Usage | None = None
) -> tuple[Message, tuple[Draft, ...]]:
    """A reply once an upstream is being asked for it (again), and the drafts that tell of it.

    `anew` says why its text so far is forgotten; without that the attempt goes on from it. `spent` is the cost of those before it.
    """
    number = len(reply.attempts) + 1
    facts: list[Fact] = [MessageStarted(message_id=reply.id, attempt=number, model=model, spent=spent)]
    if anew is not None:
        facts.insert(0, MessageReset(message_id=reply.id, attempt=number, reason=anew))
        reply = structs.replace(reply, content="", reasoning="", tool_calls=())
    attempts = (*reply.attempts, Attempt(model=model))
    begun = structs.replace(reply, status=Status.STREAMING, model=model, attempts=attempts)
    return begun, tuple(map(draft, facts))
