"""What clients ask for: a new message, results of tools, another reply, one that goes on; and the turn that comes of it."""

from typing import Any

import msgspec
from msgspec import UNSET, Struct, UnsetType, structs

from rejoinder.chat import ids
from rejoinder.chat.accepting import IfBusy
from rejoinder.chat.starting import Start
from rejoinder.entities import JsonObject, Message


class Asked(Struct, frozen=True, kw_only=True):
    """What every request for a reply may say."""

    model: str | tuple[str, ...] | None = None
    params: JsonObject = {}
    metadata: dict[str, str] = {}
    if_busy: IfBusy = "reject"

    def hash(self) -> str:
        told = structs.asdict(self)
        return ids.request_hash({name: _plain(value) for name, value in told.items()} | {"kind": type(self).__name__})


class Send(Asked, frozen=True, kw_only=True):
    """A new message. `parent_id` is UNSET for the session's head, None for a message at the root."""

    content: str | tuple[JsonObject, ...]
    parent_id: str | UnsetType | None = UNSET


class ToolResult(Struct, frozen=True):
    """What a tool gave back for one call of a reply. Text: it may as well say that the call failed."""

    tool_call_id: str
    content: str


class ToolResults(Asked, frozen=True, kw_only=True):
    """The results of all tool calls of a reply, which is `parent_id`, or the session's head where that is UNSET."""

    results: tuple[ToolResult, ...]
    parent_id: str | UnsetType | None = UNSET


class AnotherReply(Asked, frozen=True, kw_only=True):
    """One more reply to the message `to`."""

    to: str


class Continuation(Asked, frozen=True, kw_only=True):
    """A reply that goes on where the reply `source` broke off."""

    source: str


class Turn(Struct, frozen=True, kw_only=True):
    """A message and a reply to it, as they were when the reply was accepted.

    `after` is the cursor before the first event of the turn. `start` is there where this very call made it, and then
    this worker is to write the reply.
    """

    message: Message
    reply: Message
    after: int
    message_ids: frozenset[str]
    """The messages whose events are this turn's: those that the request made."""
    start: Start | None = None


def _plain(value: Any) -> Any:
    return str(value) if value is UNSET else msgspec.to_builtins(value)
