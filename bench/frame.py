"""What is around every run: a folder that goes, files enough, an orderly end whatever happens, and its figures on the disk."""

import resource
import signal
import sys
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from bench import report
from bench.options import RESULTS
from bench.processes import Failed


class Run:
    """One run: its folder, the machine, and all that it has found, which lands in one JSON file."""

    def __init__(self, command: str, folder: Path) -> None:
        self.folder = folder
        self.machine = report.machine(folder)
        self.parameters: dict[str, Any] = {}
        """By part of the run."""
        self.found: dict[str, Any] = {
            "command": command,
            "began": datetime.now(UTC).isoformat(timespec="seconds"),
            "machine": self.machine,
            "parameters": self.parameters,
        }

    def write(self, path: Path | None) -> Path:
        stem = self.found["began"].replace(":", "").replace("+0000", "Z")
        path = path or RESULTS / f"{stem}-{self.found['command']}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(msgspec.json.format(msgspec.json.encode(self.found), indent=1) + b"\n")
        print(f"Everything that was measured: {path}", flush=True)
        return path


def framed(command: str, work: Callable[[Run], int], *, files: int = 0) -> int:
    """`work` returns the exit code. `files` are the descriptors that a process needs at most."""
    if sys.platform != "linux":
        print("The benchmark reads the CPU of processes from Linux; it does not run elsewhere.")
        return 1
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # an orderly end, so that what we started ends as well
    try:
        _allow_files(files)
        with tempfile.TemporaryDirectory(prefix="rejoinder-bench-") as folder:
            return work(Run(command, Path(folder)))
    except Failed as failed:
        print(f"FAILED: {failed}")
        return 1
    except KeyboardInterrupt:
        print("interrupted")
        return 130


def _allow_files(needed: int) -> None:
    """For us and those we start. Raises Failed."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most != resource.RLIM_INFINITY and most < needed:
        raise Failed(
            f"a process may open {most} files here, and {needed} are needed: raise it with `ulimit -Hn {needed}`"
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
