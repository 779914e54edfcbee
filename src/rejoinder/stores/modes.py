"""Who may read what a store keeps on this machine: the user that runs the service, and nobody else.

So it is made. What is there keeps its mode, and whoever wants others to read it may change that.
"""

import os
import stat
from pathlib import Path

FILE = 0o600
FOLDER = 0o700


def take_over(fd: int, path: Path) -> None:
    """Gives a file that is to take the place of another the mode of that one. Where there is none, it keeps its own."""
    try:
        os.fchmod(fd, stat.S_IMODE(os.stat(path).st_mode))  # noqa: PTH116  # all calls of the disk are of `os`
    except FileNotFoundError:
        return
