"""The fold: from events to the history they tell.

It is what the service itself does to read a reply that has not ended, what recovery does after a crash, and what any
client may do with a stream: the events after a history's `as_of`, applied to it, give the history fetched later.
"""

from collections.abc import Iterable
from typing import Self

from msgspec import UNSET, Struct, structs

from rejoinder.entities import Attempt, FunctionCall, JsonObject, Message, Part, Session, Status, ToolCall
from rejoinder.errors import RejoinderError
from rejoinder.events import (
    Event,
    MessageCreated,
    MessageDelta,
    MessageEnded,
    MessageReset,
    MessageStarted,
    SessionCreated,
    SessionUpdated,
    fact,
)


class BrokenLog(RejoinderError):
    """Text is missing or doubled: an offset does not agree with what came before it."""

    code = "broken_log"


class History(Struct, frozen=True, kw_only=True):
    """A session and all its messages, by id in order of creation, as of `as_of` (a seq)."""

    session: Session
    messages: dict[str, Message]
    as_of: int


def fold(events: Iterable[Event], base: History | None = None) -> History:
    """Applies events, in order, to a history (or to nothing, from seq 1). Events up to `base.as_of` are passed over.

    Raises BrokenLog where an offset proves that text is missing or doubled, or where the first event is not
    `session.created`, or an event's message was never created.
    """
    session = base.session if base else None
    as_of = base.as_of if base else 0
    replies = {mid: ReplyFold(message) for mid, message in base.messages.items()} if base else {}
    for event in events:
        if event.seq <= as_of:
            continue
        as_of = event.seq
        said = fact(event)
        match said:
            case SessionCreated() | SessionUpdated():
                session = said.session
            case MessageCreated(message=message):
                replies[message.id] = ReplyFold(message)
                if session is not None:
                    session = structs.replace(session, head=message.id, updated_at=message.created_at)
            case None:
                pass
            case _:
                reply = replies.get(event.message_id or "")
                if reply is None:
                    raise BrokenLog(f"Event {event.seq} is of a message that was never created.")
                reply.apply(said)
                if isinstance(said, MessageEnded) and session is not None:
                    ended_at = said.message.ended_at or session.updated_at
                    session = structs.replace(session, updated_at=ended_at)
    if session is None:
        raise BrokenLog("The log does not begin with session.created.")
    messages = {mid: reply.message() for mid, reply in replies.items()}
    return History(session=structs.replace(session, last_seq=as_of), messages=with_siblings(messages), as_of=as_of)


def with_siblings(messages: dict[str, Message]) -> dict[str, Message]:
    """Sets `siblings` of each message from the parents of all of them (the dict is in order of creation)."""
    children: dict[str | None, list[str]] = {}
    for message in messages.values():
        children.setdefault(message.parent_id, []).append(message.id)
    return {
        mid: structs.replace(message, siblings=siblings_of(children[message.parent_id]))
        for mid, message in messages.items()
    }


def siblings_of(ids: Iterable[str]) -> tuple[str, ...]:
    """The ids of all children of one parent as `siblings` tells them: empty where there is only one."""
    siblings = tuple(ids)
    return siblings if len(siblings) > 1 else ()


class ReplyText:
    """The text of a reply that is being written: pieces per part, joined when asked for, and their offsets."""

    def __init__(self) -> None:
        self._pieces: dict[tuple[Part, int], list[str]] = {}
        self._offsets: dict[tuple[Part, int], int] = {}
        self._calls: dict[int, tuple[str, str]] = {}
        self.extras: dict[int, JsonObject] = {}
        """The `extra_content` of tool calls: no text, so that it comes with the end of the reply."""
        self.details: tuple[JsonObject, ...] = ()
        """The `reasoning_details`, which come with the end as well."""
        self.size = 0
        """Code points of all parts."""

    @classmethod
    def of(cls, message: Message) -> Self:
        """The text that a message already has."""
        text = cls()
        if isinstance(message.content, str) and message.content:
            text.add("content", message.content)
        if message.reasoning:
            text.add("reasoning", message.reasoning)
        for index, call in enumerate(message.tool_calls):
            text.add("tool_call", call.function.arguments, index, call.id, call.function.name)
        return text

    def offset(self, part: Part, index: int | None = None) -> int:
        """Code points of this part and index so far."""
        return self._offsets.get((part, index or 0), 0)

    def add(
        self, part: Part, text: str, index: int | None = None, call_id: str | None = None, name: str | None = None
    ) -> int:
        """Returns where it begins: its `offset`. Raises BrokenLog for a tool call whose index is not its place among the calls."""
        key = (part, index or 0)
        if part == "tool_call":
            if key[1] > len(self._calls):
                raise BrokenLog(f"Tool call {key[1]} begins where only {len(self._calls)} have begun.")
            had = self._calls.get(key[1], ("", ""))
            self._calls[key[1]] = (call_id or had[0], name or had[1])
        self._pieces.setdefault(key, []).append(text)
        before = self._offsets.get(key, 0)
        self._offsets[key] = before + len(text)
        self.size += len(text)
        return before

    def part(self, part: Part, index: int = 0) -> str:
        return "".join(self._pieces.get((part, index), ()))

    def tool_calls(self) -> tuple[ToolCall, ...]:
        return tuple(
            ToolCall(
                id=call_id,
                function=FunctionCall(name=name, arguments=self.part("tool_call", index)),
                extra_content=self.extras.get(index, UNSET),
            )
            for index, (call_id, name) in sorted(self._calls.items())
        )

    def on(self, message: Message) -> Message:
        """The message with this text."""
        return structs.replace(
            message,
            content=self.part("content"),
            reasoning=self.part("reasoning"),
            tool_calls=self.tool_calls(),
            reasoning_details=self.details if self.details and self._calls else UNSET,
        )


class ReplyFold:
    """One message while its events are applied. Text is gathered in pieces, so that long replies fold in linear time."""

    def __init__(self, message: Message) -> None:
        self._message = message
        self._text: ReplyText | None = None

    def apply(self, said: object) -> None:
        match said:
            case MessageDelta():
                self._append(said)
            case MessageStarted(attempt=attempt, model=model):
                self._start(attempt, model)
            case MessageReset():
                self._text = ReplyText()
            case MessageEnded(message=message):
                self._message, self._text = message, None

    def message(self) -> Message:
        return self._message if self._text is None else self._text.on(self._message)

    def _append(self, delta: MessageDelta) -> None:
        text = self._text = self._text or ReplyText.of(self._message)
        had = text.offset(delta.part, delta.index)
        if delta.offset != had:
            raise BrokenLog(
                f"{delta.message_id} has {had} code points of {delta.part}, the next begins at {delta.offset}."
            )
        text.add(delta.part, delta.text, delta.index, delta.id, delta.name)

    def _start(self, attempt: int, model: str) -> None:
        # The attempt number is the place in the list, so that a start that is told twice changes nothing.
        attempts = (*self._message.attempts[: attempt - 1], Attempt(model=model))
        self._message = structs.replace(self._message, status=Status.STREAMING, attempts=attempts, model=model)
