"""The end of a reply, in one shape for all who end one, and what it lets begin: the next of the queue, in the same append.

Whoever ends a reply starts what waited for that end, so no queue stands still between the two, whatever crashes when.
"""

from collections.abc import Awaitable, Callable

from msgspec import Struct, structs

from rejoinder.abc import Append, EndedRow
from rejoinder.chat.decisions import Decision, Decisions, change
from rejoinder.chat.queue import due
from rejoinder.chat.starting import Start, Starting
from rejoinder.entities import Header, Key, Message, OpenReply, ReplyError, Status, Usage
from rejoinder.errors import SessionNotFound
from rejoinder.events import Draft, MessageEnded, MessageStopping, draft


class Outcome(Struct, frozen=True, kw_only=True):
    """How a reply came to its end."""

    status: Status
    finish_reason: str | None = None
    error: ReplyError | None = None


def failed(code: str, detail: str, finish: str | None = None) -> Outcome:
    return Outcome(status=Status.FAILED, finish_reason=finish, error=ReplyError(code=code, message=detail))


def stopped() -> Outcome:
    return Outcome(status=Status.STOPPED)


def interrupted() -> Outcome:
    why = ReplyError(code="server_restarted", message="The server was stopped while it wrote this reply.")
    return Outcome(status=Status.INTERRUPTED, error=why)


def ended_reply(reply: Message, outcome: Outcome, usage: Usage, now: str) -> Message:
    """The whole message at its end; the last attempt carries what ended it."""
    attempts = reply.attempts
    if attempts and outcome.error is not None:
        attempts = (*attempts[:-1], structs.replace(attempts[-1], error=outcome.error))
    return structs.replace(
        reply,
        status=outcome.status,
        finish_reason=outcome.finish_reason,
        error=outcome.error,
        usage=usage,
        attempts=attempts,
        ended_at=now,
    )


NOTHING = Usage(input_tokens=0, output_tokens=0, source="estimated")
"""The usage of a reply for which no upstream was asked."""


def unasked(reply: Message, now: str) -> tuple[Draft, Draft]:
    """The end of a reply that was still queued: nobody writes it, so whoever stops it ends it."""
    ended = ended_reply(reply, stopped(), NOTHING, now)
    return draft(MessageStopping(message_id=reply.id)), draft(MessageEnded(message=ended))


class Ending(Struct, frozen=True, kw_only=True):
    """The drafts that end a reply, `message.ended` last, and when that is."""

    drafts: tuple[Draft, ...]
    now: str


class Endings:
    """Appends ends. `begin` is told of each reply that this worker has to write from then on."""

    def __init__(self, decisions: Decisions, starting: Starting) -> None:
        self._decisions = decisions
        self._starting = starting
        self.begin: Callable[[Key, Start], None] = lambda _, __: None

    async def end(
        self,
        key: Key,
        reply_id: str,
        plan: Callable[[Header, OpenReply], Awaitable[Ending | None]],
        *,
        pressing: bool = False,
    ) -> bool:
        """Ends a reply as `plan` says of it as it is in the header. Where that is None, or it has ended, nothing is done.

        It is `pressing` where somebody waits for the end. Returns False where the session is gone.
        """

        async def planned(header: Header) -> Decision[list[Start]]:
            reply = header.open_reply(reply_id)
            ending = None if reply is None else await plan(header, reply)
            if ending is None:
                return Decision([])
            append, starts = await self._append(key, header, reply_id, ending)
            return Decision(starts, append)

        try:
            decided = await self._decisions.decide(key, planned, pressing=pressing)
        except SessionNotFound:
            return False
        for start in decided.outcome:
            self.begin(key, start)
        return True

    async def _append(self, key: Key, header: Header, reply_id: str, ending: Ending) -> tuple[Append, list[Start]]:
        left = tuple(reply for reply in header.open if reply.id != reply_id)
        ready = await due(self._decisions.store, key, left)
        open_replies, starts, begun = await self._starting.next(key, left, ready)
        session = structs.replace(header.session, updated_at=ending.now)
        row = EndedRow(id=reply_id, at=len(ending.drafts) - 1, ended_at=ending.now)
        drafts = (*ending.drafts, *begun)
        return change(key, header, session, drafts, open_replies=open_replies, ended=(row,)), starts
