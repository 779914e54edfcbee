"""The command line. Each command loads what it needs when it runs, so that `--help` answers at once."""

import sys


def main() -> None:
    """The entry point. It hears Ctrl-C from here on, since even what every command needs takes a moment to load."""
    try:
        from rejoinder.cli.entry import run

        run()
    except KeyboardInterrupt:
        sys.exit(130)
