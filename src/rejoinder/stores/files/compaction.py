"""Writing a session's file anew without the events that nobody needs, beside the old one, while the session goes on.

A reader thread writes the new file; the writer adds what came meanwhile and puts it in the old one's place. Headers that
were replaced since go as well; every event that stays keeps its seq, and its data byte for byte.
"""

import os
from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

from msgspec import UNSET, structs

from rejoinder.entities import Key
from rejoinder.stores import modes
from rejoinder.stores.files.catalogue import Entry
from rejoinder.stores.files.disk import GATHERED, flush, fsync, read_at, read_lines, remove_file, sync_folder, write_at
from rejoinder.stores.files.lines import EventLine, Line, read_line, write_line
from rejoinder.stores.files.log import Damaged, Log, extend_log, read_log, sound
from rejoinder.stores.files.state import State


class _Source(NamedTuple):
    fd: int
    entry: Entry
    size: int
    header_at: int
    ends: dict[str, int]
    """The seqs with which the messages end whose events go."""


class NewFile(NamedTuple):
    entry: Entry
    log: Log


class Compacted:
    """A new file for a session, as it was at `size`. Left behind by `discard` where it was not taken."""

    def __init__(self, state: State, key: Key, name: str, source: _Source, types: Collection[str]) -> None:
        self.key = key
        self.name = name
        self.entry = source.entry
        self.committed = False
        self._path = state.sessions / name
        self._size = source.size
        self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL, modes.FILE)
        try:
            modes.take_over(self._fd, state.path(key))
            end = _copy(self._fd, source, state.path(key), types)
            self._log = read_log(self._fd, self._path, end)
        except BaseException:
            self.discard()
            raise

    def finish(self, state: State, entry: Entry) -> NewFile:
        """Adds what came meanwhile. To be called in the writer's thread; raises OSError."""
        fd = os.open(state.path(self.key), os.O_RDONLY)
        try:
            tail = read_at(fd, self._size, entry.size)
        finally:
            os.close(fd)
        write_at(self._fd, tail, self._log.size)
        extend_log(self._log, self._fd, self._path, self._log.size + len(tail))
        self._size = entry.size
        fsync(self._fd)
        # The names as well: once the journal says that the file is replaced, it has to be there.
        sync_folder(self._path.parent)
        sync_folder(state.sessions)
        made = structs.replace(
            entry,
            size=self._log.size,
            header_at=self._log.header_at,
            ripe_at=min(self._log.ripe.values(), default=None),
            text_at=self._log.text_at,
        )
        return NewFile(made, self._log)

    def discard(self) -> None:
        os.close(self._fd)
        if not self.committed:
            remove_file(self._path)


def compacted(
    state: State, key: Key, name: str, message_ids: Collection[str], types: Collection[str]
) -> Compacted | None:
    """None: there is nothing to do. Raises Spoilt."""
    source = state.ask(key, lambda log: _source(state, log, message_ids))
    if source is None:
        return None
    try:
        return Compacted(state, key, name, source, types) if source.ends else None
    except Damaged as damaged:
        raise state.spoilt(key, damaged) from damaged
    finally:
        os.close(source.fd)


def _source(state: State, log: Log, message_ids: Collection[str]) -> _Source | None:
    entry = state.entry(log.key)
    if entry is None:
        return None
    rows = log.rows.pick(message_ids).values()
    ends = {row.id: row.ended for row in rows if row.ended is not None}
    return _Source(state.open(log.key), entry, log.size, log.header_at, ends)


def _copy(fd: int, source: _Source, path: Path, types: Collection[str]) -> int:
    """Returns where the new file ends."""
    gathered: list[bytes] = []
    end = size = 0
    with sound(path):
        lines = read_lines(source.fd, 0, source.size)
        gathered.append(next(lines)[1] + b"\n")
        for at, data in lines:
            line = _kept(read_line(data), at, source, types)
            if line is None:
                continue
            gathered.append(write_line(line))
            size += len(gathered[-1])
            if size >= GATHERED:
                end, size = flush(fd, gathered, end), 0
    return flush(fd, gathered, end)


def _kept(line: Line, at: int, source: _Source, types: Collection[str]) -> Line | None:
    """What stays of a line; None where nothing does. The last event of a file stays: no message ends behind it."""

    def stays(event: EventLine) -> bool:
        end = source.ends.get(event.message_id or "")
        return end is None or event.seq >= end or event.type not in types

    kept = structs.replace(
        line,
        events=tuple(event for event in line.events if stays(event)),
        header=line.header if at == source.header_at else UNSET,
        ended=tuple(structs.replace(end, ended_at=None) if end.id in source.ends else end for end in line.ended),
    )
    return None if kept == Line() else kept
