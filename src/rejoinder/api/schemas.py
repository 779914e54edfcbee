"""What clients send, as Pydantic models: shapes here, the configured sizes in `limits`."""

from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from rejoinder.chat.ids import MESSAGE_ID, SESSION_ID

SessionId = Annotated[str, StringConstraints(pattern=f"^{SESSION_ID.pattern}$")]
MessageId = Annotated[str, StringConstraints(pattern=f"^{MESSAGE_ID.pattern}$")]
ModelName = Annotated[str, StringConstraints(min_length=1, max_length=256)]
Model: TypeAlias = ModelName | Annotated[list[ModelName], Field(min_length=1, max_length=8)]
JsonObject: TypeAlias = dict[str, Any]


class Body(BaseModel):
    """Unknown fields are an error, and nothing is guessed: "5" is no number."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Params(Body):
    """The Chat Completions parameters that a session or a message may set. They go upstream as they are."""

    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None
    top_k: Annotated[int, Field(ge=0, le=1_000_000)] | None = None
    min_p: Annotated[float, Field(ge=0, le=1)] | None = None
    max_tokens: Annotated[int, Field(ge=1, le=10_000_000)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1, le=10_000_000)] | None = None
    stop: str | Annotated[list[str], Field(max_length=16)] | None = None
    presence_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    frequency_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    seed: int | None = None
    logit_bias: dict[str, Annotated[float, Field(ge=-100, le=100)]] | None = None
    reasoning_effort: Annotated[str, StringConstraints(min_length=1, max_length=32)] | None = None
    tools: Annotated[list[JsonObject], Field(max_length=128)] | None = None
    tool_choice: str | JsonObject | None = None
    parallel_tool_calls: bool | None = None
    response_format: JsonObject | None = None


class NewSessionBody(Body):
    id: SessionId | None = Field(None, description="The client's own id; sending it again is a retry.")
    title: str | None = None
    system_prompt: str | None = None
    model: Model | None = Field(None, description="A name, or names in order of preference.")
    params: Params = Params()
    metadata: dict[str, str] = {}


class SessionChangeBody(Body):
    title: str | None = None
    system_prompt: str | None = None
    model: Model | None = None
    params: Params = Params()
    metadata: dict[str, str] = {}
    head: MessageId = Field("", description="The message at which the branch ends that is shown by default.")


class TextPart(Body):
    type: Literal["text"]
    text: str


class ImageUrl(Body):
    url: Annotated[str, StringConstraints(min_length=1)]
    detail: Literal["auto", "low", "high"] | None = None


class ImagePart(Body):
    type: Literal["image_url"]
    image_url: ImageUrl


ContentPart = Annotated[TextPart | ImagePart, Field(discriminator="type")]


class ReplyBody(Body):
    """What every request for a reply may say."""

    id: MessageId | None = Field(None, description="The client's own id; sending it again is a retry.")
    model: Model | None = None
    params: Params = Params()
    if_busy: Literal["reject", "queue", "interrupt"] = Field(
        "reject",
        description="While a reply runs above: refuse (409), wait for its end, or end it and what waits for it.",
    )
    metadata: dict[str, str] = {}


class SendBody(ReplyBody):
    content: Annotated[str, StringConstraints(min_length=1)] | Annotated[list[ContentPart], Field(min_length=1)]
    parent_id: MessageId | None = Field(
        None, description="The message to answer under. Absent: the session's head; null: at the root."
    )


class ForkBody(Body):
    at: MessageId = Field(description="The last message of the branch that the new session begins with.")
    id: SessionId | None = Field(
        None, description="The client's own id of the new session; sending it again is a retry."
    )
    title: str | None = Field(None, description="Absent: that of the session.")


def model_names(model: Model | None) -> str | tuple[str, ...] | None:
    return tuple(model) if isinstance(model, list) else model


def asked(body: ReplyBody) -> dict[str, Any]:
    """The fields of `chat.sending.Asked`."""
    return {
        "model": model_names(body.model),
        "params": body.params.model_dump(exclude_unset=True),
        "metadata": body.metadata,
        "if_busy": body.if_busy,
    }
