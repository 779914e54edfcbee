"""The routes of sessions, and of the stream of a whole session."""

from functools import partial
from typing import Annotated

from fastapi import APIRouter, Body, Query, Request
from msgspec import UNSET
from starlette.responses import Response

from rejoinder.abc import SessionCursor
from rejoinder.api import limits, negotiation
from rejoinder.api.dependencies import (
    OWNER,
    AppSettings,
    ChatService,
    Cursor,
    IdempotencyKey,
    OpenStreams,
    SessionKey,
    chosen_id,
    decode_cursor,
    encode_cursor,
)
from rejoinder.api.responses import SessionPage, answers, endless, json_answer, problems
from rejoinder.api.schemas import ForkBody, NewSessionBody, SessionChangeBody, model_names
from rejoinder.api.search import QUESTION
from rejoinder.api.sse import EventStream, NotNow
from rejoinder.api.strict_json import StrictRoute
from rejoinder.chat import forking, ids
from rejoinder.chat.sessions import NewSession, SessionChange
from rejoinder.chat.usage import SessionUsage
from rejoinder.entities import Key, Session
from rejoinder.errors import InvalidCursor, StoreUnavailable

PAGE = 50
"""Sessions of a page where none are asked for: a list fills a screen or two, a history is wanted whole."""

router = APIRouter(prefix="/v1/sessions", tags=["sessions"], route_class=StrictRoute)


@router.post(
    "",
    status_code=201,
    responses=answers(Session, "The session.", 201, "Location") | problems(400, 408, 413, 415, 422, 503),
)
async def create_session(
    chat: ChatService,
    settings: AppSettings,
    idempotency_key: IdempotencyKey,
    body: Annotated[NewSessionBody, Body()] = NewSessionBody(),  # noqa: B008  # a frozen default, never changed
) -> Response:
    """Make a session. The same id (or key) and body again return the session that is there."""
    limits.check_session(body, settings)
    session_id = chosen_id("ses", body.id, idempotency_key, "sessions") or ids.new_session_id()
    new = NewSession(
        title=body.title,
        system_prompt=body.system_prompt,
        model=model_names(body.model),
        params=body.params.said(),
        metadata=body.metadata,
    )
    session = await chat.settled(chat.sessions.create(Key(OWNER, session_id), new))
    return json_answer(session, 201, {"location": f"/v1/sessions/{session.id}"})


@router.get("", responses=answers(SessionPage, "A page of sessions.") | problems(400, 422, 503))
async def list_sessions(
    chat: ChatService,
    settings: AppSettings,
    limit: Annotated[int | None, Query(description=f"Sessions of a page, by default {PAGE}.")] = None,
    after: Annotated[str | None, Query(description="`next` of the page before.")] = None,
    q: Annotated[
        str | None, Query(description=f"Sessions with these words in the title or a message. {QUESTION}")
    ] = None,
) -> Response:
    """List sessions, newest activity first."""
    size = min(PAGE, settings.max_page) if limit is None else limits.page_size(limit, settings)
    sessions, more = await chat.sessions.page(OWNER, decode_cursor(after), size, q)
    following = encode_cursor(SessionCursor(sessions[-1].updated_at, sessions[-1].id)) if more else None
    return json_answer(SessionPage(data=sessions, has_more=more, next=following))


@router.get("/{sid}", responses=answers(Session, "The session.") | problems(404, 503))
async def get_session(chat: ChatService, key: SessionKey) -> Response:
    """Fetch a session."""
    return json_answer(await chat.sessions.get(key))


@router.patch("/{sid}", responses=answers(Session, "The session.") | problems(400, 404, 408, 413, 415, 422, 503))
async def change_session(
    chat: ChatService, settings: AppSettings, key: SessionKey, body: SessionChangeBody
) -> Response:
    """Change what the body names; `params` and `metadata` are replaced whole."""
    limits.check_session(body, settings)
    given = body.model_fields_set
    wanted = SessionChange(
        title=body.title if "title" in given else UNSET,
        system_prompt=body.system_prompt if "system_prompt" in given else UNSET,
        model=model_names(body.model) if "model" in given else UNSET,
        params=body.params.said() if "params" in given else UNSET,
        metadata=body.metadata if "metadata" in given else UNSET,
        head=body.head if "head" in given else UNSET,
    )
    return json_answer(await chat.settled(chat.sessions.update(key, wanted)))


@router.delete("/{sid}", status_code=204, responses=problems(404, 503))
async def delete_session(chat: ChatService, key: SessionKey) -> Response:
    """Stop what is being written and delete the session with all its messages, for good."""
    await chat.delete(key)
    return Response(status_code=204)


@router.post(
    "/{sid}/fork",
    status_code=201,
    responses=answers(Session, "The new session.", 201, "Location") | problems(400, 404, 408, 413, 415, 422, 503),
)
async def fork_session(
    chat: ChatService, settings: AppSettings, key: SessionKey, idempotency_key: IdempotencyKey, body: ForkBody
) -> Response:
    """Make a new session that starts with the branch that ends at message `at`. Nothing of the old one changes."""
    limits.check_fork(body, settings)
    session_id = chosen_id("ses", body.id, idempotency_key, key.session_id, "fork") or ids.new_session_id()
    title = body.title if "title" in body.model_fields_set else UNSET
    forked = chat.forking.fork(key, body.at, Key(OWNER, session_id), title)
    session = await chat.settled(forked, forking.PATIENCE)
    return json_answer(session, 201, {"location": f"/v1/sessions/{session.id}"})


@router.get("/{sid}/usage", responses=answers(SessionUsage, "The sums.") | problems(404, 503))
async def session_usage(chat: ChatService, key: SessionKey) -> Response:
    """The tokens of all replies of the session that have ended."""
    return json_answer(await chat.usage.of(key))


@router.get(
    "/{sid}/events",
    response_class=EventStream,
    status_code=200,
    responses=endless("Every event of the session.") | problems(400, 404, 406),
)
async def session_events(
    request: Request,
    chat: ChatService,
    settings: AppSettings,
    open_streams: OpenStreams,
    key: SessionKey,
    cursor: Cursor,
) -> Response:
    """Follow a session: every turn, change and end, from its beginning or behind a cursor. Never ends by itself."""
    negotiation.check_stream(request.headers)
    try:
        session = await chat.sessions.get(key)
    except StoreUnavailable:
        return NotNow()
    if cursor is not None and cursor > session.last_seq:
        raise InvalidCursor(f"The cursor lies in the future: this session is at {session.last_seq}.")
    if open_streams.full:
        return NotNow()
    return EventStream(open_streams, partial(chat.following.follow, key, cursor or 0, None, settings.heartbeat))
