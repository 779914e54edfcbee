"""A batch of appends, from what was asked to the lines of each session's file. The hot path: some microseconds a delta."""

from collections.abc import Callable, Sequence

from msgspec import Struct

from rejoinder.abc import Append, Appended, AppendResult
from rejoinder.entities import Key
from rejoinder.errors import Misconfigured, StoreUnavailable
from rejoinder.stores.batch import settle
from rejoinder.stores.files.catalogue import Entry
from rejoinder.stores.files.journal import Replace, Step, Write
from rejoinder.stores.files.lines import append_line, append_lines, first_line, read_indexed
from rejoinder.stores.files.log import Log
from rejoinder.stores.files.names import path_of
from rejoinder.stores.files.staging import Staged
from rejoinder.stores.files.state import State

WEIGHED = 32
"""Lines with which an index grows before it is weighed anew."""


class _Line(Struct):
    """Events (`first` to `last`) and their place in the file. `append` is what else the line tells; None where it has events alone."""

    append: Append | None
    first: int
    last: int
    at: int
    data: bytes

    @property
    def end(self) -> int:
        return self.at + len(self.data)


class _Change:
    """What a batch adds to one session's file."""

    def __init__(self, key: Key, entry: Entry | None, staged: Staged | None = None) -> None:
        self.key = key
        self.staged = staged
        self.path = path_of(key)
        self.entry = entry
        self.at = self.end = entry.size if entry else 0
        self.data: list[bytes] = []
        self.lines: list[_Line] = []
        self.created: set[str] = set()
        if staged is not None:
            self.at = self.end = staged.log.size
        elif entry is None:
            self._put(first_line(key))

    def steps(self) -> list[Step]:
        steps: list[Step] = [] if self.staged is None else [Replace(self.path, self.staged.name)]
        return [*steps, Write(self.path, self.at, b"".join(self.data))] if self.data else steps

    def add(self, append: Append, first: int) -> None:
        last = first + len(append.drafts) - 1
        if append.header is None and not (append.created or append.ended or append.texts):
            self._add(None, first, last, append_line(append, first))
            return
        for line in append_lines(append, first):
            self._add(*line)

    def _add(self, append: Append | None, first: int, last: int, data: bytes) -> None:
        self.lines.append(_Line(append, first, last, self.end, data))
        self._put(data)

    def _put(self, data: bytes) -> None:
        self.data.append(data)
        self.end += len(data)


class Batch:
    """Raises ValueError for an append that contradicts itself or its session, and then has changed nothing."""

    def __init__(self, state: State, appends: Sequence[Append], staged: Callable[[Append], Staged | None]) -> None:
        self._state = state
        self._staged_as = staged
        self._changes: dict[Key, _Change] = {}
        # Only the writer's thread changes the catalogue, and this runs in it: it may look without the lock.
        self.results: list[AppendResult]
        self.results, _ = settle(appends, state.catalogue.place)
        for append, result in zip(appends, self.results, strict=True):
            if isinstance(result, Appended):
                self._add(append, result.first)

    @property
    def keys(self) -> dict[str, Key]:
        """Of the sessions that it changes, by the path of their file."""
        return {change.path: change.key for change in self._changes.values()}

    def steps(self) -> list[Step]:
        return [step for change in self._changes.values() for step in change.steps()]

    def publish(self) -> None:
        """Under the lock: from now on readers see it."""
        for change in self._changes.values():
            _publish(self._state, change)

    def _add(self, append: Append, first: int) -> None:
        change = self._changes.get(append.key)
        if change is None:
            change = _Change(append.key, self._state.catalogue.get(append.key), self._staged_as(append))
            if change.entry is None and change.path in self._state.damaged:
                raise Misconfigured(self._state.damaged[change.path])
            self._changes[append.key] = change
        if append.created or append.ended:
            self._check_rows(change, append)
        if append.staged is None:
            change.add(append, first)

    def _check_rows(self, change: _Change, append: Append) -> None:
        known = _known(self._state, change)
        for new in append.created:
            if new.id in change.created or known(new.id):
                raise ValueError(f"Message {new.id} is in the index already.")
            change.created.add(new.id)
        for end in append.ended:
            if end.id not in change.created and not known(end.id):
                raise ValueError(f"Message {end.id} is not in the index.")


def _known(state: State, change: _Change) -> Callable[[str], bool]:
    if change.entry is None:
        return lambda _: False

    def known(message_id: str) -> bool:
        try:
            return bool(state.ask(change.key, lambda log: message_id in log.rows))
        except StoreUnavailable as damaged:
            # Asked again for ever it would keep every other session from being written.
            raise Misconfigured(damaged.detail) from damaged

    return known


def _publish(state: State, change: _Change) -> None:
    entry, log = change.entry, state.logs.get(change.key)
    if entry is not state.catalogue.get(change.key) or change.path in state.damaged:
        return  # it was given up meanwhile
    if change.staged is not None:
        log, entry = change.staged.log, change.staged.entry
        state.catalogue.put(entry)
    elif entry is None:
        log = Log(change.key)
        log.size = len(change.data[0])
    for line in change.lines:
        if log is not None:
            _extend(log, line)
        if entry is not None:
            _move(state, entry, line)
        elif log is not None and line.append is not None and line.append.header is not None:
            entry = log.entry(line.append.header)
            state.catalogue.put(entry)
    if log is not None and (change.entry is None or log.lines % WEIGHED < len(change.lines)):
        state.logs.put(log)


def _extend(log: Log, line: _Line) -> None:
    if line.append is None:
        log.delta(line.first, line.last, line.at, line.end)
    else:
        log.add(read_indexed(line.data), line.at, line.end)


def _move(state: State, entry: Entry, line: _Line) -> None:
    append = line.append
    if append is not None:
        if append.header is not None:
            state.catalogue.move(entry, append.header, line.at)
        for end in append.ended:
            entry.ripe_at = min(entry.ripe_at or end.ended_at, end.ended_at)
        for text in append.texts:
            entry.text_at = max(entry.text_at or text.at, text.at)
    entry.size, entry.last_seq = line.end, line.last
