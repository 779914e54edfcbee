"""The processes that are measured: started, found to listen, weighed, and stopped whatever happens."""

import contextlib
import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[1]
START_SECONDS = 30.0
STOP_SECONDS = 10.0
ENDPOINT = re.compile(r"http://127\.0\.0\.1:(\d+)")
"""How the servers say where they listen."""


class Failed(Exception):
    """The benchmark cannot go on, and the text says why."""


class NotHere(Exception):
    """A contestant cannot take part on this machine, and the text says why."""


class Process:
    """A server on a loopback port, with all its children. Its output goes to a file in the folder of the run."""

    def __init__(self, popen: "subprocess.Popen[bytes]", log: Path) -> None:
        self._popen = popen
        self._log = log
        self.port = 0
        self.store_pid = 0
        """The server of its store, where it has one of its own: 0 where it has none."""

    def family(self) -> list[int]:
        """Its id and those of all that descend from it, to be handed to `cpu_of`. Raises Failed where it has ended."""
        self._check()
        return _tree(self._popen.pid)

    def store_family(self) -> list[int]:
        """The same of the server of its store."""
        return _tree(self.store_pid) if self.store_pid else []

    def listening(self, port: int = 0) -> None:
        """Returns once it listens: on this port, or else where it says itself. Raises Failed."""
        deadline = time.monotonic() + START_SECONDS
        while not self.port:
            self._check()
            if time.monotonic() > deadline:
                raise Failed(f"{self._log.stem} does not listen:\n{self._said()}")
            found = ENDPOINT.search(self._said())
            if port and _answers(port):
                self.port = port
            elif not port and found and _answers(int(found[1])):
                self.port = int(found[1])
            else:
                time.sleep(0.02)

    def stop(self) -> None:
        self._popen.terminate()
        try:
            self._popen.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            print(f"{self._log.stem} did not stop when told, and was killed")
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._popen.pid, signal.SIGKILL)  # whatever is left of its group
            self._popen.wait()

    def _check(self) -> None:
        if self._popen.poll() is not None:
            raise Failed(f"{self._log.stem} ended with {self._popen.returncode}:\n{self._said()}")

    def _said(self) -> str:
        return self._log.read_text(errors="replace")[-4_000:]


@contextmanager
def running(
    name: str, command: Sequence[str | Path], folder: Path, variables: Mapping[str, str] | None = None, port: int = 0
) -> Iterator[Process]:
    """A process that listens, until this is left. It has a group of its own, so that a Ctrl-C reaches us first."""
    log = folder / f"{name}.log"
    process: Process | None = None
    try:
        with log.open("wb") as output, signals_held_back():
            popen = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=ROOT,
                env={**_neutral(), **(variables or {})},
                start_new_session=True,
            )
            process = Process(popen, log)
        process.listening(port)
        yield process
    finally:
        if process is not None:
            process.stop()


@contextmanager
def signals_held_back() -> Iterator[None]:
    """Until this is left: an interruption between the start of a process and our knowing it would leave it behind."""
    came: list[int] = []
    handlers = {
        each: signal.signal(each, lambda number, _: came.append(number)) for each in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for each, handler in handlers.items():
            signal.signal(each, handler)
        for number in came:  # also where what was begun has failed: a Ctrl-C reaches what it starts as well
            signal.raise_signal(number)


def cpu_of(pids: Sequence[int]) -> float:
    """Seconds of CPU that these processes have used, in all their threads. Cheap, so that it disturbs nothing."""
    return sum(map(_used, pids))


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as line:
        port: int = line.getsockname()[1]
    return port


def _neutral() -> dict[str, str]:
    """Our environment without what would change a contestant."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("REJOINDER_", "OPENAI_"))}


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def _tree(pid: int) -> list[int]:
    """A process and all that descend from it."""
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            with contextlib.suppress(OSError):  # it ended meanwhile
                children.setdefault(int(_stat(int(folder.name))[1]), []).append(int(folder.name))
    found = [pid]
    for each in found:  # it grows while it is walked
        found += children.get(each, [])
    return found


def _used(pid: int) -> float:
    """0 where it is no more."""
    try:
        # clock_getcpuclockid(3), which Python does not have. It counts nanoseconds; /proc counts hundredths of a second.
        return time.clock_gettime(~pid << 3 | 2)
    except OSError:
        pass
    try:
        fields = _stat(pid)
    except OSError:
        return 0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _stat(pid: int) -> list[str]:
    """The fields of proc(5)'s stat behind the name, which may hold anything: state, parent, …"""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
