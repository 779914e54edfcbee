"""A reader gets every frame once and in order, whether it is given them as they are committed or takes them in its own turn."""

import asyncio
from contextlib import aclosing

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rejoinder.abc import ABSENT, Append, Appended, Wake
from rejoinder.chat import following
from rejoinder.chat.following import Following
from rejoinder.chat.tails import PIECE, Frame, Piece, Tails
from rejoinder.entities import Header, Key, Session
from rejoinder.errors import SessionGone
from rejoinder.events import Draft, Event, SessionCreated, draft
from rejoinder.signals.local import LocalSignals
from rejoinder.stores.memory import MemoryStore

KEY = Key("o", "ses_1")
AT = "2026-01-01T00:00:00.000Z"
SIZES = (10, 10, 10, PIECE // 2, 3 * PIECE)
"""Bytes of a text: most are short, and some fill a piece."""

Step = tuple[list[tuple[str, int]], str, bool, int]
"""Texts of one commit (of a message, so long), what becomes of its wake, whether the reader takes what it is given, and turns of
the loop that it has afterwards."""

commits = st.lists(st.tuples(st.sampled_from(("a", "b")), st.sampled_from(SIZES)), min_size=1, max_size=4)
wakes = st.sampled_from(("whole", "whole", "whole", "torn", "bare", "lost"))
steps = st.lists(st.tuples(commits, wakes, st.booleans(), st.integers(0, 2)), max_size=25)


class Log:
    """A store with one session, and a tail that is told of its commits, well or badly."""

    def __init__(self, signals: LocalSignals | None = None) -> None:
        self.store, self.tails = MemoryStore(), Tails()
        self.following = Following(self.store, signals or LocalSignals(), self.tails)
        self._number = 0

    async def begin(self, at: str = AT) -> None:
        self._lease, self._number = await self.store.acquire_lease("w", 10), 0
        session = Session(id=KEY.session_id, created_at=at, updated_at=at)
        said = draft(SessionCreated(session=session))
        await self._append(Append(key=KEY, drafts=(said,), expect=ABSENT, header=Header(session=session, version=1)))

    async def commit(self, texts: list[tuple[str, int]], wake: str) -> list[Event]:
        drafts = tuple(
            Draft("message.delta", mid, b'{"message_id":"%b","text":"%b"}' % (mid.encode(), b"x" * size))
            for mid, size in texts
        )
        first = await self._append(Append(key=KEY, drafts=drafts))
        events = tuple(Event(first + at, each.type, each.message_id, each.data) for at, each in enumerate(drafts))
        if wake != "lost":
            told = {"whole": events, "torn": events[:1] + events[2:]}.get(wake, ())
            self.tails.push([Wake(KEY, told)])
        return list(events)

    async def _append(self, append: Append) -> int:
        self._number += 1
        [result] = await self.store.append(self._lease, self._number, [append])
        assert isinstance(result, Appended)
        return result.first


class Reader:
    """Reads the log from its beginning. `takes` says whether it takes what it is given as it is committed."""

    def __init__(self, log: Log, of: frozenset[str] | None, *, broken: bool = False) -> None:
        self.got: list[Frame] = []
        self.takes = False
        self._broken = broken
        self._reading = log.following.follow(KEY, 1, of, 3600, self._take)
        self._task = asyncio.create_task(self._read())

    async def has(self, count: int) -> None:
        """Returns once it has so many frames, or will not get them."""
        for _ in range(2_000):
            if len(self.got) >= count:
                break
            await asyncio.sleep(0)
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    def _take(self, piece: Piece) -> bool:
        assert piece.body == b"".join(frame.data for frame in piece.frames) != b""
        if self._broken:
            raise RuntimeError("the handler is closed")
        if self.takes:
            self.got.extend(piece.frames)
        return self.takes

    async def _read(self) -> None:
        async with aclosing(self._reading) as batches:
            async for piece in batches:
                assert sum(len(frame.data) for frame in piece.frames[:-1]) < PIECE, "no write is longer than a piece"
                self.got.extend(piece.frames)


async def followed(
    script: list[Step], start: int, of: frozenset[str] | None, *, held: bool
) -> tuple[list[int], list[int]]:
    """The seqs that a reader got who came after `start` commits, and those that it should have got."""
    log, events = Log(), list[Event]()
    await log.begin()
    if held:  # the tail was there before the reader
        log.tails.hold(KEY)
    reader: Reader | None = None
    # In the end it is woken for sure: that nobody is when all wakes are lost is known.
    for number, (texts, wake, takes, turns) in enumerate([*script, ([("a", 10)], "bare", False, 0)]):
        if reader is None and number >= start:
            reader = Reader(log, of)
        if reader is not None:
            reader.takes = takes
        events += await log.commit(texts, wake)
        for _ in range(turns):
            await asyncio.sleep(0)
    reader = reader or Reader(log, of)
    wanted = [event.seq for event in events if of is None or event.message_id in of]
    await reader.has(len(wanted))
    return [frame.seq for frame in reader.got], wanted


@settings(max_examples=200, deadline=None)
@given(script=steps, start=st.integers(0, 3), of=st.sampled_from((None, frozenset("a"))), held=st.booleans())
def test_every_frame_comes_once_and_in_order(
    script: list[Step], start: int, of: frozenset[str] | None, held: bool
) -> None:
    got, wanted = asyncio.run(followed(script, start, of, held=held))
    assert got == wanted


async def test_a_reader_to_whom_the_way_is_broken_harms_nobody_and_takes_its_turn(
    caplog: pytest.LogCaptureFixture,
) -> None:
    log = Log()
    await log.begin()
    broken, other = Reader(log, None, broken=True), Reader(log, None)
    broken.takes = other.takes = True
    await asyncio.sleep(0.01)  # both have everything, and wait
    events = await log.commit([("a", 10)], "whole")
    wanted = [event.seq for event in events]
    assert [frame.seq for frame in other.got] == wanted
    for reader in (broken, other):
        await reader.has(1)
        assert [frame.seq for frame in reader.got] == wanted
    assert "a reader could not take" in caplog.text


# --- a session that takes the place of another, of which nobody told --------------------------------------------


class Unreliable(LocalSignals):
    reliable = False


async def read_by_one() -> tuple[Log, Reader]:
    """A session of five events, and who has read them."""
    log = Log(Unreliable())
    await log.begin()
    reader = Reader(log, None)
    for _ in range(5):
        await log.commit([("a", 10)], "whole")
    await asyncio.sleep(0.01)
    return log, reader


async def replaced(log: Log) -> None:
    assert await log.store.delete(KEY, 1)
    await log.begin(LATER)


async def gone(reader: Reader) -> bool:
    """Whether a reader is told that its session is no more."""
    await asyncio.wait({reader._task}, timeout=5)
    return reader._task.done() and isinstance(reader._task.exception(), SessionGone)


LATER = "2026-01-01T00:00:01.000Z"


@pytest.mark.parametrize("wake", ["whole", "bare", "lost"])
@pytest.mark.parametrize("commits", [1, 3, 9])
async def test_who_reads_a_session_is_told_nothing_of_another_that_has_its_id(
    monkeypatch: pytest.MonkeyPatch, wake: str, commits: int
) -> None:
    monkeypatch.setattr(following, "POLL", (0.05,))
    monkeypatch.setattr(following, "TRUSTED", 0.0)
    log, old = await read_by_one()
    before = list(old.got)
    await replaced(log)
    for _ in range(commits):
        await log.commit([("b", 10)], wake)
        await asyncio.sleep(0.01 if wake == "lost" else 0)
    assert await gone(old)
    # The log cries no loss of what nobody deleted.
    assert "or it is another" in str(old._task.exception())
    assert len(before) == 5
    assert old.got == before
    # Who comes now is of the new one, whatever was known of the old.
    new = Reader(log, frozenset("b"))
    await log.commit([("b", 10)], "whole")
    await new.has(commits + 1)
    assert [frame.seq for frame in new.got] == list(range(2, commits + 3))


async def test_who_reads_the_new_one_beside_those_who_read_on_of_the_old_misses_nothing() -> None:
    log, old = await read_by_one()
    await replaced(log)
    new = Reader(log, frozenset("b"))
    for _ in range(8):
        await log.commit([("b", 10)], "whole")
        await asyncio.sleep(0.001)
    await new.has(8)
    assert [frame.seq for frame in new.got] == list(range(2, 10))
    assert await gone(old)
    assert [frame.message_id for frame in old.got] == ["a"] * 5


async def test_behind_what_came_a_reader_soon_looks_for_itself_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "POLL", (0.01, 0.02, 3600.0))
    log, reader = await read_by_one()
    await asyncio.sleep(0.1)  # its next look is far away
    await log.commit([("a", 10)], "whole")
    await asyncio.sleep(0)
    await log.commit([("a", 10)], "lost")
    for _ in range(500):
        if len(reader.got) == 7:
            break
        await asyncio.sleep(0.01)
    await reader.has(7)
    assert [frame.seq for frame in reader.got] == list(range(2, 9))


# --- a session that is no more ------------------------------------------------------------------------------------


@pytest.mark.parametrize("of", [None, frozenset("a")])
async def test_who_begins_to_read_right_behind_a_deletion_is_told_so(of: frozenset[str] | None) -> None:
    log = Log()
    await log.begin()
    await log.commit([("a", 10)], "whole")
    assert await log.store.delete(KEY, 1)
    log.tails.push([Wake(KEY, deleted=True)])  # which nobody hears
    late = Reader(log, of)
    assert await gone(late)
    assert late.got == []
