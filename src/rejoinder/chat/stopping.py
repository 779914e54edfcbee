"""Stopping: a durable event first, then the end, which the reply's owner appends; the answer comes when that stands."""

from msgspec import structs

from rejoinder.chat.decisions import Decision, Decisions, change
from rejoinder.chat.following import Following
from rejoinder.chat.history import History
from rejoinder.entities import Header, Key, Message
from rejoinder.errors import NotAReply, SessionGone, SessionNotFound
from rejoinder.events import MessageStopping, draft

FOREVER = 3600.0
"""Seconds between two looks at nothing: a stop waits for an event, not for a time."""


class Stopping:
    def __init__(self, decisions: Decisions, history: History, following: Following) -> None:
        self._decisions = decisions
        self._history = history
        self._following = following

    async def stop(self, key: Key, message_id: str) -> Message:
        """Ends a reply and returns it once it has ended; one that had ended is returned unchanged.

        Raises SessionNotFound, MessageNotFound and NotAReply.
        """

        async def plan(header: Header) -> Decision[Header]:
            reply = header.open_reply(message_id)
            if reply is None or reply.stopping:
                return Decision(header)
            open_replies = tuple(
                structs.replace(other, stopping=True) if other.id == message_id else other for other in header.open
            )
            said = draft(MessageStopping(message_id=message_id))
            return Decision(header, change(key, header, header.session, (said,), open_replies=open_replies))

        header = (await self._decisions.decide(key, plan)).outcome
        if header.open_reply(message_id) is not None:
            await self._ended(key, message_id, after=header.session.last_seq)
        message = await self._history.message(key, message_id)
        if message.role != "assistant":
            raise NotAReply(message_id)
        return message

    async def _ended(self, key: Key, message_id: str, after: int) -> None:
        try:
            async for frames in self._following.follow(key, after, {message_id}, idle=FOREVER):
                if any(frame.type == "message.ended" for frame in frames):
                    return
        except SessionGone as gone:
            raise SessionNotFound(key.session_id) from gone
