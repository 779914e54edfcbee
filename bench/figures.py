"""What the recordings make: the figures of one round, and their medians over all rounds."""

from collections.abc import Callable, Sequence
from statistics import median

from msgspec import Struct

from bench.loads import Load
from bench.recording import Seen


class Used(Struct, frozen=True):
    """Seconds of CPU so far, or between two moments; `at` is a time, or what lies between."""

    at: float
    server: float
    upstream: float
    load: float
    store: float

    def since(self, before: "Used") -> "Used":
        return Used(
            self.at - before.at,
            self.server - before.server,
            self.upstream - before.upstream,
            self.load - before.load,
            self.store - before.store,
        )


class Round(Struct, kw_only=True):
    """One contestant, once. Times as seen, in milliseconds; `cpu` is server CPU in microseconds for a relayed token.

    `core` is the share of one core that the server used; `upstream_core`, `load_core` and `store_core` are those of the
    upstream, of the readers and of the store's own server meanwhile, which are charged to nobody (the direct upstream is
    its own server). `whole` counts the replies that had all their tokens, and `firsts` the times to the first token.
    `memory` is the greatest that the server took, in bytes.
    """

    contestant: str
    load: str
    streams: int
    pace: float
    round: int
    tokens: int
    whole: int
    faults: list[str]
    seconds: float
    tokens_per_second: float
    cpu: float
    core: float
    upstream_core: float
    load_core: float
    store_core: float
    memory: int
    first_p50: float
    first_p99: float
    firsts: int
    gap_p50: float
    gap_p99: float
    gap_max: float


def round_of(
    contestant: str,
    number: int,
    load: Load,
    answers: Sequence[Seen],
    extra: Sequence[Seen],
    used: Used,
    began: float,
    memory: int,
) -> Round:
    """`extra` are short answers that were asked for afterwards, for more times to the first token."""
    tokens = sum((each.first is not None) + len(each.gaps) for each in answers)
    per_token = 1e6 / max(1, tokens)
    firsts = [each.first * 1e3 for each in (*answers, *extra) if each.first is not None]
    gaps = [gap * 1e3 for each in answers for gap in each.gaps]
    last = max(each.last for each in answers)
    return Round(
        contestant=contestant,
        load=load.name,
        streams=load.streams,
        pace=load.pace,
        round=number,
        tokens=tokens,
        whole=sum(not each.fault for each in answers),
        faults=[each.fault for each in (*answers, *extra) if each.fault],
        seconds=used.at,
        tokens_per_second=tokens / max(1e-9, last - began),
        cpu=used.server * per_token,
        core=used.server / used.at,
        upstream_core=used.upstream / used.at,
        load_core=used.load / used.at,
        store_core=used.store / used.at,
        memory=memory,
        first_p50=quantile(firsts, 0.5),
        first_p99=quantile(firsts, 0.99),
        firsts=len(firsts),
        gap_p50=quantile(gaps, 0.5),
        gap_p99=quantile(gaps, 0.99),
        gap_max=quantile(gaps, 1),
    )


class Row(Struct, kw_only=True):
    """One contestant under one load: medians over the rounds.

    `added_…` are milliseconds less the median of the direct upstream in the same round, of times to the first token and
    of gaps between tokens. `to` holds ratios of CPU, each taken within a round; empty for the upstream itself.
    """

    contestant: str
    load: str
    streams: int
    pace: float
    rounds: int
    whole: int
    replies: int
    cpu: float
    to: dict[str, float]
    core: float
    upstream_core: float
    load_core: float
    store_core: float
    memory: int
    tokens_per_second: float
    added_first_p50: float
    added_first_p99: float
    added_gap_p50: float
    added_gap_p99: float


def rows_of(rounds: Sequence[Round]) -> list[Row]:
    """In the order in which the contestants ran."""
    kinds = dict.fromkeys((each.load, each.contestant) for each in rounds)
    return [_row(rounds, *kind) for kind in kinds]


def _row(rounds: Sequence[Round], load: str, contestant: str) -> Row:
    own = [each for each in rounds if (each.load, each.contestant) == (load, contestant)]

    def over(figure: Callable[[Round, Round], float], other: str = "upstream") -> float:
        return median(compared(rounds, load, contestant, other, figure))

    there = {each.contestant for each in rounds if each.load == load}
    rivals = [other for other in ("nginx", "usual") if contestant != "upstream" and other in there]
    return Row(
        contestant=contestant,
        load=load,
        streams=own[0].streams,
        pace=own[0].pace,
        rounds=len(own),
        whole=sum(each.whole for each in own),
        replies=sum(each.streams for each in own),
        cpu=median(each.cpu for each in own),
        to={other: over(times_cpu, other) for other in rivals},
        core=median(each.core for each in own),
        upstream_core=median(each.upstream_core for each in own),
        load_core=median(each.load_core for each in own),
        store_core=median(each.store_core for each in own),
        memory=max(each.memory for each in own),
        tokens_per_second=median(each.tokens_per_second for each in own),
        added_first_p50=over(lambda one, two: one.first_p50 - two.first_p50),
        added_first_p99=over(lambda one, two: one.first_p99 - two.first_p50),
        added_gap_p50=over(lambda one, two: one.gap_p50 - two.gap_p50),
        added_gap_p99=over(lambda one, two: one.gap_p99 - two.gap_p50),
    )


def compared(
    rounds: Sequence[Round], load: str, contestant: str, other: str, figure: Callable[[Round, Round], float]
) -> list[float]:
    """A figure of each round that compares it with another contestant's round of the same number, where both took part."""
    at = {(each.contestant, each.round): each for each in rounds if each.load == load}
    own = [each for each in at.values() if each.contestant == contestant]
    return [figure(one, at[other, one.round]) for one in own if (other, one.round) in at]


def times_cpu(one: Round, two: Round) -> float:
    return one.cpu / two.cpu if two.cpu else 0


def quantile(values: Sequence[float], share: float) -> float:
    """The value that this share of the values does not exceed (nearest rank); 0 where there are none."""
    ordered = sorted(values)
    return ordered[max(0, -int(-share * len(ordered) // 1) - 1)] if ordered else 0.0
