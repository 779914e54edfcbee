"""The history: pages of messages as they were at a seq, read through the index and never by the whole log."""

import asyncio
from collections.abc import AsyncIterator, Collection, Iterable, Sequence

import msgspec
from msgspec import Struct, structs

from rejoinder.abc import Row, Store
from rejoinder.chat import branches, ids
from rejoinder.chat.decisions import Decisions
from rejoinder.entities import Header, Key, Message
from rejoinder.errors import InvalidCursor, MessageNotFound, SessionNotFound
from rejoinder.events import Event, MessageCreated, MessageEnded, Note, PromptSent, fact, note
from rejoinder.fold import BrokenLog, ReplyFold, ReplyText, siblings_of

NEWEST = "end"
"""What `before` says instead of a message id for the newest page."""

NEVER = 1 << 62
"""A seq that no log reaches."""

NOTED, MORE_NOTED = 6, 100
"""Events of a reply behind its creation among which its first notes stand, mostly: started, a summary or two, the prompt, the first
text. And how many are read at a time where there are more: a summary may have taken a hundred steps."""


PAGE_BYTES = 16 << 20
"""Of the messages of a page, which is held in memory, encoded: less than a thousand of them where there are pictures among them."""

PORTION = 16
"""Messages that are read first of a page, whose sizes nobody knows, and …"""
PORTIONS = 64
"""… at a time, at most: each next portion is twice as large, unless there were large messages before."""


class Page(Struct, frozen=True, kw_only=True):
    """Messages, oldest first: at least one where there is any, and no more than PAGE_BYTES of several. `has_more` tells of further
    ones in the direction of the page."""

    data: list[Message]
    has_more: bool
    as_of: int


class Window(Struct, frozen=True, kw_only=True):
    """Which page: `limit` messages behind `after`, or those before `before`; with neither, from the oldest on."""

    limit: int
    after: str | None = None
    before: str | None = None

    @property
    def backwards(self) -> bool:
        return self.before is not None


class History:
    def __init__(self, decisions: Decisions) -> None:
        self._decisions = decisions
        self._store: Store = decisions.store

    async def page(self, key: Key, window: Window, *, branch: str | None = None, as_of: int | None = None) -> Page:
        """A page of the branch that ends at the head, of the one that ends at message `branch`, or of `all` messages.

        As of the seq `as_of`, by default the newest: what came later is left out, so that pages fit together.
        Raises SessionNotFound, MessageNotFound and InvalidCursor.
        """
        header = await self._decisions.header(key)
        last = header.session.last_seq
        if as_of is not None and as_of > last:
            raise InvalidCursor(f"as_of lies in the future: this session is at {last}.")
        seq = last if as_of is None else as_of
        if branch == "all":
            rows, more = await self._all(key, window, seq)
        else:
            rows, more = await self._branch(key, window, header, branch, seq)
        found = await self._as_many_as_fit(key, rows, seq, newest=window.backwards)
        return Page(
            data=await self._with_siblings(key, rows, found, seq), has_more=more or len(found) < len(rows), as_of=seq
        )

    async def message(self, key: Key, message_id: str) -> Message:
        """One message as it is now. Raises SessionNotFound and MessageNotFound."""
        await self._decisions.header(key)
        rows = [await self.row(key, message_id)]
        # Not as of the header's seq: a reply that ended since may be told by its end alone.
        return (await self._with_siblings(key, rows, await self.plain(key, rows), NEVER))[0]

    async def row(self, key: Key, message_id: str) -> Row:
        # What is no id no store has, and not every store can be asked for it.
        rows = await self._store.rows(key, [message_id]) if ids.MESSAGE_ID.fullmatch(message_id) else {}
        if message_id not in rows:
            raise MessageNotFound(message_id)
        return rows[message_id]

    async def events_at(self, key: Key, seqs: Collection[int]) -> list[Event]:
        """The events at these seqs, which were there a moment ago. Raises SessionNotFound, as `branches.known_rows` does."""
        events = await self._store.events_at(key, seqs)
        if len(events) < len(seqs):
            raise SessionNotFound(key.session_id)
        return events

    async def above(self, key: Key, reply: Message) -> list[Message]:
        """The messages of the branch above a reply, oldest first."""
        return await self.plain(key, await self.rows_above(key, await self.row(key, reply.id)))

    async def rows_above(self, key: Key, row: Row, low: int = 0) -> list[Row]:
        """The rows of the branch above a message, from depth `low` on, oldest first."""
        return (await branches.between(self._store, key, row, low, row.depth))[:-1]

    async def upwards(self, key: Key, row: Row, page: int) -> AsyncIterator[tuple[list[Row], list[Message]]]:
        """The branch above a message, from its end to its beginning in pages of at most so many, oldest first, without `siblings`.

        The first are few and pages of large messages small: a branch may hold pictures, and those many MB.
        """
        top, size, largest = row, PORTION, 1
        while top.parent_id is not None:
            rows = await self._store.branch(key, top.parent_id, low=max(0, top.depth - page), high=top.depth - 1)
            if not rows:
                return  # the session was deleted meanwhile
            top = rows[0]
            while rows:
                some = rows[-max(1, min(size, PAGE_BYTES // largest)) :]
                found = await self._sized(key, some, NEVER)
                size, largest = page, max(largest, *(size for _, size in found))
                rows = rows[: -len(some)]
                yield some, [message for message, _ in found]
                if rows or top.parent_id is not None:
                    await asyncio.sleep(0)  # some stores read at once

    async def plain(self, key: Key, rows: Sequence[Row]) -> list[Message]:
        """The messages of these rows as they are now, without `siblings`, which cost a read of their own."""
        return [message for message, _ in await self._sized(key, rows, NEVER)]

    async def prompts_sent(self, key: Key, row: Row) -> AsyncIterator[PromptSent]:
        """The records of all prompts of a reply, in order. Reads all of its events."""
        async for event in self.events_of(key, row):
            if isinstance(said := note(event), PromptSent):
                yield said

    async def is_told(self, key: Key, row: Row) -> bool:
        """Whether the log tells what became of a reply between its creation and its end, if it has come to that. Of a copy (a fork's, a
        file's) it does not."""
        events = await self._store.events(key, after=row.created, message_ids=[row.id], limit=1)
        return bool(events) and events[0].seq != row.ended

    async def first_notes(self, key: Key, row: Row) -> list[tuple[int, Note]]:
        """What the log notes of a reply by itself before the first text that came of a prompt, with the seqs."""
        found: list[tuple[int, Note]] = []
        after, limit = row.created, NOTED
        while events := await self._store.events(key, after=after, until=row.ended, message_ids=[row.id], limit=limit):
            for event in events:
                if (said := note(event)) is not None:
                    found.append((event.seq, said))
                elif event.type == "message.delta" and any(isinstance(said, PromptSent) for _, said in found):
                    return found
            after, limit = events[-1].seq, MORE_NOTED
        return found

    async def _all(self, key: Key, window: Window, seq: int) -> tuple[list[Row], bool]:
        after, before = 0, seq + 1
        if window.after is not None:
            after = (await self.row(key, window.after)).created
        if window.before is not None and window.before != NEWEST:
            before = min(before, (await self.row(key, window.before)).created)
        rows = await self._store.created(
            key, after=after, before=before, limit=window.limit + 1, newest=window.backwards
        )
        return _cut(rows, window)

    async def _branch(
        self, key: Key, window: Window, header: Header, branch: str | None, seq: int
    ) -> tuple[list[Row], bool]:
        tip_id = branch or header.session.head
        if tip_id is None:
            return [], False
        tip = await self.row(key, tip_id)
        low, high = 0, await self._newest_depth(key, tip, seq)
        if window.after is not None:
            low = await self._depth(key, tip, window.after) + 1
        if window.before is not None and window.before != NEWEST:
            high = min(high, await self._depth(key, tip, window.before) - 1)
        if window.backwards:
            low = max(low, high - window.limit)
        else:
            high = min(high, low + window.limit)
        return _cut(await branches.between(self._store, key, tip, low, high), window)

    async def _newest_depth(self, key: Key, tip: Row, seq: int) -> int:
        """The depth of the last message of a branch that was there at `seq`, -1 for none: a child is younger than its parent."""
        if tip.created <= seq:
            return tip.depth
        low, high = -1, tip.depth - 1
        probe = high
        while low < high:
            [row] = await branches.between(self._store, key, tip, probe, probe)
            low, high = (probe, high) if row.created <= seq else (low, probe - 1)
            probe = (low + high + 1) // 2
        return high

    async def _depth(self, key: Key, tip: Row, message_id: str) -> int:
        row = await self.row(key, message_id)
        if not await branches.holds(self._store, key, tip, row):
            raise InvalidCursor(f"Message {message_id} is not on this branch any more.")
        return row.depth

    async def _with_siblings(self, key: Key, rows: Sequence[Row], found: list[Message], seq: int) -> list[Message]:
        there = {message.id for message in found}
        siblings = await self._siblings(key, [row for row in rows if row.id in there], seq)
        return [structs.replace(message, siblings=siblings[message.id]) for message in found]

    async def _as_many_as_fit(self, key: Key, rows: Sequence[Row], seq: int, *, newest: bool) -> list[Message]:
        """The first of the messages of these rows that fit into a page, or the last, if `newest`, in the same order. At least one."""
        ahead = rows[::-1] if newest else rows
        found: list[Message] = []
        room, largest, portion = PAGE_BYTES, 1, PORTION
        while len(found) < len(ahead):
            some = ahead[len(found) : len(found) + max(1, min(portion, room // largest))]
            for message, size in await self._sized(key, some, seq):
                room -= size
                if found and room < 0:
                    return found[::-1] if newest else found
                largest = max(largest, size)
                found.append(message)
            portion = min(2 * portion, PORTIONS)
            await asyncio.sleep(0)  # some stores read at once
        return found[::-1] if newest else found

    async def _sized(self, key: Key, rows: Sequence[Row], seq: int) -> list[tuple[Message, int]]:
        """Each with the bytes that it takes, encoded."""
        whole = {row.id: row.ended for row in rows if row.ended is not None and row.ended <= seq}
        found: dict[str, tuple[Message, int]] = {}
        for event in await self.events_at(key, whole.values()):
            match fact(event):
                case MessageCreated(message=message) | MessageEnded(message=message):
                    found[message.id] = message, len(event.data)
        for row in rows:
            if row.id not in whole:
                message = await self.folded(key, row, seq)
                found[row.id] = message, len(msgspec.json.encode(message))
        return [found[row.id] for row in rows]

    async def every_end(self, key: Key, page: int) -> AsyncIterator[Message]:
        """All replies of a session that have ended, in order of creation, without `siblings`. Raises SessionNotFound.

        Rows are read `page` at a time. What others say is not: it may hold pictures, and those many MB.
        """
        await self._decisions.header(key)
        after = 0
        while rows := await self._store.created(key, after=after, before=NEVER, limit=page):
            ended = [row for row in rows if row.ended not in (None, row.created)]
            for at in range(0, len(ended), PORTION):
                for message in await self.plain(key, ended[at : at + PORTION]):
                    yield message
            after = rows[-1].created

    async def events_of(self, key: Key, row: Row, seq: int = NEVER) -> AsyncIterator[Event]:
        """The events of one message up to `seq`, its creation first."""
        after = row.created - 1
        while events := await self._store.events(key, after=after, until=seq, message_ids=[row.id]):
            for event in events:
                yield event
            after = events[-1].seq

    async def folded(self, key: Key, row: Row, seq: int = NEVER, *, strict: bool = True) -> Message:
        """A message whose end is not there (yet), from its events up to `seq`.

        Raises BrokenLog where they do not fold; or without `strict` tells what those before do.
        """
        reply: ReplyFold | None = None
        async for event in self.events_of(key, row, seq):
            said = fact(event)
            if reply is None:
                if not isinstance(said, MessageCreated):
                    raise MessageNotFound(row.id)
                reply = ReplyFold(said.message)
            else:
                try:
                    reply.apply(said)
                except BrokenLog:
                    if strict:
                        raise
                    break
        if reply is None:
            raise MessageNotFound(row.id)
        return reply.message()

    async def end_of_compacted(self, key: Key, message_id: str) -> Message | None:
        """A reply that has ended, without `siblings`, where the log does not tell all of its text before the end any more.

        Raises SessionNotFound and MessageNotFound.
        """
        row = await self.row(key, message_id)
        if row.ended is None:
            return None
        [ended] = await self.plain(key, [row])
        left = await self.folded(key, row, row.ended - 1, strict=False)
        return None if _extent(left) == _extent(ended) else ended

    async def _siblings(self, key: Key, rows: Iterable[Row], seq: int) -> dict[str, tuple[str, ...]]:
        rows = list(rows)
        children = await self._store.children(key, {row.parent_id for row in rows})
        return {
            row.id: siblings_of(child.id for child in children.get(row.parent_id, []) if child.created <= seq)
            for row in rows
        }


def _extent(reply: Message) -> tuple[int, int]:
    """Code points and tool calls: of two beginnings of one text the shorter has less of these."""
    return ReplyText.of(reply).size, len(reply.tool_calls)


def _cut(rows: list[Row], window: Window) -> tuple[list[Row], bool]:
    """Takes off the one message more that was read to see whether there are more."""
    if len(rows) <= window.limit:
        return rows, False
    return (rows[1:] if window.backwards else rows[: window.limit]), True
