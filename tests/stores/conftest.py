from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from openers import Opener, opener_of
from pens import Pen
from rejoinder.abc import Store
from store_urls import STORE_URLS


@pytest.fixture(params=STORE_URLS)
def opener(request: pytest.FixtureRequest, tmp_path: Path) -> Opener:
    return opener_of(request.param, tmp_path)


@pytest.fixture
async def store(opener: Opener) -> AsyncIterator[Store]:
    async with opener() as opened:
        yield opened


@pytest.fixture
async def pen(store: Store) -> Pen:
    return await Pen.of(store)
