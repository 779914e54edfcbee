"""What clients send, as Pydantic models: shapes here, the configured sizes in `limits`."""

from collections.abc import Callable
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    StringConstraints,
    Tag,
    WrapValidator,
)

from rejoinder.chat.ids import MESSAGE_ID, SESSION_ID
from rejoinder.entities import LONGEST_CALL_ID
from rejoinder.logs import CONTROLS

SessionId = Annotated[str, StringConstraints(pattern=f"^{SESSION_ID.pattern}$")]
MessageId = Annotated[str, StringConstraints(pattern=f"^{MESSAGE_ID.pattern}$")]
ModelName = Annotated[str, StringConstraints(min_length=1, max_length=256, pattern=f"^[^{CONTROLS}]+$")]
"""Whatever an upstream may call a model, without what is not printed: it stands in lists, logs and errors."""
Model: TypeAlias = ModelName | Annotated[list[ModelName], Field(min_length=1, max_length=8)]
JsonObject: TypeAlias = dict[str, Any]

MOST_CALLS = 128
"""Tools of a prompt, and results that come together: as many as Chat Completions takes."""

MOST_PARTS = 1_000
"""Parts of one message: more pictures than any model looks at together."""


class Body(BaseModel):
    """Unknown fields are an error, and nothing is guessed: "5" is no number."""

    model_config = ConfigDict(extra="forbid", strict=True)


class FunctionDefinition(Body):
    name: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.:-]{1,128}$")]
    description: str | None = None
    parameters: JsonObject | None = Field(None, description="A JSON Schema.")
    strict: bool | None = None


class Tool(Body):
    type: Literal["function"]
    function: FunctionDefinition


class FunctionName(Body):
    name: Annotated[str, StringConstraints(min_length=1, max_length=128)]


class NamedTool(Body):
    type: Literal["function"]
    function: FunctionName


class PlainFormat(Body):
    type: Literal["text", "json_object"]


class JsonSchema(Body):
    name: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
    description: str | None = None
    schema_: JsonObject | None = Field(None, alias="schema")
    strict: bool | None = None


class JsonSchemaFormat(Body):
    type: Literal["json_schema"]
    json_schema: JsonSchema


ResponseFormat = Annotated[PlainFormat | JsonSchemaFormat, Field(discriminator="type")]


def _distinct(tools: list[Tool]) -> list[Tool]:
    names = [tool.function.name for tool in tools]
    if len(set(names)) < len(names):
        raise ValueError("Two tools have one name")
    return tools


def _as_it_came(value: Any, check: Callable[[Any], Any]) -> Any:
    check(value)
    return value


KEPT = WrapValidator(_as_it_came)
"""Some upstreams tell 1 from 1.0, and Pydantic would make one of the other."""


class Params(Body):
    """The Chat Completions parameters that a session or a message may set. They go upstream as they are, and so do others that
    `REJOINDER_EXTRA_PARAMS` names; `context` is the service's own: what happens where a conversation does not fit the model's window."""

    model_config = ConfigDict(extra="allow")

    temperature: Annotated[float, Field(ge=0, le=2), KEPT] | None = None
    top_p: Annotated[float, Field(ge=0, le=1), KEPT] | None = None
    top_k: Annotated[int, Field(ge=0, le=1_000_000)] | None = None
    min_p: Annotated[float, Field(ge=0, le=1), KEPT] | None = None
    max_tokens: Annotated[int, Field(ge=1, le=10_000_000)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1, le=10_000_000)] | None = None
    stop: str | Annotated[list[str], Field(max_length=16)] | None = None
    presence_penalty: Annotated[float, Field(ge=-2, le=2), KEPT] | None = None
    frequency_penalty: Annotated[float, Field(ge=-2, le=2), KEPT] | None = None
    seed: int | None = None
    logit_bias: dict[str, Annotated[float, Field(ge=-100, le=100), KEPT]] | None = None
    reasoning_effort: Annotated[str, StringConstraints(min_length=1, max_length=32)] | None = None
    tools: Annotated[list[Tool], Field(max_length=MOST_CALLS), AfterValidator(_distinct)] | None = None
    tool_choice: Literal["none", "auto", "required"] | NamedTool | None = None
    parallel_tool_calls: bool | None = None
    response_format: ResponseFormat | None = None
    context: Literal["drop_oldest", "error", "summarise"] = Field(
        "drop_oldest",
        description="Where not all fits: leave out the oldest, fail the reply, or let the model summarise.",
    )

    def said(self) -> JsonObject:
        """What was set, as it goes upstream."""
        return self.model_dump(exclude_unset=True, by_alias=True)


class NewSessionBody(Body):
    id: SessionId | None = Field(None, description="The client's own id; sending it again is a retry.")
    title: str | None = None
    system_prompt: str | None = None
    model: Model | None = Field(None, description="A name, or names in order of preference.")
    params: Params = Field(default_factory=Params)
    metadata: dict[str, str] = Field(default_factory=dict)


def _without_default(schema: JsonObject) -> None:
    """A field that has no default: it may be absent, and then nothing is said of it."""
    del schema["default"]


class SessionChangeBody(Body):
    title: str | None = None
    system_prompt: str | None = None
    model: Model | None = None
    params: Params = Field(default_factory=Params)
    metadata: dict[str, str] = Field(default_factory=dict)
    head: MessageId = Field(
        "",
        description="The message at which the branch ends that is shown by default.",
        json_schema_extra=_without_default,
    )


class TextPart(Body):
    type: Literal["text"]
    text: str


class ImageUrl(Body):
    url: Annotated[
        str, StringConstraints(pattern=r"^(https?://[^\s]+|data:image/[\w.+-]+;base64,[A-Za-z0-9+/=]+)$")
    ] = Field(description="An address that the upstream can read, or the image itself: `data:image/…;base64,…`.")
    detail: Literal["auto", "low", "high"] | None = None


class ImagePart(Body):
    type: Literal["image_url"]
    image_url: ImageUrl


ContentPart = Annotated[TextPart | ImagePart, Field(discriminator="type")]


def _more_than_nothing(parts: list[ContentPart]) -> list[ContentPart]:
    if not any(isinstance(part, ImagePart) or part.text for part in parts):
        raise ValueError("The parts hold no text and no image")
    return parts


class ReplyBody(Body):
    """What every request for a reply may say."""

    id: MessageId | None = Field(None, description="The client's own id; sending it again is a retry.")
    model: Model | None = None
    params: Params = Field(default_factory=Params)
    if_busy: Literal["reject", "queue", "interrupt"] = Field(
        "reject",
        description="While a reply runs above: refuse (409), wait for its end, or end it and what waits for it.",
    )
    metadata: dict[str, str] = Field(default_factory=dict)


class ToolResultBody(Body):
    tool_call_id: Annotated[str, StringConstraints(min_length=1, max_length=LONGEST_CALL_ID)]
    content: str = Field(description="What the tool gave back, as text; it may as well say that it failed.")


class _SendBody(ReplyBody):
    parent_id: MessageId | None = Field(
        None, description="The message to answer under. Absent: the session's head; null: at the root."
    )


def _by_the_user(role: Any) -> Any:
    if role != "user":
        raise ValueError("A role is 'user', or 'tool' where the results of tools are sent")
    return role


class UserMessageBody(_SendBody):
    """A message by the user."""

    role: Annotated[Literal["user"], BeforeValidator(_by_the_user)] = "user"
    content: (
        Annotated[str, StringConstraints(min_length=1)]
        | Annotated[list[ContentPart], Field(min_length=1, max_length=MOST_PARTS), AfterValidator(_more_than_nothing)]
    )


class ToolResultsBody(_SendBody):
    """The results of all tool calls of the reply that they are sent under."""

    role: Literal["tool"]
    results: Annotated[list[ToolResultBody], Field(min_length=1, max_length=MOST_CALLS)]


def _sender(body: object) -> str:
    return "tool" if isinstance(body, dict) and body.get("role") == "tool" else "user"


SendBody = Annotated[
    Annotated[UserMessageBody, Tag("user")] | Annotated[ToolResultsBody, Tag("tool")], Discriminator(_sender)
]


class ForkBody(Body):
    at: MessageId = Field(description="The last message of the branch that the new session begins with.")
    id: SessionId | None = Field(
        None, description="The client's own id of the new session; sending it again is a retry."
    )
    title: str | None = Field(None, description="Absent: that of the session.")


def model_names(model: Model | None) -> str | tuple[str, ...] | None:
    return tuple(model) if isinstance(model, list) else model


def asked(body: ReplyBody) -> dict[str, Any]:
    """The fields of `chat.asked.Asked`."""
    return {
        "model": model_names(body.model),
        "params": body.params.said(),
        "metadata": body.metadata,
        "if_busy": body.if_busy,
    }
