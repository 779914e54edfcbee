"""Draws the growth that runs have measured: tables and plots in docs/performance.md, between its marks.

python -m bench plot FILE…    # results of `streams`, `growth` or `--full`; the last one that has a part gives it
"""

import argparse
from collections.abc import Callable, Sequence
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct, field

from bench import goals
from bench.chart import Line, chart
from bench.figures import Row
from bench.frame import Run, framed
from bench.goals import Verdict
from bench.growth import Figure
from bench.loads import Load
from bench.options import RESULTS
from bench.processes import ROOT, Failed
from bench.report import aligned, figure

DOCS = ROOT / "docs"
PAGE = "performance.md"
CHAT = Load(streams=1)
"""The pace and the length of the replies of the curve."""
DRAWN = ("rejoinder", "nginx")
ENOUGH = 6
"""Numbers of streams from which on there is a curve: more than the goals alone ask for."""
LEAST_MS = 0.05
"""Milliseconds: what is less is noise."""
PARTS = ("history", "list")


class Result(Struct, kw_only=True):
    """What is drawn of the JSON of a run."""

    began: str
    machine: dict[str, Any]
    rows: list[Row] = field(default_factory=list)
    figures: list[Figure] = field(default_factory=list)
    verdicts: list[Verdict] = field(default_factory=list)

    def curve(self) -> list[Row]:
        """By streams, where there are several numbers of them at the pace of a chat."""
        rows = [row for row in self.rows if row.pace == CHAT.pace]
        return rows if len({row.streams for row in rows}) >= ENOUGH else []

    def where(self) -> str:
        machine = self.machine
        return (
            f"Measured on {self.began[:10]} at `{machine['commit']}`: {machine['processor']}, {machine['cores']} cores, load "
            f"{machine['load_before'][0]} at the start, Python {machine['python']}, SQLite {machine['sqlite']} on "
            f"{machine['file_system_of_the_log']}."
        )


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench plot", description=__doc__, allow_abbrev=False)
    parser.add_argument("files", type=Path, nargs="+", metavar="FILE", help=f"such as {RESULTS.name}/*.json here")
    parser.add_argument("--into", type=Path, default=DOCS, metavar="FOLDER", help=f"where {PAGE} lies (default: docs)")
    given = parser.parse_args(arguments)
    return framed("plot", partial(_run, given.files, given.into))


def _run(files: Sequence[Path], into: Path, _: Run) -> int:
    draw(files, into)
    return 0


def draw(files: Sequence[Path], into: Path) -> None:
    """Raises Failed, and then has written nothing."""
    results = [_read(path) for path in files]
    page = into / PAGE
    try:
        text = page.read_text(encoding="utf-8")
    except OSError as error:
        raise Failed(f"there is no page to draw into: {error}") from error
    written: dict[str, str] = {}
    parts: dict[str, tuple[Callable[[Result], object], Callable[[Result, dict[str, str]], str]]] = {
        "goals": (
            lambda result: result.verdicts,
            lambda result, _: f"{result.where()}\n{goals.table(result.verdicts)}",
        ),
        "streams": (Result.curve, _streams),
        "rows": (lambda result: result.figures, _rows),
    }
    drawn = 0
    for name, (has, draws) in parts.items():
        if having := [result for result in results if has(result)]:
            text = _replaced(text, name, draws(having[-1], written).strip())
            drawn += 1
    if not drawn:
        raise Failed("there is nothing to draw in these files")
    (into / "images").mkdir(exist_ok=True)
    for name, image in written.items():
        (into / "images" / name).write_text(image, encoding="utf-8")
        print(f"Wrote {into / 'images' / name}")
    page.write_text(text, encoding="utf-8")
    print(f"Wrote {page}", flush=True)


def _read(path: Path) -> Result:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Result)
    except (OSError, msgspec.MsgspecError) as error:
        raise Failed(f"{path} is no result of this benchmark: {error}") from error


def _replaced(text: str, name: str, section: str) -> str:
    begin, end = f"<!-- {name}: made by ./dev bench plot -->", f"<!-- end of {name} -->"
    before, found, rest = text.partition(begin)
    _, ended, after = rest.partition(end)
    if not (found and ended):
        raise Failed(f"{PAGE} lacks the lines {begin!r} and {end!r}, between which it would be drawn")
    return f"{before}{begin}\n\n{section}\n\n{end}{after}"


# --- over streams ------------------------------------------------------------------------------------------------


def _streams(result: Result, written: dict[str, str]) -> str:
    rows = [row for row in result.curve() if row.contestant in DRAWN]
    rows.sort(key=lambda row: row.streams)
    of = {name: [row for row in rows if row.contestant == name] for name in DRAWN}

    def line(name: str, colour: int, value: Callable[[Row], float], who: str, *, dashed: bool = False) -> Line:
        return Line(name, [(row.streams, value(row)) for row in of[who]], colour, dashed)

    cpu = [line(name, colour, lambda row: row.cpu, name) for colour, name in enumerate(DRAWN) if of[name]]
    own = "rejoinder"
    times = [
        line("first token, p50", 0, lambda row: row.added_first_p50, own),
        line("first token, p99", 0, lambda row: row.added_first_p99, own, dashed=True),
        line("gap, p99", 2, lambda row: row.added_gap_p99, own, dashed=True),
    ]
    written["bench-cpu.svg"] = chart("CPU a token", "streams", "µs", cpu, 1)
    written["bench-latency.svg"] = chart("Added latency of rejoinder", "streams", "ms", times, LEAST_MS)
    heads = (
        "streams",
        "CPU µs/token",
        "nginx",
        "× nginx",
        "first token +ms p50 / p99",
        "gap +ms p50 / p99",
        "of a core",
    )
    nginx = {row.streams: row for row in of["nginx"]}
    cells = [heads, *(_at(row, nginx.get(row.streams)) for row in of[own])]
    images = "![CPU a token over streams](images/bench-cpu.svg)\n\n![Latency over streams](images/bench-latency.svg)"
    return f"{result.where()}\n\n{aligned(cells)}\n\n{images}"


def _at(row: Row, nginx: Row | None) -> tuple[str, ...]:
    return (
        f"{row.streams:,}",
        figure(row.cpu),
        figure(nginx.cpu) if nginx else "–",
        f"{row.to['nginx']:.1f}" if nginx else "–",
        f"{row.added_first_p50:.1f} / {row.added_first_p99:.1f}",
        f"{row.added_gap_p50:.1f} / {row.added_gap_p99:.1f}",
        f"{row.core:.0%}",
    )


# --- over rows ---------------------------------------------------------------------------------------------------


def _rows(result: Result, written: dict[str, str]) -> str:
    wanted = sorted((each for each in result.figures if each.part in PARTS), key=lambda each: (each.part, each.what))
    questions = {
        what: sorted(group, key=lambda each: each.rows) for what, group in groupby(wanted, lambda each: each.what)
    }
    sizes = sorted({each.rows for each in wanted})
    lines = [
        Line(what, [(each.rows, each.p95) for each in group], colour % 4)
        for colour, (what, group) in enumerate(
            (what, group) for what, group in questions.items() if what.startswith("some")
        )
    ]
    written["bench-rows.svg"] = chart("A page at p95", "rows in all", "ms", lines, LEAST_MS)
    cells = [("p50 / p95 ms at rows", *(f"{size:,}" for size in sizes))]
    for what, group in questions.items():
        at = {each.rows: f"{each.p50:.1f} / {each.p95:.1f}" for each in group}
        cells.append((what, *(at.get(size, "–") for size in sizes)))
    return f"{result.where()}\n\n{aligned(cells)}\n\n![A page over rows](images/bench-rows.svg)"
