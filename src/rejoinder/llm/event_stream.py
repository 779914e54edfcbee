"""The framing of an upstream's Server-Sent Events: bytes that may be cut anywhere in, the data of whole events out.

Only what Chat Completions makes use of is kept: the event's type and its data, in bytes, which the JSON decoder takes
as they are. An event that was cut off by the end of the stream is none.
"""

from rejoinder.errors import ProviderError

MAX_EVENT = 32 << 20
"""Bytes of one event. The longest that were seen hold one delta of some MB."""


class EventStream:
    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        """Of the line that is not yet whole."""
        self._size = 0
        self._after_cr = False
        self._begun = False
        self._type = b""
        self._data: list[bytes] = []

    def feed(self, data: bytes) -> list[tuple[bytes, bytes]]:
        """The events that end within these bytes, as (type, data). Raises ProviderError `upstream_malformed`."""
        events = []
        held = self._data
        for line in self._lines(data):
            if not line:
                if held:
                    events.append((self._type, held[0] if len(held) == 1 else b"\n".join(held)))
                    held.clear()
                self._type = b""
            elif line.startswith(b"data: "):
                held.append(line[6:])
            elif line.startswith(b"data:"):
                held.append(line[5:])
            elif line.startswith(b"event:"):
                self._type = line[6:].strip()
            elif line.startswith(b"error:"):  # llama.cpp has told its errors so
                self._type = b"error"
                held.append(line[6:])
            # What is left is a comment (pings are comments) or a field that means nothing here.
        if events:
            self._size = sum(map(len, (*self._pieces, *held)))
        return events

    def _lines(self, data: bytes) -> list[bytes]:
        """The lines that end within these bytes. A line ends in LF, CRLF or CR."""
        if self._after_cr and data:
            self._after_cr = False
            data = data.removeprefix(b"\n")  # the second half of a CRLF whose first half has ended the line
        if not data:
            return []
        self._grow(len(data))
        whole = data.endswith((b"\n", b"\r"))
        self._after_cr = data.endswith(b"\r")
        lines = data.splitlines()
        if self._pieces and (whole or len(lines) > 1):
            lines[0] = b"".join((*self._pieces, lines[0]))
            self._pieces = []
        if not whole:
            self._pieces.append(lines.pop())
        if lines and not self._begun:
            self._begun = True
            lines[0] = lines[0].removeprefix(b"\xef\xbb\xbf")
        return lines

    def _grow(self, size: int) -> None:
        self._size += size
        if self._size > MAX_EVENT:
            raise ProviderError("upstream_malformed", "The upstream sent an event without end.")
