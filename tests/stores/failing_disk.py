"""A disk that fails to make things durable, as Linux tells it: once. What failed is lost, and the next fsync says all is well.

It stands between a store of flat files and the real files, and knows what of them a crash of the machine would leave.
"""

import errno
import os
import stat
import threading
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest


class FailingDisk:
    """All below `folder` is durable to begin with. While `fails` is set, each fsync fails with this probability."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch, chance: Random) -> None:
        self.fails = 0.0
        self.failed = 0
        self._root = folder
        self._chance = chance
        self._contents: dict[int, bytes] = {}
        """By inode: what is on the disk of each file."""
        self._names: dict[int, dict[str, int]] = {}
        """By inode: the names that are on the disk of each folder."""
        self._dirty: dict[int, list[tuple[int, bytes]]] = {}
        """By inode: what was written since, and where."""
        self._opened: dict[int, Path] = {}
        # A crash is one moment, and the store has several threads.
        self._lock = threading.RLock()
        self._call = {name: getattr(os, name) for name in ("open", "pwrite", "ftruncate", "fsync")}
        for path in (folder, *folder.rglob("*")):
            self._keep(path)
        for name in self._call:
            patch.setattr(os, name, self._at_one_time(getattr(self, f"_{name}")))

    def _at_one_time(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def called(*args: Any, **kwargs: Any) -> Any:
            with self._lock:
                return call(*args, **kwargs)

        return called

    def _keep(self, path: Path) -> None:
        inode = path.stat().st_ino
        if path.is_dir():
            self._names[inode] = {}
            for each in path.iterdir():
                child = self._names[inode][each.name] = each.stat().st_ino
                if each.is_dir():
                    self._names.setdefault(child, {})
                    self._contents.pop(child, None)
        else:
            self._contents[inode] = path.read_bytes()

    def crash(self, to: Path) -> None:
        """Writes what is left after the machine has gone down now."""
        with self._lock:
            self._leave(self._root.stat().st_ino, to)

    def _leave(self, folder: int, to: Path) -> None:
        to.mkdir()
        for name, inode in self._names.get(folder, {}).items():
            if inode in self._names:
                self._leave(inode, to / name)
            else:
                (to / name).write_bytes(self._contents.get(inode, b""))

    # in the place of what `os` has

    def _open(self, path: Any, flags: int, *args: Any, **kwargs: Any) -> int:
        is_new = bool(flags & os.O_CREAT) and not os.path.exists(path)  # noqa: PTH110  # as the caller names it
        fd: int = self._call["open"](path, flags, *args, **kwargs)
        self._opened[fd] = Path(path)
        if is_new:  # also where its inode was another file's
            self._contents[os.fstat(fd).st_ino] = b""
            self._names.pop(os.fstat(fd).st_ino, None)
            self._dirty.pop(os.fstat(fd).st_ino, None)
        return fd

    def _pwrite(self, fd: int, data: Any, at: int) -> int:
        written: int = self._call["pwrite"](fd, data, at)
        self._dirty.setdefault(os.fstat(fd).st_ino, []).append((at, bytes(data[:written])))
        return written

    def _ftruncate(self, fd: int, size: int) -> None:
        self._call["ftruncate"](fd, size)
        inode = os.fstat(fd).st_ino
        self._contents[inode] = self._contents.get(inode, b"")[:size]

    def _fsync(self, fd: int) -> None:
        found = os.fstat(fd)
        inode, failing = found.st_ino, self._chance.random() < self.fails
        if failing:
            self.failed += 1
            self._dirty.pop(inode, None)
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        if stat.S_ISDIR(found.st_mode):
            self._keep(self._opened[fd])
            return
        for at, data in self._dirty.pop(inode, []):
            kept = self._contents.get(inode, b"").ljust(at, b"\0")
            self._contents[inode] = kept[:at] + data + kept[at + len(data) :]
