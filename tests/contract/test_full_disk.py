"""A service whose disk is really full for a while: it says so, loses nothing, and goes on by itself when there is room.

The disk is a small one in memory that this test mounts for itself, in a namespace of its own (Linux). That files may not grow
is tested everywhere, and each time, in `tests/stores`.
"""

import subprocess
import sys
from pathlib import Path

import pytest

SMALL = 'mount -t tmpfs -o size=3m tmpfs "$0" && exec "$@"'
ALONE = ["unshare", "--user", "--map-root-user", "--mount", "--", "sh", "-c", SMALL]


def may_mount(disk: Path) -> bool:
    try:
        return subprocess.run([*ALONE, str(disk), "true"], capture_output=True, check=False, timeout=20).returncode == 0
    except FileNotFoundError:
        return False


@pytest.mark.full
@pytest.mark.crash
@pytest.mark.parametrize("url", ["sqlite:///{}/chat.db", "files:///{}/chats", "files:///{}/chats?fsync=second"])
def test_a_full_disk_is_told_and_gone_when_there_is_room_again(tmp_path: Path, url: str) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    if not may_mount(disk):
        pytest.skip("no disk may be mounted here")
    child = [sys.executable, str(Path(__file__).with_name("full_disk.py")), str(disk), url.format(disk)]
    done = subprocess.run([*ALONE, str(disk), *child], capture_output=True, text=True, check=False, timeout=55)
    assert done.returncode == 0, done.stdout + done.stderr
