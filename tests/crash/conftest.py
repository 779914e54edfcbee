"""What a crash test found is told at the end of the run, since it is a measurement as well."""

from collections.abc import Callable

import pytest

pytest.register_assert_rewrite("crashes", "people", "promises", "witnesses")  # so that they say what they found

TOLD = pytest.StashKey[list[str]]()


@pytest.fixture
def tell(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """A line for the summary of the run."""
    return request.config.stash.setdefault(TOLD, []).append


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if lines := config.stash.get(TOLD, []):
        terminalreporter.section("crashes")
        for line in lines:
            terminalreporter.write_line(line)
