"""Importing: the lines of a file, checked one by one, become one append: the whole session stands in the store, or nothing.

Its messages keep their ids, their times and their order; each reply stands in the new log as it was asked for and as it ended,
as in a fork. What a line holds is checked for what the service relies on; who takes files from outside hands in a gate as
well, which says what text, numbers and sizes are let in.
"""

from typing import Any, Protocol

import msgspec
from msgspec import Struct, structs

from rejoinder.abc import ABSENT, Append, Appended, EndedRow, NewRow
from rejoinder.chat import ids
from rejoinder.chat.decisions import Decisions, first_version
from rejoinder.chat.deletions import Deletions
from rejoinder.chat.export_format import FORMAT, EndLine, MessageLine, Seal, SessionLine
from rejoinder.chat.forking import retold
from rejoinder.chat.import_checks import check, check_known, check_message, check_time, converted
from rejoinder.entities import Asides, Header, JsonObject, Key, Message, Session
from rejoinder.errors import AlreadyExists, IdempotencyMismatch, Invalid
from rejoinder.events import (
    Draft,
    FileImported,
    MessageCreated,
    SessionCreated,
    SessionUpdated,
    draft,
    note,
)


class BadLine(Invalid):
    """A file that is not the export of a session, and the line that shows it (from 1)."""

    def __init__(self, number: int, why: Invalid) -> None:
        told = [{"loc": f"line.{number}.{_inside(error['loc'])}", "message": error["message"]} for error in why.errors]
        errors = told or [{"loc": f"line.{number}", "message": why.detail}]
        super().__init__(f"Line {number} of the file: {why.detail}", errors)


class Gate(Protocol):
    """What is let in. Each raises Invalid."""

    def parse(self, line: bytes) -> Any:
        """What a line says, as JSON."""

    def session(self, session: Session) -> None: ...

    def message(self, line: MessageLine) -> None: ...


class Open:
    """The gate for files of our own making."""

    def parse(self, line: bytes) -> Any:
        try:
            return msgspec.json.decode(line)
        except ValueError as wrong:  # no JSON, or no UTF-8
            raise Invalid(str(wrong)) from wrong

    def session(self, session: Session) -> None:
        """Anything."""

    def message(self, line: MessageLine) -> None:
        """Anything."""


class Imported(Struct, frozen=True):
    """A whole file: what is to be appended, and the SHA-256 that its last line tells."""

    append: Append
    messages: int
    sha256: str


class Importing:
    def __init__(self, decisions: Decisions, deletions: Deletions) -> None:
        self._decisions = decisions
        self._deletions = deletions

    async def take(self, imported: Imported, idempotency_key: str | None = None) -> Session:
        """Makes the session of a file, or returns the one that the same request made of the same file before.

        Raises AlreadyExists, and IdempotencyMismatch where a request with this key made that session of another file.
        """
        append = imported.append
        if idempotency_key is not None:
            by = FileImported(request=idempotency_key, sha256=imported.sha256)
            # Not the last: who reads the stream of a session waits for its last seq, and notes are not in it.
            drafts = (append.drafts[0], draft(by), *append.drafts[1:])
            append = structs.replace(
                append,
                drafts=drafts,
                created=tuple(structs.replace(row, at=row.at + 1) for row in append.created),
                ended=tuple(structs.replace(row, at=row.at + 1) for row in append.ended),
            )
        store = self._decisions.store
        while True:
            if (found := await store.header(append.key)) is not None:
                await self._check_retry(append.key, imported, idempotency_key)
                return found.session
            self._deletions.gone(append.key)
            made = await self._decisions.writer.append(append)
            if isinstance(made, Appended):
                assert append.header is not None
                return structs.replace(append.header.session, last_seq=made.first + len(append.drafts) - 1)

    async def _check_retry(self, key: Key, imported: Imported, idempotency_key: str | None) -> None:
        told = [note(event) for event in await self._decisions.store.events_at(key, (1, 2))]
        by = next((said for said in told if isinstance(said, FileImported)), None)
        if by is None or idempotency_key is None or by.request != idempotency_key:
            raise AlreadyExists(f"There is a session {key.session_id} already.")
        if by.sha256 != imported.sha256:
            raise IdempotencyMismatch(f"Session {key.session_id} was imported by a request with another body.")


class Reader:
    """Takes the lines of one file in order. What it holds grows with the file, since the session is appended whole."""

    def __init__(self, owner: str, gate: Gate | None = None) -> None:
        self._owner = owner
        self._gate = gate or Open()
        self._number = 0
        self._seal = Seal()
        self._session: Session | None = None
        self._asides = Asides()
        self._end: EndLine | None = None
        self._drafts: list[Draft] = []
        self._rows: dict[str, NewRow] = {}
        self._continued: set[str | None] = set()
        """The lanes' tips that have a first child: the next child begins a lane of its own."""
        self._roles: dict[str, str] = {}
        self._ended: list[EndedRow] = []

    def take(self, line: bytes, *, unended: bool = False) -> None:
        """Takes a line with its line end, which a last line that is `unended` has not in the file. Raises BadLine."""
        self._number += 1
        try:
            check(self._end is None, "line", "Something comes behind the line that ends the file.")
            said = self._parsed(line, unended=unended)
            if self._session is None:
                self._begin(said)
            elif isinstance(said, dict) and "message" in said:
                self._add(said)
            else:
                self._finish(said)
                return
            self._seal.add(line)
        except Invalid as why:
            raise BadLine(self._number, why) from why

    def _parsed(self, line: bytes, *, unended: bool) -> Any:
        try:
            return self._gate.parse(line)
        except Invalid as wrong:
            if unended and _breaks_off(line):
                raise Invalid("The file is not whole: it breaks off in this line.") from wrong
            raise

    def whole(self) -> Imported:
        """What the file holds, once all of it was taken. Raises BadLine where its end is missing."""
        if self._session is None or self._end is None:
            raise BadLine(self._number + 1, Invalid("The file is not whole: its last line is missing."))
        append = Append(
            key=Key(self._owner, self._session.id),
            drafts=(*self._drafts, draft(SessionUpdated(session=self._session))),
            expect=ABSENT,
            header=Header(session=self._session, version=first_version(), asides=self._asides),
            created=tuple(self._rows.values()),
            ended=tuple(self._ended),
        )
        return Imported(append, self._end.messages, self._end.sha256)

    def _begin(self, said: Any) -> None:
        version = said.get("rejoinder") if isinstance(said, dict) else None
        if version is None:
            raise Invalid("The file does not begin as the export of a session does.")
        if version != FORMAT:
            raise Invalid(f"The file is of format {version!r}; this service reads format {FORMAT}.")
        line = converted(said, SessionLine)
        check_known(said, line)
        session = line.session
        check(bool(ids.SESSION_ID.fullmatch(session.id)), "session.id", "This is no id of a session.")
        check_time("session.created_at", session.created_at)
        check_time("session.updated_at", session.updated_at)
        self._gate.session(session)
        self._session, self._asides = session, line.asides
        # As it was made: with the messages that follow it comes to be what it is.
        new = structs.replace(session, head=None, updated_at=session.created_at)
        self._drafts.append(draft(SessionCreated(session=new, request_hash=line.request_hash)))

    def _add(self, said: JsonObject) -> None:
        line = converted(said, MessageLine)
        check_known(said, line)
        message = line.message
        self._check_place(message)
        check_message(line)
        self._gate.message(line)
        is_reply = message.role == "assistant"
        self._rows[message.id] = self._row(message, whole=not is_reply)
        self._roles[message.id] = message.role
        self._drafts += retold(
            MessageCreated(message=message, request_hash=line.request_hash, models=line.models, params=line.params)
        )
        if is_reply:
            ended_at = message.ended_at or message.created_at
            self._ended.append(EndedRow(id=message.id, at=len(self._drafts) - 1, ended_at=ended_at))

    def _row(self, message: Message, *, whole: bool) -> NewRow:
        parent = self._rows.get(message.parent_id or "")
        lane, depth = message.id, 0
        if parent is not None:
            depth = parent.depth + 1
            if parent.id not in self._continued:
                self._continued.add(parent.id)
                lane = parent.lane
        return NewRow(
            id=message.id, parent_id=message.parent_id, lane=lane, depth=depth, at=len(self._drafts), ended=whole
        )

    def _check_place(self, message: Message) -> None:
        assert self._session is not None
        check(bool(ids.MESSAGE_ID.fullmatch(message.id)), "message.id", "This is no id of a message.")
        check(message.id not in self._rows, "message.id", "This message was told before.")
        check(message.session_id == self._session.id, "message.session_id", "It is of another session.")
        parent, role = message.parent_id, message.role
        known = parent is None or parent in self._rows
        check(known, "message.parent_id", "There is no such message before this one.")
        above = self._roles.get(parent or "")
        if role == "assistant":
            check(above is not None and above != "assistant", "message.parent_id", "A reply answers a message.")
        if role == "tool":
            check(above in ("assistant", "tool"), "message.parent_id", "A result of a tool follows a reply.")

    def _finish(self, said: Any) -> None:
        end = converted(said, EndLine)
        assert self._session is not None
        told = self._seal.end()
        check(end.messages == told.messages, "messages", f"There are {told.messages} messages before it.")
        check(end.sha256 == told.sha256, "sha256", "The lines before it are not those that were exported.")
        head = self._session.head
        check(head is None or head in self._rows, "session.head", "The session's head is not among its messages.")
        self._end = end


def _breaks_off(line: bytes) -> bool:
    """Whether a line begins as JSON does and is none. One that is nested too deep has another fault."""
    try:
        msgspec.json.decode(line)
    except RecursionError:
        return False
    except ValueError:
        return line.startswith(b"{")
    return False


def _inside(where: object) -> str:
    return str(where).removeprefix("body.")
