"""The append of a turn: what a client said, the reply to it, and what is asked upstream for that, made while it is committed."""

import logging
from collections.abc import Sequence
from functools import partial

from msgspec import structs

from rejoinder.abc import NewRow, Row
from rejoinder.chat.accepting import Acceptance
from rejoinder.chat.asked import Turn
from rejoinder.chat.branch_end import Tip
from rejoinder.chat.decisions import Decision, change
from rejoinder.chat.history import NEVER
from rejoinder.chat.prompts import Asking, Prompts
from rejoinder.chat.starting import Start, Starting, continuing
from rejoinder.entities import Header, Key, Message, OpenReply, Status
from rejoinder.events import MessageCreated, draft

log = logging.getLogger(__name__)


class Turns:
    def __init__(self, starting: Starting, prompts: Prompts) -> None:
        self._starting = starting
        self._prompts = prompts

    def begun(
        self,
        key: Key,
        header: Header,
        accepted: Acceptance,
        created: tuple[MessageCreated, ...],
        rows: tuple[NewRow, ...],
        message: Message,
        source: Message | None = None,
    ) -> Decision[Turn]:
        """The append of a turn. Where nothing blocks it, it also says that the upstream is asked: before it is.

        What the upstream will be asked is made while the append is committed.
        """
        asked = created[-1]
        reply, start = asked.message, None
        drafts = (*accepted.drafts, *map(draft, created))
        mine = OpenReply(id=reply.id, status=Status.QUEUED)
        if accepted.status is Status.STREAMING:
            begins = continuing(reply, source) if source else reply
            start, begun = self._starting.begin(begins, asked.models, asked.params)
            mine, drafts = start.mine, (*drafts, *begun)
        session = structs.replace(header.session, head=reply.id, updated_at=reply.created_at)
        append = change(
            key,
            header,
            session,
            drafts,
            open_replies=(*accepted.open, mine),
            created=rows,
            ended=accepted.ended,
        )
        made = frozenset(fact.message.id for fact in created)
        turn = Turn(message=message, reply=reply, after=0, message_ids=made, start=start)
        if start is None:
            return Decision(turn, append)
        asking = Asking(
            model=start.models[0],
            params=start.params,
            system_prompt=session.system_prompt,
            prefill=str(start.reply.content),
        )
        return Decision(turn, append, partial(self._with_prompt, key, turn, start, _tip(created, rows), asking))

    async def _with_prompt(self, key: Key, turn: Turn, start: Start, tip: Tip, asking: Asking) -> Turn:
        try:
            composed = await self._prompts.compose_early(key, tip, asking)
        except Exception as fault:  # noqa: BLE001 - the reply is owed, and whoever writes it meets the same and tells it
            log.info("the prompt of reply %s was not made early: %r", turn.reply.id, fault)
            return turn
        return structs.replace(turn, start=structs.replace(start, composed=composed))


def _tip(created: Sequence[MessageCreated], rows: Sequence[NewRow]) -> Tip:
    """The end of a branch that is about to be committed: a reply, and the messages above it that come with it."""
    *above, row = (
        Row(id=new.id, parent_id=new.parent_id, lane=new.lane, depth=new.depth, created=NEVER, ended=None)
        for new in rows
    )
    return Tip(row=row, rows=tuple(above), messages=tuple(said.message for said in created[:-1]))
