"""How a turn is answered, whichever route asked for it: as a stream, whole when it has ended, or with a receipt at once."""

from collections.abc import Awaitable, Callable
from contextlib import aclosing
from typing import Any

from fastapi import Request
from starlette.responses import Response

from rejoinder.api import negotiation
from rejoinder.api.responses import TurnAnswer, answers, json_answer, problems, streams
from rejoinder.api.sse import EventStream, Streams
from rejoinder.chat.sending import Turn
from rejoinder.chat.service import Chat
from rejoinder.entities import Key
from rejoinder.errors import InvalidCursor, Overloaded, SessionGone, SessionNotFound

DOCUMENTED: dict[int | str, Any] = (
    streams("The events of this turn, to the end of the reply.")
    | answers(TurnAnswer, "Both messages at once, with `Prefer: respond-async`.", 202)
    | problems(400, 404, 406, 409, 413, 415, 422, 503)
)
DOCUMENTED[200]["content"] |= answers(TurnAnswer, "")[200]["content"]


async def answer(
    request: Request,
    chat: Chat,
    open_streams: Streams,
    key: Key,
    cursor: int | None,
    heartbeat: float,
    begin: Callable[[], Awaitable[Turn]],
) -> Response:
    """Begins a turn, or attaches to it, and answers in the form that the request asks for."""
    form = negotiation.form_of(request.headers)
    if form == "stream" and open_streams.full:
        raise Overloaded("Too many streams are open just now.")
    if cursor is not None:
        check_cursor(cursor, (await chat.sessions.get(key)).last_seq)
    turn = await begin()
    links = _links(key, turn.reply.id)
    if form == "receipt":
        reply = await chat.history.message(key, turn.reply.id)
        receipt = TurnAnswer(message=turn.message, reply=reply)
        return json_answer(receipt, 202, links | {"preference-applied": "respond-async"})
    if form == "whole":
        return json_answer(await _whole(chat, key, turn, heartbeat), headers=links)
    if cursor is not None and await ended_by(chat, key, turn.reply.id, cursor):
        return Response(status_code=204, headers=links)
    after = turn.after if cursor is None else max(cursor, turn.after)
    frames = chat.following.follow(key, after, turn.message_ids, idle=heartbeat)
    return EventStream(open_streams, frames, until=turn.reply.id, headers=links)


def check_cursor(cursor: int, last_seq: int) -> None:
    if cursor > last_seq:
        raise InvalidCursor(f"The cursor lies in the future: this session is at {last_seq}.")


async def ended_by(chat: Chat, key: Key, reply_id: str, cursor: int) -> bool:
    """Whether a reader at this cursor has seen the reply's end."""
    ended = (await chat.history.row(key, reply_id)).ended
    return ended is not None and ended <= cursor


def _links(key: Key, reply_id: str) -> dict[str, str]:
    reply = f"/v1/sessions/{key.session_id}/messages/{reply_id}"
    return {"location": f"{reply}/events", "content-location": reply}


async def _whole(chat: Chat, key: Key, turn: Turn, heartbeat: float) -> TurnAnswer:
    """The turn once its reply has ended."""
    frames = chat.following.follow(key, turn.after, {turn.reply.id}, idle=heartbeat)
    try:
        async with aclosing(frames) as batches:  # type: ignore[type-var]  # it is an async generator
            async for batch in batches:
                if any(frame.type == "message.ended" for frame in batch):
                    break
    except SessionGone as gone:
        raise SessionNotFound(key.session_id) from gone
    reply = await chat.history.message(key, turn.reply.id)
    return TurnAnswer(message=turn.message, reply=reply)
