"""Words that were kept without the marks of their letters: a store that has such finds them as if they had been kept today."""

import re
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest
import redis as driver

from pens import KEY, Pen, change, create, row
from postgres_server import databases
from rejoinder.abc import Append, Found, Text
from rejoinder.entities import Message, Session
from rejoinder.events import Draft, MessageCreated, SessionUpdated, draft
from rejoinder.redis_link import RedisUrl
from rejoinder.stores import open_store
from rejoinder.words import lacks_marks, plain, words_of
from shared_servers import fresh_redis_url

TEXTS = {
    "msg_1": "वह हिन्दी में है",
    "msg_2": "தமிழ் மொழி",
    "msg_3": "plain words, और में",
    "msg_4": "Ärger über Straße",
}
TITLE = "বাংলা"
AT = "2026-11-24T12:00:00.000Z"


def as_before(text: str) -> str:
    """The words of a text as they were kept: what is no letter parted them, and signs that take a vowel away were dropped."""
    bare = re.sub("[\u094d\u0bcd\u09cd]", "", text)
    return " ".join(dict.fromkeys(re.findall(r"[^\W_]+", plain(bare))))


def message(message_id: str, text: str) -> Draft:
    said = Message(
        id=message_id, session_id=KEY.session_id, role="user", content=text, created_at=AT, ended_at=AT, **_COMPLETED
    )
    return draft(MessageCreated(message=said))


_COMPLETED: dict[str, Any] = {"status": "completed"}


def sqlite(folder: Path) -> tuple[str, Callable[[], object]]:
    path = folder / "chat.db"

    def age() -> None:
        with closing(sqlite3.connect(path)) as connection:
            connection.executescript("DROP TABLE unseen; DROP TABLE staged_texts; PRAGMA user_version = 4")

    return f"sqlite:///{path}", age


def files(folder: Path) -> tuple[str, Callable[[], object]]:
    return f"files:///{folder}/store", lambda: None


def postgres(folder: Path) -> tuple[str, Callable[[], object]]:
    own = databases()
    url = own.new()
    return url, lambda: own.run("UPDATE schema_version SET version = 2", url=url)


def redis(folder: Path) -> tuple[str, Callable[[], object]]:
    url = fresh_redis_url()
    link = RedisUrl.parse(url)

    def age() -> None:
        with closing(driver.Redis.from_url(url.partition("?")[0])) as client:
            client.set(f"{link.names}schema", "rejoinder 1")

    return url, age


@pytest.mark.parametrize("learned", [True, False], ids=["indexed", "not yet indexed"])
@pytest.mark.parametrize("place", [sqlite, files, postgres, redis])
async def test_words_that_were_kept_without_their_marks_are_read_again(
    tmp_path: Path, place: Callable[[Path], tuple[str, Callable[[], object]]], learned: bool
) -> None:
    url, age = place(tmp_path)
    async with open_store(url) as store:
        pen = await Pen.of(store)
        await pen.made(create())
        session = Session(id=KEY.session_id, created_at=AT, updated_at=AT, title=TITLE)
        named = change(KEY, 1, draft(SessionUpdated(session=session)), title=TITLE)
        kept = [(named, Text(message_id=None, words=as_before(TITLE), at=AT))]
        for version, (message_id, text) in enumerate(TEXTS.items(), 2):
            said = change(KEY, version, message(message_id, text), created=[row(message_id)], title=TITLE)
            kept.append((said, Text(message_id=message_id, words=as_before(text), at=AT)))
        await pen.made(*(_telling(append, text) for append, text in kept))
        if learned:
            assert await store.search(KEY.owner, ["words"], limit=9) == [Found(KEY, "msg_3")]
        await store.release_lease(pen.lease)
    age()
    for _ in range(2):
        async with open_store(url) as store:
            for message_id, text in TEXTS.items():
                for word in words_of(text):
                    assert Found(KEY, message_id) in await store.search(KEY.owner, [word], limit=9), word
            assert await store.search(KEY.owner, words_of("हो"), limit=9) == []
            assert await store.search(KEY.owner, words_of("தா"), limit=9) == []
            [header] = await store.sessions(KEY.owner, after=None, limit=9, words=words_of(TITLE))
            assert header.session.title == TITLE


def _telling(append: Append, text: Text) -> Append:
    return msgspec.structs.replace(append, texts=(text,))


def test_what_is_read_again_is_what_may_lack_marks_and_nothing_else() -> None:
    assert all(lacks_marks(as_before(text)) for text in (*list(TEXTS.values())[:3], TITLE))
    assert not any(lacks_marks(" ".join(words_of(text))) for text in (*TEXTS.values(), TITLE))
    assert not any(map(lacks_marks, ("", "words", "arger uber", "日 本 語", "привет мир", "한국어")))
