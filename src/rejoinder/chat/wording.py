"""Messages in the words of Chat Completions: what an upstream is asked with, and what of a branch it would refuse.

An upstream wants each tool call followed by its result, and no reply that says nothing. So a reply that ended before its
first word is left out, and calls whose results never came (the user went on without them, or the reply was cut in
the middle of one) are taken off the reply that made them.
"""

from collections.abc import Iterator, Sequence

from msgspec import Struct

from rejoinder.abc import REASONING, REASONING_DETAILS
from rejoinder.entities import JsonObject, Message, ToolCall

EMPTY = "empty"
UNANSWERED = "unanswered_calls"
CONTEXT = "context"
SUMMARISED = "summarised"

SUMMARY = "What was said before, in short:"
"""Stands before a summary, in the system prompt, since some models take one system message and that at the start."""


class LeftOut(Struct, frozen=True):
    """A message of the branch that was not sent, and why.

    `empty`: a reply that ended before its first word. `unanswered_calls`: tool calls without their results were taken off
    the reply (its text, if it has any, was sent). `context`: it did not fit the model's window. `summarised`: nor did it, and
    a summary tells it.
    """

    message_id: str
    reason: str


class Unit(Struct, frozen=True):
    """Messages that go together: a reply with the results of its tool calls, or a single message. `start` is its place."""

    start: int
    messages: tuple[Message, ...]

    @property
    def end(self) -> int:
        return self.start + len(self.messages)

    @property
    def of_user(self) -> bool:
        return self.messages[0].role == "user"


def units(messages: Sequence[Message]) -> Iterator[Unit]:
    start = 0
    for place in range(1, len(messages) + 1):
        follows = place < len(messages) and messages[place].role == "tool" and messages[start].role != "user"
        if not follows:
            yield Unit(start, tuple(messages[start:place]))
            start = place


def answered(unit: Unit) -> bool:
    """Whether every tool call of its reply has its result, and every result its call."""
    reply, *results = unit.messages
    return reply.role != "tool" and {call.id for call in reply.tool_calls} == {
        message.tool_call_id for message in results
    }


def worded(messages: Sequence[Message]) -> tuple[list[JsonObject], list[LeftOut]]:
    """The messages, oldest first, as Chat Completions messages, and what of them is left out."""
    said: list[JsonObject] = []
    left_out: list[LeftOut] = []
    for unit in units(messages):
        head, *results = unit.messages
        if not answered(unit):
            left_out += (LeftOut(message.id, UNANSWERED) for message in unit.messages if message.role != "user")
            if head.role != "assistant" or not head.content:
                continue
            said.append({"role": "assistant", "content": head.content})
        elif head.role == "assistant" and not head.content and not head.tool_calls:
            left_out.append(LeftOut(head.id, EMPTY))
        else:
            said += map(as_said, (head, *results))
    return said, left_out


def framed(
    said: Sequence[JsonObject], system_prompt: str | None, summary: str | None, prefill: str
) -> tuple[JsonObject, ...]:
    """All that goes upstream: the system prompt with the summary, the messages, and the beginning of the reply, if any."""
    parts = [system_prompt or "", f"{SUMMARY}\n{summary}" if summary else ""]
    head = "\n\n".join(filter(None, parts))
    system: list[JsonObject] = [{"role": "system", "content": head}] if head else []
    begun: list[JsonObject] = [{"role": "assistant", "content": prefill}] if prefill else []
    return (*system, *said, *begun)


def plain_text(message: Message) -> str:
    """What a message says, with a word in the place of each image."""
    content = message.content
    return content if isinstance(content, str) else " ".join(part.get("text", "[image]") for part in content)


def as_said(message: Message) -> JsonObject:
    """One message in the words of Chat Completions."""
    content = message.content if isinstance(message.content, str) else list(message.content)
    said: JsonObject = {"role": message.role, "content": content}
    if message.reasoning:
        said[REASONING] = message.reasoning
    if message.tool_calls:
        said["tool_calls"] = [_call(call) for call in message.tool_calls]
        if message.reasoning_details:
            said[REASONING_DETAILS] = list(message.reasoning_details)
    if message.tool_call_id is not None:
        said["tool_call_id"] = message.tool_call_id
    return said


def _call(call: ToolCall) -> JsonObject:
    # What the model wrote, also where it is no JSON: the results tell it so. But no text at all is no arguments, and several
    # servers that parse them fail on "".
    arguments = call.function.arguments or "{}"
    said = {"id": call.id, "type": call.type, "function": {"name": call.function.name, "arguments": arguments}}
    return said | {"extra_content": call.extra_content} if call.extra_content else said
