"""Servers for the contract tests: one for all, in process or by `--url`, and others with settings of their own."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from serving import ServerProcess, ServerThread, processes, serving
from wire import Api


@pytest.fixture(scope="session")
def base_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """The server that all contract tests share: each makes sessions of its own."""
    url = request.config.getoption("--url")
    if url:
        yield url
    else:
        with serving() as server:
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
