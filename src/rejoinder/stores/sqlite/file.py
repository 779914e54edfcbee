"""The file of a SQLite store: whether it is one, and how it is opened.

What cannot be ours is refused before SQLite touches it, by the header that every database file begins with; a file that
is ours is brought to the present schema in a transaction, and only then turned to write-ahead logging.
"""

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rejoinder.errors import Misconfigured, StoreLocked, StoreUnavailable
from rejoinder.stores import modes
from rejoinder.stores.packing import unpacked
from rejoinder.stores.rereading import read_again
from rejoinder.stores.sql import migrations, statements
from rejoinder.words import lacks_marks

APPLICATION_ID = 0x526A6E64
"""`Rjnd`, in the header of every database that is ours."""

BUSY = 1.0
"""Seconds that a statement waits where another program (a backup, a shell) has locked the file, before it fails."""

CACHE = 16_000
"""KiB of pages that the writer keeps in memory."""

WAL_KEPT = 64 << 20
"""Bytes to which the write-ahead log is cut back after something great was written."""


def check_place(path: Path, *, make: bool) -> None:
    """Raises Misconfigured where there is no folder for a new database or, if none is to be made, no database. Writes nothing."""
    if not make and (not path.exists() or path.stat().st_size == 0):
        raise Misconfigured(f"There is no store at {path}.")
    if not path.parent.is_dir():
        raise Misconfigured(f"There is no folder {path.parent} for the database {path.name}: make it first.")


def check_file(path: Path) -> None:
    """Raises Misconfigured where something else is. Writes nothing."""
    if path.is_dir():
        raise Misconfigured(f"{path} is a folder: name a file in it.")
    try:
        with path.open("rb") as file:
            header = file.read(100)
    except FileNotFoundError:
        return
    if header and not header.startswith(b"SQLite format 3\0"):
        raise Misconfigured(f"{path} is no SQLite database. It is left as it is; name another file.")
    if header and int.from_bytes(header[68:72], "big") != APPLICATION_ID:
        raise Misconfigured(f"{path} is the database of another application. It is left as it is; name another file.")


def make_file(path: Path) -> None:
    """Makes an empty file where none is. What SQLite keeps beside it gets the mode of this one."""
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, modes.FILE))


def open_writer(path: Path) -> sqlite3.Connection:
    """The one connection that writes: the schema is up to date, and every lease that was ever given is revoked."""
    make_file(path)
    connection = _connect(path, "rw")
    try:
        connection.execute("PRAGMA synchronous = FULL")
        # Free pages as well: FAST would leave what was on them.
        connection.execute("PRAGMA secure_delete = ON")
        _migrate(connection, path)
        _log_ahead(connection, path)
        connection.execute(f"PRAGMA journal_size_limit = {WAL_KEPT}")
        connection.execute(f"PRAGMA cache_size = -{CACHE}")
        for name in ("drop_leases", "give_up_all_staged"):
            connection.execute(statements("sqlite", "write")[name])
    except BaseException:
        connection.close()
        raise
    return connection


def open_reader(path: Path) -> sqlite3.Connection:
    """A connection that can neither write nor move the write-ahead log, and that needs no further file from now on."""
    statements("sqlite", "read")  # are in a file as well
    connection = _connect(path, "ro")
    try:
        # SQLite opens the log at the first read.
        connection.execute("PRAGMA schema_version").fetchone()
    except BaseException:
        connection.close()
        raise
    return connection


@contextmanager
def opening(path: Path) -> Iterator[None]:
    """Errors as opening a store raises them."""
    try:
        yield
    except sqlite3.Error as exc:
        match getattr(exc, "sqlite_errorcode", 0) & 0xFF:
            case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
                raise StoreLocked(f"Another program has locked {path}.") from exc
            case sqlite3.SQLITE_FULL | sqlite3.SQLITE_IOERR:
                raise StoreUnavailable(f"{path} could not be opened: {exc}.") from exc
        raise Misconfigured(f"{path} cannot be used as a store: {exc}.") from exc
    except OSError as exc:
        raise Misconfigured(f"{path} cannot be used as a store: {exc.strerror}.") from exc


def _connect(path: Path, mode: str) -> sqlite3.Connection:
    # Transactions are ours to begin (isolation_level), and a connection is used by one thread at a time, not by one for
    # ever. A statement is kept prepared for every size of a batch.
    return sqlite3.connect(
        f"{path.as_uri()}?mode={mode}",
        uri=True,
        timeout=BUSY,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=128,
    )


def _log_ahead(connection: sqlite3.Connection, path: Path) -> None:
    [mode] = connection.execute("PRAGMA journal_mode = WAL").fetchone()
    if mode != "wal":
        raise Misconfigured(f"The place of {path} does not allow write-ahead logging (mode {mode}).")


def teach(connection: sqlite3.Connection) -> None:
    """The functions that migrations call."""

    def again(words: str, data: bytes | None) -> str:
        mark, _, kept = words.partition(" ")
        return f"{mark} {read_again(kept, data and unpacked(data))}"

    connection.create_function("read_again", 2, again, deterministic=True)
    connection.create_function("lacks_marks", 1, lacks_marks, deterministic=True)


def _migrate(connection: sqlite3.Connection, path: Path) -> None:
    scripts = migrations("sqlite")
    [version] = connection.execute("PRAGMA user_version").fetchone()
    if version > len(scripts):
        raise Misconfigured(
            f"{path} was written by a later version of Rejoinder (schema {version}, this one knows {len(scripts)})."
        )
    teach(connection)
    for number, script in enumerate(scripts[version:], version + 1):
        # Free pages can be given back only where the file was made for it, and that is its first change of all.
        begin = "BEGIN; PRAGMA auto_vacuum = INCREMENTAL;" if number == 1 else "BEGIN IMMEDIATE;"
        # Both numbers lie in the header of the file, and so in the same transaction.
        marks = f"PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {number};"
        try:
            connection.executescript(f"{begin}\n{script}\n{marks}\nCOMMIT;")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
