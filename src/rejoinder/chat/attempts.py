"""What follows a fault of an upstream: the same again, the next model, or the end. The one loop of retries there is.

The same request is made again only where the upstream cannot have begun a reply (refused, DNS, 429, 5xx before the first
byte), and only with the last model: where a session names others, the next is asked at once. Nothing is asked again after
a time-out of a request that was sent, since it may be answered, and billed, all the same. A prompt that was too long comes
once more, shorter: an upstream that refuses it has not begun.
"""

import random
from collections.abc import Callable

from msgspec import Struct

from rejoinder.errors import ProviderError

LONGEST_WAIT = 30.0
"""Seconds. An upstream that asks for more is not waited for: a person is waiting too."""

FINAL = frozenset({"upstream_timeout", "content_filtered", "reply_too_long"})
"""Codes after which no model is asked any more."""


class Retrying(Struct, frozen=True, kw_only=True):
    """`retries` of one model at most; `wait` seconds before the first, doubled from one to the next.

    Up to a half is added by chance, so that many replies that failed together do not come back together.
    """

    retries: int
    wait: float


SHORTER, NEARLY = 0.5, 0.9
"""A prompt that was too long comes again at half its length, or where the upstream told both at that of its window, nearly: what
is one token by our count may be two by its own."""


class Next(Struct, frozen=True):
    """Ask `models[0]`, after `wait` seconds, with `share` of the prompt."""

    models: tuple[str, ...]
    wait: float = 0.0
    share: float | None = None


def after(
    fault: ProviderError,
    models: tuple[str, ...],
    tries: int,
    retrying: Retrying,
    jitter: Callable[[], float] = random.random,
    *,
    shortens: bool = False,
) -> Next | None:
    """What follows a fault of `models[0]`, which has been asked `tries` times in a row. None: the reply ends.

    `shortens`: the prompt can be shortened, and has not been for this model.
    """
    if fault.code in FINAL:
        return None
    if fault.code == "context_overflow" and shortens:
        share = NEARLY * fault.window / fault.asked if fault.window and fault.asked else SHORTER
        return Next(models, share=share)
    if len(models) > 1:
        return Next(models[1:])
    if not fault.before_reply or tries > retrying.retries:
        return None
    wait = retrying.wait * 2 ** (tries - 1) * (1 + jitter() / 2)
    if fault.retry_after is not None:
        wait = max(wait, fault.retry_after)
    return Next(models, wait) if wait <= LONGEST_WAIT else None
