"""A scripted upstream on loopback, and a provider that asks it; and the two event loops for what handles sockets itself."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from datetime import datetime
from pathlib import Path

import pytest
import trustme
import uvloop

from rejoinder.llm.openai import OpenAIProvider
from rejoinder.testing.upstream import ScriptedUpstream


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    loops: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {"asyncio": asyncio.new_event_loop}
    if item.path.name.startswith("test_http_"):
        loops["uvloop"] = uvloop.new_event_loop
    return loops


@pytest.fixture
def key() -> str:
    return "sk-test-3c8f0a17d2"


@pytest.fixture
async def upstream() -> AsyncIterator[ScriptedUpstream]:
    async with ScriptedUpstream() as upstream:
        yield upstream


@pytest.fixture
async def provider(upstream: ScriptedUpstream, key: str) -> AsyncIterator[OpenAIProvider]:
    async with OpenAIProvider(key, upstream.base_url, default_model="some-model") as provider:
        yield provider


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def server_context(
    authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., ssl.SSLContext]:
    """What a secure server needs to be trusted, for as long as the test lasts, unless its authority is another."""
    trusted = tmp_path / "authority.pem"
    authority.cert_pem.write_to_path(str(trusted))
    monkeypatch.setenv("SSL_CERT_FILE", str(trusted))

    def make(*names: str, authority: trustme.CA = authority, not_after: datetime | None = None) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert(*names or ("localhost", "127.0.0.1", "::1"), not_after=not_after).configure_cert(context)
        return context

    return make
