"""The texts that a search finds. The very drafts that make or end a message, or name a session, tell them.

So whoever appends such a draft need not think of the search, and a delta is never looked at.
"""

import asyncio
from collections.abc import Sequence

import msgspec
from msgspec import Struct, structs

from rejoinder.abc import Append, Text
from rejoinder.entities import JsonObject, Status
from rejoinder.events import Draft
from rejoinder.words import plain_text, words_of

TELLING = ("message.created", "message.ended", "session.created", "session.updated")

LARGE = 64 << 10
"""Bytes of drafts from which their words are looked for in a thread: some milliseconds, for which no reply should stand still."""

Content = str | tuple[JsonObject, ...]


async def with_texts(append: Append) -> Append:
    """The append with the texts that its drafts tell."""
    drafts = [draft for draft in append.drafts if draft.type in TELLING]
    if not drafts:
        return append
    large = sum(len(draft.data) for draft in drafts) >= LARGE
    texts = await asyncio.to_thread(_texts_of, drafts) if large else _texts_of(drafts)
    return structs.replace(append, texts=texts)


class _Message(Struct):
    id: str
    content: Content
    status: Status
    created_at: str
    ended_at: str | None = None


class _Session(Struct):
    title: str | None
    updated_at: str


class _Told(Struct):
    message: _Message | None = None
    session: _Session | None = None


def _texts_of(drafts: Sequence[Draft]) -> tuple[Text, ...]:
    texts = (_text(draft) for draft in drafts)
    return tuple(text for text in texts if text is not None)


def _text(draft: Draft) -> Text | None:
    match _decoder.decode(draft.data):
        case _Told(message=_Message(status=status) as message) if status.ended:
            words = " ".join(words_of(plain_text(message.content)))
            at = message.ended_at or message.created_at
            return Text(message_id=message.id, words=words, at=at) if words else None
        case _Told(session=_Session() as session):
            words = " ".join(words_of(session.title or ""))
            # A session that is new has no title to be taken away.
            told = words or draft.type == "session.updated"
            return Text(message_id=None, words=words, at=session.updated_at) if told else None
    return None


_decoder = msgspec.json.Decoder(_Told)
