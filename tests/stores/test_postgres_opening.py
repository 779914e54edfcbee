"""Opening a Postgres store: what is wrong is told apart before anything is served, and never with the password."""

import asyncio
import logging
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from pens import KEY, Pen, create, log
from postgres_server import PASSWORD, Databases, databases, postgres_server
from rejoinder.errors import Misconfigured, RejoinderError, StoreLocked, StoreUnavailable
from rejoinder.postgres_link import parse
from rejoinder.stores import open_store
from rejoinder.stores.postgres import schema as postgres_schema
from rejoinder.stores.sql import migrations

CHILDREN = Path(__file__).with_name("postgres_children.py")


@pytest.fixture(scope="module")
def own() -> Databases:
    return databases()


async def refusal(url: str) -> RejoinderError:
    with pytest.raises(RejoinderError) as told:
        async with open_store(url):
            pass
    for secret in (PASSWORD, PASSWORD.replace(" ", "%20"), "hunter2"):
        assert secret not in repr(told.value) + str(told.value.__cause__ or "")
    return told.value


def altered(url: str, **parts: str) -> str:
    return urlsplit(url)._replace(**parts).geturl()


# --- where it is -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "postgresql:",
        "postgresql://",
        "postgresql:///",
        "postgresql://ann:hunter2@localhost",
        "postgresql://ann:hunter2@localhost/",
        "postgresql://ann:hunter2@localhost/a/b",
        "postgresql://ann:hunter2#x@localhost/chat",
        "postgresql://ann:hunter2@[::1/chat",
        "postgresql://ann:hunter2@localhost/chat?schema=Chat",
        "postgresql://ann:hunter2@localhost/chat?schema=a;b",
        "postgresql://ann:hunter2@localhost/chat?schema=pg_chat",
        "postgresql://ann:hunter2@localhost/chat?schema=a&schema=b",
        "postgresql://ann:hunter2@localhost/chat?schema",
    ],
)
def test_a_wrong_url_is_told_what_is_right(url: str) -> None:
    with pytest.raises(Misconfigured) as told:
        open_store(url)
    assert "ostgres" in told.value.detail
    assert "hunter2" not in repr(told.value)
    assert told.value.__cause__ is None


async def test_a_wrong_option_is_told_without_the_password(own: Databases) -> None:
    told = await refusal(altered(own.url, query="no_such_setting=hunter2"))
    assert isinstance(told, (Misconfigured, StoreUnavailable))


async def test_nobody_listens_there() -> None:
    told = await refusal("postgresql://ann:hunter2@127.0.0.1:1/chat")
    assert isinstance(told, StoreUnavailable)
    assert "127.0.0.1:1/chat" in told.detail


async def test_a_wrong_password(own: Databases) -> None:
    parts = urlsplit(own.url)
    url = altered(own.url, netloc=f"{parts.username}:hunter2@{parts.hostname}:{parts.port}")
    assert isinstance(await refusal(url), Misconfigured)


async def test_a_database_that_is_not_there(own: Databases) -> None:
    told = await refusal(altered(own.url, path="/nowhere"))
    assert isinstance(told, Misconfigured)
    assert "nowhere" in told.detail


async def test_a_user_that_may_make_nothing() -> None:
    with postgres_server() as server:
        own = Databases(server.url())
        own.run("CREATE ROLE guest LOGIN PASSWORD 'hunter2'")
        parts = urlsplit(own.url)
        guest = altered(own.url, netloc=f"guest:hunter2@{parts.hostname}:{parts.port}")
        assert isinstance(await refusal(guest), Misconfigured)
        # And one who may only read what is there.
        async with open_store(own.url):
            pass
        own.run("ALTER ROLE guest SET default_transaction_read_only = on", "GRANT USAGE ON SCHEMA rejoinder TO guest")
        told = await refusal(guest)
        assert isinstance(told, Misconfigured)
        assert "takes no writes" in told.detail
        # A database that cannot hold every text.
        told = await refusal(own.database("latin", "ENCODING 'LATIN1' LOCALE 'C'"))
        assert isinstance(told, Misconfigured)
        assert "UTF8" in told.detail


# --- what is there -----------------------------------------------------------------------------------------------


async def test_a_schema_of_a_later_version_is_left_alone(own: Databases) -> None:
    url = own.new()
    async with open_store(url):
        pass
    own.run("UPDATE schema_version SET version = 99", url=url)
    told = await refusal(url)
    assert isinstance(told, Misconfigured)
    assert "later version" in told.detail


async def test_what_is_not_ours_is_left_alone(own: Databases) -> None:
    url = own.new()
    schema = url.rpartition("=")[2]
    own.run(f"CREATE SCHEMA {schema}", f"CREATE TABLE {schema}.sessions (theirs text)")
    told = await refusal(url)
    assert isinstance(told, Misconfigured)
    assert schema in told.detail
    assert own.run(f"SELECT count(*) FROM pg_tables WHERE schemaname = '{schema}'")[0][0] == 1


async def test_two_schemas_of_one_database_are_two_stores(own: Databases) -> None:
    async with open_store(own.new()) as one, open_store(own.new()) as two:
        pen = await Pen.of(one)
        await pen.made(create(KEY))
        assert await two.header(KEY) is None
        assert await log(two) == []


def test_many_processes_make_the_schema_at_once(own: Databases) -> None:
    url = own.new()
    command = [sys.executable, str(CHILDREN), "open_once", url]
    children = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    assert [child.communicate(timeout=50)[0] for child in children] == ["opened\n"] * 4
    assert own.run("SELECT * FROM schema_version", url=url) == [(1, len(migrations("postgres")))]


async def test_many_stores_make_the_schema_at_once(own: Databases) -> None:
    url = own.new()

    async def opened() -> None:
        async with open_store(url) as store:
            await store.ping()

    await asyncio.gather(*(opened() for _ in range(8)))
    assert own.run("SELECT * FROM schema_version", url=url) == [(1, len(migrations("postgres")))]


async def test_a_store_of_the_first_schema_is_brought_up_to_date_and_keeps_its_words(
    own: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = own.new()
    with monkeypatch.context() as earlier:
        earlier.setattr(postgres_schema, "migrations", lambda kind: migrations(kind)[:1])
        await postgres_schema.bring_up_to_date(parse(url))
    of_the_first = "INSERT INTO sessions (owner, id, updated_at, header) VALUES ('ann', 'ses_old', '', '')"
    # Who writes by the old one would not know the new, and wait for it for ever: with it nobody begins.
    serves = "INSERT INTO leases (worker, expires_at) VALUES ('earlier', now() + interval '{} seconds')"
    own.run(of_the_first, serves.format(60), url=url)
    told = await refusal(url)
    assert isinstance(told, StoreLocked) and "earlier" in told.detail
    assert own.run("SELECT version FROM schema_version", url=url) == [(1,)]
    # One that was killed is gone when its lease is over.
    own.run("DELETE FROM leases", serves.format(-1), url=url)
    async with open_store(url) as store:
        assert own.run("SELECT count(*) FROM leases", url=url) == [(0,)]
        pen = await Pen.of(store)
        await pen.made(create(KEY))
        assert len(await log(store)) == 1
    assert own.run("SELECT count(*) FROM sessions", url=url)[0][0] == 2


async def test_settings_that_break_the_promise_are_told(own: Databases, caplog: pytest.LogCaptureFixture) -> None:
    url = own.new()
    with caplog.at_level(logging.WARNING):
        async with open_store(f"{url}&options=-csynchronous_commit%3Doff"):
            pass
    assert "synchronous_commit = off" in caplog.text
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        async with open_store(url):
            pass
    assert "synchronous_commit" not in caplog.text
