"""The client loses nothing on bad days: each scene is one that a network, a proxy or a restart plays."""

import asyncio
import time
from contextlib import aclosing
from typing import Any

import httpx2
import msgspec
import pytest

from rejoinder import errors
from rejoinder.api.schemas import ToolResultsBody, UserMessageBody
from rejoinder.client import Client, ConnectionLost, MessageFields, Received, Told, UnexpectedAnswer, reading
from rejoinder.client.answers import error_of
from rejoinder.entities import Message, Session, Status
from rejoinder.events import (
    Event,
    Fact,
    MessageCreated,
    MessageDelta,
    MessageEnded,
    MessageReset,
    MessageStarted,
    SessionCreated,
    SessionDeleted,
    Snapshot,
    WritingReply,
    WritingSession,
    draft,
    frame,
    overview_frame,
    told_frame,
)
from rejoinder.fold import BrokenLog, fold
from scripted_server import Asked, ScriptedServer, answer, broken, hang_up, playing, silent, stream

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(20)]

SID = f"ses_{1:032x}"
ASKED = Message(
    id=f"msg_{1:032x}", session_id=SID, role="user", content="Hello?", created_at="2026-01-01T00:00:00.000Z"
)
REPLY = Message(
    id=f"msg_{2:032x}",
    session_id=SID,
    parent_id=ASKED.id,
    role="assistant",
    status=Status.STREAMING,
    created_at="2026-01-01T00:00:00.000Z",
)
TEXT = "Guten Tag, 世界 𝄞!"
LOCATION = f"/v1/sessions/{SID}/messages/{REPLY.id}/events"


def delta(offset: int, text: str) -> MessageDelta:
    return MessageDelta(message_id=REPLY.id, part="content", offset=offset, text=text)


def call(index: int, offset: int, text: str) -> MessageDelta:
    return MessageDelta(message_id=REPLY.id, part="tool_call", index=index, offset=offset, text=text)


def ended(text: str = TEXT) -> MessageEnded:
    return MessageEnded(message=msgspec.structs.replace(REPLY, content=text, status=Status.COMPLETED))


TURN: list[Fact] = [
    MessageCreated(message=ASKED),
    MessageCreated(message=REPLY),
    MessageStarted(message_id=REPLY.id, attempt=1, model="m"),
    *(delta(at, TEXT[at : at + 3]) for at in range(0, len(TEXT), 3)),
    ended(),
]


def framed(facts: list[Fact], first: int = 2) -> list[bytes]:
    """The facts as frames, numbered from `first` on."""
    return [frame(_event(seq, fact)) for seq, fact in enumerate(facts, first)]


def _event(seq: int, fact: Fact) -> Event:
    made = draft(fact)
    return Event(seq, made.type, made.message_id, made.data)


FRAMES = framed(TURN)


@pytest.fixture(autouse=True)
def _no_long_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "FIRST_WAIT", 0.01)


async def sent(server: ScriptedServer, **options: Any) -> list[Received]:
    async with Client(server.url, **options) as client:
        return [received async for received in client.send(SID, "Hello?", ASKED.id)]


def text_of(turn: list[Received]) -> str:
    return "".join(each.fact.text for each in turn if isinstance(each.fact, MessageDelta))


def assert_whole(turn: list[Received]) -> None:
    assert [each.fact for each in turn] == TURN
    assert [each.seq for each in turn] == list(range(2, 2 + len(TURN)))
    assert text_of(turn) == TEXT


def asks(server: ScriptedServer) -> list[tuple[str, str, str | None]]:
    return [(asked.method, asked.path, asked.headers.get("last-event-id")) for asked in server.asked]


POST = ("POST", f"/v1/sessions/{SID}/messages", None)


async def test_a_turn_is_read_to_its_end() -> None:
    async with playing(stream(*FRAMES, location=LOCATION)) as server:
        assert_whole(await sent(server))
        assert asks(server) == [POST]
        assert server.asked[0].body == {"id": ASKED.id, "content": "Hello?"}
        assert server.asked[0].headers["accept"] == "text/event-stream"


@pytest.mark.parametrize("cut", range(1, len(FRAMES)))
@pytest.mark.parametrize("how", [broken, stream])
async def test_a_stream_that_ends_before_the_reply_is_resumed_behind_the_last_event(how: Any, cut: int) -> None:
    scenes = [how(*FRAMES[:cut], location=LOCATION), stream(*FRAMES[cut:])]
    async with playing(*scenes) as server:
        assert_whole(await sent(server))
        assert asks(server) == [POST, ("GET", LOCATION, str(1 + cut))]


@pytest.mark.parametrize("before", ["", "/under", "{url}", "{url}/under"])
async def test_it_reads_on_where_the_reply_is_whatever_proxies_write_before_it(before: str) -> None:
    async with playing() as server, Client(f"{server.url}/under") as client:
        location = before.format(url=server.url) + LOCATION
        server.play(broken(*FRAMES[:3], location=location), stream(*FRAMES[3:]))
        assert_whole([received async for received in client.send(SID, "Hello?", ASKED.id)])
        assert [asked.path for asked in server.asked] == [f"/under{POST[1]}", f"/under{LOCATION}"]


async def test_a_frame_that_was_cut_is_read_anew() -> None:
    whole = b"".join(FRAMES[:4])
    async with playing(broken(whole[:-1], location=LOCATION), stream(*FRAMES[3:])) as server:
        assert_whole(await sent(server))
        assert asks(server)[1] == ("GET", LOCATION, "4")


@pytest.mark.parametrize("lost", [hang_up, broken(location=LOCATION), broken(b":\n", location=LOCATION)])
async def test_a_send_whose_answer_was_lost_is_sent_again_under_the_same_id(lost: Any) -> None:
    async with playing(lost, stream(*FRAMES, location=LOCATION)) as server:
        assert_whole(await sent(server))
        assert asks(server) == [POST, POST]
        assert server.asked[0].body == server.asked[1].body


async def test_an_answer_that_says_later_is_waited_out_as_long_as_it_asks() -> None:
    later = answer(503, {"code": "store_unavailable", "detail": "Not now."}, {"retry-after": "1"})
    async with playing(later, stream(*FRAMES, location=LOCATION)) as server:
        began = time.monotonic()
        assert_whole(await sent(server))
        assert time.monotonic() - began >= 1


async def test_a_proxy_that_has_no_server_behind_it_is_waited_out() -> None:
    async with playing(answer(502), answer(504), answer(522), stream(*FRAMES, location=LOCATION)) as server:
        assert_whole(await sent(server))


async def test_a_message_that_was_too_slow_on_its_way_is_sent_again() -> None:
    slow = answer(408, {"code": "request_timeout", "detail": "The body did not come."})
    async with playing(slow, stream(*FRAMES, location=LOCATION)) as server:
        assert_whole(await sent(server))


@pytest.mark.parametrize(
    ("asked", "seconds"),
    [
        ("7", 7),
        ("Sat, 28 Nov 2026 01:00:07 GMT", 7),
        ("Sat, 28 Nov 2026 00:00:00 GMT", 0),
        ("Sat, 28 Nov 2026 01:00:07 -0000", 0),  # a time without a zone
        ("soon", 0),
        ("9" * 5000, 0),
    ],
)
async def test_a_wait_may_be_asked_for_as_a_date_by_the_clock_of_the_server(asked: str, seconds: int) -> None:
    headers = {"retry-after": asked, "date": "Sat, 28 Nov 2026 01:00:00 GMT"}
    error = error_of(httpx2.Response(429, headers=headers, request=httpx2.Request("GET", "http://x")))
    assert isinstance(error, errors.Unavailable) and error.retry_after == seconds


async def test_the_wait_is_what_the_stream_asks_for() -> None:
    asking = broken(b"retry: 700\n" + FRAMES[0], location=LOCATION)
    async with playing(asking, stream(*FRAMES[1:])) as server:
        waits: list[float] = []
        assert_whole(await sent(server, on_wait=lambda _, seconds: waits.append(seconds)))
        assert len(waits) == 1
        assert 0.7 <= waits[0] <= 1.1


async def test_waits_grow_and_differ_while_nothing_good_comes() -> None:
    waits: list[float] = []
    async with playing(*[hang_up] * 5, stream(*FRAMES, location=LOCATION)) as server:
        assert_whole(await sent(server, on_wait=lambda _, seconds: waits.append(seconds)))
    assert [0.01 * 2**tried <= wait <= 0.015 * 2**tried for tried, wait in enumerate(waits)] == [True] * 5
    assert len({wait / 2**tried for tried, wait in enumerate(waits)}) == 5


async def test_a_patience_of_days_outlasts_any_number_of_tries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "LONGEST_WAIT", 0.01)
    patience = reading.Patience(3 * 24 * 3_600)
    patience.tried = 5_000
    await patience.wait(OSError("Still away."))
    assert patience.tried == 5_001


async def test_a_stream_without_a_sign_of_life_is_given_up_and_resumed() -> None:
    async with playing(silent(*FRAMES[:3], location=LOCATION), stream(*FRAMES[3:])) as server:
        assert_whole(await sent(server, silence=0.2))
        assert asks(server)[1] == ("GET", LOCATION, "4")


async def test_heartbeats_keep_a_silent_stream() -> None:
    beating = silent(*FRAMES[:3], location=LOCATION, heartbeat=0.1, beats=6)
    async with playing(beating, stream(*FRAMES[3:])) as server:
        began = time.monotonic()
        assert_whole(await sent(server, silence=0.3))
        assert time.monotonic() - began > 0.6  # all of its beats were heard


async def test_patience_has_an_end() -> None:
    async with playing() as server:
        gone = server.url
    async with Client(gone, patience=0.2) as client:
        began = time.monotonic()
        with pytest.raises(ConnectionLost, match=r"Gave up after 0\.2 s"):
            [received async for received in client.send(SID, "Hello?")]
        assert 0.2 <= time.monotonic() - began < 2
        with pytest.raises(ConnectionLost):
            await client.session(SID)


async def test_patience_begins_anew_with_every_event() -> None:
    scenes = [broken(frame, location=LOCATION) for frame in FRAMES]
    async with playing(*scenes) as server:
        assert_whole(await sent(server, patience=0.01))


async def test_a_stream_that_never_says_anything_is_no_good_sign() -> None:
    async with playing(*[broken(location=LOCATION)] * 50) as server:
        with pytest.raises(ConnectionLost):
            await sent(server, patience=0.3)
        assert 2 < len(server.asked) < 10


@pytest.mark.parametrize(
    "facts",
    [
        pytest.param([*TURN[:3], delta(0, "Gut"), delta(4, "n")], id="missing"),
        pytest.param([*TURN[:3], delta(0, "Gut"), delta(0, "Gut")], id="doubled"),
        pytest.param([*TURN[:3], delta(1, "u")], id="missing at the start"),
        pytest.param([*TURN[:3], call(0, 0, "{}"), call(1, 2, "}"), ended()], id="missing in a call"),
        pytest.param([*TURN[:3], delta(0, "Gut"), delta(3, "en"), ended("Gut")], id="shown and then not kept"),
        pytest.param(
            [*TURN[:4], MessageReset(message_id=REPLY.id, attempt=2, reason="x"), delta(3, "en")], id="behind a reset"
        ),
    ],
)
async def test_text_that_is_missing_or_doubled_is_never_passed_over(facts: list[Fact]) -> None:
    async with playing(stream(*framed(facts), location=LOCATION)) as server:
        with pytest.raises(BrokenLog):
            await sent(server)


@pytest.mark.parametrize("again", [2, 3])
async def test_an_event_that_comes_again_is_not_shown_twice(again: int) -> None:
    async with playing(broken(*FRAMES[:3], location=LOCATION), stream(*FRAMES[again:])) as server:
        if again == 3:
            assert_whole(await sent(server))
        else:
            with pytest.raises(BrokenLog, match="Event 4 came behind event 4"):
                await sent(server)


async def test_behind_a_reset_the_text_begins_anew() -> None:
    facts = [*TURN[:5], MessageReset(message_id=REPLY.id, attempt=2, reason="x"), *TURN[3:]]
    async with playing(stream(*framed(facts), location=LOCATION)) as server:
        assert [received.fact for received in await sent(server)] == facts


async def test_a_reader_in_the_middle_takes_the_first_offset_and_proves_the_next() -> None:
    async with playing(stream(*FRAMES[5:]), stream(FRAMES[4], FRAMES[6])) as server, Client(server.url) as client:
        rest = [received async for received in client.follow_reply(SID, REPLY.id, after=6)]
        assert text_of(rest) == TEXT[6:]
        assert asks(server) == [("GET", LOCATION, "6")]
        with pytest.raises(BrokenLog):
            [received async for received in client.follow_reply(SID, REPLY.id, after=5)]


async def test_a_reply_may_be_followed_from_its_start() -> None:
    async with playing(stream(*FRAMES[1:])) as server, Client(server.url) as client:
        assert [received.fact async for received in client.follow_reply(SID, REPLY.id)] == TURN[1:]
        assert asks(server) == [("GET", LOCATION, None)]


async def test_nothing_follows_a_reply_that_had_ended() -> None:
    async with playing(answer(204)) as server, Client(server.url) as client:
        assert [received async for received in client.follow_reply(SID, REPLY.id, after=99)] == []


async def test_an_end_that_was_never_told_is_an_error() -> None:
    async with playing(broken(*FRAMES[:4], location=LOCATION), answer(204)) as server:
        with pytest.raises(UnexpectedAnswer):
            await sent(server)


async def test_events_of_a_later_version_are_passed_over_and_yet_counted() -> None:
    news = b'event: message.sung\ndata: {"seq":7}\nid: 7\n\n'
    later = framed(TURN[5:], 8)
    async with playing(broken(*FRAMES[:5], news, location=LOCATION), stream(*later)) as server:
        assert text_of(await sent(server)) == TEXT
        assert asks(server)[1] == ("GET", LOCATION, "7")


async def test_a_session_is_followed_for_ever_and_folds_to_its_history() -> None:
    session = Session(id=SID, created_at="2026-01-01T00:00:00.000Z", updated_at="2026-01-01T00:00:00.000Z")
    frames = framed([SessionCreated(session=session), *TURN], 1)
    deleted = answer(404, {"code": "session_not_found", "detail": "There is no such session."})
    seen: list[Received] = []
    async with playing(broken(*frames[:6]), stream(*frames[6:]), deleted) as server, Client(server.url) as client:
        with pytest.raises(errors.SessionNotFound, match="no such session"):  # noqa: PT012  # what it yields before counts
            async for received in client.follow_session(SID):
                seen.append(received)  # noqa: PERF401  # what came before the error counts
        assert [asked[2] for asked in asks(server)] == ["0", "6", str(len(frames))]
    history = fold(received.event for received in seen)
    assert history.messages[REPLY.id].content == TEXT
    assert history.session.head == REPLY.id


@pytest.mark.parametrize(
    ("status", "problem", "kind"),
    [
        (404, {"code": "session_not_found"}, errors.SessionNotFound),
        (404, {"code": "message_not_found"}, errors.MessageNotFound),
        (409, {"code": "not_a_reply"}, errors.NotAReply),
        (422, {"code": "idempotency_mismatch"}, errors.IdempotencyMismatch),
        (400, {"code": "invalid_cursor"}, errors.InvalidCursor),
        (413, {"code": "payload_too_large"}, errors.RejoinderError),
        (500, {"code": "internal_error"}, errors.RejoinderError),
    ],
)
async def test_a_refusal_is_raised_as_the_error_that_has_its_code(status: int, problem: Any, kind: type) -> None:
    scene = answer(status, {**problem, "detail": "A sentence."})
    async with playing(scene, scene) as server, Client(server.url) as client:
        for call in (client.session(SID), anext(client.send(SID, "Hello?"))):
            with pytest.raises(errors.RejoinderError) as raised:
                await call
            assert type(raised.value) is kind
            assert raised.value.code == problem["code"]
            assert str(raised.value) == "A sentence."
        assert len(server.asked) == 2


async def test_a_path_that_is_not_there_is_named() -> None:
    scene = answer(404, {"code": "not_found", "detail": "Not Found"})
    async with playing(scene) as server, Client(f"{server.url}/v1") as client:
        with pytest.raises(errors.NotFound) as refused:
            await client.session(SID)
        assert str(refused.value) == f"GET {server.url}/v1/v1/sessions/{SID} was answered by 404."


async def test_where_a_redirect_points_to_is_told() -> None:
    async with playing(answer(308, headers={"location": "https://chat.example/v1"})) as server:
        with pytest.raises(UnexpectedAnswer, match=r"was answered by 308, which points to https://chat\.example/v1\."):
            await sent(server)


async def test_refusals_carry_what_the_server_tells_with_them() -> None:
    busy = answer(409, {"code": "session_busy", "detail": "Busy.", "status": 409, "reply_id": REPLY.id, "events": "/e"})
    wrong = answer(422, {"code": "invalid_request", "detail": "No.", "errors": [{"loc": "body", "message": "m"}]})
    async with playing(busy, wrong) as server, Client(server.url) as client:
        with pytest.raises(errors.SessionBusy) as refused:
            await client.start(SID, "Hello?")
        assert refused.value.extra == {"reply_id": REPLY.id, "events": "/e"}
        with pytest.raises(errors.Invalid) as invalid:
            await client.start(SID, "")
        assert invalid.value.errors == [{"loc": "body", "message": "m"}]


@pytest.mark.parametrize(
    "scene",
    [
        answer(200, {"some": "thing"}),
        answer(404, {"error": "not ours"}),
        answer(301, headers={"location": "/elsewhere"}),
        answer(204),
        stream(b"<html>", kind="text/html"),
        stream(*FRAMES),  # without Location
        stream(b'event: message.delta\ndata: {"seq":2}\nid: 2\n\n', location=LOCATION),
        stream(b"event: message.delta\ndata: {}\n\n", location=LOCATION),
    ],
)
async def test_what_is_no_rejoinder_is_said_at_once(scene: Any) -> None:
    async with playing(scene) as server:
        with pytest.raises(UnexpectedAnswer):
            await sent(server)
        assert len(server.asked) == 1


async def test_a_call_that_is_answered_by_something_else_is_said_at_once() -> None:
    scenes = [answer(200, {"some": "thing"}), stream(b"<html>", kind="text/html"), answer(204)]
    async with playing(*scenes) as server, Client(server.url) as client:
        for _ in range(2):
            with pytest.raises(UnexpectedAnswer):
                await client.session(SID)
        with pytest.raises(UnexpectedAnswer, match="nothing follows"):  # a session never ends
            await anext(client.follow_session(SID))


async def test_an_answer_that_was_cut_or_garbled_on_its_way_is_asked_for_again() -> None:
    half = stream(b'{"id": "ses', kind="application/json")  # to which a proxy made a clean end
    garbled = answer(200, session_json(), {"content-encoding": "gzip"})
    async with playing(half, garbled, answer(200, session_json())) as server, Client(server.url) as client:
        assert (await client.session(SID)).id == SID


async def test_an_address_without_its_scheme_is_told_at_once() -> None:
    for wrong in ("localhost:8000", "127.0.0.1:8000", "", "ftp://x"):
        with pytest.raises(ValueError, match="http"):
            Client(wrong)


async def test_leaving_closes_the_connection() -> None:
    left = asyncio.Event()

    async def scene(send: Any, receive: Any) -> None:
        await silent(*FRAMES[:3], location=LOCATION)(send, receive)
        left.set()

    async with playing(scene) as server, Client(server.url) as client:
        async with aclosing(client.send(SID, "Hello?")) as turn:
            await anext(turn)
        await asyncio.wait_for(left.wait(), 2)


def session_json(**fields: Any) -> dict[str, Any]:
    made = Session(id=SID, created_at="2026-01-01T00:00:00.000Z", updated_at="2026-01-01T00:00:00.000Z", **fields)
    return msgspec.to_builtins(made)  # type: ignore[no-any-return]


async def test_a_history_of_many_pages_is_as_of_one_seq_and_of_one_branch() -> None:
    pages = [
        {"data": msgspec.to_builtins([ASKED]), "has_more": True, "as_of": 9},
        {"data": msgspec.to_builtins([ended().message]), "has_more": False, "as_of": 9},
    ]
    session = answer(200, session_json(head=REPLY.id))
    async with (
        playing(session, answer(200, pages[0]), answer(200, pages[1]), session) as server,
        Client(server.url) as client,
    ):
        history = await client.history(SID, page=1)
    assert history.as_of == 9
    assert list(history.messages) == [ASKED.id, REPLY.id]
    assert [asked.query for asked in server.asked if asked.query] == [
        f"limit=1&branch={REPLY.id}",
        f"limit=1&branch={REPLY.id}&as_of=9&after={ASKED.id}",
    ]


async def test_all_sessions_are_listed_over_pages() -> None:
    pages = [
        {"data": [session_json(title="a")], "has_more": True, "next": "x y"},
        {"data": [session_json(title="b")], "has_more": False, "next": None},
    ]
    async with playing(answer(200, pages[0]), answer(200, pages[1])) as server, Client(server.url) as client:
        assert [session.title async for session in client.sessions(page=1)] == ["a", "b"]
        assert [asked.query for asked in server.asked] == ["limit=1", "limit=1&after=x+y"]


async def test_a_session_is_made_once_though_the_answer_was_lost() -> None:
    async with playing(hang_up, answer(201, session_json())) as server, Client(server.url) as client:
        await client.create_session(title="A title", metadata={"a": "b"})
        first, second = server.asked
        assert first.body == second.body
        assert first.body | {"id": ""} == {"id": "", "title": "A title", "metadata": {"a": "b"}}


async def test_a_change_says_only_what_is_to_change() -> None:
    bearer = {"authorization": "Bearer key\n"}  # as it was read from a file
    answers = (answer(200, session_json()), answer(200, session_json()))
    async with playing(*answers) as server, Client(server.url, headers=bearer) as client:
        await client.rename(SID, None)
        await client.set_head(SID, REPLY.id)
    assert [asked.body for asked in server.asked] == [{"title": None}, {"head": REPLY.id}]
    assert server.asked[0].headers["authorization"] == "Bearer key"


async def test_a_delete_whose_answer_was_lost_is_done() -> None:
    gone = answer(404, {"code": "session_not_found", "detail": "There is no such session."})
    async with playing(hang_up, gone, gone) as server, Client(server.url) as client:
        await client.delete(SID)
        with pytest.raises(errors.SessionNotFound):
            await client.delete(SID)


async def test_starting_asks_for_a_receipt_and_stopping_for_the_end() -> None:
    turn = {"message": msgspec.to_builtins(ASKED), "reply": msgspec.to_builtins(REPLY)}
    end = msgspec.to_builtins(ended().message)
    async with playing(answer(202, turn), answer(200, end), answer(200, end)) as server, Client(server.url) as client:
        assert (await client.start(SID, "Hello?", ASKED.id)).reply == REPLY
        assert (await client.stop(SID, REPLY.id)).content == TEXT
        assert (await client.message(SID, REPLY.id)).content == TEXT
        first, second, _ = server.asked
    assert isinstance(first, Asked)
    assert (first.headers["prefer"], first.headers["accept"]) == ("respond-async", "application/json")
    assert (second.method, second.path) == ("POST", f"/v1/sessions/{SID}/messages/{REPLY.id}/stop")


async def test_what_goes_with_a_message_is_sent_as_it_is() -> None:
    turn = {"message": msgspec.to_builtins(ASKED), "reply": msgspec.to_builtins(REPLY)}
    async with playing(answer(202, turn), answer(202, turn)) as server, Client(server.url) as client:
        await client.start(SID, "Hello?", ASKED.id, if_busy="queue")
        await client.start(SID, None, ASKED.id, role="tool", results=[{"tool_call_id": "a", "content": "b"}])
        first, second = (asked.body for asked in server.asked)
    assert first == {"id": ASKED.id, "content": "Hello?", "if_busy": "queue"}
    assert second == {"id": ASKED.id, "role": "tool", "results": [{"tool_call_id": "a", "content": "b"}]}


async def test_all_that_the_interface_takes_with_a_message_has_a_name() -> None:
    taken = UserMessageBody.model_fields.keys() | ToolResultsBody.model_fields.keys()
    assert MessageFields.__annotations__.keys() == taken - {"id", "content"}


# --- any request -------------------------------------------------------------------------------------------------


async def test_any_request_returns_its_json() -> None:
    async with (
        playing(answer(200, {"data": [1]}), answer(204), answer(200, [])) as server,
        Client(server.url) as client,
    ):
        assert await client.request("GET", "/v1/search", query={"q": "a b", "limit": 2}) == {"data": [1]}
        assert await client.request("delete", f"/v1/sessions/{SID}") is None
        assert await client.request("PATCH", f"/v1/sessions/{SID}", {"title": "x"}, headers={"X-Mine": "1"}) == []
        first, second, third = server.asked
    assert (first.method, first.path, first.query) == ("GET", "/v1/search", "q=a+b&limit=2")
    assert (second.method, "idempotency-key" in second.headers) == ("DELETE", False)
    assert (third.method, third.body, third.headers["x-mine"]) == ("PATCH", {"title": "x"}, "1")


async def test_any_request_raises_as_every_call_does() -> None:
    full = answer(409, {"code": "queue_full", "detail": "Full.", "status": 409, "reply_id": REPLY.id})
    async with playing(full, stream(b"text", kind="text/plain")) as server, Client(server.url) as client:
        with pytest.raises(errors.QueueFull) as refused:
            await client.request("POST", f"/v1/sessions/{SID}/messages", {"content": "x"})
        assert refused.value.extra == {"reply_id": REPLY.id}
        with pytest.raises(UnexpectedAnswer):
            await client.request("GET", "/metrics")


async def test_any_post_that_is_made_again_is_the_same_one() -> None:
    for body, mine in (({"at": ASKED.id}, {}), (None, {}), ({"at": ASKED.id}, {"Idempotency-Key": "own"})):
        async with playing(hang_up, answer(201, {})) as server, Client(server.url) as client:
            await client.request("POST", f"/v1/sessions/{SID}/fork", body, headers=mine)
            keys = [asked.headers["idempotency-key"] for asked in server.asked]
        assert len(keys) == 2 and keys[0] == keys[1] == (mine.get("Idempotency-Key") or keys[0])
    async with playing(answer(201, {})) as server, Client(server.url) as client:
        await client.request("POST", "/v1/sessions", {"id": SID})
        assert "idempotency-key" not in server.asked[0].headers


# --- the overview ------------------------------------------------------------------------------------------------


async def test_the_overview_is_read_on_after_a_broken_line_from_a_new_snapshot() -> None:
    writing = Snapshot(
        writing=(WritingSession(session_id=SID, last_seq=4, replies=(WritingReply(id=REPLY.id, status=REPLY.status),)),)
    )
    first = [told_frame(writing), overview_frame(SID, _event(5, ended())), b"event: of.later\ndata: {}\n\n"]
    second = [told_frame(Snapshot()), told_frame(SessionDeleted(session_id=SID))]
    async with playing(broken(*first), stream(*second)) as server, Client(server.url) as client:
        told: list[Told] = []
        async with aclosing(client.overview()) as overview:
            async for each in overview:
                told.append(each)
                if isinstance(each.fact, SessionDeleted):
                    break
    assert told == [
        *(Told(writing), Told(ended(), SID, 5)),
        *(Told(Snapshot()), Told(SessionDeleted(session_id=SID), SID)),
    ]
    assert asks(server) == [("GET", "/v1/events", None)] * 2
