"""What a run shows: the machine, its progress, a table that can be pasted into a document, and JSON with everything."""

import importlib.metadata
import os
import platform
import sqlite3
import subprocess
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from bench.contestants import nginx_program
from bench.figures import Round, Row
from bench.loads import Load
from bench.processes import ROOT

PACKAGES = (
    "rejoinder",
    "fastapi",
    "starlette",
    "uvicorn",
    "uvloop",
    "openai",
    "httptools",
    "httpx2",
    "sse-starlette",
    "asyncpg",
)
IN_MEMORY = ("tmpfs", "ramfs")
BUSY = 0.8
"""The share of a core from which a process may be what holds the others up."""
HEADS = (
    "CPU µs/token", "× nginx", "× usual", "first token +ms p50 / p99", "gap +ms p50 / p99", "tokens/s",
    "of a core: server / upstream / readers", "MiB at most", "whole",
)  # fmt: skip


def machine(folder: Path) -> dict[str, Any]:
    """What the figures depend on beside the code."""
    return {
        "commit": _said(["git", "describe", "--always", "--dirty"]),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "load_before": [round(each, 2) for each in os.getloadavg()],
        "file_system_of_the_log": _file_system(folder),
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "nginx": _nginx(),
        "packages": {name: _version(name) for name in PACKAGES},
    }


def introduce(loads: Sequence[Load], rounds: int, machine: Mapping[str, Any]) -> None:
    names = "; ".join(f"{each.name}, {each.tokens:,} tokens a reply" for each in loads)
    print(f"{names}. {rounds} round{'s' * (rounds > 1)} at most, in turn.")
    introduce_machine(machine)


def introduce_machine(machine: Mapping[str, Any]) -> None:
    print(
        f"{machine['processor']}, {machine['cores']} cores, load {machine['load_before'][0]}, Python {machine['python']}, "
        f"SQLite {machine['sqlite']} on {machine['file_system_of_the_log']}, nginx {machine['nginx']}."
    )
    if machine["file_system_of_the_log"] in IN_MEMORY:
        print("*** THE LOG LIES IN MEMORY, where a commit costs nothing: set TMPDIR to a folder on a disk. ***")
    print(flush=True)


def progress(taken: Round, rounds: int) -> None:
    print(
        f"  {taken.load}, round {taken.round} of {rounds}, {taken.contestant}: "
        f"{figure(taken.cpu)} µs a token, {taken.seconds:.1f} s",
        flush=True,
    )


def table(rows: Sequence[Row]) -> str:
    """One table for each load, in Markdown."""
    parts = []
    for load, group in groupby(rows, key=lambda row: row.load):
        parts.append("\n" + aligned([(load, *HEADS), *map(_cells, group)]))
    return "\n".join(parts) + "\n"


def remarks(rows: Sequence[Row], left_out: Mapping[str, str], failed: Mapping[str, str]) -> list[str]:
    """What a reader of the table must know."""
    said = [f"*** {name} WAS LEFT OUT: {why} ***" for name, why in left_out.items()]
    said += [f"*** {name} FAILED: {why} ***" for name, why in failed.items()]
    cores = len(os.sched_getaffinity(0))
    for row in rows:
        where = f"{row.contestant} with {row.load}"
        server = 0 if row.contestant == "upstream" else row.core
        if row.whole < row.replies:
            said.append(f"*** {where}: {row.replies - row.whole} of {row.replies} replies were NOT WHOLE. ***")
        if row.store_core:
            said.append(f"{where}: the server of its store used {row.store_core:.0%} of a core, charged to nobody.")
        if max(row.upstream_core, row.load_core) > BUSY:
            said.append(f"{where}: the upstream or the readers filled a core, and held it up.")
        if server > BUSY:
            said.append(f"{where}: its core was full, so its times are those of a queue.")
        elif server + row.upstream_core + row.load_core + row.store_core > BUSY * cores:
            said.append(f"{where}: the machine was full, so times are those of a queue; CPU and ratios hold better.")
    return said


def _cells(row: Row) -> tuple[str, ...]:
    return (
        row.contestant,
        figure(row.cpu),
        f"{row.to['nginx']:.1f}" if "nginx" in row.to else "–",
        f"{row.to['usual']:.2f}" if "usual" in row.to else "–",
        f"{_tenths(row.added_first_p50)} / {_tenths(row.added_first_p99)}",
        f"{_tenths(row.added_gap_p50)} / {_tenths(row.added_gap_p99)}",
        f"{row.tokens_per_second:,.0f}",
        f"{row.core:.0%} / {row.upstream_core:.0%} / {row.load_core:.0%}",
        f"{row.memory / (1 << 20):.0f}",
        f"{row.whole:,} of {row.replies:,}",
    )


def figure(value: float) -> str:
    """With the digits that say something."""
    return f"{value:,.0f}" if abs(value) >= 20 else f"{value:.1f}"


def _tenths(value: float) -> str:
    return f"{round(value, 1) + 0:.1f}"  # and no -0.0


def aligned(cells: Sequence[Sequence[str]]) -> str:
    """A table in Markdown, its first row the head: the first column to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]

    def line(row: Sequence[str]) -> str:
        first, *rest = (cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        return f"| {' | '.join((row[0].ljust(len(first)), *rest))} |"

    rule = f"|{'|'.join('-' * (width + 1) + ('-' if place == 0 else ':') for place, width in enumerate(widths))}|"
    return "\n".join((line(cells[0]), rule, *map(line, cells[1:])))


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _file_system(folder: Path) -> str:
    """The type of the file system that a folder lies on: of the longest mount point above it."""
    mounts = [line.split(" ")[1:3] for line in Path("/proc/mounts").read_text().splitlines()]
    above = [(point, kind) for point, kind in mounts if folder.resolve().is_relative_to(point)]
    return max(above, key=lambda mount: len(mount[0]))[1] if above else "?"


def _nginx() -> str:
    program = nginx_program()
    return _said([program, "-v"]).rpartition("/")[2] if program else "absent"


def _said(command: Sequence[str]) -> str:
    """What a program says, wherever it says it; empty where it cannot be asked."""
    try:
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=10, cwd=ROOT)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return (done.stdout + done.stderr).strip() if done.returncode == 0 else ""


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "absent"
