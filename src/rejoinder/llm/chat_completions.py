"""What a Chat Completions API answers, decoded: the bytes of a stream to chunks, and a whole body to a Completion.

It is the protocol of the `openai` and the `local` provider, whoever carries the bytes. Only the fields that are needed
are decoded, straight into typed structs: that is what makes it cheap. Servers differ in details that their SDKs
forgive, so it is lenient wherever the meaning is clear, and an error wherever it is not.
"""

import contextlib
import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgspec
from msgspec import UNSET, Struct

from rejoinder.abc import Chunk, Completion, DetailsChunk, FinishChunk, TextChunk, UsageChunk
from rejoinder.entities import LONGEST_CALL_ID, FunctionCall, JsonObject, Part, ToolCall, Usage
from rejoinder.errors import ProviderError
from rejoinder.llm.event_stream import EventStream
from rejoinder.llm.pieces import CleanTexts, ToolCallPlaces, clean, fit_to_keep, kept_extra
from rejoinder.llm.reasoning_details import LARGEST, ReasoningDetails
from rejoinder.llm.thoughts import Thoughts
from rejoinder.llm.upstream_errors import error_from_body, error_from_chunk, quoted

__all__ = ["StreamDecoder", "chunks_of", "completion_of", "decode_completion", "error_from_body"]

# --- the wire ----------------------------------------------------------------------------------------------------


class _Function(Struct, gc=False):
    name: str | None = None
    arguments: Any = None
    """Text; some servers send the object itself."""


class _Call(Struct, gc=False):
    index: int | None = None
    id: str | None = None
    function: _Function | None = None
    extra_content: Any = None


class _Words(Struct, gc=False):
    """A delta, or the message of a whole answer."""

    content: str | list[Any] | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    reasoning_details: Any = None
    tool_calls: list[_Call] | None = None


_SILENCE = _Words()


class _Choice(Struct, gc=False):
    index: int | None = 0
    delta: _Words | None = None
    message: _Words | None = None
    finish_reason: str | None = None


class _Usage(Struct, gc=False):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


class _Answer(Struct, gc=False):
    choices: list[_Choice] | None = None
    usage: _Usage | None = None
    error: Any = None


_decoder = msgspec.json.Decoder(_Answer)

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
TOKENS = 1 << 40
"""What tells of as many has not counted."""
BROKEN_OFF = frozenset(
    {"error", "abort", "cancelled", "insufficient_system_resource", "network_error", "function_call_filter"}
    | {"malformed_function_call", "unexpected_tool_call"}
)
"""`finish_reason`s of replies that are not whole (OpenRouter, vLLM, DeepSeek, GLM, Gemini)."""

LONGEST_NAME = 256
"""Code points of a name and a reason: what is longer is none of an honest upstream."""

# --- a stream ----------------------------------------------------------------------------------------------------


class StreamDecoder:
    """The bytes of one streamed answer in, cut anywhere, chunks out. `secrets` are redacted from what errors say."""

    def __init__(self, secrets: Sequence[str] = ()) -> None:
        self.finished = False
        """A FinishChunk was given out."""
        self.done = False
        """The upstream has said `[DONE]`: nothing more is to come."""
        self.fault: ProviderError | None = None
        """What ended the stream, if it was known before the end of its bytes."""
        self.events = 0
        """How many have come."""
        self._secrets = secrets
        self._events = EventStream()
        self._has_spoken = False
        """Whether anything was said."""
        self._in_messages = False
        """Whether it was said in messages, in the place of deltas."""
        self._run: tuple[Part, list[str]] | None = None
        """Text of one part that came without anything between it: one chunk, however many events brought it."""
        self._texts = CleanTexts()
        self._thoughts = Thoughts()
        self._details = ReasoningDetails()
        self._calls = ToolCallPlaces()

    def feed(self, data: bytes) -> list[Chunk]:
        """What these bytes complete. Raises ProviderError: `upstream_malformed`, or what an error chunk says.

        Where text came before the fault in the same bytes, it is returned, and `fault` is raised by the next call.
        """
        chunks: list[Chunk] = []
        try:
            if self.fault is not None:
                raise self.fault
            events = self._events.feed(data)
            self.events += len(events)
            for kind, payload in events:
                if self.done:
                    break
                self._event(kind, payload, chunks)
        except ProviderError as fault:
            self.fault = fault
        self._end_run(chunks)
        if self.fault is not None and not chunks:
            raise self.fault
        return chunks

    def finish(self) -> None:
        """To be called at the end of the bytes. Raises ProviderError: `upstream_incomplete` without a finish."""
        if self.fault is not None:
            raise self.fault
        if not self.finished:
            how = "said that it was done" if self.done else "closed the connection"
            raise ProviderError("upstream_incomplete", f"The upstream {how} before the reply was finished.")

    def _event(self, kind: bytes, payload: bytes, chunks: list[Chunk]) -> None:
        if (said := payload.strip()) == b"[DONE]":
            self.done = True
            return
        if not said:  # a sign of life
            return
        if kind == b"error":
            raise error_from_chunk(_loads(payload), secrets=self._secrets)
        answer = _decode(payload)
        if answer.error:
            raise error_from_chunk(_loads(payload), secrets=self._secrets)
        for choice in answer.choices or ():
            if not choice.index:  # others were not asked for; a missing index is the first
                self._choice(choice, chunks)
        if answer.usage is not None:
            self._end_run(chunks)
            chunks.extend(_usage_chunks(answer.usage))

    def _choice(self, choice: _Choice, chunks: list[Chunk]) -> None:
        words = choice.delta or self._without_delta(choice)
        spoken = _spoken(words)
        if not self._thoughts.over:
            spoken = self._thoughts.split(spoken)
            if words.tool_calls or choice.finish_reason:
                spoken += self._thoughts.rest()
        for part, text in spoken:
            if self._run is None or self._run[0] != part:
                self._end_run(chunks)
                self._run = (part, [])
            self._run[1].append(text)
            self._has_spoken = True
        if words.reasoning_details is not None:
            self._details.add(words.reasoning_details)
        if words.tool_calls:
            self._has_spoken = True
            self._end_run(chunks)
            chunks.extend(map(self._call, words.tool_calls))
        if choice.finish_reason and not self.finished:
            self._end_run(chunks)
            chunks.extend(self._texts.halves())
            if details := self._details.whole():
                chunks.append(DetailsChunk(details))
            chunks.append(FinishChunk(_finish_reason(_named(choice.finish_reason))))
            self.finished = True

    def _without_delta(self, choice: _Choice) -> _Words:
        """Its message, which some servers send in the place of a delta. Behind deltas it says the whole once more (MiniMax ends so)."""
        if choice.message is None or (self._has_spoken and not self._in_messages):
            return _SILENCE
        self._in_messages = True
        return choice.message

    def _end_run(self, chunks: list[Chunk]) -> None:
        if self._run is not None:
            (part, texts), self._run = self._run, None
            if text := self._texts.clean(part, "".join(texts)):
                chunks.append(TextChunk(part, text))

    def _call(self, call: _Call) -> TextChunk:
        function = call.function or _Function()
        arguments = _arguments(function)
        index, id, name = self._calls.place(
            call.index, _named(call.id, LONGEST_CALL_ID), _named(function.name), arguments
        )
        text = self._texts.clean(index, arguments)
        return TextChunk("tool_call", text, index, id, name, kept_extra(call.extra_content))


# --- a whole body ------------------------------------------------------------------------------------------------


def decode_completion(data: bytes, secrets: Sequence[str] = ()) -> Completion:
    """A whole answer. Raises ProviderError: `upstream_malformed`, `upstream_incomplete`, or what its `error` says."""
    answer = _decode(data)
    if answer.error:
        raise error_from_chunk(_loads(data), secrets=secrets)
    choice = next((choice for choice in answer.choices or () if not choice.index), None)
    words = None if choice is None else choice.message or choice.delta
    if choice is None or words is None:
        raise ProviderError("upstream_malformed", "The upstream's answer holds no reply.")
    if not choice.finish_reason:
        raise ProviderError("upstream_incomplete", "The upstream's answer was not finished.")
    texts: dict[Part, str] = {"content": "", "reasoning": ""}
    thoughts = Thoughts()
    for part, text in (*thoughts.split(_spoken(words)), *thoughts.rest()):
        texts[part] += clean(text)
    return Completion(
        content=texts["content"],
        reasoning=texts["reasoning"],
        tool_calls=tuple(_tool_call(call) for call in words.tool_calls or ()),
        reasoning_details=_whole_details(words.reasoning_details),
        finish_reason=_finish_reason(_named(choice.finish_reason)),
        usage=None if answer.usage is None else next((chunk.usage for chunk in _usage_chunks(answer.usage)), None),
    )


def chunks_of(completion: Completion) -> list[Chunk]:
    """A whole reply as a stream of one read: what an upstream that does not stream answers."""
    chunks: list[Chunk] = []
    if completion.reasoning:
        chunks.append(TextChunk("reasoning", completion.reasoning))
    if completion.content:
        chunks.append(TextChunk("content", completion.content))
    for index, call in enumerate(completion.tool_calls):
        said = call.function
        chunks.append(TextChunk("tool_call", said.arguments, index, call.id, said.name, call.extra_content or None))
    if completion.reasoning_details:
        chunks.append(DetailsChunk(completion.reasoning_details))
    chunks.append(FinishChunk(completion.finish_reason))
    if completion.usage is not None:
        chunks.append(UsageChunk(completion.usage))
    return chunks


def completion_of(chunks: Iterable[Chunk]) -> Completion:
    """The whole reply that a stream made."""
    texts: dict[Part | int, list[str]] = {"content": [], "reasoning": []}
    ids, names, extras = dict[int, str](), dict[int, str](), dict[int, JsonObject]()
    finish: str = ""
    details: tuple[JsonObject, ...] = ()
    usage: Usage | None = None
    for chunk in chunks:
        match chunk:
            case FinishChunk():
                finish = chunk.reason
            case DetailsChunk():
                details = chunk.details
            case UsageChunk():
                usage = chunk.usage
            case TextChunk(index=int(index)):
                texts.setdefault(index, []).append(chunk.text)
                ids[index] = ids.get(index) or chunk.id or ""
                names[index] = names.get(index) or chunk.name or ""
                if chunk.extra:
                    extras[index] = chunk.extra
            case TextChunk(part=part):
                texts[part].append(chunk.text)
    return Completion(
        content="".join(texts["content"]),
        reasoning="".join(texts["reasoning"]),
        tool_calls=tuple(
            ToolCall(
                id=ids[index],
                function=FunctionCall(name=names[index], arguments="".join(texts[index])),
                extra_content=extras.get(index, UNSET),
            )
            for index in sorted(ids)
        ),
        reasoning_details=details,
        finish_reason=finish,
        usage=usage,
    )


# --- the parts ---------------------------------------------------------------------------------------------------


def _spoken(words: _Words) -> list[tuple[Part, str]]:
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


def _named(name: str | None, longest: int = LONGEST_NAME) -> str:
    """A name, id or reason as it may be logged."""
    return clean(name or "")[:longest]


def _arguments(function: _Function) -> str:
    given = function.arguments
    if given is None or isinstance(given, str):
        return given or ""
    return json.dumps(given, ensure_ascii=False)


def _tool_call(call: _Call) -> ToolCall:
    function = call.function or _Function()
    said = FunctionCall(name=_named(function.name), arguments=clean(_arguments(function)))
    return ToolCall(
        id=_named(call.id, LONGEST_CALL_ID), function=said, extra_content=kept_extra(call.extra_content) or UNSET
    )


def _whole_details(said: Any) -> tuple[JsonObject, ...]:
    """The `reasoning_details` of a whole answer: none of them is a piece."""
    details = [detail for detail in said if isinstance(detail, dict)] if isinstance(said, list) else []
    return tuple(details) if fit_to_keep(details, LARGEST) else ()


def _finish_reason(reason: str) -> str:
    word = reason.partition(":")[0].strip().lower()  # Gemini tells more behind a colon
    if word in BROKEN_OFF:
        raise ProviderError("upstream_error", f"The upstream broke off its reply: {quoted(reason)}")
    return FINISHES.get(word, reason)


def _usage_chunks(usage: _Usage) -> Iterator[UsageChunk]:
    told = [tokens for tokens in (usage.prompt_tokens, usage.completion_tokens) if tokens is not None]
    if told and all(0 <= tokens < TOKENS for tokens in told):
        yield UsageChunk(
            Usage(input_tokens=usage.prompt_tokens or 0, output_tokens=usage.completion_tokens or 0, source="provider")
        )


def _decode(payload: bytes) -> _Answer:
    """Raises ProviderError `upstream_malformed`."""
    try:
        return _decoder.decode(payload)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        pass
    # The fast decoder takes no lone surrogates and no broken UTF-8; the standard library's does. Numbers as text are numbers, and
    # what was spent is no reason to lose a reply.
    said = _loads(payload)
    without = {name: value for name, value in said.items() if name != "usage"} if isinstance(said, dict) else said
    for each in (said, without):
        with contextlib.suppress(msgspec.MsgspecError):
            return msgspec.convert(each, _Answer, strict=False)
    raise ProviderError("upstream_malformed", "The upstream sent what is no Chat Completions chunk.")


def _loads(payload: bytes) -> Any:
    """As JSON where it is JSON, else as text."""
    text = payload.decode("utf-8", "replace")
    try:
        return json.loads(text, strict=False)
    except (ValueError, RecursionError):
        return text
