"""In CI a test that was skipped, or was expected to fail, fails the run: `tests/conftest.py` sees to it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

CONFTEST = Path(__file__).parent / "conftest.py"

CASES = {
    "a skip": "import pytest\ndef test_it(): pytest.skip('why')",
    "a skip of a whole module": "import pytest\npytest.skip('why', allow_module_level=True)",
    "a skip by a mark": "import pytest\n@pytest.mark.skip(reason='why')\ndef test_it(): pass",
    "an expected failure": "import pytest\n@pytest.mark.xfail(reason='why')\ndef test_it(): assert 0",
    "an unexpected pass": "import pytest\n@pytest.mark.xfail(reason='why', strict=False)\ndef test_it(): pass",
}


def run(folder: Path, test: str, ci: str) -> "subprocess.CompletedProcess[str]":
    (folder / "conftest.py").write_text(CONFTEST.read_text(encoding="utf-8"), encoding="utf-8")
    (folder / "pytest.ini").write_text("[pytest]\nmarkers =\n    full: takes long\n", encoding="utf-8")
    (folder / "test_it.py").write_text(f"{test}\ndef test_good(): pass\n", encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", str(folder)]
    environment = os.environ | {"CI": ci, "PYTHONWARNINGS": "ignore"}
    return subprocess.run(command, env=environment, cwd=folder, check=False, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("test", CASES.values(), ids=CASES.keys())
def test_what_is_left_out_fails_in_ci(tmp_path: Path, test: str) -> None:
    done = run(tmp_path, test, "true")
    assert done.returncode != 0
    assert "LEFT OUT IN CI" in done.stdout and "why" in done.stdout


def test_what_is_left_out_is_allowed_elsewhere(tmp_path: Path) -> None:
    assert run(tmp_path, CASES["a skip"], "").returncode == 0


def test_a_long_test_is_deselected_and_that_is_no_skip(tmp_path: Path) -> None:
    done = run(tmp_path, "import pytest\n@pytest.mark.full\ndef test_it(): assert 0", "true")
    assert done.returncode == 0
    assert "1 deselected" in done.stdout
