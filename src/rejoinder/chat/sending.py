"""Sending: a message of a client and the reply that is to answer it, decided and appended as one.

A request that comes again, with the same id and body, finds what the first one made and attaches to it, whatever has
become of the reply since, and before anything else is checked.
"""

from collections.abc import Sequence

from msgspec import UNSET, Struct, UnsetType, structs

from rejoinder.abc import Append, NewRow, Row
from rejoinder.chat import branches, ids
from rejoinder.chat.decisions import Decision, Decisions, change
from rejoinder.chat.models import Models
from rejoinder.entities import Attempt, Header, JsonObject, Key, Message, OpenReply, Status
from rejoinder.errors import IdempotencyMismatch, MessageNotFound, Overloaded, SessionBusy
from rejoinder.events import MessageCreated, MessageStarted, draft, fact
from rejoinder.fold import siblings_of


class Send(Struct, frozen=True, kw_only=True):
    """What a client sends. `parent_id` is UNSET for the session's head, None for a message at the root."""

    content: str | tuple[JsonObject, ...]
    parent_id: str | UnsetType | None = UNSET
    model: str | tuple[str, ...] | None = None
    params: JsonObject = {}
    metadata: dict[str, str] = {}

    def hash(self) -> str:
        return ids.request_hash(structs.asdict(self) | {"parent_id": str(self.parent_id)})


class Turn(Struct, frozen=True, kw_only=True):
    """What a send made: its message and the reply, as they were created.

    `after` is the cursor before the first event of the turn. `mine` is there where this very call made it: then the
    reply is to be written by this worker, asking `models` in that order with `params`.
    """

    message: Message
    reply: Message
    after: int
    mine: OpenReply | None = None
    models: tuple[str, ...] = ()
    params: JsonObject = {}

    @property
    def message_ids(self) -> frozenset[str]:
        return frozenset((self.message.id, self.reply.id))


class Sending:
    def __init__(self, decisions: Decisions, models: Models) -> None:
        self._decisions = decisions
        self._store = decisions.store
        self._models = models
        self.closed = False
        """Whether no new turn may begin, since the service is about to stop. Retries still attach."""

    async def send(self, key: Key, message_id: str, wanted: Send) -> Turn:
        """Appends the message and its reply, or finds what the same request appended before.

        Raises SessionNotFound, MessageNotFound (the parent), SessionBusy, IdempotencyMismatch, Invalid (the model), Overloaded.
        """

        async def plan(header: Header) -> Decision[Turn]:
            earlier = (await self._store.rows(key, [message_id])).get(message_id)
            if earlier is not None:
                return Decision(await self._attach(key, earlier, wanted))
            if self.closed:
                raise Overloaded("The server is about to stop; send again in a moment.")
            parent = await self._parent(key, header, wanted)
            await self._check_free(key, parent, header)
            models = self._models.listed(wanted.model or header.session.model)
            self._models.check(models)
            return await self._begin(key, header, message_id, wanted, parent, models)

        decided = await self._decisions.decide(key, plan)
        turn = decided.outcome
        return structs.replace(turn, after=decided.first - 1) if turn.mine else turn

    async def _parent(self, key: Key, header: Header, wanted: Send) -> Row | None:
        parent_id = header.session.head if wanted.parent_id is UNSET else wanted.parent_id
        if parent_id is None:
            return None
        rows = await self._store.rows(key, [parent_id])
        if parent_id not in rows:
            raise MessageNotFound(parent_id)
        return rows[parent_id]

    async def _check_free(self, key: Key, parent: Row | None, header: Header) -> None:
        running = await branches.open_ancestor(self._store, key, parent, header.open)
        if running is not None:
            raise SessionBusy(
                "A reply on this branch is still being written.",
                reply_id=running.id,
                events=f"/v1/sessions/{key.session_id}/messages/{running.id}/events",
            )

    async def _attach(self, key: Key, row: Row, wanted: Send) -> Turn:
        """The turn that the same request made: its messages and its reply were appended as one, one behind the other."""
        said = [fact(event) for event in await self._store.events(key, after=row.created - 1, limit=2)]
        match said:
            case [MessageCreated(message=message, request_hash=had), MessageCreated(message=reply)] if had:
                if had != wanted.hash():
                    raise IdempotencyMismatch(f"Message {message.id} was sent by a request with another body.")
                return Turn(message=message, reply=reply, after=row.created - 1)
        raise IdempotencyMismatch(f"Message {row.id} was not made by sending it.")

    async def _begin(
        self,
        key: Key,
        header: Header,
        message_id: str,
        wanted: Send,
        parent: Row | None,
        models: tuple[str, ...],
    ) -> Decision[Turn]:
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
        lease = self._decisions.writer.lease
        reply = new_reply(key, parent_id=message_id, now=now)
        turn = Turn(
            message=message,
            reply=reply,
            after=0,
            mine=OpenReply(id=reply.id, worker=lease.worker, epoch=lease.epoch),
            models=models,
            params=header.session.params | wanted.params,
        )
        return Decision(turn, await self._append(key, header, turn, parent, wanted.hash()))

    async def _append(self, key: Key, header: Header, turn: Turn, parent: Row | None, request_hash: str) -> Append:
        """The message, its reply and the first asking of an upstream: recorded before it is asked."""
        drafts = (
            draft(MessageCreated(message=turn.message, request_hash=request_hash)),
            draft(MessageCreated(message=turn.reply, models=turn.models, params=turn.params)),
            draft(MessageStarted(message_id=turn.reply.id, attempt=1, model=turn.models[0])),
        )
        session = structs.replace(header.session, head=turn.reply.id, updated_at=turn.message.created_at)
        row = await branches.place(self._store, key, turn.message.id, parent, at=0)
        under = NewRow(id=turn.reply.id, parent_id=row.id, lane=row.lane, depth=row.depth + 1, at=1, ended=False)
        open_replies = (*header.open, turn.mine) if turn.mine else header.open
        return change(key, header, session, drafts, open_replies=open_replies, created=(row, under))

    async def _siblings(self, key: Key, parent: Row | None, message_id: str) -> tuple[str, ...]:
        parent_id = parent.id if parent else None
        children: Sequence[Row] = (await self._store.children(key, [parent_id])).get(parent_id, [])
        return siblings_of((*(child.id for child in children), message_id))


def new_reply(key: Key, *, parent_id: str, now: str) -> Message:
    return Message(
        id=ids.new_message_id(),
        session_id=key.session_id,
        parent_id=parent_id,
        role="assistant",
        status=Status.STREAMING,
        created_at=now,
    )


def attempted(reply: Message, model: str) -> Message:
    """A reply once an upstream is being asked for it."""
    return structs.replace(reply, model=reply.model or model, attempts=(*reply.attempts, Attempt(model=model)))
