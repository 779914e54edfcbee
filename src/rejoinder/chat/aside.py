"""A short answer that the service itself wants of a model, beside any reply: a title, a summary."""

import asyncio
from contextlib import aclosing

from msgspec import Struct

from rejoinder.abc import Prompt, TextChunk, UsageChunk
from rejoinder.chat.context import estimated_usage
from rejoinder.chat.models import Models
from rejoinder.entities import JsonObject, Usage
from rejoinder.errors import ProviderError

THINKING = 40
"""Times as much as the answer may take is what a model may think before it."""


class Answer(Struct, frozen=True):
    text: str
    usage: Usage


async def answer_aside(
    models: Models, model: str, messages: tuple[JsonObject, ...], params: JsonObject, *, most: int, seconds: float
) -> Answer:
    """What the model says, without its thoughts, or its first `most` code points: then it is made to stop. Raises ProviderError.

    Of `params`, those of the conversation, it is asked with what is the upstream's own. The limit is the service's, since parameters
    that set one are refused by some models.
    """
    provider, name = models.resolve(model)
    text, thought, told = "", 0, None
    try:
        async with asyncio.timeout(seconds):
            asked = await provider.prepare(
                Prompt(model=name, messages=messages, params=models.extras(provider, params))
            )
            async with aclosing(provider.stream(asked)) as reads:
                async for chunks in reads:
                    for chunk in chunks:
                        match chunk:
                            case TextChunk(part="content"):
                                text += chunk.text
                            case TextChunk():
                                thought += len(chunk.text)
                            case UsageChunk():
                                told = chunk.usage
                    if len(text) > most or thought > THINKING * most:
                        break
    except TimeoutError:
        raise ProviderError("upstream_timeout", f"The upstream gave no whole answer within {seconds:g} s.") from None
    return Answer(text[:most].strip(), told or estimated_usage(asked.messages, thought + len(text)))
