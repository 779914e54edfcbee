"""The store in flat files: a session is one file of JSON Lines that a person can read, grep and back up.

Read `lines.py` for what stands in such a file, `folder.py` for what lies around it, and `journal.py` for
what makes a batch over many of them one commit. `writer.py` writes and `commits.py` says how, `reads.py` reads, each
in threads of its own.
"""

import asyncio
from collections.abc import Callable, Collection, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Concatenate, ParamSpec, Self, TypeVar, get_args
from urllib.parse import parse_qsl

from msgspec import structs

from rejoinder.abc import Append, AppendResult, Found, Lease, Row, SessionCursor, Store
from rejoinder.entities import Header, Key, OpenReply
from rejoinder.errors import Misconfigured, StoreUnavailable
from rejoinder.events import Event
from rejoinder.stores.file_lock import FileLock
from rejoinder.stores.files import reads
from rejoinder.stores.files.compaction import compacted
from rejoinder.stores.files.disk import opening, unavailable
from rejoinder.stores.files.folder import LOCK, FilesFolder, check_folder, check_there
from rejoinder.stores.files.journal import Fsync
from rejoinder.stores.files.keeper import FilesKeeper
from rejoinder.stores.files.staging import Staged
from rejoinder.stores.files.state import State
from rejoinder.stores.files.writer import FilesWriter
from rejoinder.stores.staging import is_great
from rejoinder.stores.threads import Threads

P = ParamSpec("P")
T = TypeVar("T")


class FilesStore(Store):
    exclusive = True

    def __init__(self, folder: Path, fsync: Fsync = "always", *, make: bool = True) -> None:
        self._folder = folder
        self._fsync: Fsync = fsync
        self._make = make
        self._opened: _Opened | None = None
        self._staging = asyncio.Lock()

    @classmethod
    def from_url(cls, url: str, *, make: bool = True) -> Self:
        """`files:///relative/folder` or `files:////absolute/folder`, with `?fsync=…`. Raises Misconfigured for anything else."""
        path, question, options = url.removeprefix("files:///").partition("?")
        if not url.startswith("files:///") or not path.strip("/"):
            raise Misconfigured(
                "A store of flat files is named by a folder: files:///relative/folder or, with four slashes, "
                "files:////absolute/folder."
            )
        asked = parse_qsl(options, keep_blank_values=True) if question else [("fsync", "always")]
        policy = next((policy for policy in get_args(Fsync) if asked == [("fsync", policy)]), None)
        if policy is None:
            raise Misconfigured("The only option of flat files is fsync: ?fsync=always (the default), second or never.")
        if "\0" in path:
            raise Misconfigured("The path of a folder holds no NUL.")
        return cls(Path(path), policy, make=make)

    async def __aenter__(self) -> Self:
        # Resolved, so that two links to one folder have one lock.
        opened = _Opened(self._folder.resolve(), self._fsync, make=self._make)
        try:
            await opened.threads.write(opened.open)
        except BaseException:
            await opened.threads.close(opened.end, opened.close)
            raise
        self._opened = opened
        return self

    async def __aexit__(self, *exc: object) -> None:
        opened, self._opened = self._now, None
        await opened.threads.close(opened.end, opened.close)

    @property
    def _now(self) -> "_Opened":
        if self._opened is None:
            raise StoreUnavailable("The store is not open.")
        return self._opened

    async def _write(self, work: Callable[Concatenate[FilesWriter, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        opened = self._now
        return await opened.threads.write(lambda: work(opened.writer, *args, **kwargs))

    async def _read(self, work: Callable[Concatenate[State, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        opened = self._now

        def reading() -> T:
            with unavailable("read"):
                return work(opened.state, *args, **kwargs)

        return await opened.threads.read(reading)

    # leases

    async def acquire_lease(self, worker: str, ttl: float) -> Lease:
        return await self._write(FilesWriter.acquire, worker)

    async def renew_lease(self, lease: Lease, ttl: float) -> None:
        self._now.writer.held(lease)

    async def release_lease(self, lease: Lease) -> None:
        await self._write(FilesWriter.release, lease)

    async def revoke_expired(self) -> None:
        """None has a time: opening revoked them all."""

    # writing

    async def append(
        self, lease: Lease, number: int, appends: Sequence[Append], *, acknowledged: int = 0
    ) -> list[AppendResult]:
        return await self._write(FilesWriter.append, lease, number, acknowledged, appends)

    async def stage(self, lease: Lease, append: Append) -> Append:
        if not is_great(append):
            return append
        self._now.writer.held(lease)
        async with self._staging:  # one at a time: it takes a reader's thread for seconds, and there are few
            return structs.replace(append, staged=await self._read(self._now.stage, lease, append))

    async def delete(self, key: Key, version: int) -> bool:
        return await self._write(FilesWriter.delete, key, version)

    # compaction

    async def ripe(self, before: str, limit: int) -> list[tuple[Key, str]]:
        return await self._read(reads.ripe, before, limit)

    async def compact(self, key: Key, message_ids: Collection[str], types: Collection[str]) -> None:
        await self._read(self._now.compact, key, message_ids, types)

    # reading: the session

    async def header(self, key: Key) -> Header | None:
        return await self._read(reads.header, key)

    async def sessions(
        self, owner: str, *, after: SessionCursor | None, limit: int, words: Sequence[str] = ()
    ) -> list[Header]:
        return await self._read(reads.sessions, owner, after, limit, words)

    async def orphans(self, limit: int) -> list[tuple[Key, OpenReply]]:
        return await self._read(reads.orphans, self._now.writer.leases, limit)

    async def writing(self, owner: str, *, after: str | None, limit: int) -> list[Header]:
        return await self._read(reads.writing, owner, after, limit)

    async def search(self, owner: str, words: Sequence[str], *, limit: int) -> list[Found]:
        return await self._read(reads.search, owner, words, limit)

    async def keys(self, *, after: Key | None, limit: int) -> list[Key]:
        return await self._read(reads.keys, after, limit)

    async def idle(self, before: str, limit: int) -> list[Key]:
        return await self._read(reads.idle, before, limit)

    # reading: the log

    async def events(
        self,
        key: Key,
        *,
        after: int,
        until: int | None = None,
        message_ids: Collection[str] | None = None,
        limit: int = 1_000,
        max_bytes: int = 1 << 20,
    ) -> list[Event]:
        return await self._read(reads.events, key, after, until, message_ids, limit, max_bytes)

    async def events_at(self, key: Key, seqs: Iterable[int]) -> list[Event]:
        return await self._read(reads.events_at, key, tuple(seqs))

    # reading: the index

    async def rows(self, key: Key, ids: Collection[str]) -> dict[str, Row]:
        return await self._read(reads.rows, key, tuple(ids))

    async def children(self, key: Key, parents: Collection[str | None]) -> dict[str | None, list[Row]]:
        return await self._read(reads.children, key, tuple(parents))

    async def branch(self, key: Key, tip: str, *, low: int, high: int) -> list[Row]:
        return await self._read(reads.branch, key, tip, low, high)

    async def created(self, key: Key, *, after: int, before: int, limit: int, newest: bool = False) -> list[Row]:
        return await self._read(reads.created, key, after, before, limit, newest)

    # health

    async def ping(self) -> None:
        await self._write(FilesWriter.ping)


class _Opened:
    """A store between opening and closing, which both run in threads."""

    def __init__(self, folder: Path, policy: Fsync, *, make: bool) -> None:
        self.threads = Threads("files")
        self._path = folder
        self._make = make
        self._policy = policy
        self._lock = FileLock(folder / LOCK)
        self._writer: FilesWriter | None = None
        self._keeper: FilesKeeper | None = None

    @property
    def writer(self) -> FilesWriter:
        if self._writer is None:
            raise StoreUnavailable("The store is not open.")
        return self._writer

    @property
    def state(self) -> State:
        return self.writer.state

    def open(self) -> None:
        """Raises as opening a store does; `close` is called in any case."""
        with opening(self._path):
            if not self._make:
                check_there(self._path)
            check_folder(self._path)
            self._lock.acquire()
            folder = FilesFolder(self._path)
            self._writer = folder.open(self._policy)
            self._keeper = FilesKeeper(folder, self._writer, self.threads.writing, self._policy)
            self._keeper.start()

    def compact(self, state: State, key: Key, message_ids: Collection[str], types: Collection[str]) -> None:
        """In a reader's thread: the writer only puts the new file in its place."""
        while (made := compacted(state, key, self.writer.temporary(key), message_ids, types)) is not None:
            try:
                if self.threads.writing.wait_for(partial(self.writer.compact, made)):
                    return
            finally:
                made.discard()

    def stage(self, state: State, lease: Lease, append: Append) -> int:
        """In a reader's thread, as `compact`."""
        with unavailable("written"):
            staged = Staged(state, self.writer.temporary(append.key), append)
        try:
            return self.threads.writing.wait_for(partial(self.writer.stage, lease, staged))
        except BaseException:
            staged.discard()
            raise

    def end(self) -> None:
        """Before the writer's thread ends."""
        if self._keeper is not None:
            self._keeper.stop()

    def close(self) -> None:
        if self._keeper is not None:
            self._keeper.close()
        self._lock.release()
