"""Backups of stores that other servers keep, made and restored as docs/stores.md tells it."""

import re
import shlex
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pens import KEY, OTHER, Pen, change, create, delta, log, reply, row
from postgres_server import databases, installed
from redis_server import redis_server
from rejoinder.errors import LeaseLost
from rejoinder.stores import open_store

DOCS = (Path(__file__).parents[2] / "docs" / "stores.md").read_text(encoding="utf-8")


async def check(url: str, back_up: Callable[[], object], restore: Callable[[], str]) -> None:
    """A backup beneath a worker with a live reply holds what there was; whoever comes after it ends that and goes on."""
    async with open_store(url) as store:
        pen = await Pen.of(store, ttl=0.001)
        live = change(KEY, 1, created=[row("msg_1", ended=False)], replies=[reply(pen.lease)])
        await pen.made(create(KEY), live, delta())
        then = await log(store)
        back_up()
        await pen.made(delta("later"), create(OTHER))
    async with open_store(restore()) as store:
        assert await log(store) == then
        assert await store.header(OTHER) is None
        await store.revoke_expired()
        assert await store.orphans(9) == [(KEY, reply(pen.lease))]
        pen.store = store
        with pytest.raises(LeaseLost):
            await pen.write(delta("of the dead"))
        after = await Pen.of(store)
        assert after.lease.epoch > pen.lease.epoch
        await after.made(delta("anew"), create(OTHER))


async def test_of_postgres(tmp_path: Path) -> None:
    url = databases().database("backed_up")
    dump, drop, load = (re.findall(rf"`({name} [^`]+)`", DOCS) for name in ("pg_dump", "psql", "pg_restore"))

    def run(commands: list[str]) -> None:
        [command] = commands
        program, *arguments = shlex.split(command.replace("URL", url))
        path = installed() / "pginstall/bin" / program
        done = subprocess.run([path, *arguments], cwd=tmp_path, check=False, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr

    def restore() -> str:
        run(drop)
        run(load)
        return url

    await check(url, lambda: run(dump), restore)


async def test_of_redis(tmp_path: Path) -> None:
    durable = {"appendonly": "yes", "appendfsync": "always"}
    before, after = tmp_path / "before", tmp_path / "after"
    for folder in (before, after):
        folder.mkdir()
    with redis_server(before, **durable) as server:

        def back_up() -> None:
            server.ask("BGSAVE")
            while server.ask("INFO", "persistence")["rdb_bgsave_in_progress"]:
                time.sleep(0.01)
            shutil.copy(before / "dump.rdb", tmp_path)

        def restore() -> str:
            server.stop()
            shutil.copy(tmp_path / "dump.rdb", after)
            with redis_server(after) as turned_on:
                turned_on.ask("CONFIG", "SET", "appendonly", "yes")
                while turned_on.ask("INFO", "persistence")["aof_rewrite_in_progress"]:
                    time.sleep(0.01)
                turned_on.stop()
            shutil.rmtree(before / "appendonlydir")
            shutil.move(after / "appendonlydir", before)
            server.start()
            return server.url

        await check(server.url, back_up, restore)
