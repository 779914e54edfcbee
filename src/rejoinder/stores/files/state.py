"""What an open store of flat files knows: the catalogue, the indexes of the sessions in use, and where all of it lies.

The writer's thread changes it and reader threads look at it, always under `lock` and never for longer than it takes to
find a place or to open a file. What a reader has opened stays as it was, also where the file is replaced or removed.
"""

import errno
import logging
import os
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from threading import Lock
from typing import TypeVar

from rejoinder.entities import Key
from rejoinder.errors import StoreUnavailable
from rejoinder.stores.files.catalogue import Catalogue, Entry
from rejoinder.stores.files.log import Damaged, Log, extend_log, read_log
from rejoinder.stores.files.names import path_of

log = logging.getLogger(__name__)

KEPT = 64 << 20
"""Bytes of indexes of sessions that are kept in memory: those of 1,000 chats of 50 messages, and more."""

SHORT = 1 << 20
"""Bytes with which a file may have grown while its index was made, that are read while others wait."""

OF_ONE_FILE = {errno.ENOENT, errno.ENOTDIR, errno.EACCES, errno.EPERM, errno.EISDIR, errno.ELOOP, errno.EIO}
"""Errors that say something of one file, and nothing of all others."""

T = TypeVar("T")


class Spoilt(StoreUnavailable):
    """The file of one session is not as the service left it, or cannot be read. It is given up, and all others are served."""


def is_of_one_file(fault: OSError) -> bool:
    return fault.errno in OF_ONE_FILE


class Logs:
    """Indexes of sessions, the least recently used of which are dropped."""

    def __init__(self) -> None:
        self._logs: OrderedDict[Key, tuple[Log, int]] = OrderedDict()
        self._weight = 0

    def __len__(self) -> int:
        return len(self._logs)

    def get(self, key: Key) -> Log | None:
        found = self._logs.get(key)
        if found is None:
            return None
        self._logs.move_to_end(key)
        return found[0]

    def put(self, log: Log) -> None:
        """Keeps an index, or weighs one anew that has grown."""
        self.drop(log.key)
        self._logs[log.key] = (log, log.weight)
        self._weight += log.weight
        while self._weight > KEPT and len(self._logs) > 1:
            _, (_, weight) = self._logs.popitem(last=False)
            self._weight -= weight

    def drop(self, key: Key) -> None:
        found = self._logs.pop(key, None)
        if found is not None:
            self._weight -= found[1]


class State:
    def __init__(self, sessions: Path, catalogue: Catalogue, damaged: dict[str, str]) -> None:
        self.sessions = sessions
        self.catalogue = catalogue
        self.damaged = damaged
        """Why the files at these paths cannot be read."""
        self.logs = Logs()
        self.lock = Lock()

    def path(self, key: Key) -> Path:
        return self.sessions / path_of(key)

    def entry(self, key: Key) -> Entry | None:
        """Under the lock. Raises StoreUnavailable for a session whose file is damaged."""
        entry = self.catalogue.get(key)
        if entry is None and self.damaged:
            why = self.damaged.get(path_of(key))
            if why is not None:
                raise StoreUnavailable(why)
        return entry

    def give_up(self, path: str, why: str) -> None:
        """Under the lock: a session is served no more."""
        self.damaged[path] = why
        for entry in self.catalogue:
            if path_of(entry.key) == path:
                self.catalogue.drop(entry.key)
                self.logs.drop(entry.key)

    def spoilt(self, key: Key, why: Damaged | OSError) -> Spoilt:
        """Gives a session up whose file cannot be read, so that it keeps no list from being read, and says why."""
        said = why.detail if isinstance(why, Damaged) else self._unreadable(key, why)
        with self.lock:
            self._give_up(key, said)
        return Spoilt(said)

    def _unreadable(self, key: Key, fault: OSError) -> str:
        return f"{self.path(key)} cannot be read: {fault.strerror or fault}."

    def _give_up(self, key: Key, why: str) -> None:
        if self.catalogue.get(key) is None:
            return  # it was deleted meanwhile, or given up
        log.error("%s Its session is given up.", why)
        self.damaged[path_of(key)] = why
        self.catalogue.drop(key)
        self.logs.drop(key)

    def open(self, key: Key) -> int:
        """A descriptor of a session's file, under the lock: so it is the file that the index is of. Raises Spoilt."""
        try:
            return os.open(self.path(key), os.O_RDONLY)
        except OSError as fault:
            if not is_of_one_file(fault) or not self.sessions.is_dir():
                raise  # where all are away they may come back
            why = self._unreadable(key, fault)
            self._give_up(key, why)
            raise Spoilt(why) from fault

    def ask(self, key: Key, question: Callable[[Log], T]) -> T | None:
        """Asks the index of a session under the lock, after it was made if need be. None: there is no such session. Raises Spoilt."""
        while True:
            with self.lock:
                entry = self.entry(key)
                if entry is None:
                    return None
                log = self.logs.get(key)
                if log is not None:
                    return question(log)
                size, fd = entry.size, self.open(key)
            try:
                self._load(entry, fd, size)
            except Damaged as damaged:
                raise self.spoilt(key, damaged) from damaged
            finally:
                os.close(fd)

    def _load(self, entry: Entry, fd: int, size: int) -> None:
        path = self.path(entry.key)
        log = read_log(fd, path, size)
        while True:
            with self.lock:
                if self.catalogue.get(entry.key) is not entry or self.logs.get(entry.key) is not None:
                    return
                if entry.size - log.size <= SHORT:
                    extend_log(log, fd, path, entry.size)
                    self.logs.put(log)
                    return
                size = entry.size
            extend_log(log, fd, path, size)
