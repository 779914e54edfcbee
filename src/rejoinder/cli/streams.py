"""The standard streams, whatever became of them, and what is said on the last of them where something goes wrong."""

import contextlib
import os
import sys

from rejoinder.cli.display import harmless


def open_what_is_closed() -> None:
    """Standard streams that were closed (`<&-`) are open again, so that no other file takes their numbers: reading finds the end
    at once, writing is an error, and what would be said of errors is lost."""
    for name, way, mode in (("stdin", os.O_RDONLY, "r"), ("stdout", os.O_RDONLY, "w"), ("stderr", os.O_WRONLY, "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, way), mode, encoding="utf-8"))


def write_no_more() -> None:
    """What has not been written yet goes nowhere: else Python would try it once more at its end."""
    with contextlib.suppress(OSError, ValueError):  # a stream without a file, or one that is closed
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def fail(sentence: str, exit_code: int = 1) -> None:
    print(f"rejoinder: {harmless(sentence)}", file=sys.stderr)  # it may be a server's
    sys.exit(exit_code)
