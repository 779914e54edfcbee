"""What the calls of the client take and give, beside the entities."""

from typing import Literal, TypedDict

from msgspec import Struct

from rejoinder.entities import JsonObject, Message


class SessionFields(TypedDict, total=False):
    """What a session can be given. None takes a value away."""

    title: str | None
    system_prompt: str | None
    model: str | list[str] | None
    params: JsonObject
    metadata: dict[str, str]


class ToolResult(TypedDict):
    """What a tool gave back, for the call of this id in the reply that asked for it."""

    tool_call_id: str
    content: str


class MessageFields(TypedDict, total=False):
    """What goes with a message. Without `parent_id` it follows the session's head; an older one makes a branch,
    None one at the root. `model` and `params` are for this turn alone. `if_busy` is what happens while a reply runs above:
    raise SessionBusy (the default), wait for its end, or end it. With the role "tool" come `results`, one for each call
    of the reply above, and no content."""

    role: Literal["user", "tool"]
    results: list[ToolResult]
    parent_id: str | None
    model: str | list[str] | None
    params: JsonObject
    if_busy: Literal["reject", "queue", "interrupt"]
    metadata: dict[str, str]


class Turn(Struct, frozen=True, kw_only=True):
    """A message and the reply to it, as they were when the server took them."""

    message: Message
    reply: Message


class Model(Struct, frozen=True, kw_only=True):
    id: str
    default: bool
    prefill: bool
    """Whether it goes on from a reply that broke off."""
