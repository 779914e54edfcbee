"""What a run is told: which loads, how often, and where its figures go."""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from msgspec import Struct, structs

from bench import loads
from bench.contestants import CONTESTANTS, STANDARD
from bench.loads import Load
from bench.processes import ROOT

T = TypeVar("T")

RESULTS = ROOT / "bench/results"


class Options(Struct, frozen=True, kw_only=True):
    loads: tuple[Load, ...]
    rounds: int = 3
    json: Path | None = None
    quick: bool = False


class Command(Struct, frozen=True):
    """A run of loads. What its options do not say is as here; a number of streams of one's own is as the first load."""

    what: str
    loads: tuple[Load, ...]


COMMANDS = {
    "relay": Command("1, 50 and 200 streams at a chat's pace", loads.RELAY),
    "burst": Command("an upstream that writes as fast as it is read", loads.BURST),
    "capacity": Command("what one process holds, and what it does past that", loads.CAPACITY),
    "streams": Command("from 1 to 1,000 streams, for the curve", loads.CURVE),
}


def parsed(command: str, arguments: Sequence[str] | None = None) -> Options:
    chosen = COMMANDS[command]
    parser = argparse.ArgumentParser(prog=f"python -m bench {command}", description=chosen.what, allow_abbrev=False)
    parser.add_argument("--streams", type=_list(between(1, 2_000)), help="concurrent replies, each number by itself")
    parser.add_argument("--tokens", type=between(1, 100_000), help="tokens of a reply")
    parser.add_argument("--pace", type=_seconds, help="seconds between tokens, 0 for a burst")
    parser.add_argument("--only", type=_list(_name), metavar="NAMES", help=f"of {', '.join(CONTESTANTS)}")
    add_common(parser)
    given = parser.parse_args(arguments)
    return Options(loads=_loads(chosen.loads, given), rounds=rounds_of(given), json=given.json, quick=given.quick)


def _loads(usual: tuple[Load, ...], given: argparse.Namespace) -> tuple[Load, ...]:
    if given.quick:
        usual = loads.EVERY
    if given.streams:
        usual = tuple(structs.replace(usual[0], streams=streams, only=STANDARD) for streams in given.streams)
    told = {name: value for name in ("tokens", "pace", "only") if (value := getattr(given, name)) is not None}
    return tuple(structs.replace(load, **told) for load in usual)


def add_common(parser: argparse.ArgumentParser) -> None:
    """What every command takes."""
    parser.add_argument("--rounds", type=between(1, 50), help="how often each is measured, in turn (default: 3)")
    parser.add_argument("--json", type=Path, metavar="PATH", help=f"default: a new file in {RESULTS.name}/ here")
    parser.add_argument(
        "--quick", action="store_true", help="see that it works: a few seconds, no figure worth reading"
    )


def rounds_of(given: argparse.Namespace) -> int:
    rounds: int = given.rounds or (1 if given.quick else 3)
    return rounds


def between(low: int, high: int) -> Callable[[str], int]:
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
