"""The lines of the log: one for each thing that is told, whatever words of others stand in it.

What a client or an upstream said (a name, an error) may hold ends of lines, and then looks like lines of ours, or what a terminal takes
for orders. So all of it is escaped here, once, and not where something is told.
"""

import logging
import re
from types import TracebackType
from typing import TypeAlias

CONTROLS = r"\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069"
"""C0 and C1, ends of lines and paragraphs, and what turns the direction of writing: inside the brackets of a regular expression."""

_ESCAPED = {point: ascii(chr(point))[1:-1] for point in range(0x2070) if re.match(f"[{CONTROLS}]", chr(point))}
_KEPT_IN_TRACES = {ord("\n"): "\n  | ", ord("\t"): "\t"}

_ExcInfo: TypeAlias = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]


class SafeLines(logging.Formatter):
    """A traceback takes lines of its own, each of them marked, so that none is taken for something else."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  # logging's own name
        return super().formatMessage(record).rstrip().translate(_ESCAPED)

    def formatException(self, ei: _ExcInfo) -> str:  # noqa: N802
        return _trace(super().formatException(ei))

    def formatStack(self, stack_info: str) -> str:  # noqa: N802
        return _trace(super().formatStack(stack_info))


def _trace(text: str) -> str:
    return "  | " + text.translate(_ESCAPED | _KEPT_IN_TRACES)
