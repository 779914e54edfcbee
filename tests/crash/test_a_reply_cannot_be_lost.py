"""A real server is killed at random moments while people chat and readers write down what they see.

Nothing acknowledged is lost, nothing seen is missing, nothing is doubled, nothing is stuck, and no retry is billed twice.
"""

import faulthandler
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import promises
from crashes import Crashes
from people import Town
from processes import Server, Upstream
from store_urls import LASTING
from witnesses import Witnessed

pytestmark = [pytest.mark.crash, pytest.mark.timeout(600)]

Tell = Callable[[str], None]


@pytest.fixture
def seed() -> int:
    return random.SystemRandom().randrange(1 << 32)


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    upstream = Upstream()
    yield upstream
    upstream.close()


async def crash(
    server: Server, kills: int, seed: int, tell: Tell, *, compacts: bool = False
) -> tuple[Crashes, list[promises.Kept]]:
    faulthandler.cancel_dump_traceback_later()  # it comes at 50 s, which the long form takes without being stuck
    town = Town(server.url, Witnessed(compacts=compacts), random.Random(seed))
    crashes, began = Crashes(server, town, random.Random(seed + 1)), time.monotonic()
    try:
        kept = await crashes.run(kills)
    except BaseException as fault:
        fault.add_note(f"seed {seed}, after {crashes.kills}; the log of the server is {server.log}")
        raise
    finally:
        await town.http.aclose()
        server.close()
        tell(summary(crashes, town, server, seed, time.monotonic() - began))
    return crashes, kept


def check_that_it_was_hard(crashes: Crashes, kills: int) -> None:
    """A run in which nothing was cut off would prove nothing."""
    assert crashes.kills.total() - crashes.kills["SIGTERM"] >= kills
    assert crashes.statuses["interrupted"] >= kills / 4 and crashes.statuses["completed"]
    assert crashes.checks >= kills / 10


def summary(crashes: Crashes, town: Town, server: Server, seed: int, seconds: float) -> str:
    witnessed, kills = town.witnessed, dict(crashes.kills)
    terms = kills.pop("SIGTERM", 0)
    return (
        f"{sum(kills.values())} kills ({told(kills)}) and {terms} SIGTERMs, {crashes.checks} checks between, in "
        f"{seconds:.0f} s: {sum(crashes.statuses.values())} replies in {len(town.rooms)} sessions "
        f"({told(crashes.statuses)}), {sum(map(len, witnessed.seen.values()))} frames seen by {witnessed.readers} readers, "
        f"{witnessed.again} requests made again; longest start {max(server.starts, default=0):.2f} s, longest recovery "
        f"{max(server.recoveries, default=0):.3f} s; seed {seed}"
    )


def told(counted: dict[str, int]) -> str:
    return ", ".join(f"{count} {what}" for what, count in sorted(counted.items(), key=lambda item: -item[1]))


async def test_a_reply_cannot_be_lost(tmp_path: Path, request: pytest.FixtureRequest, seed: int, tell: Tell) -> None:
    kills = 200 if request.config.getoption("--full") else 10
    crashes, _ = await crash(Server(tmp_path, "scripted:echo"), kills, seed, tell)
    check_that_it_was_hard(crashes, kills)


@pytest.mark.parametrize("store", [store for store in LASTING if store != "sqlite"])
async def test_nor_on_another_store(
    tmp_path: Path, request: pytest.FixtureRequest, seed: int, tell: Tell, store: str
) -> None:
    """And while the deltas of what has just ended are dropped."""
    kills = 100 if request.config.getoption("--full") else 5
    server = Server(tmp_path, "scripted:echo", store, REJOINDER_KEEP_DELTAS="0.2")
    crashes, _ = await crash(server, kills, seed, lambda line: tell(f"{store}: {line}"), compacts=True)
    assert crashes.kills.total() >= kills and crashes.checks


async def test_no_retry_is_billed_twice(
    tmp_path: Path, request: pytest.FixtureRequest, upstream: Upstream, seed: int, tell: Tell
) -> None:
    """The same over a real upstream, which remembers what it was asked."""
    kills = 30 if request.config.getoption("--full") else 3
    server = Server(tmp_path, "openai:scripted", OPENAI_BASE_URL=upstream.base_url, OPENAI_API_KEY="key")
    _, kept = await crash(server, kills, seed, tell)
    asked = promises.nothing_was_asked_twice(upstream.records(), kept)
    tell(f"upstream: asked {asked} times for {sum(len(each.replies) for each in kept)} replies")
