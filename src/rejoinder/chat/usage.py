"""The usage of a session: sums over its replies, read from their ends through the index, and over its titles and summaries."""

from msgspec import Struct, structs

from rejoinder.chat.decisions import Decisions
from rejoinder.chat.history import History
from rejoinder.entities import Key

PAGE = 500
"""Rows that are read at a time."""


class SessionUsage(Struct, frozen=True, kw_only=True):
    """Tokens of the replies that have ended, of titles and of summaries; `estimated` is how much of both no upstream told."""

    replies: int = 0
    titles: int = 0
    summaries: int = 0
    attempts: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    estimated_input_tokens: int = 0
    estimated_output_tokens: int = 0


class UsageReader:
    def __init__(self, decisions: Decisions, history: History) -> None:
        self._decisions = decisions
        self._history = history

    async def of(self, key: Key) -> SessionUsage:
        """Raises SessionNotFound."""
        sums = (await self._decisions.header(key)).asides
        replies = attempts = 0
        async for message in self._history.every_end(key, PAGE):
            if message.usage is not None:
                replies += 1
                attempts += len(message.attempts)
                sums = sums.plus(message.usage)
        return SessionUsage(replies=replies, attempts=attempts, **structs.asdict(sums))
