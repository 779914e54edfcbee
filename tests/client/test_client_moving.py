"""Files of sessions and the client: whole, or tried again, and an import is never done twice."""

import hashlib
import io

import msgspec
import pytest

from rejoinder import errors
from rejoinder.client import Client, ConnectionLost, UnexpectedAnswer
from rejoinder.entities import Session
from scripted_server import Scene, answer, broken, hang_up, playing, stream

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(20)]

SID = f"ses_{1:032x}"
JSONL = "application/jsonl"
LINES = [b'{"rejoinder":1}\n', b'{"message":{}}\n']
END = msgspec.json.encode({"messages": 1, "sha256": hashlib.sha256(b"".join(LINES)).hexdigest()}) + b"\n"
SESSION = Session(id=SID, created_at="2026-01-01T00:00:00.000Z", updated_at="2026-01-01T00:00:00.000Z")
WHOLE = stream(*LINES, END, kind=JSONL)


CUTS: dict[str, Scene] = {
    "no answer": hang_up,
    "the connection breaks": broken(*LINES, kind=JSONL),
    "a proxy makes a clean end of it": stream(*LINES, kind=JSONL),
    "in the middle of the last line": stream(*LINES, END[:9], kind=JSONL),
    "a line is missing": stream(LINES[0], END, kind=JSONL),
    "another line": stream(LINES[0], b'{"message":[]}\n', END, kind=JSONL),
    "later": answer(503, {"code": "store_unavailable", "detail": "x"}, {"retry-after": "0"}),
}


@pytest.mark.parametrize("cut", CUTS.values(), ids=CUTS.keys())
async def test_an_export_that_is_not_whole_is_fetched_again(cut: Scene) -> None:
    file = io.BytesIO(b"what was there before, and is longer than what comes" * 10)
    async with playing(cut, WHOLE) as server, Client(server.url) as client:
        await client.export_session(SID, file)
    assert file.getvalue() == b"".join((*LINES, END))
    assert [asked.path for asked in server.asked] == [f"/v1/sessions/{SID}/export"] * 2


async def test_what_is_never_whole_is_given_up() -> None:
    async with playing(*[broken(*LINES, kind=JSONL)] * 9) as server, Client(server.url, patience=0.5) as client:
        with pytest.raises(ConnectionLost):
            await client.export_session(SID, io.BytesIO())


async def test_what_is_refused_or_no_export_is_not_asked_again() -> None:
    missing = answer(404, {"code": "session_not_found", "detail": "x"})
    async with playing(missing, stream(*LINES, END, kind="text/html")) as server, Client(server.url) as client:
        with pytest.raises(errors.SessionNotFound):
            await client.export_session(SID, io.BytesIO())
        with pytest.raises(UnexpectedAnswer, match="text/html"):
            await client.export_session(SID, io.BytesIO())
    assert len(server.asked) == 2


async def test_an_import_whose_answer_was_lost_is_asked_for_again_as_the_same() -> None:
    file = io.BytesIO(b"x" * 200_000)
    async with playing(hang_up, answer(201, SESSION)) as server, Client(server.url) as client:
        assert await client.import_session(file) == SESSION
    one, two = server.asked
    assert one.body == two.body == file.getvalue()
    assert one.headers["idempotency-key"] == two.headers["idempotency-key"]
    assert one.headers["content-type"] == JSONL


async def test_two_imports_are_two_requests() -> None:
    taken = answer(409, {"code": "already_exists", "detail": "x"})
    async with playing(answer(201, SESSION), taken) as server, Client(server.url) as client:
        await client.import_session(io.BytesIO(b"x"))
        with pytest.raises(errors.AlreadyExists):
            await client.import_session(io.BytesIO(b"x"))
    one, two = server.asked
    assert one.headers["idempotency-key"] != two.headers["idempotency-key"]
