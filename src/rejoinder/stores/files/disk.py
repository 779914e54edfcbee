"""What the flat files ask of the disk, each a few calls of `os`; and what its errors mean to a caller."""

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from rejoinder.errors import Misconfigured, StoreUnavailable
from rejoinder.stores import modes

CHUNK = 64 << 10
"""Bytes of a first read; each further one of the same place is twice as long, up to 16 times."""

GATHERED = 1 << 20
"""Bytes of one write, of what gathers for one."""

NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN}
"""Errors at opening that may be gone when it is tried again."""

if sys.platform == "darwin":
    import fcntl

    def fsync(fd: int) -> None:
        # There, fsync leaves what was written in the memory of the disk.
        fcntl.fcntl(fd, fcntl.F_FULLFSYNC)

else:

    def fsync(fd: int) -> None:
        os.fsync(fd)


class ShortFile(Exception):
    """A file ends before the place to which we have written it."""


def write_at(fd: int, data: bytes, at: int) -> None:
    """Writes all of it."""
    while data:
        written = os.pwrite(fd, data, at)
        data, at = data[written:], at + written


def flush(fd: int, gathered: list[bytes], end: int) -> int:
    """Writes what has gathered for the end of a file, and forgets it. Returns where the file ends then."""
    data = b"".join(gathered)
    gathered.clear()
    write_at(fd, data, end)
    return end + len(data)


def open_new(path: str, more: int = 0) -> int:
    """Opens a file that may not be there, nor its folder. `more` are further flags. Another thread may make the folder as well."""
    flags = os.O_RDWR | os.O_CREAT | more
    try:
        return os.open(path, flags, modes.FILE)
    except FileNotFoundError:
        with suppress(FileExistsError):
            os.mkdir(os.path.dirname(path), modes.FOLDER)  # noqa: PTH102, PTH120  # all calls of the disk are of `os`
        return os.open(path, flags, modes.FILE)


def read_at(fd: int, at: int, end: int) -> bytes:
    """Raises ShortFile."""
    parts = []
    while at < end:
        part = os.pread(fd, end - at, at)
        if not part:
            raise ShortFile
        parts.append(part)
        at += len(part)
    return b"".join(parts)


def read_lines(fd: int, at: int, end: int) -> Iterator[tuple[int, bytes]]:
    """The whole lines between two places, without their ends, and where each begins. Raises ShortFile."""
    rest, place, size = b"", at, CHUNK
    while place < end:
        chunk = os.pread(fd, min(size, end - place), place)
        if not chunk:
            raise ShortFile
        place += len(chunk)
        size = min(size * 2, CHUNK * 16)
        if b"\n" not in chunk:
            rest += chunk
            continue
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            yield at, line
            at += len(line) + 1


def last_line_end(fd: int, size: int) -> int:
    """Where the last whole line of a file of this size ends."""
    end = size
    while end > 0:
        begin = max(0, end - CHUNK)
        found = read_at(fd, begin, end).rfind(b"\n")
        if found >= 0:
            return begin + found + 1
        end = begin
    return 0


def sync_folder(path: Path) -> None:
    """Makes names in a folder durable: those of new files, or that others are gone."""
    fd = os.open(path, os.O_RDONLY)
    try:
        fsync(fd)
    finally:
        os.close(fd)


def sync_file(path: Path) -> bool:
    """Makes what was written to a file durable. Returns whether it is there."""
    try:
        fd = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        fsync(fd)
    finally:
        os.close(fd)
    return True


def replace_file(path: Path, data: bytes) -> None:
    """Writes a small file whole: it holds what it held, or this, also after a crash."""
    temporary = path.with_name(path.name + ".tmp")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, modes.FILE)
    try:
        modes.take_over(fd, path)
        write_at(fd, data, 0)
        fsync(fd)
    finally:
        os.close(fd)
    os.replace(temporary, path)  # noqa: PTH105  # all calls of the disk are of `os`
    sync_folder(path.parent)


def remove_file(path: Path) -> None:
    """A file that is not there is no error."""
    try:
        os.unlink(path)  # noqa: PTH108
    except FileNotFoundError:
        return


@contextmanager
def opening(folder: Path) -> Iterator[None]:
    """Errors as opening a store raises them."""
    try:
        yield
    except OSError as exc:
        if exc.errno in NO_ROOM:
            raise StoreUnavailable(f"The store in {folder} could not be opened: {exc.strerror}.") from exc
        which = f"{exc.filename}: " if exc.filename not in (None, str(folder)) else ""
        raise Misconfigured(f"{folder} cannot be used as a store: {which}{exc.strerror}.") from exc


@contextmanager
def unavailable(done: str) -> Iterator[None]:
    """Errors as an open store raises them."""
    try:
        yield
    except OSError as exc:
        raise StoreUnavailable(f"The files of the store could not be {done}: {exc.strerror or exc}.") from exc
    except ShortFile as exc:
        raise StoreUnavailable("A file of the store is shorter than it was: something else has changed it.") from exc
