"""A contestant that gives up is reported and left alone, and costs the others nothing."""

from typing import Any, cast

import pytest
from bench.figures import Used, round_of
from bench.loads import Load
from bench.processes import Failed
from bench.recording import Seen
from bench.run import Relayed, Server

from bench import run

LOAD = Load(streams=50, only=("upstream", "nginx", "rejoinder"))


def servers(*names: str) -> list[Server]:
    return [Server(name, cast("Any", None), cast("Any", None)) for name in names]


def turns(monkeypatch: pytest.MonkeyPatch, fails: tuple[str, int]) -> list[tuple[str, int]]:
    """Those that were begun, of which this one fails."""
    begun: list[tuple[str, int]] = []

    def one(server: Server, load: Load, number: int, _: object) -> Any:
        begun.append((server.name, number))
        if begun[-1] == fails:
            raise Failed("it ended")
        answer = Seen(first=0.1, gaps=[], last=1, fault="")
        return round_of(server.name, number, load, [answer], [], Used(1, 1, 1, 1, 1), 0, 1)

    monkeypatch.setattr(run, "_one", one)
    return begun


@pytest.mark.parametrize("number", [0, 1, 2])
def test_who_gives_up_is_out_for_the_rest_of_the_load(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], number: int
) -> None:
    begun, relayed = turns(monkeypatch, ("nginx", number)), Relayed()
    run._put_on(LOAD, 2, servers("upstream", "nginx", "rejoinder", "usual"), relayed)
    assert [at for name, at in begun if name == "nginx"] == list(range(number + 1))
    for other in ("upstream", "rejoinder"):
        assert [at for name, at in begun if name == other] == [0, 1, 2]
    assert "usual" not in dict(begun)
    assert [(each.contestant, each.round) for each in relayed.rounds] == [
        (name, at) for name, at in begun if at and (name, at) != ("nginx", number)
    ]
    assert relayed.failed == {f"nginx with {LOAD.name}": "it ended"} and relayed.faulty()
    assert "*** nginx FAILED: it ended ***" in capsys.readouterr().out


def test_without_the_upstream_nothing_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    turns(monkeypatch, ("upstream", 1))
    with pytest.raises(Failed):
        run._put_on(LOAD, 2, servers("upstream", "nginx"), Relayed())


def test_streams_run_together_for_half_of_a_reply_and_a_burst_begins_at_once() -> None:
    assert Load(streams=50).arrival == 0.5
    assert Load(streams=1_000, tokens=200, pace=0.02).arrival == 2
    assert Load(streams=32, tokens=1_000, pace=0).arrival == 0
