"""The context window: how many tokens things take by estimate, and which messages are sent when not all of them fit."""

from collections.abc import Sequence

import msgspec
from msgspec import Struct

from rejoinder.abc import REASONING_DETAILS
from rejoinder.chat.wording import Unit, units
from rejoinder.entities import JsonObject, Message, Usage

TOKEN = 4
"""Bytes of UTF-8 that make a token, on average over English prose and code; also near for Cyrillic (0.5 a letter) and Han (0.75)."""

IMAGE = 800
"""Tokens by which an image is estimated: about one of middle size at high detail (OpenAI: 765, Anthropic: up to 1,600)."""

EACH = 4
"""Tokens that a message takes beside its text: who speaks, and where it begins and ends."""

REPLY_SHARE, MOST_FOR_REPLY = 4, 4096
"""Of a window a quarter is kept free for the reply, and no more than so many tokens, where no limit of the reply was set."""

PROMPT_SHARE = 8
"""Of a window an eighth is left for the prompt, whatever limit of the reply was set. More is not: upstreams refuse a prompt that leaves
too little room for that limit."""


def estimated(said: JsonObject) -> int:
    """Tokens of one Chat Completions message."""
    size = _size(said.get("content"))
    for name in ("tool_calls", REASONING_DETAILS):
        if told := said.get(name):
            size += len(msgspec.json.encode(told))
    return EACH + -(-size // TOKEN) + _images(said.get("content")) * IMAGE


def fixed(system_prompt: str | None, params: JsonObject, more: str = "") -> int:
    """Tokens of what a prompt holds whatever the messages are: the system prompt, the tools, the form of the answer, and `more`."""
    told = [params[name] for name in ("tools", "response_format") if params.get(name)]
    size = sum(len(msgspec.json.encode(each)) for each in told) + len(more.encode())
    return -(-size // TOKEN) + (estimated({"content": system_prompt}) if system_prompt else 0)


def estimated_usage(asked: Sequence[JsonObject], text: int, params: JsonObject | None = None) -> Usage:
    """Of a prompt with these parameters and `text` code points of a reply, where no upstream counted them."""
    tokens = sum(map(estimated, asked)) + fixed(None, params or {})
    return Usage(input_tokens=tokens, output_tokens=-(-text // TOKEN), source="estimated")


def for_reply(window: int, params: JsonObject) -> int:
    """Tokens of a window that are kept free for the reply."""
    limit: int | None = params.get("max_completion_tokens") or params.get("max_tokens")
    if limit is None:
        return min(MOST_FOR_REPLY, window // REPLY_SHARE)
    return min(limit, window - window // PROMPT_SHARE)


class Kept(Struct, frozen=True):
    """The messages from place `first` on; and before them the one at place `also`, if any."""

    first: int
    also: int | None = None

    def of(self, messages: Sequence[Message]) -> list[Message]:
        kept = list(messages[self.first :])
        return kept if self.also is None else [messages[self.also], *kept]


def fitting(messages: Sequence[Message], costs: Sequence[int], room: float) -> Kept:
    """The newest messages that fit into `room` tokens, from a message by the user on wherever one is among them.

    Messages that go together are never parted. The last of them are kept whatever they take, and so is the last message by the
    user: where it stands far above (many rounds of tools answered it), it comes before the rest.
    """
    parts = list(units(messages))
    if not parts:
        return Kept(0)
    asked = next((unit for unit in reversed(parts) if unit.of_user), None)
    first = len(parts) - 1
    taken = _cost(parts[first], costs) + (_cost(asked, costs) if asked and asked is not parts[first] else 0)
    while first > 0:
        following = parts[first - 1]
        more = 0 if following is asked else _cost(following, costs)
        if taken + more > room:
            break
        first, taken = first - 1, taken + more
    start = next((unit.start for unit in parts[first:] if unit.of_user), None)
    if start is not None or asked is None:
        return Kept(parts[first].start if start is None else start)
    return Kept(parts[first].start, asked.start)


def _cost(unit: Unit, costs: Sequence[int]) -> int:
    return sum(costs[unit.start : unit.end])


def _size(content: object) -> int:
    """Bytes of the text of a message."""
    if isinstance(content, str):
        return len(content.encode())
    parts = content if isinstance(content, list | tuple) else ()
    return sum(len(str(part.get("text", "")).encode()) for part in parts)


def _images(content: object) -> int:
    return sum(part.get("type") != "text" for part in content) if isinstance(content, list | tuple) else 0
