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
    """An attempt as the log tells it: with what it was asked, if that is known, and the code points that it said."""

    model: str
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
        """An estimate of the attempts that have said something, and of the last: nobody knows any more what upstreams counted."""
        params: JsonObject = {}
        attempts: list[_Attempt] = []
        async for event in self._history.events_of(key, row, seq):
            match note(event) or fact(event):
                case MessageCreated(params=asked):
                    params = asked
                case MessageStarted(model=model):
                    attempts.append(_Attempt(model))
                case PromptSent() as sent if attempts:
                    attempts[-1].sent = sent
                # What stands before it was sent was another reply's.
                case MessageDelta(text=text) if attempts and attempts[-1].sent:
                    attempts[-1].size += len(text)
        usages = []
        for attempt in attempts:
            if attempt.size or attempt is attempts[-1]:
                asking = Asking(model=attempt.model, params=params, system_prompt=session.system_prompt)
                usages.append(await self._prompts.estimated_usage(key, written, attempt.sent, asking, attempt.size))
        return total(usages)
