"""The process around the app: what it does once when it has started."""

import gc
import resource
from collections.abc import Iterator

import pytest
import uvicorn
from starlette.responses import Response

from rejoinder.server import NEW_OBJECTS, Server, open_many_files


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


@pytest.fixture
def few_files() -> Iterator[int]:
    """The most that may be allowed. As on many machines, 1,024 are until that is asked for."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (1_024, before[1]))
    yield before[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_as_many_files_may_be_open_as_the_system_allows(few_files: int, caplog: pytest.LogCaptureFixture) -> None:
    open_many_files(1_000)
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == few_files
    assert not caplog.records


def test_streams_for_which_too_few_files_may_be_open_are_told_at_the_start(
    few_files: int, caplog: pytest.LogCaptureFixture
) -> None:
    open_many_files(1 << 40)
    [record] = caplog.records
    assert "REJOINDER_MAX_STREAMS is 1099511627776" in record.getMessage()
