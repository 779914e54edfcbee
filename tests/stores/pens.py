"""Short words for what the tests of stores hand in."""

from collections.abc import Sequence
from typing import Any, Self

from msgspec import structs

from rejoinder.abc import ABSENT, Append, Appended, AppendResult, EndedRow, Lease, NewRow, Store, Text
from rejoinder.entities import Header, Key, OpenReply, Session
from rejoinder.events import Draft, Event

KEY = Key("ann", "ses_1")
OTHER = Key("ann", "ses_2")
NOON = "2026-11-24T12:00:00.000Z"


class Pen:
    """Writes under a lease and counts the batches, as a worker does."""

    def __init__(self, store: Store, lease: Lease) -> None:
        self.store = store
        self.lease = lease
        self.number = self.acknowledged = 0

    @classmethod
    async def of(cls, store: Store, worker: str = "worker", ttl: float = 60) -> Self:
        return cls(store, await store.acquire_lease(worker, ttl))

    async def write(self, *appends: Append) -> list[AppendResult]:
        self.number += 1
        return await self.again(*appends)

    async def again(self, *appends: Append) -> list[AppendResult]:
        """The same batch under the same number."""
        number = self.number
        results = await self.store.append(self.lease, number, appends, acknowledged=self.acknowledged)
        self.acknowledged = number
        return results

    async def made(self, *appends: Append) -> list[int]:
        """The first seqs of a batch of which nothing is refused."""
        results = await self.write(*appends)
        assert all(isinstance(result, Appended) for result in results), results
        return [result.first for result in results if isinstance(result, Appended)]


def said(text: str = "", message_id: str | None = None, kind: str = "message.delta") -> Draft:
    return Draft(kind, message_id, b'{"text":"%s"}' % text.encode())


def header(key: Key = KEY, version: int = 1, *, replies: Sequence[OpenReply] = (), **session: Any) -> Header:
    session = {"created_at": NOON, "updated_at": NOON} | session
    return Header(session=Session(id=key.session_id, **session), version=version, open=tuple(replies))


def create(key: Key = KEY, *drafts: Draft, replies: Sequence[OpenReply] = (), **session: Any) -> Append:
    drafts = drafts or (said(kind="session.created"),)
    return Append(key=key, drafts=drafts, expect=ABSENT, header=header(key, replies=replies, **session))


def change(
    key: Key,
    expect: int,
    *drafts: Draft,
    replies: Sequence[OpenReply] = (),
    created: Sequence[NewRow] = (),
    ended: Sequence[EndedRow] = (),
    **session: Any,
) -> Append:
    return Append(
        key=key,
        drafts=drafts or (said(kind="session.updated"),),
        expect=expect,
        header=header(key, expect + 1, replies=replies, **session),
        created=tuple(created),
        ended=tuple(ended),
    )


def delta(text: str = "word", key: Key = KEY, message_id: str | None = "msg_1") -> Append:
    return Append(key=key, drafts=(said(text, message_id),))


def reply(lease: Lease, message_id: str = "msg_1") -> OpenReply:
    return OpenReply(id=message_id, worker=lease.worker, epoch=lease.epoch)


def row(
    message_id: str,
    parent_id: str | None = None,
    *,
    lane: str | None = None,
    depth: int = 0,
    at: int = 0,
    ended: bool = True,
) -> NewRow:
    return NewRow(id=message_id, parent_id=parent_id, lane=lane or message_id, depth=depth, at=at, ended=ended)


def long_session(key: Key = KEY, word: str = "secret", count: int = 60) -> Append:
    """All of whose messages have a text and are ripe."""
    names = [f"msg_{number:02}" for number in range(count)]
    return Append(
        key=key,
        drafts=tuple(said("x" * 100, name, "message.created") for name in names),
        expect=ABSENT,
        header=header(key, title=word),
        created=tuple(row(name, at=at, ended=False) for at, name in enumerate(names)),
        ended=tuple(EndedRow(id=name, at=at, ended_at=NOON) for at, name in enumerate(names)),
        texts=tuple(Text(message_id=name, words=word, at=NOON) for name in names),
    )


async def log(store: Store, key: Key = KEY) -> list[Event]:
    """The whole log, page by page."""
    found: list[Event] = []
    while page := await store.events(key, after=found[-1].seq if found else 0, limit=500):
        found += page
    return found


async def texts(store: Store, key: Key = KEY) -> list[bytes]:
    return [event.data for event in await log(store, key)]


def at_seq(kept: Header, last_seq: int) -> Header:
    """A header as it is read: with the last seq of the log."""
    return structs.replace(kept, session=structs.replace(kept.session, last_seq=last_seq))
