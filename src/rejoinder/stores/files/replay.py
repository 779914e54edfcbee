"""Taking the steps of a journal, the first time and again."""

import errno
import logging
import os
import zlib
from collections.abc import Iterable
from pathlib import Path

from msgspec import Struct

from rejoinder.stores.files.disk import open_new, remove_file, write_at
from rejoinder.stores.files.journal import Remove, Step, Write, read_journal

log = logging.getLogger(__name__)

STRETCH = 4096
"""Bytes before a place by which a file is known: some lines, with their seqs."""


def take_step(sessions: Path, step: Step, *, again: bool = False) -> None:
    """`again`: it may have been taken, and then nothing is written."""
    if isinstance(step, Write):
        # No Path: for a delta it would cost as much as its line.
        _write(f"{sessions}/{step.path}", step, again)
    elif isinstance(step, Remove):
        path = sessions / step.path
        remove_file(path)
        _remove_if_empty(path.parent)
    else:
        _replace(sessions / step.path, sessions / step.by)


class Replayed(Struct, frozen=True):
    """The paths that the journals concern, and why some of these files could not be brought to where they end."""

    paths: set[str]
    refused: dict[str, str]


def replay(sessions: Path, journals: Iterable[Path], *, rewrite: bool = False) -> Replayed:
    """Brings the files to where all journals end, whatever of that was done.

    `rewrite`: all of it was done, and is written once more, since the system may have it in memory and have failed to bring it to
    the disk. Others read the files meanwhile: none is ever shorter, or away.
    """
    todo = steps_by_path(journals)
    refused: dict[str, str] = {}
    for path, steps in todo.items():
        try:
            for step in steps:
                if not rewrite:
                    take_step(sessions, step, again=True)
                elif isinstance(step, Write):
                    _write_over(f"{sessions}/{step.path}", step)
        except (Gap, FileNotFoundError):
            # Only where records were lost that were not durable, or the file was changed by hand.
            log.warning(
                "%s is not the file that the journal adds to; it is left as it is, without that", sessions / path
            )
        except OSError as fault:
            if not is_refused(fault, sessions / path):
                raise
            refused[path] = refusal(fault, sessions / path)
    return Replayed(set(todo), refused)


def steps_by_path(journals: Iterable[Path]) -> dict[str, list[Step]]:
    """What came before a file was removed or replaced is left out: its places are those of another file."""
    todo: dict[str, list[Step]] = {}
    for journal in journals:
        for step in read_journal(journal):
            if isinstance(step, Write):
                todo.setdefault(step.path, []).append(step)
            else:
                todo[step.path] = [step]
    return todo


REFUSED = {errno.EACCES, errno.EPERM, errno.EISDIR, errno.ELOOP}
"""Errors of a file that belongs to somebody else, must not be changed, or is none."""


def is_refused(fault: OSError, path: Path) -> bool:
    """Whether this file alone may not be written, and others in its folder may."""
    return fault.errno in REFUSED and os.access(path.parent, os.W_OK | os.X_OK)


def refusal(fault: OSError, path: Path) -> str:
    return f"{path} cannot be written: {fault.strerror}."


class Gap(OSError):
    """A file ends before the place to which something is to be added, or something else stands there before it."""


def before(path: str, at: int) -> int | None:
    """A checksum of what stands in a file before a place; None where there is no such file that can be read."""
    try:
        fd = os.open(path, os.O_RDONLY)
    except OSError as fault:
        if fault.errno == errno.ENOENT or fault.errno in REFUSED:
            return None
        raise
    try:
        return _checksum(fd, at)
    finally:
        os.close(fd)


def _checksum(fd: int, at: int) -> int:
    begin = max(0, at - STRETCH)
    return zlib.crc32(os.pread(fd, at - begin, begin))


def _write(path: str, step: Write, again: bool) -> None:
    fd = _open(path, step)
    try:
        size = os.fstat(fd).st_size
        if size < step.at:
            raise Gap(errno.ESTALE, f"{path} is shorter than it was")
        if again and step.before not in (None, _checksum(fd, step.at)):
            raise Gap(errno.ESTALE, f"{path} is another file than it was")
        if again and os.pread(fd, len(step.data), step.at) == step.data:
            return
        write_at(fd, step.data, step.at)
        if size > step.at + len(step.data):
            os.ftruncate(fd, step.at + len(step.data))
    finally:
        os.close(fd)


def _write_over(path: str, step: Write) -> None:
    fd = os.open(path, os.O_RDWR)
    try:
        if os.fstat(fd).st_size < step.at + len(step.data):
            raise Gap(errno.ESTALE, f"{path} is shorter than it was")
        write_at(fd, step.data, step.at)
    finally:
        os.close(fd)


def _open(path: str, step: Write) -> int:
    if step.at > 0:
        return os.open(path, os.O_RDWR)
    return open_new(path)


def _replace(path: Path, by: Path) -> None:
    try:
        os.replace(by, path)  # noqa: PTH105
    except FileNotFoundError:
        if not path.exists():
            raise
        # It was done before.


def _remove_if_empty(folder: Path) -> None:
    try:
        os.rmdir(folder)  # noqa: PTH106
    except OSError as exc:
        if exc.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOENT):
            raise
