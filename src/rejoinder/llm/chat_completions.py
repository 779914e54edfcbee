"""What a Chat Completions API answers, decoded: the bytes of a stream to chunks, and a whole body to a Completion.

It is the protocol of the `openai` and the `local` provider, whoever carries the bytes.
"""

from collections.abc import Sequence
from typing import Any

from msgspec import UNSET

from rejoinder.abc import Chunk, Completion, DetailsChunk, FinishChunk, TextChunk
from rejoinder.entities import LONGEST_CALL_ID, FunctionCall, JsonObject, Part, ToolCall
from rejoinder.errors import ProviderError
from rejoinder.llm.chat_completions_wire import (
    SILENCE,
    Call,
    Choice,
    Function,
    Words,
    arguments_of,
    decode,
    finish_reason_of,
    loads,
    named,
    spoken_in,
    usage_in,
)
from rejoinder.llm.event_stream import EventStream
from rejoinder.llm.pieces import CleanTexts, ToolCallPlaces, clean, fit_to_keep, kept_extra
from rejoinder.llm.reasoning_details import LARGEST, ReasoningDetails
from rejoinder.llm.thoughts import Thoughts
from rejoinder.llm.upstream_errors import error_from_chunk


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
            raise error_from_chunk(loads(payload), secrets=self._secrets, spoken=self._has_spoken)
        answer = decode(payload)
        if answer.error:
            raise error_from_chunk(loads(payload), secrets=self._secrets, spoken=self._has_spoken)
        for choice in answer.choices or ():
            if not choice.index:  # others were not asked for; a missing index is the first
                self._choice(choice, chunks)
        if answer.usage is not None:
            self._end_run(chunks)
            chunks.extend(usage_in(answer.usage))

    def _choice(self, choice: Choice, chunks: list[Chunk]) -> None:
        words = choice.delta or self._without_delta(choice)
        spoken = spoken_in(words)
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
            chunks.append(FinishChunk(finish_reason_of(named(choice.finish_reason))))
            self.finished = True

    def _without_delta(self, choice: Choice) -> Words:
        """Its message, which some servers send in the place of a delta. Behind deltas it says the whole once more (MiniMax ends so)."""
        if choice.message is None or (self._has_spoken and not self._in_messages):
            return SILENCE
        self._in_messages = True
        return choice.message

    def _end_run(self, chunks: list[Chunk]) -> None:
        if self._run is not None:
            (part, texts), self._run = self._run, None
            if text := self._texts.clean(part, "".join(texts)):
                chunks.append(TextChunk(part, text))

    def _call(self, call: Call) -> TextChunk:
        function = call.function or Function()
        arguments = arguments_of(function)
        index, id, name = self._calls.place(
            call.index, named(call.id, LONGEST_CALL_ID), named(function.name), arguments
        )
        text = self._texts.clean(index, arguments)
        return TextChunk("tool_call", text, index, id, name, kept_extra(call.extra_content))


def decode_completion(data: bytes, secrets: Sequence[str] = ()) -> Completion:
    """A whole answer. Raises ProviderError: `upstream_malformed`, `upstream_incomplete`, or what its `error` says."""
    answer = decode(data)
    if answer.error:
        raise error_from_chunk(loads(data), secrets=secrets)
    choice = next((choice for choice in answer.choices or () if not choice.index), None)
    words = None if choice is None else choice.message or choice.delta
    if choice is None or words is None:
        raise ProviderError("upstream_malformed", "The upstream's answer holds no reply.")
    if not choice.finish_reason:
        raise ProviderError("upstream_incomplete", "The upstream's answer was not finished.")
    texts: dict[Part, str] = {"content": "", "reasoning": ""}
    thoughts = Thoughts()
    for part, text in (*thoughts.split(spoken_in(words)), *thoughts.rest()):
        texts[part] += clean(text)
    return Completion(
        content=texts["content"],
        reasoning=texts["reasoning"],
        tool_calls=tuple(_tool_call(call) for call in words.tool_calls or ()),
        reasoning_details=_whole_details(words.reasoning_details),
        finish_reason=finish_reason_of(named(choice.finish_reason)),
        usage=None if answer.usage is None else next((chunk.usage for chunk in usage_in(answer.usage)), None),
    )


def _tool_call(call: Call) -> ToolCall:
    function = call.function or Function()
    said = FunctionCall(name=named(function.name), arguments=clean(arguments_of(function)))
    return ToolCall(
        id=named(call.id, LONGEST_CALL_ID), function=said, extra_content=kept_extra(call.extra_content) or UNSET
    )


def _whole_details(said: Any) -> tuple[JsonObject, ...]:
    """The `reasoning_details` of a whole answer: none of them is a piece."""
    details = [detail for detail in said if isinstance(detail, dict)] if isinstance(said, list) else []
    return tuple(details) if fit_to_keep(details, LARGEST) else ()
