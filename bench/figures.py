"""What the recordings make: the figures of one round, and their medians over all rounds."""

from collections.abc import Callable, Sequence
from statistics import median

from msgspec import Struct

from bench.recording import Seen


class Used(Struct, frozen=True):
    """Seconds of CPU so far, or between two moments; `at` is a time, or what lies between."""

    at: float
    server: float
    upstream: float
    load: float

    def since(self, before: "Used") -> "Used":
        return Used(
            self.at - before.at,
            self.server - before.server,
            self.upstream - before.upstream,
            self.load - before.load,
        )


class Round(Struct, kw_only=True):
    """One contestant, once. Times as seen, in milliseconds; `cpu` is server CPU in microseconds for a relayed token.

    `core` is the share of one core that the server used; `upstream_core` and `load_core` are those of the upstream and of
    the readers meanwhile, which are charged to nobody (the direct upstream is its own server). `whole` counts the replies
    that had all their tokens, and `firsts` the times to the first token.
    """

    contestant: str
    streams: int
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
    first_p50: float
    first_p99: float
    firsts: int
    gap_p50: float
    gap_p99: float
    gap_max: float


def round_of(
    contestant: str, number: int, answers: Sequence[Seen], extra: Sequence[Seen], used: Used, began: float
) -> Round:
    """`extra` are short answers that were asked for afterwards, for more times to the first token."""
    tokens = sum((each.first is not None) + len(each.gaps) for each in answers)
    per_token = 1e6 / max(1, tokens)
    firsts = [each.first * 1e3 for each in (*answers, *extra) if each.first is not None]
    gaps = [gap * 1e3 for each in answers for gap in each.gaps]
    last = max(each.last for each in answers)
    return Round(
        contestant=contestant,
        streams=len(answers),
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
        first_p50=quantile(firsts, 0.5),
        first_p99=quantile(firsts, 0.99),
        firsts=len(firsts),
        gap_p50=quantile(gaps, 0.5),
        gap_p99=quantile(gaps, 0.99),
        gap_max=quantile(gaps, 1),
    )


class Row(Struct, kw_only=True):
    """One contestant at one number of streams: medians over the rounds.

    `added_…` are milliseconds less the median of the direct upstream in the same round, of times to the first token and
    of gaps between tokens. `to` holds ratios of CPU, each taken within a round; empty for the upstream itself.
    """

    contestant: str
    streams: int
    rounds: int
    whole: int
    replies: int
    cpu: float
    to: dict[str, float]
    core: float
    upstream_core: float
    load_core: float
    tokens_per_second: float
    added_first_p50: float
    added_first_p99: float
    added_gap_p50: float
    added_gap_p99: float


def rows_of(rounds: Sequence[Round]) -> list[Row]:
    """In the order in which the contestants ran."""
    kinds = dict.fromkeys((each.streams, each.contestant) for each in rounds)
    return [_row(rounds, *kind) for kind in kinds]


def _row(rounds: Sequence[Round], streams: int, contestant: str) -> Row:
    at = {(each.contestant, each.round): each for each in rounds if each.streams == streams}
    own = [each for each in at.values() if each.contestant == contestant]

    def over(figure: Callable[[Round, Round], float], other: str = "upstream") -> float:
        """The median of a figure that compares each round with another's of the same number."""
        return median(figure(each, at[other, each.round]) for each in own)

    rivals = [other for other in ("nginx", "usual") if contestant != "upstream" and (other, own[0].round) in at]
    return Row(
        contestant=contestant,
        streams=streams,
        rounds=len(own),
        whole=sum(each.whole for each in own),
        replies=streams * len(own),
        cpu=median(each.cpu for each in own),
        to={other: over(lambda one, two: one.cpu / two.cpu if two.cpu else 0, other) for other in rivals},
        core=median(each.core for each in own),
        upstream_core=median(each.upstream_core for each in own),
        load_core=median(each.load_core for each in own),
        tokens_per_second=median(each.tokens_per_second for each in own),
        added_first_p50=over(lambda one, two: one.first_p50 - two.first_p50),
        added_first_p99=over(lambda one, two: one.first_p99 - two.first_p50),
        added_gap_p50=over(lambda one, two: one.gap_p50 - two.gap_p50),
        added_gap_p99=over(lambda one, two: one.gap_p99 - two.gap_p50),
    )


def quantile(values: Sequence[float], share: float) -> float:
    """The value that this share of the values does not exceed (nearest rank); 0 where there are none."""
    ordered = sorted(values)
    return ordered[max(0, -int(-share * len(ordered) // 1) - 1)] if ordered else 0.0
