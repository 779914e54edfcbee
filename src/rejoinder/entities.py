"""What a chat is made of: sessions, messages and usage, as frozen values.

How they are kept and how they travel is elsewhere (`events`, `stores`, `api`). Field names and order are those of the
wire contract, so that encoding a value gives the object a client reads.
"""

import enum
from typing import Any, Literal, NamedTuple, TypeAlias

from msgspec import UNSET, Struct, UnsetType, structs

JsonObject: TypeAlias = dict[str, Any]

BIGGEST = 1 << 63
"""Integers beyond 64 bits cannot be kept by every store."""

Role: TypeAlias = Literal["system", "user", "assistant", "tool"]
Part: TypeAlias = Literal["content", "reasoning", "tool_call"]


class Key(NamedTuple):
    """Names a session everywhere inside the service: session ids are unique per owner only."""

    owner: str
    session_id: str


class Status(enum.StrEnum):
    """Where a message is in its life. A message reaches exactly one of the last four, once."""

    QUEUED = "queued"
    STREAMING = "streaming"
    COMPLETED = "completed"
    STOPPED = "stopped"
    FAILED = "failed"
    INTERRUPTED = "interrupted"

    @property
    def ended(self) -> bool:
        return self not in (Status.QUEUED, Status.STREAMING)


class Session(Struct, frozen=True, kw_only=True):
    """One conversation. Times are RFC 3339 in UTC with milliseconds, so that they sort as text."""

    id: str
    title: str | None = None
    system_prompt: str | None = None
    model: str | tuple[str, ...] | None = None
    """A name, names in order of preference, or None: the service's default."""
    params: JsonObject = {}
    metadata: dict[str, str] = {}
    head: str | None = None
    """The last message of the branch that is shown by default."""
    created_at: str
    updated_at: str
    last_seq: int = 0

    def may_be(self, made_at: str | None, seq: int) -> bool:
        """Whether this may be the session that was made at that time (None: nobody knows) and had got as far as that seq, and not one
        that has its id since it was deleted."""
        return made_at in (None, self.created_at) and seq <= self.last_seq


class Usage(Struct, frozen=True, kw_only=True):
    """Tokens of one reply, summed over its attempts."""

    input_tokens: int
    output_tokens: int
    source: Literal["provider", "estimated"]


class ReplyError(Struct, frozen=True, kw_only=True):
    """Why a reply failed or was interrupted. Never carries a key, a prompt or a traceback."""

    code: str
    message: str


class Attempt(Struct, frozen=True, kw_only=True):
    """One time that an upstream was asked. `error` is None while it runs and where it succeeded."""

    model: str
    error: ReplyError | None = None


class FunctionCall(Struct, frozen=True, kw_only=True):
    """The call inside a tool call. `arguments` is the text that the model wrote, which may be no JSON at all."""

    name: str = ""
    arguments: str = ""


LONGEST_CALL_ID = 16 << 10
"""Characters. LiteLLM writes Gemini's thought signature into ids, and reads it there when they come back."""


class ToolCall(Struct, frozen=True, kw_only=True):
    """A tool call in the form of Chat Completions, so that it can be sent back as it came."""

    id: str = ""
    type: Literal["function"] = "function"
    function: FunctionCall = FunctionCall()
    extra_content: JsonObject | UnsetType = UNSET
    """What else an upstream said of the call, and wants back with it: Gemini's thought signature."""


class Message(Struct, frozen=True, kw_only=True):
    """One turn by one author. A reply is an assistant message; an ended message never changes."""

    id: str
    session_id: str
    parent_id: str | None = None
    role: Role
    content: str | tuple[JsonObject, ...] = ""
    """Text or, in user messages, also a list of Chat Completions content parts."""
    reasoning: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    reasoning_details: tuple[JsonObject, ...] | UnsetType = UNSET
    """Of a reply that calls tools: what an upstream said of its thoughts, and wants back with them (OpenRouter)."""
    tool_call_id: str | None = None
    status: Status = Status.COMPLETED
    model: str | None = None
    finish_reason: str | None = None
    usage: Usage | None = None
    error: ReplyError | None = None
    attempts: tuple[Attempt, ...] = ()
    continues: str | None = None
    siblings: tuple[str, ...] = ()
    """Ids of the messages with the same parent, this one among them, oldest first; empty where there is only one."""
    metadata: dict[str, str] = {}
    created_at: str
    ended_at: str | None = None


class OpenReply(Struct, frozen=True, kw_only=True):
    """A reply that has not ended, and the lease under which it is written.

    One that waits in the queue is nobody's (`epoch` None): whoever ends what it waits for starts it.
    """

    id: str
    worker: str = ""
    epoch: int | None = None
    status: Status = Status.STREAMING
    stopping: bool = False


class Asides(Struct, frozen=True, kw_only=True):
    """What a session has cost beside its replies: titles and summaries that a model made, and the tokens of both."""

    titles: int = 0
    summaries: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    estimated_input_tokens: int = 0
    estimated_output_tokens: int = 0

    def with_one(self, usage: Usage, *, title: bool) -> "Asides":
        """One title or one summary more."""
        more = structs.replace(self, titles=self.titles + title, summaries=self.summaries + (not title))
        return more.plus(usage)

    def plus(self, usage: Usage) -> "Asides":
        guessed = usage.source == "estimated"
        return structs.replace(
            self,
            input_tokens=self.input_tokens + usage.input_tokens,
            output_tokens=self.output_tokens + usage.output_tokens,
            estimated_input_tokens=self.estimated_input_tokens + guessed * usage.input_tokens,
            estimated_output_tokens=self.estimated_output_tokens + guessed * usage.output_tokens,
        )


class Header(Struct, frozen=True, kw_only=True):
    """The state of a session that decisions are made on, kept beside its log and rebuilt from it if need be.

    `version` rises by one with each change of state (never with deltas); a decision made at version v is appended only at v.
    """

    session: Session
    version: int
    open: tuple[OpenReply, ...] = ()
    asides: Asides = Asides()

    def open_reply(self, message_id: str) -> OpenReply | None:
        return next((reply for reply in self.open if reply.id == message_id), None)
