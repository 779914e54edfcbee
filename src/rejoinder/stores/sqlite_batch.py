"""A batch of appends inside the writer's transaction. The hot path: some microseconds for a delta.

All rows of a batch go to SQLite in a few statements of many rows each. Not for SQLite's sake: Python lets go of the
interpreter around each step of a statement, and beside a busy event loop the writer would have to win it back for
each row.
"""

import sqlite3
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import msgspec

from rejoinder.abc import Append, Appended, AppendResult, Lease, Text
from rejoinder.entities import Header, Key
from rejoinder.stores.batch import Place, check_number, decode_results, encode_results, lost, settle
from rejoinder.stores.sql import statements
from rejoinder.stores.sqlite_search import write_text

SIZES = (64, 16, 4, 1)
"""Rows of one statement. Each size is prepared once and kept; 1,000 rows take 20 statements; longer ones are no quicker."""

PLACES = 10_000
"""Sessions whose places are remembered: all that are written at a time and many more, in some MB."""


class Places:
    """Where the sessions stand that were written last: true while nobody else writes and no transaction fails."""

    def __init__(self) -> None:
        self._known: dict[Key, tuple[int, Place]] = {}

    def find(self, connection: sqlite3.Connection, key: Key) -> tuple[int, Place] | None:
        """The session's number in the other tables, and its place."""
        if key not in self._known:
            row = connection.execute(_sql()["place"], {"owner": key.owner, "id": key.session_id}).fetchone()
            if row is None:
                return None
            self._known[key] = (row[0], Place(row[1], row[2] or 0))
        return self._known[key]

    def move(self, key: Key, n: int, place: Place) -> None:
        if len(self._known) >= PLACES:
            self._known.clear()
        self._known[key] = (n, place)

    def forget(self) -> None:
        self._known.clear()


def append_batch(
    connection: sqlite3.Connection, places: Places, lease: Lease, number: int, appends: Sequence[Append]
) -> list[AppendResult]:
    """Does a batch, or finds that it was done. Raises LeaseLost."""
    held = {"epoch": lease.epoch, "worker": lease.worker}
    row = connection.execute(_sql()["lease"], held).fetchone()
    if row is None:
        raise lost(lease)
    check_number(lease, number, row[0])
    if number == row[0]:
        [results] = connection.execute(_sql()["last_results"], {"epoch": lease.epoch}).fetchone()
        return decode_results(results)
    done = _do(connection, places, appends)
    kept = {"epoch": lease.epoch, "number": number, "results": encode_results(done)}
    connection.execute(_sql()["keep_results"], kept)
    return done


def _do(connection: sqlite3.Connection, places: Places, appends: Sequence[Append]) -> list[AppendResult]:
    rows = _Rows(connection)

    def place_of(key: Key) -> Place | None:
        found = places.find(connection, key)
        if found is None:
            return None
        rows.numbers[key], place = found
        return place

    results, after = settle(appends, place_of)
    for append, result in zip(appends, results, strict=True):
        if isinstance(result, Appended):
            rows.add(append, result.first)
    rows.insert()
    for key, place in after.items():
        places.move(key, rows.numbers[key], place)
    return results


class _Rows:
    """Sessions are written one by one, since their numbers come of it; events and messages gather."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self.numbers: dict[Key, int] = {}
        self._events: list[Any] = []
        self._messages: list[Any] = []
        self._ended: list[tuple[int, str, int, str]] = []
        self._texts: list[tuple[str, int, Text]] = []

    def add(self, append: Append, first: int) -> None:
        if append.header is not None:
            self._write_header(append.key, append.header)
        n = self.numbers[append.key]
        for seq, draft in enumerate(append.drafts, first):
            self._events += (n, seq, draft.type, draft.message_id, draft.data)
        for new in append.created:
            created = first + new.at
            ended = created if new.ended else None
            self._messages += (n, created, new.id, new.parent_id, new.lane, new.depth, ended)
        for end in append.ended:
            self._ended.append((first + end.at, end.ended_at, n, end.id))
        self._texts += ((append.key.owner, n, text) for text in append.texts)

    def insert(self) -> None:
        _insert(self._connection, "add_events", self._events, 5)
        _insert(self._connection, "add_message", self._messages, 7)
        if self._ended:
            # Behind all that were created, since a batch may end what it created.
            self._connection.executemany(_sql()["end_message"], self._ended)
        for owner, n, text in self._texts:
            write_text(self._connection, owner, n, text)

    def _write_header(self, key: Key, header: Header) -> None:
        said = {
            "version": header.version,
            "updated_at": header.session.updated_at,
            "header": msgspec.json.encode(header),
        }
        if key in self.numbers:
            n = self.numbers[key]
            self._connection.execute(_sql()["set_header"], said | {"n": n})
            self._connection.execute(_sql()["clear_open"], {"n": n})
        else:
            new = said | {"owner": key.owner, "id": key.session_id}
            n = self._connection.execute(_sql()["add_session"], new).lastrowid or 0
            self.numbers[key] = n
        for reply in header.open:
            if reply.epoch is not None:
                held = {"n": n, "id": reply.id, "epoch": reply.epoch, "reply": msgspec.json.encode(reply)}
                self._connection.execute(_sql()["add_open"], held)


def _insert(connection: sqlite3.Connection, name: str, values: list[Any], width: int) -> None:
    start = 0
    for size in SIZES:
        taken = size * width
        while len(values) - start >= taken:
            connection.execute(_repeated(name, size), values[start : start + taken])
            start += taken


@cache
def _repeated(name: str, size: int) -> str:
    """The statement with its row of values `size` times over."""
    into, values, row = _sql()[name].partition("VALUES ")
    return into + values + ", ".join([row] * size)


def _sql() -> Mapping[str, str]:
    return statements("sqlite", "write")
