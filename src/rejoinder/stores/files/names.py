"""The name of a session's file, from its owner and its id, which may be any text.

A person should recognise it, and no system may take it for something else: lower-case letters, digits, `_` and `-` stand
for themselves, every other byte of UTF-8 is `%` and two digits. So there is no dot, slash or NUL to escape by, nothing that
differs in case alone, and no name that Windows keeps for a device. Names are never read back: each file says whose it is.
"""

import hashlib
import re
from functools import lru_cache

from rejoinder.entities import Key

LONGEST = 120
"""Bytes of a name, of the 255 that file systems allow: room for `.jsonl.tmp`, and for what backups add to names."""

SESSION = ".jsonl"

_PLAIN = re.compile(r"[a-z0-9_-]+")
_OTHER = re.compile(rb"[^a-z0-9_-]")
_DEVICE = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)")


def path_of(key: Key) -> str:
    """The file below the folder of sessions, with `/`: never the same for two keys."""
    return f"{_folder(key.owner)}/{name_of(key.session_id)}{SESSION}"


def name_of(text: str) -> str:
    if _PLAIN.fullmatch(text) and len(text) <= LONGEST and not _DEVICE.fullmatch(text):
        return text
    data = text.encode("utf-8", "surrogatepass")
    name = _OTHER.sub(_escaped, data).decode()
    if not name:
        return "%"
    if _DEVICE.fullmatch(name):
        return f"%{data[0]:02x}{name[1:]}"
    if len(name) <= LONGEST:
        return name
    # `~` stands in no other name.
    return f"{name[: LONGEST - 33]}~{hashlib.sha256(data).hexdigest()[:32]}"


def _escaped(match: re.Match[bytes]) -> bytes:
    return b"%%%02x" % match[0][0]


@lru_cache(1_000)
def _folder(owner: str) -> str:
    return name_of(owner)
