"""Events are the same however many of them one read brings: byte by byte they come as the standard has it, line after line."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from rejoinder.llm.event_stream import EventStream

LINES = (
    *(b"", b"data: {}", b"data: ", b"data:x", b"data", b"data: data: a", b"\xef\xbb\xbfdata: x"),
    *(b": ping", b"event: error", b"event:", b"id: 1"),
)
EVENTS = (
    *(b"data: {}\n\n", b"data: [DONE]\n\n", b"data: a\n\n\n", b"data: \n\n"),
    *(b"event: error\ndata: {}\n\n", b": ping\n\n", b"data: a\ndata: b\n\n"),
)

lines = st.tuples(st.sampled_from(LINES), st.sampled_from((b"\n", b"\n", b"\r\n", b"\r"))).map(b"".join)
streams = st.lists(st.sampled_from(EVENTS) | lines, max_size=12).map(b"".join)


@given(data=streams, cuts=st.lists(st.integers(1, 200), max_size=6, unique=True).map(sorted))
def test_events_are_the_same_wherever_their_bytes_are_cut(data: bytes, cuts: list[int]) -> None:
    edges = [0, *(cut for cut in cuts if cut < len(data)), len(data)]
    stream, bytewise = EventStream(), EventStream()
    found = [event for start, end in pairwise(edges) for event in stream.feed(data[start:end])]
    assert found == [event for at in range(len(data)) for event in bytewise.feed(data[at : at + 1])]
