"""What was sent upstream for a reply, told again: the very bytes, made from the log as they were made then.

The digest in the log says whether they are the same. They are not where a later version of the service words a request
otherwise, and then this says so.
"""

from collections.abc import AsyncIterator

import msgspec
from msgspec import Struct

from rejoinder.abc import Prompt, Row
from rejoinder.chat import prompt
from rejoinder.chat.decisions import Decisions
from rejoinder.chat.history import History
from rejoinder.chat.models import Models
from rejoinder.chat.starting import Starting
from rejoinder.entities import JsonObject, Key, Message, Status
from rejoinder.errors import Invalid, NotAReply
from rejoinder.events import PromptSent, prompt_sent

UNRECORDED = (Status.STREAMING, Status.INTERRUPTED)
"""Statuses in which the record of the last attempt may not be there, though it was made."""


class LeftOut(Struct, frozen=True):
    message_id: str
    reason: str


class AskedPrompt(Struct, frozen=True, kw_only=True):
    """One attempt. `request` is the body that was sent; `exact` says that these are its very bytes, by their `sha256`.

    A record is committed with the first words of its reply. Before that, and where a crash came before them, there is no
    `sha256`, and `request` is what would be sent now.
    `left_out` are the messages of the branch that were not sent, and why: a reply that ended before its first word is
    `empty`.
    """

    attempt: int
    model: str
    request: msgspec.Raw
    sha256: str | None
    exact: bool
    left_out: tuple[LeftOut, ...] = ()


class AskedPrompts(Struct, frozen=True, kw_only=True):
    """Of all attempts at a reply, in order. None yet where it is queued."""

    message_id: str
    data: list[AskedPrompt]


class AskedPromptsReader:
    def __init__(self, decisions: Decisions, history: History, models: Models, starting: Starting) -> None:
        self._decisions = decisions
        self._history = history
        self._starting = starting
        self._models = models

    async def of(self, key: Key, message_id: str) -> AskedPrompts:
        """Raises SessionNotFound, MessageNotFound and NotAReply."""
        reply = await self._history.message(key, message_id)
        if reply.role != "assistant":
            raise NotAReply(message_id)
        row = await self._history.row(key, message_id)
        above = await self._history.above(key, reply)
        told = [self._told(sent, above) async for sent in self._sent(key, row)]
        if reply.status in UNRECORDED and len(reply.attempts) > (told[-1].attempt if told else 0):
            told.append(self._told(await self._unrecorded(key, reply), above))
        return AskedPrompts(message_id=message_id, data=told)

    async def _unrecorded(self, key: Key, reply: Message) -> PromptSent:
        """What the last attempt was, or is to be, asked with, as far as can be told without a record."""
        asked = await self._starting.created(key, reply.id)
        model = reply.attempts[-1].model
        session = (await self._decisions.header(key)).session
        try:
            _, upstream_model = self._models.resolve(model)
        except Invalid:  # it was asked elsewhere
            upstream_model = model
        return PromptSent(
            message_id=reply.id,
            attempt=len(reply.attempts),
            model=model,
            upstream_model=upstream_model,
            system_prompt=session.system_prompt,
            prefill=str(reply.content),
            params=asked.params,
            sha256="",
        )

    async def _sent(self, key: Key, row: Row) -> AsyncIterator[PromptSent]:
        async for event in self._history.events_of(key, row):
            if (sent := prompt_sent(event)) is not None:
                yield sent

    def _told(self, sent: PromptSent, above: list[Message]) -> AskedPrompt:
        messages = prompt.worded(above, sent.system_prompt, sent.prefill)
        body = self._body(sent, messages)
        digest = prompt.digest(body)
        left_out = tuple(LeftOut(message.id, "empty") for message in above if prompt.is_empty(message))
        return AskedPrompt(
            attempt=sent.attempt,
            model=sent.model,
            request=msgspec.Raw(body),
            sha256=sent.sha256 or None,
            exact=digest == sent.sha256,
            left_out=left_out,
        )

    def _body(self, sent: PromptSent, messages: tuple[JsonObject, ...]) -> bytes:
        asked = Prompt(model=sent.upstream_model, messages=messages, params=prompt.upstream_params(sent.params))
        try:
            provider, _ = self._models.resolve(sent.model)
        except Invalid:
            # The model has left the settings since. What every provider is asked in is close to it.
            return msgspec.json.encode({"model": asked.model, "messages": asked.messages, **asked.params})
        return provider.body(asked)
