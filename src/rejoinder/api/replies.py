"""The routes that take a reply further: another one, one that goes on, and what was asked of the upstream for it."""

from typing import Annotated

from fastapi import APIRouter, Body, Request
from starlette.responses import Response

from rejoinder.api import limits, turns
from rejoinder.api.dependencies import (
    AppSettings,
    ChatService,
    Cursor,
    IdempotencyKey,
    MessageIdPath,
    OpenStreams,
    SessionKey,
    chosen_id,
)
from rejoinder.api.responses import answers, json_answer, problems
from rejoinder.api.schemas import ReplyBody, asked
from rejoinder.api.strict_json import StrictRoute
from rejoinder.chat import ids
from rejoinder.chat.asked_prompts import AskedPrompts
from rejoinder.chat.sending import AnotherReply, Continuation

router = APIRouter(prefix="/v1/sessions/{sid}/messages/{mid}", tags=["messages"], route_class=StrictRoute)

AnyReplyBody = Annotated[ReplyBody, Body()]
NOTHING_SAID = ReplyBody()


@router.post("/replies", responses=turns.DOCUMENTED)
async def another_reply(
    request: Request,
    chat: ChatService,
    settings: AppSettings,
    open_streams: OpenStreams,
    key: SessionKey,
    mid: MessageIdPath,
    cursor: Cursor,
    idempotency_key: IdempotencyKey,
    body: AnyReplyBody = NOTHING_SAID,
) -> Response:
    """Ask for another reply to a message (regenerate). The replies that are there stay, as siblings of the new one."""
    limits.check_reply(body, settings)
    reply_id = chosen_id("msg", body.id, idempotency_key, key.session_id, mid, "replies") or ids.new_message_id()
    wanted = AnotherReply(to=mid, **asked(body))
    return await turns.answer(
        request, chat, open_streams, key, cursor, settings.heartbeat, lambda: chat.reply(key, reply_id, wanted)
    )


@router.post("/continue", responses=turns.DOCUMENTED)
async def continue_reply(
    request: Request,
    chat: ChatService,
    settings: AppSettings,
    open_streams: OpenStreams,
    key: SessionKey,
    mid: MessageIdPath,
    cursor: Cursor,
    idempotency_key: IdempotencyKey,
    body: AnyReplyBody = NOTHING_SAID,
) -> Response:
    """Go on with a reply that broke off: a new reply beside it, which begins with its text."""
    limits.check_reply(body, settings)
    reply_id = chosen_id("msg", body.id, idempotency_key, key.session_id, mid, "continue") or ids.new_message_id()
    wanted = Continuation(source=mid, **asked(body))
    return await turns.answer(
        request, chat, open_streams, key, cursor, settings.heartbeat, lambda: chat.go_on(key, reply_id, wanted)
    )


@router.get("/prompt", responses=answers(AskedPrompts, "What was sent upstream.") | problems(404, 409, 503))
async def reply_prompt(chat: ChatService, key: SessionKey, mid: MessageIdPath) -> Response:
    """Fetch what was sent upstream for a reply: of each attempt the very bytes, as `request`."""
    return json_answer(await chat.asked_prompts.of(key, mid))
