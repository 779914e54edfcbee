"""Sending: what a client asks for, and the reply that is to answer it, decided and appended as one.

A client sends a message, asks for another reply to one that is there, or lets a reply go on. A request that comes again,
with the same id and body, finds what the first one made and attaches to it, whatever has become of the reply since, and
before anything else is checked.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from msgspec import UNSET, Struct, UnsetType, structs

from rejoinder.abc import NewRow, Row
from rejoinder.chat import branches, ids
from rejoinder.chat.accepting import Acceptance, Accepting, IfBusy
from rejoinder.chat.decisions import Decision, Decisions, change
from rejoinder.chat.history import History
from rejoinder.chat.models import Models
from rejoinder.chat.starting import Start, Starting, broke_off_in_its_text, continuing
from rejoinder.entities import Header, JsonObject, Key, Message, OpenReply, Status
from rejoinder.errors import CannotContinue, IdempotencyMismatch, Invalid, NotAReply, Overloaded
from rejoinder.events import MessageCreated, draft, fact
from rejoinder.fold import siblings_of

ROOM_FOR_MORE = ("stopped", "interrupted", "failed")
"""Statuses of replies that broke off, so that they can go on; and `completed`, where it was for a limit of tokens."""


class Asked(Struct, frozen=True, kw_only=True):
    """What every request for a reply may say."""

    model: str | tuple[str, ...] | None = None
    params: JsonObject = {}
    metadata: dict[str, str] = {}
    if_busy: IfBusy = "reject"

    def hash(self) -> str:
        told = structs.asdict(self)
        return ids.request_hash({name: _plain(value) for name, value in told.items()} | {"kind": type(self).__name__})


class Send(Asked, frozen=True, kw_only=True):
    """A new message. `parent_id` is UNSET for the session's head, None for a message at the root."""

    content: str | tuple[JsonObject, ...]
    parent_id: str | UnsetType | None = UNSET


class AnotherReply(Asked, frozen=True, kw_only=True):
    """One more reply to the message `to`."""

    to: str


class Continuation(Asked, frozen=True, kw_only=True):
    """A reply that goes on where the reply `source` broke off."""

    source: str


class Turn(Struct, frozen=True, kw_only=True):
    """A message and a reply to it, as they were when the reply was accepted.

    `after` is the cursor before the first event of the turn. `start` is there where this very call made it, and then
    this worker is to write the reply.
    """

    message: Message
    reply: Message
    after: int
    message_ids: frozenset[str]
    """The messages whose events are this turn's: those that the request made."""
    start: Start | None = None


class Sending:
    def __init__(
        self, decisions: Decisions, history: History, models: Models, starting: Starting, accepting: Accepting
    ) -> None:
        self._decisions = decisions
        self._store = decisions.store
        self._history = history
        self._models = models
        self._starting = starting
        self._accepting = accepting

    async def send(self, key: Key, message_id: str, wanted: Send) -> Turn:
        """Appends a message and its reply, or finds what the same request appended before.

        Raises SessionNotFound, MessageNotFound (the parent), SessionBusy, QueueFull, IdempotencyMismatch, Invalid (the
        model), Overloaded.
        """

        async def made(header: Header) -> Decision[Turn]:
            parent = await self._parent(key, header, wanted)
            models = self._checked(wanted.model or header.session.model)
            accepted = await self._accepting.accept(key, header, wanted.if_busy, parent)
            now = self._decisions.now(header.session)
            message = Message(
                id=message_id,
                session_id=key.session_id,
                parent_id=parent.id if parent else None,
                role="user",
                content=wanted.content,
                metadata=wanted.metadata,
                siblings=await self._siblings(key, parent, message_id),
                created_at=now,
                ended_at=now,
            )
            row = await branches.place(self._store, key, message_id, parent, at=len(accepted.drafts))
            reply = _new_reply(key, ids.new_message_id(), message_id, now, accepted.status)
            under = NewRow(
                id=reply.id, parent_id=row.id, lane=row.lane, depth=row.depth + 1, at=row.at + 1, ended=False
            )
            asked = MessageCreated(message=reply, models=models, params=header.session.params | wanted.params)
            said = MessageCreated(message=message, request_hash=wanted.hash())
            return self._begun(key, header, accepted, (said, asked), (row, under), message)

        return await self._decide(key, message_id, wanted, made)

    async def reply(self, key: Key, reply_id: str, wanted: AnotherReply) -> Turn:
        """Appends another reply to a message (regenerate). Raises as `send`, and Invalid for what is no message to answer."""

        async def made(header: Header) -> Decision[Turn]:
            message = await self._history.message(key, wanted.to)
            if message.role not in ("user", "tool"):
                raise Invalid(
                    f"Message {wanted.to} is a reply itself: ask for another reply to message {message.parent_id}."
                )
            models = self._checked(wanted.model or header.session.model)
            params = header.session.params | wanted.params
            return await self._beside(key, header, reply_id, wanted, message, models, params)

        return await self._decide(key, reply_id, wanted, made)

    async def go_on(self, key: Key, reply_id: str, wanted: Continuation) -> Turn:
        """Appends a reply that goes on where another broke off. Raises as `send`, NotAReply and CannotContinue."""

        async def made(header: Header) -> Decision[Turn]:
            source = await self._history.message(key, wanted.source)
            models = self._continuable(source, wanted)
            assert source.parent_id is not None
            message = await self._history.message(key, source.parent_id)
            asked = await self._starting.created(key, source.id)
            params = asked.params | wanted.params
            return await self._beside(key, header, reply_id, wanted, message, models, params, source)

        return await self._decide(key, reply_id, wanted, made)

    # what all of them share

    async def _decide(
        self, key: Key, new_id: str, wanted: Asked, made: Callable[[Header], Awaitable[Decision[Turn]]]
    ) -> Turn:
        async def plan(header: Header) -> Decision[Turn]:
            earlier = (await self._store.rows(key, [new_id])).get(new_id)
            if earlier is not None:
                return Decision(await self._attach(key, earlier, wanted))
            if self._starting.closed:
                raise Overloaded("The server is about to stop; send again in a moment.")
            return await made(header)

        decided = await self._decisions.decide(key, plan)
        return structs.replace(decided.outcome, after=decided.first - 1) if decided.first else decided.outcome

    async def _attach(self, key: Key, row: Row, wanted: Asked) -> Turn:
        """The turn that the same request made: what it created stands side by side in the log."""
        said = [fact(event) for event in await self._store.events(key, after=row.created - 1, limit=2)]
        match said:
            case [MessageCreated(request_hash=None), *_]:
                pass  # a copy, or the reply of a send
            case [MessageCreated(request_hash=had), *_] if had != wanted.hash():
                raise IdempotencyMismatch(f"Message {row.id} was made by a request with another body.")
            case [MessageCreated(message=Message(role="assistant") as reply), *_]:
                assert reply.parent_id is not None
                message = await self._history.message(key, reply.parent_id)
                return Turn(message=message, reply=reply, after=row.created - 1, message_ids=frozenset((reply.id,)))
            case [MessageCreated(message=message), MessageCreated(message=reply)]:
                both = frozenset((message.id, reply.id))
                return Turn(message=message, reply=reply, after=row.created - 1, message_ids=both)
        raise IdempotencyMismatch(f"Message {row.id} was not made by a request of this kind.")

    async def _beside(
        self,
        key: Key,
        header: Header,
        reply_id: str,
        wanted: Asked,
        message: Message,
        models: tuple[str, ...],
        params: JsonObject,
        source: Message | None = None,
    ) -> Decision[Turn]:
        """One more reply to a message that is there, which goes on from `source` if there is one."""
        above = await self._history.row(key, message.id)
        accepted = await self._accepting.accept(key, header, wanted.if_busy, above, message.id)
        row = await branches.place(self._store, key, reply_id, above, at=len(accepted.drafts))
        reply = structs.replace(
            _new_reply(key, reply_id, message.id, self._decisions.now(header.session), accepted.status),
            continues=source.id if source else None,
            metadata=wanted.metadata,
            siblings=await self._siblings(key, above, reply_id),
        )
        asked = MessageCreated(message=reply, request_hash=wanted.hash(), models=models, params=params)
        return self._begun(key, header, accepted, (asked,), (structs.replace(row, ended=False),), message, source)

    def _begun(
        self,
        key: Key,
        header: Header,
        accepted: Acceptance,
        created: tuple[MessageCreated, ...],
        rows: tuple[NewRow, ...],
        message: Message,
        source: Message | None = None,
    ) -> Decision[Turn]:
        """The append of a turn. Where nothing blocks it, it also says that the upstream is asked: before it is."""
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
        return Decision(Turn(message=message, reply=reply, after=0, message_ids=made, start=start), append)

    async def _parent(self, key: Key, header: Header, wanted: Send) -> Row | None:
        parent_id = header.session.head if wanted.parent_id is UNSET else wanted.parent_id
        return None if parent_id is None else await self._history.row(key, parent_id)

    def _checked(self, model: str | Sequence[str] | None) -> tuple[str, ...]:
        models = self._models.listed(model)
        self._models.check(models)
        return models

    def _continuable(self, source: Message, wanted: Continuation) -> tuple[str, ...]:
        """The models that may go on with a reply. Raises NotAReply and CannotContinue."""
        if source.role != "assistant":
            raise NotAReply(source.id)
        if not source.status.ended:
            raise CannotContinue(f"Reply {source.id} has not ended.")
        if source.status not in ROOM_FOR_MORE and source.finish_reason != "length":
            raise CannotContinue(f"Reply {source.id} is whole.")
        if not broke_off_in_its_text(source):
            raise CannotContinue(f"Reply {source.id} did not break off inside its text; ask for another reply instead.")
        models = self._checked(wanted.model or source.model)
        able = tuple(model for model in models if self._models.prefills(model))
        if not able:
            raise CannotContinue(f"The model {models[0]} cannot go on from the middle of a reply.")
        return able

    async def _siblings(self, key: Key, parent: Row | None, message_id: str) -> tuple[str, ...]:
        parent_id = parent.id if parent else None
        children: Sequence[Row] = (await self._store.children(key, [parent_id])).get(parent_id, [])
        return siblings_of((*(child.id for child in children), message_id))


def _plain(value: Any) -> Any:
    return str(value) if value is UNSET else value


def _new_reply(key: Key, reply_id: str, parent_id: str, now: str, status: Status) -> Message:
    return Message(
        id=reply_id, session_id=key.session_id, parent_id=parent_id, role="assistant", status=status, created_at=now
    )
