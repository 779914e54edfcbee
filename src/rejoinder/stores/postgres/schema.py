"""The schema of a Postgres store: whether the database can hold one, and how it is brought up to date.

Migrations run in one transaction under a lock that only processes which migrate this schema wait for: the first does it,
and the others find it done.
"""

import logging
import zlib

from rejoinder.errors import Misconfigured, served_by_an_earlier
from rejoinder.postgres_link import Connection, Place, close, connect, opening
from rejoinder.stores.postgres.batch import fitting
from rejoinder.stores.rereading import read_again
from rejoinder.stores.sql import migrations, statements
from rejoinder.words import lacks_marks

log = logging.getLogger(__name__)

OLDEST = 14
"""The oldest Postgres whose settings and statements are all there; also the oldest that is still mended by its makers."""

DURABLE = {
    "synchronous_commit": "a crash of the database may lose what was acknowledged last",
    "fsync": "a crash of its machine may destroy the database",
    "full_page_writes": "a crash of its machine may destroy the database",
}
"""Settings of the server, and what it means where they are off."""


async def bring_up_to_date(place: Place, *, make: bool = True) -> None:
    """Makes the schema, unless told not to, or migrates it. Raises as opening a store does."""
    with opening(place):
        # A migration takes as long as it takes, and so does waiting for another process's.
        connection = await connect(place, statement_timeout="0")
        try:
            await _check_server(connection, place)
            version = await _version(connection, place)
            if version == 0 and not make:
                raise Misconfigured(f"There is no store at {place.shown}, in the schema {place.schema}.")
            if version < len(migrations("postgres")):
                await _migrate(connection, place)
        finally:
            await close(connection)


async def _check_server(connection: Connection, place: Place) -> None:
    found = connection.get_server_version().major
    if found < OLDEST:
        raise Misconfigured(f"{place.shown} is of Postgres {found}; the oldest that will do is {OLDEST}.")
    said = {name: await connection.fetchval("SELECT current_setting($1)", name) for name in (*DURABLE, *_ASKED)}
    if said["server_encoding"] != "UTF8":
        raise Misconfigured(f"{place.shown} has the encoding {said['server_encoding']}: make a database with UTF8.")
    if said["in_hot_standby"] == "on" or said["transaction_read_only"] == "on":
        raise Misconfigured(f"{place.shown} takes no writes: name the primary, and a user that may write.")
    for name, meaning in DURABLE.items():
        if said[name] == "off":
            log.warning("%s has %s = off: %s", place.shown, name, meaning)


_ASKED = ("server_encoding", "in_hot_standby", "transaction_read_only")


async def _version(connection: Connection, place: Place) -> int:
    """The schema's version, 0 where there is none yet."""
    known = len(migrations("postgres"))
    # Asked of the catalogue itself: what a name means is kept by the connection from before it waited for the lock.
    there = "SELECT FROM pg_tables WHERE schemaname = $1 AND tablename = 'schema_version'"
    if not await connection.fetch(there, place.schema):
        return 0
    version = int(await connection.fetchval(f"SELECT version FROM {place.schema}.schema_version"))  # noqa: S608  # a checked name
    if version > known:
        raise Misconfigured(
            f"{place.shown} was written by a later version of Rejoinder (schema {version}, this one knows {known})."
        )
    return version


async def _migrate(connection: Connection, place: Place) -> None:
    async with connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock($1, $2)", _LOCK, zlib.crc32(place.schema.encode()) >> 1)
        version = await _version(connection, place)
        if version == 0:
            await _begin(connection, place)
        else:
            await _check_that_nobody_serves(connection, place)
        for number, script in enumerate(migrations("postgres")[version:], version + 1):
            log.info("bringing %s to schema %d", place.shown, number)
            await connection.execute(script)
            if number == _MARKS:
                await _read_again(connection)
        await connection.execute("UPDATE schema_version SET version = $1", len(migrations("postgres")))


async def _check_that_nobody_serves(connection: Connection, place: Place) -> None:
    await connection.execute(statements("postgres", "write")["revoke_expired"])
    if worker := await connection.fetchval("SELECT worker FROM leases LIMIT 1"):
        raise served_by_an_earlier(place.shown, worker)


_MARKS = 3
"""The schema in which words have their marks."""

_AT_ONCE = 500
"""Texts that are looked at together."""


async def _read_again(connection: Connection) -> None:
    """Words that were kept without their marks are read again, from the message or the title."""
    texts = await connection.cursor("SELECT session, message_id, tsvector_to_array(words) FROM texts")
    while some := await texts.fetch(_AT_ONCE):
        for session, message_id, words in some:
            if not lacks_marks(" ".join(words)):
                continue
            data = await connection.fetchval(
                """
                SELECT CASE
                    WHEN $2 = '' THEN (SELECT header FROM sessions WHERE n = $1)
                    ELSE (SELECT data FROM events WHERE session = $1 AND seq = (
                        SELECT ended FROM messages WHERE session = $1 AND id = $2
                    ))
                END
                """,
                session,
                message_id,
            )
            marks = [word for word in words if word.startswith("_")]
            kept = " ".join(word for word in words if not word.startswith("_"))
            await connection.execute(
                "UPDATE texts SET words = array_to_tsvector($3::text[]) WHERE session = $1 AND message_id = $2",
                session,
                message_id,
                [*marks, *fitting(read_again(kept, data)).split(" ")],
            )


_LOCK = 0x526A6E64
"""`Rjnd`: the half of the lock's name that is ours alone."""


async def _begin(connection: Connection, place: Place) -> None:
    await connection.execute(f"CREATE SCHEMA IF NOT EXISTS {place.schema}")
    if await connection.fetchval("SELECT count(*) FROM pg_tables WHERE schemaname = $1", place.schema):
        raise Misconfigured(
            f"The schema {place.schema} of {place.shown} holds something else. It is left as it is; name another by ?schema=."
        )
    await connection.execute(
        "CREATE TABLE schema_version (one integer PRIMARY KEY CHECK (one = 1), version bigint NOT NULL)"
    )
    await connection.execute("INSERT INTO schema_version VALUES (1, 0)")
