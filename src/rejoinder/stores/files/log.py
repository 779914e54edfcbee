"""What is known of one session's file without reading it again: where its lines are, and its message index.

An index is made from the file alone, is kept while the session is in use, grows with each append, and is dropped when
others need the room.
"""

import os
from array import array
from bisect import bisect_right
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
from msgspec import UNSET

from rejoinder.abc import Row
from rejoinder.entities import Header, Key
from rejoinder.errors import Misconfigured
from rejoinder.stores.files.catalogue import Entry
from rejoinder.stores.files.disk import ShortFile, last_line_end, read_at, read_lines, remove_file
from rejoinder.stores.files.lines import FIRST, FORMAT, IndexedLine, read_first, read_header, read_indexed
from rejoinder.stores.rows import Rows

LINE_BYTES, ROW_BYTES = 16, 700
"""What a line and a row take in memory, roughly."""


class Damaged(Misconfigured):
    """A file of a session cannot be read; it is left as it is, and all others are served."""


class Log:
    """The index of one session's file, up to `size`."""

    def __init__(self, key: Key) -> None:
        self.key = key
        self.size = 0
        self.last_seq = 0
        self.header_at = 0
        self.rows = Rows()
        self.ripe: dict[str, str] = {}
        """When they ended, of ended messages that were not compacted yet, by id."""
        self.text_at: str | None = None
        self._firsts = array("q")
        self._begins = array("q")

    @property
    def lines(self) -> int:
        return len(self._firsts)

    @property
    def weight(self) -> int:
        """Bytes of memory, roughly."""
        return 2_000 + LINE_BYTES * len(self._firsts) + ROW_BYTES * len(self.rows)

    def begin_of(self, seq: int) -> int:
        """Where the line begins that has this event or, if there is none, the next one before it."""
        line = bisect_right(self._firsts, seq) - 1
        return self._begins[line] if line >= 0 else 0

    def end_of(self, seq: int) -> int:
        """Where the line ends that has this event: at most where the next line with events begins."""
        line = bisect_right(self._firsts, seq)
        return self._begins[line] if line < len(self._begins) else self.size

    def delta(self, first: int, last: int, at: int, end: int) -> None:
        """A line with events and nothing else."""
        self._firsts.append(first)
        self._begins.append(at)
        self.last_seq, self.size = last, end

    def add(self, line: IndexedLine, at: int, end: int) -> None:
        """Raises KeyError where it ends a message that is not there."""
        if line.events:
            self._firsts.append(line.events[0].seq)
            self._begins.append(at)
            self.last_seq = line.events[-1].seq
        if line.header is not UNSET:
            self.header_at = at
        for new in line.created:
            ended = new.seq if new.ended else None
            self.rows.add(
                Row(id=new.id, parent_id=new.parent_id, lane=new.lane, depth=new.depth, created=new.seq, ended=ended)
            )
        for end_line in line.ended:
            self.rows.end(end_line.id, end_line.seq)
            if end_line.ended_at is not None:
                self.ripe[end_line.id] = end_line.ended_at
        for text in line.texts:
            self.text_at = max(self.text_at or "", text.at)
        self.size = end

    def entry(self, header: Header) -> Entry:
        return Entry(
            key=self.key,
            size=self.size,
            version=header.version,
            last_seq=self.last_seq,
            header_at=self.header_at,
            updated_at=header.session.updated_at,
            open=header.open,
            ripe_at=min(self.ripe.values(), default=None),
            text_at=self.text_at,
        )


def read_log(fd: int, path: Path, size: int) -> Log:
    """The index of a file up to this size. Raises Damaged."""
    with sound(path):
        lines = read_lines(fd, 0, size)
        _, line = next(lines, (0, b""))
        first = read_first(line)
        if first.format > FORMAT:
            raise Misconfigured(f"{path} was written by a later version of Rejoinder.")
        log = Log(Key(first.owner, first.session))
        log.size = len(line) + 1
        _extend(log, lines)
        if log.size != size:
            raise ShortFile
    return log


def extend_log(log: Log, fd: int, path: Path, size: int) -> None:
    """Brings an index up to this size. Raises Damaged, and the index is then good for nothing."""
    with sound(path):
        _extend(log, read_lines(fd, log.size, size))


def recover_log(path: Path) -> tuple[Log, Header] | None:
    """Reads a file of which nothing is known, and cuts off a torn last line. Raises Damaged. None: nothing was in it.

    An append is acknowledged when the journal has its line with its end: what was is never in a torn one.
    """
    fd = os.open(path, os.O_RDWR)
    try:
        size = os.fstat(fd).st_size
        end = last_line_end(fd, size)
        if end == 0 and FIRST.startswith(read_at(fd, 0, min(size, len(FIRST)))):
            remove_file(path)
            return None
        log = read_log(fd, path, end)
        if log.header_at == 0:  # it was being made: the header comes last
            remove_file(path)
            return None
        with sound(path):
            header = read_header(next(read_lines(fd, log.header_at, end))[1])
        if end < size:
            os.ftruncate(fd, end)
        return log, header
    finally:
        os.close(fd)


def _extend(log: Log, lines: Iterator[tuple[int, bytes]]) -> None:
    for at, line in lines:
        log.add(read_indexed(line), at, at + len(line) + 1)


@contextmanager
def sound(path: Path) -> Iterator[None]:
    """Raises Damaged for what does not stand in a file that is whole."""
    try:
        yield
    except (msgspec.DecodeError, UnicodeDecodeError, KeyError, StopIteration, ShortFile) as exc:
        raise Damaged(f"{path} is damaged: {str(exc) or type(exc).__name__}.") from exc
