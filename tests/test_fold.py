"""fold(events) = history: from any cursor, for any life of a session."""

from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from rejoinder.entities import FunctionCall, Message, Part, ReplyError, Session, Status, ToolCall, Usage
from rejoinder.events import (
    Event,
    Fact,
    MessageCreated,
    MessageDelta,
    MessageEnded,
    MessageReset,
    MessageStarted,
    MessageStopping,
    SessionCreated,
    SessionUpdated,
    draft,
    fact,
    frame,
)
from rejoinder.fold import BrokenLog, ReplyText, fold

SID = "ses_" + "0" * 32


def time(n: int) -> str:
    return f"2026-01-01T00:00:{n // 1000:02}.{n % 1000:03}Z"


def numbered(facts: list[Fact], first: int = 1) -> list[Event]:
    drafts = [draft(said) for said in facts]
    return [Event(first + n, d.type, d.message_id, d.data) for n, d in enumerate(drafts)]


texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=8)


@st.composite
def lives(draw: st.DrawFn) -> list[Fact]:
    """The facts of a session with a few turns, stops, resets, renames and replies that write at the same time."""
    session = Session(id=SID, created_at=time(0), updated_at=time(0))
    facts: list[Fact] = [SessionCreated(session=session)]
    live: dict[str, tuple[Message, ReplyText]] = {}
    head: str | None = None
    for n in range(1, draw(st.integers(1, 40))):
        match draw(st.sampled_from(["send", "delta", "delta", "delta", "end", "reset", "stop", "rename"])):
            case "send":
                parent = draw(st.sampled_from([None, head]))
                asked = Message(
                    id=f"u{n}", session_id=SID, parent_id=parent, role="user", content=draw(texts), created_at=time(n)
                )
                reply = Message(
                    id=f"r{n}",
                    session_id=SID,
                    parent_id=asked.id,
                    role="assistant",
                    status=Status.STREAMING,
                    created_at=time(n),
                )
                facts += [
                    MessageCreated(message=asked),
                    MessageCreated(message=reply),
                    MessageStarted(message_id=reply.id, attempt=1, model="m"),
                ]
                live[reply.id] = (reply, ReplyText())
                head = reply.id
            case "rename":
                session = structs.replace(session, title=draw(texts), head=head, updated_at=time(n))
                facts.append(SessionUpdated(session=session))
            case what if live:
                reply, text = live[draw(st.sampled_from(sorted(live)))]
                if what == "delta":
                    part: Part = draw(st.sampled_from(get_args(Part)))
                    index = draw(st.integers(0, len(text.tool_calls()))) if part == "tool_call" else None
                    said = MessageDelta(
                        message_id=reply.id,
                        part=part,
                        offset=text.offset(part, index),
                        text=draw(texts),
                        index=index,
                        name="f",
                    )
                    text.add(part, said.text, index, None, "f")
                    facts.append(said)
                elif what == "reset":
                    live[reply.id] = (reply, ReplyText())
                    facts.append(MessageReset(message_id=reply.id, attempt=2, reason="again"))
                elif what == "stop":
                    facts.append(MessageStopping(message_id=reply.id))
                else:
                    ended = structs.replace(
                        text.on(reply),
                        status=draw(
                            st.sampled_from([Status.COMPLETED, Status.STOPPED, Status.FAILED, Status.INTERRUPTED])
                        ),
                        usage=Usage(input_tokens=1, output_tokens=1, source="estimated"),
                        error=ReplyError(code="x", message="y"),
                        ended_at=time(n),
                    )
                    del live[reply.id]
                    facts.append(MessageEnded(message=ended))
    return facts


@given(lives(), st.data())
def test_events_after_any_cursor_applied_to_the_history_there_give_the_history_later(
    facts: list[Fact], data: st.DataObject
) -> None:
    events = numbered(facts)
    cut = data.draw(st.integers(1, len(events)))
    later = data.draw(st.integers(cut, len(events)))
    assert fold(events[:later], fold(events[:cut])) == fold(events[:later])


@given(lives(), st.data())
def test_events_that_come_twice_change_nothing(facts: list[Fact], data: st.DataObject) -> None:
    events = numbered(facts)
    back = data.draw(st.integers(0, len(events) - 1))
    whole = fold(events)
    assert fold(events[back:], whole) == whole


@given(lives())
def test_what_an_event_says_survives_the_log(facts: list[Fact]) -> None:
    assert [fact(event) for event in numbered(facts)] == facts


@given(lives(), st.data())
def test_a_missing_delta_never_goes_unseen(facts: list[Fact], data: st.DataObject) -> None:
    """Dropping a delta breaks the log at the next delta of the same part, unless a reset came in between."""
    candidates = [n for n, said in enumerate(facts) if isinstance(said, MessageDelta) and said.text]
    if not candidates:
        return
    events = numbered(facts)
    dropped = data.draw(st.sampled_from(candidates))
    said = facts[dropped]
    assert isinstance(said, MessageDelta)
    followed = False
    for later in facts[dropped + 1 :]:
        if isinstance(later, MessageReset) and later.message_id == said.message_id:
            break
        if isinstance(later, MessageDelta) and (later.message_id, later.part, later.index) == (
            said.message_id,
            said.part,
            said.index,
        ):
            followed = True
    if followed:
        with pytest.raises(BrokenLog):
            fold(events[:dropped] + events[dropped + 1 :])


@given(lives())
def test_a_frame_is_four_lines_and_its_id_comes_last(facts: list[Fact]) -> None:
    for event in numbered(facts):
        lines = frame(event).split(b"\n")
        assert [line.partition(b": ")[0] for line in lines] == [b"event", b"data", b"id", b"", b""]
        assert lines[2] == b"id: %d" % event.seq


def test_a_long_reply_folds_in_linear_time() -> None:
    text = ReplyText()
    reply = Message(id="r", session_id=SID, role="assistant", status=Status.STREAMING, created_at=time(0))
    facts: list[Fact] = [
        SessionCreated(session=Session(id=SID, created_at=time(0), updated_at=time(0))),
        MessageCreated(message=reply),
    ]
    for _ in range(20_000):
        facts.append(MessageDelta(message_id="r", part="content", offset=text.offset("content"), text="word "))
        text.add("content", "word ")
    assert fold(numbered(facts)).messages["r"].content == "word " * 20_000


def test_a_call_of_a_tool_has_the_id_and_the_name_that_its_first_piece_told() -> None:
    reply = Message(id="r", session_id=SID, role="assistant", status=Status.STREAMING, created_at=time(0))
    facts: list[Fact] = [
        SessionCreated(session=Session(id=SID, created_at=time(0), updated_at=time(0))),
        MessageCreated(message=reply),
        MessageDelta(message_id="r", part="tool_call", offset=0, text='{"a":', index=0, id="c", name="f"),
        MessageDelta(message_id="r", part="tool_call", offset=5, text="1}", index=0),
    ]
    called = (ToolCall(id="c", function=FunctionCall(name="f", arguments='{"a":1}')),)
    events = numbered(facts)
    assert fold(events).messages["r"].tool_calls == called
    assert fold(events[3:], fold(events[:3])).messages["r"].tool_calls == called, "also behind a history"


def test_an_event_of_a_message_that_was_never_created_is_a_broken_log() -> None:
    session = SessionCreated(session=Session(id=SID, created_at=time(0), updated_at=time(0)))
    with pytest.raises(BrokenLog):
        fold(numbered([session, MessageStopping(message_id="r")]))
