"""The vocabulary of the log: what each event says, how it is kept, and how it travels.

A *fact* is what an event says, typed. A *draft* is a fact that has been encoded, once. An *event* is a draft that a
store has committed and numbered: readers write the very bytes that were encoded then, with the seq set before them.
"""

from typing import Any, TypeAlias

import msgspec
from msgspec import Struct

from rejoinder.entities import JsonObject, Message, Part, Session, Status, Usage

# --- facts -------------------------------------------------------------------------------------------------------


class SessionCreated(Struct, frozen=True, kw_only=True):
    """`request_hash` tells a retry with the same body from another request with the same id."""

    session: Session
    request_hash: str | None = None


class SessionUpdated(Struct, frozen=True, kw_only=True):
    session: Session


class MessageCreated(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A message stands in the log; a reply, queued or streaming, with empty content.

    `request_hash` stands on the message whose id is that of the request. `models` and `params` stand on a reply: what it was
    asked with, so that any worker can start it later.
    """

    message: Message
    request_hash: str | None = None
    models: tuple[str, ...] = ()
    params: JsonObject = {}


class MessageStarted(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An upstream is being asked, for the `attempt`th time (from 1); a queued reply is now streaming.

    `spent` is what the attempts before it have cost: whoever goes on after a crash could not tell which of them were owed.
    """

    message_id: str
    attempt: int
    model: str
    spent: Usage | None = None


class MessageDelta(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """More text of a reply. `offset` counts the code points of this part (and index) that came before.

    `index`, `id` and `name` belong to the part `tool_call` alone: `text` is then a piece of the call's arguments.
    """

    message_id: str
    part: Part
    offset: int
    text: str
    index: int | None = None
    id: str | None = None
    name: str | None = None


class MessageReset(Struct, frozen=True, kw_only=True):
    """Forget the text of this reply so far, all offsets are 0 again: attempt number `attempt` begins."""

    message_id: str
    attempt: int
    reason: str


class MessageStopping(Struct, frozen=True, kw_only=True):
    message_id: str


class MessageEnded(Struct, frozen=True, kw_only=True):
    """The whole message with its final status. What came before it in the log is not needed to know the message."""

    message: Message


class PromptSent(Struct, frozen=True, kw_only=True):
    """What an attempt was asked with, as far as the messages above the reply do not say it. The log's own.

    `upstream_model` is the upstream's name for the model, `prefill` the text of the reply from which it was to go on,
    `sha256` the digest of the very bytes. Where not all of the branch was sent, `first` is the first message that was, `also` one
    above it, and `summary` the seq of the SummaryMade that tells of the others.
    """

    message_id: str
    attempt: int
    model: str
    upstream_model: str
    system_prompt: str | None
    prefill: str
    params: JsonObject
    sha256: str
    first: str | None = None
    also: str | None = None
    summary: int = 0


class SummaryMade(Struct, frozen=True, kw_only=True):
    """A model's summary of a branch from its first message to the message `until`, made for the reply `message_id`."""

    message_id: str
    until: str
    text: str
    model: str
    usage: Usage


class TitleMade(Struct, frozen=True, kw_only=True):
    """A model has made a title; whether the session took it says the `session.updated` that comes with it."""

    title: str
    model: str
    usage: Usage


class FileImported(Struct, frozen=True, kw_only=True):
    """The session came out of a file, whose last line tells `sha256`, by the request that `request` names: so a retry finds it.
    The log's own."""

    request: str
    sha256: str


Fact: TypeAlias = (
    SessionCreated
    | SessionUpdated
    | MessageCreated
    | MessageStarted
    | MessageDelta
    | MessageReset
    | MessageStopping
    | MessageEnded
)

FACTS: dict[str, type[Any]] = {
    "session.created": SessionCreated,
    "session.updated": SessionUpdated,
    "message.created": MessageCreated,
    "message.started": MessageStarted,
    "message.delta": MessageDelta,
    "message.reset": MessageReset,
    "message.stopping": MessageStopping,
    "message.ended": MessageEnded,
}
"""Every type that a stream may carry. The log may hold further types (prompts, summaries): streams and folds skip them."""

Note: TypeAlias = PromptSent | SummaryMade | TitleMade | FileImported

NOTES: dict[str, type[Any]] = {
    "prompt.sent": PromptSent,
    "summary.made": SummaryMade,
    "title.made": TitleMade,
    "file.imported": FileImported,
}
"""The types that are the log's own."""

TYPES: dict[type[Any], str] = {fact: name for name, fact in (FACTS | NOTES).items()}

# --- the overview ------------------------------------------------------------------------------------------------


class WritingReply(Struct, frozen=True, kw_only=True):
    """An open reply: `status` is queued or streaming."""

    id: str
    status: Status


class WritingSession(Struct, frozen=True, kw_only=True):
    """A session with open replies, as it was at `last_seq`."""

    session_id: str
    last_seq: int
    replies: tuple[WritingReply, ...]


class Snapshot(Struct, frozen=True, kw_only=True):
    """All sessions that are writing. What happened before it may not have been told."""

    writing: tuple[WritingSession, ...] = ()


class SessionDeleted(Struct, frozen=True, kw_only=True):
    """It stands in no log: the session's own is gone with it."""

    session_id: str


OVERVIEW_FACTS: dict[str, type[Any]] = {"snapshot": Snapshot, "session.deleted": SessionDeleted}
"""The types that the overview alone carries."""

OVERVIEW_EVENTS = frozenset(
    {"session.created", "session.updated", "message.created", "message.started", "message.ended"}
)
"""The types of the logs that the overview carries as well: what a list or a mark shows. Never the text on its way."""

# --- drafts and events -------------------------------------------------------------------------------------------


class Draft(Struct, frozen=True, gc=False):
    """An event before a store has numbered it. `data` is one JSON object without its `seq`, in UTF-8, without line ends.

    `gc=False`, here and elsewhere on the way of a token: what holds nothing but texts and numbers is in no circle.
    """

    type: str
    message_id: str | None
    data: bytes


class Event(Struct, frozen=True, gc=False):
    """An event of a log. `seq` rises by at least one within a session; `data` is as it was in the draft."""

    seq: int
    type: str
    message_id: str | None
    data: bytes


_encoder = msgspec.json.Encoder()
_decoders = {name: msgspec.json.Decoder(fact) for name, fact in FACTS.items()}
_note_decoders = {name: msgspec.json.Decoder(note) for name, note in NOTES.items()}


def draft(fact: Fact | Note) -> Draft:
    """Encodes a fact. Raises UnicodeEncodeError where a text holds a lone surrogate, which no gate let in."""
    return Draft(TYPES[type(fact)], _message_id(fact), _encoder.encode(fact))


def fact(event: Event | Draft) -> Fact | None:
    """What an event says, or None for a type that is the log's own (or of a later version)."""
    decoder = _decoders.get(event.type)
    return None if decoder is None else decoder.decode(event.data)


def note(event: Event) -> Note | None:
    """What an event that is the log's own says, or None for any other."""
    decoder = _note_decoders.get(event.type)
    return None if decoder is None else decoder.decode(event.data)


def frame(event: Event) -> bytes:
    """An event as one frame of Server-Sent Events. `id:` comes last, since some readers take it when its line arrives."""
    return b'event: %b\ndata: {"seq":%d,%b\nid: %d\n\n' % (event.type.encode(), event.seq, _data(event)[1:], event.seq)


def overview_frame(session_id: str, event: Event) -> bytes:
    """An event as the overview tells it: with its session, and without `id:`, since no seq is a cursor over all sessions."""
    head = (event.type.encode(), session_id.encode(), event.seq)
    return b'event: %b\ndata: {"session_id":"%b","seq":%d,%b\n\n' % (*head, _data(event)[1:])


def told_frame(said: Snapshot | SessionDeleted) -> bytes:
    """What the overview alone tells, as a frame."""
    name = "snapshot" if isinstance(said, Snapshot) else "session.deleted"
    return b"event: %b\ndata: %b\n\n" % (name.encode(), _encoder.encode(said))


def _message_id(fact: Fact | Note) -> str | None:
    match fact:
        case MessageDelta(message_id=message_id):  # nearly all of them
            return message_id
        case MessageCreated(message=message) | MessageEnded(message=message):
            return message.id
        case SessionCreated() | SessionUpdated() | TitleMade() | FileImported():
            return None
        case _:
            return fact.message_id


def _data(event: Event) -> bytes:
    return _with_last_seq(event) if event.type.startswith("session.") else event.data


def _with_last_seq(event: Event) -> bytes:
    """A session's last seq is not known before the event that carries the session is numbered, and then it is its seq."""
    said = _decoders[event.type].decode(event.data)
    session = msgspec.structs.replace(said.session, last_seq=event.seq)
    return _encoder.encode(msgspec.structs.replace(said, session=session))
