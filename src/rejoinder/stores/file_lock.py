"""A lock that one process holds and that vanishes with it, however it dies.

It is a file of its own beside what it guards: SQLite loses its own (POSIX) locks on a database when any other
descriptor of that file is closed in the same process. The file stays behind; it is the lock on it that counts.
"""

import os
import sys
from pathlib import Path

from rejoinder.errors import StoreLocked
from rejoinder.stores import modes

if sys.platform == "win32":
    import msvcrt

    def _lock(fd: int) -> None:
        # Windows keeps others from reading what is locked: a byte far behind the pid.
        os.lseek(fd, 1 << 30, os.SEEK_SET)
        msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)

else:
    import fcntl

    def _lock(fd: int) -> None:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)


NO_LINK: int = getattr(os, "O_NOFOLLOW", 0)
"""The pid is written to the file itself: not to one of somebody else's choice, where others may write in the folder."""


class FileLock:
    """Taken with `acquire`, which never waits, and given back with `release`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd: int | None = None

    def acquire(self) -> None:
        """Raises StoreLocked where another holds it, and OSError where it cannot be had at all."""
        fd = os.open(self._path, os.O_RDWR | os.O_CREAT | NO_LINK, modes.FILE)
        try:
            self._take(fd)
        except BaseException:
            os.close(fd)
            raise
        self._fd = fd

    def release(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def _take(self, fd: int) -> None:
        try:
            _lock(fd)
        except (BlockingIOError, PermissionError) as held:
            raise StoreLocked(
                f"{_holder(fd)} uses this store: it holds {self._path}. Only one process may use it at a time."
            ) from held
        os.ftruncate(fd, 0)
        os.lseek(fd, 0, os.SEEK_SET)
        os.write(fd, b"%d\n" % os.getpid())


def _holder(fd: int) -> str:
    """Who wrote its pid there. For the sentence alone: a pid may be another's by now."""
    os.lseek(fd, 0, os.SEEK_SET)
    pid = os.read(fd, 20).decode(errors="replace").strip()
    return f"Another process (pid {pid})" if pid.isdigit() else "Another process"
