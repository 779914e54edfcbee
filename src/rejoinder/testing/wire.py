"""What the scripted upstream writes: an answer as Chat Completions bytes, in every form that real servers have.

A reply is a sequence of pieces, each with the time at which it is due, so that whoever writes them needs one timer.
"""

import json
import re
from collections.abc import Iterator
from email.utils import formatdate
from time import time
from typing import NamedTuple

import msgspec

from rejoinder.abc import Chunk, DetailsChunk, FinishChunk, LifeChunk, TextChunk, UsageChunk
from rejoinder.entities import JsonObject
from rejoinder.llm.completions import completion_of
from rejoinder.llm.script import Script
from rejoinder.llm.scripted_answer import Answer

STATUS = {
    "upstream_unavailable": (404, "model_not_found"),
    "upstream_auth": (401, "invalid_api_key"),
    "upstream_rate_limited": (429, "rate_limit_exceeded"),
    "upstream_error": (500, "server_error"),
    "upstream_timeout": (504, "timeout"),
    "content_filtered": (400, "content_filter"),
    "context_overflow": (400, "context_length_exceeded"),
}
"""The status and the code in the body by which a provider gets to such a code."""
KINDS = {400: "invalid_request_error", 401: "invalid_api_key", 404: "model_not_found", 429: "rate_limit_exceeded"}
ON_THE_WIRE = {"upstream_stalled": "stall", "upstream_malformed": "malformed", "upstream_incomplete": "eof"}


class Piece(NamedTuple):
    """`due` is in seconds from the beginning of the answer. `tokens` are those that are whole with this piece.

    `usage` is the (input, output) that it reports. `fault` is what happens once it is written: `reset`, `close`, `eof`
    or `stall`.
    """

    due: float
    data: bytes
    tokens: int = 0
    usage: tuple[int, int] | None = None
    fault: str = ""


def http_fault(script: Script) -> str:
    """The fault of a script that is an HTTP status instead of a reply, as `429` or by its code; "" without one."""
    fault = script.fault
    if fault is None or fault.after:
        return ""
    return fault.what if fault.what.isdecimal() or fault.what in STATUS else ""


def http_error(script: Script, what: str, authorization: str) -> tuple[int, dict[str, str], bytes]:
    """(status, headers, body). A 401 repeats the key, as some servers do."""
    status, kind = STATUS[what] if what in STATUS else (int(what), KINDS.get(int(what), "server_error"))
    said = f"Incorrect API key provided: {authorization.removeprefix('Bearer ')}." if status == 401 else _sentence(kind)
    headers: dict[str, str] = {}
    if script.retry_after is not None:
        match script.retry_form:
            case "ms":
                headers["retry-after-ms"] = str(int(script.retry_after * 1000))
            case "date":
                headers["retry-after"] = formatdate(time() + script.retry_after, usegmt=True)
            case _:
                headers["retry-after"] = f"{script.retry_after:g}"
    return status, headers, _error(kind, said)


def stream(answer: Answer, model: str, fault_after: int | None, include_usage: bool) -> Iterator[Piece]:
    """A whole streamed answer up to its fault."""
    script = answer.script
    due = script.due(0)
    events = _Events(script, model)
    for data in events.beginning():
        yield Piece(due, data)
    for said, chunk in enumerate(answer.chunks()):
        if said == fault_after:
            yield from _failing(events, script, due)
            return
        if isinstance(chunk, UsageChunk) and not include_usage:
            continue
        if isinstance(chunk, TextChunk):
            due = script.due(said)
        *early, last = events.of(chunk, said)
        for number, data in enumerate(early):
            yield Piece(due + number * CUT, data)
        yield Piece(due + len(early) * CUT, last, isinstance(chunk, TextChunk), _reported(chunk))
    if "nodone" not in script.wire:
        yield Piece(due, events.event(b"[DONE]"))


def whole(answer: Answer, model: str, fault_after: int | None) -> Piece:
    """The body of an answer that is not streamed. With a fault only its first half is to be written."""
    script = answer.script
    chunks = list(answer.chunks())
    said = sum(isinstance(chunk, TextChunk) for chunk in chunks)
    body = _completion(chunks, model)
    fault = script.fault.what if script.fault and fault_after is not None and fault_after <= said else ""
    fault = ON_THE_WIRE.get(fault, fault)
    if fault == "malformed":
        body = body[: len(body) // 2]
    elif fault in STATUS or fault == "error":
        body = _error(*_kind(fault))
    due = script.due(max(0, said - 1))
    usage = None if fault else next(filter(None, map(_reported, chunks)), None)
    return Piece(due, body, said, usage, fault if fault in ("reset", "close", "eof", "stall") else "")


CUT = 0.002
"""Seconds between the halves of what is cut, so that a reader gets them one by one."""


class _Events:
    """Chunks as events, in the wire form that a script asks for."""

    def __init__(self, script: Script, model: str) -> None:
        self._wire, self._field = script.wire, script.field
        self._end = b"\r\n\r\n" if "crlf" in self._wire else b"\n\n"
        self._name = b"data:" if "compact" in self._wire else b"data: "
        head = {"id": "chatcmpl-scripted", "object": "chat.completion.chunk", "created": 0, "model": model}
        self._head = msgspec.json.encode(head)[:-1]

    def event(self, data: bytes) -> bytes:
        return self._name + data + self._end

    def beginning(self) -> Iterator[bytes]:
        yield self._choice(b'{"role":"assistant","content":%b}' % (b"null" if "null" in self._wire else b'""'))

    def of(self, chunk: Chunk, number: int) -> list[bytes]:
        """The bytes of one chunk; several where it is written in pieces."""
        match chunk:
            case FinishChunk(reason=reason):
                return [self._choice(b"{}", msgspec.json.encode(reason))]
            case DetailsChunk() | LifeChunk():  # no script says such a thing
                return []
            case UsageChunk():
                return [self.event(b'%b,"choices":[],"usage":%b}' % (self._head, msgspec.json.encode(_usage(chunk))))]
        before = self._noise(number)
        events = [self._choice(delta) for delta in self._deltas(chunk)]
        events[0] = before + events[0]
        return _cut(events[0]) if "cut" in self._wire and len(events) == 1 else events

    def error(self, kind: str, sentence: str) -> bytes:
        return self.event(_error(kind, sentence))

    def _choice(self, delta: bytes, finish: bytes = b"null") -> bytes:
        data = b'%b,"choices":[{"index":0,"delta":%b,"finish_reason":%b}]}' % (self._head, delta, finish)
        return self._name + data + self._end

    def _noise(self, number: int) -> bytes:
        """What carries no text and must not disturb."""
        noise = b""
        if "pings" in self._wire:
            noise += b": ping" + self._end
        if "empty" in self._wire:
            noise += self.event(self._head + b',"choices":[]}')
        if "null" in self._wire and number % 2:
            noise += self._choice(b'{"content":null,"tool_calls":null}')
        return noise

    def _deltas(self, chunk: TextChunk) -> list[bytes]:
        if chunk.part == "tool_call":
            return self._call(chunk)
        field = self._field if chunk.part == "reasoning" else "refusal" if "refusal" in self._wire else "content"
        if "halves" in self._wire and not chunk.text.isascii():
            texts = [half.encode() for half in _halves(chunk.text)]
        else:
            texts = [msgspec.json.encode(chunk.text)]
        return [b'{"%b":%b}' % (field.encode(), text) for text in texts]

    def _call(self, chunk: TextChunk) -> list[bytes]:
        """A call in two deltas: its name, then its arguments; in one where the server knows no index."""
        begun: JsonObject = {"index": chunk.index, "id": chunk.id, "type": "function"}
        if "noindex" in self._wire:
            calls: list[JsonObject] = [{"id": chunk.id, "function": {"name": chunk.name, "arguments": chunk.text}}]
        else:
            calls = [begun | {"function": {"name": chunk.name, "arguments": ""}}]
            calls.append({"index": chunk.index, "function": {"arguments": chunk.text}})
        return [msgspec.json.encode({"tool_calls": [call]}) for call in calls]


def _failing(events: _Events, script: Script, due: float) -> Iterator[Piece]:
    assert script.fault is not None
    what = ON_THE_WIRE.get(script.fault.what, script.fault.what)
    if what == "malformed":
        yield Piece(due, events.event(b'{"choices":[{"delta":{"cont'), fault="eof")
    elif what == "error" or what in STATUS:
        yield Piece(due, events.error(*_kind(what)), fault="eof")
    else:
        yield Piece(due, b"", fault=what)


def _kind(what: str) -> tuple[str, str]:
    kind = STATUS[what][1] if what in STATUS else "server_error"
    return kind, _sentence(kind)


def _sentence(kind: str) -> str:
    return f"The scripted upstream was told to say {kind}."


def _error(kind: str, sentence: str) -> bytes:
    return msgspec.json.encode({"error": {"message": sentence, "type": kind, "param": None, "code": kind}})


def _reported(chunk: Chunk) -> tuple[int, int] | None:
    return (chunk.usage.input_tokens, chunk.usage.output_tokens) if isinstance(chunk, UsageChunk) else None


def _usage(chunk: UsageChunk) -> JsonObject:
    usage = chunk.usage
    total = usage.input_tokens + usage.output_tokens
    return {"prompt_tokens": usage.input_tokens, "completion_tokens": usage.output_tokens, "total_tokens": total}


def _completion(chunks: list[Chunk], model: str) -> bytes:
    said = completion_of(chunks)
    message: JsonObject = {"role": "assistant", "content": said.content or None}
    if said.reasoning:
        message["reasoning_content"] = said.reasoning
    if said.tool_calls:
        message["tool_calls"] = said.tool_calls
    body: JsonObject = {"id": "chatcmpl-scripted", "object": "chat.completion", "created": 0, "model": model}
    body["choices"] = [{"index": 0, "message": message, "finish_reason": said.finish_reason}]
    body["usage"] = next((_usage(chunk) for chunk in chunks if isinstance(chunk, UsageChunk)), None)
    return msgspec.json.encode(body)


def _halves(text: str) -> list[str]:
    """The text as JSON in ASCII, cut between the surrogates of its first pair."""
    escaped = json.dumps(text)
    pair = re.search(r"\\ud[89ab]..(?=\\ud[c-f])", escaped)
    return [escaped] if pair is None else [escaped[: pair.end()] + '"', '"' + escaped[pair.end() :]]


def _cut(data: bytes) -> list[bytes]:
    """Cut inside its first character of several bytes, else in the middle."""
    place = next((at for at, byte in enumerate(data) if byte & 0xC0 == 0x80), len(data) // 2)
    return [data[:place], data[place:]]
