"""A batch, or a piece of what is staged, as the arguments of a script, and a batch's answer as results.

Arguments are one flat list, as Redis hands it to a script: Lua has no bound on their number but `unpack`, which is not used.
"""

from collections.abc import Sequence
from typing import TypeAlias

import msgspec

from rejoinder.abc import Append, Appended, AppendResult, Lease, NewRow, Refused, Row, Text
from rejoinder.errors import StoreUnavailable
from rejoinder.stores.batch import check_number, checked_version, lost
from rejoinder.stores.redis.names import digits, pack
from rejoinder.stores.staging import Piece

Argument: TypeAlias = bytes | str | int

_encode = msgspec.json.Encoder().encode


def arguments(lease: Lease, number: int, acknowledged: int, appends: Sequence[Append]) -> list[Argument]:
    found: list[Argument] = [lease.epoch, lease.worker, number, acknowledged, len(appends)]
    for append in appends:
        _add_append(found, append)
    return found


def piece_arguments(piece: Piece) -> list[Argument]:
    """Some of what is staged, for `lua/stage.lua`."""
    found: list[Argument] = [f"{len(piece.events)} {len(piece.rows)} {len(piece.texts)}"]
    for event in piece.events:
        found += (event.seq, event.type, event.message_id or "", event.data)
    for row in piece.rows:
        found += (pack(row.id), row.created, row.ended or "", piece.ended.get(row.id, ""), *_static(row))
    for text in piece.texts:
        found += _text(text)
    return found


def _add_append(found: list[Argument], append: Append) -> None:
    owner, session_id = append.key
    found += (pack(owner), pack(session_id), "" if append.expect is None else append.expect)
    _add_header(found, append)
    if append.staged is not None:
        found.append(f"{len(append.drafts)} 0 0 0 {append.staged}")
        return
    found.append(f"{len(append.drafts)} {len(append.created)} {len(append.ended)} {len(append.texts)}")
    for draft in append.drafts:
        found += (draft.type, draft.message_id or "", draft.data)
    for row in append.created:
        found += (pack(row.id), row.at, "1" if row.ended else "", *_static(row))
    for ended in append.ended:
        found += (pack(ended.id), ended.at, ended.ended_at)
    for text in append.texts:
        found += _text(text)


def _add_header(found: list[Argument], append: Append) -> None:
    header, version = append.header, checked_version(append)
    if header is None or version is None:
        found.append("")
        return
    epochs = sorted({reply.epoch for reply in header.open if reply.epoch is not None})
    found += (
        version,
        _encode(header),
        header.session.updated_at,
        " ".join(map(str, epochs)),
        "1" if header.open else "",
    )


def _static(row: NewRow | Row) -> tuple[Argument, ...]:
    """What of a row never changes: its parent, and its lane with its depth, as they sort, and all three to be read."""
    return (
        parent(row.parent_id),
        pack(row.lane, digits(row.depth)),
        _encode((row.parent_id, row.lane, row.depth)),
    )


def _text(text: Text) -> tuple[Argument, ...]:
    return "t" if text.message_id is None else pack("m" + text.message_id), text.at, text.words


def parent(message_id: str | None) -> bytes:
    """A parent in the index: "-" for none."""
    return b"-" if message_id is None else pack("+" + message_id)


def results(answer: list[bytes], lease: Lease, number: int, acknowledged: int) -> list[AppendResult]:
    """Raises LeaseLost, and ValueError for a batch that contradicts itself or comes too late."""
    match answer:
        case [b"done", told]:
            return [_result(word) for word in told.decode().split()]
        case [b"lost"]:
            raise lost(lease)
        case [b"passed", last]:
            check_number(lease, number, int(last), acknowledged)
        case [b"wrong", fault]:
            raise ValueError(fault.decode(errors="replace"))
    raise StoreUnavailable("Redis gave an answer that is none.")


def _result(word: str) -> AppendResult:
    match word:
        case "version" | "missing" | "exists":
            return Refused(word)
    return Appended(int(word))
