"""What was in a recorded answer: when each token was seen, and whether all of them were, in order, each once."""

from collections.abc import Callable, Iterator
from itertools import pairwise

import msgspec
from msgspec import Struct

from bench.load import Recording
from rejoinder.llm.scripted_answer import full_text


class Seen(Struct):
    """`first` is seconds from the request to the first token, None where there was none; `gaps` lie between tokens.

    `last` is when the last token was seen. `fault` says what is wrong with the answer; empty where nothing is.
    """

    first: float | None
    gaps: list[float]
    last: float
    fault: str


def seen(recording: Recording, tokens: int, text_of: Callable[[bytes], str]) -> Seen:
    """The tokens of an answer that should have so many (`t0 t1 t2 …`)."""
    texts: list[str] = []
    times: list[float] = []
    fault = recording.fault if recording.ended else "it had not ended in time"
    try:
        for when, data in _events(recording.reads):
            if text := text_of(data):
                texts.append(text)
                times += [when] * text.count("t")
    except (ValueError, msgspec.MsgspecError) as error:
        fault = fault or f"it cannot be read: {error}"
    if not fault and "".join(texts) != full_text(f"tokens={tokens}"):
        fault = f"it has {len(times)} tokens where {tokens} were sent, or others"
    first = times[0] - recording.asked if times else None
    gaps = [later - earlier for earlier, later in pairwise(times)]
    return Seen(first, gaps, times[-1] if times else recording.asked, fault)


def _events(reads: list[tuple[float, bytes]]) -> Iterator[tuple[float, bytes]]:
    """The data of each event, with the time of the read that completed its line."""
    held = b""
    for when, body in _bodies(reads):
        *lines, held = (held + body).split(b"\n")
        for line in lines:
            if line.startswith(b"data:"):
                yield when, line[5:].strip()


def _bodies(reads: list[tuple[float, bytes]]) -> Iterator[tuple[float, bytes]]:
    """What each read brought of the body, without the head and the frame of its chunks."""
    held = b""
    left: int | None = None  # bytes of the chunk with the line end behind it; None before the head has ended
    for when, data in reads:
        held += data
        if left is None:
            _, found, rest = held.partition(b"\r\n\r\n")
            if not found:
                continue
            held, left = rest, 0
        body = []
        while held:
            if not left:
                size, found, rest = held.partition(b"\r\n")
                if not found:
                    break
                left, held = int(size, 16) + 2, rest
            body.append(held[: max(0, left - 2)])
            left, held = max(0, left - len(held)), held[left:]
        yield when, b"".join(body)
