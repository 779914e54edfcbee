"""The short way to a reader: taken where the server offers it, and nowhere else."""

from collections.abc import Callable
from typing import Literal

import pytest

from rejoinder.api.connection import Wire
from serving import ServerThread
from wire import script


@pytest.mark.parametrize(("http", "direct"), [("httptools", True), ("h11", False)])
def test_frames_go_straight_to_the_connection_where_that_is_known(
    http: Literal["httptools", "h11"],
    direct: bool,
    start_server: Callable[..., ServerThread],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    taken: list[bool] = []
    write = Wire.write

    def counted(wire: Wire, body: bytes) -> bool:
        taken.append(write(wire, body))
        return taken[-1]

    monkeypatch.setattr(Wire, "write", counted)
    api = start_server(http=http).api
    sid = api.session()
    with api.send_streamed(sid, script("tokens=10 pace=0.03")) as stream:
        frames = stream.rest()
    assert [frame.type for frame in frames].count("message.delta") >= 5
    assert len(taken) >= 5
    assert set(taken) == {direct}
