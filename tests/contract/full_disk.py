"""What `test_full_disk.py` runs beside its small disk: `python full_disk.py FOLDER STORE`."""

import os
import signal
import sys
import tempfile
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1] / "servers"))

from rejoinder.llm.scripted_answer import full_text
from retold import check_retold
from serving import ServerProcess, processes
from strict_sse import text_of
from wire import Api, check_problem, eventually, script, session_id, slow

WORDS = "tokens=100 pace=0.02"


def take_all_room(ballast: Path) -> None:
    """To the last byte."""
    fd = os.open(ballast, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    for size in (1 << 16, 4096, 64, 1):
        try:
            while os.write(fd, b"x" * size):
                pass
        except OSError:
            continue
    os.close(fd)


def makes(api: Api, made: list[str]) -> bool:
    """Whether a session could be made. What is refused is refused clearly."""
    sid = session_id()
    answer = api.ask("POST", "/sessions", json={"id": sid})
    if answer.status_code == 201:
        made.append(sid)
        return True
    check_problem(answer, 503, "store_unavailable")
    return False


def fill_while_it_serves(api: Api, ballast: Path, made: list[str]) -> None:
    sid = api.session()
    made.append(sid)
    reply = api.send_async(sid, script(WORDS))["reply"]["id"]
    with api.follow(sid, reply) as stream:
        stream.until("message.delta")
        take_all_room(ballast)
        # What little room it had taken before may last for a few.
        eventually(lambda: not makes(api, made))
        check_problem(api.ask("GET", "//readyz"), 503, "store_unavailable")
        assert api.read_session(sid)["id"] == sid, "it can be read"
        ballast.unlink()
        eventually(lambda: makes(api, made))
        frames = stream.rest()
    assert text_of(frames, reply) == full_text(WORDS) == api.message(sid, reply)["content"]
    check_retold(api, sid)


def kill_while_it_is_full(server: ServerProcess, ballast: Path, made: list[str]) -> None:
    """It does not start without room, says why, and finds everything where there is some."""
    sid = server.api.session()
    made.append(sid)
    reply = server.api.send_async(sid, slow())["reply"]["id"]
    with server.api.follow(sid, reply) as stream:
        stream.until("message.delta")
        take_all_room(ballast)
    eventually(lambda: not makes(server.api, made))
    server.signal(signal.SIGKILL)
    server.ended()
    with pytest.raises(AssertionError, match="could not be opened") as told:
        server.start()
    assert "Traceback" not in str(told.value)
    ballast.unlink()
    api = server.start()
    assert api.ended(sid, reply)["status"] == "interrupted"
    for each in made:
        assert api.read_session(each)["id"] == each
    check_retold(api, sid)


def main(disk: Path, store: str) -> None:
    made: list[str] = []
    with tempfile.TemporaryDirectory() as logs, processes(Path(logs)) as start:
        server = start(store=store, store_patience=0.3)
        for _ in range(2):
            fill_while_it_serves(server.api, disk / "ballast", made)
        kill_while_it_is_full(server, disk / "ballast", made)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
