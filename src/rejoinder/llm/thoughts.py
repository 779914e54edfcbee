"""Thoughts that a model writes into its text: servers that do not take them out leave them at its beginning, as `<think>…</think>`."""

from collections.abc import Iterable, Iterator
from typing import Literal

from rejoinder.entities import Part

TAGS = {"<think>": "</think>", "[THINK]": "[/THINK]"}
"""By which they begin and end. The second are Mistral's."""

Spoken = tuple[Part, str]


class Thoughts:
    """Takes what is said, cut anywhere, and gives it back with such thoughts as reasoning, without the tags and the space around them.

    What may be a part of a tag is held back until that is known.
    """

    def __init__(self) -> None:
        self.over = False
        """Whether all that comes is what it says it is. Looked at for each event of a stream."""
        self._where: Literal["before", "begun", "within", "behind"] = "before"
        self._held = ""
        self._end = ""
        """The tag that ends them, once they have begun."""

    def split(self, spoken: Iterable[Spoken]) -> list[Spoken]:
        said: list[Spoken] = []
        for part, text in spoken:
            if part == "content" and not self.over:
                said += self._read(self._held + text)
            else:  # reasoning that comes by itself: then the text is the answer alone
                said += (*self.rest(), (part, text))
        return said

    def rest(self) -> list[Spoken]:
        """What was held back: something else follows, or nothing."""
        part: Part = "content" if self._where == "before" else "reasoning"
        said, self._held, self.over = [(part, self._held)] if self._held else [], "", True
        return said

    def _read(self, text: str) -> Iterator[Spoken]:
        self._held = ""
        if self._where == "before":
            begun = text.lstrip()
            tag = next((tag for tag in TAGS if begun.startswith(tag)), None)
            if tag is not None:
                self._where, self._end, text = "begun", TAGS[tag], begun.removeprefix(tag)
            elif any(tag.startswith(begun) for tag in TAGS):
                self._held = text
                return
            else:
                self.over = True
        if self._where == "begun" and (text := text.lstrip()):
            self._where = "within"
        if self._where == "within":
            thought, ended, text = text.partition(self._end)
            if ended:
                self._where = "behind"
            else:
                self._held = _beginning_of(self._end, thought)
                thought, text = thought.removesuffix(self._held), ""
            if thought:
                yield "reasoning", thought
        if self._where == "behind":
            text = text.lstrip()
            self.over = bool(text)
        if text:
            yield "content", text


def _beginning_of(tag: str, text: str) -> str:
    """The end of a text with which the tag may begin."""
    return next((tag[:size] for size in range(len(tag) - 1, 0, -1) if text.endswith(tag[:size])), "")
