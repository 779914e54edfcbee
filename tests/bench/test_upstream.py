"""The benchmark's upstream says what the scripted upstream says, however fast, and no faster than it is read."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
import pytest
from bench.contestants import request

from bench import upstream
from rejoinder.testing.upstream import ScriptedUpstream

SECONDS = 10
END = b"\r\n0\r\n\r\n"


@asynccontextmanager
async def benched() -> AsyncIterator[int]:
    timer = upstream.Timer()
    server = await asyncio.get_running_loop().create_server(lambda: upstream.Connection(timer), "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


def asking(script: str, *, usage: bool = True) -> bytes:
    body = {"model": "benched", "messages": [{"role": "user", "content": f"/script {script}"}], "stream": True}
    options = {"stream_options": {"include_usage": True}} if usage else {}
    return request("POST", "/v1/chat/completions", body | options)


async def asked(port: int, *requests: bytes, until: bytes = END, slowly: bool = False) -> bytes:
    """Over one connection, one after the other."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 10 if slowly else 1 << 16)
    answers = bytearray()
    async with asyncio.timeout(SECONDS):
        for each in requests:
            begun = len(answers)
            writer.write(each)
            if slowly:
                await asyncio.sleep(0.3)  # by now every buffer on the way is full
            while not answers.endswith(until) or len(answers) == begun:
                piece = await reader.read(1 << 20)
                assert piece, f"it was closed behind {bytes(answers[-200:])!r}"
                answers += piece
    writer.close()
    return bytes(answers)


@pytest.mark.parametrize("usage", [True, False], ids=["usage", "no usage"])
@pytest.mark.parametrize(
    "script", ["tokens=1", "tokens=7 pace=0.004", "tokens=3 pace=0.004 first=0.02", "tokens=500 pace=0"]
)
async def test_the_bytes_are_those_of_the_scripted_upstream(script: str, usage: bool) -> None:
    async with benched() as port, ScriptedUpstream() as scripted:
        other = int(scripted.base_url.rpartition(":")[2].partition("/")[0])
        asked_for = asking(script, usage=usage)
        assert await asked(port, asked_for, asked_for) == await asked(other, asked_for, asked_for)


async def test_tokens_come_at_their_pace() -> None:
    loop = asyncio.get_running_loop()
    async with benched() as port:
        began = loop.time()
        answers = await asyncio.gather(*(asked(port, asking(f"tokens={n} pace=0.01")) for n in (2, 11, 6)))
        assert loop.time() - began >= 0.1
    assert [answer.count(b'"content":"') for answer in answers] == [3, 12, 7]  # an empty one begins each


async def test_a_slow_reader_gets_everything_in_the_end() -> None:
    script = "tokens=40000 pace=0"  # 7 MB, more than the buffers of a connection hold
    whole = b"".join(write.data for write in upstream.writes_of(asking(script).partition(b"\r\n\r\n")[2]))
    async with benched() as port:
        assert await asked(port, asking(script), slowly=True) == whole


async def test_what_it_cannot_answer_it_refuses() -> None:
    async with benched() as port:
        for wrong in (
            asking("colour=red"),
            request("POST", "/v1/chat/completions", ["no object"]),
            request("POST", "/v1/chat/completions", {"model": "benched"}),
        ):
            assert b" 400 " in await asked(port, wrong, until=b"}}")
        assert b" 404 " in await asked(port, request("GET", "/elsewhere"), until=b"}}")
        listed = await asked(port, request("GET", "/v1/models"), until=b"}")
        assert msgspec.json.decode(listed.partition(b"\r\n\r\n")[2]) == {"object": "list", "data": []}
