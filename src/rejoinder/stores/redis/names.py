"""Names in Redis: several texts as one run of bytes that sorts as the texts do, one after the other.

Redis sorts members of equal score as bytes, and UTF-8 sorts as code points do. A zero byte stands between two texts; one
inside a text is followed by 0xff, which no UTF-8 holds.
"""

import re

from rejoinder.entities import Key

BEHIND = b"\xff"
"""Sorts behind every text."""

_MOST = 10**16 - 1
_BETWEEN = re.compile(rb"\x00(?!\xff)")


def pack(*texts: str) -> bytes:
    packed = "\0".join(texts).encode()
    if packed.count(b"\0") >= len(texts):
        packed = b"\0".join(text.encode().replace(b"\0", b"\0\xff") for text in texts)
    return packed


def unpack(packed: bytes) -> list[str]:
    return [text.replace(b"\0\xff", b"\0").decode() for text in _BETWEEN.split(packed)]


def name_of(key: Key) -> bytes:
    return pack(*key)


def digits(number: int) -> str:
    """A number that sorts as text, up to the greatest that a script counts exactly."""
    return f"{min(max(number, 0), _MOST):016}"
