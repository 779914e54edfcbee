"""A reply that has not ended, as a copy of its session has it: interrupted where it is, with what it has cost by estimate."""

from rejoinder.abc import Row
from rejoinder.chat import context, wording
from rejoinder.chat.endings import NOTHING, Outcome, ended_reply
from rejoinder.chat.history import NEVER, History
from rejoinder.chat.prompts import Prompts
from rejoinder.entities import Key, Message, ReplyError, Session, Status, Usage
from rejoinder.events import MessageDelta, PromptSent, fact, note


class Unfinished:
    def __init__(self, history: History, prompts: Prompts) -> None:
        self._history = history
        self._prompts = prompts

    async def as_interrupted(
        self, key: Key, written: Message, row: Row, session: Session, why: ReplyError, at: str, seq: int = NEVER
    ) -> Message:
        """A reply as it is `written` by its events up to `seq`, ended `at` this time with this error, its last attempt as well."""
        usage = await self._usage(key, written, row, session, seq)
        return ended_reply(written, Outcome(status=Status.INTERRUPTED, error=why), usage, at)

    async def _usage(self, key: Key, written: Message, row: Row, session: Session, seq: int) -> Usage:
        """An estimate of all attempts that have written anything, and of the last one."""
        if not written.attempts:
            return NOTHING
        asked: list[PromptSent] = []
        text = 0
        async for event in self._history.events_of(key, row, seq):
            match note(event) or fact(event):
                case PromptSent() as sent:
                    asked.append(sent)
                case MessageDelta(text=said) if asked:  # what stands before was another reply's
                    text += len(said)
        prompts = [(await self._prompts.again(key, written, sent))[0] for sent in asked]
        if not asked or asked[-1].attempt < len(written.attempts):
            above = await self._history.plain(key, await self._history.rows_above(key, row))
            messages, _ = wording.worded(above)
            prompts.append(wording.framed(messages, session.system_prompt, None, ""))
        return context.estimated_usage([message for prompt in prompts for message in prompt], text)
