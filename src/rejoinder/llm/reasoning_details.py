"""OpenRouter's `reasoning_details`: what a model has thought, signed or encrypted, for it to go on from when its tools have answered.

They come in pieces, and models refuse them unless they come back whole and unchanged (Gemini's, Anthropic's).
"""

from typing import Any

from rejoinder.entities import JsonObject
from rejoinder.llm.pieces import fit_to_keep

LARGEST = 1 << 20
"""Bytes of all details of a reply. What is larger is left out: a part of it would be refused."""

GROWING = ("text", "summary", "data")
"""Fields that come in pieces. Of the others a later piece may tell what an earlier one did not know."""


class ReasoningDetails:
    """Those of one reply, put together as they come."""

    def __init__(self) -> None:
        self._details: list[JsonObject] = []
        self._pieces: list[dict[str, list[str]]] = []
        """Of each detail, the texts of its fields that grow."""
        self._size = 0

    def add(self, said: Any) -> None:
        """What one event tells: a list of details, or of pieces of them."""
        for piece in said if isinstance(said, list) else ():
            if isinstance(piece, dict) and self._size <= LARGEST:
                self._add(piece)

    def whole(self) -> tuple[JsonObject, ...]:
        """() where there are none, or none that every store can keep."""
        made = [
            detail | {name: "".join(texts) for name, texts in pieces.items()}
            for detail, pieces in zip(self._details, self._pieces, strict=True)
        ]
        return tuple(made) if fit_to_keep(made, LARGEST) else ()

    def _add(self, piece: JsonObject) -> None:
        at = self._place(piece)
        if at is None:
            at = len(self._details)
            self._details.append({})
            self._pieces.append({})
        for name, value in piece.items():
            if name in GROWING and isinstance(value, str):
                self._pieces[at].setdefault(name, []).append(value)
                self._size += len(value)
            elif value is not None or name not in self._details[at] | self._pieces[at]:
                self._details[at][name] = value

    def _place(self, piece: JsonObject) -> int | None:
        """The detail that a piece goes on: the last one of its index and type, unless the piece names another."""
        for at in range(len(self._details) - 1, -1, -1):
            detail = self._details[at]
            if all(detail.get(name) == piece.get(name) for name in ("index", "type")):
                ids = {detail.get("id"), piece.get("id")} - {None}
                return at if len(ids) < 2 else None
        return None
