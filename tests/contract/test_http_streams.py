"""Streams: a reader that comes back, from wherever, misses nothing and reads nothing twice."""

import random
import threading

import httpx2
import pytest

from rejoinder.llm.scripted_answer import full_text
from strict_sse import Frame, text_of
from wire import SILENT, Api, Json, check_problem, events_of, message_id, script, session_id, slow, together

WORDS = "tokens=12 reasoning=5 calls=1 pace=0.015"


@pytest.fixture(scope="module")
def ended(api: Api) -> tuple[str, str, list[Frame]]:
    """A session, its one ended reply of many events, and the frames of that reply's stream."""
    sid = api.session()
    mid = api.send_async(sid, script(WORDS))["reply"]["id"]
    with api.follow(sid, mid) as stream:
        return sid, mid, stream.rest()


def check_one_end(frames: list[Frame], mid: str) -> Json:
    ends = [frame for frame in frames if frame.type == "message.ended"]
    assert len(ends) == 1 and ends[0] is frames[-1] and ends[0].message_id == mid
    found: Json = ends[0].data["message"]
    return found


# --- of one reply ------------------------------------------------------------------------------------------------


def test_a_reply_s_stream_begins_with_its_creation_and_ends_with_its_one_end(
    ended: tuple[str, str, list[Frame]],
) -> None:
    _, mid, frames = ended
    assert [frame.type for frame in frames[:2]] == ["message.created", "message.started"]
    assert {frame.message_id for frame in frames} == {mid}
    reply = check_one_end(frames, mid)
    assert reply["content"] == text_of(frames, mid) == full_text(WORDS)


def test_from_every_cursor_of_a_reply_the_rest_gives_the_same_text(
    api: Api, ended: tuple[str, str, list[Frame]]
) -> None:
    sid, mid, frames = ended
    assert len(frames) > 6, "a reply of many events, however slow the machine is that merges them"
    for cursor in range(frames[0].seq - 1, frames[-1].seq):
        seen = [frame for frame in frames if frame.seq <= cursor]
        with api.follow(sid, mid, after=cursor) as stream:
            more = stream.rest()
        assert all(frame.seq > cursor for frame in more)
        reply = check_one_end(more, mid)
        for part, index, whole in (
            ("content", None, reply["content"]),
            ("reasoning", None, reply["reasoning"]),
            ("tool_call", 0, reply["tool_calls"][0]["function"]["arguments"]),
        ):
            had = text_of(seen, mid, part=part, index=index)
            assert text_of(more, mid, start=had, part=part, index=index) == whole


def test_a_cursor_before_the_reply_is_its_start(api: Api, ended: tuple[str, str, list[Frame]]) -> None:
    sid, mid, frames = ended
    for cursor in (0, 1):
        with api.follow(sid, mid, after=cursor) as stream:
            assert [frame.data for frame in stream.rest()] == [frame.data for frame in frames]


@pytest.mark.parametrize("behind", [0, 1])
def test_at_and_after_the_end_there_is_nothing_to_read(api: Api, behind: int) -> None:
    sid = api.session()
    mid = api.send_whole(sid, "x")["reply"]["id"]
    last = api.last_seq(sid)
    if behind:
        api.ask("PATCH", f"/sessions/{sid}", json={"title": "further on"})
        assert api.last_seq(sid) == last + 1
    for request in ({"params": {"after": last + behind}}, {"headers": {"last-event-id": str(last + behind)}}):
        answer = api.get(events_of(sid, mid), **request)
        assert (answer.status_code, answer.content) == (204, b"")


def test_last_event_id_wins_over_after(api: Api, ended: tuple[str, str, list[Frame]]) -> None:
    sid, mid, frames = ended
    middle = frames[6].seq
    for after in (frames[0].seq, 10**9, "nonsense"):
        with api.stream(
            "GET", events_of(sid, mid), params={"after": after}, headers={"last-event-id": str(middle)}
        ) as stream:
            assert stream.rest()[0].seq == middle + 1


FUTURE = ["{next}", "999999999", "9" * 18]
MALFORMED = ["x", "-1", "+1", "1.0", "1e3", "", " ", "0x10", "１", "9" * 19, "1,2", "null", "1 2"]


@pytest.mark.parametrize("cursor", FUTURE + MALFORMED)
def test_a_cursor_from_the_future_or_that_is_no_number_is_refused(
    api: Api, ended: tuple[str, str, list[Frame]], cursor: str
) -> None:
    sid, mid, frames = ended
    cursor = cursor.format(next=frames[-1].seq + 1)
    for path in (events_of(sid, mid), f"/sessions/{sid}/events"):
        check_problem(api.get(path, params={"after": cursor}), 400, "invalid_cursor")
        header = cursor.encode("utf-8")
        if header.strip() == header:
            check_problem(api.get(path, headers={"last-event-id": header}), 400, "invalid_cursor")
    refused = api.post(
        f"/sessions/{sid}/messages", json={"content": "x"}, headers={"last-event-id": cursor.strip().encode()}
    )
    check_problem(refused, 400, "invalid_cursor")
    assert api.last_seq(sid) == frames[-1].seq


def test_a_user_message_has_no_stream(api: Api, sid: str) -> None:
    asked = api.send_whole(sid, "x")["message"]["id"]
    check_problem(api.get(events_of(sid, asked)), 409, "not_a_reply")


@pytest.mark.parametrize("mid", ["msg_" + "7e" * 16, "msg_1", "x"])
def test_a_reply_that_is_not_there_is_not_found(api: Api, sid: str, mid: str) -> None:
    check_problem(api.get(events_of(sid, mid)), 404, "message_not_found")


def test_a_message_of_another_session_is_not_found(api: Api, sid: str, ended: tuple[str, str, list[Frame]]) -> None:
    _, elsewhere, _ = ended
    for path in (f"/sessions/{sid}/messages/{elsewhere}", events_of(sid, elsewhere)):
        check_problem(api.get(path), 404, "message_not_found")
    check_problem(api.post(f"/sessions/{sid}/messages/{elsewhere}/stop"), 404, "message_not_found")


@pytest.mark.parametrize("accept", ["application/json", "text/html", "text/event-stream;q=0"])
def test_who_does_not_take_a_stream_is_refused(api: Api, ended: tuple[str, str, list[Frame]], accept: str) -> None:
    sid, mid, _ = ended
    for path in (events_of(sid, mid), f"/sessions/{sid}/events"):
        check_problem(api.get(path, headers={"accept": accept}), 406, "not_acceptable")


# --- live --------------------------------------------------------------------------------------------------------


def test_the_stream_starts_before_the_first_token(api: Api, sid: str) -> None:
    with api.send_streamed(sid, SILENT) as stream:
        assert stream.until("message.started").data["attempt"] == 1
        api.stop(sid, stream.frames[-1].message_id or "")
        check_one_end(stream.rest(), stream.frames[-1].message_id or "")


def test_tokens_arrive_while_the_reply_is_written(api: Api, sid: str) -> None:
    with api.send_streamed(sid, slow(10_000, 0.05)) as stream:
        first = stream.until("message.delta")
        mid = first.message_id or ""
        assert api.message(sid, mid)["status"] == "streaming"
        stream.until("message.delta")
        assert api.message(sid, mid)["content"].startswith(text_of(stream.frames, mid))
    api.stop(sid, mid)


def test_several_readers_read_the_same(api: Api, sid: str) -> None:
    mid = api.send_async(sid, slow(60))["reply"]["id"]

    def read(number: int) -> list[Frame]:
        after = None if number % 2 else 0
        with api.follow(sid, mid, after=after) as stream:
            return stream.rest()

    readers = together(read, 12)
    assert {text_of(frames, mid) for frames in readers} == {full_text("tokens=60")}
    assert len({check_one_end(frames, mid)["ended_at"] for frames in readers}) == 1


def test_a_reply_goes_on_when_every_reader_has_gone(api: Api, sid: str) -> None:
    with api.send_streamed(sid, slow(50)) as stream:
        mid = stream.until("message.delta").message_id or ""
    reply = api.ended(sid, mid)
    assert (reply["status"], reply["content"]) == ("completed", full_text("tokens=50"))


def test_a_reply_goes_on_when_the_client_that_waits_for_json_goes_away(api: Api, sid: str) -> None:
    own = message_id()
    body = {"id": own, "content": slow(40)}
    with pytest.raises(httpx2.ReadTimeout):
        api.post(f"/sessions/{sid}/messages", json=body, headers={"accept": "application/json"}, timeout=0.15)
    assert api.send_whole(sid, slow(40), id=own)["reply"]["content"] == full_text("tokens=40")


@pytest.mark.parametrize("seed", range(4))
def test_a_reader_whose_line_breaks_again_and_again_misses_nothing(api: Api, sid: str, seed: int) -> None:
    chance = random.Random(seed)
    mid = api.send_async(sid, slow(150, 0.004))["reply"]["id"]
    seen: list[Frame] = []
    text = ""
    for _ in range(1_000):
        cursor = seen[-1].seq if seen else None
        with api.follow(sid, mid, after=cursor) as stream:
            wanted = chance.randint(1, 30)
            more = True
            while more and len(stream.frames) < wanted:
                more = stream.read()
            seen += stream.frames
            text = text_of(stream.frames, mid, start=text)
        if seen and seen[-1].type == "message.ended":
            break
    assert check_one_end(seen, mid)["content"] == text == full_text("tokens=150")
    assert len({frame.seq for frame in seen}) == len(seen)


# --- of a session ------------------------------------------------------------------------------------------------


def test_the_stream_of_a_session_tells_everything_from_its_beginning(api: Api) -> None:
    sid = api.session(title="first")
    turn = api.send_whole(sid, "hi")
    api.ask("PATCH", f"/sessions/{sid}", json={"title": "second"})
    with api.follow_session(sid) as stream:
        stream.until("session.updated")
        frames = stream.frames
    kinds = [frame.type for frame in frames if frame.type != "message.delta"]
    assert kinds == [
        *(
            "session.created",
            "message.created",
            "message.created",
            "message.started",
            "message.ended",
            "session.updated",
        ),
    ]
    assert frames[0].seq == 1
    created, updated = frames[0].data["session"], frames[-1].data["session"]
    assert (created["title"], created["last_seq"], updated["title"]) == ("first", 1, "second")
    assert updated == api.read_session(sid)
    assert text_of(frames, turn["reply"]["id"]) == "hi"


def test_from_every_cursor_of_a_session_its_stream_goes_on(api: Api) -> None:
    sid = api.session()
    for content in ("one", script("tokens=5 pace=0.002"), "three"):
        api.send_whole(sid, content)
    last = api.last_seq(sid)
    with api.follow_session(sid) as stream:
        stream.until(lambda frame: frame.seq == last)
        frames = stream.frames
    for cursor in range(last):
        with api.follow_session(sid, after=cursor) as stream:
            stream.until(lambda frame: frame.seq == last)
            assert [frame.data for frame in stream.frames] == [frame.data for frame in frames if frame.seq > cursor]


def test_a_reader_at_the_end_of_a_session_waits_for_what_comes(api: Api, sid: str) -> None:
    with api.follow_session(sid, after=api.last_seq(sid)) as stream:
        turn = api.send_async(sid, "hello")
        assert stream.until("message.created").data["message"]["id"] == turn["message"]["id"]
        assert stream.until("message.ended").data["message"]["content"] == "hello"
        api.ask("PATCH", f"/sessions/{sid}", json={"title": "t"})
        assert stream.until("session.updated").data["session"]["title"] == "t"


def test_two_tabs_see_the_same_whoever_wrote_it(api: Api, sid: str) -> None:
    def read(_: int) -> list[tuple[int, str]]:
        with api.follow_session(sid) as stream:
            ready.wait()
            for _ in range(3):
                stream.until("message.ended")
            return [(frame.seq, frame.type) for frame in stream.frames if frame.type != "message.delta"]

    ready = threading.Barrier(4)
    writers = threading.Thread(target=lambda: (ready.wait(), [api.send_whole(sid, slow(5)) for _ in range(3)]))
    writers.start()
    tabs = together(read, 3)
    writers.join()
    assert tabs[0] == tabs[1] == tabs[2]


def test_a_reply_s_stream_tells_nothing_of_others(api: Api, sid: str) -> None:
    first = api.send_async(sid, slow(40))["reply"]["id"]
    second = api.send_async(sid, slow(40), parent_id=None)["reply"]["id"]
    api.ask("PATCH", f"/sessions/{sid}", json={"title": "aside"})
    for mid in (first, second):
        with api.follow(sid, mid) as stream:
            assert {frame.message_id for frame in stream.rest()} == {mid}


def test_a_cursor_is_a_place_in_the_session_not_in_the_reply(api: Api, sid: str) -> None:
    """A reader of the session goes over to a reply's stream, at a cursor that is another message's event."""
    first = api.send_async(sid, slow(30))["reply"]["id"]
    second = api.send_async(sid, slow(30), parent_id=None)["reply"]["id"]
    with api.follow_session(sid) as stream:
        for _ in range(2):
            stream.until("message.ended")
        frames = stream.frames
    for frame in frames[3:]:
        for mid in (first, second):
            seen = [other for other in frames if other.seq <= frame.seq]
            if any(other.type == "message.ended" and other.message_id == mid for other in seen):
                assert api.get(events_of(sid, mid), params={"after": frame.seq}).status_code == 204
                continue
            with api.follow(sid, mid, after=frame.seq) as stream:
                assert text_of(stream.rest(), mid, start=text_of(seen, mid)) == full_text("tokens=30")


def test_a_session_that_is_not_there_has_no_stream(api: Api) -> None:
    check_problem(api.get(f"/sessions/{session_id()}/events"), 404, "session_not_found")
