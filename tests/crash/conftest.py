"""What a crash test found is told at the end of the run, since it is a measurement as well."""

from collections.abc import Callable

import pytest

pytest.register_assert_rewrite("crashes", "people", "promises", "witnesses")  # so that they say what they found

TOLD = "told"


@pytest.fixture
def tell(record_property: Callable[[str, object], None]) -> Callable[[str], None]:
    """A line for the summary of the run, which may be another process: a test's properties go there with its report."""
    return lambda line: record_property(TOLD, line)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    reports = [report for kind in ("passed", "failed") for report in terminalreporter.stats.get(kind, [])]
    if lines := [line for report in reports for name, line in report.user_properties if name == TOLD]:
        terminalreporter.section("crashes")
        for line in lines:
            terminalreporter.write_line(line)
