"""How the service answers in JSON: its values encoded as they are, and the schema of each for the reference."""

import asyncio
import logging
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from rejoinder.api import connection
from rejoinder.api.problems import NOBODY_ELSE_S
from rejoinder.chat.asked_prompts import AskedPrompts
from rejoinder.chat.history import Page
from rejoinder.chat.search import SearchAnswer
from rejoinder.chat.usage import SessionUsage
from rejoinder.entities import Message, Session

log = logging.getLogger(__name__)


class SessionPage(msgspec.Struct, frozen=True, kw_only=True):
    """Sessions, newest activity first. `next` is what `?after=` takes for the next page."""

    data: list[Session]
    has_more: bool
    next: str | None


class TurnAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A message and the reply to it."""

    message: Message
    reply: Message


class Model(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    default: bool
    prefill: bool


class ModelList(msgspec.Struct, frozen=True, kw_only=True):
    data: list[Model]


class WrongPlace(msgspec.Struct, frozen=True, kw_only=True):
    """A place in a request, and what is wrong there."""

    loc: str
    message: str


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """An error (RFC 9457). `code` is stable. `errors` are the places of a 422, `reply_id` and `events` the running reply of a
    `session_busy` and its stream."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    errors: list[WrongPlace] | UnsetType = UNSET
    reply_id: str | UnsetType = UNSET
    events: str | UnsetType = UNSET


class JsonResponse(Response):
    """Any value of the service as JSON. Written in parts, and a reader that takes none of it for long is cut."""

    media_type = "application/json"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        seconds: float = scope["app"].state.settings.write_timeout
        start = {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}
        try:
            for message in (start, *connection.parts(bytes(self.body))):
                async with asyncio.timeout(seconds):
                    await send(message)
        except TimeoutError:
            log.info("a reader that took nothing for %g s was cut", seconds)
            connection.abort(scope)

    def render(self, content: Any) -> bytes:
        return msgspec.json.encode(content)


NO_STORE = {"cache-control": "no-store", **NOBODY_ELSE_S}


def json_answer(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> JsonResponse:
    return JsonResponse(value, status, NO_STORE | (headers or {}))


# --- the reference -----------------------------------------------------------------------------------------------

DOCUMENTED = (
    Session,
    Message,
    SessionPage,
    Page,
    TurnAnswer,
    ModelList,
    Problem,
    SessionUsage,
    AskedPrompts,
    SearchAnswer,
)


HEADERS = {
    "Location": "Where it is: the session that was made, or the events of the reply.",
    "Content-Location": "The reply.",
    "Preference-Applied": "`respond-async`.",
    "Retry-After": "Seconds.",
    "Allow": "The methods that there are.",
    "x-should-retry": "`false`: the same request again would only meet it again.",
}


def answers(kind: type, description: str, status: int = 200, *headers: str) -> dict[int | str, Any]:
    """A route's documentation of an answer of this kind, with these headers beside the usual ones."""
    content = {"application/json": {"schema": _ref(kind)}}
    return {status: {"description": description, "content": content, **told_headers(*headers)}}


def told_headers(*names: str) -> dict[str, Any]:
    told = {name: {"description": HEADERS[name], "required": True, "schema": {"type": "string"}} for name in names}
    return {"headers": told} if told else {}


def endless(description: str) -> dict[int | str, Any]:
    """A stream that does not end by itself."""
    return {200: {"description": description, "content": {"text/event-stream": {"schema": {"type": "string"}}}}}


def streams(description: str) -> dict[int | str, Any]:
    return endless(description) | {204: {"description": "The reply has ended at or before the cursor."}}


def problems(*statuses: int) -> dict[int | str, Any]:
    content = {"application/problem+json": {"schema": _ref(Problem)}}
    return {
        status: {"description": "A problem.", "content": content, **told_headers(*_OF_PROBLEMS.get(status, ()))}
        for status in statuses
    }


_OF_PROBLEMS = {405: ("Allow",), 409: ("x-should-retry",), 503: ("Retry-After",)}


def _ref(kind: type) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{kind.__name__}"}
