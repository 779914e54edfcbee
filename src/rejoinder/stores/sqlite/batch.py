"""A batch of appends inside the writer's transaction. The hot path: some microseconds for a delta.

All rows of a batch go to SQLite in a few statements of many rows each (`rows.py`).
"""

import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from msgspec import Struct

from rejoinder.abc import Append, Appended, AppendResult, Lease, Text
from rejoinder.entities import Header, Key
from rejoinder.stores.batch import Place, check_number, decode_results, encode_results, lost, settle
from rejoinder.stores.sql import statements
from rejoinder.stores.sqlite import staging
from rejoinder.stores.sqlite.rows import insert_rows
from rejoinder.stores.sqlite.search import Texts

PLACES = 10_000
"""Sessions whose places are remembered: all that are written at a time and many more, in some MB."""


class Known(Struct, frozen=True, gc=False):
    """A session: its number in the other tables, its place, and whether it has open replies."""

    n: int
    place: Place
    is_open: bool


class Places:
    """Where the sessions stand that were written last: true while nobody else writes and no transaction fails."""

    def __init__(self) -> None:
        self._known: dict[Key, Known] = {}
        self.texts = Texts()

    def find(self, connection: sqlite3.Connection, key: Key) -> Known | None:
        found = self._known.get(key)
        if found is None:
            row = connection.execute(_sql()["place"], {"owner": key.owner, "id": key.session_id}).fetchone()
            if row is None:
                return None
            n, version, last_seq, is_open = row
            found = self._known[key] = Known(n, Place(version, last_seq or 0), bool(is_open))
        return found

    def move(self, key: Key, known: Known) -> None:
        if len(self._known) >= PLACES:
            self._known.clear()
        self._known[key] = known

    def forget(self) -> None:
        self._known.clear()
        self.texts.forget()


def append_batch(
    connection: sqlite3.Connection,
    places: Places,
    lease: Lease,
    number: int,
    acknowledged: int,
    appends: Sequence[Append],
) -> list[AppendResult]:
    """Does a batch, or finds that it was done. Raises LeaseLost."""
    known: dict[Key, Known] = {}

    def place_of(key: Key) -> Place | None:
        found = places.find(connection, key)
        if found is None:
            return None
        known[key] = found
        return found.place

    results, after = settle(appends, place_of)
    held = {"epoch": lease.epoch, "worker": lease.worker, "number": number, "acknowledged": acknowledged}
    if not connection.execute(_sql()["keep_results"], held | {"results": encode_results(results)}).rowcount:
        return _earlier(connection, lease, number, acknowledged)
    rows = _Rows(connection, lease, known, places.texts)
    for append, result in zip(appends, results, strict=True):
        if isinstance(result, Appended):
            rows.add(append, result.first)
        elif append.staged is not None:
            staging.give_up(connection, lease, append.staged)
    rows.insert()
    for key, place in after.items():
        before = known[key]
        places.move(key, Known(before.n, place, before.is_open))
    return results


def _earlier(connection: sqlite3.Connection, lease: Lease, number: int, acknowledged: int) -> list[AppendResult]:
    """What became of this number, if it is the last one that was done under the lease. Raises LeaseLost."""
    row = connection.execute(_sql()["last_results"], {"epoch": lease.epoch, "worker": lease.worker}).fetchone()
    if row is None:
        raise lost(lease)
    last, results = row
    check_number(lease, number, last, acknowledged)
    return decode_results(results)


class _Rows:
    """Sessions are written one by one, since their numbers come of it; events and messages gather."""

    def __init__(self, connection: sqlite3.Connection, lease: Lease, known: dict[Key, Known], texts: Texts) -> None:
        self._connection = connection
        self._lease = lease
        self._known = known
        self._index = texts
        self._events: list[Any] = []
        self._messages: list[Any] = []
        self._ended: list[tuple[int, str, int, str]] = []
        self._texts: list[tuple[str, int, Text]] = []

    def add(self, append: Append, first: int) -> None:
        if append.staged is not None:
            staging.take_over(self._connection, self._lease, append)
            self._index.publish(append.staged)
        if append.header is not None:
            self._write_header(append.key, append.header, append.staged)
        if append.staged is not None:
            return
        n = self._known[append.key].n
        for seq, draft in enumerate(append.drafts, first):
            self._events += (n, seq, draft.type, draft.message_id, draft.data)
        for new in append.created:
            created = first + new.at
            ended = created if new.ended else None
            self._messages += (n, created, new.id, new.parent_id, new.lane, new.depth, ended, None)
        for end in append.ended:
            self._ended.append((first + end.at, end.ended_at, n, end.id))
        self._texts += ((append.key.owner, n, text) for text in append.texts)

    def insert(self) -> None:
        insert_rows(self._connection, "add_events", self._events, 5)
        insert_rows(self._connection, "add_message", self._messages, 8)
        if self._ended:
            # Behind all that were created, since a batch may end what it created.
            self._connection.executemany(_sql()["end_message"], self._ended)
        if self._texts:
            self._index.add(self._connection, self._texts)

    def _write_header(self, key: Key, header: Header, staged: int | None) -> None:
        said = {
            "version": header.version,
            "updated_at": header.session.updated_at,
            "header": msgspec.json.encode(header),
        }
        known = self._known.get(key)
        if known is not None:
            n = known.n
            self._connection.execute(_sql()["set_header"], said | {"n": n})
            if known.is_open:
                self._connection.execute(_sql()["clear_open"], {"n": n})
        else:
            new = said | {"n": staged, "owner": key.owner, "id": key.session_id}
            n = self._connection.execute(_sql()["add_session"], new).lastrowid or 0
        for reply in header.open:
            held = {"n": n, "id": reply.id, "epoch": reply.epoch, "reply": msgspec.json.encode(reply)}
            self._connection.execute(_sql()["add_open"], held)
        place = known.place if known else Place(0, 0)
        self._known[key] = Known(n, place, bool(header.open))


def _sql() -> Mapping[str, str]:
    return statements("sqlite", "write")
