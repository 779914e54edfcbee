"""The journal: a batch over many sessions is one record here, and the moment it is durable is the moment it is committed.

Only then its lines go to the files of the sessions. After a crash the records are done again: each says what stands where,
so that doing it twice changes nothing. A record is a line: a checksum, a space, and JSON that a person can read.
"""

import errno
import os
import re
import time
import zlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Literal, TypeAlias

import msgspec
from msgspec import Raw, Struct

from rejoinder.stores import modes
from rejoinder.stores.files.disk import fsync, read_lines, remove_file, sync_folder, write_at

Fsync: TypeAlias = Literal["always", "second", "never"]
"""When a record is made durable: before it is acknowledged, within a second, or when the system likes."""

SYNC_EVERY = 1.0
"""Seconds, where the policy is `second`."""


class Write(Struct, frozen=True):
    """Lines that a session's file has at this place; they are its last.

    `before` is a checksum of what stands before them (`replay.before`), for the first of a file in each journal: another
    file that was put in its place since, as from a backup, is known by it.
    """

    path: str
    at: int
    data: bytes
    before: int | None = None


class Remove(Struct, frozen=True):
    path: str


class Replace(Struct, frozen=True):
    """Another file, already durable, takes the place of a session's."""

    path: str
    by: str


Step: TypeAlias = Write | Remove | Replace


class _Write(Struct, frozen=True):
    path: str
    at: int
    lines: tuple[Raw, ...]
    before: int | None = None


class _Record(Struct, frozen=True):
    writes: tuple[_Write, ...] = ()
    removes: tuple[str, ...] = ()
    replaces: tuple[tuple[str, str], ...] = ()


def framed(data: bytes) -> bytes:
    """A line with its checksum."""
    return b"%08x %b\n" % (zlib.crc32(data), data)


def unframed(line: bytes) -> bytes | None:
    """What a line holds; None where it is not whole."""
    return line[9:] if line[:9] == b"%08x " % zlib.crc32(line[9:]) else None


def record_of(steps: Sequence[Step]) -> bytes:
    writes = b",".join(
        # Lines are JSON, one each: with commas for their ends they are a list.
        b'{"path":%b,"at":%d%b,"lines":[%b]}'
        % (_encode(step.path), step.at, _before(step), step.data[:-1].replace(b"\n", b","))
        for step in steps
        if isinstance(step, Write)
    )
    removes = [step.path for step in steps if isinstance(step, Remove)]
    replaces = [(step.path, step.by) for step in steps if isinstance(step, Replace)]
    return b'{"writes":[%b],"removes":%b,"replaces":%b}' % (writes, _encode(removes), _encode(replaces))


def _before(write: Write) -> bytes:
    return b"" if write.before is None else b',"before":%d' % write.before


def steps_of(record: bytes) -> list[Step]:
    """A file is replaced before anything is written to the new one."""
    read = _decoder.decode(record)
    return [
        *(Remove(path) for path in read.removes),
        *(Replace(path, by) for path, by in read.replaces),
        *(
            Write(write.path, write.at, b"".join(bytes(line) + b"\n" for line in write.lines), write.before)
            for write in read.writes
        ),
    ]


def read_journal(path: Path) -> Iterator[Step]:
    """The steps of all whole records. What comes behind a torn one was never acknowledged."""
    fd = os.open(path, os.O_RDONLY)
    try:
        for _, line in read_lines(fd, 0, os.fstat(fd).st_size):
            record = unframed(line)
            if record is None:
                return
            yield from steps_of(record)
    finally:
        os.close(fd)


def journals(folder: Path) -> list[Path]:
    """All that lie in a folder, the oldest first. What others put beside them (a copy, a conflict of a synchronisation) is none."""
    return sorted(path for path in folder.iterdir() if _NAME.fullmatch(path.name))


class Journal:
    """The file that is written now. Older ones stay until what they hold is durable in the files of the sessions."""

    def __init__(self, folder: Path, policy: Fsync) -> None:
        self._folder = folder
        self._policy = policy
        self._path = folder
        self._fd: int | None = None
        self._file: tuple[int, int] | None = None
        self._torn = False
        self._unsynced_since: float | None = None
        self.size = 0
        self.doubtful = False
        """Whether some of what was acknowledged may never come to be durable in this file: an fsync of it has failed.

        The system says so once and forgets what it could not write; another fsync would succeed and mean nothing.
        """

    def start(self) -> None:
        """Begins a new file."""
        last = journals(self._folder)
        path = self._folder / f"{int(last[-1].stem) + 1 if last else 1:012}.jsonl"
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, modes.FILE)
        try:
            if self._policy != "never":
                fsync(fd)
                sync_folder(self._folder)
            self.sync()
        except BaseException:
            os.close(fd)
            with suppress(OSError):
                remove_file(path)
            raise
        self.close()
        self._path, self._fd, self.size, self._torn, self.doubtful = path, fd, 0, False, False
        stat = os.fstat(fd)
        self._file = (stat.st_dev, stat.st_ino)

    @property
    def path(self) -> Path:
        return self._path

    def older(self) -> list[Path]:
        return [path for path in journals(self._folder) if path < self._path]

    def commit(self, record: bytes) -> None:
        """When this returns, the record is committed. When it raises OSError, it may come back after a crash, or not."""
        fd = self._opened()
        line = framed(record)
        try:
            if self._torn:
                os.ftruncate(fd, self.size)
                self._torn = False
            write_at(fd, line, self.size)
            if self._policy == "always":
                fsync(fd)
            elif self._unsynced_since is None:
                self._unsynced_since = time.monotonic()
            self.check_place()
        except BaseException:
            self._torn = True
            with suppress(OSError):
                os.ftruncate(fd, self.size)
            raise
        self.size += len(line)

    def sync(self) -> None:
        """Makes durable what is not yet, where the policy is to do so some time."""
        if self._unsynced_since is not None and self._fd is not None:
            if self._policy == "second" and not self.doubtful:
                self.doubtful = True
                fsync(self._fd)
                self.doubtful = False
            self._unsynced_since = None

    @property
    def wants_sync(self) -> bool:
        since = self._unsynced_since
        return self._policy == "second" and since is not None and time.monotonic() - since >= SYNC_EVERY

    def close(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def _opened(self) -> int:
        if self._fd is None:
            raise OSError(errno.EBADF, "there is no journal")
        return self._fd

    def check_place(self) -> None:
        """Raises OSError where the journal is not found any more where it was made."""
        # A folder that was moved away or deleted takes writes for as long as we hold its file, and nobody finds them.
        stat = os.stat(self._path)  # noqa: PTH116  # all calls of the disk are of `os`
        if (stat.st_dev, stat.st_ino) != self._file:
            raise OSError(errno.ESTALE, "the folder is another one than it was")


_NAME = re.compile("[0-9]{12}[.]jsonl")

_encode = msgspec.json.Encoder().encode
_decoder = msgspec.json.Decoder(_Record)
