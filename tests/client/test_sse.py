"""The parser reads what the HTML standard calls an event stream, wherever the bytes are cut."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rejoinder.client.sse import Frame, SseParser


def parsed(*chunks: bytes) -> list[Frame]:
    parser = SseParser()
    return [frame for chunk in chunks for frame in parser.feed(chunk)]


def byte_by_byte(stream: bytes) -> list[Frame]:
    return parsed(*(stream[at : at + 1] for at in range(len(stream))))


@pytest.mark.parametrize(
    ("stream", "frames"),
    [
        (b"data: a\n\n", [Frame("message", "a", "")]),
        (b"event: x\ndata: a\nid: 7\n\n", [Frame("x", "a", "7")]),
        (b"data: a\r\ndata: b\r\n\r\n", [Frame("message", "a\nb", "")]),
        (b"data: a\rdata: b\r\r", [Frame("message", "a\nb", "")]),
        (b"data: a\r\n\ndata: b\n\r\n", [Frame("message", "a", ""), Frame("message", "b", "")]),
        (b"\xef\xbb\xbfdata: a\n\n", [Frame("message", "a", "")]),
        (b"data: a\n\n\xef\xbb\xbfdata: b\n\n", [Frame("message", "a", "")]),
        (b":\n: a comment\ndata: a\n:\n\n", [Frame("message", "a", "")]),
        (b"data\n\n", [Frame("message", "", "")]),
        (b"data:\ndata:\n\n", [Frame("message", "\n", "")]),
        (b"data:a\n\ndata:  a\n\n", [Frame("message", "a", ""), Frame("message", " a", "")]),
        (b"data: a: b\n\n", [Frame("message", "a: b", "")]),
        (b"id: 1\ndata: a\n\ndata: b\n\n", [Frame("message", "a", "1"), Frame("message", "b", "1")]),
        (b"id: 1\ndata: a\n\nid\ndata: b\n\n", [Frame("message", "a", "1"), Frame("message", "b", "")]),
        (b"id: 1\n\ndata: a\n\n", [Frame("message", "a", "1")]),
        (b"id: 1\nid: 2\x00\ndata: a\n\n", [Frame("message", "a", "1")]),
        (b"event: x\n\ndata: a\n\n", [Frame("message", "a", "")]),
        (b"unknown: x\nDATA: b\ndata: a\n\n", [Frame("message", "a", "")]),
        ("data: é€𝄞\u2028\x85\n\n".encode(), [Frame("message", "é€𝄞\u2028\x85", "")]),
        (b"data: \xff\n\n", [Frame("message", "�", "")]),
        (b"data: a\n\ndata: never whole", [Frame("message", "a", "")]),
        (b"data: a\n\ndata: never whole\n", [Frame("message", "a", "")]),
        (b"", []),
    ],
)
def test_a_stream_is_read_as_the_standard_tells(stream: bytes, frames: list[Frame]) -> None:
    assert parsed(stream) == frames
    assert byte_by_byte(stream) == frames


@pytest.mark.parametrize(
    ("said", "seconds"), [(b"1500", 1.5), (b"0", 0.0), (b"-1", None), (b"1.5", None), (b"", None), ("१".encode(), None)]
)
def test_the_time_to_wait_is_taken_where_it_is_a_number(said: bytes, seconds: float | None) -> None:
    parser = SseParser()
    parser.feed(b"retry: " + said + b"\n:\n")
    assert parser.retry == seconds


LINES = st.sampled_from(
    [
        "data: one",
        "data",
        "data: zwölf €",
        "id: 4",
        "id",
        "event: x",
        ":",
        ": ping",
        "",
        "",
        "retry: 10",
        "data: 𝄞𝄞",
        "x",
    ]
)


@given(st.lists(st.tuples(LINES, st.sampled_from(["\n", "\r", "\r\n"]))), st.data())
def test_where_the_bytes_are_cut_makes_no_difference(lines: list[tuple[str, str]], data: st.DataObject) -> None:
    stream = "".join(line + end for line, end in lines).encode()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    chunks = [stream[start:end] for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    assert parsed(*chunks) == parsed(stream) == byte_by_byte(stream)


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\r\n"))))
def test_every_text_comes_through(texts: list[str]) -> None:
    stream = b"".join(b"data: %b\n\n" % text.encode() for text in texts)
    assert [frame.data for frame in byte_by_byte(stream)] == texts
