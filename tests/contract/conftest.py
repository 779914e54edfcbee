"""Servers for the contract tests: one for all, in process or by `--url`, and others with settings of their own."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from serving import ServerProcess, ServerThread, processes, serving
from store_urls import STORE_URLS
from wire import Api

OVER_PLAIN_ASGI = ("test_http_streams", "test_http_streams_at_the_limit", "test_http_framing", "test_http_resumption")
"""Modules about streams, which also run where a server offers nothing but ASGI."""

ON_EVERY_STORE = ("test_http_sending", "test_http_history", "test_http_streams")
"""Modules that run on every store each time; with `--full` all do, which takes some minutes more."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """What any server can be held to, a server on each kind of store is held to."""
    if "base_url" in metafunc.fixturenames:
        option, module = metafunc.config.getoption, metafunc.module.__name__
        stores = list(STORE_URLS) if option("--full") or module in ON_EVERY_STORE else ["memory"]
        if module in OVER_PLAIN_ASGI:
            stores.append("plain-asgi")
        metafunc.parametrize("base_url", ["url"] if option("--url") else stores, indirect=True, scope="session")


@pytest.fixture(scope="session")
def base_url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The server that all contract tests share: each makes sessions of its own."""
    if url := request.config.getoption("--url"):
        yield url
    elif request.param == "plain-asgi":
        with serving(http="h11") as server:
            yield server.api.url
    else:
        with serving(store=STORE_URLS[request.param](tmp_path_factory.mktemp(request.param))) as server:
            yield server.api.url


@pytest.fixture(scope="session")
def api(base_url: str) -> Iterator[Api]:
    api = Api(base_url)
    yield api
    api.close()


@pytest.fixture
def sid(api: Api) -> str:
    """A new session."""
    return api.session()


@pytest.fixture
def start_server() -> Iterator[Callable[..., ServerThread]]:
    """Starts servers in this process, each with settings of its own."""
    with ExitStack() as stack:

        def start(**settings: Any) -> ServerThread:
            return stack.enter_context(serving(**settings))

        yield start


@pytest.fixture
def start_process(tmp_path: Path) -> Iterator[Callable[..., ServerProcess]]:
    """Starts servers as processes, on one SQLite file in the test's folder unless told otherwise."""
    with processes(tmp_path) as start:
        yield start
