"""Words, as a search compares them: one definition for every store, so that all of them find the same.

A word is a run of letters and digits, without case and accents. Scripts that write no spaces between words (Han, Kana,
Hangul, Thai and the like) give each character as a word of its own. A search finds a text that has, for each
of its words, a word that begins with it.
"""

import re
import unicodedata
from collections.abc import Iterable, Sequence

LONGEST = 64
"""Code points of a word that count. What is longer is a key, a link or noise, and is found by its beginning."""

MOST = 20_000
"""Distinct words of one text: more than a long chapter has, and some 200 KB for an index."""

READ = 1_000_000
"""Code points of a text that are read for its words: a longer one would hold the service up."""

_UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2e80-\u2fdf\u3005-\u30ff\u3400-\u9fff\ua960-\ua97f\uac00-\ud7ff\uf900-\ufaff"
    "\U00020000-\U0003ffff"
)
_WORD = re.compile(rf"[{_UNSPACED}]|[^\W_{_UNSPACED}]+")


def words_of(text: str) -> list[str]:
    """The distinct words of a text, in the order in which they first come."""
    return list(dict.fromkeys(word[:LONGEST] for word in _WORD.findall(plain(text[:READ]))))[:MOST]


def plain(text: str) -> str:
    """A text without case and accents."""
    if text.isascii():
        return text.lower()
    # Folded again behind the decomposition, which makes capitals of some signs: ℃ is °C.
    decomposed = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", text).casefold())
    return unicodedata.normalize("NFC", "".join(char for char in decomposed if not unicodedata.combining(char)))


def has_all(words: Sequence[str], wanted: Iterable[str]) -> bool:
    """Whether for each that is wanted there is a word that begins with it."""
    return all(any(word.startswith(start) for word in words) for start in wanted)
