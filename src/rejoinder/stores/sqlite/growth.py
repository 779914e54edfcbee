"""How a SQLite store gets smaller again: by compaction and by deletion, in the writer's thread.

The file was made for it (`auto_vacuum = INCREMENTAL`): free pages are used again first, and what is free beyond a share of
the file is given back to the disk, a little with each call. Whatever is deleted is overwritten (`secure_delete`).
"""

import sqlite3
from collections.abc import Collection, Mapping
from typing import Any

import msgspec

from rejoinder.entities import Key
from rejoinder.stores.packing import packed
from rejoinder.stores.sql import statements
from rejoinder.stores.sqlite.batch import Places

KEPT_FREE = 16
"""One page in so many may stay free: the next replies fill it, and to give it back and take it again would be work for nothing."""

GIVEN_BACK = 1_000
"""Pages (4 KB each) that one call gives back to the disk at most: some 20 ms."""

LOOKED_BACK = 64
"""Events before a reply's first among which there is the message that it answers, which is packed with it."""

MERGED = 60
"""Pages of the index of words that one transaction merges: some 30 ms. Words of what was deleted stay in it until then."""

FORGOTTEN = 200
"""Texts that are taken out of the index in one transaction: some 30 ms. It takes as long to forget a text as to learn it."""

DROPPED, DROPPED_BYTES = 2_000, 1 << 20
"""Events, or other rows, that one transaction drops at most, and bytes of their data: some 30 ms."""


def delete(connection: sqlite3.Connection, places: Places, key: Key, version: int) -> tuple[bool, int | None]:
    """Whether the session is deleted, and the number under which `drop_some` finds what is left of it, where anything is.

    Nobody sees that any more. A long session has so much that live replies should not wait until all of it is dropped.
    """
    known = places.find(connection, key)
    if known is None:
        return True, None
    if known.place.version != version:
        return False, None
    for name in ("drop_new_texts_of", "clear_open", "drop_session", "leave"):
        connection.execute(_sql()[name], {"n": known.n})
    places.forget()
    return True, known.n


def drop_some(connection: sqlite3.Connection, n: int | None = None) -> bool:
    """Drops a portion of what is left under a number that is no session's: this one, or any. Returns whether there was anything."""
    # Asked each time: once all is dropped, the number may be another session's.
    left = connection.execute(_sql()["left"], {"n": n}).fetchone()
    if left is not None:
        _drop_some(connection, *left)
    return left is not None


def _drop_some(connection: sqlite3.Connection, n: int) -> None:
    if _drop_texts(connection, n):
        return
    for kind in ("events", "messages", "staged_texts"):
        asked = {"n": n, "rows": DROPPED, "bytes": DROPPED_BYTES}
        until, more = connection.execute(_sql()[f"some_{kind}"], asked).fetchone()
        connection.execute(_sql()[f"drop_{kind}"], {"n": n, "until": until})
        if more:
            return
    connection.execute(_sql()["forget"], {"n": n})


def _drop_texts(connection: sqlite3.Connection, n: int) -> bool:
    some = {"n": n, "limit": FORGOTTEN}
    connection.execute(_sql()["drop_some_words"], some)
    dropped = connection.execute(_sql()["drop_some_texts"], some).rowcount
    if dropped:
        # A merge below zero takes in the whole index, not just what has gathered since the last.
        connection.execute(_sql()["merge_words"], {"pages": -MERGED})
    return dropped == FORGOTTEN


def compact(
    connection: sqlite3.Connection, places: Places, key: Key, message_ids: Collection[str], types: Collection[str]
) -> None:
    known = places.find(connection, key)
    if known is None:
        return
    asked = {"n": known.n, "ids": _list(message_ids), "types": _list(types)}
    connection.execute(_sql()["compact"], asked)
    _pack(connection, asked)
    connection.execute(_sql()["compacted"], asked)
    connection.execute(_sql()["merge_words"], {"pages": MERGED})


def _pack(connection: sqlite3.Connection, asked: dict[str, Any]) -> None:
    """Packs what is left of these messages and of what was said before them, and moves it to the end of the log.

    Else it would stand alone on pages that were full of deltas, and rows are only ever added at the end.
    """
    first, last = connection.execute(_sql()["span"], asked).fetchone()
    if last is None:
        return
    span = asked | {"low": first - LOOKED_BACK, "high": last}
    loose = connection.execute(_sql()["loose_events"], span).fetchall()
    [end] = connection.execute(_sql()["last_event"]).fetchone()
    moved = [{"place": place, "to": end + to, "data": packed(data)} for to, (place, data) in enumerate(loose, 1)]
    connection.executemany(_sql()["pack_event"], moved)


# --- between two transactions ------------------------------------------------------------------------------------


def give_back(connection: sqlite3.Connection) -> None:
    free, pages = connection.execute(_sql()["free_pages"]).fetchone()
    if (surplus := free - pages // KEPT_FREE) > 0:
        # As a script, since one page goes with each step, and `execute` takes one step alone.
        connection.executescript(f"PRAGMA incremental_vacuum({min(surplus, GIVEN_BACK)})")


def forget(connection: sqlite3.Connection) -> None:
    """Gives back, and empties the write-ahead log, in which what was overwritten in the file is there yet."""
    give_back(connection)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


def _list(values: Collection[str]) -> str:
    return msgspec.json.encode(list(values)).decode()


def _sql() -> Mapping[str, str]:
    return statements("sqlite", "write")
