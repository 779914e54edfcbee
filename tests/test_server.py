"""The process around the app: what it does once when it has started."""

import gc
from collections.abc import Iterator

import pytest
import uvicorn
from starlette.responses import Response

from rejoinder.server import NEW_OBJECTS, Server


@pytest.fixture(autouse=True)
def collector_as_before() -> Iterator[None]:
    before = gc.get_threshold()
    yield
    gc.unfreeze()
    gc.set_threshold(*before)


async def test_once_started_a_server_looks_for_cycles_seldom_and_not_through_what_starting_made(
    capsys: pytest.CaptureFixture[str],
) -> None:
    config = uvicorn.Config(Response(), host="127.0.0.1", port=0, lifespan="off", log_config=None)
    config.load()
    server = Server(config)
    server.lifespan = config.lifespan_class(config)
    await server.startup()
    try:
        assert gc.get_threshold()[0] == NEW_OBJECTS
        assert gc.get_freeze_count() > 10_000
    finally:
        await server.shutdown()
    assert capsys.readouterr().out.startswith("Rejoinder is at http://127.0.0.1:")
