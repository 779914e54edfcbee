"""An upstream that is silent for too long is given up, whether it is waited for or looked at now and then; one that nobody asks is not."""

import asyncio
from collections.abc import Callable

import pytest

from rejoinder.chat.watchdog import ReplyLimits, Watchdog
from rejoinder.errors import ProviderError

FIRST, STALL, ALL = 0.8, 0.6, 60.0
STEP = 0.05


def limits(*, seconds: float = ALL) -> ReplyLimits:
    return ReplyLimits(max_bytes=1, max_seconds=seconds, max_delta=1, first_token_timeout=FIRST, stall_timeout=STALL)


async def watched(at_each_step: Callable[[Watchdog, int], None], *, steps: int = 28, seconds: float = ALL) -> str:
    """The code with which the upstream was given up, "" where it was not."""
    watchdog = Watchdog(limits(seconds=seconds))
    try:
        with watchdog.watching():
            for step in range(steps):
                at_each_step(watchdog, step)
                await asyncio.sleep(STEP)
    except ProviderError as fault:
        return fault.code
    return ""


def nothing(watchdog: Watchdog, step: int) -> None:
    pass


def heard_once(watchdog: Watchdog, step: int) -> None:
    """And then it is somebody else who is waited for: a store that is away."""
    if not step:
        watchdog.heard()


def silent_once(watchdog: Watchdog, step: int) -> None:
    """One look met nothing, and then there was none."""
    if step < 2:
        (watchdog.silent if step else watchdog.heard)()


def heard_and_awaited(watchdog: Watchdog, step: int) -> None:
    if not step:
        watchdog.heard()
        watchdog.go_on()


def heard_and_looked_at(watchdog: Watchdog, step: int) -> None:
    (watchdog.silent if step else watchdog.heard)()


def alive_before_the_first_word(watchdog: Watchdog, step: int) -> None:
    """For longer than it may be silent; then it is silent, for as long as one may be that has said nothing yet."""
    if step < 12:
        watchdog.alive()
        watchdog.go_on()


def alive_all_the_time(watchdog: Watchdog, step: int) -> None:
    watchdog.alive()
    watchdog.go_on()


def looked_at_then_awaited(watchdog: Watchdog, step: int) -> None:
    """In a service that was busy for a while."""
    if step < 8:
        heard_and_looked_at(watchdog, step)
    elif step == 8:
        watchdog.go_on()


def heard_now_and_then(watchdog: Watchdog, step: int) -> None:
    (watchdog.silent if step % 3 else watchdog.heard)()


@pytest.mark.parametrize(
    ("does", "code"),
    [
        (nothing, "upstream_timeout"),
        (heard_and_awaited, "upstream_stalled"),
        (heard_and_looked_at, "upstream_stalled"),
        (looked_at_then_awaited, "upstream_stalled"),
        (heard_now_and_then, ""),
        (heard_once, ""),
        (alive_before_the_first_word, "upstream_timeout"),
        (alive_all_the_time, ""),
        (silent_once, ""),
    ],
)
async def test_who_is_given_up(does: Callable[[Watchdog, int], None], code: str) -> None:
    assert await watched(does) == code


async def test_the_silence_that_a_look_met_counts_when_the_upstream_is_waited_for() -> None:
    began = asyncio.get_running_loop().time()
    assert await watched(looked_at_then_awaited) == "upstream_stalled"
    assert asyncio.get_running_loop().time() - began < STALL + 6 * STEP, (
        "not that of a stall that begins with the waiting"
    )


async def test_a_reply_that_takes_too_long_in_all_is_given_up_though_it_says_something() -> None:
    assert await watched(heard_now_and_then, seconds=0.4) == "reply_too_long"


async def test_who_cancels_as_well_is_heard() -> None:
    async with asyncio.TaskGroup() as group:
        task = group.create_task(watched(nothing))
        await asyncio.sleep(STEP)
        task.cancel()
    assert task.cancelled()
