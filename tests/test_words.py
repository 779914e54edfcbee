"""Words: one form for whatever is written, so that every store finds the same."""

import sqlite3
import sys
import unicodedata
from contextlib import closing

import pytest

from rejoinder.stores.sql import migrations
from rejoinder.stores.sqlite.file import teach
from rejoinder.words import LONGEST, MOST, READ, has_all, places_of, plain, words_of


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", []),
        ("... --- \n\t ...", []),
        ("Hello, hello WORLD!", ["hello", "world"]),
        ("Ärger über Strauß", ["arger", "uber", "strauss"]),
        ("snake_case x86-64", ["snake", "case", "x86", "64"]),
        ("ΣΊΣΥΦΟΣ İstanbul", ["σισυφοσ", "istanbul"]),
        ("日本語 と한글", ["日", "本", "語", "と", "한", "글"]),
        ("12 ℃ ﬁne", ["12", "c", "fine"]),
        ("e\u0301te\u0301 été", ["ete"]),
        ("हिन्दी में, हो", ["हिन्दी", "में", "हो"]),
        ("தமிழ் বাংলা", ["தமிழ்", "বাংলা"]),
        ("क़लम क\u093cलम ශ්\u200dරී ශ්රී", ["कलम", "ශ්රී"]),
        ("กินข้าว", ["กิ", "น", "ข", "า", "ว"]),
        ("1\ufe0f\u20e3 ❤\ufe0f 葛\U000e0100 \u093f", ["1", "葛"]),
    ],
)
def test_the_words_of_a_text(text: str, words: list[str]) -> None:
    assert words_of(text) == words


def test_what_is_too_long_is_found_by_its_beginning() -> None:
    assert words_of("x" * 1_000) == ["x" * LONGEST]
    assert len(words_of(" ".join(map(str, range(MOST + 5))))) == MOST
    assert words_of(" " * READ + "late") == []


def test_a_text_has_what_is_wanted_where_a_word_begins_with_it() -> None:
    assert has_all(["hello", "world"], ["wor", "hello"])
    assert not has_all(["hello", "world"], ["ello"])
    assert not has_all(["hello"], ["hello", "hellos"])
    assert not has_all([], ["a"])


def test_no_character_has_two_plain_forms_and_each_word_is_one_to_the_index_of_sqlite() -> None:
    """Whatever Unicode this Python knows: SQLite, which knows an older one, must neither drop, fold nor cut it."""
    every = [chr(number) for number in range(sys.maxunicode + 1) if not 0xD800 <= number <= 0xDFFF]
    assert [char for char in every if plain(plain(char)) != plain(char)] == []
    words = words_of_all(every)
    assert len(words) > 100_000
    with closing(sqlite3.connect(":memory:")) as connection:
        teach(connection)
        for script in migrations("sqlite"):
            connection.executescript(script)
        connection.execute("CREATE VIRTUAL TABLE terms USING fts5vocab (word_index, row)")
        connection.executemany("INSERT INTO word_index (words) VALUES (?)", ((word,) for word in words))
        terms = {term for (term,) in connection.execute("SELECT term FROM terms")}
        assert terms == set(words)


def test_a_mark_is_part_of_its_word_and_each_word_is_its_own_plain_form() -> None:
    marks = [chr(n) for n in range(sys.maxunicode + 1) if unicodedata.category(chr(n)).startswith("M")]
    for word in words_of_all([f"a{mark}b" for mark in marks]):
        assert plain(word) == word and words_of(word) == [word]
    assert words_of("कि") == ["कि"] != words_of("का")


@pytest.mark.parametrize(
    ("text", "wanted", "shown"),
    [
        ("वह हिन्दी है", "हिन्दी", "हिन्दी"),
        ("un e\u0301te\u0301.", "ete", "e\u0301te\u0301"),
        ("ก\u0e34\u0e48น", "ก", "ก\u0e34\u0e48"),
        ("ශ්\u200dරී", "ශ්රී", "ශ්\u200dරී"),
    ],
)
def test_a_place_has_whole_characters_with_their_marks(text: str, wanted: str, shown: str) -> None:
    assert [text[start:end] for start, end in places_of(text, [wanted])] == [shown]


def words_of_all(texts: list[str]) -> list[str]:
    return sorted({word for text in texts for word in words_of(text)})
