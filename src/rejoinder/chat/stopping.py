"""Stopping: a durable event first, then the end, which the reply's owner appends; the answer comes when that stands.

A queued reply has no owner: it is ended with the stop.
"""

from msgspec import structs

from rejoinder.chat.decisions import Decision, Decisions, change
from rejoinder.chat.endings import Ending, Endings, unasked
from rejoinder.chat.following import Following
from rejoinder.chat.history import History
from rejoinder.chat.starting import Starting
from rejoinder.entities import Header, Key, Message, OpenReply, Status
from rejoinder.errors import NotAReply
from rejoinder.events import MessageStopping, draft


class Stopping:
    def __init__(
        self, decisions: Decisions, history: History, following: Following, starting: Starting, endings: Endings
    ) -> None:
        self._decisions = decisions
        self._history = history
        self._following = following
        self._starting = starting
        self._endings = endings

    async def stop(self, key: Key, message_id: str) -> Message:
        """Ends a reply and returns it once it has ended; one that had ended is returned unchanged.

        Raises SessionNotFound, MessageNotFound and NotAReply.
        """
        return await self.ended(key, message_id, await self.order(key, message_id))

    async def order(self, key: Key, message_id: str) -> int | None:
        """Asks for the end of a reply, durably; one that is still queued it ends. Returns the seq behind which its end is to come,
        None where it has ended. Raises SessionNotFound.
        """
        header = await self._decisions.header(key)
        reply = header.open_reply(message_id)
        if reply is not None and reply.status is Status.QUEUED:
            await self._end_queued(key, message_id)
        after = await self._ask_for_the_end(key, message_id)
        if after is None:
            # It has ended, or somebody else has asked for it: the store says, and behind which seq its end then is.
            header = await self._decisions.header(key)
            after = header.session.last_seq if header.open_reply(message_id) is not None else None
        return after

    async def ended(self, key: Key, message_id: str, after: int | None) -> Message:
        """The reply once it has ended, which it does behind the seq `after`, as `order` has it.

        Raises SessionNotFound, MessageNotFound and NotAReply.
        """
        if after is not None:
            await self._following.ended(key, message_id, after)
        message = await self._history.message(key, message_id)
        if message.role != "assistant":
            raise NotAReply(message_id)
        return message

    async def _end_queued(self, key: Key, message_id: str) -> None:
        """Ends a reply that is still queued. One that has started meanwhile is left as it is."""

        async def plan(header: Header, reply: OpenReply) -> Ending | None:
            if reply.status is not Status.QUEUED:
                return None
            created = await self._starting.created(key, message_id)
            now = self._decisions.now(header.session)
            return Ending(drafts=unasked(created.message, now), now=now)

        await self._endings.end(key, message_id, plan, pressing=True)

    async def _ask_for_the_end(self, key: Key, message_id: str) -> int | None:
        """Appends the order to stop, where it is not there yet, and then returns its seq."""

        async def plan(header: Header) -> Decision[None]:
            reply = header.open_reply(message_id)
            if reply is None or reply.stopping:
                return Decision(None)
            open_replies = tuple(
                structs.replace(other, stopping=True) if other.id == message_id else other for other in header.open
            )
            said = draft(MessageStopping(message_id=message_id))
            return Decision(None, change(key, header, header.session, (said,), open_replies=open_replies))

        return (await self._decisions.decide(key, plan)).first or None
