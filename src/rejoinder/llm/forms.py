"""A prompt in the form that a model takes, where it has refused something of the usual one. What is said stays as it was."""

import re
from collections.abc import Sequence
from hashlib import blake2b
from typing import Any

from rejoinder.abc import REASONING, REASONING_DETAILS, Prompt
from rejoinder.entities import JsonObject
from rejoinder.llm.refused import EXTRAS, Refused

PLAIN_ID = re.compile("[a-zA-Z0-9]{9}")
"""An id of a tool call that every upstream takes: Mistral no other one."""

UNSIGNED = {EXTRAS: {"google": {"thought_signature": "skip_thought_signature_validator"}}}
"""What Gemini takes with a call that it has not made itself."""

UNTHOUGHT = {REASONING: " "}
"""What a reply is sent with that came without reasoning, or from another model, where none may be missing: "" is as good as missing."""

SYSTEM = ("system", "developer")
"""Roles of messages by which the service and its user's front-end speak to the model."""


def messages_for(prompt: Prompt, refused: Refused) -> Sequence[JsonObject]:
    messages: Sequence[JsonObject] = prompt.messages
    if refused.reasoning:
        messages = [UNTHOUGHT | message if message["role"] == "assistant" else message for message in messages]
    else:
        messages = [_without(REASONING, message) for message in messages]
    if refused.details:
        messages = [_without(REASONING_DETAILS, message) for message in messages]
    if refused.blank:
        messages = [message | {"content": None} if _is_blank(message) else message for message in messages]
    if refused.system:
        messages = [message | {"role": "user"} if message["role"] in SYSTEM else message for message in messages]
    if refused.turns or refused.system:
        messages = _in_turn(messages)
    if refused.bridges:
        messages = _bridged(messages)
    if refused.extras or refused.signatures:
        messages = [_signed_otherwise(message, refused) for message in messages]
    if refused.ids:
        messages = [_with_plain_ids(message) for message in messages]
    return messages


def params_for(prompt: Prompt, refused: Refused) -> JsonObject:
    """With the limit of the reply under the name that the model takes."""
    params = prompt.params
    old, new = "max_tokens", "max_completion_tokens"
    if not refused.max_tokens:  # which is said in so many words, and counts for more
        if not refused.max_completion_tokens:
            return params
        old, new = new, old
    limit = params.get(new, params.get(old))
    return _without(old, params) | {new: limit} if old in params else params


def _without(field: str, said: JsonObject) -> JsonObject:
    return {name: value for name, value in said.items() if name != field} if field in said else said


def _is_blank(message: JsonObject) -> bool:
    return "tool_calls" in message and message.get("content") == ""


def _signed_otherwise(message: JsonObject, refused: Refused) -> JsonObject:
    calls = message.get("tool_calls")
    if not calls:
        return message
    if refused.extras:
        signed = [_without(EXTRAS, call) for call in calls]
    else:
        # Of calls that were made at once Gemini signs the first.
        signed = calls if any(EXTRAS in call for call in calls) else [calls[0] | UNSIGNED, *calls[1:]]
    return message | {"tool_calls": signed}


def _with_plain_ids(message: JsonObject) -> JsonObject:
    if calls := message.get("tool_calls"):
        return message | {"tool_calls": [call | {"id": _plain_id(call["id"])} for call in calls]}
    return message | {"tool_call_id": _plain_id(message["tool_call_id"])} if "tool_call_id" in message else message


def _plain_id(call_id: str) -> str:
    """Always the same for the same, so that calls and their results still belong together."""
    return call_id if PLAIN_ID.fullmatch(call_id) else blake2b(call_id.encode()).hexdigest()[:9]


def _in_turn(messages: Sequence[JsonObject]) -> list[JsonObject]:
    """The messages, with those of the user that follow one another made one. (A reply between them had said nothing.)"""
    turns: list[JsonObject] = []
    for message in messages:
        if turns and message["role"] == turns[-1]["role"] == "user":
            turns[-1] = {"role": "user", "content": _joined(turns[-1]["content"], message["content"])}
        else:
            turns.append(message)
    return turns


def _bridged(messages: Sequence[JsonObject]) -> list[JsonObject]:
    """The messages, with a reply between results of tools and what the user said after them."""
    bridged: list[JsonObject] = []
    for message in messages:
        if bridged and (bridged[-1]["role"], message["role"]) == ("tool", "user"):
            bridged.append({"role": "assistant", "content": "…"})
        bridged.append(message)
    return bridged


def _joined(first: Any, second: Any) -> str | list[JsonObject]:
    if isinstance(first, str) and isinstance(second, str):
        return f"{first}\n\n{second}"
    parts = [
        [{"type": "text", "text": content}] if isinstance(content, str) else content for content in (first, second)
    ]
    return [*parts[0], *parts[1]]
