"""What goes upstream for a reply: the session's system prompt and the branch above the reply, and the record of it.

Messages that have ended never change. So the log keeps of a prompt what they do not say (the system prompt, parameters,
the text to go on from) and a digest of the very bytes, and the whole is made again when somebody asks for it.
"""

import hashlib
from collections.abc import Sequence

from rejoinder.chat.history import History
from rejoinder.entities import JsonObject, Key, Message, Usage
from rejoinder.events import PromptSent

TOKEN = 4
"""Characters that make a token, on average over English prose and code, where no upstream counted them."""

PART = 100
"""Tokens by which a part that is no text (an image) is estimated."""


async def prompt_messages(
    history: History, key: Key, reply: Message, system_prompt: str | None, prefill: str = ""
) -> tuple[JsonObject, ...]:
    """The Chat Completions messages that ask for this reply, or for what follows its beginning `prefill`."""
    return worded(await history.above(key, reply), system_prompt, prefill)


def worded(above: Sequence[Message], system_prompt: str | None, prefill: str) -> tuple[JsonObject, ...]:
    """The messages of a branch in the words of Chat Completions."""
    system: list[JsonObject] = [{"role": "system", "content": system_prompt}] if system_prompt else []
    begun: list[JsonObject] = [{"role": "assistant", "content": prefill}] if prefill else []
    return (*system, *(_worded(message) for message in above if not is_empty(message)), *begun)


def is_empty(message: Message) -> bool:
    """Whether it is a reply that ended before its first word: several upstreams refuse one that says nothing."""
    return message.role == "assistant" and not message.content and not message.tool_calls


def upstream_params(params: JsonObject) -> JsonObject:
    """Without what the service itself makes use of."""
    return {name: value for name, value in params.items() if name != "context"}


def digest(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


def sent(
    body: bytes, reply: Message, upstream_model: str, system_prompt: str | None, prefill: str, params: JsonObject
) -> PromptSent:
    """The record of a prompt whose very bytes are `body`, for the last attempt at `reply`."""
    return PromptSent(
        message_id=reply.id,
        attempt=len(reply.attempts),
        model=reply.attempts[-1].model,
        upstream_model=upstream_model,
        system_prompt=system_prompt,
        prefill=prefill,
        params=params,
        sha256=digest(body),
    )


def estimated_tokens(messages: Sequence[JsonObject]) -> int:
    return sum(-(-_size(message) // TOKEN) for message in messages)


def estimated_usage(asked: Sequence[JsonObject], characters: int) -> Usage:
    return Usage(input_tokens=estimated_tokens(asked), output_tokens=-(-characters // TOKEN), source="estimated")


def _worded(message: Message) -> JsonObject:
    content = message.content if isinstance(message.content, str) else list(message.content)
    said: JsonObject = {"role": message.role, "content": content}
    if message.tool_calls:
        said["tool_calls"] = [
            {
                "id": call.id,
                "type": call.type,
                "function": {"name": call.function.name, "arguments": call.function.arguments},
            }
            for call in message.tool_calls
        ]
    if message.tool_call_id is not None:
        said["tool_call_id"] = message.tool_call_id
    return said


def _size(message: JsonObject) -> int:
    content = message["content"]
    if isinstance(content, str):
        return len(content)
    return sum(len(part["text"]) if part.get("type") == "text" else PART * TOKEN for part in content)
