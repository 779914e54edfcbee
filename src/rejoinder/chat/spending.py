"""What a reply costs: the tokens of all its attempts, as the upstream told them or else estimated."""

from collections.abc import Sequence

from rejoinder.chat import context
from rejoinder.entities import JsonObject, Usage


class Spending:
    """One attempt at a time: `begin`, perhaps `told`, `end`; then `usage`. Sizes are code points of the reply's text."""

    def __init__(self, before: Usage | None = None) -> None:
        self._spent: list[Usage] = [before] if before else []
        self._asked: Sequence[JsonObject] | None = None
        self._params: JsonObject = {}
        self._began_at = 0
        self._told: Usage | None = None

    def begin(self, asked: Sequence[JsonObject], size: int, params: JsonObject) -> None:
        self._asked, self._params, self._began_at, self._told = asked, params, size, None

    def told(self, usage: Usage) -> None:
        self._told = usage

    def end(self, size: int, *, asked: bool = True) -> None:
        """`asked` False: the upstream cannot have begun a reply, and nothing is owed."""
        # Some upstreams tell of nothing until the end, which a reply that is stopped does not reach.
        if self._told is not None and (self._told.output_tokens or size <= self._began_at):
            self._spent.append(self._told)
        elif self._asked is not None and asked:
            self._spent.append(context.estimated_usage(self._asked, size - self._began_at, self._params))
        self._asked = self._told = None

    def usage(self) -> Usage:
        return total(self._spent)

    @property
    def so_far(self) -> Usage | None:
        """Of the attempts that have ended; None where nothing is owed for any."""
        return self.usage() if self._spent else None


def total(usages: Sequence[Usage]) -> Usage:
    """What several attempts cost together: told by the provider only where all of it was."""
    told = bool(usages) and all(usage.source == "provider" for usage in usages)
    return Usage(
        input_tokens=sum(usage.input_tokens for usage in usages),
        output_tokens=sum(usage.output_tokens for usage in usages),
        source="provider" if told else "estimated",
    )
