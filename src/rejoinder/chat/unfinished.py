"""A reply that has not ended: what it has cost by estimate, for whoever ends it in the place of its worker or copies its session."""

from msgspec import Struct

from rejoinder.abc import Row
from rejoinder.chat.endings import Outcome, ended_reply
from rejoinder.chat.history import NEVER, History
from rejoinder.chat.prompts import Asking, Prompts
from rejoinder.chat.spending import total
from rejoinder.entities import JsonObject, Key, Message, ReplyError, Session, Status, Usage
from rejoinder.events import MessageCreated, MessageDelta, MessageStarted, PromptSent, fact, note


class _Attempt(Struct):
    """An attempt as the log tells it, with what those `before` it have cost, what it was `sent`, if that is known, and the code points
    that it said."""

    model: str
    before: Usage | None
    sent: PromptSent | None = None
    size: int = 0


class Unfinished:
    def __init__(self, history: History, prompts: Prompts) -> None:
        self._history = history
        self._prompts = prompts

    async def as_interrupted(
        self, key: Key, written: Message, row: Row, session: Session, why: ReplyError, at: str, seq: int = NEVER
    ) -> Message:
        """A reply as it is `written` by its events up to `seq`, ended `at` this time with this error, its last attempt as well."""
        usage = await self.spent(key, written, row, session, seq)
        return ended_reply(written, Outcome(status=Status.INTERRUPTED, error=why), usage, at)

    async def spent(self, key: Key, written: Message, row: Row, session: Session, seq: int = NEVER) -> Usage:
        """What the log says of all attempts but the last, and an estimate of that: nobody knows any more what its upstream counted."""
        params: JsonObject = {}
        last: _Attempt | None = None
        async for event in self._history.events_of(key, row, seq):
            match note(event) or fact(event):
                case MessageCreated(params=asked):
                    params = asked
                case MessageStarted(model=model, spent=before):
                    last = _Attempt(model, before)
                case PromptSent() as sent if last:
                    last.sent = sent
                # What stands before it was sent was another reply's.
                case MessageDelta(text=text) if last and last.sent:
                    last.size += len(text)
        if last is None:
            return total([])
        asking = Asking(model=last.model, params=params, system_prompt=session.system_prompt)
        usage = await self._prompts.estimated_usage(key, written, last.sent, asking, last.size)
        return total([last.before, usage] if last.before else [usage])
