"""Words, as a search compares them: one definition for every store, so that all of them find the same.

A word is a run of letters and digits with their marks (the vowel signs of Devanagari, say), without case and accents.
Scripts that write no spaces between words (Han, Kana, Hangul, Thai and the like) give each character as a word of its own.
A search finds a text that has, for each of its words, a word that begins with it.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

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
_LETTERS = rf"[^\W_{_UNSPACED}]"

_OF_MARKED = re.compile("[\u0700-\u109f\u1200-\u1cff\ua800-\uabff\U00010a00-\U0001efff]")
"""Letters of scripts that have marks of their own, and some others."""

_NO_ACCENT = (0, 9)
"""Combining classes of what is no accent; 9 is that of signs that take a letter's vowel away (virama)."""

_UNSEEN = re.compile(
    "[\u034f\u0488\u0489\u180b-\u180d\u180f\u1abe\u200d\u20dd-\u20e4\ua670-\ua672\ufe00-\ufe0f\U000e0100-\U000e01ef]"
)
"""Signs that only choose between shapes, or stand around a character: two words that differ in them are one."""


def words_of(text: str) -> list[str]:
    """The distinct words of a text, in the order in which they first come."""
    pieces = map(plain, _pieces(text[:READ]))
    return list(dict.fromkeys(word[:LONGEST] for piece in pieces for word in _word(piece).findall(piece)))[:MOST]


def places_of(text: str, wanted: Iterable[str]) -> Iterator[tuple[int, int]]:
    """Where the words of a text stand that begin with one that is wanted: from and to, in code points, one after the other."""
    starts, begins = tuple(wanted), 0
    for piece in _pieces(text[:READ]):
        folded, origin = _traced(piece)
        for word in _word(folded).finditer(folded):
            if word[0].startswith(starts):
                yield begins + origin[word.start()], begins + behind_marks(piece, origin[word.end() - 1] + 1)
        begins += len(piece)


def plain_text(content: str | Iterable[Mapping[str, Any]]) -> str:
    """The words of a message: those of its parts that are text, one below the other."""
    if isinstance(content, str):
        return content
    return "\n".join(part["text"] for part in content if part.get("type") == "text")


def lacks_marks(words: str) -> bool:
    """Whether words may be those of a text whose marks were not read: some may have marks, and none has."""
    return not words.isascii() and _OF_MARKED.search(words) is not None and not any(map(_is_mark, words))


def plain(text: str) -> str:
    """A text without case and accents."""
    if text.isascii():
        return text.lower()
    # Folded again behind the decomposition, which makes capitals of some signs: ℃ is °C.
    decomposed = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", text).casefold())
    seen = _UNSEEN.sub("", decomposed)
    return unicodedata.normalize("NFC", "".join(char for char in seen if unicodedata.combining(char) in _NO_ACCENT))


def behind_marks(text: str, place: int) -> int:
    """This place, or the next at which no character is parted from its marks."""
    while place < len(text) and _is_mark(text[place]):
        place += 1
    return place


def before_marks(text: str, place: int) -> int:
    """This place, or the last before it at which no character is parted from its marks."""
    while 0 < place < len(text) and _is_mark(text[place]):
        place -= 1
    return place


def _is_mark(char: str) -> bool:
    return not char.isascii() and (unicodedata.category(char)[0] == "M" or _UNSEEN.match(char) is not None)


def _word(text: str) -> re.Pattern[str]:
    """What a word of this text is, which is plain."""
    return _ASCII_WORD if text.isascii() else _any_word(0xFFFF if max(text) <= "\uffff" else 0x1FFFF)


_ASCII_WORD = re.compile("[a-z0-9]+")


@lru_cache
def _any_word(last: int) -> re.Pattern[str]:
    """Made when it is first needed: all of Unicode is asked for its marks, which takes some hundredths of a second.

    `last` is the last character that may be a mark: Python looks for those past 0xFFFF one range after the other.
    """
    marks = "".join(char for char in map(chr, range(0x300, last + 1)) if _is_mark(char) and plain(char))
    return re.compile(rf"[{_UNSPACED}][{marks}]*|{_LETTERS}+(?:[{marks}]+{_LETTERS}*)*")


def _pieces(text: str) -> Iterator[str]:
    """The text cut between words, or where one is longer than a piece."""
    start = 0
    while len(text) - start > PIECE:
        end = text.rfind(" ", start, start + PIECE) + 1 or behind_marks(text, start + PIECE)
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
