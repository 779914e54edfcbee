"""The end of a branch, read from its newest message back as far as a prompt can reach, with what each message costs.

Where a reply on it has ended, its upstream has counted its prompt: that count is taken, and shared out among the messages of
that prompt by their sizes. What came since is estimated at the same rate; and a reply's own text as its upstream counted it.
"""

from collections.abc import Sequence

from msgspec import Struct, structs

from rejoinder.abc import Row
from rejoinder.chat import context
from rejoinder.chat.history import History
from rejoinder.chat.summaries import Summaries
from rejoinder.chat.wording import as_said
from rejoinder.entities import Key, Message
from rejoinder.events import PromptSent

PAGE = 100
"""Messages that are read at a time."""

SURE = 2.0
"""How far an estimate may be off: what is below the room by this factor fits without another look."""

LOWEST, HIGHEST = 0.25, 8.0
"""Between which a rate lies, whatever an upstream counts."""


class Tip(Struct, frozen=True, kw_only=True):
    """The row of a reply, and right above it, oldest first, messages that need not be read: perhaps they are not in the log yet."""

    row: Row
    rows: tuple[Row, ...] = ()
    messages: tuple[Message, ...] = ()


class BranchEnd(Struct, frozen=True, kw_only=True):
    """Rows and messages side by side, oldest first, and the tokens of each. `whole`: nothing of it lies before them."""

    rows: list[Row]
    messages: list[Message]
    costs: list[int]
    whole: bool

    @property
    def total(self) -> int:
        return sum(self.costs)

    def behind(self, depth: int) -> "BranchEnd":
        """What of it is deeper than `depth`, `whole` if all of that is here."""
        start = next((at for at, row in enumerate(self.rows) if row.depth > depth), len(self.rows))
        return BranchEnd(
            rows=self.rows[start:],
            messages=self.messages[start:],
            costs=self.costs[start:],
            whole=self.whole or self.rows[0].depth <= depth + 1,
        )

    def replies(self) -> list[int]:
        """The places of the replies, the newest first."""
        return [at for at in range(len(self.messages) - 1, -1, -1) if self.messages[at].role == "assistant"]


async def read_end(history: History, key: Key, tip: Tip, room: float | None) -> BranchEnd:
    """The branch above a reply: to more than `room` tokens by far, and to a message by the user, where a prompt can begin."""
    rows, messages = list(tip.rows), list(tip.messages)
    costs = _costs(messages)
    top = rows[0] if rows else tip.row
    asked = any(message.role == "user" for message in messages)
    if top.parent_id is not None:
        async for page, found in history.upwards(key, top, PAGE):
            rows[:0], messages[:0], costs[:0] = page, found, _costs(found)
            asked = asked or any(message.role == "user" for message in found)
            if room is not None and sum(costs) > room * SURE and asked:
                break
    return BranchEnd(rows=rows, messages=messages, costs=costs, whole=not rows or rows[0].depth == 0)


def _costs(messages: Sequence[Message]) -> list[int]:
    return [context.estimated(as_said(message)) for message in messages]


async def counted(
    history: History, summaries: Summaries, key: Key, end: BranchEnd, model: str, fixed: int
) -> tuple[BranchEnd, int]:
    """The same with costs by the count of the last reply of this model that has one, and `fixed` at that rate."""
    for at in end.replies():
        reply = end.messages[at]
        if reply.model == model and _has_count(reply):
            rate = await _rate(history, summaries, key, end, at)
            if rate is None:
                break
            costs = [round(cost * rate) for cost in end.costs]
            for place in end.replies():
                told = end.messages[place]
                if place >= at and told.usage is not None and _has_count(told) and not told.reasoning:
                    costs[place] = told.usage.output_tokens + context.EACH
            return structs.replace(end, costs=costs), round(fixed * rate)
    return end, fixed


async def _rate(history: History, summaries: Summaries, key: Key, end: BranchEnd, at: int) -> float | None:
    """Tokens by the count of the reply at this place for each of our estimate of its prompt; None where that cannot be told."""
    sent = _prompt(await history.first_notes(key, end.rows[at]))
    places = {row.id: place for place, row in enumerate(end.rows)}
    if sent is None or sent.prefill or (sent.first is None and not end.whole):
        return None
    if any(needed is not None and needed not in places for needed in (sent.first, sent.also)):
        return None
    first = places[sent.first] if sent.first else 0
    ours = sum(end.costs[first:at]) + (end.costs[places[sent.also]] if sent.also else 0)
    summary = await summaries.at(key, sent.summary) if sent.summary else None
    ours += context.fixed(sent.system_prompt, sent.params, summary.text if summary else "")
    usage = end.messages[at].usage
    assert usage is not None
    return min(HIGHEST, max(LOWEST, usage.input_tokens / max(1, ours)))


def _prompt(notes: Sequence[tuple[int, object]]) -> PromptSent | None:
    return next((said for _, said in notes if isinstance(said, PromptSent)), None)


def _has_count(reply: Message) -> bool:
    """Whether the upstream counted this reply, and nothing else is in the count."""
    usage = reply.usage
    return usage is not None and usage.source == "provider" and usage.input_tokens > 0 and len(reply.attempts) == 1
