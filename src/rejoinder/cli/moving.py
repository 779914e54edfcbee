"""`rejoinder export` and `rejoinder import`: files of sessions, written whole or not at all."""

import asyncio
import os
import re
import shutil
import sys
import tempfile
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import ExitStack, aclosing, contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, TypeAlias

from rejoinder.cli.address import reached
from rejoinder.cli.display import harmless
from rejoinder.client import Client
from rejoinder.errors import Conflict, Invalid, NotFound, RejoinderError, SessionNotFound

SESSION_ID = re.compile(r"ses_[0-9a-f]{32}")
"""What may become the name of a file, whatever the server says."""

STANDARD = "-"
"""Standard input or output in the place of a file."""

Spooled: TypeAlias = dict[str, BinaryIO]
"""What came from pipes, which can be read but once, by their names."""


def export_session(url: str, session_id: str, output: Path | None) -> None:
    """Writes a session to a file or, as soon as it is whole, to standard output. Raises RejoinderError."""
    if not SESSION_ID.fullmatch(session_id):
        raise SessionNotFound(harmless(session_id))

    async def run(file: BinaryIO) -> None:
        async with reached(url) as client:
            await client.export_session(session_id, file)

    if output is not None and _can_be_replaced(output):
        with _replacing(output) as file:
            asyncio.run(run(file))
        return
    with tempfile.TemporaryFile() as file:
        asyncio.run(run(file))
        file.seek(0)
        with _written_into(output) as target:
            shutil.copyfileobj(file, target)
            target.flush()


def export_all(url: str, folder: Path) -> None:
    """Writes each session to a file of its own, named by its id. One that is deleted meanwhile is left out."""
    with _file_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)

    async def run() -> int:
        written = 0
        async with reached(url) as client, aclosing(_each_once(client)) as ids:
            async for session_id in ids:
                written += await _export_into(client, session_id, folder)
        return written

    print(f"Sessions in {folder}: {asyncio.run(run()):,}.", file=sys.stderr)


async def _each_once(client: Client) -> AsyncGenerator[str, None]:
    """The ids of all sessions, those in which something happens meanwhile among them.

    They move to where the list was read before, so it is read once more, as long as that brings any. Those that are made
    meanwhile are none of it, or there might be no end.
    """
    found: set[str] = set()
    begun, known = "", -1
    while known < len(found):
        known = len(found)
        async with aclosing(client.sessions()) as sessions:
            async for session in sessions:
                begun = begun or session.updated_at
                if session.id not in found and (known == 0 or session.created_at <= begun):
                    found.add(session.id)
                    yield session.id


async def _export_into(client: Client, session_id: str, folder: Path) -> bool:
    if not SESSION_ID.fullmatch(session_id):
        raise Invalid(f"The server names a session {harmless(session_id)!r}, which is no id.")
    try:
        with _replacing(folder / f"{session_id}.jsonl") as file:
            await client.export_session(session_id, file)
    except NotFound:
        print(f"{session_id} has been deleted.", file=sys.stderr)
        return False
    return True


def import_files(url: str, files: Sequence[str]) -> bool:
    """Imports each file, tells what became of it, and returns whether all are in."""

    async def run(spooled: Spooled) -> bool:
        good = True
        async with reached(url) as client:
            for name in files:
                good = await _import(client, name, spooled) and good
        return good

    with _spooled(files) as spooled:  # before there is an event loop, which would wait for its end with Ctrl-C pressed
        return asyncio.run(run(spooled))


async def _import(client: Client, name: str, spooled: Spooled) -> bool:
    try:
        with _reading(name, spooled) as file:
            session = await client.import_session(file)
    except _FileError as why:
        print(harmless(why.detail), file=sys.stderr)
        return False
    except (Conflict, Invalid) as why:
        print(f"{harmless(name)}: {harmless(why.detail)}", file=sys.stderr)
        return False
    print(f"{session.id}  {harmless(name)}")
    return True


class _FileError(RejoinderError):
    """A file that cannot be read or written."""

    code = "file_error"


@contextmanager
def _file_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise _FileError(f"{path}: {error.strerror or error}") from error


@contextmanager
def _spooled(names: Sequence[str]) -> Iterator[Spooled]:
    """The pipes among these files (`-`, `<(…)`). One that cannot be read is left for `_reading` to tell."""
    with ExitStack() as stack:
        spooled: Spooled = {}
        for name in dict.fromkeys(names):
            if name == STANDARD:
                spooled[name] = stack.enter_context(_copied(sys.stdin.buffer))
            elif Path(name).is_fifo():
                with suppress(OSError), Path(name).open("rb") as pipe:
                    spooled[name] = stack.enter_context(_copied(pipe))
        yield spooled


@contextmanager
def _copied(file: BinaryIO) -> Iterator[BinaryIO]:
    with tempfile.TemporaryFile() as copy:
        shutil.copyfileobj(file, copy)
        yield copy


@contextmanager
def _reading(name: str, spooled: Spooled) -> Iterator[BinaryIO]:
    """A file that can be read twice, since a connection may break."""
    if name in spooled:
        yield spooled[name]
        return
    with _file_errors(Path(name)), Path(name).open("rb") as file:
        yield file


def _can_be_replaced(path: Path) -> bool:
    """Not a pipe or a device: no file may take the place of /dev/null."""
    return path != Path(STANDARD) and (path.is_file() or path.is_dir() or not path.exists())


@contextmanager
def _written_into(path: Path | None) -> Iterator[BinaryIO]:
    if path is None or path == Path(STANDARD):
        yield sys.stdout.buffer
        return
    with _file_errors(path), path.open("wb") as file:
        yield file


@contextmanager
def _replacing(path: Path) -> Iterator[BinaryIO]:
    """A new file that takes this place when it is whole and on the disk. Until then what was there stays."""
    part = path.parent / f".{path.name}.{os.getpid()}.part"  # `.` and `/` have no name, and are refused as folders are
    with _file_errors(path):
        try:
            with part.open("w+b") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
