"""Decisions are conditional: made on a header at version v, appended only if the session is still at v, else made again.

So retries, double clicks and two workers cannot race, whatever they decide.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from msgspec import UNSET, Struct, UnsetType, structs

from rejoinder.abc import Append, Appended, EndedRow, NewRow, Row, Store, Wake
from rejoinder.chat import ids
from rejoinder.chat.writer import Writer
from rejoinder.entities import Asides, Header, Key, OpenReply, Session
from rejoinder.errors import RejoinderError, SessionNotFound
from rejoinder.events import Draft

T = TypeVar("T")


class Decision(Struct, Generic[T], frozen=True):
    """What to append, if anything, and what is so once that stands.

    `meanwhile` makes more of the outcome while the append is on its way to the disk. It must not raise.
    """

    outcome: T
    append: Append | None = None
    meanwhile: Callable[[], Awaitable[T]] | None = None


class Decided(Struct, Generic[T], frozen=True):
    """`first` is the seq of the first event that was appended, 0 where none was."""

    outcome: T
    first: int = 0


class Decisions:
    def __init__(self, store: Store, writer: Writer, clock: Callable[[], str] = ids.timestamp) -> None:
        self.store = store
        self.writer = writer
        self._clock = clock

    async def decide(
        self, key: Key, plan: Callable[[Header], Awaitable[Decision[T]]], *, pressing: bool = True
    ) -> Decided[T]:
        """Plans on the session as it is until the plan holds. Raises SessionNotFound, and what the plan raises."""
        while True:
            epoch = self.writer.epoch
            decision = await self._planned(key, plan)
            if decision.append is None:
                return Decided(decision.outcome)
            appending = await self.writer.begin(decision.append, epoch, pressing=pressing)
            outcome = decision.outcome
            if decision.meanwhile is not None:
                await asyncio.sleep(0)  # the commit begins
                outcome = await decision.meanwhile()
            match await appending:
                case Appended(first=first):
                    return Decided(outcome, first)
                case refused if refused.reason == "missing":
                    raise SessionNotFound(key.session_id)

    async def _planned(self, key: Key, plan: Callable[[Header], Awaitable[Decision[T]]]) -> Decision[T]:
        """On what this worker remembers of the session, if it does, else on what the store says.

        Where others write as well, what is remembered may be over. Then an append is refused, and nothing else that comes of it counts.
        """
        remembered = self.writer.latest.header(key)
        if remembered is not None:
            try:
                decision = await plan(remembered)
                if decision.append is not None or self.store.exclusive:
                    return decision
            except RejoinderError:
                if self.store.exclusive:
                    raise
            self.writer.latest.forget(key)
        return await plan(await self.header(key))

    async def last_known(self, key: Key) -> Header:
        """The header as this worker remembers it, else as the store has it. Raises SessionNotFound.

        Of what others have written since it tells what a wake has told of. Its `last_seq` may be behind.
        """
        return self.writer.latest.header(key) or await self.header(key)

    def newest(self, key: Key, header: Header) -> Row | UnsetType | None:
        """As `Latest.newest`, for a decision on `header`: UNSET where that is not what this worker remembers, for others may have written
        between the two."""
        latest = self.writer.latest
        return latest.newest(key) if header is latest.header(key) else UNSET

    def on_wakes(self, wakes: Sequence[Wake]) -> None:
        """What others have written meanwhile is not what this worker remembers. A wake that is lost costs a refused append."""
        for wake in wakes:
            if wake.elsewhere:
                self.writer.latest.forget(wake.key)

    async def header(self, key: Key) -> Header:
        """The header as it is now. Raises SessionNotFound."""
        header = await self.store.header(key)
        if header is None:
            raise SessionNotFound(key.session_id)
        return header

    def now(self, session: Session | None = None) -> str:
        """The time for the next change of a session: never before its last, whatever the clock does."""
        now = self._clock()
        return max(now, session.updated_at) if session else now


def first_version() -> int:
    """Of a session that is made now. A time, in microseconds, so that a session that is made again under the id of one that was deleted
    is never at a version of that: what was decided on the one cannot be appended to the other."""
    return time.time_ns() // 1_000


def change(
    key: Key,
    header: Header,
    session: Session,
    drafts: tuple[Draft, ...],
    *,
    open_replies: tuple[OpenReply, ...] | None = None,
    created: tuple[NewRow, ...] = (),
    ended: tuple[EndedRow, ...] = (),
    asides: Asides | None = None,
) -> Append:
    """An append that takes the session from `header` to its next version. What is None stays as it is."""
    after = structs.replace(
        header,
        session=session,
        version=header.version + 1,
        open=header.open if open_replies is None else open_replies,
        asides=asides or header.asides,
    )
    return Append(key=key, drafts=drafts, expect=header.version, header=after, created=created, ended=ended)
