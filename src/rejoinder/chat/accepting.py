"""Accepting a reply: at once where its branch is free, else as `if_busy` says, decided with the send itself.

`reject` refuses. `queue` lets the reply wait for the end of what runs. `interrupt` asks for that end, drops what waited
for it, and lets the reply wait for the little while that it takes.
"""

from typing import Literal, TypeAlias

from msgspec import Struct, structs

from rejoinder.abc import EndedRow, Row
from rejoinder.chat import queue
from rejoinder.chat.decisions import Decisions
from rejoinder.chat.endings import unasked
from rejoinder.chat.starting import Starting
from rejoinder.entities import Header, Key, OpenReply, Status
from rejoinder.errors import QueueFull, SessionBusy
from rejoinder.events import Draft, MessageStopping, draft

IfBusy: TypeAlias = Literal["reject", "queue", "interrupt"]


class Acceptance(Struct, frozen=True, kw_only=True):
    """How a reply may begin, and what must happen to others in the same append."""

    status: Status
    open: tuple[OpenReply, ...]
    drafts: tuple[Draft, ...] = ()
    ended: tuple[EndedRow, ...] = ()


class Accepting:
    """`max_queue`: queued replies that a session may have."""

    def __init__(self, decisions: Decisions, starting: Starting, max_queue: int) -> None:
        self._decisions = decisions
        self._store = decisions.store
        self._starting = starting
        self._max_queue = max_queue

    async def accept(
        self, key: Key, header: Header, if_busy: IfBusy, above: Row | None, answers: str | None = None
    ) -> Acceptance:
        """For a reply below the message `above`, which answers it if that is `answers`. Raises SessionBusy and QueueFull."""
        blocking = await queue.blockers(self._store, key, header.open, above, answers)
        if not blocking:
            return Acceptance(status=Status.STREAMING, open=header.open)
        if if_busy == "reject":
            running = next((reply for reply in blocking if reply.status is Status.STREAMING), blocking[0])
            raise SessionBusy(
                "A reply on this branch has not ended.",
                reply_id=running.id,
                events=f"/v1/sessions/{key.session_id}/messages/{running.id}/events",
            )
        accepted = Acceptance(status=Status.QUEUED, open=header.open)
        if if_busy == "interrupt":
            accepted = await self._interrupted(key, header, blocking)
        if sum(reply.status is Status.QUEUED for reply in accepted.open) >= self._max_queue:
            raise QueueFull(f"A session may have {self._max_queue} queued replies.")
        return accepted

    async def _interrupted(self, key: Key, header: Header, blocking: list[OpenReply]) -> Acceptance:
        behind = await queue.waiting_for(self._store, key, header.open, blocking)
        queued = {reply.id for reply in (*blocking, *behind) if reply.status is Status.QUEUED}
        running = {reply.id for reply in blocking} - queued
        drafts: list[Draft] = [
            draft(MessageStopping(message_id=reply.id))
            for reply in header.open
            if reply.id in running and not reply.stopping
        ]
        ended: list[EndedRow] = []
        for reply in header.open:
            if reply.id in queued:
                created = await self._starting.created(key, reply.id)
                now = self._decisions.now(header.session)
                drafts += unasked(created.message, now)
                ended.append(EndedRow(id=reply.id, at=len(drafts) - 1, ended_at=now))
        left = tuple(
            structs.replace(reply, stopping=reply.stopping or reply.id in running)
            for reply in header.open
            if reply.id not in queued
        )
        status = Status.QUEUED if running else Status.STREAMING
        return Acceptance(status=status, open=left, drafts=tuple(drafts), ended=tuple(ended))
