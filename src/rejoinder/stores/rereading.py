"""Words that a store keeps from before the marks of letters were read (the vowel signs of Devanagari, say) are read again.

Such are those that `lacks_marks`. What has no marks indeed is the same when it is read again, so it may be done as often as one
likes.
"""

import msgspec
from msgspec import Struct

from rejoinder.entities import JsonObject
from rejoinder.words import plain_text, words_of


class _Message(Struct):
    content: str | tuple[JsonObject, ...] = ""


class _Session(Struct):
    title: str | None = None


class _Told(Struct):
    message: _Message | None = None
    session: _Session | None = None


def read_again(words: str, data: bytes | None) -> str:
    """The words of the text that the data of an event tells, or a header; those that are kept where there is none any more."""
    if data is None:
        return words
    told = _decoder.decode(data)
    text = plain_text(told.message.content) if told.message else (told.session and told.session.title) or ""
    return " ".join(words_of(text)) or words


_decoder = msgspec.json.Decoder(_Told)
