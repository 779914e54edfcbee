"""How a command runs: what goes wrong is one sentence and an exit code."""

import io
import sys

from rejoinder.cli.commands import app
from rejoinder.cli.streams import fail, open_what_is_closed, write_no_more
from rejoinder.errors import RejoinderError


def run() -> None:
    """The command that was typed. Exits with 1 where something is wrong that the user can mend, and says what."""
    open_what_is_closed()
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # what a terminal cannot say or show is no reason to fail
            stream.reconfigure(errors="replace")
    try:
        _run()
    except RejoinderError as error:
        fail(error.detail)
    except BrokenPipeError:  # who reads has enough
        write_no_more()
        sys.exit(1)
    except OSError as error:
        write_no_more()
        named = f" ({error.filename})" if error.filename else ""
        fail(f"The system refuses it: {error.strerror or error}{named}.")


def _run() -> None:
    try:
        app()
    finally:
        sys.stdout.flush()  # while it can still be told that this fails
