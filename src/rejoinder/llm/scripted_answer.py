"""What a scripted model says to a conversation: a function of the script and the prompt, to the last character.

Tokens of a text are pieces of up to six characters with the space before them. A last message by the assistant is a
prefill: where the text begins with it, only the rest is said. `max_tokens` cuts an answer as it does elsewhere.
"""

import re
from collections.abc import Iterator
from itertools import islice
from typing import Any

import msgspec
from msgspec import Struct, structs

from rejoinder.abc import Chunk, FinishChunk, Prompt, TextChunk, UsageChunk
from rejoinder.entities import JsonObject, Usage
from rejoinder.llm.script import MARK, PLAIN, Script, parse
from rejoinder.llm.story import STORY


class Answer(Struct, frozen=True):
    """A script and the conversation that it answers."""

    script: Script
    message: str
    """The message proper, or what tools returned."""
    prefill: str
    params: JsonObject
    input_tokens: int

    @property
    def too_long(self) -> bool:
        return 0 < self.script.window < self.input_tokens

    def words(self) -> Iterator[TextChunk]:
        """Every token, one chunk each."""
        for number in range(0 if self.prefill else self.script.reasoning):
            yield TextChunk("reasoning", f" r{number}" if number else "r0")
        for text in self._rest():
            yield TextChunk("content", text)
        for number in range(self.script.calls):
            yield TextChunk("tool_call", f'{{"number": {number}}}', number, f"call_{number}", "lookup")

    def chunks(self) -> Iterator[Chunk]:
        """Everything that is said where nothing fails: the tokens, the finish, the usage."""
        limit = self._limit()
        said = 0
        for chunk in islice(self.words(), limit):
            said += 1
            yield chunk
        cut = limit is not None and said >= limit
        usual = "length" if cut else "tool_calls" if self.script.calls else "stop"
        yield FinishChunk(self.script.finish or usual)
        if self.script.usage:
            yield UsageChunk(Usage(input_tokens=self.input_tokens, output_tokens=said, source="provider"))

    def fault_after(self) -> int | None:
        """After how many tokens of this answer it fails; those of a prefill were said before, and do not fail again."""
        fault = self.script.fault
        if fault is None or not self.prefill:
            return None if fault is None else fault.after
        said = sum(1 for _ in _tokens(self.prefill, self.script)) + self.script.reasoning
        return fault.after - said if fault.after > said else None

    def _limit(self) -> int | None:
        limit = self.params.get("max_completion_tokens", self.params.get("max_tokens"))
        return limit if isinstance(limit, int) else None

    def _rest(self) -> Iterator[str]:
        if not self.prefill:
            return _said(self.script, self.message)
        text = "".join(_said(self.script, self.message))
        return _tokens(text.removeprefix(self.prefill), self.script)


def answer_to(prompt: Prompt, script: Script = PLAIN) -> Answer:
    """What this prompt makes a scripted model say whose own script is `script`. Raises BadScript.

    The model's name is for the caller to read.
    """
    messages = prompt.messages
    user = next((text_of(message) for message in reversed(messages) if message.get("role") == "user"), "")
    first, _, rest = user.partition("\n")
    if first.split(" ", 1)[0] == MARK:
        script, user = parse(first[len(MARK) :], script), rest
    last = messages[-1] if messages else {}
    if last.get("role") == "tool":
        script, user = structs.replace(script, what="echo", calls=0), _returned(messages)
    prefill = text_of(last) if last.get("role") == "assistant" else ""
    size = sum(len(text_of(message).split()) for message in messages)
    return Answer(script, user, prefill, prompt.params, size)


def overflow(answer: Answer) -> bytes:
    """The body of the refusal of a prompt that is too long."""
    said = (
        f"This model's maximum context length is {answer.script.window} tokens. "
        f"However, your messages resulted in {answer.input_tokens} tokens."
    )
    return msgspec.json.encode({"error": {"code": "context_length_exceeded", "message": said}})


def full_text(script: str, message: str = "") -> str:
    """The content of a whole reply to a message, as a test may compare it."""
    return "".join(_said(parse(script), message))


def text_of(message: JsonObject) -> str:
    content: Any = message.get("content")
    if isinstance(content, list):
        return "".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return content if isinstance(content, str) else ""


def _returned(messages: tuple[JsonObject, ...]) -> str:
    results: list[str] = []
    for message in reversed(messages):
        if message.get("role") != "tool":
            break
        results.insert(0, text_of(message))
    return "The tools said: " + ", ".join(results)


def _said(script: Script, message: str) -> Iterator[str]:
    match script.what:
        case "tokens":
            return (f" t{number}" if number else "t0" for number in range(script.count))
        case "big":
            return iter(["x" * script.count])
        case "story":
            return _tokens(STORY, script)
    return _tokens(message, script)


def _tokens(text: str, script: Script) -> Iterator[str]:
    if script.what == "tokens":
        return iter(re.findall(r"\s*\S+", text))
    return iter(re.findall(r"\s*\S{1,6}|\s+", text))
