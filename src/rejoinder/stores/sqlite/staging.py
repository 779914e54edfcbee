"""Staging in a SQLite store: the rows of a great new session are put away by pieces, under a number that no session has.

So nobody sees them. Its commit gives the number to the session; what never comes to that is dropped as a deletion's rest is
(`growth.py`), at the next start at the latest. All of it is done in transactions of the writer's.
"""

import sqlite3
from collections.abc import Mapping
from typing import Any

from rejoinder.abc import Append, Lease
from rejoinder.stores.batch import lost
from rejoinder.stores.sql import statements
from rejoinder.stores.sqlite.rows import insert_rows
from rejoinder.stores.sqlite.search import Texts
from rejoinder.stores.staging import Piece


def begin(connection: sqlite3.Connection, lease: Lease) -> int:
    """Gives a number to stage under. Raises LeaseLost."""
    begun = connection.execute(_sql()["begin_staging"], {"epoch": lease.epoch, "worker": lease.worker})
    if not begun.rowcount:
        raise lost(lease)
    return begun.lastrowid or 0


def put(connection: sqlite3.Connection, texts: Texts, lease: Lease, n: int, owner: str, piece: Piece) -> None:
    """Puts a piece away. Raises LeaseLost."""
    if connection.execute(_sql()["staging"], {"n": n, "epoch": lease.epoch}).fetchone() is None:
        raise lost(lease)
    events: list[Any] = []
    for event in piece.events:
        events += (n, event.seq, event.type, event.message_id, event.data)
    insert_rows(connection, "add_events", events, 5)
    messages: list[Any] = []
    for row in piece.rows:
        ended_at = piece.ended.get(row.id)
        messages += (n, row.created, row.id, row.parent_id, row.lane, row.depth, row.ended, ended_at)
    insert_rows(connection, "add_message", messages, 8)
    if piece.texts:
        texts.stage(connection, owner, n, piece.texts)


def take_over(connection: sqlite3.Connection, lease: Lease, append: Append) -> None:
    """The number comes to be that of the session. Raises ValueError for what was never staged under the lease, or is no more."""
    if not connection.execute(_sql()["take_staged"], {"n": append.staged, "epoch": lease.epoch}).rowcount:
        raise ValueError(f"Nothing is staged as {append.staged} for session {append.key.session_id}.")


def give_up(connection: sqlite3.Connection, lease: Lease, n: int) -> bool:
    """What was staged will not be committed. Returns whether that was not known."""
    return bool(connection.execute(_sql()["give_up_staged"], {"n": n, "epoch": lease.epoch}).rowcount)


def _sql() -> Mapping[str, str]:
    return statements("sqlite", "write")
