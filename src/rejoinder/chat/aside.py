"""A short answer that the service itself wants of a model, beside any reply: a title, a summary."""

import asyncio
import re
from contextlib import aclosing

from msgspec import Struct

from rejoinder.abc import Prompt, TextChunk, UsageChunk
from rejoinder.chat.context import estimated_usage
from rejoinder.chat.models import Models
from rejoinder.entities import JsonObject, Usage
from rejoinder.errors import ProviderError

THINKING = 40
"""Times as much as the answer may take is what a model that thinks aloud may say before it."""


class Answer(Struct, frozen=True):
    text: str
    usage: Usage


async def answer_aside(
    models: Models, model: str, messages: tuple[JsonObject, ...], params: JsonObject, *, most: int, seconds: float
) -> Answer:
    """What the model says, without what it thinks aloud, or its first `most` code points: then it is made to stop. Raises ProviderError.

    Of `params`, those of the conversation, it is asked with what is the upstream's own. The limit is the service's, since parameters
    that set one are refused by some models.
    """
    provider, name = models.resolve(model)
    text, told = "", None
    try:
        async with asyncio.timeout(seconds):
            asked = await provider.prepare(
                Prompt(model=name, messages=messages, params=models.extras(provider, params))
            )
            async with aclosing(provider.stream(asked)) as reads:
                async for chunks in reads:
                    text += "".join(
                        chunk.text for chunk in chunks if isinstance(chunk, TextChunk) and chunk.part == "content"
                    )
                    told = next((chunk.usage for chunk in chunks if isinstance(chunk, UsageChunk)), told)
                    if len(text) > most and (len(without_thoughts(text)) > most or len(text) > THINKING * most):
                        break
    except TimeoutError:
        raise ProviderError("upstream_timeout", f"The upstream gave no whole answer within {seconds:g} s.") from None
    return Answer(without_thoughts(text)[:most].strip(), told or estimated_usage(asked.messages, len(text)))


def without_thoughts(text: str) -> str:
    """What is left of a text that may begin with thoughts between `<think>` and `</think>`, or hold nothing else yet."""
    return re.sub(r"<think>.*?(</think>|$)", "", text, flags=re.DOTALL) if "<think>" in text else text
