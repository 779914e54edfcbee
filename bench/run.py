"""A run: everything starts once, then each contestant has its turn in every round (A B C D, A B C D, …).

So what else the machine does falls on all of them alike. Everything is bounded in time, and stops however the run ends.
"""

import asyncio
import gc
import resource
import signal
import sys
import tempfile
import time
import uuid
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from random import Random

import uvloop
from msgspec import Struct

from bench import load, report
from bench.contestants import CONTESTANTS, Contestant, Place
from bench.figures import Round, Used, round_of, rows_of
from bench.options import RESULTS, Options, parsed
from bench.processes import Failed, NotHere, Process, cpu_of
from bench.recording import seen

ARRIVAL = 0.01
"""Seconds for each stream over which all of them begin, at random: people do not press Enter together, and tokens that
all fall due at once would measure a queue."""
LONGEST_ARRIVAL = 2.0
FIRSTS = 20
"""Times to the first token of a round at least: where there are fewer streams, short replies are added one by one."""
PATIENCE = 30.0
SLOWEST = 0.002
"""What a round may take beyond its script: seconds in all, and for each token."""
WARM_UP = 5
"""Tokens of the replies, on every stream, that come before the first round: imports, connections to the upstream."""


class Server(Struct):
    name: str
    contestant: Contestant
    process: Process


class Turn(Struct, frozen=True, kw_only=True):
    """What each contestant is asked in one round; `number` also seeds the moments at which the streams begin."""

    number: int
    streams: int
    tokens: int
    pace: float
    firsts: int = 0

    def starts(self) -> list[float]:
        window = min(LONGEST_ARRIVAL, self.streams * ARRIVAL)
        random = Random(self.number)
        return sorted(random.uniform(0, window) for _ in range(self.streams))

    def limit(self) -> float:
        return LONGEST_ARRIVAL + self.tokens * self.pace + PATIENCE + self.streams * self.tokens * SLOWEST


def main(arguments: Sequence[str] | None = None) -> int:
    options = parsed(arguments)
    if sys.platform != "linux":
        print("The benchmark reads the CPU of processes from Linux; it does not run elsewhere.")
        return 1
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # an orderly end, so that what we started ends as well
    began = datetime.now(UTC)
    try:
        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="rejoinder-bench-")))
            _allow_many_files()
            machine = report.machine(folder)
            report.introduce(options, machine)
            servers, left_out = _start(options, folder, stack)
            rounds = _measure(options, servers)
    except Failed as failed:
        print(f"FAILED: {failed}")
        return 1
    except KeyboardInterrupt:
        print("interrupted")
        return 130
    rows = rows_of(rounds)
    print(report.table(rows), flush=True)
    path = options.json or RESULTS / f"{began:%Y-%m-%dT%H%M%SZ}.json"
    report.write(path, options, machine, left_out, rows, rounds, began)
    print("\n".join(report.remarks(rows, left_out)))
    print(f"Everything that was measured: {path}")
    return 1 if any(each.faults for each in rounds) else 0


def _start(options: Options, folder: Path, stack: ExitStack) -> tuple[list[Server], dict[str, str]]:
    """The servers, and why any are left out. The upstream is always there, since all else stands on it."""
    servers: list[Server] = []
    left_out: dict[str, str] = {}
    for name, kind in CONTESTANTS.items():
        if name != "upstream" and name not in options.only:
            continue
        place = Place(folder, servers[0].process.port if servers else 0)
        try:
            contestant = kind()
            servers.append(Server(name, contestant, stack.enter_context(contestant.running(place))))
        except NotHere as missing:
            left_out[name] = str(missing)
            print(f"\n*** {name} IS LEFT OUT: {missing} ***\n", flush=True)
    return servers, left_out


def _measure(options: Options, servers: Sequence[Server]) -> list[Round]:
    rounds = []
    for streams in options.streams:
        for number in range(options.rounds + 1):
            if number:
                turn = Turn(number=number, streams=streams, tokens=options.tokens, pace=options.pace, firsts=FIRSTS)
            else:  # a warm-up, whose figures are not kept
                turn = Turn(number=0, streams=streams, tokens=WARM_UP, pace=options.pace)
            for server in servers:
                taken = _one(server, turn, servers[0].process)
                if number:
                    rounds.append(taken)
                    report.progress(taken, options.rounds)
                elif taken.faults:
                    raise Failed(f"{server.name} does not relay: {taken.faults[0]}")
    return rounds


def _one(server: Server, turn: Turn, upstream: Process) -> Round:
    """Without the collector of garbage, which would stop the readers for as long as there are many reads to keep."""
    gc.collect()
    gc.disable()
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(_turn(server, turn, upstream))
    finally:
        gc.enable()


async def _turn(server: Server, turn: Turn, upstream: Process) -> Round:
    contestant = server.contestant
    sessions = [uuid.uuid4().hex for _ in range(turn.streams)]
    content = f"/script tokens={turn.tokens} pace={turn.pace}"
    asking = [contestant.asking(session, content) for session in sessions]

    own, asked = server.process.family(), upstream.family()

    def used() -> Used:
        return Used(time.perf_counter(), cpu_of(own), cpu_of(asked), time.process_time())

    async with load.opened(server.process.port, [contestant.opening(session) for session in sessions]) as streams:
        before = used()
        recordings = await load.converse(streams, asking, turn.starts(), turn.limit())
        spent = used().since(before)
        short = contestant.asking(sessions[0], "/script tokens=1")
        extra = [await _short(streams[0], short) for _ in range(turn.firsts - turn.streams)]
    answers = [seen(each, turn.tokens, contestant.text) for each in recordings]
    firsts = [seen(each, 1, contestant.text) for each in extra]
    return round_of(server.name, turn.number, answers, firsts, spent, before.at)


async def _short(stream: load.Stream, request: bytes) -> load.Recording:
    (recording,) = await load.converse([stream], [request], [0], PATIENCE)
    return recording


def _allow_many_files() -> None:
    """For us and those we start: a stream takes a descriptor here, and two in a relay."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
