"""A batch of appends as the arrays that `append_batch` takes: everything of it in one round trip."""

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from rejoinder.abc import Append, Appended, AppendResult, Refused, Text
from rejoinder.entities import Key
from rejoinder.stores.batch import checked_version
from rejoinder.stores.staging import Piece

REFUSED = {-1: Refused("version"), -2: Refused("missing"), -3: Refused("exists")}

WIDTHS = {"a": 5, "h": 3, "e": 5, "m": 7, "d": 4, "o": 4, "t": 5}
"""Columns of each list of the function, the place of the append included."""

INDEXED = 900_000
"""Bytes of the words of one text that are indexed: somewhat less than a tsvector can hold. What is behind is not found."""


def arrays(appends: Sequence[Append]) -> list[list[Any]]:
    """The lists of `append_batch` behind the number of the batch. Raises ValueError for an append that contradicts itself."""
    keys = sorted({append.key for append in appends})
    places = {key: place for place, key in enumerate(keys, 1)}
    rows: dict[str, list[tuple[Any, ...]]] = {letter: [] for letter in WIDTHS}
    for place, append in enumerate(appends, 1):
        header = append.header
        rows["a"].append(
            (places[append.key], append.expect, checked_version(append), len(append.drafts), append.staged)
        )
        if header is not None:
            rows["h"].append((place, header.session.updated_at, msgspec.json.encode(header)))
            rows["o"] += ((place, reply.id, reply.epoch, msgspec.json.encode(reply)) for reply in header.open)
        if append.staged is not None:
            continue
        rows["e"] += ((place, at, said.type, said.message_id, said.data) for at, said in enumerate(append.drafts))
        rows["m"] += ((place, new.at, new.id, new.parent_id, new.lane, new.depth, new.ended) for new in append.created)
        rows["d"] += ((place, end.at, end.id, end.ended_at) for end in append.ended)
        rows["t"] += ((place, *indexed(text), mark(append.key.owner)) for text in append.texts)
    columns = [[key.owner for key in keys], [key.session_id for key in keys]]
    for letter, width in WIDTHS.items():
        columns += map(list, zip(*rows[letter], strict=True)) if rows[letter] else [[] for _ in range(width)]
    return columns


def staged(owner: str, piece: Piece) -> list[Any]:
    """The lists of the statement `stage`, behind the number and the epoch: the owner, then events, messages and texts."""
    ended, marked = piece.ended, mark(owner)
    rows: list[tuple[int, list[tuple[Any, ...]]]] = [
        (4, [(event.seq, event.type, event.message_id, event.data) for event in piece.events]),
        (7, [(r.created, r.id, r.parent_id, r.lane, r.depth, r.ended, ended.get(r.id)) for r in piece.rows]),
        (4, [(*indexed(text), marked) for text in piece.texts]),
    ]
    columns: list[Any] = [owner]
    for width, some in rows:
        columns += map(list, zip(*some, strict=True)) if some else [[] for _ in range(width)]
    return columns


def results(said: Iterable[int]) -> list[AppendResult]:
    return [REFUSED[number] if number < 0 else Appended(number) for number in said]


# --- words -------------------------------------------------------------------------------------------------------


def mark(owner: str) -> str:
    """A word that all texts of an owner have, and no text can hold."""
    return "_" + hashlib.sha256(owner.encode()).hexdigest()[:32]


def wanted(key_owner: str, words: Sequence[str]) -> str:
    """A question for texts of this owner that have, for each of the words, a word that begins with it."""
    return " & ".join([f"'{mark(key_owner)}'", *(f"{_quoted(word)}:*" for word in words)])


def _quoted(word: str) -> str:
    return "'" + word.replace("\\", "\\\\").replace("'", "''") + "'"


def indexed(text: Text) -> tuple[str, str, str]:
    return text.message_id or "", text.at, fitting(text.words)


def fitting(words: str) -> str:
    """As many words of a text as are indexed."""
    if len(words) > INDEXED // 4 and len(encoded := words.encode()) > INDEXED:
        return encoded[:INDEXED].decode(errors="ignore").rpartition(" ")[0]
    return words


def keys_of(records: Iterable[Any]) -> list[Key]:
    return [Key(owner, session_id) for owner, session_id in records]
