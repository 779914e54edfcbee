"""A Firefox without a window, driven by its own protocol (Marionette): Playwright drives none but its own."""

import json
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

PREFERENCES = """
user_pref("marionette.port", 0);
user_pref("ui.primaryPointerCapabilities", 6);
"""
"""A free port, which it writes down in its profile; and a mouse, without which Enter would make a new line."""

LOG = """
  const told = Services.console.getMessageArray().filter((message) => message instanceof Ci.nsIScriptError);
  return told.filter(({ sourceName }) => sourceName.startsWith(arguments[0])).map(({ errorMessage }) => errorMessage);
"""


class Firefox:
    def __init__(self, port: int) -> None:
        self._line = socket.create_connection(("127.0.0.1", port), timeout=60)
        self._read()  # it says who it is
        self("WebDriver:NewSession")

    def __call__(self, command: str, **parameters: Any) -> Any:
        """What a command gives. Raises RuntimeError where it fails."""
        said = json.dumps([0, 1, command, parameters]).encode()
        self._line.sendall(b"%d:%s" % (len(said), said))
        _, _, error, result = self._read()
        if error:
            raise RuntimeError(f"{command}: {error['message']}")
        return result.get("value") if isinstance(result, dict) and set(result) == {"value"} else result

    def close(self) -> None:
        self._line.close()

    def _read(self) -> Any:
        with self._line.makefile("rb", buffering=0) as file:
            length = b""
            while (digit := file.read(1)) != b":":
                length += digit
            return json.loads(self._line.recv(int(length), socket.MSG_WAITALL))

    def evaluate(self, script: str, *arguments: Any) -> Any:
        return self("WebDriver:ExecuteScript", script=script, args=arguments)

    def wait_until(self, expression: str) -> None:
        deadline = time.monotonic() + 15
        while not self.evaluate(f"return {expression}"):
            assert time.monotonic() < deadline, f"never: {expression}"
            time.sleep(0.05)

    def press(self, selector: str, keys: str) -> None:
        element = self("WebDriver:FindElement", using="css selector", value=selector)
        self("WebDriver:ElementSendKeys", id=next(iter(element.values())), text=keys)

    def complaints(self, url: str) -> list[str]:
        """What the browser said of the pages below a URL: errors nobody caught, what a policy forbade, what it does not understand."""
        self("Marionette:SetContext", value="chrome")
        told: list[str] = self.evaluate(LOG, url)
        self("Marionette:SetContext", value="content")
        return told


@contextmanager
def firefox(path: Path, profile: Path) -> Iterator[Firefox]:
    (profile / "user.js").write_text(PREFERENCES)
    command: list[str | Path] = [
        path,
        "--headless",
        "--marionette",
        "--remote-allow-system-access",
        "--profile",
        profile,
        "--no-remote",
    ]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        port = profile / "MarionetteActivePort"
        deadline = time.monotonic() + 60
        while not port.exists() or not port.read_text():
            assert process.poll() is None and time.monotonic() < deadline, "Firefox does not start"
            time.sleep(0.05)
        with closing(Firefox(int(port.read_text()))) as browser:
            yield browser
    finally:
        process.terminate()
        process.wait(30)
