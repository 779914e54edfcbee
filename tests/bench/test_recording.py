"""The benchmark counts only what was relayed whole: what it says of an answer is true, however the bytes came."""

import msgspec
import pytest
from bench.figures import quantile
from bench.load import Recording
from bench.recording import seen

HEAD = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
END = b"0\r\n\r\n"


def text_of(data: bytes) -> str:
    return msgspec.json.decode(data, type=dict[str, str]).get("text", "")


def chunk(*texts: str, line: str = "\n") -> bytes:
    data = "".join(f'event: x{line}data: {{"text":"{text}"}}{line}{line}' for text in texts).encode()
    return b"%x\r\n%b\r\n" % (len(data), data)


def recorded(*reads: bytes) -> Recording:
    """Asked at 1.0, read at 2.0, 3.0, …"""
    return Recording(asked=1.0, reads=[(2.0 + number, data) for number, data in enumerate(reads)], ended=True)


WHOLE = HEAD + chunk("t0", " t1") + chunk(" t2", line="\r\n") + END


def test_each_token_has_the_time_of_its_read() -> None:
    answer = seen(recorded(HEAD, chunk("t0"), chunk(" t1 t2") + chunk(" t3"), END), 4, text_of)
    assert (answer.fault, answer.first, answer.gaps, answer.last) == ("", 2.0, [1.0, 0.0, 0.0], 4.0)


@pytest.mark.parametrize("at", range(1, len(WHOLE)))
def test_it_does_not_matter_where_the_bytes_are_cut(at: int) -> None:
    answer = seen(recorded(WHOLE[:at], WHOLE[at:]), 3, text_of)
    assert answer.fault == "" and len(answer.gaps) == 2


@pytest.mark.parametrize(
    "texts", [("t0", " t2"), ("t0", " t1", " t1", " t2"), ("t0", " t2", " t1"), ("t0", " t1"), ()], ids=str
)
def test_tokens_that_are_missing_doubled_or_moved_are_a_fault(texts: tuple[str, ...]) -> None:
    assert "tokens" in seen(recorded(HEAD, chunk(*texts), END), 3, text_of).fault


def test_an_answer_that_broke_off_is_a_fault_whatever_it_brought() -> None:
    broken = recorded(WHOLE)
    broken.fault = "the connection was closed"
    assert seen(broken, 3, text_of).fault == "the connection was closed"
    late = recorded(WHOLE)
    late.ended = False
    assert seen(late, 3, text_of).fault
    assert seen(recorded(HEAD, b"no chunk"), 3, text_of).fault
    assert seen(Recording(asked=1.0), 3, text_of).first is None


def test_a_quantile_is_one_of_the_values() -> None:
    values = [5.0, 1.0, 4.0, 2.0, 3.0]
    assert [quantile(values, share) for share in (0.2, 0.5, 0.99, 1)] == [1.0, 3.0, 5.0, 5.0]
    assert quantile([], 0.5) == 0
