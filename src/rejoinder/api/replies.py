"""The routes that take a reply further: another one, one that goes on, and what was asked of the upstream for it."""

from typing import Annotated

from fastapi import APIRouter, Body, Request
from starlette.responses import Response

from rejoinder.api import limits, turns
from rejoinder.api.dependencies import ChatService, MessageIdPath, SessionKey
from rejoinder.api.responses import answers, json_answer, problems
from rejoinder.api.schemas import ReplyBody, asked
from rejoinder.api.strict_json import StrictRoute
from rejoinder.chat.asked import AnotherReply, Continuation
from rejoinder.chat.asked_prompts import AskedPrompts

router = APIRouter(prefix="/v1/sessions/{sid}/messages/{mid}", tags=["messages"], route_class=StrictRoute)

AnyReplyBody = Annotated[ReplyBody, Body()]
NOTHING_SAID = ReplyBody()


@router.post("/replies", responses=turns.DOCUMENTED, openapi_extra=turns.PARAMETERS)
async def another_reply(request: Request, mid: MessageIdPath, body: AnyReplyBody = NOTHING_SAID) -> Response:
    """Ask for another reply to a message (regenerate). The replies that are there stay, as siblings of the new one."""
    turn = turns.turn_request(request)
    limits.check_reply(body, turn.settings)
    reply_id = turn.chosen_id(body.id, mid, "replies")
    wanted = AnotherReply(to=mid, **asked(body))
    return await turn.answer(lambda: turn.chat.reply(turn.key, reply_id, wanted))


@router.post("/continue", responses=turns.DOCUMENTED, openapi_extra=turns.PARAMETERS)
async def continue_reply(request: Request, mid: MessageIdPath, body: AnyReplyBody = NOTHING_SAID) -> Response:
    """Go on with a reply that broke off: a new reply beside it, which begins with its text."""
    turn = turns.turn_request(request)
    limits.check_reply(body, turn.settings)
    reply_id = turn.chosen_id(body.id, mid, "continue")
    wanted = Continuation(source=mid, **asked(body))
    return await turn.answer(lambda: turn.chat.go_on(turn.key, reply_id, wanted))


@router.get("/prompt", responses=answers(AskedPrompts, "What was sent upstream.") | problems(404, 409, 503))
async def reply_prompt(chat: ChatService, key: SessionKey, mid: MessageIdPath) -> Response:
    """Fetch what was sent upstream for a reply: of each attempt the very bytes, as `request`."""
    return json_answer(await chat.asked_prompts.of(key, mid))
