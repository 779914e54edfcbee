"""The command at a terminal, as a person sees it and types."""

import contextlib
import os
import pty
import select
import signal
import subprocess
import sys
import time

COMMAND = [sys.executable, "-m", "rejoinder"]


class Screen:
    """A person at a terminal."""

    def __init__(self, *arguments: str, **environment: str) -> None:
        self.shown = ""
        master, slave = pty.openpty()
        self._master = master
        self.process = subprocess.Popen(
            [*COMMAND, *arguments],
            env=os.environ | environment,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
        )
        os.close(slave)

    def until(self, text: str, seconds: float = 20) -> None:
        """Reads until the text is shown, behind what was waited for before."""
        deadline = time.monotonic() + seconds
        while text not in self.shown:
            assert time.monotonic() < deadline, f"{text!r} is not in {self.shown!r}"
            if select.select([self._master], [], [], 0.1)[0]:
                self.shown += os.read(self._master, 65536).decode(errors="replace")
        self.shown = self.shown.partition(text)[2]

    def type(self, text: str) -> None:
        os.write(self._master, text.encode())

    def press_ctrl_c(self) -> None:
        # The terminal would send it to the foreground group; the session has no controlling terminal here.
        self.process.send_signal(signal.SIGINT)

    def press_ctrl_c_until(self, text: str) -> None:
        """At the prompt: the line editor misses one that comes in the very moment in which it begins to wait."""
        for _ in range(10):
            self.press_ctrl_c()
            with contextlib.suppress(AssertionError):
                return self.until(text, 1)
        raise AssertionError(f"{text!r} is not in {self.shown!r}")

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(20)
        os.close(self._master)
