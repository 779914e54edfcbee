"""What goes on beside the writing: files are made durable, the index is brought up, and old journals go.

It runs in a thread of its own, since to make hundreds of files durable may take seconds; the writer goes on meanwhile.
"""

import logging
import os
from functools import partial
from pathlib import Path
from threading import Event, Thread

from rejoinder.errors import StoreUnavailable
from rejoinder.stores.files.commits import Dirty
from rejoinder.stores.files.disk import sync_file, sync_folder
from rejoinder.stores.files.folder import FilesFolder
from rejoinder.stores.files.journal import Fsync
from rejoinder.stores.files.writer import FilesWriter
from rejoinder.stores.threads import WritingThread

log = logging.getLogger(__name__)

TICK = 0.25
"""Seconds between looks at whether there is something to do."""

PAUSE = 5.0
"""Seconds of rest after it failed."""


class FilesKeeper:
    def __init__(self, folder: FilesFolder, writer: FilesWriter, writing: WritingThread, policy: Fsync) -> None:
        self._folder = folder
        self._state = writer.state
        self._writer = writer
        self._commits = writer.commits
        self._writing = writing
        self._durable = policy != "never"
        self._ended = Event()
        self._thread = Thread(target=self._run, name="files-keeper", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Before the writer's thread ends."""
        self._ended.set()
        if self._thread.ident is not None:
            self._thread.join()

    def close(self) -> None:
        """Leaves the files whole, without a journal beside them. To be called when nothing is written any more."""
        try:
            self._keep(*self._writer.close())
        except (OSError, StoreUnavailable) as exc:
            log.warning("closed with something left in the journal, which the next start takes up: %s", exc)

    def _keep(self, journals: list[Path], dirty: Dirty) -> None:
        """Raises OSError; the journals then stay."""
        if not journals:
            return
        if self._durable:
            self._make_durable(dirty)
        self._folder.add_to_index(self._state, [key for key in dirty.values() if key is not None])
        self._folder.forget(journals, self._durable)

    def _run(self) -> None:
        pause = TICK
        while not self._ended.wait(pause):
            pause = TICK
            if self._commits.wants_keeping and not self._keep_once():
                pause = PAUSE

    def _keep_once(self) -> bool:
        try:
            journals, dirty = self._writing.wait_for(self._commits.keep)
        except StoreUnavailable as away:
            log.warning("what is in the journal could not be made durable in the files: %s", away.detail)
            return False
        try:
            self._keep(journals, dirty)
        except OSError as exc:
            log.warning("what is in the journal could not be made durable in the files: %s", exc)
            self._writing.wait_for(partial(self._commits.not_kept, dirty))
            return False
        if journals:
            self._writing.wait_for(self._commits.kept)
        return True

    def _make_durable(self, dirty: Dirty) -> None:
        sessions = self._state.sessions
        folders = {sessions}
        for path in dirty:
            folders.add((sessions / path).parent)
            sync_file(sessions / path)
        for folder in folders:
            if os.path.isdir(folder):  # noqa: PTH112  # one whose last session was deleted is gone
                sync_folder(folder)
