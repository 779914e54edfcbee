"""The command line. Each command loads what it needs when it runs, so that `--help` answers at once."""

from rejoinder.cli.commands import app
from rejoinder.cli.entry import main

__all__ = ["app", "main"]
