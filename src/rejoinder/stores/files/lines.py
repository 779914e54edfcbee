"""The lines of a session's file: the first says whose it is, every other one is an append with all that it changed, or a part of one.

The data of an event stands in its line as it is: one JSON object without a line end. It is read back as the very bytes
that were written, and a person can read, grep and cut it out with any tool for JSON.
"""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple, TypeVar

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType, structs

from rejoinder.abc import Append, NewRow
from rejoinder.entities import Header, Key
from rejoinder.events import Draft, Event
from rejoinder.stores.rereading import read_again
from rejoinder.words import lacks_marks

T = TypeVar("T")

FORMAT = 1
"""Raised when a line says something that an older version would misunderstand."""

PIECE = 256 << 10
"""Bytes of the events of one line, if it has more than one: whoever reads one of them reads all of the line."""

MANY = 500
"""Rows and texts of one line."""

FIRST = b'{"rejoinder":"session"'
"""With what the file of every session begins."""


class FirstLine(Struct, frozen=True, tag_field="rejoinder", tag="session"):
    format: int
    owner: str
    session: str


class CreatedLine(Struct, frozen=True, kw_only=True):
    """A row of the message index that begins here."""

    id: str
    seq: int
    parent_id: str | None
    lane: str
    depth: int
    ended: bool


class EndedLine(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`ended_at` is left out where the message has been compacted."""

    id: str
    seq: int
    ended_at: str | None = None


class TextLine(Struct, frozen=True, kw_only=True, omit_defaults=True):
    at: str
    words: str
    message_id: str | None = None


class EventLine(Struct, frozen=True, kw_only=True, omit_defaults=True):
    seq: int
    type: str
    message_id: str | None = None
    data: Raw


class Line(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An append, as it is rewritten."""

    events: tuple[EventLine, ...] = ()
    header: Raw | UnsetType = UNSET
    created: tuple[CreatedLine, ...] = ()
    ended: tuple[EndedLine, ...] = ()
    texts: tuple[TextLine, ...] = ()


class _Seq(Struct, frozen=True):
    seq: int


class _Text(Struct, frozen=True):
    at: str
    message_id: str | None = None


class IndexedLine(Struct, frozen=True):
    """What of a line is kept in memory, and no more is decoded."""

    events: tuple[_Seq, ...] = ()
    header: Raw | UnsetType = UNSET
    created: tuple[CreatedLine, ...] = ()
    ended: tuple[EndedLine, ...] = ()
    texts: tuple[_Text, ...] = ()


class _Events(Struct, frozen=True):
    events: tuple[EventLine, ...] = ()


class _Texts(Struct, frozen=True):
    texts: tuple[TextLine, ...] = ()


class _Header(Struct, frozen=True):
    header: Header


def first_line(key: Key) -> bytes:
    return msgspec.json.encode(FirstLine(FORMAT, key.owner, key.session_id)) + b"\n"


class AppendLine(NamedTuple):
    """A line with the events `first` to `last`, and what else it tells: None where that is nothing."""

    told: Append | None
    first: int
    last: int
    data: bytes


def append_lines(append: Append, first: int) -> Iterator[AppendLine]:
    """The lines of an append: one, or several of one that is long. The header is in the last. Raises as `append_line` does."""
    begin = size = 0
    for place, draft in enumerate(append.drafts):
        if size and size + len(draft.data) > PIECE:
            data = _events_of(append.drafts[begin:place], first + begin) + b"}\n"
            yield AppendLine(None, first + begin, first + place - 1, data)
            begin, size = place, 0
        size += len(draft.data)
    if len(append.created) + len(append.texts) > MANY:
        bare = structs.replace(append, drafts=(), header=None, created=(), ended=(), texts=())
        rows, texts = batched(tuple(sorted(append.created, key=lambda row: row.at))), batched(append.texts)
        parts = [
            *(structs.replace(bare, created=some) for some in rows),
            *(structs.replace(bare, texts=some) for some in texts),
        ]
        for part in parts:
            yield AppendLine(part, first + begin, first + begin - 1, append_line(part, first))
        append = structs.replace(append, created=(), texts=())
    yield AppendLine(append, first + begin, first + len(append.drafts) - 1, append_line(append, first, begin))


def batched(values: tuple[T, ...]) -> Iterator[tuple[T, ...]]:
    return (values[place : place + MANY] for place in range(0, len(values), MANY))


def append_line(append: Append, first: int, begin: int = 0) -> bytes:
    """The line of an append whose first event has this seq, with its events from the one at place `begin` on. Raises ValueError for
    data that is no JSON of one line."""
    line = _events_of(append.drafts[begin:], first + begin)
    if append.header is not None:
        line += b',"header":' + msgspec.json.encode(append.header)
    if append.created:
        line += b',"created":' + msgspec.json.encode(created_lines(append.created, first))
    if append.ended:
        ended = [EndedLine(id=end.id, seq=first + end.at, ended_at=end.ended_at) for end in append.ended]
        line += b',"ended":' + msgspec.json.encode(ended)
    if append.texts:
        texts = [TextLine(at=text.at, words=text.words, message_id=text.message_id) for text in append.texts]
        line += b',"texts":' + msgspec.json.encode(texts)
    return line + b"}\n"


def created_lines(rows: tuple[NewRow, ...], first: int) -> list[CreatedLine]:
    return [
        CreatedLine(
            id=row.id, seq=first + row.at, parent_id=row.parent_id, lane=row.lane, depth=row.depth, ended=row.ended
        )
        for row in sorted(rows, key=lambda row: row.at)
    ]


def _events_of(drafts: Sequence[Draft], first: int) -> bytes:
    return b'{"events":[%b]' % b",".join([_event(draft, seq) for seq, draft in enumerate(drafts, first)])


def _event(draft: Draft, seq: int) -> bytes:
    data = draft.data
    # What could not be read back is refused now, and not when it is too late.
    _check.decode(data)
    if b"\n" in data or data[:1] != b"{" or data[-1:] != b"}":
        raise ValueError("The data of an event is one JSON object on one line.")
    if draft.message_id is None:
        return b'{"seq":%d,"type":%b,"data":%b}' % (seq, _quoted(draft.type), data)
    return b'{"seq":%d,"type":%b,"message_id":%b,"data":%b}' % (
        seq,
        _quoted(draft.type),
        _quoted(draft.message_id),
        data,
    )


@lru_cache(10_000)
def _quoted(text: str) -> bytes:
    return msgspec.json.encode(text)


def read_first(line: bytes) -> FirstLine:
    return _first.decode(line)


def read_line(line: bytes) -> Line:
    return _line.decode(line)


def read_indexed(line: bytes) -> IndexedLine:
    return _indexed.decode(line)


def read_header(line: bytes) -> Header:
    return _with_header.decode(line).header


def read_texts(line: bytes) -> tuple[TextLine, ...]:
    texts = _texts.decode(line).texts if b'"texts":[' in line else ()
    if any(lacks_marks(text.words) for text in texts):
        return tuple(_read_again(text, line) if lacks_marks(text.words) else text for text in texts)
    return texts


def _read_again(text: TextLine, line: bytes) -> TextLine:
    """From its event, which came with it."""
    told = [event.data for event in read_events(line) if event.message_id == text.message_id]
    return structs.replace(text, words=read_again(text.words, told[-1] if told else None))


def read_events(line: bytes) -> list[Event]:
    return [Event(event.seq, event.type, event.message_id, bytes(event.data)) for event in _events.decode(line).events]


def write_line(line: Line) -> bytes:
    return msgspec.json.encode(line) + b"\n"


_check = msgspec.json.Decoder(Raw)
_first = msgspec.json.Decoder(FirstLine)
_line = msgspec.json.Decoder(Line)
_indexed = msgspec.json.Decoder(IndexedLine)
_events = msgspec.json.Decoder(_Events)
_texts = msgspec.json.Decoder(_Texts)
_with_header = msgspec.json.Decoder(_Header)
