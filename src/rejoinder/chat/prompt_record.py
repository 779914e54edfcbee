"""The record of a prompt, as an attempt makes it."""

import hashlib

from rejoinder.chat.prompts import Composed
from rejoinder.entities import JsonObject, Message
from rejoinder.events import PromptSent


def upstream_params(params: JsonObject) -> JsonObject:
    """Without what the service itself makes use of."""
    return {name: value for name, value in params.items() if name != "context"}


def digest(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


def sent(body: bytes, reply: Message, upstream_model: str, composed: Composed) -> PromptSent:
    """Of a prompt whose very bytes are `body`, for the last attempt at `reply`."""
    return PromptSent(
        message_id=reply.id,
        attempt=len(reply.attempts),
        model=reply.attempts[-1].model,
        upstream_model=upstream_model,
        system_prompt=composed.asking.system_prompt,
        prefill=composed.asking.prefill,
        params=composed.asking.params,
        sha256=digest(body),
        first=composed.first,
        also=composed.also,
        summary=composed.summary,
    )
