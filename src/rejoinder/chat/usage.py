"""The usage of a session: sums over its replies, read from their ends through the index."""

from msgspec import Struct

from rejoinder.chat.history import History
from rejoinder.entities import Key

PAGE = 500
"""Messages that are read at a time."""


class SessionUsage(Struct, frozen=True, kw_only=True):
    """Tokens of the replies that have ended; `estimated` is how much of both no upstream told."""

    replies: int = 0
    attempts: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    estimated_input_tokens: int = 0
    estimated_output_tokens: int = 0


class UsageReader:
    def __init__(self, history: History) -> None:
        self._history = history

    async def of(self, key: Key) -> SessionUsage:
        """Raises SessionNotFound."""
        replies = attempts = input_tokens = output_tokens = estimated_input = estimated_output = 0
        async for message in self._history.every(key, PAGE):
            if message.role == "assistant" and message.usage is not None:
                usage = message.usage
                guessed = usage.source == "estimated"
                replies += 1
                attempts += len(message.attempts)
                input_tokens += usage.input_tokens
                output_tokens += usage.output_tokens
                estimated_input += usage.input_tokens if guessed else 0
                estimated_output += usage.output_tokens if guessed else 0
        return SessionUsage(
            replies=replies,
            attempts=attempts,
            input_tokens=input_tokens,
            output_tokens=output_tokens,
            estimated_input_tokens=estimated_input,
            estimated_output_tokens=estimated_output,
        )
