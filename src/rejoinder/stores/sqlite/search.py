"""What a search finds in a SQLite store: texts as they come and go, and the questions to the index of their words."""

import hashlib
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from typing import Any, Literal

from rejoinder.abc import Found, SessionCursor, Text
from rejoinder.entities import Header, Key
from rejoinder.stores.sql import statements
from rejoinder.stores.sqlite.reads import to_header
from rejoinder.stores.sqlite.rows import insert_rows

Mark = Literal["m", "l", "t"]
"""What a text is: a message, one that came late (so that its number does not tell its time), or a title."""

LATEST = 4_000
"""Texts that have the words of a question, the latest of them. Where there are more, the words are frequent: to look all of those
up costs a microsecond each, and the newest sessions that have them are among these, as a rule."""

WALKED = 200
"""Sessions through which a walk for one page goes at most."""

OWNERS = 10_000
"""Whose newest texts are remembered."""

GATHERED = 64
"""Texts that wait for the index, as a rule: then it takes them in. No more at a time, and …"""

LEARNT = 64 << 10
"""… of no more characters, but for what the last text has beyond: 50 ms where all words are new, in which nobody else can write."""

LEARNING = (
    "keep_last_texts",
    "drop_replaced_words",
    "drop_replaced_texts",
    "learn_texts",
    "learn_words",
    "drop_new_texts",
)
"""How it does."""

BEFORE_ALL = "\U0010ffff"
"""Later than every time, as text."""

# --- in a transaction of the writer's ----------------------------------------------------------------------------


class Texts:
    """The texts that gather for the index, and the newest of each owner: true while nobody else writes and no transaction fails."""

    def __init__(self) -> None:
        self._gathered: int | None = None
        """How many; None where that is not known."""
        self._last = 0
        """The number of the last text, where that is known."""
        self._newest: dict[int, str] = {}
        self._beside: set[int] = set()
        """Sessions that have texts among those that were staged, where the count is known."""

    def forget(self) -> None:
        self._gathered = None
        self._newest.clear()

    @property
    def wait(self) -> bool:
        """Whether there may be texts that the index does not know yet."""
        return self._gathered != 0 or bool(self._beside)

    @property
    def are_many(self) -> bool:
        """Whether so many are known to wait that the index should take them in."""
        return (self._gathered or 0) >= GATHERED or bool(self._beside)

    def add(self, connection: sqlite3.Connection, texts: Sequence[tuple[str, int, Text]]) -> None:
        """Adds texts, each with its owner and the number of its session."""
        self._counted(connection)
        rows: list[Any] = []
        for owner, session, text in texts:
            if session in self._beside:
                self.stage(connection, owner, session, (text,))
                continue
            self._last += 1
            number = _number(owner)
            words = f"{self._mark(connection, number, text)} {text.words}" if text.words else ""
            rows += (self._last, session, text.message_id, number, text.at, words)
        insert_rows(connection, "add_text", rows, 6)
        self._gathered = self._counted(connection) + len(rows) // 6

    def stage(self, connection: sqlite3.Connection, owner: str, session: int, texts: Sequence[Text]) -> None:
        """Puts away texts of a session that is not there yet, or that has such texts from the time when it was not."""
        self._counted(connection)
        number = _number(owner)
        rows: list[Any] = []
        for n, text in enumerate(texts, self._last + 1):
            # As late ones, whatever their time: others may come to the index before them.
            words = f"{_mark('t' if text.message_id is None else 'l', number)} {text.words}" if text.words else ""
            rows += (session, n, text.message_id, number, text.at, words)
        insert_rows(connection, "stage_text", rows, 6)
        self._last += len(texts)

    def publish(self, session: int) -> None:
        """The session of what was staged is there."""
        self._beside.add(session)

    def learn(self, connection: sqlite3.Connection) -> tuple[int, int]:
        """Puts the first of what has gathered into the index, each text in the place of the one that its message or title had.

        Returns the number through which all texts are there, and that of the last one.
        """
        gathered = self._counted(connection)
        if not gathered and not self._beside:
            return self._last, self._last
        # Not known, since it is not committed: until then it is not there for who searches.
        self._gathered = None
        gathered += self._take_staged(connection)
        until = self._portion(connection)
        done = {name: connection.execute(_write()[name], {"until": until}).rowcount for name in LEARNING}
        self._gathered = gathered - done["keep_last_texts"] - done["drop_new_texts"] or None
        if self._beside:
            return 0, self._last
        return until if self._gathered else self._last, self._last

    def _take_staged(self, connection: sqlite3.Connection) -> int:
        """Some texts that were staged gather with the others. Returns how many."""
        session = next(iter(self._beside), None)
        if session is None:
            return 0
        asked = {"n": session, "rows": GATHERED, "bytes": LEARNT}
        until, more = connection.execute(_write()["some_staged_texts"], asked).fetchone()
        some = {"n": session, "until": until}
        taken = connection.execute(_write()["take_staged_texts"], some).rowcount
        connection.execute(_write()["drop_staged_texts"], some)
        if not more:
            self._beside.remove(session)
        return taken

    def _portion(self, connection: sqlite3.Connection) -> int:
        until = size = 0
        for n, length in connection.execute(_write()["next_texts"], {"limit": GATHERED}):
            until = n
            if (size := size + length) >= LEARNT:
                break
        return until

    def _counted(self, connection: sqlite3.Connection) -> int:
        if self._gathered is None:
            beside = connection.execute(_write()["texts_beside"]).fetchall()
            self._beside = {session for session, _, is_seen in beside if is_seen}
            gathered, last = connection.execute(_write()["new_texts"]).fetchone()
            self._gathered, self._last = gathered, max([last, *(last for _, last, _ in beside)])
        return self._gathered

    def _mark(self, connection: sqlite3.Connection, owner: int, text: Text) -> str:
        if (newest := self._newest.get(owner)) is None:
            if len(self._newest) >= OWNERS:
                self._newest.clear()
            [newest] = connection.execute(_write()["newest_text"], {"owner": owner}).fetchone()
        self._newest[owner] = max(newest, text.at)
        late: Mark = "l" if text.at < newest else "m"
        return _mark("t" if text.message_id is None else late, owner)


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
    number = _number(owner)
    whose = " OR ".join(f'"{_mark(mark, number)}"' for mark in marks)
    # A word holds letters and digits alone, so nothing in it needs escaping.
    return " AND ".join([f"({whose})", *(f'"{word}" *' for word in words)])


def _mark(mark: str, owner: int) -> str:
    return f"_{mark}{owner & (1 << 64) - 1:x}"


def _number(owner: str) -> int:
    """An owner in eight bytes. That two share one is not to be expected, and every answer is checked by the owner's name."""
    return int.from_bytes(hashlib.blake2b(owner.encode(), digest_size=8).digest(), signed=True)


def _write() -> Mapping[str, str]:
    return statements("sqlite", "write")


def _read() -> Mapping[str, str]:
    return statements("sqlite", "read")
