"""What goes upstream for a reply: the session's system prompt and the branch above the reply."""

from collections.abc import Iterator, Sequence

from rejoinder.chat.history import History
from rejoinder.entities import JsonObject, Key, Message

TOKEN = 4
"""Characters that make a token, on average over English prose and code, where no upstream counted them."""

PART = 100
"""Tokens by which a part that is no text (an image) is estimated."""


async def prompt_messages(
    history: History, key: Key, reply: Message, system_prompt: str | None
) -> tuple[JsonObject, ...]:
    """The Chat Completions messages that ask for this reply."""
    above = await history.above(key, reply)
    system: list[JsonObject] = [{"role": "system", "content": system_prompt}] if system_prompt else []
    return (*system, *_upstream(above))


def estimated_tokens(messages: Sequence[JsonObject]) -> int:
    return sum(-(-_size(message) // TOKEN) for message in messages)


def _upstream(messages: Sequence[Message]) -> Iterator[JsonObject]:
    for message in messages:
        content = message.content if isinstance(message.content, str) else list(message.content)
        said: JsonObject = {"role": message.role, "content": content}
        if message.role == "assistant":
            if not message.content and not message.tool_calls:
                # It ended before its first word; several upstreams refuse an assistant message that says nothing.
                continue
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
        yield said


def _size(message: JsonObject) -> int:
    content = message["content"]
    if isinstance(content, str):
        return len(content)
    return sum(len(part["text"]) if part.get("type") == "text" else PART * TOKEN for part in content)
