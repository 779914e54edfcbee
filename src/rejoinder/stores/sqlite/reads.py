"""What a reader connection is asked, one statement each: keys in, values out."""

import sqlite3
from collections.abc import Collection, Iterable, Mapping
from contextlib import closing
from typing import Any

import msgspec
from msgspec import structs

from rejoinder.abc import Lease, Row, SessionCursor
from rejoinder.entities import Header, Key, OpenReply
from rejoinder.events import Event
from rejoinder.stores.batch import lost
from rejoinder.stores.packing import unpacked
from rejoinder.stores.sql import statements

LAST = (1 << 63) - 1
"""The greatest number that SQLite knows, and so the greatest seq."""


def check_lease(connection: sqlite3.Connection, lease: Lease) -> None:
    """Raises LeaseLost."""
    if connection.execute(_sql()["lease"], {"epoch": lease.epoch, "worker": lease.worker}).fetchone() is None:
        raise lost(lease)


# the session


def header(connection: sqlite3.Connection, key: Key) -> Header | None:
    row = connection.execute(_sql()["header"], _of(key)).fetchone()
    return to_header(*row) if row else None


def sessions(connection: sqlite3.Connection, owner: str, after: SessionCursor | None, limit: int) -> list[Header]:
    asked: dict[str, Any] = {"owner": owner, "limit": limit}
    if after is None:
        rows = connection.execute(_sql()["sessions"], asked)
    else:
        asked |= {"updated_at": after.updated_at, "session_id": after.session_id}
        rows = connection.execute(_sql()["sessions_after"], asked)
    return [to_header(*row) for row in rows]


def orphans(connection: sqlite3.Connection, limit: int) -> list[tuple[Key, OpenReply]]:
    rows = connection.execute(_sql()["orphans"], {"limit": limit})
    return [(Key(owner, session_id), _replies.decode(reply)) for owner, session_id, reply in rows]


def keys(connection: sqlite3.Connection, after: Key | None, limit: int) -> list[Key]:
    # No key is less than the one of two empty names.
    asked = _of(after or Key("", ""), limit=limit)
    return [Key(*row) for row in connection.execute(_sql()["keys"], asked)]


def idle(connection: sqlite3.Connection, before: str, limit: int) -> list[Key]:
    return [Key(*row) for row in connection.execute(_sql()["idle"], {"before": before, "limit": limit})]


def ripe(connection: sqlite3.Connection, before: str, limit: int) -> list[tuple[Key, str]]:
    rows = connection.execute(_sql()["ripe"], {"before": before, "limit": limit})
    return [(Key(owner, session_id), message_id) for owner, session_id, message_id in rows]


# the log


def events(
    connection: sqlite3.Connection,
    key: Key,
    after: int,
    until: int | None,
    message_ids: Collection[str] | None,
    limit: int,
    max_bytes: int,
) -> list[Event]:
    asked = _of(key, after=min(after, LAST), until=LAST if until is None else min(until, LAST), limit=limit)
    name = "events"
    if message_ids is not None:
        name, asked["message_ids"] = "events_of", _list(message_ids)
    found: list[Event] = []
    size = 0
    # Row by row: what lies behind the last one that is wanted may be long, and a cursor left open would hold the
    # write-ahead log.
    with closing(connection.execute(_sql()[name], asked)) as rows:
        for row in rows:
            found.append(_event(*row))
            size += len(found[-1].data)
            if size >= max_bytes:
                break
    return found


def events_at(connection: sqlite3.Connection, key: Key, seqs: Iterable[int]) -> list[Event]:
    return [_event(*row) for row in connection.execute(_sql()["events_at"], _of(key, seqs=_list(seqs)))]


# the index


def rows(connection: sqlite3.Connection, key: Key, ids: Collection[str]) -> dict[str, Row]:
    return {row.id: row for row in _rows(connection, "rows", _of(key, ids=_list(ids)))}


def children(connection: sqlite3.Connection, key: Key, parents: Collection[str | None]) -> dict[str | None, list[Row]]:
    found: dict[str | None, list[Row]] = {}
    for row in _rows(connection, "children", _of(key, parents=_list(parents))):
        found.setdefault(row.parent_id, []).append(row)
    return found


def branch(connection: sqlite3.Connection, key: Key, tip: str, low: int, high: int) -> list[Row]:
    return _rows(connection, "branch", _of(key, tip=tip, low=low, high=high))


def created(connection: sqlite3.Connection, key: Key, after: int, before: int, limit: int, newest: bool) -> list[Row]:
    asked = _of(key, after=min(after, LAST), before=min(before, LAST), limit=limit)
    found = _rows(connection, "created_newest" if newest else "created", asked)
    if newest:
        found.reverse()
    return found


# what is being written


def writing(connection: sqlite3.Connection, owner: str, after: str | None, limit: int) -> list[Header]:
    asked = {"owner": owner, "after": after or "", "limit": limit}
    return [to_header(*row) for row in connection.execute(_sql()["writing"], asked)]


# from rows and to parameters


def _rows(connection: sqlite3.Connection, name: str, asked: dict[str, Any]) -> list[Row]:
    return [
        Row(id=row_id, parent_id=parent_id, lane=lane, depth=depth, created=created, ended=ended)
        for row_id, parent_id, lane, depth, created, ended in connection.execute(_sql()[name], asked)
    ]


def _event(seq: int, kind: str, message_id: str | None, data: bytes) -> Event:
    return Event(seq, kind, message_id, unpacked(data))


def to_header(data: bytes, last_seq: int | None) -> Header:
    kept = _headers.decode(data)
    return structs.replace(kept, session=structs.replace(kept.session, last_seq=last_seq or 0))


def _of(key: Key, **asked: Any) -> dict[str, Any]:
    return {"owner": key.owner, "id": key.session_id, **asked}


def _list(values: Iterable[str | int | None]) -> str:
    # Once each: a value that is named twice would bring its rows twice.
    return msgspec.json.encode(list(dict.fromkeys(values))).decode()


def _sql() -> Mapping[str, str]:
    return statements("sqlite", "read")


_headers = msgspec.json.Decoder(Header)
_replies = msgspec.json.Decoder(OpenReply)
