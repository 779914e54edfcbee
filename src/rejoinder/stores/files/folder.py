"""The folder of a store, and how it is opened: what a crash left undone is done, and what cannot be ours is refused.

rejoinder.json    says what this is
lock              the lock of the process that uses it
epoch             the last epoch that was given
journal/          the batches that may not be in the sessions' files yet
sessions/         a folder for each owner, with a file for each session
index.jsonl       what lists need to know of all sessions; made again where it is missing
"""

import logging
import os
from collections.abc import Iterator
from pathlib import Path

import msgspec
from msgspec import Struct

from rejoinder.entities import Key
from rejoinder.errors import Misconfigured
from rejoinder.stores import modes
from rejoinder.stores.files.catalogue import Catalogue, Entry
from rejoinder.stores.files.commits import Commits
from rejoinder.stores.files.disk import remove_file, replace_file, sync_folder
from rejoinder.stores.files.index import IndexLine, add_to_index, index_line, read_index, replace_index
from rejoinder.stores.files.journal import Fsync, Journal, journals
from rejoinder.stores.files.log import Damaged, recover_log
from rejoinder.stores.files.names import SESSION, path_of
from rejoinder.stores.files.replay import replay
from rejoinder.stores.files.state import State, is_of_one_file
from rejoinder.stores.files.writer import FilesWriter

log = logging.getLogger(__name__)

MARK, LOCK, EPOCH, INDEX = "rejoinder.json", "lock", "epoch", "index.jsonl"
FORMAT = 1

SPARE = 10_000
"""Lines of the index that no session needs any more, besides as many as there are sessions, before it is written anew."""


class Mark(Struct, frozen=True, tag_field="rejoinder", tag="store"):
    format: int


class FilesFolder:
    """To be used under the lock."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.sessions = folder / "sessions"
        self._journal = folder / "journal"
        self._lines = 0

    def open(self, policy: Fsync) -> FilesWriter:
        """Raises Misconfigured and OSError."""
        self._make()
        found = journals(self._journal)
        for foreign in sorted({*self._journal.iterdir()} - {*found}):
            log.warning("%s is no journal of this store: it is left as it is, and not read.", foreign)
        replayed = replay(self.sessions, found)
        state = self._read(replayed.refused)
        epoch = self._epoch(state.catalogue)
        known = {path_of(entry.key): entry.key for entry in state.catalogue} if replayed.paths else {}
        journal = Journal(self._journal, policy)
        journal.start()
        dirty = {path: known.get(path) for path in replayed.paths}
        return FilesWriter(self.folder, state, Commits(state, journal, dirty, replayed.refused), epoch)

    def add_to_index(self, state: State, keys: list[Key]) -> None:
        """The present state of these sessions, but for those that are being written just now."""
        if self._lines > 2 * len(state.catalogue) + SPARE:
            replace_index(self.folder / INDEX, _lines(state, [entry.key for entry in state.catalogue]))
            self._lines = len(state.catalogue)
        elif keys:
            add_to_index(self.folder / INDEX, _lines(state, keys))
            self._lines += len(keys)

    def forget(self, done: list[Path], durable: bool) -> None:
        """Removes journals whose batches are in the files, durably if asked to."""
        for path in done:
            remove_file(path)
        if durable:
            sync_folder(self._journal)

    # making it

    def _make(self) -> None:
        mark = self.folder / MARK
        if mark.exists():
            _check_mark(mark)
        else:
            replace_file(mark, msgspec.json.encode(Mark(FORMAT)) + b"\n")
            sync_folder(self.folder.parent)
        for path in (self.sessions, self._journal):
            if not path.is_dir():
                os.mkdir(path, modes.FOLDER)  # noqa: PTH102  # all calls of the disk are of `os`
                sync_folder(self.folder)

    def _epoch(self, catalogue: Catalogue) -> int:
        known = max((reply.epoch or 0 for _, reply in catalogue.with_open()), default=0)
        path = self.folder / EPOCH
        if not path.exists():
            return known
        text = path.read_bytes().strip()
        if not text.isdigit():
            raise Misconfigured(f"{path} is damaged: it should hold a number.")
        return max(known, int(text))

    # reading it

    def _read(self, refused: dict[str, str]) -> State:
        """Files that refused what the journals add to them are not as they should be, and are not served."""
        index, self._lines = read_index(self.folder / INDEX)
        damaged: dict[str, str] = {}
        entries: list[Entry] = []
        stale: list[bytes] = []
        for name, file in self._files():
            if name in refused:
                _leave(name, refused[name], damaged)
                continue
            try:
                stat = file.stat()
            except OSError as fault:
                if not is_of_one_file(fault):
                    raise
                _leave(name, f"{file.path} cannot be read: {fault.strerror}.", damaged)
                continue
            line = index.pop(name, None)
            if line is not None and (line.size, line.changed) == (stat.st_size, stat.st_mtime_ns):
                entries.append(_entry(line))
            elif (entry := self._recover(name, damaged)) is not None:
                entries.append(entry)
                changed = os.stat(file.path).st_mtime_ns  # noqa: PTH116
                stale.append(index_line(entry, changed))
        if stale:
            log.info("read %d files of sessions that the index did not know as they are", len(stale))
            add_to_index(self.folder / INDEX, stale)
            self._lines += len(stale)
        return State(self.sessions, Catalogue(entries), damaged)

    def _files(self) -> Iterator[tuple[str, "os.DirEntry[str]"]]:
        """Every session's file with its path below the folder of sessions. What is left of a broken off compaction goes."""
        with os.scandir(self.sessions) as owners:
            for owner in owners:
                if not owner.is_dir():
                    continue
                with os.scandir(owner.path) as files:
                    for file in files:
                        if file.name.endswith(SESSION):
                            yield f"{owner.name}/{file.name}", file
                        elif file.name.endswith(".tmp"):
                            remove_file(Path(file.path))

    def _recover(self, name: str, damaged: dict[str, str]) -> Entry | None:
        path = self.sessions / name
        try:
            found = recover_log(path)
            why = None
        except Damaged as exc:
            found, why = None, exc.detail
        except OSError as exc:
            if not is_of_one_file(exc):
                raise
            found, why = None, f"{path} cannot be read and written: {exc.strerror}."
        if found is not None and path_of(found[0].key) != name:
            found, why = None, f"{path} has another name than its session."
        if why is not None:
            _leave(name, why, damaged)
        return found[0].entry(found[1]) if found else None


def _leave(name: str, why: str, damaged: dict[str, str]) -> None:
    log.error("%s The file is left as it is and not served.", why)
    damaged[name] = why


def check_there(folder: Path) -> None:
    """Raises Misconfigured where no store has been made. Writes nothing."""
    if not (folder / MARK).exists():
        raise Misconfigured(f"There is no store at {folder}.")


def check_folder(folder: Path) -> None:
    """Raises Misconfigured where no store can be, or where something else is. Writes nothing but a new folder."""
    if not hasattr(os, "pwrite"):
        raise Misconfigured("Flat files need a POSIX system: take sqlite:///path here.")
    if not folder.parent.is_dir():
        raise Misconfigured(f"There is no folder {folder.parent} for the store {folder.name}: make it first.")
    if not folder.exists():
        os.mkdir(folder, modes.FOLDER)  # noqa: PTH102
    elif not folder.is_dir():
        raise Misconfigured(f"{folder} is a file: name a folder.")
    elif not (folder / MARK).exists() and not {file.name for file in folder.iterdir()} <= _FIRST:
        raise Misconfigured(
            f"{folder} holds something that is no store of Rejoinder. It is left as it is; name another."
        )


_FIRST = {LOCK, MARK + ".tmp"}
"""What may be there before the mark is: a crash came between."""


def _check_mark(mark: Path) -> None:
    try:
        found = msgspec.json.decode(mark.read_bytes(), type=Mark)
    except msgspec.DecodeError as exc:
        raise Misconfigured(f"{mark} is not that of a store: {exc}.") from exc
    if found.format > FORMAT:
        raise Misconfigured(
            f"{mark.parent} was written by a later version of Rejoinder (format {found.format}, this one knows {FORMAT})."
        )


def _entry(line: IndexLine) -> Entry:
    return Entry(
        key=Key(line.owner, line.session),
        size=line.size,
        version=line.version,
        last_seq=line.last_seq,
        header_at=line.header_at,
        updated_at=line.updated_at,
        open=line.open,
        ripe_at=line.ripe_at,
        text_at=line.text_at,
    )


def _lines(state: State, keys: list[Key]) -> Iterator[bytes]:
    for key in keys:
        with state.lock:
            entry = state.catalogue.get(key)
            try:
                stat = os.stat(state.path(key))  # noqa: PTH116
            except FileNotFoundError:
                continue
            if entry is not None and stat.st_size == entry.size:
                yield index_line(entry, stat.st_mtime_ns)
