"""Lua lives in `.lua` files, one a script. `common.lua` stands before each: the names of keys, and how what lies there is written.

A script settles all that it was asked before its first write: Redis runs it alone, but takes nothing back where it fails.
"""

import hashlib
from functools import cache
from importlib.resources import files

from msgspec import Struct


class Script(Struct, frozen=True):
    text: str
    sha: str


@cache
def script(name: str) -> Script:
    """A script by its file's name."""
    parts = [(files(__name__) / f"{part}.lua").read_text(encoding="utf-8") for part in ("common", name)]
    text = "\n".join(parts)
    return Script(text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())
