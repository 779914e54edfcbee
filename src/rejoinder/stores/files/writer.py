"""What the writer's thread does for those who ask: it knows the leases and what was done under them, and commits (`commits.py`)."""

import os
import time
from collections.abc import Sequence
from itertools import count
from pathlib import Path

from msgspec import Struct

from rejoinder.abc import Append, AppendResult, Lease
from rejoinder.entities import Key
from rejoinder.stores.batch import check_number, lost
from rejoinder.stores.files.batch import Batch
from rejoinder.stores.files.commits import Commits, Dirty
from rejoinder.stores.files.compaction import Compacted
from rejoinder.stores.files.disk import replace_file, unavailable
from rejoinder.stores.files.journal import Remove, Replace
from rejoinder.stores.files.names import path_of
from rejoinder.stores.files.staging import Staged, Stagings
from rejoinder.stores.files.state import State


class _Held(Struct):
    """A lease, and the last batch under it. Opening a store revokes every lease, so this need not outlive the process."""

    worker: str
    number: int = 0
    results: tuple[AppendResult, ...] = ()


class FilesWriter:
    """All of it runs in one thread, but for `leases`, which may be looked at from others."""

    def __init__(self, folder: Path, state: State, commits: Commits, epoch: int) -> None:
        self._folder = folder
        self.state = state
        self.commits = commits
        self._epoch = epoch
        self._temporary = count(1)
        self._stagings = Stagings()
        self.leases: dict[int, _Held] = {}

    # leases

    def acquire(self, worker: str) -> Lease:
        with unavailable("written"):
            replace_file(self._folder / "epoch", b"%d\n" % (self._epoch + 1))
        self._epoch += 1
        self.leases[self._epoch] = _Held(worker)
        return Lease(worker, self._epoch)

    def release(self, lease: Lease) -> None:
        held = self.leases.get(lease.epoch)
        if held is not None and held.worker == lease.worker:
            del self.leases[lease.epoch]
            self._stagings.drop(lease)

    def held(self, lease: Lease) -> _Held:
        held = self.leases.get(lease.epoch)
        if held is None or held.worker != lease.worker:
            raise lost(lease)
        return held

    # writing

    def append(self, lease: Lease, number: int, acknowledged: int, appends: Sequence[Append]) -> list[AppendResult]:
        held = self.held(lease)
        check_number(lease, number, held.number, acknowledged)
        self.commits.catch_up()
        if number > held.number:
            with unavailable("read"):
                batch = Batch(self.state, appends, self._stagings.of)
            if steps := batch.steps():
                self.commits.commit(steps, batch.publish, batch.keys)
            # It is committed, whatever becomes of the files now: asked again, it is not done again.
            held.number, held.results = number, tuple(batch.results)
            self._stagings.settle(appends, held.results)
            self.commits.catch_up()
        return list(held.results)

    def stage(self, lease: Lease, staged: Staged) -> int:
        """Keeps it for a commit under the lease."""
        self.held(lease)
        return self._stagings.keep(lease, staged)

    def delete(self, key: Key, version: int) -> bool:
        self.commits.catch_up()
        with self.state.lock:
            entry = self.state.entry(key)
        if entry is None:
            return True
        if entry.version != version:
            return False

        def publish() -> None:
            self.state.catalogue.drop(key)
            self.state.logs.drop(key)

        self.commits.commit([Remove(path_of(key))], publish, {path_of(key): key})
        self.commits.erase_soon()
        self.commits.catch_up()
        with self.state.lock:
            self.state.entry(key)  # which is told where the file could not be removed
        return True

    def compact(self, compacted: Compacted) -> bool:
        """Puts a file that was made meanwhile in the place of a session's. False: it has to be made again."""
        self.commits.catch_up()
        entry = self.state.catalogue.get(compacted.key)
        if entry is not compacted.entry or entry is None:
            return False
        with unavailable("written"):
            new = compacted.finish(self.state, entry)

        def publish() -> None:
            if path_of(compacted.key) not in self.state.damaged:
                self.state.catalogue.put(new.entry)
                self.state.logs.put(new.log)

        path = path_of(compacted.key)
        self.commits.commit([Replace(path, compacted.name)], publish, {path: compacted.key})
        compacted.committed = True
        self.commits.erase_soon()
        self.commits.catch_up()
        return True

    def ping(self) -> None:
        self.commits.catch_up()
        self.commits.commit([], lambda: None, {})

    def close(self) -> tuple[list[Path], Dirty]:
        """As `Commits.close`."""
        try:
            return self.commits.close()
        finally:
            self._stagings.drop()

    def temporary(self, key: Key) -> str:
        """A name beside a session's file that nothing has, below the folder of sessions."""
        return f"{path_of(key)}.{os.getpid()}-{time.time_ns():x}-{next(self._temporary)}.tmp"
