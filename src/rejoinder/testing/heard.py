"""Asking a provider in a test: a prompt in one line, and what the stream said, to its end or to its fault."""

from contextlib import aclosing
from typing import Any

from msgspec import Struct

from rejoinder.abc import Chunk, Completion, LifeChunk, Prompt, Provider
from rejoinder.errors import ProviderError
from rejoinder.llm.completions import completion_of


class Heard(Struct):
    chunks: list[Chunk]
    reads: int = 0
    error: ProviderError | None = None

    @property
    def reply(self) -> Completion:
        """As far as it came."""
        return completion_of(self.chunks)


def asked(message: str, *, model: str = "", **params: Any) -> Prompt:
    return Prompt(model=model, messages=({"role": "user", "content": message},), params=params)


async def hear(provider: Provider, prompt: Prompt) -> Heard:
    heard = Heard([])
    try:
        async with aclosing(provider.stream(prompt)) as reads:
            async for chunks in reads:
                heard.reads += 1
                heard.chunks += [chunk for chunk in chunks if not isinstance(chunk, LifeChunk)]
    except ProviderError as error:
        heard.error = error
    return heard
