"""Details of reasoning: put together from pieces, whole or not at all."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rejoinder.abc import Completion
from rejoinder.llm.chat_completions import StreamDecoder, decode_completion
from rejoinder.llm.completions import chunks_of, completion_of
from rejoinder.llm.reasoning_details import LARGEST, ReasoningDetails


def whole(*events: list[Any]) -> list[dict[str, Any]]:
    details = ReasoningDetails()
    for event in events:
        details.add(event)
    return list(details.whole())


def text(said: str, **more: Any) -> dict[str, Any]:
    return {"type": "reasoning.text", "text": said, "index": 0, **more}


def test_pieces_of_one_index_and_type_are_one() -> None:
    assert whole([text("Let", format="a", signature=None)], [text(" me."), text("Then", index=1)], [text("", signature="s")]) == [
        {"type": "reasoning.text", "index": 0, "format": "a", "signature": "s", "text": "Let me."},
        {"type": "reasoning.text", "index": 1, "text": "Then"},
    ]  # fmt: skip


def test_what_is_of_another_type_or_id_is_another() -> None:
    summary = {"type": "reasoning.summary", "summary": "In ", "index": 0, "id": None}
    encrypted = [{"type": "reasoning.encrypted", "data": "e30=", "id": id, "index": 0} for id in ("a", "b")]
    assert whole([summary], [summary | {"summary": "short", "id": "rs"}], encrypted) == [
        summary | {"summary": "In short", "id": "rs"},
        *encrypted,
    ]


def test_where_there_is_no_index_the_type_tells() -> None:
    assert whole([{"type": "reasoning.text", "text": "a"}], [{"type": "reasoning.text", "text": "b"}]) == [
        {"type": "reasoning.text", "text": "ab"}
    ]


@given(
    pieces=st.lists(
        st.tuples(st.integers(0, 2), st.sampled_from(["text", "data"]), st.text("ab", max_size=3)), max_size=20
    )
)
def test_nothing_is_missing_and_nothing_twice(pieces: list[tuple[int, str, str]]) -> None:
    made = whole(*([{"type": field, "index": index, field: said}] for index, field, said in pieces))
    assert {(detail["index"], detail["type"]): detail[detail["type"]] for detail in made} == {
        (index, field): "".join(said for at, name, said in pieces if (at, name) == (index, field))
        for index, field, _ in pieces
    }
    assert len(made) == len({piece[:2] for piece in pieces})


@pytest.mark.parametrize(
    "said",
    [
        ["no detail", None, 1],
        [text("\0")],
        [text("\ud800")],
        [text("x", big=1 << 64)],
        [text("x", deep=[[[[[]]]]])],
        [text("x" * (LARGEST // 2)), text("y" * (LARGEST // 2)), text("z")],
        [text("x" * LARGEST, index=0), *(text("y", index=index) for index in range(1, 100))],
    ],
)
def test_what_not_every_store_can_keep_is_left_out_whole(said: list[Any]) -> None:
    assert whole(said) == []
    assert decode_completion(answer(said)).reasoning_details == ()


def test_half_a_detail_too_many_does_not_make_the_rest_whole() -> None:
    details = ReasoningDetails()
    for index in range(200):
        details.add([text("x" * 10_000, index=index)])
    assert details.whole() == ()


@pytest.mark.parametrize("said", ["text", {"a": 1}, None, 3])
def test_what_is_no_list_is_none(said: Any) -> None:
    assert decode_completion(answer(said)).reasoning_details == ()
    reply = streamed(said)
    assert (reply.content, reply.reasoning_details) == ("hi", ())


def test_those_of_a_stream_come_with_its_finish() -> None:
    said = {"type": "reasoning.text", "text": "a"}
    assert streamed([said]).reasoning_details == (said,)


def streamed(details: Any) -> Completion:
    event = {"choices": [{"delta": {"reasoning_details": details, "content": "hi"}, "finish_reason": "stop"}]}
    return completion_of(StreamDecoder().feed(b"data: " + json.dumps(event).encode() + b"\n\n"))


def test_those_of_a_whole_answer_are_whole() -> None:
    said = [{"type": "reasoning.text", "text": "a"}, {"type": "reasoning.text", "text": "b"}]
    reply = decode_completion(answer(said))
    assert reply.reasoning_details == tuple(said)
    assert completion_of(chunks_of(reply)) == reply


def answer(details: Any) -> bytes:
    return json.dumps(
        {"choices": [{"message": {"content": "hi", "reasoning_details": details}, "finish_reason": "stop"}]}
    ).encode()
