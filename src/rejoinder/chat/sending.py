"""Sending: what a client asks for, and the reply that is to answer it, decided and appended as one.

A client sends a message or results of tools, asks for another reply to one that is there, or lets a reply go on. A request
that comes again, with the same id and body, finds what the first one made and attaches to it, whatever has become of the reply since, and
before anything else is checked.
"""

from collections.abc import Awaitable, Callable, Sequence

from msgspec import UNSET, UnsetType, structs

from rejoinder.abc import NewRow, Row
from rejoinder.chat import ids
from rejoinder.chat.accepting import Accepting
from rejoinder.chat.asked import AnotherReply, Asked, Continuation, Send, ToolResults, Turn
from rejoinder.chat.branches import Spot
from rejoinder.chat.decisions import Decision, Decisions
from rejoinder.chat.history import History
from rejoinder.chat.models import Models
from rejoinder.chat.starting import Starting, broke_off_in_its_text
from rejoinder.chat.tools import checked_params, in_order_of_calls
from rejoinder.chat.turns import Turns
from rejoinder.chat.wording import answered, units
from rejoinder.entities import Header, JsonObject, Key, Message, Status
from rejoinder.errors import CannotContinue, IdempotencyMismatch, Invalid, NotAReply, Overloaded
from rejoinder.events import MessageCreated, fact

ROOM_FOR_MORE = ("stopped", "interrupted", "failed")
"""Statuses of replies that broke off, so that they can go on; and `completed`, where it was for a limit of tokens."""


class Sending:
    def __init__(
        self,
        decisions: Decisions,
        history: History,
        models: Models,
        starting: Starting,
        accepting: Accepting,
        turns: Turns,
    ) -> None:
        self._decisions = decisions
        self._store = decisions.store
        self._history = history
        self._models = models
        self._starting = starting
        self._accepting = accepting
        self._turns = turns

    async def send(self, key: Key, chosen_id: str | None, wanted: Send) -> Turn:
        """Appends a message and its reply, or finds what the same request appended before.

        Raises SessionNotFound, MessageNotFound (the parent), SessionBusy, QueueFull, IdempotencyMismatch, Invalid (the
        model), Overloaded.
        """

        async def made(header: Header, new_id: str) -> Decision[Turn]:
            spot = await self._chosen_spot(key, header, wanted.parent_id)
            said = Message(
                id=new_id,
                session_id=key.session_id,
                role="user",
                content=wanted.content,
                metadata=wanted.metadata,
                created_at="",
            )
            return await self._under(key, header, wanted, spot, (said,))

        return await self._decide(key, chosen_id, wanted, made)

    async def answer_calls(self, key: Key, chosen_id: str | None, wanted: ToolResults) -> Turn:
        """Appends the results of a reply's tool calls, as a chain of messages whose last has the id, and the reply to them.

        Raises as `send`, and Invalid where they are not one for each call of the reply that they answer.
        """

        async def made(header: Header, new_id: str) -> Decision[Turn]:
            spot = await self._chosen_spot(key, header, wanted.parent_id)
            parent = spot.parent
            if parent is None:
                raise Invalid("Results of tools answer a reply, and this session has none.")
            calling = await self._history.message(key, parent.id)
            if calling.status.ended:
                ordered = in_order_of_calls(calling, wanted.results)
            else:
                # A reply that is still written is busy; what it will call, nobody knows.
                await self._accepting.accept(key, header, "reject", parent)
                raise Invalid(f"Reply {parent.id} has not ended.")
            chain = tuple(
                Message(
                    id=new_id if at == len(ordered) - 1 else ids.new_message_id(),
                    session_id=key.session_id,
                    role="tool",
                    content=result.content,
                    tool_call_id=result.tool_call_id,
                    metadata=wanted.metadata,
                    created_at="",
                )
                for at, result in enumerate(ordered)
            )
            return await self._under(key, header, wanted, spot, chain)

        return await self._decide(key, chosen_id, wanted, made)

    async def reply(self, key: Key, chosen_id: str | None, wanted: AnotherReply) -> Turn:
        """Appends another reply to a message (regenerate). Raises as `send`, and Invalid for what is no message to answer."""

        async def made(header: Header, new_id: str) -> Decision[Turn]:
            message = await self._history.message(key, wanted.to)
            if message.role not in ("user", "tool"):
                raise Invalid(
                    f"Message {wanted.to} is a reply itself: ask for another reply to message {message.parent_id}."
                )
            if message.role == "tool":
                await self._check_last_result(key, message)
            models = self._checked(wanted.model or header.session.model)
            params = checked_params(header.session.params | wanted.params)
            return await self._beside(key, header, new_id, wanted, message, models, params)

        return await self._decide(key, chosen_id, wanted, made)

    async def go_on(self, key: Key, chosen_id: str | None, wanted: Continuation) -> Turn:
        """Appends a reply that goes on where another broke off. Raises as `send`, NotAReply and CannotContinue."""

        async def made(header: Header, new_id: str) -> Decision[Turn]:
            source = await self._history.message(key, wanted.source)
            models = self._continuable(source, wanted)
            assert source.parent_id is not None
            message = await self._history.message(key, source.parent_id)
            asked = await self._starting.created(key, source.id)
            params = checked_params(asked.params | wanted.params)
            return await self._beside(key, header, new_id, wanted, message, models, params, source)

        return await self._decide(key, chosen_id, wanted, made)

    # what all of them share

    async def _decide(
        self,
        key: Key,
        chosen_id: str | None,
        wanted: Asked,
        made: Callable[[Header, str], Awaitable[Decision[Turn]]],
    ) -> Turn:
        new_id = chosen_id or ids.new_message_id()

        async def plan(header: Header) -> Decision[Turn]:
            # A request whose id nobody chose cannot come again.
            earlier = (await self._store.rows(key, [new_id])).get(new_id) if chosen_id else None
            if earlier is not None:
                return Decision(await self._attach(key, earlier, wanted))
            if self._starting.closed:
                raise Overloaded("The server is about to stop; send again in a moment.")
            return await made(header, new_id)

        decided = await self._decisions.decide(key, plan)
        return structs.replace(decided.outcome, after=decided.first - 1) if decided.first else decided.outcome

    async def _attach(self, key: Key, row: Row, wanted: Asked) -> Turn:
        """The turn that the same request made: what it created stands side by side in the log."""
        said = [fact(event) for event in await self._store.events_at(key, (row.created, row.created + 1))]
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
                before = len(wanted.results) - 1 if isinstance(wanted, ToolResults) else 0
                after = row.created - 1 - before
                chain = await self._store.created(key, after=after, before=row.created, limit=max(1, before))
                made = frozenset((message.id, reply.id, *(each.id for each in chain)))
                return Turn(message=message, reply=reply, after=after, message_ids=made)
        raise IdempotencyMismatch(f"Message {row.id} was not made by a request of this kind.")

    async def _under(
        self, key: Key, header: Header, wanted: Asked, spot: Spot, said: tuple[Message, ...]
    ) -> Decision[Turn]:
        """New messages, each under the one before it, and a reply to the last, which bears the hash of the request."""
        models = self._checked(wanted.model or header.session.model)
        params = checked_params(header.session.params | wanted.params)
        accepted = await self._accepting.accept(key, header, wanted.if_busy, spot.parent)
        now = self._decisions.now(header.session)
        first = spot.row(said[0].id, at=len(accepted.drafts))
        siblings = spot.siblings(said[0].id)
        ids_above = (first.parent_id, *(message.id for message in said))
        made = [
            structs.replace(
                message, parent_id=above, siblings=siblings if at == 0 else (), created_at=now, ended_at=now
            )
            for at, (message, above) in enumerate(zip(said, ids_above, strict=False))
        ]
        reply = _new_reply(key, ids.new_message_id(), made[-1].id, now, accepted.status)
        rows = [
            NewRow(
                id=message.id,
                parent_id=message.parent_id,
                lane=first.lane,
                depth=first.depth + at,
                at=first.at + at,
                ended=message is not reply,
            )
            for at, message in enumerate([*made, reply])
        ]
        created = [MessageCreated(message=message) for message in made]
        created[-1] = structs.replace(created[-1], request_hash=wanted.hash())
        asked = MessageCreated(message=reply, models=models, params=params)
        return self._turns.begun(key, header, accepted, (*created, asked), tuple(rows), made[-1])

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
        spot = await self._spot(key, header, message.id)
        accepted = await self._accepting.accept(key, header, wanted.if_busy, spot.parent, message.id)
        row = spot.row(reply_id, at=len(accepted.drafts))
        reply = structs.replace(
            _new_reply(key, reply_id, message.id, self._decisions.now(header.session), accepted.status),
            continues=source.id if source else None,
            metadata=wanted.metadata,
            siblings=spot.siblings(reply_id),
        )
        asked = MessageCreated(message=reply, request_hash=wanted.hash(), models=models, params=params)
        return self._turns.begun(key, header, accepted, (asked,), (structs.replace(row, ended=False),), message, source)

    async def _chosen_spot(self, key: Key, header: Header, chosen: str | UnsetType | None) -> Spot:
        return await self._spot(key, header, header.session.head if chosen is UNSET else chosen)

    async def _spot(self, key: Key, header: Header, parent_id: str | None) -> Spot:
        """Raises MessageNotFound."""
        newest = self._decisions.newest(key, header)
        if newest is not UNSET and parent_id == (newest.id if newest else None):
            return Spot(newest, ())
        parent = None if parent_id is None else await self._history.row(key, parent_id)
        return Spot(parent, (await self._store.children(key, [parent_id])).get(parent_id, []))

    async def _check_last_result(self, key: Key, message: Message) -> None:
        """Raises Invalid for a result behind which others of the same reply follow."""
        row = await self._history.row(key, message.id)
        above = await self._history.plain(key, await self._history.rows_above(key, row))
        *_, unit = units([*above, message])
        if not answered(unit):
            raise Invalid(f"Message {message.id} is not the last result of its reply: ask for a reply to that.")

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


def _new_reply(key: Key, reply_id: str, parent_id: str, now: str, status: Status) -> Message:
    return Message(
        id=reply_id, session_id=key.session_id, parent_id=parent_id, role="assistant", status=status, created_at=now
    )
