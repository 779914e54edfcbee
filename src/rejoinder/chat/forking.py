"""Forking: a new session that starts with a branch of another. Its messages keep their ids and are whole from the start."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from msgspec import UNSET, Struct, UnsetType, structs

from rejoinder.abc import ABSENT, Append, Appended, EndedRow, NewRow, Row
from rejoinder.chat import ids
from rejoinder.chat.decisions import Decisions, first_version
from rejoinder.chat.deletions import Deletions
from rejoinder.chat.history import History
from rejoinder.chat.sessions import Sessions
from rejoinder.chat.unfinished import Unfinished
from rejoinder.entities import Header, Key, Message, ReplyError, Session, Status
from rejoinder.errors import Overloaded, SessionNotFound
from rejoinder.events import Draft, MessageCreated, MessageEnded, SessionCreated, SessionUpdated, draft, fact

FORKED = ReplyError(code="forked", message="This session was forked while the reply was being written.")

AT_ONCE = 2
"""Forks of a process at a time: each holds its branch, and that may hold pictures. Others wait …"""

PATIENCE = 15.0
"""… for so many seconds, by which whoever asks has to be more patient."""

PAGE = 256
"""Messages that are read at a time, at most."""


class _Copy(Struct, frozen=True):
    """A message as its new session begins with it, where it stands in the old one, and when it ended, if it is a reply."""

    row: Row
    drafts: tuple[Draft, ...]
    ended_at: str | None = None


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
        self._running = asyncio.Semaphore(AT_ONCE)

    async def fork(self, key: Key, at: str, new: Key, title: str | UnsetType | None = UNSET) -> Session:
        """Makes the session `new` of the branch that ends at message `at`, or returns what the same request made.

        A reply that is still being written is copied as far as it is, as interrupted.
        Raises SessionNotFound, MessageNotFound, IdempotencyMismatch, and Overloaded where others take too long.
        """
        wanted = ids.request_hash({"kind": "fork", "of": key.session_id, "at": at, "title": _hashed(title)})
        store = self._decisions.store
        async with self._turn():
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

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(PATIENCE):
                await self._running.acquire()
        except TimeoutError:
            raise Overloaded("Other sessions are being forked just now.") from None
        try:
            yield
        finally:
            self._running.release()

    async def _append(self, key: Key, at: str, new: Key, title: str | UnsetType | None, wanted: str) -> Append:
        source = (await self._decisions.header(key)).session
        now = self._decisions.now()
        session = structs.replace(
            source,
            id=new.session_id,
            title=source.title if title is UNSET else title,
            head=at,
            created_at=now,
            updated_at=now,
            last_seq=0,
        )
        copies = await self._copies(key, at, source, session)
        drafts = [draft(SessionCreated(session=session, request_hash=wanted))]
        rows: list[NewRow] = []
        ended: list[EndedRow] = []
        for copy in copies:
            rows.append(
                NewRow(
                    id=copy.row.id,
                    parent_id=copy.row.parent_id,
                    lane=copies[0].row.id,
                    depth=copy.row.depth,
                    at=len(drafts),
                    ended=copy.ended_at is None,
                )
            )
            drafts += copy.drafts
            if copy.ended_at is not None:
                ended.append(EndedRow(id=copy.row.id, at=len(drafts) - 1, ended_at=copy.ended_at))
        # The copies are as old as they are: it is the session that was active just now.
        drafts.append(draft(SessionUpdated(session=session)))
        return Append(
            key=new,
            drafts=tuple(drafts),
            expect=ABSENT,
            header=Header(session=session, version=first_version()),
            created=tuple(rows),
            ended=tuple(ended),
        )

    async def _copies(self, key: Key, at: str, source: Session, session: Session) -> list[_Copy]:
        """The branch that ends at message `at`, encoded for its new session page by page: no page need be held decoded."""
        tip = await self._history.row(key, at)
        pages = [await self._page(key, [tip], await self._history.plain(key, [tip]), source, session)]
        async for rows, messages in self._history.upwards(key, tip, PAGE):
            pages.append(await self._page(key, rows, messages, source, session))
        copies = [copy for page in reversed(pages) for copy in page]
        if copies[0].row.parent_id is not None:  # the session was deleted meanwhile
            raise SessionNotFound(key.session_id)
        return copies

    async def _page(
        self, key: Key, rows: Sequence[Row], messages: Sequence[Message], source: Session, session: Session
    ) -> list[_Copy]:
        asked = await self._asked(key, rows, messages)
        copies: list[_Copy] = []
        for row, message in zip(rows, messages, strict=True):
            whole = message
            if not message.status.ended:
                whole = await self._unfinished.as_interrupted(key, message, row, source, FORKED, session.created_at)
            copy = structs.replace(whole, session_id=session.id, siblings=())
            if (said := asked.get(copy.id)) is None:
                copies.append(_Copy(row, retold(MessageCreated(message=copy))))
            else:
                drafts = retold(MessageCreated(message=copy, models=said.models, params=said.params))
                copies.append(_Copy(row, drafts, copy.ended_at or copy.created_at))
        return copies

    async def _asked(self, key: Key, rows: Sequence[Row], messages: Sequence[Message]) -> dict[str, MessageCreated]:
        """What each reply was asked with, by its id: a copy of it can be continued."""
        pairs = zip(rows, messages, strict=True)
        seqs = [row.created for row, message in pairs if message.role == "assistant"]
        said = [fact(event) for event in await self._history.events_at(key, seqs)]
        return {each.message.id: each for each in said if isinstance(each, MessageCreated)}


def retold(whole: MessageCreated) -> tuple[Draft, ...]:
    """How the log of a new session tells of a message that is whole already: of a reply as it was asked for, and as it ended."""
    if whole.message.role != "assistant":
        return (draft(whole),)
    return draft(structs.replace(whole, message=begun(whole.message))), draft(MessageEnded(message=whole.message))


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
