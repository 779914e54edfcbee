"""What a search finds in a SQLite store: texts as they come and go, and the questions to the index of their words."""

import hashlib
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from typing import Literal

from rejoinder.abc import Found, SessionCursor, Text
from rejoinder.entities import Header, Key
from rejoinder.stores.sql import statements
from rejoinder.stores.sqlite_reads import to_header

Mark = Literal["m", "l", "t"]
"""What a text is: a message, one that came late (so that its number does not tell its time), or a title."""

LATEST = 4_000
"""Texts that have the words of a question, the latest of them. Where there are more, the words are frequent: to look all of those
up costs a microsecond each, and the newest sessions that have them are among these, as a rule."""

WALKED = 200
"""Sessions through which a walk for one page goes at most."""

OWNERS = 10_000
"""Whose newest texts are remembered."""

BEFORE_ALL = "\U0010ffff"
"""Later than every time, as text."""

# --- in the writer's thread --------------------------------------------------------------------------------------


class Newest:
    """The time of the newest text of each owner, or a later one: true while nobody else writes and no transaction fails."""

    def __init__(self) -> None:
        self._known: dict[int, str] = {}

    def moved(self, connection: sqlite3.Connection, owner: int, at: str) -> str:
        """What it was before a text of this time came."""
        if (newest := self._known.get(owner)) is None:
            if len(self._known) >= OWNERS:
                self._known.clear()
            [newest] = connection.execute(_write()["newest_text"], {"owner": owner}).fetchone()
        newest = newest or ""
        self._known[owner] = max(newest, at)
        return newest

    def forget(self) -> None:
        self._known.clear()


def write_text(
    connection: sqlite3.Connection, newest: Newest, owner: str, session: int, text: Text, *, is_first: bool
) -> None:
    """Puts a text in the place of the one that the message or the title had, unless it is known to be the first."""
    named = {"session": session, "message_id": text.message_id}
    for (n,) in () if is_first else connection.execute(_write()["text"], named).fetchall():
        connection.execute(_write()["drop_words"], {"n": n})
        connection.execute(_write()["drop_text"], {"n": n})
    if text.words:
        number = _number(owner)
        came_late = text.at < newest.moved(connection, number, text.at)
        mark: Mark = "t" if text.message_id is None else "l" if came_late else "m"
        n = connection.execute(_write()["add_text"], named | {"owner": number, "at": text.at}).lastrowid
        connection.execute(_write()["add_words"], {"n": n, "words": f"{_mark(mark, owner)} {text.words}"})


# --- in a reader's thread ----------------------------------------------------------------------------------------


def search(connection: sqlite3.Connection, owner: str, words: Sequence[str], limit: int) -> list[Found]:
    asked = {"match": _match("m", owner, words), "late": _match("l", owner, words), "owner": owner, "limit": limit}
    return [Found(Key(owner, said), message_id) for said, message_id in connection.execute(_read()["search"], asked)]


def sessions(
    connection: sqlite3.Connection, owner: str, after: SessionCursor | None, limit: int, words: Sequence[str]
) -> list[Header]:
    match, place = _match("mlt", owner, words), after or SessionCursor(BEFORE_ALL, "")
    with _one_state(connection):
        if (page := _by_latest(connection, owner, place, limit, match)) is not None:
            return page
        asked = {
            "match": match,
            "owner": owner,
            "updated_at": place.updated_at,
            "session_id": place.session_id,
            "limit": limit,
        }
        return [to_header(*row) for row in connection.execute(_read()["sessions_having"], asked)]


def _by_latest(
    connection: sqlite3.Connection, owner: str, place: SessionCursor, limit: int, match: str
) -> list[Header] | None:
    """A page of sessions in which frequent words were said lately, met on a walk through the list.

    None where the words are not frequent, or the latest texts that have them do not tell: all of those are to be looked up then.
    """
    walk = {"owner": owner, "updated_at": place.updated_at, "session_id": place.session_id, "limit": WALKED}
    # What was said later than anything in these sessions need not be looked through again for each page.
    [newest] = connection.execute(_read()["newest_walked"], walk).fetchone()
    asked = {"match": match, "newest": newest, "limit": LATEST}
    latest = connection.execute(_read()["latest_having"], asked).fetchall()
    if sum(count for _, count, _ in latest) < LATEST:
        return None
    having = {session for session, _, _ in latest}
    page: list[Header] = []
    walked = 0
    walk["oldest"] = min(n for _, _, n in latest)
    with closing(connection.execute(_read()["sessions_walked"], walk)) as rows:
        for session, has_older, header, last_seq in rows:
            walked += 1
            if session in having:
                page.append(to_header(header, last_seq))
                if len(page) == limit:
                    return page
            elif has_older:
                return None
    return page if walked < WALKED else None


@contextmanager
def _one_state(connection: sqlite3.Connection) -> Iterator[None]:
    """All that is asked meanwhile sees one state of the store."""
    connection.execute("BEGIN")
    try:
        yield
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def _match(marks: str, owner: str, words: Sequence[str]) -> str:
    """In the language of the index: a text with one of these marks, and a word that begins with each of these."""
    whose = " OR ".join(f'"{_mark(mark, owner)}"' for mark in marks)
    # A word holds letters and digits alone, so nothing in it needs escaping.
    return " AND ".join([f"({whose})", *(f'"{word}" *' for word in words)])


def _mark(mark: str, owner: str) -> str:
    return f"_{mark}{_number(owner) & (1 << 64) - 1:x}"


def _number(owner: str) -> int:
    """An owner in eight bytes. That two share one is not to be expected, and every answer is checked by the owner's name."""
    return int.from_bytes(hashlib.blake2b(owner.encode(), digest_size=8).digest(), signed=True)


def _write() -> Mapping[str, str]:
    return statements("sqlite", "write")


def _read() -> Mapping[str, str]:
    return statements("sqlite", "read")
