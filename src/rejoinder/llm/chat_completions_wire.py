"""The JSON of a Chat Completions answer: its fields, typed, and what they mean in our words.

Only the fields that are needed are decoded, straight into typed structs: that is what makes it cheap. Servers differ in
details that their SDKs forgive, so it is lenient wherever the meaning is clear, and an error wherever it is not.
"""

import contextlib
import json
from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec import Struct

from rejoinder.abc import UsageChunk
from rejoinder.entities import Part, Usage
from rejoinder.errors import ProviderError
from rejoinder.llm.pieces import clean
from rejoinder.llm.upstream_errors import quoted


class Function(Struct, gc=False):
    name: str | None = None
    arguments: Any = None
    """Text; some servers send the object itself."""


class Call(Struct, gc=False):
    index: int | None = None
    id: str | None = None
    function: Function | None = None
    extra_content: Any = None


class Words(Struct, gc=False):
    """A delta, or the message of a whole answer."""

    content: str | list[Any] | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    reasoning_details: Any = None
    tool_calls: list[Call] | None = None


SILENCE = Words()


class Choice(Struct, gc=False):
    index: int | None = 0
    delta: Words | None = None
    message: Words | None = None
    finish_reason: str | None = None


class UsageSaid(Struct, gc=False):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


class Answer(Struct, gc=False):
    choices: list[Choice] | None = None
    usage: UsageSaid | None = None
    error: Any = None


_decoder = msgspec.json.Decoder(Answer)

LONGEST_NAME = 256
"""Code points of a name and a reason: what is longer is none of an honest upstream."""


def decode(payload: bytes) -> Answer:
    """Raises ProviderError `upstream_malformed`."""
    try:
        return _decoder.decode(payload)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        pass
    # The fast decoder takes no lone surrogates and no broken UTF-8; the standard library's does. Numbers as text are numbers, and
    # what was spent is no reason to lose a reply.
    said = loads(payload)
    without = {name: value for name, value in said.items() if name != "usage"} if isinstance(said, dict) else said
    for each in (said, without):
        with contextlib.suppress(msgspec.MsgspecError):
            return msgspec.convert(each, Answer, strict=False)
    raise ProviderError("upstream_malformed", "The upstream sent what is no Chat Completions chunk.")


def loads(payload: bytes) -> Any:
    """As JSON where it is JSON, else as text."""
    text = payload.decode("utf-8", "replace")
    try:
        return json.loads(text, strict=False)
    except (ValueError, RecursionError):
        return text


def spoken_in(words: Words) -> list[tuple[Part, str]]:
    """The texts, whichever field a server has them in."""
    spoken: list[tuple[Part, str]] = []
    if reasoning := words.reasoning_content or words.reasoning:
        spoken.append(("reasoning", reasoning))
    if isinstance(words.content, str):
        if words.content:
            spoken.append(("content", words.content))
    elif words.content:
        spoken += _parts(words.content)
    if words.refusal:
        spoken.append(("content", words.refusal))  # it is what the model says to the user
    return spoken


def _parts(parts: list[Any]) -> Iterator[tuple[Part, str]]:
    """Content as a list of parts, as Mistral's reasoning models send it."""
    for part in parts:
        match part:
            case {"type": "thinking", "thinking": list(inner)}:
                yield from (("reasoning", text) for _, text in _parts(inner))
            case {"type": "thinking", "thinking": str(text)}:
                yield "reasoning", text
            case {"text": str(text)}:
                yield "content", text


def named(name: str | None, longest: int = LONGEST_NAME) -> str:
    """A name, id or reason as it may be logged."""
    return clean(name or "")[:longest]


def arguments_of(function: Function) -> str:
    """As JSON text."""
    given = function.arguments
    if given is None or isinstance(given, str):
        return given or ""
    return json.dumps(given, ensure_ascii=False)


FINISHES = {
    word: reason
    for reason, words in {
        "stop": "stop eos eos_token end_turn stop_sequence complete",
        "length": "length max_tokens max_output_tokens model_length model_context_window_exceeded",
        "tool_calls": "tool_calls tool_use",
        "content_filter": "content_filter safety recitation blocklist prohibited_content spii image_safety sensitive refusal",
    }.items()
    for word in words.split()
}
"""Words of other protocols that shine through (Anthropic's, Gemini's, Mistral's, GLM's), in the words of Chat Completions."""

BROKEN_OFF = frozenset(
    {"error", "abort", "cancelled", "insufficient_system_resource", "network_error", "function_call_filter"}
    | {"malformed_function_call", "unexpected_tool_call"}
)
"""`finish_reason`s of replies that are not whole (OpenRouter, vLLM, DeepSeek, GLM, Gemini)."""


def finish_reason_of(reason: str) -> str:
    """In the words of Chat Completions. Raises ProviderError `upstream_error` for a reply that was broken off."""
    word = reason.partition(":")[0].strip().lower()  # Gemini tells more behind a colon
    if word in BROKEN_OFF:
        raise ProviderError("upstream_error", f"The upstream broke off its reply: {quoted(reason)}")
    return FINISHES.get(word, reason)


TOKENS = 1 << 40
"""What tells of as many has not counted."""


def usage_in(usage: UsageSaid) -> Iterator[UsageChunk]:
    """One chunk, or none where the numbers cannot be meant."""
    told = [tokens for tokens in (usage.prompt_tokens, usage.completion_tokens) if tokens is not None]
    if told and all(0 <= tokens < TOKENS for tokens in told):
        yield UsageChunk(
            Usage(input_tokens=usage.prompt_tokens or 0, output_tokens=usage.completion_tokens or 0, source="provider")
        )
