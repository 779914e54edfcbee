"""All goals in one run: what is relayed, many readers, memory, and at the end a verdict on each goal.

With --full also the growth, which is drawn into the documents: 1 to 1,000 streams, and up to a million rows.
"""

import argparse
import asyncio
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from msgspec import Struct

from bench import goals, growth, plot, readers, report
from bench.frame import Run, framed
from bench.loads import EVERY, GOALS, GOALS_AND_CURVE, Load
from bench.options import add_common, rounds_of
from bench.processes import Failed
from bench.readers import Readers
from bench.run import files_for, relay, tell


class Options(Struct, frozen=True, kw_only=True):
    quick: bool
    full: bool
    rounds: int
    json: Path | None

    @property
    def loads(self) -> tuple[Load, ...]:
        return EVERY if self.quick else GOALS_AND_CURVE if self.full else GOALS


def main(arguments: Sequence[str] | None = None) -> int:
    options = parsed(arguments)
    return framed("all", partial(_run, options), files=files_for(options.loads))


def parsed(arguments: Sequence[str] | None = None) -> Options:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__, allow_abbrev=False)
    parser.add_argument("--full", action="store_true", help="also the growth over streams and rows, in half an hour")
    add_common(parser)
    given = parser.parse_args(arguments)
    return Options(quick=given.quick, full=given.full, rounds=rounds_of(given), json=given.json)


def _run(options: Options, run: Run) -> int:
    report.introduce(options.loads, options.rounds, run.machine)
    relayed = relay(options.loads, options.rounds, run.folder)
    tell(relayed, options.loads, options.rounds, run)
    verdicts = goals.of_speed(relayed.rounds)
    found = _readers(options, run)
    if found is not None:
        verdicts += goals.of_readers(found)
    if options.full:
        _grow(options, run)
    run.found["verdicts"] = verdicts
    print(goals.table(verdicts), flush=True)
    path = run.write(options.json)
    if options.full and not options.quick:  # there is nothing to see in the figures of a quick one
        plot.draw([path], plot.DOCS)
    return 1 if relayed.faulty() or found is None or found.faults() else 0


def _readers(options: Options, run: Run) -> Readers | None:
    """None where it failed: what was relayed before is not lost with it."""
    wanted = readers.options_of(quick=options.quick, rounds=options.rounds)
    try:
        found = readers.measure(wanted, run.folder)
    except Failed as failed:
        run.found["failed"] |= {"readers": str(failed)}
        print(f"*** THE READERS FAILED: {failed} ***", flush=True)
        return None
    readers.tell(found, wanted, run)
    return found


def _grow(options: Options, run: Run) -> None:
    wanted = growth.options_of(quick=options.quick)
    growth.tell(*asyncio.run(growth.measure(wanted, run.folder)), wanted, run)
