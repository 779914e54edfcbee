"""Search: messages by their words, with a snippet of each. The store finds them; what is shown is read from the log."""

import asyncio
import itertools
import re
from collections.abc import Sequence

from msgspec import Struct

from rejoinder.abc import Found, Store
from rejoinder.entities import Key, Message, Role, Status
from rejoinder.errors import wrong
from rejoinder.events import MessageCreated, MessageEnded, fact
from rejoinder.words import before_marks, behind_marks, places_of, plain_text, words_of

LONGEST = 512
"""Characters of a question."""

SNIPPET = 160
"""Characters of a snippet, and how many of them stand before the first match at most."""
BEFORE = 40

AT_ONCE = 16
"""Messages that are read at a time: each may have many MB (images travel inside), and a snippet is all that stays of it."""

_SPACE = re.compile(r"\s")


class FoundMessage(Struct, frozen=True, kw_only=True):
    """What a list shows of a message, and what it takes to go there: its branch is the one that ends at it."""

    id: str
    parent_id: str | None
    role: Role
    status: Status
    created_at: str
    ended_at: str | None


class SearchHit(Struct, frozen=True, kw_only=True):
    """`snippet` is plain text around the first match; `matches` are the places of words in it, `[from, to)` in code points."""

    session_id: str
    session_title: str | None
    message: FoundMessage
    snippet: str
    matches: list[tuple[int, int]]


class SearchAnswer(Struct, frozen=True, kw_only=True):
    """The latest first. `has_more` tells that there are further ones, behind the limit."""

    data: list[SearchHit]
    has_more: bool


def asked_words(q: str) -> list[str]:
    """The words of a question. Raises Invalid where it is too long, or has none."""
    q = q.strip()
    if not 1 <= len(q) <= LONGEST:
        raise wrong("query.q", f"A search has 1 to {LONGEST} characters.")
    if not (words := words_of(q)):
        raise wrong("query.q", "A search needs a word: letters or digits.")
    return words


class Search:
    def __init__(self, store: Store) -> None:
        self._store = store

    async def find(self, owner: str, q: str, limit: int) -> SearchAnswer:
        """The owner's messages that have a word beginning with each of the words of `q`. Raises Invalid."""
        words = asked_words(q)
        found = await self._store.search(owner, words, limit=limit + 1)
        shown = found[:limit]
        hits: dict[Found, SearchHit] = {}
        for at in range(0, len(shown), AT_ONCE):
            by_key: dict[Key, list[str]] = {}
            for each in shown[at : at + AT_ONCE]:
                by_key.setdefault(each.key, []).append(each.message_id)
            for read in await asyncio.gather(*(self._hits(key, some, words) for key, some in by_key.items())):
                hits |= read
        # What was deleted since it was found is left out.
        return SearchAnswer(data=[hits[each] for each in shown if each in hits], has_more=len(found) > limit)

    async def _hits(self, key: Key, message_ids: Sequence[str], words: Sequence[str]) -> dict[Found, SearchHit]:
        """Those of one session."""
        header, rows = await asyncio.gather(self._store.header(key), self._store.rows(key, message_ids))
        events = await self._store.events_at(key, [row.ended for row in rows.values() if row.ended is not None])
        hits = {}
        for event in events:
            match fact(event):
                case MessageCreated(message=message) | MessageEnded(message=message) if header is not None:
                    hits[Found(key, message.id)] = _hit(message, header.session.title, words)
        return hits


def _hit(message: Message, title: str | None, words: Sequence[str]) -> SearchHit:
    snippet, matches = snippet_of(plain_text(message.content), words)
    return SearchHit(
        session_id=message.session_id,
        session_title=title,
        message=FoundMessage(
            id=message.id,
            parent_id=message.parent_id,
            role=message.role,
            status=message.status,
            created_at=message.created_at,
            ended_at=message.ended_at,
        ),
        snippet=snippet,
        matches=matches,
    )


def snippet_of(text: str, words: Sequence[str]) -> tuple[str, list[tuple[int, int]]]:
    """About `SNIPPET` characters around the first match, on one line, with an ellipsis where text is left out."""
    places = places_of(text, words)
    first = next(places, (0, 0))
    start = max(0, first[0] - BEFORE)
    if start:
        # A snippet begins and ends between two words, where there is such a place.
        start = min(first[0], text.find(" ", start, first[0]) + 1 or behind_marks(text, start))
    last = min(len(text), start + SNIPPET)
    whole = before_marks(text, last)
    end = whole if whole > first[0] else last
    if end < len(text) and (space := text.rfind(" ", first[1], end)) > start:
        end = space
    shown = _SPACE.sub(" ", text[start:end])
    shift = 1 if start else 0
    inside = itertools.takewhile(lambda place: place[0] < end, itertools.chain([first], places))
    matches = [(begin - start + shift, min(stop, end) - start + shift) for begin, stop in inside if stop > begin]
    return f"{'…' * shift}{shown}{'…' if end < len(text) else ''}", matches
