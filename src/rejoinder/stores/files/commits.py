"""What was committed: first it is in the journal, then in the files of the sessions, and then the journal can go.

What could not be written to its file (the disk is full, say) is remembered and written before anything else is done;
until then no reader sees any of it, and nobody is told that it was done.
"""

import errno
import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TypeAlias

from msgspec import Struct
from msgspec.structs import replace

from rejoinder.entities import Key
from rejoinder.errors import StoreUnavailable
from rejoinder.stores.files.disk import unavailable
from rejoinder.stores.files.journal import Journal, Remove, Replace, Step, Write, record_of
from rejoinder.stores.files.replay import Gap, before, is_refused, refusal, replay, steps_by_path, take_step
from rejoinder.stores.files.state import State

log = logging.getLogger(__name__)

ROTATE_BYTES = 32 << 20
"""Of a journal, before a new one is begun: bounds what a start after a crash has to do again, to a second or so."""

ROTATE_FILES = 1_000
"""Files written since, for the same: each has to be made durable before a journal can go."""

ERASE_AFTER = 5.0
"""Seconds after which what was deleted leaves the journal as well."""


Dirty: TypeAlias = dict[str, Key | None]
"""Paths of session files that may not be durable yet, with their keys where there is still a session."""


class _Committed(Struct):
    """Steps that are in the journal, and what becomes true once they are taken."""

    steps: Sequence[Step]
    publish: Callable[[], None]


class Commits:
    """All of it runs in the writer's thread."""

    def __init__(self, state: State, journal: Journal, dirty: Dirty, refused: Iterable[str]) -> None:
        self._state = state
        self._journal = journal
        self._behind: deque[_Committed] = deque()
        self._dirty = dict(dirty)
        self._refused = set(refused)
        """Paths of files that may not be written: the journal keeps what it has of them until a start finds that they may."""
        self._anchors = set[str]()
        """Paths of files whose first lines in this journal tell what stands before them."""
        self._taken_over = 0
        """Bytes of that at the beginning of the journal: they are no reason to begin another."""
        # What a crash left in older journals is made durable soon.
        self._erase = 0.0 if journal.older() else None
        self._again = False
        self._doubtful = False

    # committing

    def commit(self, steps: Sequence[Step], publish: Callable[[], None], keys: Mapping[str, Key]) -> None:
        """Puts steps into the journal. `keys` are those of the sessions whose files they change, by path. Raises StoreUnavailable."""
        if self._doubtful:
            raise StoreUnavailable("What was written last could not be made durable, and is being written again.")
        with unavailable("read"):
            steps = self._anchored(steps)
        with unavailable("written"):
            self._journal.commit(record_of(steps))
        self._behind.append(_Committed(steps, publish))
        self._dirty.update(keys)
        self._anchors.update(keys)
        self._anchors.difference_update(step.path for step in steps if not isinstance(step, Write))

    def _anchored(self, steps: Sequence[Step]) -> list[Step]:
        return [
            replace(step, before=before(f"{self._state.sessions}/{step.path}", step.at))
            if isinstance(step, Write) and step.at > 0 and step.path not in self._anchors
            else step
            for step in steps
        ]

    def erase_soon(self) -> None:
        """Something was deleted, and shall leave the journal as well."""
        self._erase = self._erase or time.monotonic() + ERASE_AFTER

    def catch_up(self) -> None:
        """Brings the files up to the journal. Raises StoreUnavailable."""
        while self._behind:
            committed = self._behind[0]
            with unavailable("written"):
                self._take(committed)
            self._behind.popleft()
        if self._again:  # behind all that was to be done: it does again what was done
            with unavailable("written"):
                done = replay(self._state.sessions, [*self._journal.older(), self._journal.path], rewrite=True)
            with self._state.lock:
                self._refuse(done.refused)
            self._again = False

    def _take(self, committed: _Committed) -> None:
        with ExitStack() as until_it_is_seen:
            if any(isinstance(step, (Remove, Replace)) for step in committed.steps):
                # A file changes its content as its entry does: no reader may come between.
                until_it_is_seen.enter_context(self._state.lock)
                gone, refused = self._take_steps(committed.steps)
            else:
                gone, refused = self._take_steps(committed.steps)
                until_it_is_seen.enter_context(self._state.lock)
            self._give_up(gone)
            self._refuse(refused)
            committed.publish()

    def _take_steps(self, steps: Sequence[Step]) -> tuple[dict[str, str], dict[str, str]]:
        """Tells which sessions' files were changed by something else, and which may not be written, and why: one such must not keep
        all others from being written."""
        gone: dict[str, str] = {}
        refused: dict[str, str] = {}
        for step in steps:
            try:
                take_step(self._state.sessions, step)
            except (FileNotFoundError, Gap):
                self._check_folder(step)
                gone[step.path] = f"{self._state.sessions / step.path} was removed or cut by something else."
            except OSError as fault:
                path = self._state.sessions / step.path
                if not is_refused(fault, path):
                    raise
                refused[step.path] = refusal(fault, path)
        return gone, refused

    def _check_folder(self, step: Step) -> None:
        """Raises OSError where it is not one session's file that is away, but all."""
        self._journal.check_place()
        folder = (self._state.sessions / step.path).parent.parent
        if not folder.is_dir():
            raise FileNotFoundError(errno.ENOENT, f"there is no folder {folder}")

    def _give_up(self, spoilt: Mapping[str, str]) -> None:
        """Under the lock."""
        for path, why in spoilt.items():
            log.error("%s Its session is given up.", why)
            self._state.give_up(path, why)

    def _refuse(self, refused: Mapping[str, str]) -> None:
        """Under the lock."""
        self._give_up(refused)
        self._refused.update(refused)

    # the journal's end

    @property
    def wants_keeping(self) -> bool:
        return self.wants_rotation or self._journal.wants_sync

    @property
    def wants_rotation(self) -> bool:
        erase = self._erase is not None and time.monotonic() > self._erase
        return (
            erase
            or self._doubtful
            or self._journal.size - self._taken_over > ROTATE_BYTES
            or len(self._dirty) > ROTATE_FILES
        )

    def keep(self) -> tuple[list[Path], Dirty]:
        """Begins a new journal, where it is time. The older ones may go when these files are durable."""
        self.catch_up()
        try:
            with unavailable("written"):
                if self._journal.wants_sync:
                    self._journal.sync()
                if not self.wants_rotation:
                    return [], {}
                self._begin_journal()
        finally:
            self._doubtful = self._doubtful or self._journal.doubtful
        dirty, self._dirty, self._erase = self._written(), {}, None
        return self._journal.older(), dirty

    def _begin_journal(self) -> None:
        """It begins with what the older ones have of files that may not be written, so that those can go."""
        self._journal.start()
        self._anchors.clear()
        if self._refused:
            todo = steps_by_path(self._journal.older())
            kept = [step for path in self._refused for step in dict.fromkeys(todo.get(path, ()))]
            self._journal.commit(record_of(kept))
            self._journal.sync()
        self._taken_over = self._journal.size

    def _written(self) -> Dirty:
        return {path: key for path, key in self._dirty.items() if path not in self._refused}

    def kept(self) -> None:
        """All that `keep` returned last is durable: in the files, whatever became of the journal."""
        self._doubtful = self._journal.doubtful

    def not_kept(self, dirty: Dirty) -> None:
        """What was to be made durable was not. The system may have let go of it, so it is written again first."""
        self._dirty = dirty | self._dirty
        self._again = True

    def close(self) -> tuple[list[Path], Dirty]:
        """As `keep`, and nothing is written any more. Raises StoreUnavailable."""
        try:
            self.catch_up()
            if self._refused:
                with unavailable("written"):
                    self._begin_journal()
        finally:
            self._journal.close()
        done = self._journal.older() if self._refused else [*self._journal.older(), self._journal.path]
        return done, self._written()
