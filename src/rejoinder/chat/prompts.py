"""What goes upstream for a reply: as much of the branch above it as the model's window takes, by the policy of the session.

Messages that have ended never change. So the log keeps of a prompt what they do not say (the system prompt, parameters, where
it began, the text to go on from) and a digest of the very bytes, and the whole is made again when somebody asks for it.
"""

import logging
from typing import Literal, TypeAlias

from msgspec import Struct, structs

from rejoinder.abc import Row
from rejoinder.chat import context, wording
from rejoinder.chat.branch_end import SURE, BranchEnd, Tip, counted, read_end
from rejoinder.chat.decisions import Decisions
from rejoinder.chat.history import History
from rejoinder.chat.models import Models
from rejoinder.chat.summaries import Summaries, Summary, size_for
from rejoinder.chat.wording import LeftOut
from rejoinder.entities import JsonObject, Key, Message, Usage
from rejoinder.errors import ProviderError
from rejoinder.events import PromptSent

log = logging.getLogger(__name__)

Policy: TypeAlias = Literal["drop_oldest", "error", "summarise"]


class Shorter(Struct, frozen=True):
    """A `share` of the tokens of the prompt that began with the message `first` (None: of the whole branch)."""

    share: float
    first: str | None


class Asking(Struct, frozen=True, kw_only=True):
    """What a prompt is made of beside the messages. `shorter`: than one that an upstream refused as too long."""

    model: str
    params: JsonObject
    system_prompt: str | None = None
    prefill: str = ""
    shorter: Shorter | None = None

    @property
    def policy(self) -> Policy:
        chosen: Policy = self.params.get("context") or "drop_oldest"
        return chosen


class Composed(Struct, frozen=True, kw_only=True):
    """A prompt, and what it was made for. `first`, `also` and `summary` are as in PromptSent."""

    asking: Asking
    messages: tuple[JsonObject, ...]
    first: str | None = None
    also: str | None = None
    summary: int = 0


class Prompts:
    def __init__(self, decisions: Decisions, history: History, models: Models) -> None:
        self._history = history
        self._models = models
        self._summaries = Summaries(decisions, history, models)

    async def compose(self, key: Key, reply: Message, asking: Asking, *, summarise: bool = True) -> Composed:
        """The prompt for a reply as the policy has it. Without `summarise` no summary is made, but one that is there is used.

        Raises ProviderError: `context_overflow` where the policy is `error` and not all of it fits.
        """
        row = await self._history.row(key, reply.id)
        room = self._room(asking)
        end = await read_end(self._history, key, Tip(row=row), room)
        fixed = _fixed(asking)
        if asking.shorter is None and _fits_surely(end, fixed, room):
            return _composed(end, asking, context.Kept(0), None)
        end, fixed = await counted(self._history, self._summaries, key, end, asking.model, fixed)
        room = _bounded(room, asking, end, fixed)
        if end.whole and end.total + fixed <= room:
            return _composed(end, asking, context.Kept(0), None)
        if asking.policy == "error":
            raise ProviderError(
                "context_overflow",
                f"The conversation takes {'' if end.whole else 'more than '}{end.total + fixed} tokens, and there is room for {room:.0f}.",
            )
        summary: Summary | None = None
        if asking.policy == "summarise":
            summary, end = await self._summarised(key, row, reply, asking, end, room - fixed, make=summarise)
            fixed += context.fixed(None, {}, summary.text) if summary else 0
        return _composed(end, asking, context.fitting(end.messages, end.costs, room - fixed), summary)

    async def compose_early(self, key: Key, tip: Tip, asking: Asking) -> Composed | None:
        """The prompt for a reply that is about to be committed. None where it takes more to know than that all of the branch fits."""
        room = self._room(asking)
        end = await read_end(self._history, key, tip, room)
        fits = _fits_surely(end, _fixed(asking), room)
        return _composed(end, asking, context.Kept(0), None) if fits else None

    async def again(self, key: Key, reply: Message, sent: PromptSent) -> tuple[tuple[JsonObject, ...], list[LeftOut]]:
        """The messages of a prompt that was sent, from its record, and what of the branch was left out."""
        rows = await self._history.rows_above(key, await self._history.row(key, reply.id))
        places = {row.id: at for at, row in enumerate(rows)}
        first = places[sent.first] if sent.first else 0
        also = [rows[places[sent.also]]] if sent.also else []
        summary = await self._summaries.at(key, sent.summary) if sent.summary else None
        told = places.get(summary.until, -1) if summary else -1
        before = [
            LeftOut(row.id, wording.SUMMARISED if at <= told else wording.CONTEXT)
            for at, row in enumerate(rows[:first])
            if row not in also
        ]
        said, left_out = wording.worded(await self._history.plain(key, [*also, *rows[first:]]))
        messages = wording.framed(said, sent.system_prompt, summary.text if summary else None, sent.prefill)
        return messages, before + left_out

    async def estimated_usage(
        self, key: Key, reply: Message, sent: PromptSent | None, asking: Asking, text: int
    ) -> Usage:
        """Of a reply of `text` code points whose upstream has told nothing and is not there to be asked."""
        if sent is not None:
            messages, _ = await self.again(key, reply, sent)
        else:
            if asking.policy == "error":  # which is for who asks an upstream
                asking = structs.replace(asking, params={**asking.params, "context": None})
            messages = (await self.compose(key, reply, asking, summarise=False)).messages
        return context.estimated_usage(messages, text, asking.params)

    def _room(self, asking: Asking) -> float | None:
        """Tokens for the prompt, None where nobody knows the model's window."""
        window = self._models.window(asking.model)
        return None if window is None else window - context.for_reply(window, asking.params)

    async def _summarised(
        self, key: Key, row: Row, reply: Message, asking: Asking, end: BranchEnd, room: float, *, make: bool
    ) -> tuple[Summary | None, BranchEnd]:
        """The summary to send, and the messages behind what it tells."""
        summary = await self._summaries.latest(key, [row, *(end.rows[at] for at in end.replies())])
        told = (await self._history.row(key, summary.until)).depth if summary else -1
        behind = end.behind(told)
        if summary and behind.whole and behind.total <= room - context.fixed(None, {}, summary.text):
            return summary, behind
        # More is summarised than must be, so that not every further turn asks for it again.
        kept = context.fitting(behind.messages, behind.costs, (room - size_for(room)) / 2)
        upto = behind.rows[kept.first] if behind.rows else row
        if not make or upto.depth <= told + 1:
            return summary, behind
        older = await self._history.plain(key, await self._history.rows_above(key, upto, told + 1))
        try:
            summary = await self._summaries.extended(key, reply, asking.model, asking.params, summary, older, room)
        except ProviderError as fault:
            # The reply matters more: it is asked for with what fits, and the next one tries again.
            log.warning("no summary for reply %s: %s", reply.id, fault.detail)
            return summary, behind
        return summary, end.behind(upto.depth - 1)


def _fixed(asking: Asking) -> int:
    return context.fixed(asking.system_prompt, asking.params, asking.prefill)


def _fits_surely(end: BranchEnd, fixed: int, room: float | None) -> bool:
    return end.whole and (room is None or (end.total + fixed) * SURE <= room)


def _bounded(room: float | None, asking: Asking, end: BranchEnd, fixed: int) -> float:
    """The room that there is, or less where a prompt of so many tokens by the same count was too long."""
    bounds = [] if room is None else [room]
    if asking.shorter is not None:
        ids = [row.id for row in end.rows]
        first = ids.index(asking.shorter.first) if asking.shorter.first in ids else 0
        bounds.append((fixed + sum(end.costs[first:])) * asking.shorter.share)
    return min(bounds)


def _composed(end: BranchEnd, asking: Asking, kept: context.Kept, summary: Summary | None) -> Composed:
    said, _ = wording.worded(kept.of(end.messages))
    all_of_it = kept.first == 0 and end.whole and summary is None
    return Composed(
        asking=asking,
        messages=wording.framed(said, asking.system_prompt, summary.text if summary else None, asking.prefill),
        first=None if all_of_it or not end.rows else end.rows[kept.first].id,
        also=None if kept.also is None else end.rows[kept.also].id,
        summary=summary.seq if summary else 0,
    )
