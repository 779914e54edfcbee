"""Asking an upstream by the HTTP client alone."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
from msgspec import Struct

from rejoinder.errors import ProviderError
from rejoinder.llm.http_answer import Answer
from rejoinder.llm.http_client import HttpClient
from rejoinder.llm.http_line import TcpLine, TlsLine

KEY = "sk-the-key"


class Got(Struct):
    status: int
    headers: dict[str, str]
    body: bytes = b""
    fault: ProviderError | None = None
    """What ended the body."""


@asynccontextmanager
async def client_of(url: str, **options: Any) -> AsyncIterator[HttpClient]:
    wanted: dict[str, Any] = {"connect_timeout": 10, "silence": 10, **options}
    client = HttpClient(url, {"authorization": f"Bearer {KEY}"}, **wanted)
    try:
        yield client
    finally:
        client.close()


async def get(client: HttpClient, body: bytes = b"") -> Got:
    """The whole answer, or what came of its body. Raises ProviderError where there is no head."""
    async with client.ask("POST" if body else "GET", "/x", body) as answer:
        got = Got(answer.status, dict(answer.headers))
        try:
            while data := await answer.read():
                got.body += data
        except ProviderError as fault:
            got.fault = fault
    return got


async def refused(client: HttpClient, body: bytes = b"") -> ProviderError:
    """Why there is no head."""
    with pytest.raises(ProviderError) as caught:
        await get(client, body)
    return caught.value


async def leave(client: HttpClient, reached: asyncio.Event, left: asyncio.Event) -> None:
    """Asks, goes away when the server says that it was reached, and returns when it has seen that."""
    asking = asyncio.create_task(get(client))
    await asyncio.wait_for(reached.wait(), 5)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    await asyncio.wait_for(left.wait(), 5)


async def has_come(answer: Answer, size: int) -> None:
    """Returns when the system holds so many bytes for the answer."""
    line = answer.line
    while isinstance(line, TlsLine):
        line = line._line
    assert isinstance(line, TcpLine)
    async with asyncio.timeout(5):
        while True:
            with suppress(BlockingIOError):
                if len(line._socket.recv(1 << 20, socket.MSG_PEEK)) >= size:
                    return
            await asyncio.sleep(0.001)
