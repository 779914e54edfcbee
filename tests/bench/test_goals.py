"""The verdicts are true: what is held against a goal is what its rounds measured, and nothing is met unmeasured."""

from typing import Any

import pytest
from bench.figures import Round
from bench.goals import Verdict
from bench.loads import GOALS, HELD, OVERLOAD, Load
from bench.memory import MIB, Memory
from bench.readers import Idle, Readers, Reading, Unread

from bench import goals

SOME = Load(streams=50)


def taken(contestant: str, load: Load = SOME, number: int = 1, **figures: Any) -> Round:
    usual: dict[str, Any] = dict.fromkeys(
        ("seconds", "core", "upstream_core", "load_core", "store_core", "first_p99", "gap_p50", "gap_p99", "gap_max"),
        1.0,
    )
    said: dict[str, Any] = {"cpu": 1.0, "first_p50": 1.0, "tokens_per_second": 1.0, "whole": load.streams, "faults": []}
    return Round(
        **usual | said | figures,
        contestant=contestant,
        load=load.name,
        streams=load.streams,
        pace=load.pace,
        round=number,
        tokens=1,
        memory=1,
        firsts=1,
    )


def found(rounds: list[Round], goal: str) -> Verdict:
    (verdict,) = (each for each in goals.of_speed(rounds) if each.goal == goal)
    return verdict


def test_what_nobody_measured_is_not_met() -> None:
    verdicts = goals.of_speed([])
    assert verdicts and {each.said() for each in verdicts} == {"NOT MEASURED"}
    assert {each.said() for each in goals.of_speed([taken("rejoinder")])} == {"NOT MEASURED"}  # beside nobody


def test_every_goal_is_measured_by_the_run_of_all() -> None:
    everyone = [taken(name, load) for load in GOALS for name in load.only]
    assert [each.goal for each in goals.of_speed(everyone) if each.said() == "NOT MEASURED"] == []


def test_a_ratio_is_taken_within_a_round() -> None:
    cpu = {"rejoinder": (30, 10, 80), "nginx": (10, 10, 20), "usual": (60, 100, 800)}
    rounds = [taken(name, number=n, cpu=each) for name, all_of in cpu.items() for n, each in enumerate(all_of)]
    verdict = found(rounds, "50 streams, 20 ms apart: CPU a token, times nginx")
    assert (verdict.values, verdict.said()) == ([3, 1, 4], "met, not in each round")
    cheaper = found(rounds, "50 streams, 20 ms apart: CPU a token, times cheaper than usual")
    assert (cheaper.values, cheaper.said()) == ([2, 10, 10], "met, not in each round")


@pytest.mark.parametrize("load", [*HELD, OVERLOAD], ids=lambda load: str(load.name))
def test_one_reply_that_broke_misses_the_goal(load: Load) -> None:
    rounds = [taken("rejoinder", load, number) for number in (1, 2, 3)]
    assert found(rounds, f"{load.name}: replies that broke").said() == "met"
    rounds[1].whole -= 1
    assert found(rounds, f"{load.name}: replies that broke").said() == "MISSED"


@pytest.mark.parametrize(
    ("values", "least", "said"),
    [
        ([9, 10, 10], False, "met"),
        ([10.1], False, "MISSED"),
        ([9, 11, 11], False, "MISSED, not in each round"),
        ([10, 12], True, "met"),
        ([9], True, "MISSED"),
    ],
)
def test_the_median_decides(values: list[float], least: bool, said: str) -> None:
    verdict = Verdict(goal="it", limit=10, values=values, least=least)
    assert verdict.said() == said
    assert f"| {said} |" in goals.table([verdict])


def reading(readers: int, number: int, cpu: float, frames: int) -> Reading:
    figures = dict.fromkeys(("core", "load_core", "gap_p50", "gap_p99"), 0.0)
    return Reading(readers=readers, round=number, cpu=cpu, frames=frames, faults=[], **figures)


def test_a_reader_costs_what_it_adds_to_the_reply() -> None:
    rest = Memory(resident=100 * MIB, own=50 * MIB)
    readers = Readers(
        readings=[
            *(reading(1, 1, 0.1, 100), reading(11, 1, 0.11, 1_100)),
            *(reading(1, 2, 0.2, 100), reading(11, 2, 0.204, 500)),
        ],
        idle=Idle(at_start=rest, at_rest=rest, streams=10, stream=33 * 1024),
        unread=Unread(readers=1_000, text=1_000_000, before=50 * MIB, peak=60 * MIB, after=0, faults=[]),
    )
    cost, stream, resting, unread = goals.of_readers(readers)
    assert cost.values == pytest.approx([10, 10])
    assert (cost.said(), stream.said(), resting.said(), unread.said()) == ("MISSED", "MISSED", "met", "met")
    assert (stream.values, resting.values) == ([33], [100])
    assert unread.values == pytest.approx([10.24])
