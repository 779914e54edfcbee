"""How a turn is answered, whichever route asked for it: as a stream, whole when it has ended, or with a receipt at once."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any

from fastapi import FastAPI, Header, Request
from starlette.datastructures import Headers
from starlette.responses import Response

from rejoinder.api import negotiation
from rejoinder.api.dependencies import (
    After,
    IdempotencyHeader,
    LastEventId,
    SessionId,
    checked_idempotency_key,
    chosen_id,
    cursor_of,
    session_key,
)
from rejoinder.api.responses import TurnAnswer, answers, json_answer, problems, streams, told_headers
from rejoinder.api.sse import EventStream, Streams
from rejoinder.chat.asked import Turn
from rejoinder.chat.service import Chat
from rejoinder.entities import Key
from rejoinder.errors import InvalidCursor, Overloaded
from rejoinder.settings import Settings

LINKS = ("Location", "Content-Location")

DOCUMENTED: dict[int | str, Any] = (
    streams("The events of this turn, to the end of the reply.")
    | answers(TurnAnswer, "Both messages at once, with `Prefer: respond-async`.", 202, *LINKS, "Preference-Applied")
    | problems(400, 404, 406, 408, 409, 413, 415, 422, 503)
)
DOCUMENTED[200]["content"] |= answers(TurnAnswer, "")[200]["content"]
for _status in (200, 204):
    DOCUMENTED[_status] |= told_headers(*LINKS)


@dataclass(frozen=True)
class TurnRequest:
    """What every route that begins a turn asks of its request, beside the body."""

    chat: Chat
    settings: Settings
    key: Key
    headers: Headers
    open_streams: Streams
    cursor: int | None
    idempotency_key: str | None

    def chosen_id(self, own: str | None, *route: str) -> str | None:
        """The id of the message that the request makes, where the client has chosen it, by itself or by its key."""
        return chosen_id("msg", own, self.idempotency_key, self.key.session_id, *route)

    async def answer(self, begin: Callable[[], Awaitable[Turn]]) -> Response:
        """Begins a turn, or attaches to it, and answers in the form that the request asks for."""
        chat, key, cursor = self.chat, self.key, self.cursor
        form = negotiation.form_of(self.headers)
        if form == "stream" and self.open_streams.full:
            raise Overloaded("Too many streams are open just now.")
        if cursor is not None:
            check_cursor(cursor, (await chat.sessions.get(key)).last_seq)
        turn = await begin()
        links = _links(key, turn.reply.id)
        if form != "stream":
            if form == "receipt":
                links["preference-applied"] = "respond-async"
            else:
                await self.open_streams.or_let_go(chat.following.ended(key, turn.reply.id, turn.after))
            told = TurnAnswer(message=turn.message, reply=await chat.history.message(key, turn.reply.id))
            return json_answer(told, 202 if form == "receipt" else 200, links)
        if cursor is not None and await ended_by(chat, key, turn.reply.id, cursor):
            return Response(status_code=204, headers=links)
        after = turn.after if cursor is None else max(cursor, turn.after)
        follow = partial(chat.following.follow, key, after, turn.message_ids, self.settings.heartbeat)
        return EventStream(self.open_streams, follow, until=turn.reply.id, headers=links)


def turn_request(request: Request) -> TurnRequest:
    """Reads `PARAMETERS` by itself: each dependency costs FastAPI as much as a read of the store."""
    state, headers = request.app.state, request.headers
    return TurnRequest(
        chat=state.chat,
        settings=state.settings,
        key=session_key(request.path_params["sid"]),
        headers=headers,
        open_streams=state.streams,
        cursor=cursor_of(headers.get("last-event-id"), request.query_params.get("after")),
        idempotency_key=checked_idempotency_key(headers.get("idempotency-key")),
    )


PREFER = (
    "`respond-async`: a receipt at once, unless `Accept` names `text/event-stream`. `Accept` chooses between the other two forms: "
    "`text/event-stream` (or anything) and `application/json`."
)


def _parameters() -> dict[str, Any]:
    """What FastAPI would tell of them if it read them, for the document of the interface."""

    def asked(
        sid: SessionId,
        last_event_id: LastEventId = None,
        after: After = None,
        key: IdempotencyHeader = None,
        prefer: Annotated[str | None, Header(description=PREFER)] = None,
    ) -> None: ...

    documented = FastAPI()
    documented.post("/{sid}")(asked)
    return {"parameters": documented.openapi()["paths"]["/{sid}"]["post"]["parameters"]}


PARAMETERS = _parameters()


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
