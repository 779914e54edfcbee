"""Recovery: replies whose worker is dead end, or go on, by whoever finds them, with every character that was committed.

A reply is an orphan when no lease holds its epoch; from then on its old owner can write no more. So the fold of its
events is all there will ever be of it. What becomes of it is a setting: it ends as interrupted, it is asked for anew, or
it goes on from its text where the model can.
"""

import asyncio
import logging
from collections.abc import Sequence
from typing import Literal, TypeAlias

from msgspec import structs

from rejoinder.chat.decisions import Decision, Decisions, change
from rejoinder.chat.endings import Ending, Endings, Outcome, ended_reply, interrupted, stopped
from rejoinder.chat.history import History
from rejoinder.chat.models import Models
from rejoinder.chat.starting import Start, Starting, goes_on
from rejoinder.chat.unfinished import Unfinished
from rejoinder.entities import Header, Key, OpenReply, Status
from rejoinder.errors import LeaseLost, NotFound, StoreUnavailable
from rejoinder.events import MessageEnded, draft
from rejoinder.fold import BrokenLog

log = logging.getLogger(__name__)

AfterCrash: TypeAlias = Literal["interrupt", "restart", "continue"]

SWEEP = 100
"""Orphans that are read at a time."""

TOGETHER = 8
"""Orphans that are recovered at a time: they share commits, and a store far away is waited for once. More would be in the way of replies
that are being written."""

Taken: TypeAlias = Decision[tuple[bool | None, list[Start]]]
"""Whether a reply was taken up, as `_take_up` has it, and what begins by that."""

MOST_ATTEMPTS = 5
"""Attempts after which a reply is not taken up any more: perhaps it is what brings the server down."""


class Recovery:
    def __init__(
        self,
        decisions: Decisions,
        history: History,
        models: Models,
        starting: Starting,
        unfinished: Unfinished,
        endings: Endings,
        after_crash: AfterCrash,
    ) -> None:
        self._decisions = decisions
        self._history = history
        self._models = models
        self._starting = starting
        self._unfinished = unfinished
        self._endings = endings
        self._after_crash = after_crash

    @property
    def goes_on(self) -> bool:
        """Whether replies go on under the next worker."""
        return self._after_crash != "interrupt"

    async def sweep(self, *, revoke: bool = True) -> int:
        """Ends every orphan, or takes it up, and returns how many it did so. A service that is about to stop leaves them.

        Without `revoke` those of leases that have run out, and were not given back, are not looked for yet.
        """
        if self._is_over():
            return 0
        store, found = self._decisions.store, 0
        left = set[tuple[Key, str]]()
        if revoke:
            await store.revoke_expired()
        while orphans := [
            (key, reply) for key, reply in await store.orphans(SWEEP + len(left)) if (key, reply.id) not in left
        ]:
            for at in range(0, len(orphans), TOGETHER):
                if self._is_over():
                    return found
                some = orphans[at : at + TOGETHER]
                not_recovered = await self._recover(some)
                found += len(some) - len(not_recovered)
                left |= not_recovered
        if found:
            log.warning("%d replies were left by a worker that is gone", found)
        return found

    def _is_over(self) -> bool:
        return self._starting.closed

    async def _recover(self, some: Sequence[tuple[Key, OpenReply]]) -> set[tuple[Key, str]]:
        """Returns those that were not recovered. Raises as `_recovered` once none of them is under way any more."""
        done = await asyncio.gather(*(self._recovered(key, reply) for key, reply in some), return_exceptions=True)
        for fault in done:
            if isinstance(fault, BaseException):
                raise fault
        return {(key, reply.id) for (key, reply), recovered in zip(some, done, strict=True) if not recovered}

    async def _recovered(self, key: Key, reply: OpenReply) -> bool:
        """False where there was nothing to recover, or a fault is in the way: the others are recovered all the same, and it perhaps at
        the next sweep. It would else be found in this one again and again."""
        try:
            taken = await self._take_up(key, reply)
            if taken is None and self._decisions.store.exclusive:
                log.warning("reply %s could not be recovered: its session knows nothing of it", reply.id)
            return taken is not None and (taken or await self.end(key, reply))
        except (StoreUnavailable, LeaseLost):
            raise
        except NotFound as missing:
            # Its session was deleted this very moment, or the store has lost a part of it.
            level = logging.WARNING if self._decisions.store.exclusive else logging.INFO
            log.log(level, "reply %s could not be recovered: %s", reply.id, missing.detail)
            return False
        except Exception:
            log.exception("reply %s could not be recovered", reply.id)
            return False

    async def end(self, key: Key, orphan: OpenReply, outcome: Outcome | None = None) -> bool:
        """Ends a reply that nobody writes any more, unless it has ended or another worker has taken it. Returns False where its
        session is gone.

        `outcome` says how where it was not the end of its worker. Of a reply whose log does not fold what folds is kept.
        """

        async def plan(header: Header, reply: OpenReply) -> Ending | None:
            if reply.epoch != orphan.epoch:
                return None
            row = await self._history.row(key, orphan.id)
            written = await self._history.folded(key, row, strict=False)
            said = stopped() if reply.stopping else outcome or interrupted()
            now = self._decisions.now(header.session)
            ended = ended_reply(written, said, await self._unfinished.spent(key, written, row, header.session), now)
            return Ending(drafts=(draft(MessageEnded(message=ended)),), now=now)

        # The others wait behind it: in a busy service each would wait for company of its own.
        there = await self._endings.end(key, orphan.id, plan, pressing=True)
        if not there:
            log.info("session %s was deleted before its reply was recovered", key.session_id)
        return there

    async def _take_up(self, key: Key, orphan: OpenReply) -> bool | None:
        """Goes on with a reply under our own lease. False where it must end instead, and None where another worker was faster.

        Raises NotFound.
        """

        async def plan(header: Header) -> Taken:
            reply = header.open_reply(orphan.id)
            if reply is None or reply.epoch != orphan.epoch:
                return Decision((None, []))
            if reply.stopping:
                return Decision((False, []))
            if reply.status is Status.QUEUED:
                return await self._queued(key, header, reply)
            return await self._anew(key, header, reply) if self.goes_on else Decision((False, []))

        taken, starts = (await self._decisions.decide(key, plan)).outcome
        for start in starts:
            self._endings.begin(key, start)
        return taken

    async def _queued(self, key: Key, header: Header, reply: OpenReply) -> Taken:
        """It was about to start: nothing stands before it, and what was accepted since waits for it."""
        open_replies, starts, drafts = await self._starting.next(key, header.open, [reply])
        append = change(key, header, header.session, tuple(drafts), open_replies=open_replies)
        return Decision((True, starts), append)

    async def _anew(self, key: Key, header: Header, reply: OpenReply) -> Taken:
        row = await self._history.row(key, reply.id)
        try:
            written = await self._history.folded(key, row)
        except BrokenLog:
            log.exception("the log of reply %s does not fold: it is not gone on with", reply.id)
            return Decision((False, []))
        if not written.attempts or len(written.attempts) >= MOST_ATTEMPTS:
            return Decision((False, []))
        asked = await self._starting.created(key, reply.id)
        models = self._models.known(_remaining(asked.models, written.attempts[-1].model))
        if not models:  # they have left the settings since: what there is of the reply is kept
            return Decision((False, []))
        # What goes on from another reply never begins anew: then it would not be that any more.
        wanted = self._after_crash == "continue" or written.continues is not None
        kept = goes_on(written, wanted and self._models.prefills(models[0]))
        if not kept and wanted:
            return Decision((False, []))
        spent = await self._unfinished.spent(key, written, row, header.session)
        if self._is_over():
            return Decision((True, []))  # it stays as it is, for whoever comes after
        *earlier, last = written.attempts
        left = structs.replace(written, attempts=(*earlier, structs.replace(last, error=interrupted().error)))
        start, drafts = self._starting.begin(left, models, asked.params, None if kept else "server_restarted", spent)
        open_replies = tuple(start.mine if other.id == reply.id else other for other in header.open)
        append = change(key, header, header.session, drafts, open_replies=open_replies)
        return Decision((True, [start]), append)


def _remaining(models: tuple[str, ...], current: str) -> tuple[str, ...]:
    """The models from the one that was being asked on."""
    return models[models.index(current) :] if current in models else models
