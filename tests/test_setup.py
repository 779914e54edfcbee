"""What the set-up promises: exact and whole locks, without addresses, and one version of the model wherever it is named."""

import json
import re
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


def test_tests_run_on_the_very_packages_that_the_service_runs_on() -> None:
    assert pins("requirements.lock").items() <= pins("requirements-test.lock").items()


def test_what_is_required_is_locked() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    required = [*project["project"]["dependencies"], *project["dependency-groups"]["test"]]
    locked = pins("requirements-test.lock")
    assert not [name for name in required if re.split(r"[\[<>=~;! ]", name, maxsplit=1)[0] not in locked]


def test_the_model_has_one_version_everywhere() -> None:
    locked = pins("requirements.lock") | pins("requirements-model.lock")
    for pinned in (model_files.ENGINE, model_files.WEIGHTS, model_files.OPENMP):
        name, _, version = pinned.partition("==")
        assert locked[name] == version
