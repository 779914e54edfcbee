"""The routes of messages: sending in three forms, the history, a reply's stream, and stopping."""

from functools import lru_cache, partial
from typing import Annotated

from fastapi import APIRouter, Query, Request
from msgspec import UNSET, UnsetType
from starlette.responses import Response

from rejoinder.api import limits, negotiation, turns
from rejoinder.api.dependencies import (
    AppSettings,
    ChatService,
    Cursor,
    MessageIdPath,
    OpenStreams,
    SessionKey,
    parse_seq,
)
from rejoinder.api.responses import answers, json_answer, problems, streams
from rejoinder.api.schemas import SendBody, ToolResultsBody, UserMessageBody, asked
from rejoinder.api.sse import EventStream, NotNow
from rejoinder.api.strict_json import StrictRoute
from rejoinder.chat.asked import Send, ToolResult, ToolResults
from rejoinder.chat.history import NEWEST, Page, Window
from rejoinder.entities import Message
from rejoinder.errors import NotAReply, StoreUnavailable, wrong

router = APIRouter(prefix="/v1/sessions/{sid}/messages", tags=["messages"], route_class=StrictRoute)


@router.post("", responses=turns.DOCUMENTED, openapi_extra=turns.PARAMETERS)
async def send_message(request: Request, body: SendBody) -> Response:
    """Send a message and get the reply: streamed (the default), whole (`Accept: application/json`), or later
    (`Prefer: respond-async`). The reply goes on when the client goes away; the same id and body attach to it."""
    turn = turns.turn_request(request)
    limits.check_send(body, turn.settings)
    message_id = turn.chosen_id(body.id, "messages")
    if isinstance(body, ToolResultsBody):
        results = _results(body)
        return await turn.answer(lambda: turn.chat.answer_calls(turn.key, message_id, results))
    said = _send(body)
    return await turn.answer(lambda: turn.chat.send(turn.key, message_id, said))


@router.get("", responses=answers(Page, "A page of the history, oldest first.") | problems(400, 404, 422, 503))
async def list_messages(
    chat: ChatService,
    settings: AppSettings,
    key: SessionKey,
    limit: Annotated[
        int | None, Query(description="Messages of a page; by default as many as a page may have.")
    ] = None,
    after: Annotated[str | None, Query(description="A message id: the page behind it.")] = None,
    before: Annotated[str | None, Query(description=f"A message id, or `{NEWEST}`: the page that ends there.")] = None,
    branch: Annotated[
        str | None, Query(description="The message at which the branch ends (by default the head), or `all`.")
    ] = None,
    as_of: Annotated[str | None, Query(description="`as_of` of the first page, so that further pages fit.")] = None,
) -> Response:
    """Fetch the history: of the branch that ends at the head, of another, or of all of them."""
    if after is not None and before is not None:
        raise wrong("query.before", "A page lies either behind a message or before one.")
    size = settings.max_page if limit is None else limits.page_size(limit, settings)
    window = Window(limit=size, after=after, before=before)
    return json_answer(await chat.history.page(key, window, branch=branch, as_of=parse_seq(as_of)))


@router.get("/{mid}", responses=answers(Message, "The message.") | problems(404, 503))
async def get_message(chat: ChatService, key: SessionKey, mid: MessageIdPath) -> Response:
    """Fetch one message as it is now."""
    return json_answer(await chat.history.message(key, mid))


@router.get(
    "/{mid}/events",
    response_class=EventStream,
    status_code=200,
    responses=streams("The events of this reply, to its end.") | problems(400, 404, 406, 409),
)
async def reply_events(
    request: Request,
    chat: ChatService,
    settings: AppSettings,
    open_streams: OpenStreams,
    key: SessionKey,
    mid: MessageIdPath,
    cursor: Cursor,
) -> Response:
    """Follow one reply, from its start or behind a cursor. 204 where it has ended by then."""
    negotiation.check_stream(request.headers)
    try:
        session = await chat.sessions.get(key)
        row = await chat.history.row(key, mid)
        if row.ended == row.created:
            raise NotAReply(mid)
        turns.check_cursor(cursor or 0, session.last_seq)
        if cursor is not None and await turns.ended_by(chat, key, mid, cursor):
            return Response(status_code=204)
    except StoreUnavailable:
        return NotNow()
    if open_streams.full:
        return NotNow()
    after = row.created - 1 if cursor is None else max(cursor, row.created - 1)
    follow = partial(chat.following.follow, key, after, _only(mid), settings.heartbeat)
    return EventStream(open_streams, follow, until=mid)


@router.post("/{mid}/stop", responses=answers(Message, "The message, once it has ended.") | problems(404, 409, 503))
async def stop_reply(chat: ChatService, open_streams: OpenStreams, key: SessionKey, mid: MessageIdPath) -> Response:
    """End a reply. Answers when it has ended; one that had ended is answered unchanged."""
    return json_answer(await open_streams.or_let_go(chat.stop(key, mid)))


@lru_cache
def _only(mid: str) -> frozenset[str]:
    """The same object for all readers of a reply: what is written to them is looked up by it."""
    return frozenset((mid,))


def _results(body: ToolResultsBody) -> ToolResults:
    results = tuple(ToolResult(result.tool_call_id, result.content) for result in body.results)
    return ToolResults(results=results, parent_id=_parent(body), **asked(body))


def _parent(body: UserMessageBody | ToolResultsBody) -> str | UnsetType | None:
    return body.parent_id if "parent_id" in body.model_fields_set else UNSET


def _send(body: UserMessageBody) -> Send:
    content = body.content
    return Send(
        content=content if isinstance(content, str) else tuple(part.model_dump(exclude_unset=True) for part in content),
        parent_id=_parent(body),
        **asked(body),
    )
