"""What was sent upstream for a reply, told again: the very bytes, made from the log as they were made then.

The digest in the log says whether they are the same. They are not where a later version of the service words a request
otherwise, and then this says so.
"""

import msgspec
from msgspec import Struct, structs

from rejoinder.abc import Prompt
from rejoinder.chat import prompt_record
from rejoinder.chat.decisions import Decisions
from rejoinder.chat.history import History
from rejoinder.chat.models import Models
from rejoinder.chat.prompts import Asking, Composed, Prompts
from rejoinder.chat.starting import Starting
from rejoinder.chat.wording import LeftOut
from rejoinder.entities import JsonObject, Key, Message, Status
from rejoinder.errors import Invalid, NotAReply, ProviderError
from rejoinder.events import PromptSent

UNRECORDED = (Status.STREAMING, Status.INTERRUPTED)
"""Statuses in which the record of the last attempt may not be there, though it was made."""


class AskedPrompt(Struct, frozen=True, kw_only=True):
    """One attempt. `request` is the body that was sent; `exact` says that these are its very bytes, by their `sha256`.

    A record is committed with the first words of its reply. Before that, and where a crash came before them, there is no
    `sha256`, and `request` is what would be sent now.
    `left_out` are the messages of the branch that were not sent, and why.
    """

    attempt: int
    model: str
    request: msgspec.Raw
    sha256: str | None
    exact: bool
    left_out: tuple[LeftOut, ...] = ()


class AskedPrompts(Struct, frozen=True, kw_only=True):
    """Of all attempts at a reply, in order. None yet where it is queued, and none of a copy: the log has not come with it."""

    message_id: str
    data: list[AskedPrompt]


class AskedPromptsReader:
    def __init__(
        self, decisions: Decisions, history: History, models: Models, starting: Starting, prompts: Prompts
    ) -> None:
        self._decisions = decisions
        self._history = history
        self._starting = starting
        self._models = models
        self._prompts = prompts

    async def of(self, key: Key, message_id: str) -> AskedPrompts:
        """Raises SessionNotFound, MessageNotFound and NotAReply."""
        reply = await self._history.message(key, message_id)
        if reply.role != "assistant":
            raise NotAReply(message_id)
        row = await self._history.row(key, message_id)
        told = [await self._told(key, reply, sent) async for sent in self._history.prompts_sent(key, row)]
        unrecorded = reply.status in UNRECORDED and len(reply.attempts) > (told[-1].attempt if told else 0)
        if unrecorded and await self._history.is_told(key, row):
            told.append(await self._told(key, reply, await self._unrecorded(key, reply)))
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
        asking = Asking(
            model=model, params=asked.params, system_prompt=session.system_prompt, prefill=str(reply.content)
        )
        try:
            composed = await self._prompts.compose(key, reply, asking, summarise=False)
        except (ProviderError, Invalid):  # it does not fit and must, or the model is not here: nothing is sent
            composed = Composed(asking=asking, messages=())
        sent = prompt_record.sent(b"", reply, upstream_model, composed)
        return structs.replace(sent, sha256="")

    async def _told(self, key: Key, reply: Message, sent: PromptSent) -> AskedPrompt:
        messages, left_out = await self._prompts.again(key, reply, sent)
        body = await self._body(sent, messages)
        digest = prompt_record.digest(body)
        return AskedPrompt(
            attempt=sent.attempt,
            model=sent.model,
            request=msgspec.Raw(body),
            sha256=sent.sha256 or None,
            exact=digest == sent.sha256,
            left_out=tuple(left_out),
        )

    async def _body(self, sent: PromptSent, messages: tuple[JsonObject, ...]) -> bytes:
        params = prompt_record.upstream_params(sent.params)
        asked = Prompt(model=sent.upstream_model, messages=messages, params=params)
        try:
            provider, _ = self._models.resolve(sent.model)
            asked = structs.replace(asked, params=self._models.taken(provider, params))
            return provider.body(await provider.prepare(asked))
        except (Invalid, ProviderError):
            # The model has left the settings since. What every provider is asked in is close to it.
            return msgspec.json.encode({"model": asked.model, "messages": asked.messages, **asked.params})
