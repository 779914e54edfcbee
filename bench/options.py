"""What a run is told: how many streams, how long, how fast, how often, and who takes part."""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from msgspec import Struct, structs

from bench.contestants import CONTESTANTS

T = TypeVar("T")

RESULTS = Path(__file__).parent / "results"


class Options(Struct, frozen=True, kw_only=True):
    """`streams` are the numbers of concurrent replies, each measured by itself. `pace` is in seconds; 0 is a burst."""

    streams: tuple[int, ...]
    tokens: int
    pace: float
    rounds: int
    only: tuple[str, ...] = tuple(CONTESTANTS)
    json: Path | None = None


USUAL = Options(streams=(1, 50, 200), tokens=200, pace=0.02, rounds=3)
QUICK = Options(streams=(1, 3), tokens=10, pace=0, rounds=1)


def parsed(arguments: Sequence[str] | None = None) -> Options:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__, allow_abbrev=False)
    parser.add_argument("--streams", type=_list(_between(1, 2_000)), help="concurrent replies (default: 1,50,200)")
    parser.add_argument("--tokens", type=_between(1, 10_000), help="tokens of a reply (default: 200)")
    parser.add_argument("--pace", type=_seconds, help="seconds between tokens, 0 for a burst (default: 0.02)")
    parser.add_argument("--rounds", type=_between(1, 50), help="how often each is measured, in turn (default: 3)")
    parser.add_argument("--only", type=_list(_name), metavar="NAMES", help=f"of {', '.join(CONTESTANTS)}")
    parser.add_argument("--json", type=Path, metavar="PATH", help=f"default: a new file in {RESULTS.name}/ here")
    parser.add_argument("--quick", action="store_true", help="see that it works: 1 and 3 streams, 10 tokens at once")
    given = parser.parse_args(arguments)
    told = {name: value for name, value in vars(given).items() if name != "quick" and value is not None}
    return structs.replace(QUICK if given.quick else USUAL, **told)


def _between(low: int, high: int) -> Callable[[str], int]:
    def number(text: str) -> int:
        if not low <= int(text) <= high:
            raise argparse.ArgumentTypeError(f"{text} is not from {low} to {high}")
        return int(text)

    return number


def _seconds(text: str) -> float:
    if not 0 <= float(text) <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not from 0 to 1")
    return float(text)


def _name(text: str) -> str:
    if text not in CONTESTANTS:
        raise argparse.ArgumentTypeError(f"{text!r} is none of {', '.join(CONTESTANTS)}")
    return text


def _list(kind: Callable[[str], T]) -> Callable[[str], tuple[T, ...]]:
    return lambda text: tuple(dict.fromkeys(kind(part.strip()) for part in text.split(",")))
