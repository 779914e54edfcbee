"""What the set-up promises: exact and whole locks, without addresses, and one version of the model wherever it is named."""

import json
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from rejoinder.llm import model_files

ROOT = Path(__file__).parent.parent
LOCKS = ("requirements.lock", "requirements-test.lock", "requirements-model.lock")


def pins(name: str) -> dict[str, str]:
    return dict(re.findall(r"^([\w.-]+)==([\w.]+)", (ROOT / name).read_text(), re.MULTILINE))


@pytest.mark.parametrize("name", [*LOCKS, "tests/node/package-lock.json"])
def test_a_lock_names_no_address_and_no_place(name: str) -> None:
    assert not re.search(
        r"://|--(extra-)?index|--find-links|resolved|/(home|root|tmp|Users)/", (ROOT / name).read_text()
    )


@pytest.mark.parametrize("name", LOCKS)
def test_every_locked_package_has_hashes(name: str) -> None:
    packages = re.split(r"^(?=[a-z])", (ROOT / name).read_text(), flags=re.MULTILINE)[1:]
    assert packages
    assert not [package for package in packages if "--hash=sha256:" not in package]


def test_the_packages_for_node_have_hashes() -> None:
    packages = json.loads((ROOT / "tests/node/package-lock.json").read_text())["packages"]
    assert all(package["integrity"].startswith("sha512-") for name, package in packages.items() if name)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """One that is set up, and whose Python says what it is asked to run."""
    for name in ("dev", "pyproject.toml", *LOCKS):
        shutil.copy(ROOT / name, tmp_path)
    python = tmp_path / ".venv/bin/python"
    python.parent.mkdir(parents=True)
    python.write_text('#!/bin/sh\necho "$@"\n')
    python.chmod(0o755)
    asked = "import runpy; print(runpy.run_path('dev')['fingerprint']())"
    known = subprocess.check_output([sys.executable, "-c", asked], cwd=tmp_path, text=True)
    (tmp_path / ".venv/rejoinder-stamp").write_text(f"test {known.strip()}")
    return tmp_path


@pytest.mark.parametrize(
    ("given", "run"),
    [
        (["bench"], "-m bench"),
        (["bench", "growth", "--help"], "-m bench growth --help"),
        (["bench", "relay", "-h"], "-m bench relay -h"),
        (["bench", "relay", "--only", "rejoinder"], "-m bench relay --only rejoinder"),
        (["bench", "--quick"], "-m bench --quick"),
        (["bench", "--", "growth", "--help"], "-m bench growth --help"),
        (["run", "--", "--help"], "-m rejoinder serve --help"),
    ],
)
def test_what_stands_behind_a_command_reaches_it(checkout: Path, given: list[str], run: str) -> None:
    said = subprocess.check_output([sys.executable, checkout / "dev", *given], text=True, timeout=50)
    assert said == f"{run}\n"


def test_help_of_a_command_is_its_own(checkout: Path) -> None:
    for given in (["--help"], ["bench", "--help"], ["run", "-h"]):
        assert subprocess.check_output([sys.executable, checkout / "dev", *given], text=True).startswith("usage: ./dev")


def test_tests_run_on_the_very_packages_that_the_service_runs_on() -> None:
    assert pins("requirements.lock").items() <= pins("requirements-test.lock").items()


def test_what_is_required_is_locked() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    required = [*project["project"]["dependencies"], *project["dependency-groups"]["test"]]
    locked = pins("requirements-test.lock")
    assert not [name for name in required if re.split(r"[\[<>=~;! ]", name, maxsplit=1)[0] not in locked]


def test_the_package_has_the_hashes_of_the_model_that_are_locked() -> None:
    for package, lock in (
        (model_files.ENGINE, "requirements.lock"),
        (model_files.WEIGHTS, "requirements-model.lock"),
        (model_files.OPENMP, "requirements-model.lock"),
    ):
        _, told = model_files.lock_of(package).read_text().split("\n", 1)
        assert told.startswith(package) and told.count("--hash=sha256:") >= 2
        assert told.rstrip() in (ROOT / lock).read_text()


def test_the_model_has_one_version_everywhere() -> None:
    locked = pins("requirements.lock") | pins("requirements-model.lock")
    for pinned in (model_files.ENGINE, model_files.WEIGHTS, model_files.OPENMP):
        name, _, version = pinned.partition("==")
        assert locked[name] == version
