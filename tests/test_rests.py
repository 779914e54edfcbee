"""When each reply that rests is looked at: by how fast it is, at ticks that all share."""

import asyncio
from collections.abc import Iterator
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rejoinder.chat.rests import OVERDUE, PAUSES, TICK, WINDOW, Rests

BEGIN = 1_000.0
SLOW, MEDIUM, FAST = (ticks for _, ticks in PAUSES)


class Reply:
    """One whose upstream has sent its first piece at a time, and sends so many a second from then on; `looks` are the seconds
    at which it was looked at.
    """

    def __init__(self, clock: "Clock", speed: float, began: float) -> None:
        self._clock = clock
        self.speed = speed
        self.began = began
        self.looks: list[float] = []
        self.over = False
        self._said, self._until = 1.0, began

    def look(self, soon: bool) -> int | None:
        self.looks.append(self._clock.now)
        self._said += self.speed * max(0, self._clock.now - self._until)
        self._until = max(self._until, self._clock.now)
        return None if self.over else int(self._said)

    def hold_back(self, seconds: float) -> float:
        """The next piece comes so much later: at the time that is told."""
        self._until += seconds
        return self._until + (1 - self._said % 1) / self.speed

    def waited(self, since: float) -> float:
        """Seconds from then until it was looked at."""
        return next(at for at in self.looks if at >= since) - since

    def pauses(self, behind: float) -> set[int]:
        """Ticks between two looks, of those so many seconds after it began."""
        looks = [at for at in self.looks if at >= self.began + behind]
        return {round((later - earlier) / TICK) for earlier, later in pairwise(looks)}


class Clock:
    """Looks whenever it is time, or so much later."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.now = BEGIN
        self.rests = Rests()
        self._loop = loop

    def reply(self, speed: float, *, ago: float = 0) -> Reply:
        """It begins now, or began so many seconds ago, since the last beat."""
        reply = Reply(self, speed, self.now - ago)
        self.rests.add(reply.look, 1, self._loop)
        return reply

    def beat(self, late: float = 0) -> bool:
        """Whether somebody was over."""
        over = self.rests.look(self.now, busy=True)
        assert self.rests.next > self.now
        self.now = self.rests.next + late
        return over

    def run(self, seconds: float) -> None:
        until = self.now + seconds
        while self.now < until:
            self.beat()


@pytest.fixture
def clock() -> Iterator[Clock]:
    loop = asyncio.new_event_loop()
    yield Clock(loop)
    loop.close()


@pytest.mark.parametrize(("speed", "ticks"), [(17, SLOW), (33, MEDIUM), (50, FAST), (100, FAST), (1_000, FAST)])
def test_how_often_one_is_looked_at_goes_by_how_fast_it_is(clock: Clock, speed: float, ticks: int) -> None:
    reply = clock.reply(speed)
    clock.run(5)
    assert reply.pauses(behind=3 * WINDOW) == {ticks}


def test_a_reply_that_becomes_faster_or_slower_is_looked_at_as_it_is_now(clock: Clock) -> None:
    reply = clock.reply(30)
    clock.run(2)
    reply.speed = 100
    clock.run(2)
    assert reply.pauses(behind=2 + 3 * WINDOW) == {FAST}


def test_a_new_one_is_taken_to_be_as_fast_as_the_last_that_was_measured(clock: Clock) -> None:
    clock.reply(100)
    clock.run(1)
    new: list[Reply] = []
    for _ in range(5):
        new.append(clock.reply(100))  # of the others nothing is known yet
        clock.run(0.1)
    clock.run(1)
    assert all(reply.pauses(behind=FAST * TICK) == {FAST} for reply in new)


def test_what_comes_a_little_later_than_usual_is_found_a_tick_later(clock: Clock) -> None:
    reply = clock.reply(17)
    clock.run(2)
    held_until = reply.hold_back(1.5 * TICK)
    clock.run(2)
    assert reply.waited(held_until) <= TICK
    assert reply.pauses(behind=2.5) == {SLOW}, "and then as before"


def test_one_that_is_silent_is_looked_at_no_more_often_than_one_that_speaks(clock: Clock) -> None:
    reply = clock.reply(17)
    clock.run(2)
    reply.speed = 0
    looks = len(reply.looks)
    clock.run(10)
    assert len(reply.looks) - looks <= 10 / (SLOW * TICK) + OVERDUE + 1


def test_the_second_word_of_a_reply_is_not_looked_for_a_whole_pause_too_late(clock: Clock) -> None:
    """Its first look comes with those of others, before it can have said more."""
    clock.reply(17)
    clock.run(1)
    for ago in (0, 0.01, 0.02, 0.03, 0.04, 0.05, 0.06, 0.07):
        reply = clock.reply(17, ago=ago)
        clock.run(0.2)
        assert reply.waited(reply.began + 1 / 17) <= TICK * (1 + 1e-6)


def test_looks_fall_together_where_they_can(clock: Clock) -> None:
    for speed in (30, 100, 30, 100, 15):
        clock.reply(speed)
        clock.run(0.17)
    clock.run(1)
    beats = []
    until = clock.now + 10
    while clock.now < until:
        beats.append(round(clock.now / TICK))
        clock.beat()
    assert all(any(tick % pause == 0 for pause in (SLOW, MEDIUM, FAST)) for tick in beats)
    assert len(beats) == pytest.approx(10 / TICK * 4 / 6, abs=2), (
        "of six ticks at four, since the fast ones come with the medium"
    )


def test_a_service_that_is_not_busy_looks_at_all_whenever_it_looks(clock: Clock) -> None:
    replies = [clock.reply(speed) for speed in (1, 30, 100)]
    for _ in range(10):
        clock.rests.look(clock.now, busy=False)
        clock.now += TICK / 4
    assert [len(reply.looks) for reply in replies] == [10, 10, 10]


def test_it_counts_who_had_something_to_say_at_the_last_look_at_it(clock: Clock) -> None:
    for speed in (1_000, 30, 0):
        clock.reply(speed)
    clock.run(1)
    for _ in range(20):
        clock.beat()
        assert clock.rests.speaking == 2, "those as well that it was not time for"


def test_one_that_is_over_is_looked_at_no_more(clock: Clock) -> None:
    one, other = clock.reply(100), clock.reply(100)
    clock.run(1)
    one.over = True
    assert clock.beat()
    looks = len(one.looks)
    assert not clock.beat()
    assert len(one.looks) == looks
    assert len(other.looks) == looks + 1
    other.over = True
    assert clock.beat()
    assert not clock.rests


@given(
    speeds=st.lists(st.floats(0, 300), min_size=1, max_size=8),
    lates=st.lists(st.floats(0, 0.5), min_size=1, max_size=60),
)
def test_however_late_the_beats_are_nobody_waits_longer_than_the_longest_pause_and_the_delay(
    speeds: list[float], lates: list[float]
) -> None:
    loop = asyncio.new_event_loop()
    clock = Clock(loop)
    replies = [clock.reply(speed) for speed in speeds]
    before = BEGIN
    for late in lates:
        looked_at = clock.now
        clock.beat(late)
        for reply in replies:
            assert reply.looks, "at the first beat"
            if reply.looks[-1] != looked_at:
                assert looked_at - reply.looks[-1] < FAST * TICK, "it was not time for it"
        assert before <= clock.now
        before = clock.now
    loop.close()


def test_the_classes_are_told_apart_by_more_than_a_piece() -> None:
    """A piece more or less in a window, as it falls, must not change how often a reply of these speeds is looked at."""
    edges = [0.0, *(below for below, _ in PAUSES)]
    for speed, (lowest, highest) in zip((17, 33, 50), pairwise(edges), strict=True):
        assert lowest <= speed - 1 / WINDOW
        assert speed + 1 / WINDOW <= highest
