"""Recovery: replies whose worker is dead are ended by whoever finds them, with every character that was committed.

A reply is an orphan when no lease holds its epoch; from then on its old owner can write no more. So the fold of its
events is all there will ever be of it.
"""

import logging

from rejoinder.chat import prompt
from rejoinder.chat.decisions import Decision, Decisions
from rejoinder.chat.endings import end, ended_reply, estimated_usage, interrupted, stopped
from rejoinder.chat.history import History
from rejoinder.entities import Header, Key, Message, OpenReply, Usage
from rejoinder.errors import SessionNotFound
from rejoinder.fold import ReplyText

log = logging.getLogger(__name__)

SWEEP = 100
"""Orphans that are read at a time."""


class Recovery:
    def __init__(self, decisions: Decisions, history: History) -> None:
        self._decisions = decisions
        self._history = history

    async def sweep(self) -> int:
        """Ends every orphan and returns how many there were."""
        store, ended = self._decisions.store, 0
        await store.revoke_expired()
        while orphans := await store.orphans(SWEEP):
            for key, reply in orphans:
                await self.end(key, reply)
                ended += 1
        if ended:
            log.warning("ended %d replies that an earlier run of the service had left", ended)
        return ended

    async def end(self, key: Key, orphan: OpenReply) -> None:
        """Ends a reply that nobody writes any more, unless it has ended or another worker has taken it."""

        async def plan(header: Header) -> Decision[None]:
            reply = header.open_reply(orphan.id)
            if reply is None or reply.epoch != orphan.epoch:
                return Decision(None)
            written = await self._history.folded(key, await self._history.row(key, orphan.id))
            outcome = stopped() if reply.stopping else interrupted()
            usage = await self._usage(key, written, header)
            return Decision(
                None, end(key, header, ended_reply(written, outcome, usage, self._decisions.now(header.session)))
            )

        try:
            await self._decisions.decide(key, plan)
        except SessionNotFound:
            log.info("session %s was deleted before its reply was recovered", key.session_id)

    async def _usage(self, key: Key, written: Message, header: Header) -> Usage:
        asked = await prompt.prompt_messages(self._history, key, written, header.session.system_prompt)
        return estimated_usage(asked, ReplyText.of(written).size)
