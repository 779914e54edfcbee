"""What routes ask of a request: the service, the owner, ids, cursors and keys. Whatever can be refused is refused here,
before the first byte of an answer.

Dependencies are `async` though they wait for nothing: FastAPI would run any other in a thread, six of them for a send.
"""

import base64
import binascii
import re
from typing import Annotated

from fastapi import Depends, Header, Path, Query, Request

from rejoinder.abc import SessionCursor
from rejoinder.api.sse import Streams
from rejoinder.chat import ids
from rejoinder.chat.service import Chat
from rejoinder.entities import Key
from rejoinder.errors import InvalidCursor, MessageNotFound, SessionNotFound, wrong
from rejoinder.settings import Settings

OWNER = "local"
"""The one owner, where no keys are configured."""

IDEMPOTENCY_KEY = re.compile(r"[\x21-\x7e]{1,255}")

LastEventId = Annotated[
    str | None, Header(description="The id of the last event that was received. Wins over `after`.")
]
After = Annotated[str | None, Query(description="The seq of the last event that was received.")]
SessionId = Annotated[str, Path(description="The session's id.")]
IdempotencyHeader = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        description="Names this request: the same key again is a retry. 1 to 255 visible ASCII.",
        json_schema_extra={"minLength": 1, "maxLength": 255, "pattern": f"^{IDEMPOTENCY_KEY.pattern}$"},
    ),
]


async def _chat(request: Request) -> Chat:
    chat: Chat = request.app.state.chat
    return chat


async def _settings(request: Request) -> Settings:
    settings: Settings = request.app.state.settings
    return settings


async def _streams(request: Request) -> Streams:
    streams: Streams = request.app.state.streams
    return streams


ChatService = Annotated[Chat, Depends(_chat)]
AppSettings = Annotated[Settings, Depends(_settings)]
OpenStreams = Annotated[Streams, Depends(_streams)]


async def _key(sid: SessionId) -> Key:
    return session_key(sid)


def session_key(sid: str) -> Key:
    """Raises SessionNotFound for what is no id."""
    if not ids.SESSION_ID.fullmatch(sid):
        raise SessionNotFound(sid)
    return Key(OWNER, sid)


async def _message_id(mid: Annotated[str, Path(description="The message's id.")]) -> str:
    if not ids.MESSAGE_ID.fullmatch(mid):
        raise MessageNotFound(mid)
    return mid


SessionKey = Annotated[Key, Depends(_key)]
MessageIdPath = Annotated[str, Depends(_message_id)]


async def _cursor(last_event_id: LastEventId = None, after: After = None) -> int | None:
    return cursor_of(last_event_id, after)


def cursor_of(last_event_id: str | None, after: str | None) -> int | None:
    """Raises InvalidCursor."""
    return parse_seq(after if last_event_id is None else last_event_id)


def parse_seq(text: str | None) -> int | None:
    """A seq as a client gives it. None where it gives none; raises InvalidCursor for what is no seq."""
    if text is None:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) <= 18):
        raise InvalidCursor("A cursor is the id of an event, a decimal number.")
    return int(text)


Cursor = Annotated[int | None, Depends(_cursor)]


async def _idempotency_key(key: IdempotencyHeader = None) -> str | None:
    return checked_idempotency_key(key)


def checked_idempotency_key(idempotency_key: str | None) -> str | None:
    """Raises Invalid."""
    if idempotency_key is not None and not IDEMPOTENCY_KEY.fullmatch(idempotency_key):
        raise wrong("header.idempotency-key", "An Idempotency-Key has 1 to 255 visible ASCII characters.")
    return idempotency_key


IdempotencyKey = Annotated[str | None, Depends(_idempotency_key)]


def chosen_id(prefix: str, own: str | None, idempotency_key: str | None, *route: str) -> str | None:
    """The id that the client chose, itself or by a key; None where it left that to the service."""
    if own is not None and idempotency_key is not None:
        raise wrong("body.id", "Either an id in the body or an Idempotency-Key names the request, not both.")
    if idempotency_key is not None:
        return ids.derived_id(prefix, OWNER, *route, idempotency_key)
    return own


def encode_cursor(cursor: SessionCursor) -> str:
    text = f"{cursor.updated_at} {cursor.session_id}"
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def decode_cursor(text: str | None) -> SessionCursor | None:
    if text is None:
        return None
    try:
        said = base64.urlsafe_b64decode(text.encode() + b"=" * (-len(text) % 4)).decode()
        updated_at, session_id = said.split(" ")
    except (binascii.Error, ValueError) as error:
        raise InvalidCursor("This is no cursor of a list of sessions.") from error
    if not (ids.TIME.fullmatch(updated_at) and ids.SESSION_ID.fullmatch(session_id)):
        raise InvalidCursor("This is no cursor of a list of sessions.")
    return SessionCursor(updated_at, session_id)
