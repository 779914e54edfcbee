import sys
from collections.abc import Callable

from bench import everything, growth, plot, readers, run
from bench.options import COMMANDS

OTHERS: dict[str, Callable[[list[str]], int]] = {
    "all": everything.main,
    "readers": readers.main,
    "growth": growth.main,
    "plot": plot.main,
}


def main(arguments: list[str]) -> int:
    """The first argument is a command; without one everything runs."""
    command, *rest = arguments if arguments and not arguments[0].startswith("-") else ("all", *arguments)
    if command in COMMANDS:
        return run.main(command, rest)
    if command in OTHERS:
        return OTHERS[command](rest)
    print(f"There is no {command!r}: it is one of {', '.join((*OTHERS, *COMMANDS))}.", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
