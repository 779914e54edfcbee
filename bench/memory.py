"""What processes hold in memory, as Linux tells it. Bytes."""

import contextlib
from collections.abc import Sequence
from pathlib import Path

from msgspec import Struct

MIB = 1 << 20


class Memory(Struct, frozen=True):
    """`resident` is all that is in memory (RSS), `own` what nobody else has a part of (USS): what a process costs more."""

    resident: int
    own: int


def memory_of(pids: Sequence[int]) -> Memory:
    """Of these processes together. Takes milliseconds of the kernel's time, so not while anything is measured."""
    told = [_fields(Path(f"/proc/{pid}/smaps_rollup")) for pid in pids]
    return Memory(
        resident=sum(each.get("Rss", 0) for each in told),
        own=sum(each.get("Private_Clean", 0) + each.get("Private_Dirty", 0) for each in told),
    )


def forget_peaks(pids: Sequence[int]) -> None:
    """Lets `peak_of` begin anew, where that is allowed; elsewhere it tells the greatest since the start."""
    for pid in pids:
        with contextlib.suppress(OSError):
            Path(f"/proc/{pid}/clear_refs").write_text("5")


def peak_of(pids: Sequence[int]) -> int:
    """The most that was resident at any time, of each of them; 0 for one that is no more."""
    return sum(_fields(Path(f"/proc/{pid}/status")).get("VmHWM", 0) for pid in pids)


def _fields(path: Path) -> dict[str, int]:
    """Those in kB, as bytes; none where the process is no more."""
    try:
        text = path.read_text()
    except OSError:
        return {}
    lines = (line.split() for line in text.splitlines())
    return {line[0][:-1]: int(line[1]) << 10 for line in lines if len(line) == 3 and line[2] == "kB"}
