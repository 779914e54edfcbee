"""How often the HTTP client asks where a host is."""

import asyncio
import socket
from typing import Any

import pytest

from asking import client_of, get, refused
from raw_server import Connection, serving
from rejoinder.llm import http_addresses

NAME = "upstream.test"


class Names:
    """The system's knowledge of names, in which `NAME` is this machine."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked = 0
        self.known = True
        self.go_on = asyncio.Event()
        self.go_on.set()
        loop = asyncio.get_running_loop()
        resolved = loop.getaddrinfo

        async def known(name: str, port: int, **options: Any) -> list[Any]:
            if name != NAME:  # the server's own
                return await resolved(name, port, **options)
            self.asked += 1
            await self.go_on.wait()
            if not self.known:
                raise socket.gaierror(socket.EAI_NONAME, "unknown")
            return await resolved("127.0.0.1", port, **options)

        monkeypatch.setattr(loop, "getaddrinfo", known)


@pytest.fixture
async def names(monkeypatch: pytest.MonkeyPatch) -> Names:
    return Names(monkeypatch)


async def answer(connection: Connection) -> None:
    while True:
        await connection.request()
        await connection.answer()


async def test_a_host_is_looked_up_once_for_all_who_come_at_once_and_soon_after(names: Names) -> None:
    async with serving(answer) as server, client_of(f"http://{NAME}:{server.port}", keep=False) as client:
        await asyncio.gather(*(get(client) for _ in range(20)))
        await get(client)
    assert len(server.connections) == 21
    assert names.asked == 1


async def test_after_a_while_it_is_looked_up_again(names: Names, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_addresses, "KEPT", 0.05)
    async with serving(answer) as server, client_of(f"http://{NAME}:{server.port}", keep=False) as client:
        await get(client)
        await asyncio.sleep(0.2)
        await get(client)
    assert names.asked == 2


async def test_where_nobody_answers_it_is_looked_up_again(names: Names) -> None:
    async with serving(answer) as server:
        port = server.port
    async with client_of(f"http://{NAME}:{port}") as client:
        assert (await refused(client)).detail == "The upstream refuses connections."
        await refused(client)
    assert names.asked == 2


async def test_a_name_that_is_not_known_may_be_known_a_moment_later(names: Names) -> None:
    names.known = False
    async with serving(answer) as server, client_of(f"http://{NAME}:{server.port}") as client:
        assert (await refused(client)).detail == "The upstream's host name is not known."
        names.known = True
        assert (await get(client)).body == b"hi"
    assert names.asked == 2


async def test_who_goes_away_meanwhile_takes_nothing_from_who_waits_as_well(names: Names) -> None:
    names.go_on.clear()
    async with serving(answer) as server, client_of(f"http://{NAME}:{server.port}") as client:
        first, second = (asyncio.create_task(get(client)) for _ in range(2))
        await asyncio.sleep(0.05)
        first.cancel()
        await asyncio.wait({first})
        names.go_on.set()
        assert (await second).body == b"hi"
    assert names.asked == 1


async def test_a_lookup_that_takes_too_long_is_told_and_waited_for_by_who_comes_next(names: Names) -> None:
    names.go_on.clear()
    async with (
        serving(answer) as server,
        client_of(f"http://{NAME}:{server.port}", connect_timeout=0.1) as client,
    ):
        assert (await refused(client)).code == "upstream_unavailable"
        names.go_on.set()
        assert (await get(client)).body == b"hi"
    assert names.asked == 1
