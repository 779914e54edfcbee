"""What readers are given while a commit is told is written once all have been told, and a fault is one reader's own."""

from types import SimpleNamespace
from typing import Any

import pytest

from rejoinder.api.connection import AT_ONCE, BUFFERED, CYCLE, Outbox, Wire


class Transport:
    def __init__(self, *, broken: bool = False) -> None:
        self.written: list[bytes] = []
        self.aborted = False
        self.waiting = 0
        self._broken = broken

    def write(self, data: bytes) -> None:
        if self._broken:
            raise RuntimeError("of one reader")
        self.written.append(data)

    def abort(self) -> None:
        self.aborted = True

    def is_closing(self) -> bool:
        return self.aborted

    def get_write_buffer_size(self) -> int:
        return self.waiting

    def set_write_buffer_limits(self, high: int) -> None:
        pass


def cycle_of(transport: Transport) -> Any:
    return SimpleNamespace(
        chunked_encoding=True,
        flow=SimpleNamespace(write_paused=False),
        transport=transport,
    )


def test_what_is_posted_is_written_when_it_is_sent_in_order_and_once() -> None:
    outbox, transports = Outbox(), [Transport(), Transport()]
    wires = [Wire({CYCLE: cycle_of(transport)}, outbox) for transport in transports]
    assert [wire.post(body) for body in (b"a", b"b") for wire in wires] == [True] * 4
    assert not any(transport.written for transport in transports)
    outbox.send()
    outbox.send()
    assert [transport.written for transport in transports] == [[b"1\r\na\r\n", b"1\r\nb\r\n"]] * 2


def test_a_reader_that_cannot_be_written_to_is_cut_and_the_others_are_served(caplog: pytest.LogCaptureFixture) -> None:
    outbox, transports = Outbox(), [Transport(), Transport(broken=True), Transport()]
    for transport in transports:
        assert Wire({CYCLE: cycle_of(transport)}, outbox).post(b"a")
    outbox.send()
    assert [transport.written for transport in transports] == [[b"1\r\na\r\n"], [], [b"1\r\na\r\n"]]
    assert [transport.aborted for transport in transports] == [False, True, False]
    assert "could not be written to" in caplog.text


@pytest.mark.parametrize("way", ["write", "post"])
@pytest.mark.parametrize("why", ["full", "closing", "long", "another server"])
def test_what_cannot_be_sent_past_asgi_is_not_taken(why: str, way: str) -> None:
    outbox, transport = Outbox(), Transport()
    wire = Wire({CYCLE: cycle_of(transport) if why != "another server" else None}, outbox)
    transport.waiting = BUFFERED + 1 if why == "full" else BUFFERED
    transport.aborted = why == "closing"
    body = b"a" * (AT_ONCE + 1 if why == "long" else 1)
    assert not getattr(wire, way)(body)
    outbox.send()
    assert not transport.written


def test_what_is_written_is_sent_at_once() -> None:
    outbox, transport = Outbox(), Transport()
    transport.waiting = BUFFERED
    assert Wire({CYCLE: cycle_of(transport)}, outbox).write(b"a" * AT_ONCE)
    assert transport.written == [b"8000\r\n" + b"a" * AT_ONCE + b"\r\n"]
