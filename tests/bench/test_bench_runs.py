"""The benchmark works: everyone who can take part relays every token, and the figures are there. Never a time."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tools import ToolMissing, nginx

ROOT = Path(__file__).parents[2]
SECONDS = 45.0  # a machine that is busy; alone it takes four

SIGNALS = (signal.SIGINT, signal.SIGTERM)
STORES = ("rejoinder-postgres", "rejoinder-redis")
RELAYS = ("upstream", "nginx", "rejoinder", "usual")


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that everyone may enter: where root runs it, Postgres runs as somebody else."""
    with tempfile.TemporaryDirectory(prefix="rejoinder-test-bench-") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def started(folder: Path, *options: str) -> "subprocess.Popen[str]":
    """The benchmark, whose own temporary folder lies in this one, so that one can see what it leaves."""
    (folder / "tmp").mkdir()
    return subprocess.Popen(
        [sys.executable, "-u", "-m", "bench", *options],
        cwd=ROOT,
        env=os.environ | {"TMPDIR": str(folder / "tmp")},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,  # a group of its own, as a terminal gives it
    )


def finished(process: "subprocess.Popen[str]") -> str:
    try:
        return process.communicate(timeout=SECONDS)[0]
    except subprocess.TimeoutExpired:
        process.terminate()  # so that it stops what it has started
        pytest.fail(f"it did not end: {process.communicate()[0]}")


def can_run() -> set[str]:
    try:
        nginx()
    except ToolMissing:
        return {*RELAYS} - {"nginx"}
    return {*RELAYS}


def those_of(folder: Path) -> list[str]:
    """The commands of the processes that a run started: by its folder, in their environment or in their command."""
    found = []
    for each in Path("/proc").glob("[0-9]*"):
        try:
            environment, command = (each / "environ").read_bytes(), (each / "cmdline").read_bytes()
        except OSError:  # it has ended
            continue
        if str(folder / "tmp").encode() in environment + command:
            found.append(command.replace(b"\0", b" ").decode())
    return found


def check_nothing_is_left(folder: Path) -> None:
    assert those_of(folder) == []
    assert list((folder / "tmp").iterdir()) == []


@pytest.mark.skipif(sys.platform != "linux", reason="the benchmark reads the CPU of processes from Linux")
class TestBench:
    def test_everyone_relays_every_token(self, tmp_path: Path) -> None:
        path = tmp_path / "result.json"
        process = started(tmp_path, "relay", "--quick", "--json", str(path))
        said = finished(process)
        assert process.returncode == 0, said
        document = json.loads(path.read_text(encoding="utf-8"))
        check_rounds(document["rounds"], can_run())
        check_rows(document["rows"], said)
        assert set(document["left_out"]) == {*RELAYS} - can_run()
        parameters = document["parameters"]["relay"]
        assert parameters["rounds"] == 1
        assert [(load["streams"], load["tokens"], load["pace"]) for load in parameters["loads"]] == [
            (1, 10, 0),
            (3, 10, 0),
        ]
        assert document["machine"]["cores"] and document["machine"]["packages"]["fastapi"]
        check_nothing_is_left(tmp_path)

    @pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
    def test_a_run_that_is_interrupted_while_it_starts_stops_what_it_started(
        self, tmp_path: Path, number: signal.Signals
    ) -> None:
        process = started(tmp_path, "relay", "--only", "rejoinder")
        deadline = time.monotonic() + SECONDS
        while len(those_of(tmp_path)) < 3:  # itself, the upstream and the service
            assert process.poll() is None and time.monotonic() < deadline, process.communicate()[0]
            time.sleep(0.02)
        check_interrupted(process, number, tmp_path)

    @pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
    def test_a_run_that_is_interrupted_while_it_measures_stops_what_it_started(
        self, tmp_path: Path, number: signal.Signals
    ) -> None:
        options = ("--streams", "2", "--pace", "0.001", "--rounds", "50", "--only", "nginx,rejoinder")
        process = started(tmp_path, "relay", *options)
        assert process.stdout is not None
        assert any("round 1 of 50" in line for line in process.stdout)  # the next round is running
        check_interrupted(process, number, tmp_path)

    def test_a_store_that_grows_is_measured(self, tmp_path: Path) -> None:
        path = tmp_path / "result.json"
        sizes_up_to = ("--history", "300", "--messages", "300", "--sessions", "200")
        process = started(tmp_path, "growth", "--quick", *sizes_up_to, "--json", str(path))
        said = finished(process)
        assert process.returncode == 0, said
        document = json.loads(path.read_text(encoding="utf-8"))
        assert {(each["part"], each["rows"]) for each in document["figures"]} == {
            *((part, rows) for part in ("history", "search") for rows in (100, 300)),
            *(("list", rows) for rows in (100, 200)),
        }
        assert all(0 < each["p50"] <= each["p95"] <= each["most"] for each in document["figures"])
        sizes = document["bytes"]
        assert sizes["text"] < sizes["after"] < sizes["before"]
        assert all(f"| {each['what']} | {each['rows']:,} |" in said for each in document["figures"])
        check_nothing_is_left(tmp_path)

    def test_an_option_that_it_does_not_have_is_refused(self, tmp_path: Path) -> None:
        process = started(tmp_path, "relay", "--only", "apache")
        assert "'apache' is none of upstream, nginx, rejoinder" in finished(process)
        assert process.returncode == 2

    def test_many_readers_are_measured(self, tmp_path: Path) -> None:
        path = tmp_path / "result.json"
        process = started(tmp_path, "readers", "--quick", "--rounds", "1", "--json", str(path))
        said = finished(process)
        assert process.returncode == 0, said
        found = json.loads(path.read_text(encoding="utf-8"))["readers"]
        assert [each["readers"] for each in found["readings"]] == [1, 4]
        for each in found["readings"]:
            # Ten tokens and the end, for each of them; tokens that a busy machine committed together share a frame.
            assert 2 * each["readers"] <= each["frames"] <= 11 * each["readers"]
            assert each["faults"] == [] and each["cpu"] > 0
        assert len(found["costs"]) == 1
        assert 0 < found["idle"]["at_start"]["own"] < found["idle"]["at_start"]["resident"]
        assert 0 < found["unread"]["before"] <= found["unread"]["peak"]
        assert found["unread"]["readers"] == 4 and found["unread"]["faults"] == []
        assert "4 readers of one reply: CPU a reader and frame" in said
        check_nothing_is_left(tmp_path)

    @pytest.mark.parametrize("store", STORES)
    def test_the_service_is_measured_on_other_stores(self, open_folder: Path, store: str) -> None:
        path = open_folder / "result.json"
        process = started(open_folder, "burst", "--quick", "--streams", "2", "--only", store, "--json", str(path))
        said = finished(process)
        assert process.returncode == 0, said
        document = json.loads(path.read_text(encoding="utf-8"))
        assert document["left_out"] == {}
        taken = {each["contestant"]: each for each in document["rounds"]}
        assert set(taken) == {"upstream", store}
        assert taken[store]["whole"] == 2 and taken[store]["store_core"] > 0
        check_nothing_is_left(open_folder)


def check_interrupted(process: "subprocess.Popen[str]", number: signal.Signals, folder: Path) -> None:
    process.send_signal(number)
    said = finished(process)
    assert process.returncode == 128 + number, said
    assert "Traceback" not in said
    check_nothing_is_left(folder)


def check_rounds(rounds: Sequence[dict[str, Any]], expected: set[str]) -> None:
    assert {(each["streams"], each["contestant"]) for each in rounds} == {
        (n, name) for n in (1, 3) for name in expected
    }
    for each in rounds:
        assert each["faults"] == [] and each["whole"] == each["streams"], each
        assert each["tokens"] == 10 * each["streams"]
        assert each["firsts"] >= 20
        assert each["cpu"] > 0 and each["first_p50"] > 0


def check_rows(rows: Sequence[dict[str, Any]], said: str) -> None:
    for row in rows:
        (line,) = (line for line in shown_for(said, row["streams"]) if line.startswith(f"| {row['contestant']} "))
        assert f" {row['cpu']:,.0f} |" in line or f" {row['cpu']:.1f} |" in line
        rivals = {"nginx", "usual"} & can_run() if row["contestant"] != "upstream" else set()
        assert set(row["to"]) == rivals
        assert all(ratio == 1 for name, ratio in row["to"].items() if name == row["contestant"])


def shown_for(said: str, streams: int) -> list[str]:
    """The lines of the table for so many streams."""
    _, _, table = said.partition(f"| {streams} stream")
    return table.partition("\n\n")[0].splitlines()
