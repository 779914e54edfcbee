"""What the tests of Postgres run in processes of their own: `python postgres_children.py NAME URL …`."""

import asyncio
import sys

from pens import KEY, Pen, create, delta, reply
from rejoinder.errors import LeaseLost
from rejoinder.stores import open_store


def tell(said: object) -> None:
    sys.stdout.write(f"{said}\n")
    sys.stdout.flush()


async def open_once(url: str) -> None:
    async with open_store(url) as store:
        await store.ping()
    tell("opened")


async def write_until_fenced(url: str, ttl: str) -> None:
    """Writes under a lease that it never renews, and tells each seq once it is acknowledged."""
    async with open_store(url) as store:
        pen = await Pen.of(store, "child", float(ttl))
        await pen.made(create(KEY, replies=[reply(pen.lease)]))
        try:
            while True:
                [seq] = await pen.made(delta("of the child"))
                tell(seq)
        except LeaseLost:
            tell("fenced")


if __name__ == "__main__":
    asyncio.run(globals()[sys.argv[1]](*sys.argv[2:]))
