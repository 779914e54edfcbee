"""What the pieces of a stream belong to (which tool call an argument continues, what text two halves make), and what of them is kept."""

import re
from collections.abc import Iterator
from typing import Any

import msgspec

from rejoinder.abc import TextChunk
from rejoinder.entities import BIGGEST, JsonObject, Part


class ToolCallPlaces:
    """Which call a tool-call delta belongs to. Calls are numbered in order of appearance, whatever the server does."""

    def __init__(self) -> None:
        self._ids: list[str | None] = []
        self._names: list[str | None] = []
        self._arguments: list[list[str]] = []
        self._by_index: dict[int, int] = {}

    def place(
        self, index: int | None, id: str | None, name: str | None, arguments: str = ""
    ) -> tuple[int, str | None, str | None]:
        """Its number, and id and name where this delta is the first to tell them."""
        id, name = id or None, name or None
        known = self._find(index, id, name)
        if known is None:
            known = len(self._ids)
            self._ids.append(None)
            self._names.append(None)
            self._arguments.append([])
        self._arguments[known].append(arguments)
        if index is not None:
            self._by_index[index] = known
        new_id = id if self._ids[known] is None else None
        new_name = name if self._names[known] is None else None
        self._ids[known] = self._ids[known] or id
        self._names[known] = self._names[known] or name
        return known, new_id, new_name

    def _find(self, index: int | None, id: str | None, name: str | None) -> int | None:
        if index is not None:
            known = self._by_index.get(index)
            # Gemini's endpoint gives every call the index 0, and may give none an id; vLLM has given every delta an id of its own,
            # but no name.
            another = known is not None and name and self._is_another(known, id)
            return None if another else known
        if id is not None and id in self._ids:
            return self._ids.index(id)
        return None if id or name or not self._ids else len(self._ids) - 1

    def _is_another(self, known: int, id: str | None) -> bool:
        """Whether a name that comes again, with this id or none, begins another call than the one that is known."""
        if id:
            return self._ids[known] not in (None, id)
        return self._names[known] is not None and _is_json("".join(self._arguments[known]))


def _is_json(text: str) -> bool:
    try:
        msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeEncodeError):
        return False
    return True


EXTRA, NESTED = 64 << 10, 4
"""Bytes and levels of what an upstream says of a tool call beside its function, at most."""


def kept_extra(said: Any) -> JsonObject | None:
    """The `extra_content` of a tool call, which is sent back as it came. None where there is none, or none that every store can keep."""
    return said if isinstance(said, dict) and said and fit_to_keep(said, EXTRA) else None


def fit_to_keep(said: Any, most: int) -> bool:
    """Whether JSON of an upstream's own is one that every store can keep, and has so many bytes at most."""
    if not _fits(said, NESTED):
        return False
    try:
        data = msgspec.json.encode(said)
    except UnicodeEncodeError:  # half of a surrogate pair
        return False
    return len(data) <= most and rb"\u0000" not in data


def _fits(said: Any, levels: int) -> bool:
    match said:
        case dict():
            return levels > 0 and all(_fits(each, levels - 1) for each in said.values())
        case list():
            return levels > 0 and all(_fits(each, levels - 1) for each in said)
        case int() | float():
            return -BIGGEST <= said < BIGGEST  # false of what is not finite
    return True


class CleanTexts:
    """Makes text of what JSON may carry: no NUL, no lone surrogates, and the halves of a pair joined over chunks."""

    def __init__(self) -> None:
        self._halves: dict[Part | int, str] = {}

    def clean(self, lane: Part | int, text: str) -> str:
        """`lane` is a part, or the number of a tool call. A high surrogate at the end is held back."""
        if not text:
            return text
        if self._halves:
            text = self._halves.pop(lane, "") + text
        if "\ud800" <= text[-1] <= "\udbff":
            self._halves[lane] = text[-1]
            text = text[:-1]
        return clean(text)

    def halves(self) -> Iterator[TextChunk]:
        """What was held back and will not be joined any more."""
        halves, self._halves = self._halves, {}
        for lane in halves:
            yield TextChunk("tool_call", "\ufffd", lane) if isinstance(lane, int) else TextChunk(lane, "\ufffd")


_SURROGATE = re.compile("[\ud800-\udfff]")


def clean(text: str) -> str:
    if "\0" in text:
        text = text.replace("\0", "\ufffd")
    if not text.isascii() and _SURROGATE.search(text):
        text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text
