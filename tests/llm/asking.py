"""Asking an upstream by the HTTP client alone."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from msgspec import Struct

from rejoinder.errors import ProviderError
from rejoinder.llm.http_client import HttpClient

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
