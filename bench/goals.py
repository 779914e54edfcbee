"""What is to be reached, and what was: a table of verdicts over everything that a run has measured.

A goal is held against the median of its rounds. Where the rounds lie on both sides of it, the verdict says so.
"""

from collections.abc import Callable, Sequence
from functools import partial
from statistics import median

from msgspec import Struct

from bench.figures import Round, compared, times_cpu
from bench.loads import HELD, OVERLOAD, Load
from bench.memory import MIB
from bench.readers import Readers
from bench.report import aligned, figure

STREAM_KIB = 32
REST_MIB = 120
UNREAD_KIB = 64
"""For each reader that takes nothing: what a server's write buffer may hold, a sixteenth of the reply. With no bound it
would be all of it."""


class Verdict(Struct, frozen=True, kw_only=True):
    """`values` are those of the rounds; none where it was not measured. `least` goals are those to be reached from below."""

    goal: str
    limit: float
    values: list[float]
    least: bool = False

    def said(self) -> str:
        if not self.values:
            return "NOT MEASURED"
        met = [self._meets(value) for value in self.values]
        verdict = "met" if self._meets(median(self.values)) else "MISSED"
        return verdict if all(met) or not any(met) else f"{verdict}, not in each round"

    def _meets(self, value: float) -> bool:
        return value >= self.limit if self.least else value <= self.limit


def of_speed(rounds: Sequence[Round]) -> list[Verdict]:
    one, some, many, most = (Load(streams=streams) for streams in (1, 50, 200, 500))
    burst, alone = Load(streams=32, pace=0), Load(streams=1, pace=0)
    against = partial(_against, rounds)
    verdicts = [
        Verdict(goal=f"{load.name}: CPU a token, times nginx", limit=limit, values=against(load, "nginx", times_cpu))
        for load, limit in ((some, 3.2), (many, 3.2), (most, 2.5))
    ]
    cheaper = against(some, "usual", lambda own, other: times_cpu(other, own))
    verdicts.append(
        Verdict(goal=f"{some.name}: CPU a token, times cheaper than usual", limit=6, values=cheaper, least=True)
    )
    for load in HELD:
        gaps = against(load, "upstream", lambda own, other: own.gap_p99 - other.gap_p50)
        verdicts.append(Verdict(goal=f"{load.name}: p99 of the added gap, ms", limit=30, values=gaps))
        verdicts.append(_whole(rounds, load))
    verdicts.append(_whole(rounds, OVERLOAD))
    for load, limit in ((one, 2), (many, 5)):
        firsts = against(load, "upstream", lambda own, other: own.first_p50 - other.first_p50)
        verdicts.append(
            Verdict(goal=f"{load.name}: p50 of the added time to the first token, ms", limit=limit, values=firsts)
        )
    own = [each.cpu for each in rounds if (each.load, each.contestant) == (burst.name, "rejoinder")]
    verdicts.append(Verdict(goal=f"{burst.name}: CPU a token, µs", limit=10, values=own))
    faster = against(alone, "usual", lambda own, other: own.tokens_per_second / other.tokens_per_second)
    verdicts.append(Verdict(goal=f"{alone.name}: tokens/s, times usual", limit=10, values=faster, least=True))
    for load in (some, many):
        on_postgres = compared(rounds, load.name, "rejoinder-postgres", "rejoinder", times_cpu)
        verdicts.append(
            Verdict(goal=f"{load.name}: CPU of the service on Postgres, times SQLite", limit=1.5, values=on_postgres)
        )
    return verdicts


def of_readers(found: Readers) -> list[Verdict]:
    idle, unread = found.idle, found.unread
    kept = (unread.peak - unread.before) / unread.readers / 1024
    return [
        Verdict(
            goal=f"{unread.readers:,} readers of one reply: CPU a reader and frame, µs", limit=8, values=found.costs()
        ),
        Verdict(goal="an idle open stream, KiB", limit=STREAM_KIB, values=[idle.stream / 1024]),
        Verdict(goal="a process at rest, MiB", limit=REST_MIB, values=[idle.at_rest.resident / MIB]),
        Verdict(
            goal=f"a reader that takes nothing of {unread.text / 1e6:.2g} MB, KiB", limit=UNREAD_KIB, values=[kept]
        ),
    ]


def table(verdicts: Sequence[Verdict]) -> str:
    """In Markdown."""
    cells = [("goal", "at most", "measured", "rounds", "")]
    for each in verdicts:
        limit = f"at least {each.limit:g}" if each.least else f"{each.limit:g}"
        shown = figures(each.values)
        cells.append((each.goal, limit, *shown, each.said()))
    return "\n" + aligned(cells) + "\n"


def figures(values: Sequence[float]) -> tuple[str, str]:
    """The median, and from the least to the greatest."""
    if not values:
        return "–", "–"
    between = f"{figure(min(values))} … {figure(max(values))}" if len(values) > 1 else "–"
    return figure(median(values)), between


def _against(rounds: Sequence[Round], load: Load, other: str, compare: Callable[[Round, Round], float]) -> list[float]:
    return compared(rounds, load.name, "rejoinder", other, compare)


def _whole(rounds: Sequence[Round], load: Load) -> Verdict:
    """Of all rounds together: a reply that broke in one of them is not made good by the others."""
    own = [each for each in rounds if (each.load, each.contestant) == (load.name, "rejoinder")]
    broken: list[float] = [sum(each.streams - each.whole for each in own)] if own else []
    return Verdict(goal=f"{load.name}: replies that broke", limit=0, values=broken)
