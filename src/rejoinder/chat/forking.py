"""Forking: a new session that starts with a branch of another. Its messages keep their ids and are whole from the start."""

from msgspec import UNSET, UnsetType, structs

from rejoinder.abc import ABSENT, Append, Appended, EndedRow, NewRow
from rejoinder.chat import ids
from rejoinder.chat.branches import known_rows
from rejoinder.chat.decisions import Decisions, first_version
from rejoinder.chat.deletions import Deletions
from rejoinder.chat.history import History
from rejoinder.chat.sessions import Sessions
from rejoinder.chat.unfinished import Unfinished
from rejoinder.entities import Header, Key, Message, ReplyError, Session, Status
from rejoinder.events import Fact, MessageCreated, MessageEnded, SessionCreated, SessionUpdated, draft, fact

FORKED = ReplyError(code="forked", message="This session was forked while the reply was being written.")


class Forking:
    def __init__(
        self,
        decisions: Decisions,
        history: History,
        sessions: Sessions,
        unfinished: Unfinished,
        deletions: Deletions,
    ) -> None:
        self._decisions = decisions
        self._history = history
        self._sessions = sessions
        self._unfinished = unfinished
        self._deletions = deletions

    async def fork(self, key: Key, at: str, new: Key, title: str | UnsetType | None = UNSET) -> Session:
        """Makes the session `new` of the branch that ends at message `at`, or returns what the same request made.

        A reply that is still being written is copied as far as it is, as interrupted.
        Raises SessionNotFound, MessageNotFound and IdempotencyMismatch.
        """
        wanted = ids.request_hash({"kind": "fork", "of": key.session_id, "at": at, "title": _hashed(title)})
        store = self._decisions.store
        while True:
            if (found := await store.header(new)) is not None:
                if (retried := await self._sessions.retried(new, found, wanted)) is not None:
                    return retried
                continue
            self._deletions.gone(new)
            append = await self._append(key, at, new, title, wanted)
            made = await self._decisions.writer.append(append)
            if isinstance(made, Appended):
                last_seq = made.first + len(append.drafts) - 1
                assert append.header is not None
                return structs.replace(append.header.session, last_seq=last_seq)

    async def _append(self, key: Key, at: str, new: Key, title: str | UnsetType | None, wanted: str) -> Append:
        source = (await self._decisions.header(key)).session
        tip = await self._history.message(key, at)
        now = self._decisions.now()
        messages = [await self._whole(key, each, source, now) for each in (*await self._history.above(key, tip), tip)]
        session = structs.replace(
            source,
            id=new.session_id,
            title=source.title if title is UNSET else title,
            head=at,
            created_at=now,
            updated_at=now,
            last_seq=0,
        )
        asked = await self._asked(key, messages)
        facts: list[Fact] = [SessionCreated(session=session, request_hash=wanted)]
        rows: list[NewRow] = []
        ended: list[EndedRow] = []
        for depth, message in enumerate(messages):
            copy = structs.replace(message, session_id=new.session_id, siblings=())
            is_reply = copy.role == "assistant"
            rows.append(
                NewRow(
                    id=copy.id,
                    parent_id=copy.parent_id,
                    lane=messages[0].id,
                    depth=depth,
                    at=len(facts),
                    ended=not is_reply,
                )
            )
            if is_reply:
                said = asked[copy.id]
                facts.append(MessageCreated(message=begun(copy), models=said.models, params=said.params))
                ended.append(EndedRow(id=copy.id, at=len(facts), ended_at=copy.ended_at or copy.created_at))
                facts.append(MessageEnded(message=copy))
            else:
                facts.append(MessageCreated(message=copy))
        # The copies are as old as they are: it is the session that was active just now.
        facts.append(SessionUpdated(session=session))
        return Append(
            key=new,
            drafts=tuple(map(draft, facts)),
            expect=ABSENT,
            header=Header(session=session, version=first_version()),
            created=tuple(rows),
            ended=tuple(ended),
        )

    async def _whole(self, key: Key, message: Message, source: Session, now: str) -> Message:
        if message.status.ended:
            return message
        row = await self._history.row(key, message.id)
        return await self._unfinished.as_interrupted(key, message, row, source, FORKED, now)

    async def _asked(self, key: Key, messages: list[Message]) -> dict[str, MessageCreated]:
        """What each reply was asked with, by its id: a copy of it can be continued."""
        replies = [message.id for message in messages if message.role == "assistant"]
        rows = await known_rows(self._decisions.store, key, replies)
        events = await self._history.events_at(key, [row.created for row in rows.values()])
        said = [fact(event) for event in events]
        return {each.message.id: each for each in said if isinstance(each, MessageCreated)}


def begun(reply: Message) -> Message:
    """A reply as it was when it was asked for: streams of replies begin with that and end with `message.ended`."""
    return Message(
        id=reply.id,
        session_id=reply.session_id,
        parent_id=reply.parent_id,
        role="assistant",
        status=Status.STREAMING,
        continues=reply.continues,
        metadata=reply.metadata,
        created_at=reply.created_at,
    )


def _hashed(title: str | UnsetType | None) -> str | list[str]:
    """A title for the hash of a request: no two are the same. None and UNSET are words, as they always were, and so a title that is
    such a word is told otherwise."""
    return [title] if title in ("None", "UNSET") else str(title)
