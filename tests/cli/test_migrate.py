"""`rejoinder migrate` brings whatever store is named up to date, and says so."""

import subprocess
from collections.abc import Callable
from urllib.parse import urlsplit

import pytest

from postgres_server import databases

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.mark.parametrize("kind", ["memory", "sqlite", "postgresql"])
def test_a_store_is_brought_up_to_date_as_often_as_one_likes(run: Run, kind: str) -> None:
    url = {"memory": "memory:", "sqlite": "sqlite:///chat.db"}.get(kind) or databases().new()
    for _ in range(2):
        done = run("migrate", REJOINDER_STORE=url)
        assert (done.returncode, done.stdout) == (0, f"The store ({kind}) is up to date.\n"), done.stderr
    if kind == "postgresql":
        assert databases().run("SELECT version FROM schema_version", url=url)[0][0] >= 1


def test_what_keeps_it_from_that_is_one_sentence_without_the_password(run: Run) -> None:
    parts = urlsplit(databases().url)
    wrong = parts._replace(netloc=f"{parts.username}:hunter2@{parts.hostname}:{parts.port}").geturl()
    done = run("migrate", REJOINDER_STORE=wrong)
    assert done.returncode == 1
    assert done.stderr.startswith("rejoinder: ") and done.stderr.count("\n") == 1
    assert "hunter2" not in done.stderr + done.stdout
