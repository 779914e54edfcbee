"""A scripted upstream on loopback, and a provider that asks it; and the two event loops for what handles sockets itself."""

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest
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
