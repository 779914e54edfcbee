"""The index of all sessions on the disk, so that opening a store reads no session's file whole.

Lines are only ever added, the last one of a session counts, and each says which size and time of change its file had: where
they do not fit, or there is no line, or its checksum is wrong, the file itself is read. So the index may be deleted, cut,
damaged or old, and the worst that comes of it is a slow start. For the same reason it is never made durable.
"""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec
from msgspec import Struct

from rejoinder.entities import Key, OpenReply
from rejoinder.stores import modes
from rejoinder.stores.files.catalogue import Entry
from rejoinder.stores.files.disk import read_lines, write_at
from rejoinder.stores.files.journal import framed, unframed
from rejoinder.stores.files.names import path_of

BATCH = 2_000
"""Lines of one write."""


class IndexLine(Struct, frozen=True, kw_only=True, omit_defaults=True):
    owner: str
    session: str
    size: int
    changed: int
    """Nanoseconds, as the file system tells them."""
    version: int
    last_seq: int
    header_at: int
    updated_at: str
    open: tuple[OpenReply, ...] = ()
    ripe_at: str | None = None
    text_at: str | None = None


def index_line(entry: Entry, changed: int) -> bytes:
    return framed(
        _encode(
            IndexLine(
                owner=entry.key.owner,
                session=entry.key.session_id,
                size=entry.size,
                changed=changed,
                version=entry.version,
                last_seq=entry.last_seq,
                header_at=entry.header_at,
                updated_at=entry.updated_at,
                open=entry.open,
                ripe_at=entry.ripe_at,
                text_at=entry.text_at,
            )
        )
    )


def read_index(path: Path) -> tuple[dict[str, IndexLine], int]:
    """The last line of each session by the path of its file, and how many lines there are. What is damaged is passed over."""
    found: dict[str, IndexLine] = {}
    count = 0
    for line in _lines(path):
        count += 1
        data = unframed(line)
        if data is None:
            continue
        try:
            entry = _decoder.decode(data)
        except msgspec.DecodeError:  # of another version
            continue
        found[path_of(Key(entry.owner, entry.session))] = entry
    return found, count


def _lines(path: Path) -> Iterator[bytes]:
    try:
        fd = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return
    try:
        for _, line in read_lines(fd, 0, os.fstat(fd).st_size):
            yield line
    finally:
        os.close(fd)


def add_to_index(path: Path, lines: Iterable[bytes]) -> None:
    """A torn last line before them becomes a line that is damaged."""
    _write(path, lines, os.O_WRONLY | os.O_CREAT, begin=b"\n")


def replace_index(path: Path, lines: Iterable[bytes]) -> None:
    temporary = path.with_name(path.name + ".tmp")
    _write(temporary, lines, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, instead=path)
    os.replace(temporary, path)  # noqa: PTH105  # all calls of the disk are of `os`


def _write(path: Path, lines: Iterable[bytes], flags: int, begin: bytes = b"", instead: Path | None = None) -> None:
    fd = os.open(path, flags, modes.FILE)
    try:
        if instead is not None:
            modes.take_over(fd, instead)
        at = os.fstat(fd).st_size
        gathered = [begin] if at else []
        for line in lines:
            gathered.append(line)
            if len(gathered) >= BATCH:
                data = b"".join(gathered)
                write_at(fd, data, at)
                at += len(data)
                gathered.clear()
        write_at(fd, b"".join(gathered), at)
    finally:
        os.close(fd)


_encode = msgspec.json.Encoder().encode
_decoder = msgspec.json.Decoder(IndexLine)
