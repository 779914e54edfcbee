"""A store filled through its contract, as the service fills it: the same events, rows and texts, many appends a batch."""

import hashlib
import itertools
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from random import Random

from msgspec import structs

from rejoinder.abc import ABSENT, Append, Appended, EndedRow, NewRow, Store
from rejoinder.chat.deltas import deltas_of
from rejoinder.chat.texts import with_texts
from rejoinder.entities import Attempt, Header, Key, Message, Session, Status, Usage
from rejoinder.events import (
    Fact,
    MessageCreated,
    MessageEnded,
    MessageStarted,
    PromptSent,
    SessionCreated,
    draft,
)

BATCH = 500
"""Appends of one batch."""

DELTA = 24
"""Bytes of a delta's text: some five tokens, as they gather during a commit."""

FIRST = datetime(2026, 1, 1, tzinfo=UTC)
APART = 40
"""Seconds between two messages."""

SAID, REPLIED = (5, 40), (40, 300)
"""Words of a message and of a reply: from and to."""

MODEL = "openai:gpt-4.1-mini"


class Prose:
    """Words as prose has them: a few of them everywhere, most of them rare."""

    def __init__(self, seed: int = 0) -> None:
        self._random = Random(seed)
        self.words = [self._word() for _ in range(30_000)]
        self._weights = list(itertools.accumulate(1 / (rank + 3) for rank in range(len(self.words))))

    def text(self, shortest: int, longest: int) -> str:
        return " ".join(self.said(self._random.randint(shortest, longest)))

    def said(self, number: int) -> list[str]:
        """Words as often as they are said."""
        return self._random.choices(self.words, cum_weights=self._weights, k=number)

    def _word(self) -> str:
        letters = "etaoinshrdlucmfwypvbgkjqxz"
        size = self._random.choice((2, 3, 3, 4, 4, 5, 5, 6, 7, 8, 9, 10))
        return "".join(letters[min(int(self._random.expovariate(0.18)), 25)] for _ in range(size))


class Filling:
    """Writes to a store under one lease, and counts the bytes of text that it wrote."""

    def __init__(self, store: Store, prose: Prose) -> None:
        self.store = store
        self.prose = prose
        self.text_bytes = 0
        self._number = 0
        self._ids = itertools.count(1)
        self._seconds = itertools.count(0, APART)

    async def open(self) -> None:
        self._lease = await self.store.acquire_lease("bench", 24 * 3_600)

    async def write(self, appends: Iterator[Append], *, search: bool = True) -> None:
        while batch := list(itertools.islice(appends, BATCH)):
            told = [await with_texts(append) for append in batch] if search else batch
            self._number += 1
            results = await self.store.append(self._lease, self._number, told)
            assert all(isinstance(result, Appended) for result in results), results

    def sessions(self, owner: str, number: int) -> Iterator[Append]:
        """Sessions with a title each, and nothing else."""
        for place in range(number):
            yield self._session(Key(owner, self._id("ses")), title=f"Session {place}")[1]

    def talk(self, key: Key, turns: int, *, deltas: bool) -> Iterator[Append]:
        """A session of so many messages and replies, one below the other."""
        header, append = self._session(key, title=self.prose.text(2, 6))
        yield append
        parent: NewRow | None = None
        for _ in range(turns):
            facts, rows = self._turn(key, parent, deltas=deltas)
            ended = EndedRow(id=rows[1].id, at=len(facts) - 1, ended_at=self._now())
            session = structs.replace(header.session, head=rows[1].id, updated_at=ended.ended_at)
            header = Header(session=session, version=header.version + 1)
            parent = rows[1]
            yield Append(
                key=key,
                drafts=tuple(map(draft, facts)),
                expect=header.version - 1,
                header=header,
                created=rows,
                ended=(ended,),
            )

    def _session(self, key: Key, title: str) -> tuple[Header, Append]:
        now = self._now()
        session = Session(id=key.session_id, title=title, created_at=now, updated_at=now)
        header = Header(session=session, version=1)
        said = SessionCreated(session=session, request_hash="0" * 32)
        return header, Append(key=key, drafts=(draft(said),), expect=ABSENT, header=header)

    def _turn(
        self, key: Key, parent: NewRow | None, *, deltas: bool
    ) -> tuple[list[Fact | PromptSent], tuple[NewRow, NewRow]]:
        now = self._now()
        above = parent.id if parent else None
        message = Message(
            id=self._id("msg"),
            session_id=key.session_id,
            parent_id=above,
            role="user",
            content=self.prose.text(*SAID),
            created_at=now,
            ended_at=now,
        )
        begun = Message(
            id=self._id("msg"),
            session_id=key.session_id,
            parent_id=message.id,
            role="assistant",
            status=Status.STREAMING,
            created_at=now,
        )
        ended = structs.replace(
            begun,
            content=self.prose.text(*REPLIED),
            status=Status.COMPLETED,
            model=MODEL,
            finish_reason="stop",
            usage=Usage(input_tokens=1_000, output_tokens=200, source="provider"),
            attempts=(Attempt(model=MODEL),),
            ended_at=self._now(),
        )
        self.text_bytes += len(str(message.content).encode()) + len(str(ended.content).encode())
        facts: list[Fact | PromptSent] = [
            MessageCreated(message=message, request_hash=hashlib.sha256(message.id.encode()).hexdigest()[:32]),
            MessageCreated(message=begun, models=(MODEL,)),
            MessageStarted(message_id=begun.id, attempt=1, model=MODEL),
            PromptSent(
                message_id=begun.id,
                attempt=1,
                model=MODEL,
                upstream_model=MODEL.partition(":")[2],
                system_prompt=None,
                prefill="",
                params={},
                sha256=hashlib.sha256(begun.id.encode()).hexdigest(),
            ),
            *(deltas_of(ended, DELTA) if deltas else ()),
            MessageEnded(message=ended),
        ]
        depth = parent.depth + 1 if parent else 0
        lane = parent.lane if parent else message.id
        first = NewRow(id=message.id, parent_id=above, lane=lane, depth=depth, at=0, ended=True)
        return facts, (
            first,
            NewRow(id=begun.id, parent_id=message.id, lane=lane, depth=depth + 1, at=1, ended=False),
        )

    def new_key(self, owner: str) -> Key:
        return Key(owner, self._id("ses"))

    def _id(self, prefix: str) -> str:
        # Spread as random ids are, and the same in each run.
        return f"{prefix}_{next(self._ids) * 0x9E3779B97F4A7C15F39CC0605CEDC835 % (1 << 128):032x}"

    def _now(self) -> str:
        then = FIRST + timedelta(seconds=next(self._seconds))
        return then.isoformat(timespec="milliseconds").replace("+00:00", "Z")
