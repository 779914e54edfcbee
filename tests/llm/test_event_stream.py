"""Events are the same however many of them one read brings: byte by byte they come as the standard has it, line after line."""

from itertools import accumulate, pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from rejoinder.llm.event_stream import EventStream

PIECES = (
    *(
        b"data: {}\n\n",
        b"data: [DONE]\n\n",
        b"data: a\n\n\n",
        b"data: \n\n",
        b"event: error\ndata: {}\n\n",
        b": ping\n\n",
    ),
    *(
        b"data: a\ndata: b\n\n",
        b"data: a\r\n\n",
        b"data: a\rdata: b\n\n",
        b"data: a\n",
        b"data: a\r\n",
        b"data:a\r",
        b"\n",
        b"\r\n",
        b"\r",
    ),
    *(
        b"data\n",
        b"data: data: a\n",
        b"\xef\xbb\xbfdata: a\n\n",
        b": ping\n",
        b"event: error\n",
        b"event:\n",
        b"id: 1\n",
        b"data: a",
        b"da",
    ),
)
"""Whole events, lines and parts of them."""

streams = st.lists(st.tuples(st.sampled_from(PIECES), st.booleans(), st.integers(-8, 8)), max_size=6)
"""Pieces, with whether the bytes are cut behind it, so many bytes later."""


@settings(max_examples=1_000)
@given(pieces=streams)
def test_events_are_the_same_wherever_their_bytes_are_cut(pieces: list[tuple[bytes, bool, int]]) -> None:
    data = b"".join(piece for piece, _, _ in pieces)
    ends = accumulate(len(piece) for piece, _, _ in pieces)
    # Most cuts are right behind a piece, where what is read next begins like an event.
    cuts = {end + max(0, by) for end, (_, cut, by) in zip(ends, pieces, strict=True) if cut}
    edges = [0, *sorted(cut for cut in cuts if cut < len(data)), len(data)]
    stream, bytewise = EventStream(), EventStream()
    found = [event for start, end in pairwise(edges) for event in stream.feed(data[start:end])]
    assert found == [event for at in range(len(data)) for event in bytewise.feed(data[at : at + 1])]
