"""Exporting: a session as a file, as of the moment in which it was asked for, read a few messages at a time.

A reply that is still being written goes as far as it is, as interrupted; or as it ended, where its reader took so long that what
it had said by then is told by its end alone. All that is told is told by the log, so an export of a session in which nothing
happens has the same bytes whenever and wherever it is made.
"""

from collections.abc import AsyncGenerator, Sequence

from msgspec import structs

from rejoinder.abc import Row
from rejoinder.chat.decisions import Decisions
from rejoinder.chat.export_format import FORMAT, MessageLine, Seal, SessionLine
from rejoinder.chat.history import History
from rejoinder.chat.models import Models
from rejoinder.chat.prompts import Prompts
from rejoinder.chat.unfinished import Unfinished
from rejoinder.entities import Header, Key, Message, ReplyError
from rejoinder.errors import MessageNotFound, SessionGone, SessionNotFound
from rejoinder.events import Fact, MessageCreated, MessageEnded, SessionCreated, fact

ROWS = 1_000
"""Rows of the index that are read at a time: some 100 bytes each."""

GROUP, GROUP_BYTES = 16, 1 << 20
"""Messages that are read at a time, and bytes of them: less than so many where there were large ones before, one at least. Each may
have many MB (images travel inside), is held some times over for a moment, and once for as long as the reader takes."""

EXPORTED = ReplyError(code="exported", message="This session was exported while the reply was being written.")


class Exporting:
    def __init__(self, decisions: Decisions, history: History, unfinished: Unfinished) -> None:
        self._decisions = decisions
        self._store = decisions.store
        self._history = history
        self._unfinished = unfinished

    async def begin(self, key: Key) -> AsyncGenerator[bytes, None]:
        """The file of a session as it is now, in pieces of whole lines.

        Raises SessionNotFound and StoreUnavailable; the pieces raise SessionGone, where the session was deleted before its
        last line, and StoreUnavailable.
        """
        header = await self._decisions.header(key)
        return self._pieces(key, header, await self._first(key))

    async def _first(self, key: Key) -> SessionCreated:
        said = [fact(event) for event in await self._store.events(key, after=0, limit=1)]
        match said:
            case [SessionCreated() as created]:
                return created
        raise SessionNotFound(key.session_id)

    async def _pieces(self, key: Key, header: Header, created: SessionCreated) -> AsyncGenerator[bytes, None]:
        as_of = header.session.last_seq
        seal = Seal()
        first = SessionLine(
            rejoinder=FORMAT, session=header.session, request_hash=created.request_hash, asides=header.asides
        )
        yield seal.add(first.encoded())
        after, group, largest = 0, 1, 1
        while rows := await self._store.created(key, after=after, before=as_of + 1, limit=ROWS):
            at = 0
            while at < len(rows):
                some = rows[at : at + max(1, min(group, GROUP_BYTES // largest))]
                lines = [seal.add(line) for line in await self._lines(key, header, some, as_of)]
                at, group, largest = at + len(some), min(2 * group, GROUP), max(largest, *map(len, lines))
                piece = b"".join(lines)
                del lines  # a reader takes its time
                yield piece
            after = rows[-1].created
        # A session that is deleted while it is read looks like one that has no more messages.
        now = await self._store.header(key)
        if now is None or now.version < header.version or now.session.created_at != header.session.created_at:
            raise _gone(key)
        yield seal.end().encoded()

    async def _lines(self, key: Key, header: Header, rows: Sequence[Row], as_of: int) -> list[bytes]:
        wanted = {row.created for row in rows} | {row.ended for row in rows if row.ended is not None}
        said = {event.seq: fact(event) for event in await self._store.events_at(key, wanted)}
        return [(await self._line(key, header, row, said, as_of)).encoded() for row in rows]

    async def _line(self, key: Key, header: Header, row: Row, said: dict[int, Fact | None], as_of: int) -> MessageLine:
        created = said.get(row.created)
        if not isinstance(created, MessageCreated):
            raise _gone(key)
        message = created.message
        if row.ended is None or row.ended > as_of:
            message = await self._unended(key, header, row, as_of)
        elif row.ended > row.created:
            ended = said.get(row.ended)
            if not isinstance(ended, MessageEnded):
                raise _gone(key)
            message = ended.message
        return MessageLine(
            message=structs.replace(message, siblings=()),
            request_hash=created.request_hash,
            models=created.models,
            params=created.params,
        )

    async def _unended(self, key: Key, header: Header, row: Row, as_of: int) -> Message:
        """A reply that had not ended at `as_of`."""
        try:
            written = await self._history.folded(key, row, as_of)
            # As it would be had it ended with its session's last change.
            at = max(header.session.updated_at, written.created_at)
            message = await self._unfinished.as_interrupted(key, written, row, header.session, EXPORTED, at, as_of)
            # The look comes last: of what is still there now nothing was missing above.
            return await self._history.end_of_compacted(key, row.id) or message
        except (MessageNotFound, SessionNotFound) as gone:
            raise _gone(key) from gone


def of_store(decisions: Decisions) -> Exporting:
    """The exports of a store that nobody need serve: no model is asked for what has been written."""
    history = History(decisions)
    return Exporting(decisions, history, Unfinished(history, Prompts(decisions, history, Models(("",), {}))))


def _gone(key: Key) -> SessionGone:
    return SessionGone(f"Session {key.session_id} was deleted while it was exported.")
