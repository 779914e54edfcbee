"""Words of others in the log: they make no line of their own, and no terminal obeys them."""

import io
import logging
from collections.abc import Iterator

import pytest

from rejoinder.logs import SafeLines
from rejoinder.server import log_to_stderr

FORGED = "\r\n2026-11-27 12:00:00,000 ERROR rejoinder.api: the key of the owner is sk-1\x1b[2J\u2028\u202e\x9b1m"


@pytest.fixture
def written() -> Iterator[io.StringIO]:
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    handler.setFormatter(SafeLines("%(levelname)s %(name)s: %(message)s"))
    log = logging.getLogger("test.logs")
    log.addHandler(handler)
    log.propagate = False
    yield written
    log.removeHandler(handler)
    log.propagate = True


def fail() -> None:
    raise ValueError(FORGED)


def test_a_name_with_ends_of_lines_is_told_on_one(written: io.StringIO) -> None:
    logging.getLogger("test.logs").warning("the model %s is asked – é 🏮", "a" + FORGED)
    assert written.getvalue() == (
        "WARNING test.logs: the model a\\r\\n2026-11-27 12:00:00,000 ERROR rejoinder.api: the key of the owner is sk-1"
        "\\x1b[2J\\u2028\\u202e\\x9b1m is asked – é 🏮\n"
    )


def test_a_traceback_keeps_its_lines_and_none_of_them_looks_like_another_event(written: io.StringIO) -> None:
    try:
        fail()
    except ValueError:
        logging.getLogger("test.logs").exception("it failed\n")
    first, *lines = written.getvalue().splitlines()
    assert first == "ERROR test.logs: it failed"
    assert len(lines) > 3 and all(line.startswith("  | ") for line in lines)
    assert lines[0] == "  | Traceback (most recent call last):"
    assert lines[-1].startswith("  | 2026-11-27 12:00:00,000 ERROR rejoinder.api") and "\x1b" not in lines[-1]


def test_the_service_writes_its_log_so() -> None:
    root = logging.getLogger()
    before, root.handlers, level = root.handlers, [], root.level
    try:
        log_to_stderr()
        assert [type(handler.formatter) for handler in root.handlers] == [SafeLines]
    finally:
        root.handlers = before
        root.setLevel(level)
