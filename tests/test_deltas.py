"""What an upstream says becomes deltas: of one part what follows one another as one, and of a reply's calls each with a name of its own."""

from msgspec import UNSET

from rejoinder.abc import TextChunk
from rejoinder.chat.deltas import DeltaBuffer
from rejoinder.entities import Key
from rejoinder.errors import LeaseLost
from rejoinder.events import MessageDelta, MessageStopping, draft, fact
from rejoinder.fold import ReplyText

NOTE = draft(MessageStopping(message_id="msg"))


def buffer(max_delta: int = 1 << 16) -> DeltaBuffer:
    return DeltaBuffer(Key("o", "s"), "msg", ReplyText(), epoch=1, max_delta=max_delta)


def taken(buffer: DeltaBuffer) -> list[MessageDelta]:
    said = [fact(told) for told in buffer.take_drafts()]
    return [delta for delta in said if isinstance(delta, MessageDelta)]


def call(text: str, index: int | None = None, call_id: str | None = None, name: str | None = None) -> TextChunk:
    return TextChunk("tool_call", text, index, call_id, name)


def test_what_follows_one_another_of_one_part_is_one_delta_and_offsets_go_on_in_the_next() -> None:
    held = buffer()
    for part, text in (("content", "a"), ("content", "🏮"), ("reasoning", "b"), ("content", "c")):
        held.add(TextChunk(part, text))  # type: ignore[arg-type]
    held.add(TextChunk("content", ""))
    assert held.size == 4
    assert [(each.part, each.offset, each.text) for each in taken(held)] == [
        ("content", 0, "a🏮"),
        ("reasoning", 0, "b"),
        ("content", 2, "c"),
    ]
    assert (held.size, held.take()) == (4, None)
    held.add(TextChunk("content", "d"))
    assert [each.offset for each in taken(held)] == [3]


def test_a_long_one_is_split_between_characters() -> None:
    held = buffer(max_delta=8)
    held.add(TextChunk("content", "xé大🏮" * 3))
    deltas = taken(held)
    assert "".join(each.text for each in deltas) == "xé大🏮" * 3
    assert [each.offset for each in deltas] == [
        sum(len(each.text) for each in deltas[:at]) for at in range(len(deltas))
    ]
    assert [len(each.text.encode()) for each in deltas] == [6, 7, 8, 5, 4]


def test_each_call_has_its_place_and_an_id_that_no_other_has_however_an_upstream_numbers_and_names_them() -> None:
    held = buffer()
    said = (call("{", 7, "x", "f"), call("}", 7, "x"), call("{", 2, "x", "g"), call("}", 2, "y"), call("1", 7))
    for chunk in said:
        held.add(chunk)
    deltas = taken(held)
    assert [(each.index, each.offset, each.text, each.name) for each in deltas] == [
        (0, 0, "{}", "f"),
        (1, 0, "{}", "g"),
        (0, 2, "1", None),
    ]
    first, other, more = (each.id for each in deltas)
    assert (first, more) == ("x", None)
    assert other not in (None, "x", "y")
    held.restart(ReplyText())
    assert not held.calls
    held.add(call("", 7, "x", "f"))
    assert [(each.index, each.id) for each in taken(held)] == [(0, "x")], "another attempt counts anew"


def test_what_comes_with_a_call_beside_its_text_is_kept_with_its_place() -> None:
    held = buffer()
    held.add(TextChunk("tool_call", "", 3, "x", "f", {"signed": 1}))
    held.add(TextChunk("tool_call", "", 4, "y", "f"))
    taken(held)
    assert [each.extra_content for each in held.text.tool_calls()] == [{"signed": 1}, UNSET]


def test_the_first_words_of_each_attempt_are_pressing_and_what_is_noted_is_not() -> None:
    held, pressing = buffer(), list[bool]()
    held.note(NOTE)
    held.take()
    pressing.append(held.pressing)
    held.add(TextChunk("content", "a"))
    pressing.append(held.pressing)
    held.take()
    pressing.append(held.pressing)
    held.restart(ReplyText())
    assert [*pressing, held.pressing] == [True, True, False, True]


def test_behind_what_is_not_in_the_log_by_a_fault_of_our_own_nothing_is_taken() -> None:
    held = buffer()
    held.lost(LeaseLost("It is over."))
    assert (held.refused, held.fault) == (True, None), "that is no fault of our own"
    held.lost(fault := ValueError("one"))
    held.lost(ValueError("another"))
    held.add(TextChunk("content", "a"))
    assert (held.fault, held.take()) == (fault, None)
