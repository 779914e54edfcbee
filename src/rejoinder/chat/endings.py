"""The end of a reply, in one shape for all who end one: the worker that wrote it, and whoever recovers it."""

from msgspec import Struct, structs

from rejoinder.abc import Append, EndedRow
from rejoinder.chat import prompt
from rejoinder.chat.decisions import change
from rejoinder.entities import Header, JsonObject, Key, Message, ReplyError, Status, Usage
from rejoinder.events import Draft, MessageEnded, draft


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


def end(key: Key, header: Header, ended: Message, *, before: tuple[Draft, ...] = ()) -> Append:
    """The append that ends a reply, behind the drafts that were still to be written before it."""
    drafts = (*before, draft(MessageEnded(message=ended)))
    session = structs.replace(header.session, updated_at=ended.ended_at or header.session.updated_at)
    left = tuple(reply for reply in header.open if reply.id != ended.id)
    row = EndedRow(id=ended.id, at=len(before))
    return change(key, header, session, drafts, open_replies=left, ended=(row,))


def estimated_usage(asked: tuple[JsonObject, ...], characters: int) -> Usage:
    return Usage(
        input_tokens=prompt.estimated_tokens(asked),
        output_tokens=-(-characters // prompt.TOKEN),
        source="estimated",
    )
