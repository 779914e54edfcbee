"""The file of one session: JSON Lines in UTF-8, in one canonical encoding, so that what is moved can be compared byte for byte.

    {"rejoinder":1,"session":{…},"request_hash":…}
    {"message":{…},"request_hash":…,"models":[…],"params":{…}}
    {"messages":1,"sha256":"…"}

The session comes first, then every message of every branch in order of creation (so parents come before their children),
then the count of messages and the SHA-256 of all lines before, so that a file that was cut or changed is noticed. What is
derived or the store's own (`siblings`, `last_seq`, seqs, deltas, prompts as sent) stays out; what a reply was asked with and
what lets a client's retry find what it made goes along.
"""

import hashlib
from typing import Any, Self

import msgspec
from msgspec import Struct, structs

from rejoinder.entities import Asides, JsonObject, Message, Session

FORMAT = 1


class SessionLine(Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """`request_hash` as in the event `session.created`; `asides` are what titles and summaries have cost."""

    rejoinder: int
    session: Session
    request_hash: str | None = None
    asides: Asides = Asides()

    def encoded(self) -> bytes:
        told = msgspec.to_builtins(self)
        del told["session"]["last_seq"]
        return _line(told)


class MessageLine(Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """The rest as in the event `message.created`."""

    message: Message
    request_hash: str | None = None
    models: tuple[str, ...] = ()
    params: JsonObject = {}

    def encoded(self) -> bytes:
        told = msgspec.to_builtins(self)
        del told["message"]["siblings"]
        return _line(told)


class EndLine(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`sha256` is that of all lines before, with their line ends."""

    messages: int
    sha256: str

    def encoded(self) -> bytes:
        return _line(structs.asdict(self))

    @classmethod
    def decoded(cls, line: bytes) -> Self:
        return msgspec.json.decode(line, type=cls)


class Seal:
    """What has been written or read so far, on the way to the line that ends it."""

    def __init__(self) -> None:
        self._sha256 = hashlib.sha256()
        self._lines = 0

    def add(self, line: bytes) -> bytes:
        self._sha256.update(line)
        self._lines += 1
        return line

    def end(self) -> EndLine:
        return EndLine(messages=self._lines - 1, sha256=self._sha256.hexdigest())


class Lines:
    """Cuts what comes in pieces into lines, each with its line end."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self.held = 0
        """Bytes of the line that has not ended yet."""

    def feed(self, data: bytes) -> list[bytes]:
        *whole, rest = data.split(b"\n")
        lines = []
        for piece in whole:
            lines.append(b"".join((*self._pieces, piece, b"\n")))
            self._pieces.clear()
        self._pieces.append(rest)
        self.held = len(rest) + (0 if whole else self.held)
        return lines

    def rest(self) -> list[bytes]:
        """The last line, where nothing but its line end is missing."""
        return [b"".join((*self._pieces, b"\n"))] if self.held else []


def _line(told: Any) -> bytes:
    return _encoder.encode(told) + b"\n"


_encoder = msgspec.json.Encoder()
