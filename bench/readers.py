"""Many readers of one reply, streams on which nothing happens, and readers that do not read: what they cost the service.

    python -m bench readers

CPU is that of the service for each reader and frame, less what the same reply costs with one reader. Memory is what the
process holds by itself (USS): at rest, for each idle stream, and while a long reply is written that nobody takes.
"""

import argparse
import asyncio
import re
import time
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import msgspec
from msgspec import Struct

from bench import load, memory, report
from bench.contestants import SSE, request
from bench.figures import quantile
from bench.frame import Run, framed
from bench.memory import MIB
from bench.options import add_common, between, rounds_of
from bench.processes import Failed, Process
from bench.recording import seen
from bench.run import SPARE_FILES, Server, measured, started, usage_of
from rejoinder.llm.scripted_answer import full_text

ARRIVING = 0.005
"""Seconds for each reader, in which it arrives before the first token."""
PATIENCE = 60.0
"""Seconds that readers may take beyond the reply."""
UNREAD_TOKENS = 140_000
"""Of the reply that nobody takes: 1 MB of text."""
FRAME = re.compile(rb"event: message\.(?:delta|ended)\n")


class Options(Struct, frozen=True, kw_only=True):
    readers: int = 1_000
    tokens: int = 200
    pace: float = 0.02
    unread_tokens: int = UNREAD_TOKENS
    settling: float = 1.0
    """Seconds in which a process gets to rest before its memory is read."""
    rounds: int = 3
    json: Path | None = None


QUICK = {"readers": 4, "tokens": 10, "unread_tokens": 2_000}


class Reading(Struct, kw_only=True):
    """One reply, read by so many. CPU in seconds, of the service; `core` is its share of a core while tokens came.

    `frames` are those that all readers got, from the first token on. Gaps between tokens in milliseconds, as all saw them.
    """

    readers: int
    round: int
    cpu: float
    frames: int
    core: float
    load_core: float
    gap_p50: float
    gap_p99: float
    faults: list[str]


class Idle(Struct, kw_only=True):
    """Bytes. `at_start` and `at_rest` are of the whole process, the latter once it has written replies and is at rest again.

    `stream` is what one idle stream adds, of `streams` on as many sessions.
    """

    at_start: memory.Memory
    at_rest: memory.Memory
    streams: int
    stream: float


class Unread(Struct, kw_only=True):
    """Bytes that the process held before, at most, and after a reply of `text` bytes that `readers` did not take.

    `faults` are those of one reader among them that did.
    """

    readers: int
    text: int
    before: int
    peak: int
    after: int
    faults: list[str]


class Readers(Struct, kw_only=True):
    readings: list[Reading]
    idle: Idle
    unread: Unread

    def costs(self) -> list[float]:
        """Microseconds for each reader and frame, by round."""
        alone = {each.round: each for each in self.readings if each.readers == 1}
        many = [each for each in self.readings if each.readers > 1]
        return [(each.cpu - alone[each.round].cpu) * 1e6 / _more(each, alone[each.round]) for each in many]

    def faults(self) -> list[str]:
        """Each once."""
        all_of_them = [*self.unread.faults, *(fault for each in self.readings for fault in each.faults)]
        return list(dict.fromkeys(all_of_them))


def _more(many: Reading, one: Reading) -> int:
    return max(1, many.frames - one.frames)


def main(arguments: Sequence[str] | None = None) -> int:
    options = parsed(arguments)
    return framed("readers", partial(_run, options), files=files_for(options))


def parsed(arguments: Sequence[str] | None = None) -> Options:
    parser = argparse.ArgumentParser(prog="python -m bench readers", description=__doc__, allow_abbrev=False)
    parser.add_argument("--readers", type=between(2, 5_000), help="of one reply, and idle streams (default: 1,000)")
    parser.add_argument(
        "--tokens", type=between(2, 10_000), help="of the reply that is read (default: 200, 20 ms apart)"
    )
    parser.add_argument("--unread-tokens", type=between(1, 400_000), help="of the one that is not (default: 1 MB)")
    add_common(parser)
    given = parser.parse_args(arguments)
    told = {name: value for name in QUICK if (value := getattr(given, name)) is not None}
    return options_of(quick=given.quick, rounds=rounds_of(given), json=given.json, **told)


def options_of(*, quick: bool, rounds: int, json: Path | None = None, **told: int) -> Options:
    return Options(rounds=rounds, json=json, settling=0.3 if quick else 1.0, **(QUICK if quick else {}) | told)


def files_for(options: Options) -> int:
    return options.readers + SPARE_FILES


def _run(options: Options, run: Run) -> int:
    report.introduce_machine(run.machine)
    found = measure(options, run.folder)
    tell(found, options, run)
    run.write(options.json)
    return 1 if found.faults() else 0


def tell(found: Readers, options: Options, run: Run) -> None:
    run.parameters["readers"] = {name: getattr(options, name) for name in (*QUICK, "pace", "rounds")}
    run.found["readers"] = {"costs": found.costs(), **msgspec.to_builtins(found)}
    print(table(found), flush=True)
    for fault in found.faults():
        print(f"*** A READER: {fault} ***", flush=True)


def measure(options: Options, folder: Path) -> Readers:
    """Two processes: what the readers of the first left in its memory would hide what those that take nothing need."""
    readings = []
    with started({"rejoinder": None}, _folder(folder, "read")) as ([upstream, server], _):
        idle = measured(_idle(server, options))
        _progress(f"{idle.streams} idle streams: {idle.stream / 1024:.1f} KiB each")
        for number in range(1, options.rounds + 1):
            for readers in (1, options.readers):
                readings.append(measured(_read(server, upstream.process, options, readers, number)))
                _progress(f"{readers} reading, round {number}: {readings[-1].cpu:.2f} s of CPU")
    with started({"rejoinder": None}, _folder(folder, "unread")) as ([_, server], _):
        unread = measured(_unread(server, options))
        _progress(f"{unread.readers} that take nothing: {(unread.peak - unread.before) / MIB:.1f} MiB more")
    return Readers(readings=readings, idle=idle, unread=unread)


def _folder(folder: Path, name: str) -> Path:
    (folder / name).mkdir()
    return folder / name


def _progress(said: str) -> None:
    print(f"  {said}", flush=True)


# --- the parts ---------------------------------------------------------------------------------------------------


async def _read(server: Server, upstream: Process, options: Options, readers: int, number: int) -> Reading:
    """Everyone is there before the first token, so that coming is no part of what is measured; leaving is."""
    async with _asked(server, f"tokens={options.tokens} pace={options.pace}", readers, options.settling) as streams:
        used = usage_of(server.process, upstream)
        before = used()
        await _ended(streams, options.tokens * options.pace)
        spent = used().since(before)
    recordings = [stream.recorded() for stream in streams]
    answers = [seen(each, options.tokens, server.contestant.text) for each in recordings]
    begun = [each.asked + answer.first for each, answer in zip(recordings, answers, strict=True) if answer.first]
    seconds = before.at + spent.at - min(begun, default=before.at)
    gaps = [gap * 1e3 for answer in answers for gap in answer.gaps]
    return Reading(
        readers=readers,
        round=number,
        cpu=spent.server,
        frames=sum(_frames(each, before.at) for each in recordings),
        core=spent.server / seconds,
        load_core=spent.load / seconds,
        gap_p50=quantile(gaps, 0.5),
        gap_p99=quantile(gaps, 0.99),
        faults=[answer.fault for answer in answers if answer.fault],
    )


async def _idle(server: Server, options: Options) -> Idle:
    """The sessions are made over one connection, so that all that a stream needs comes with it."""
    streams, settling = options.readers, options.settling
    port, contestant, pids = server.process.port, server.contestant, server.process.family()
    at_start = await _at_rest(pids, settling)
    async with load.opened(port, [contestant.opening(uuid.uuid4().hex)]) as (maker,):
        paths = [await _new_session(maker, contestant.opening) for _ in range(streams)]
    async with _asked(server, "tokens=50", 1, settling) as readers:  # so that all is imported that a reply needs
        await _ended(readers, 0)
    at_rest = await _at_rest(pids, settling)
    async with load.opened(port, [HEALTH] * streams) as opened, _reading(opened, [f"{path}/events" for path in paths]):
        taken = await _at_rest(pids, settling)
    stream = (taken.own - at_rest.own) / streams
    return Idle(at_start=at_start, at_rest=at_rest, streams=streams, stream=stream)


async def _unread(server: Server, options: Options) -> Unread:
    """One reader more takes everything, which shows when the reply has ended and that it is whole."""
    pids, tokens, settling = server.process.family(), options.unread_tokens, options.settling
    async with _asked(server, f"tokens={tokens} pace=0", options.readers + 1, options.settling) as streams:
        reader, *others = streams
        for each in others:
            each.stop_reading()
        before = memory.memory_of(pids).resident
        memory.forget_peaks(pids)
        await _ended([reader], 0)
        await asyncio.sleep(settling)
        peak = memory.peak_of(pids)
    after = (await _at_rest(pids, settling)).resident
    fault = seen(reader.recorded(), tokens, server.contestant.text).fault
    return Unread(
        readers=len(others),
        text=len(full_text(f"tokens={tokens}")),
        before=before,
        peak=peak,
        after=after,
        faults=[fault] if fault else [],
    )


# --- how they are asked ------------------------------------------------------------------------------------------


HEALTH = request("GET", "/healthz")


@asynccontextmanager
async def _asked(server: Server, script: str, readers: int, settling: float) -> AsyncIterator[list[load.Stream]]:
    """A reply whose first token is yet to come, and streams that read it and have the head of their answers."""
    contestant, port, session = server.contestant, server.process.port, uuid.uuid4().hex
    wait = 4 * settling + readers * ARRIVING
    content = f"/script first={wait} {script}"
    async with (
        load.opened(port, [contestant.opening(session)]) as (sender,),
        load.opened(port, [HEALTH] * readers) as streams,
    ):
        began = time.perf_counter()
        path = f"/v1/sessions/ses_{session}/messages"
        told = await _answer(sender, request("POST", path, {"content": content}, {"prefer": "respond-async"}))
        async with _reading(streams, [f"{path}/{told['reply']['id']}/events"] * readers):
            await asyncio.sleep(settling)
            if time.perf_counter() - began > wait - settling / 2:
                raise Failed(f"{readers} readers came too late: the machine is too busy to measure anything")
            yield streams


@asynccontextmanager
async def _reading(streams: Sequence[load.Stream], paths: Sequence[str]) -> AsyncIterator[None]:
    """Each stream reads what is at its path, and has something of its answer. Raises Failed."""
    asking = [request("GET", path, headers=SSE) for path in paths]
    tasks = [asyncio.create_task(each.ask(asked)) for each, asked in zip(streams, asking, strict=True)]
    try:
        await asyncio.sleep(0)  # until they have asked
        await _until(lambda: all(stream.recorded().reads or stream.recorded().ended for stream in streams), PATIENCE)
        for stream in streams:
            if stream.recorded().fault:
                raise Failed(f"a stream could not be read: {stream.recorded().fault}")
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _ended(streams: Sequence[load.Stream], seconds: float) -> None:
    """Returns in any case: what has not ended in time is a fault of its recording."""
    limit = len(streams) * ARRIVING + seconds + PATIENCE
    await _until(lambda: all(stream.recorded().ended for stream in streams), limit)


async def _until(done: Callable[[], bool], limit: float) -> None:
    deadline = time.perf_counter() + limit
    while not done() and time.perf_counter() < deadline:  # noqa: ASYNC110  # many streams, and no part of them is told
        await asyncio.sleep(0.01)


async def _new_session(maker: load.Stream, opening: Callable[[str], bytes]) -> str:
    session = uuid.uuid4().hex
    await _answer(maker, opening(session))
    return f"/v1/sessions/ses_{session}"


async def _answer(stream: load.Stream, asking: bytes) -> dict[str, Any]:
    """The body of an answer. Raises Failed."""
    async with asyncio.timeout(PATIENCE):
        recording = await stream.ask(asking, chunked=False)
    if recording.fault:
        raise Failed(f"a request failed: {recording.fault}")
    body = b"".join(data for _, data in recording.reads).partition(b"\r\n\r\n")[2]
    return msgspec.json.decode(body, type=dict[str, Any])


async def _at_rest(pids: Sequence[int], settling: float) -> memory.Memory:
    await asyncio.sleep(settling)
    return memory.memory_of(pids)


def _frames(recording: load.Recording, since: float) -> int:
    return len(FRAME.findall(b"".join(data for when, data in recording.reads if when >= since)))


def table(found: Readers) -> str:
    """In Markdown."""
    costs, idle, unread = found.costs(), found.idle, found.unread
    many = [each for each in found.readings if each.readers > 1]
    if not many:
        return ""
    who = f"{many[0].readers:,} readers of one reply"
    cells = [
        ("what", "measured"),
        (f"{who}: CPU a reader and frame", f"{median(costs):.1f} µs"),
        (f"{who}: of a core, service / readers", f"{_median(many, 'core'):.0%} / {_median(many, 'load_core'):.0%}"),
        (
            f"{who}: gap between tokens, p50 / p99",
            f"{_median(many, 'gap_p50'):.1f} / {_median(many, 'gap_p99'):.1f} ms",
        ),
        ("a process that has just started, resident", f"{idle.at_start.resident / MIB:.1f} MiB"),
        ("a process at rest after replies, resident", f"{idle.at_rest.resident / MIB:.1f} MiB"),
        (f"an idle open stream, of {idle.streams:,}", f"{idle.stream / 1024:.1f} KiB"),
        (
            f"{unread.readers:,} readers that take nothing of a reply of {unread.text / 1e6:.2g} MB: before / at most / after",
            f"{unread.before / MIB:.1f} / {unread.peak / MIB:.1f} / {unread.after / MIB:.1f} MiB",
        ),
    ]
    return "\n" + report.aligned(cells) + "\n"


def _median(readings: Sequence[Reading], name: str) -> float:
    return float(median(getattr(each, name) for each in readings))
