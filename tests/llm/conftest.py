"""A scripted upstream on loopback, and a provider that asks it."""

from collections.abc import AsyncIterator

import pytest

from rejoinder.llm.openai import OpenAIProvider
from rejoinder.testing.upstream import ScriptedUpstream


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
