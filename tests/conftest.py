"""What holds for all tests: two options, no settings of this machine, and in CI nothing is left out."""

import os
from collections.abc import Generator

import pytest
from hypothesis import settings

OWN_SERVER = {"start_server", "start_process"}
"""Fixtures of tests that need a server with settings of their own, which a server by URL cannot have."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--full", action="store_true", help="the long forms of tests that have one")
    parser.addoption(
        "--url",
        metavar="URL",
        help="run the HTTP contract tests that any server can pass (they use the fixture `base_url`), and no others, "
        "against the server at this URL; it must run the scripted model with the limits at their defaults (`rejoinder "
        "serve --store memory: --model scripted:echo`), since the tests tell the model what to say",
    )


def pytest_configure() -> None:
    for name in list(os.environ):
        # What names a server for the tests is no setting of the service.
        if name.startswith(("REJOINDER_", "OPENAI_")) and not name.startswith("REJOINDER_TEST_"):
            del os.environ[name]
    # The tests start hundreds of processes: each would else compile the package anew.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    if not _in_ci():  # where hypothesis has a profile of its own, without a limit too
        settings.register_profile("unhurried", deadline=None)  # a busy machine is no fault of what is tested
        settings.load_profile("unhurried")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselects and never skips: what is not asked for was not left out."""
    left_out = [item for item in items if not _is_wanted(config, item)]
    items[:] = [item for item in items if _is_wanted(config, item)]
    config.hook.pytest_deselected(items=left_out)


def _is_wanted(config: pytest.Config, item: pytest.Item) -> bool:
    if item.get_closest_marker("full") and not config.getoption("--full"):
        return False
    fixtures = set(getattr(item, "fixturenames", ()))
    return not config.getoption("--url") or ("base_url" in fixtures and not fixtures & OWN_SERVER)


# --- in CI a test that did not run is a test that failed ---------------------------------------------------------


def _in_ci() -> bool:
    return os.environ.get("CI", "").lower() in ("1", "true")


def _fail_where_left_out(report: pytest.TestReport | pytest.CollectReport, name: str) -> None:
    """Skips, expected failures and unexpected passes alike, and modules that skip themselves."""
    if not _in_ci() or not (report.skipped or hasattr(report, "wasxfail")):
        return
    why = getattr(report, "wasxfail", None) or (report.longrepr[2] if isinstance(report.longrepr, tuple) else "")
    report.outcome = "failed"
    report.longrepr = f"LEFT OUT IN CI: {name}: {why or 'no reason given'} (CI=true allows neither skip nor xfail)"
    if hasattr(report, "wasxfail"):
        del report.wasxfail


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    _fail_where_left_out(report, item.nodeid)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    _fail_where_left_out(report, collector.nodeid)
    return report
