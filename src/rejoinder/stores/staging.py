"""Staging: the bulk of a great first append, cut into pieces that a store takes one after the other ahead of the commit.

A session that is not there yet begins at seq 1, so what its first append brings has its seqs before anything is committed.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import TypeVar

from msgspec import Struct

from rejoinder.abc import ABSENT, Append, Row, Text
from rejoinder.errors import StoreUnavailable
from rejoinder.events import Event

GREAT = 2 << 20
"""Bytes from which a first append is staged. What is less takes a store a fraction of a second."""

PIECE = 512 << 10
"""Bytes of one piece: for so long others wait."""

ROW = 200
"""Bytes for which a row counts, whatever is in it."""

PAUSES = (0.1, 0.5, 1.0, 2.0, 4.0)
"""Seconds between tries of a piece; after the last the store is told to be away, and nothing has happened."""

T = TypeVar("T")


class Piece(Struct, frozen=True, kw_only=True):
    """Some of the events, rows and texts of a session that is not there yet. `ended` are times (`EndedRow.ended_at`) by message id."""

    events: list[Event] = []
    rows: list[Row] = []
    ended: dict[str, str] = {}
    texts: list[Text] = []
    weight: int = 0


def weight(append: Append) -> int:
    """Bytes of what an append brings, with something for each row."""
    data = append.size + sum(len(text.words) for text in append.texts)
    return data + ROW * (len(append.drafts) + len(append.created) + len(append.texts))


def is_great(append: Append) -> bool:
    return append.expect == ABSENT and append.staged is None and weight(append) >= GREAT


def pieces(append: Append, share: int = 1) -> Iterator[Piece]:
    """Each of `PIECE` bytes, or of a share of it (so many make one)."""
    full = PIECE // share
    ends = {end.id: end for end in append.ended}
    titled = {text.message_id: text for text in append.texts}  # of two for one message the later counts
    told = (Event(seq, draft.type, draft.message_id, draft.data) for seq, draft in enumerate(append.drafts, 1))
    for events in _cut(told, full, lambda event: len(event.data)):
        yield Piece(events=events, weight=sum(len(event.data) + ROW for event in events))
    rows = (
        Row(
            id=new.id,
            parent_id=new.parent_id,
            lane=new.lane,
            depth=new.depth,
            created=new.at + 1,
            ended=new.at + 1 if new.ended else ends[new.id].at + 1 if new.id in ends else None,
        )
        for new in append.created
    )
    for some in _cut(rows, full, lambda _: 0):
        ended = {row.id: ends[row.id].ended_at for row in some if row.id in ends}
        yield Piece(rows=some, ended=ended, weight=len(some) * ROW)
    for texts in _cut((text for text in titled.values() if text.words), full, lambda text: len(text.words)):
        yield Piece(texts=texts, weight=sum(len(text.words) + ROW for text in texts))


def _cut(items: Iterator[T], full: int, size: Callable[[T], int]) -> Iterator[list[T]]:
    held: list[T] = []
    weight = 0
    for item in items:
        held.append(item)
        weight += size(item) + ROW
        if weight >= full:
            yield held
            held, weight = [], 0
    if held:
        yield held


async def with_patience(call: Callable[[int], Awaitable[T]]) -> T:
    """What a call gives, which is told how often it was tried before. Raises StoreUnavailable after some tries."""
    for tries, pause in enumerate(PAUSES):
        try:
            return await call(tries)
        except StoreUnavailable:
            await asyncio.sleep(pause)
    return await call(len(PAUSES))
