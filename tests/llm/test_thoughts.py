"""Thoughts inside the text are taken out wherever the stream is cut, and everything else stays as it came."""

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rejoinder.abc import TextChunk
from rejoinder.llm.chat_completions import StreamDecoder, decode_completion
from rejoinder.llm.completions import completion_of
from rejoinder.llm.thoughts import Spoken, Thoughts

TAGS = {"<think>": "</think>", "[THINK]": "[/THINK]"}
PIECES = [*TAGS, *TAGS.values(), "[", "[/TH", "<", "</", "think>", "<thin", ">", " ", "\n\n", "a", "é", "hm <b>"]


def read(*pieces: str) -> tuple[str, str]:
    """What comes of content in these pieces: reasoning, and content."""
    thoughts = Thoughts()
    said = [
        spoken for piece in filter(None, pieces) for spoken in thoughts.split([("content", piece)])
    ] + thoughts.rest()
    assert all(text for _, text in said), "nothing is told that is nothing"
    return together(said)


def together(said: list[Spoken]) -> tuple[str, str]:
    reasoning, content = ("".join(text for part, text in said if part == wanted) for wanted in ("reasoning", "content"))
    return reasoning, content


@pytest.mark.parametrize(
    ("text", "reasoning", "content"),
    [
        ("<think>hm</think>Yes", "hm", "Yes"),
        ("\n<think>\n\nhm, <b> or </ b>\n</think>\n\nYes.\n\n<think>no</think>", "hm, <b> or </ b>\n", "Yes.\n\n<think>no</think>"),
        ("<think>\n\n</think>\n\nYes", "", "Yes"),  # a model that was told not to think
        ("<think></think>", "", ""),
        ("[THINK]hm </think>[/THINK]Yes [THINK]no[/THINK]", "hm </think>", "Yes [THINK]no[/THINK]"),
        ("<think>cut off in its </thin", "cut off in its </thin", ""),
        ("<think>", "", ""),
        ("<think>hm</think> \n ", "hm", ""),
        ("Yes <think>no</think>", "", "Yes <think>no</think>"),
        ("<thinking>no</thinking>", "", "<thinking>no</thinking>"),
        ("</think>no", "", "</think>no"),
        ("  \n two spaces", "", "  \n two spaces"),
        ("  ", "", "  "),
        ("<thi", "", "<thi"),
        ("<", "", "<"),
        ("", "", ""),
    ],
)  # fmt: skip
def test_what_is_taken_for_thoughts(text: str, reasoning: str, content: str) -> None:
    assert read(text) == (reasoning, content)
    assert read(*text) == (reasoning, content)


@given(pieces=st.lists(st.sampled_from(PIECES), max_size=12), cuts=st.lists(st.integers(0, 80), max_size=8))
def test_any_cut_gives_the_same_and_nothing_is_lost(pieces: list[str], cuts: list[int]) -> None:
    text = "".join(pieces)
    reasoning, content = read(text)
    edges = [0, *sorted(cut % (len(text) + 1) for cut in cuts), len(text)]
    assert read(*(text[low:high] for low, high in pairwise(edges))) == (reasoning, content)
    tag = next(filter(text.lstrip().startswith, TAGS), None)
    if tag:
        thought, _, answer = text.lstrip().removeprefix(tag).partition(TAGS[tag])
        assert (reasoning, content) == (thought.lstrip(), answer.lstrip())
    else:
        assert (reasoning, content) == ("", text)


def test_text_beside_reasoning_that_comes_by_itself_is_left_alone() -> None:
    thoughts = Thoughts()
    spoken: list[Spoken] = [("content", " <th"), ("reasoning", "hm"), ("content", "<think>so</think>")]
    assert thoughts.split(spoken) == [("content", " <th"), ("reasoning", "hm"), ("content", "<think>so</think>")]
    assert thoughts.over and thoughts.rest() == []
    thoughts = Thoughts()
    spoken = [("content", "<think>so</t"), ("reasoning", "hm"), ("content", "Yes")]
    assert together(thoughts.split(spoken)) == ("so</thm", "Yes")


def test_a_whole_answer_and_a_stream_give_the_same() -> None:
    text = "<think>\nhm 😀</think>\n\nYes"
    call = {"index": 0, "id": "c", "function": {"name": "f", "arguments": "{}"}}
    finish = {"index": 0, "finish_reason": "tool_calls"}
    whole = decode_completion(
        json.dumps({"choices": [finish | {"message": {"content": text, "tool_calls": [call]}}]}).encode()
    )
    assert (whole.reasoning, whole.content) == ("hm 😀", "Yes")
    events: list[Any] = [{"choices": [{"delta": {"content": unit}}]} for unit in utf16(text)]
    events += [{"choices": [{"delta": {"tool_calls": [call]}}]}, {"choices": [finish | {"delta": {}}]}]
    decoder = StreamDecoder()
    chunks = [chunk for event in events for chunk in decoder.feed(b"data: " + json.dumps(event).encode() + b"\n\n")]
    decoder.finish()
    assert completion_of(chunks) == whole


def test_what_was_held_back_is_told_before_a_tool_call_and_before_the_finish() -> None:
    words = {"content": "<thin", "tool_calls": [{"index": 0, "id": "c", "function": {"name": "f", "arguments": "{}"}}]}
    held = ("content", "<thin")
    for choice, texts in (
        ({"delta": words}, [held, ("tool_call", "{}")]),
        ({"delta": {"content": "<thin"}, "finish_reason": "stop"}, [held]),
    ):
        said = StreamDecoder().feed(b"data: " + json.dumps({"choices": [choice]}).encode() + b"\n\n")
        assert [(chunk.part, chunk.text) for chunk in said if isinstance(chunk, TextChunk)] == texts


def utf16(text: str) -> list[str]:
    """Its code units, as JavaScript has them: one of two halves may come alone."""
    data = text.encode("utf-16-le")
    return [data[at : at + 2].decode("utf-16-le", "surrogatepass") for at in range(0, len(data), 2)]
