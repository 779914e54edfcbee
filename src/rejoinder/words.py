"""Words, as a search compares them: one definition for every store, so that all of them find the same.

A word is a run of letters and digits, without case and accents. Scripts that write no spaces between words (Han, Kana,
Hangul, Thai and the like) give each character as a word of its own. A search finds a text that has, for each
of its words, a word that begins with it.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache

LONGEST = 64
"""Code points of a word that count. What is longer is a key, a link or noise, and is found by its beginning."""

MOST = 20_000
"""Distinct words of one text: more than a long chapter has, and some 200 KB for an index."""

READ = 1_000_000
"""Code points of a text that are read for its words: a longer one would hold the service up."""

PIECE = 10_000
"""Code points that are read at a stretch: in between, a thread that reads a long text lets others have Python."""

_UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2e80-\u2fdf\u3005-\u30ff\u3400-\u9fff\ua960-\ua97f\uac00-\ud7ff\uf900-\ufaff"
    "\U00020000-\U0003ffff"
)
_WORD = re.compile(rf"[{_UNSPACED}]|[^\W_{_UNSPACED}]+")


def words_of(text: str) -> list[str]:
    """The distinct words of a text, in the order in which they first come."""
    pieces = _pieces(text[:READ])
    return list(dict.fromkeys(word[:LONGEST] for piece in pieces for word in _WORD.findall(plain(piece))))[:MOST]


def places_of(text: str, wanted: Iterable[str]) -> Iterator[tuple[int, int]]:
    """Where the words of a text stand that begin with one that is wanted: from and to, in code points, one after the other."""
    starts, begins = tuple(wanted), 0
    for piece in _pieces(text[:READ]):
        folded, origin = _traced(piece)
        for word in _WORD.finditer(folded):
            if word[0].startswith(starts):
                yield begins + origin[word.start()], begins + origin[word.end() - 1] + 1
        begins += len(piece)


def plain(text: str) -> str:
    """A text without case and accents."""
    if text.isascii():
        return text.lower()
    # Folded again behind the decomposition, which makes capitals of some signs: ℃ is °C.
    decomposed = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", text).casefold())
    return unicodedata.normalize("NFC", "".join(char for char in decomposed if not unicodedata.combining(char)))


def _pieces(text: str) -> Iterator[str]:
    """The text cut between words, or where one is longer than a piece."""
    start = 0
    while len(text) - start > PIECE:
        end = text.rfind(" ", start, start + PIECE) + 1 or start + PIECE
        yield text[start:end]
        start = end
    yield text[start:]


def _traced(text: str) -> tuple[str, Sequence[int]]:
    """A text without case and accents, and of each of its characters, where in the text it comes from."""
    if text.isascii():
        return text.lower(), range(len(text))
    told = [(char, place) for place, said in enumerate(text) for char in _plain_character(said)]
    return "".join(char for char, _ in told), [place for _, place in told]


@lru_cache(10_000)
def _plain_character(char: str) -> str:
    return plain(char)


def has_all(words: Sequence[str], wanted: Iterable[str]) -> bool:
    """Whether for each that is wanted there is a word that begins with it."""
    return all(any(word.startswith(start) for word in words) for start in wanted)
