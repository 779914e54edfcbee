"""A run of loads: everything starts once, then each contestant has its turn in every round (A B C D, A B C D, …).

So what else the machine does falls on all of them alike. Everything is bounded in time, and stops however the run ends.
"""

import asyncio
import gc
import time
import uuid
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from random import Random
from typing import TypeVar

import uvloop
from msgspec import Struct, field

from bench import load, memory, report
from bench.contestants import CONTESTANTS, Contestant, Place
from bench.figures import Round, Used, round_of, rows_of
from bench.frame import Run, framed
from bench.loads import ARRIVAL, LONGEST_WARM_UP, Load
from bench.options import Options, parsed
from bench.processes import Failed, NotHere, Process, cpu_of
from bench.recording import seen

T = TypeVar("T")

FIRSTS = 20
"""Times to the first token of a round at least: where there are fewer streams, short replies are added one by one."""
PATIENCE = 30.0
SLOWEST = 0.002
"""What a round may take beyond its script: seconds in all, and for each token."""
SPARE_FILES = 200
"""Descriptors of a process beside two for each stream."""


class Server(Struct):
    name: str
    contestant: Contestant
    process: Process


class Turn(Struct, frozen=True, kw_only=True):
    """What each contestant is asked in one round; `number` also seeds the moments at which the streams begin."""

    number: int
    load: Load
    arrival: float
    firsts: int = 0

    def starts(self) -> list[float]:
        random = Random(self.number)
        return sorted(random.uniform(0, self.arrival) for _ in range(self.load.streams))

    def limit(self) -> float:
        load = self.load
        return self.arrival + load.tokens * load.pace + PATIENCE + load.streams * load.tokens * SLOWEST


class Relayed(Struct, kw_only=True):
    """`left_out` are those who cannot take part on this machine, `failed` those who gave up under a load, and why."""

    rounds: list[Round] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)

    def faulty(self) -> bool:
        return bool(self.failed) or any(each.faults for each in self.rounds)


def main(command: str, arguments: Sequence[str] | None = None) -> int:
    options = parsed(command, arguments)
    return framed(command, partial(_run, options), files=files_for(options.loads))


def files_for(loads: Sequence[Load]) -> int:
    return 2 * max(each.streams for each in loads) + SPARE_FILES


def _run(options: Options, run: Run) -> int:
    report.introduce(options.loads, options.rounds, run.machine)
    relayed = relay(options.loads, options.rounds, run.folder)
    tell(relayed, options.loads, options.rounds, run)
    run.write(options.json)
    return 1 if relayed.faulty() else 0


def tell(relayed: Relayed, loads: Sequence[Load], rounds: int, run: Run) -> None:
    """Prints the tables and what must be known of them, and keeps all of it."""
    rows = rows_of(relayed.rounds)
    run.parameters["relay"] = {"loads": loads, "rounds": rounds}
    run.found |= {
        "left_out": relayed.left_out,
        "failed": relayed.failed,
        "rows": rows,
        "rounds": relayed.rounds,
    }
    print(report.table(rows), flush=True)
    print("\n".join(report.remarks(rows, relayed.left_out, relayed.failed)), flush=True)


def relay(loads: Sequence[Load], rounds: int, folder: Path) -> Relayed:
    names = dict.fromkeys(name for each in loads for name in each.only)
    with started(names, folder) as (servers, left_out):
        relayed = Relayed(left_out=left_out)
        for each in loads:
            _put_on(each, min(rounds, each.rounds), servers, relayed)
        return relayed


@contextmanager
def started(names: Mapping[str, object], folder: Path) -> Iterator[tuple[list[Server], dict[str, str]]]:
    """The servers, and why any are left out. The upstream is always there, since all else stands on it."""
    servers: list[Server] = []
    left_out: dict[str, str] = {}
    with ExitStack() as stack:
        for name, kind in CONTESTANTS.items():
            if name != "upstream" and name not in names:
                continue
            place = Place(folder, servers[0].process.port if servers else 0)
            try:
                contestant = kind()
                servers.append(Server(name, contestant, stack.enter_context(contestant.running(place))))
            except NotHere as missing:
                left_out[name] = str(missing)
                print(f"\n*** {name} IS LEFT OUT: {missing} ***\n", flush=True)
        yield servers, left_out


def _put_on(load: Load, rounds: int, servers: Sequence[Server], relayed: Relayed) -> None:
    """One load, on all that it names. Who gives up is out for the rest of it. Raises Failed where that is the upstream."""
    upstream, *others = [server for server in servers if server.name in ("upstream", *load.only)]
    for number in range(rounds + 1):
        for server in (upstream, *others):
            try:
                taken = _one(server, load, number, upstream.process)
            except Failed as failed:
                if server is upstream:
                    raise
                others.remove(server)
                relayed.failed[f"{server.name} with {load.name}"] = str(failed)
                print(f"\n*** {server.name} FAILED: {failed} ***\n", flush=True)
                continue
            if number:
                relayed.rounds.append(taken)
                report.progress(taken, rounds)


def _one(server: Server, load: Load, number: int, upstream: Process) -> Round:
    """One turn; number 0 is a warm-up, whose figures are not kept. Raises Failed."""
    if number:
        turn = Turn(number=number, load=load, arrival=load.arrival, firsts=FIRSTS)
    else:
        arrival = min(LONGEST_WARM_UP, load.streams * ARRIVAL)
        turn = Turn(number=0, load=load.warm_up, arrival=arrival)
    taken = measured(_turn(server, turn, upstream))
    if not number and taken.faults:
        raise Failed(f"{server.name} does not relay: {taken.faults[0]}")
    return taken


def measured(work: Coroutine[None, None, T]) -> T:
    """Without the collector of garbage, which would stop the readers for as long as there are many reads to keep."""
    gc.collect()
    gc.disable()
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(work)
    finally:
        gc.enable()


def usage_of(process: Process, upstream: Process) -> Callable[[], Used]:
    """Tells what they have used so far, with the processes that they have now."""
    own, asked, beside = process.family(), upstream.family(), process.store_family()
    return lambda: Used(time.perf_counter(), cpu_of(own), cpu_of(asked), time.process_time(), cpu_of(beside))


async def _turn(server: Server, turn: Turn, upstream: Process) -> Round:
    contestant, asked = server.contestant, turn.load
    sessions = [uuid.uuid4().hex for _ in range(asked.streams)]
    content = f"/script tokens={asked.tokens} pace={asked.pace}"
    asking = [contestant.asking(session, content) for session in sessions]

    async with load.opened(server.process.port, [contestant.opening(session) for session in sessions]) as streams:
        used = usage_of(server.process, upstream)
        memory.forget_peaks(server.process.family())
        before = used()
        recordings = await load.converse(streams, asking, turn.starts(), turn.limit())
        spent = used().since(before)
        peak = memory.peak_of(server.process.family())
        short = contestant.asking(sessions[0], "/script tokens=1")
        extra = [await _short(streams[0], short) for _ in range(turn.firsts - asked.streams)]
    answers = [seen(each, asked.tokens, contestant.text) for each in recordings]
    firsts = [seen(each, 1, contestant.text) for each in extra]
    return round_of(server.name, turn.number, asked, answers, firsts, spent, before.at, peak)


async def _short(stream: load.Stream, request: bytes) -> load.Recording:
    (recording,) = await load.converse([stream], [request], [0], PATIENCE)
    return recording
