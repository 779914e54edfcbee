"""A batch as the arguments of `lua/append.lua`, and its answer as results.

Arguments are one flat list, as Redis hands it to a script: Lua has no bound on their number but `unpack`, which is not used.
"""

from collections.abc import Sequence
from typing import TypeAlias

import msgspec

from rejoinder.abc import Append, Appended, AppendResult, Lease, NewRow, Refused
from rejoinder.errors import StoreUnavailable, TooLarge
from rejoinder.stores.batch import check_number, checked_version, lost
from rejoinder.stores.redis_names import digits, pack

Argument: TypeAlias = bytes | str | int

MOST_ARGUMENTS = 1_000_000
"""Redis takes 1,048,576 arguments of a command."""

MOST_BYTES = 256 << 20
"""A command is held in memory twice; Redis cuts a connection at a gigabyte."""

_encode = msgspec.json.Encoder().encode


def arguments(lease: Lease, number: int, acknowledged: int, appends: Sequence[Append]) -> list[Argument]:
    """Raises TooLarge for a batch that Redis would not take as one command."""
    found: list[Argument] = [lease.epoch, lease.worker, number, acknowledged, len(appends)]
    for append in appends:
        _add_append(found, append)
    if len(found) > MOST_ARGUMENTS:
        raise TooLarge("A store in Redis takes what some 60,000 messages come to at once, and this is more.")
    if sum(len(part) for part in found if not isinstance(part, int)) > MOST_BYTES:
        raise TooLarge(
            f"A store in Redis takes {MOST_BYTES} bytes at once, the words that are searched counted as well, and this is more."
        )
    return found


def check(append: Append) -> None:
    """Raises TooLarge for an append that Redis would not take by itself."""
    arguments(Lease("", 0), 0, 0, [append])


def _add_append(found: list[Argument], append: Append) -> None:
    owner, session_id = append.key
    found += (pack(owner), pack(session_id), "" if append.expect is None else append.expect)
    _add_header(found, append)
    found.append(f"{len(append.drafts)} {len(append.created)} {len(append.ended)} {len(append.texts)}")
    for draft in append.drafts:
        found += (draft.type, draft.message_id or "", draft.data)
    for row in append.created:
        _add_row(found, row)
    for ended in append.ended:
        found += (pack(ended.id), ended.at, ended.ended_at)
    for text in append.texts:
        found += ("t" if text.message_id is None else pack("m" + text.message_id), text.at, text.words)


def _add_header(found: list[Argument], append: Append) -> None:
    header = append.header
    if header is None:
        if append.expect == 0:
            raise ValueError("An append that creates a session brings its header.")
        found.append("")
        return
    epochs = sorted({reply.epoch for reply in header.open if reply.epoch is not None})
    found += (
        checked_version(append, header),
        _encode(header),
        header.session.updated_at,
        " ".join(map(str, epochs)),
        "1" if header.open else "",
    )


def _add_row(found: list[Argument], row: NewRow) -> None:
    found += (
        pack(row.id),
        row.at,
        "1" if row.ended else "",
        parent(row.parent_id),
        pack(row.lane, digits(row.depth)),
        _encode((row.parent_id, row.lane, row.depth)),
    )


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
