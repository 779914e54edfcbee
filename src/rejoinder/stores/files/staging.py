"""Writing the file of a great new session beside its place, while others are written: its commit only gives the file its name.

A reader thread writes it. What is never committed goes with its lease, or at the next start.
"""

import os
from collections.abc import Sequence
from contextlib import suppress
from itertools import count

from rejoinder.abc import Append, Appended, AppendResult, Lease
from rejoinder.entities import Key
from rejoinder.stores.files.catalogue import Entry
from rejoinder.stores.files.disk import GATHERED, flush, fsync, open_new, remove_file, sync_folder
from rejoinder.stores.files.lines import append_lines, first_line, read_indexed
from rejoinder.stores.files.log import Log
from rejoinder.stores.files.state import State


class Staged:
    """A file with all of a first append, durable, and what is to be known of it."""

    def __init__(self, state: State, name: str, append: Append) -> None:
        """Raises OSError, and ValueError for an append that contradicts itself."""
        self.key: Key = append.key
        self.name = name
        self._path = state.sessions / name
        fd = open_new(str(self._path), os.O_EXCL)
        try:
            self.log = _written(fd, append)
            fsync(fd)
            # The names as well: once the journal says that the session has this file, it has to be there.
            sync_folder(self._path.parent)
            sync_folder(state.sessions)
        except BaseException:
            self.discard()
            raise
        finally:
            os.close(fd)
        if append.header is None:
            self.discard()
            raise ValueError("An append that creates a session brings its header.")
        self.entry: Entry = self.log.entry(append.header)

    def discard(self) -> None:
        with suppress(OSError):  # the next start does it
            remove_file(self._path)


class Stagings:
    """What is staged and not committed yet. The writer's."""

    def __init__(self) -> None:
        self._staged: dict[int, tuple[Lease, Staged]] = {}
        self._numbers = count(1)

    def keep(self, lease: Lease, staged: Staged) -> int:
        number = next(self._numbers)
        self._staged[number] = lease, staged
        return number

    def of(self, append: Append) -> Staged | None:
        """Raises ValueError for what was never staged, or is no more."""
        if append.staged is None:
            return None
        _, staged = self._staged.get(append.staged, (None, None))
        if staged is None or staged.key != append.key:
            raise ValueError(f"Nothing is staged as {append.staged} for session {append.key.session_id}.")
        return staged

    def settle(self, appends: Sequence[Append], results: Sequence[AppendResult]) -> None:
        """The file of what was committed is a matter of the journal from now on; that of what was refused goes."""
        for append, result in zip(appends, results, strict=True):
            _, staged = self._staged.pop(append.staged or 0, (None, None))
            if staged is not None and not isinstance(result, Appended):
                staged.discard()

    def drop(self, lease: Lease | None = None) -> None:
        """Of one lease, or all."""
        for number, (under, staged) in list(self._staged.items()):
            if lease in (None, under):
                del self._staged[number]
                staged.discard()


def _written(fd: int, append: Append) -> Log:
    log = Log(append.key)
    gathered = [first_line(append.key)]
    log.size = size = len(gathered[0])
    end = 0
    for line in append_lines(append, 1):
        log.add(read_indexed(line.data), log.size, log.size + len(line.data))
        gathered.append(line.data)
        size += len(line.data)
        if size >= GATHERED:
            end, size = flush(fd, gathered, end), 0
    flush(fd, gathered, end)
    return log
