"""Sessions: made, listed, changed and deleted."""

from typing import Any

from msgspec import UNSET, Struct, UnsetType, structs

from rejoinder.abc import ABSENT, Append, Appended, SessionCursor
from rejoinder.chat import ids
from rejoinder.chat.decisions import Decision, Decisions, change, first_version
from rejoinder.chat.deletions import Deletions
from rejoinder.chat.models import Models
from rejoinder.chat.search import asked_words
from rejoinder.chat.stopping import Stopping
from rejoinder.entities import Header, JsonObject, Key, Session
from rejoinder.errors import IdempotencyMismatch, MessageNotFound
from rejoinder.events import SessionCreated, SessionUpdated, draft, fact


class NewSession(Struct, frozen=True, kw_only=True):
    """What a client may say of a new session."""

    title: str | None = None
    system_prompt: str | None = None
    model: str | tuple[str, ...] | None = None
    params: JsonObject = {}
    metadata: dict[str, str] = {}


class SessionChange(Struct, frozen=True, kw_only=True):
    """What a client changes. What is UNSET stays as it is; `params` and `metadata` are replaced whole."""

    title: str | UnsetType | None = UNSET
    system_prompt: str | UnsetType | None = UNSET
    model: str | tuple[str, ...] | UnsetType | None = UNSET
    params: JsonObject | UnsetType = UNSET
    metadata: dict[str, str] | UnsetType = UNSET
    head: str | UnsetType = UNSET


class Sessions:
    def __init__(self, decisions: Decisions, models: Models, stopping: Stopping, deletions: Deletions) -> None:
        self._decisions = decisions
        self._store = decisions.store
        self._models = models
        self._stopping = stopping
        self._deletions = deletions

    async def create(self, key: Key, new: NewSession) -> Session:
        """Makes a session, or returns the one that the same request made before.

        Raises IdempotencyMismatch where another request made a session with this id.
        """
        self._models.check(new.model)
        wanted = structs.asdict(new)
        now = self._decisions.now()
        session = Session(id=key.session_id, created_at=now, updated_at=now, **wanted)
        said = SessionCreated(session=session, request_hash=ids.request_hash(wanted))
        header = Header(session=session, version=first_version())
        while True:
            found = await self._store.header(key)
            if found is not None:
                if (retried := await self.retried(key, found, said.request_hash)) is not None:
                    return retried
                continue
            self._deletions.gone(key)
            made = await self._decisions.writer.append(
                Append(key=key, drafts=(draft(said),), expect=ABSENT, header=header)
            )
            if isinstance(made, Appended):
                return structs.replace(session, last_seq=made.first)

    async def retried(self, key: Key, found: Header, request_hash: str | None) -> Session | None:
        """The session `found`, where the same request made it. None where it is being deleted just now, and can be made again.

        Raises IdempotencyMismatch.
        """
        first = await self._store.events(key, after=0, limit=1)
        if not first:
            return None
        said = fact(first[0])
        assert isinstance(said, SessionCreated)
        if said.request_hash != request_hash:
            raise IdempotencyMismatch(f"Session {key.session_id} was created by a request with another body.")
        return found.session

    async def get(self, key: Key) -> Session:
        return (await self._decisions.header(key)).session

    async def page(
        self, owner: str, after: SessionCursor | None, limit: int, q: str | None = None
    ) -> tuple[list[Session], bool]:
        """The owner's sessions, newest activity first, and whether there are more.

        Where there is a question `q`, those alone whose title or any message it finds. Raises Invalid.
        """
        words = asked_words(q) if q is not None else ()
        headers = await self._store.sessions(owner, after=after, limit=limit + 1, words=words)
        return [header.session for header in headers[:limit]], len(headers) > limit

    async def update(self, key: Key, wanted: SessionChange) -> Session:
        """Changes what is set. Raises MessageNotFound for a head that the session does not have."""
        changes: dict[str, Any] = {name: value for name, value in structs.asdict(wanted).items() if value is not UNSET}
        self._models.check(changes.get("model"))

        async def plan(header: Header) -> Decision[Session]:
            head = changes.get("head")
            if head is not None and not await self._store.rows(key, [head]):
                raise MessageNotFound(head)
            session = structs.replace(header.session, **changes)
            if session == header.session:
                return Decision(session)
            session = structs.replace(session, updated_at=self._decisions.now(header.session))
            return Decision(session, change(key, header, session, (draft(SessionUpdated(session=session)),)))

        decided = await self._decisions.decide(key, plan)
        return structs.replace(decided.outcome, last_seq=decided.first) if decided.first else await self.get(key)

    async def delete(self, key: Key) -> None:
        """Stops what is being written, so that its readers learn the end, then deletes all of it."""
        while True:
            header = await self._decisions.header(key)
            for reply in reversed(header.open):  # what waits for an end is stopped before that end starts it
                await self._stopping.stop(key, reply.id)
            if await self._deletions.delete(key, await self._decisions.header(key)):
                return

    async def expire(self, key: Key, before: str) -> bool:
        """Deletes a session that has been idle since `before` and in which nothing is being written. Returns whether it did."""
        header = await self._store.header(key)
        return header is not None and header.session.updated_at < before and await self._deletions.delete(key, header)
