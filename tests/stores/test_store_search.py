"""Search: what is found, in which order, and that every store finds what comparing word by word would find."""

import asyncio
import random
from itertools import count

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import structs

from openers import Opener
from pens import KEY, OTHER, Pen, change, create, log, said
from rejoinder.abc import Append, Found, Refused, SessionCursor, Store, Text
from rejoinder.entities import Key
from rejoinder.stores.postgres import batch as postgres_batch
from rejoinder.stores.sqlite import search as sqlite_search
from rejoinder.words import has_all, words_of


def minute(number: int) -> str:
    return f"2026-11-24T12:{number:02}:00.000Z"


def text(said: str, message_id: str | None = "msg_1", at: int = 0) -> Text:
    return Text(message_id=message_id, words=" ".join(words_of(said)), at=minute(at))


def telling(*texts: Text, key: Key = KEY) -> Append:
    return Append(key=key, drafts=(said("x"),), texts=texts)


async def found(store: Store, said: str, owner: str = "ann", limit: int = 100) -> list[str]:
    return [found.message_id for found in await store.search(owner, words_of(said), limit=limit)]


async def listed(store: Store, said: str, owner: str = "ann") -> list[str]:
    headers = await store.sessions(owner, after=None, limit=100, words=words_of(said))
    return [header.session.id for header in headers]


# --- what is found -----------------------------------------------------------------------------------------------


async def test_a_message_is_found_by_all_of_its_words_and_their_beginnings(store: Store, pen: Pen) -> None:
    await pen.made(create(), telling(text("The quick brown fox"), text("A quick reply", "msg_2", 1)))
    assert await store.search("ann", ["quick"], limit=9) == [Found(KEY, "msg_2"), Found(KEY, "msg_1")]
    assert await found(store, "qui fo") == ["msg_1"]
    assert await found(store, "FOX the") == ["msg_1"]
    for nothing in ("ox", "foxes", "quick lazy"):
        assert await found(store, nothing) == []


async def test_words_of_every_script_are_found(store: Store, pen: Pen) -> None:
    said = [
        "Ärger über Straße",
        "日本語の本",
        "Привет мир",
        "한국어",
        "x" * 500,
        "0x1F 3.14",
        "\U00020000 \U0001d400 ﬁ",
        "हिन्दी में",
        "தமிழ்",
        "বাংলা",
        "ภาษาไทย",
    ]
    await pen.made(create(), telling(*(text(each, f"msg_{number}") for number, each in enumerate(said))))
    for number, each in enumerate(said):
        assert await found(store, each) == [f"msg_{number}"], each
    assert await found(store, "本") == ["msg_1"]
    assert await found(store, "strasse") == ["msg_0"]
    assert await found(store, "x" * 63) == ["msg_4"]
    assert await found(store, "AND OR NOT NEAR") == []
    assert [await found(store, each) for each in ("हि", "तमि", "বা", "বাংলা মে", "हो", "தா", "বি")] == [
        *(["msg_7"], [], ["msg_9"], [], [], [], [])
    ]


async def test_as_many_words_may_be_asked_for_as_a_question_can_hold(store: Store, pen: Pen) -> None:
    many = "".join(chr(0x4E00 + number) for number in range(512))
    await pen.made(create(), telling(text(many), text(many[1:], "msg_2")))
    assert await found(store, many) == ["msg_1"]


async def test_what_is_longer_than_an_index_takes_is_found_by_its_beginning(
    store: Store, pen: Pen, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That of Postgres takes about a megabyte of a text. It ends in the middle of a character here."""
    monkeypatch.setattr(postgres_batch, "INDEXED", 8)
    long = Text(message_id="msg_1", words="λλ λλλ fox", at=minute(0))
    await pen.made(create(), telling(long))
    assert await found(store, "λλ") == ["msg_1"]


async def test_a_title_finds_its_session_and_no_message(store: Store, pen: Pen) -> None:
    await pen.made(create(KEY), create(OTHER), telling(text("Holidays", None)), telling(text("holidays"), key=OTHER))
    assert await store.search("ann", ["holidays"], limit=9) == [Found(OTHER, "msg_1")]
    assert await listed(store, "holi") == [OTHER.session_id, KEY.session_id]


async def test_what_is_found_is_its_owners(store: Store, pen: Pen) -> None:
    hers = Key("bob", KEY.session_id)
    await pen.made(create(KEY), create(hers), telling(text("mine and ours")), telling(text("hers and ours"), key=hers))
    assert await store.search("ann", ["ours"], limit=9) == [Found(KEY, "msg_1")]
    assert await store.search("bob", ["ours"], limit=9) == [Found(hers, "msg_1")]
    for owner, nothing in (("ann", "hers"), ("bob", "mine"), ("an", "ours"), ("ann ", "ours"), ("_m", "ours")):
        assert await found(store, nothing, owner) == []
        assert await listed(store, nothing, owner) == []


# --- in which order ----------------------------------------------------------------------------------------------


async def test_the_latest_comes_first_also_where_texts_came_in_another_order(store: Store, pen: Pen) -> None:
    ats = [3, 1, 4, 15, 9, 2, 6, 5, 35, 8, 7]
    await pen.made(create(KEY), create(OTHER))
    for at in ats:
        await pen.made(telling(text("said at some time", f"msg_{at}", at), key=OTHER if at % 2 else KEY))
    newest = [f"msg_{at}" for at in sorted(ats, reverse=True)]
    for limit in (1, 2, 5, 11, 100):
        assert await found(store, "time", limit=limit) == newest[:limit]


async def test_the_list_of_found_sessions_is_in_the_lists_order_and_has_its_pages(store: Store, pen: Pen) -> None:
    for number in range(20):
        key = Key("ann", f"ses_{number:02}")
        await pen.made(create(key, updated_at=minute(number // 3)))
        words = "even and all" if number % 2 == 0 else "odd and all"
        await pen.made(telling(text(words), text("also all", "msg_2"), key=key))
    even = [f"ses_{number:02}" for number in range(18, -1, -2)]
    for limit in (1, 3, 10, 50):
        pages: list[str] = []
        after = None
        while page := await store.sessions("ann", after=after, limit=limit, words=["even", "a"]):
            assert len(page) <= limit
            assert page[0] == await store.header(Key("ann", page[0].session.id))
            pages += [header.session.id for header in page]
            after = SessionCursor(page[-1].session.updated_at, page[-1].session.id)
        assert pages == even
    assert len(await listed(store, "all")) == 20


# --- how texts change --------------------------------------------------------------------------------------------


async def test_a_text_replaces_the_one_that_was_there_and_none_takes_it_away(store: Store, pen: Pen) -> None:
    await pen.made(create(), telling(text("old", None), text("old and long")))
    await pen.made(telling(text("new", None, 1), text("new", at=1)))
    assert (await found(store, "old"), await listed(store, "old")) == ([], [])
    assert (await found(store, "new"), await listed(store, "new")) == (["msg_1"], [KEY.session_id])
    await pen.made(telling(text("", None, 2)), telling(text("", at=2)), telling(text("", "nobody")))
    assert (await found(store, "new"), await listed(store, "new")) == ([], [])
    await pen.made(telling(text("a"), text("b"), text("c", "msg_2")), telling(text("d", "msg_2")))
    assert [await found(store, word) for word in "abcd"] == [[], ["msg_1"], [], ["msg_2"]]


async def test_what_is_refused_or_deleted_is_not_found(store: Store, pen: Pen) -> None:
    late = structs.replace(change(KEY, 7), texts=(text("refused"),))
    made = structs.replace(create(), texts=(text("titled", None), text("made")))
    assert (await pen.write(made, late))[1] == Refused("version")
    assert await found(store, "made") == ["msg_1"]
    assert (await found(store, "refused"), await listed(store, "titled")) == ([], [KEY.session_id])
    assert await store.delete(KEY, 1)
    for word in ("made", "titled"):
        assert (await found(store, word), await listed(store, word)) == ([], [])
    await pen.made(create())
    assert (await found(store, "made"), await listed(store, "titled")) == ([], [])
    assert len(await log(store)) == 1


async def test_what_was_told_is_found_after_the_store_was_closed(opener: Opener) -> None:
    async with opener() as store:
        await (await Pen.of(store)).made(create(), telling(text("kept", at=1), text("kept as well", "msg_2")))
    async with opener() as store:
        assert await found(store, "kept") == ["msg_1", "msg_2"]
        pen = await Pen.of(store)
        await pen.made(telling(text("gone")))
        assert await found(store, "kept") == ["msg_2"]
        await pen.made(telling(text("gone as well", "msg_2")))
    async with opener() as store:
        await (await Pen.of(store)).made(telling(text("also kept", "msg_3", 2)))
        assert await found(store, "kept") == ["msg_3"]


# --- whatever is said and asked ----------------------------------------------------------------------------------

alphabet = st.text(st.sampled_from("aAbß Éé1日本本_'\"*^-:() \n"), max_size=12)
steps = st.lists(
    st.tuples(
        st.integers(0, 2),
        st.sampled_from([None, "msg_1", "msg_2", "msg_3"]),
        st.one_of(alphabet, st.text(max_size=8)),
        st.integers(0, 59),
    ),
    max_size=12,
)


async def play(store: Store, owner: str, said: list[tuple[int, str | None, str, int]], asked: list[str]) -> None:
    pen, keys = await Pen.of(store), [Key(owner, f"ses_{number}") for number in range(3)]
    await pen.made(*map(create, keys))
    texts: dict[tuple[Key, str | None], Text] = {}
    for session, message_id, words, at in said:
        told = texts[keys[session], message_id] = text(words, message_id, at)
        await pen.made(telling(told, key=keys[session]))
        if at < 20:
            await store.search(owner, ["a"], limit=1)  # by which a store may learn what it has put off
    for question in asked:
        if not (wanted := words_of(question)):
            continue
        having = [(place, told) for place, told in texts.items() if has_all(told.words.split(" "), wanted)]
        answer = await store.search(owner, wanted, limit=100)
        ats = [texts[found.key, found.message_id].at for found in answer]
        assert ats == sorted(ats, reverse=True)
        assert {(found.key, found.message_id) for found in answer} == {place for place, _ in having if place[1]}
        assert await listed(store, question, owner) == sorted({key.session_id for (key, _), _ in having}, reverse=True)
    await store.release_lease(pen.lease)


def test_every_store_finds_what_comparing_word_by_word_finds(opener: Opener, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_search, "GATHERED", 5)
    owners = count()
    with asyncio.Runner() as runner:
        store = opener()
        runner.run(store.__aenter__())

        @settings(max_examples=30, deadline=None, database=None, suppress_health_check=list(HealthCheck))
        @given(said=steps, asked=st.lists(st.one_of(alphabet, st.text(max_size=3)), min_size=1, max_size=6))
        def same(said: list[tuple[int, str | None, str, int]], asked: list[str]) -> None:
            runner.run(play(store, f"owner {next(owners)}", said, asked))

        try:
            same()
        finally:
            runner.run(store.__aexit__(None, None, None))


# --- frequent words ----------------------------------------------------------------------------------------------


async def test_frequent_words_find_the_same_sessions_whichever_way_they_are_looked_for(
    store: Store, pen: Pen, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Said of late or long ago, on the first page or behind a cursor, in sessions to which people come back or do not."""
    # Some hundred sessions come to what thousands come to.
    monkeypatch.setattr(sqlite_search, "LATEST", 12)
    monkeypatch.setattr(sqlite_search, "WALKED", 20)
    chance = random.Random(1)
    keys = [Key("ann", f"ses_{number:03}") for number in range(242)]
    await pen.made(*(create(key, updated_at=minute(number // 4)) for number, key in enumerate(keys)))
    texts: list[tuple[str, list[str]]] = []
    appends: list[Append] = []
    for number in range(360):
        key = keys[number] if number < len(keys) else chance.choice(keys)
        era = "early" if number < 142 else "late" if number > 300 else "middle"
        words = f"always {era} {'often' if chance.random() < 0.6 else 'else'} {'seldom' if number % 50 == 0 else ''}"
        texts.append((key.session_id, words_of(words)))
        appends.append(telling(text(words, f"msg_{number}", number // 7), key=key))
    await pen.made(*appends)
    for question in ("always", "often", "early", "late", "middle", "seldom", "early often", "ea", "nothing"):
        wanted = words_of(question)
        expected = sorted({session_id for session_id, words in texts if has_all(words, wanted)}, reverse=True)
        for limit in (7, 100):
            pages: list[str] = []
            after = None
            while page := await store.sessions("ann", after=after, limit=limit, words=wanted):
                pages += [header.session.id for header in page]
                after = SessionCursor(page[-1].session.updated_at, page[-1].session.id)
            assert pages == expected, (question, limit)
