import sys

from bench import growth, readers, run
from bench.options import COMMANDS

OTHERS = {"readers": readers.main, "growth": growth.main}


def main(command: str, arguments: list[str]) -> int:
    if command in COMMANDS:
        return run.main(command, arguments)
    if command in OTHERS:
        return OTHERS[command](arguments)
    print(f"There is no {command!r}: it is one of {', '.join((*COMMANDS, *OTHERS))}.", file=sys.stderr)
    return 2


sys.exit(main(sys.argv[1] if sys.argv[1:] else "relay", sys.argv[2:]))
