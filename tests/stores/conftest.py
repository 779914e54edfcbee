from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from pens import Pen
from rejoinder.abc import Store
from store_table import STORES, Opener


@pytest.fixture(params=STORES)
def opener(request: pytest.FixtureRequest, tmp_path: Path) -> Opener:
    return STORES[request.param](tmp_path)


@pytest.fixture
async def store(opener: Opener) -> AsyncIterator[Store]:
    async with opener() as opened:
        yield opened


@pytest.fixture
async def pen(store: Store) -> Pen:
    return await Pen.of(store)
