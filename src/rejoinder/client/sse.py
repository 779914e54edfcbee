"""Reading Server-Sent Events as the HTML standard tells, from bytes that may be cut anywhere.

Bytes go in as they arrive and frames come out when they are whole. What is left at the end of a stream without its
blank line is no event, so it is never given out: whoever resumes gets it again.
"""

import re
from typing import NamedTuple

_LINE_END = re.compile(rb"\r\n|\r|\n")
_BOM = b"\xef\xbb\xbf"


class Frame(NamedTuple):
    """One event as a stream carries it. `id` is the last id that the stream has told, "" where it has told none."""

    event: str
    data: str
    id: str


class SseParser:
    def __init__(self) -> None:
        self.retry: float | None = None
        """Seconds that the server asks a reader to wait before it comes back."""
        self._line: list[bytes] = []
        self._after_cr = False
        self._begun = False
        self._event, self._data, self._id = "", list[str](), ""

    def feed(self, chunk: bytes) -> list[Frame]:
        """The frames that end within this chunk."""
        frames = []
        for line in self._lines(chunk):
            if line:
                self._field(line)
            elif self._data:
                frames.append(Frame(self._event or "message", "\n".join(self._data), self._id))
            if not line:
                # A frame without data tells its id all the same, but it is no event.
                self._event, self._data = "", []
        return frames

    def _lines(self, chunk: bytes) -> list[str]:
        """The lines that end within this chunk, decoded one by one, so that no character is ever cut."""
        if self._after_cr and chunk.startswith(b"\n"):
            chunk = chunk[1:]  # the second half of a CRLF whose first half has ended the line
            self._after_cr = False
        if not chunk:
            return []
        self._after_cr = chunk.endswith(b"\r")
        *ends, rest = _LINE_END.split(chunk)
        lines = []
        for end in ends:
            lines.append(b"".join((*self._line, end)))
            self._line.clear()
        self._line.append(rest)
        if lines and not self._begun:
            self._begun = True
            lines[0] = lines[0].removeprefix(_BOM)
        return [line.decode("utf-8", "replace") for line in lines]

    def _field(self, line: str) -> None:
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        match name:
            case "event":
                self._event = value
            case "data":
                self._data.append(value)
            case "id" if "\0" not in value:
                self._id = value
            case "retry" if value.isascii() and value.isdecimal():
                self.retry = int(value) / 1000
            case _:
                pass  # a comment (its name is empty), or a field of another time
