"""Export and import over HTTP: a session moves whole, with the same bytes, and lives on where it comes to be."""

import hashlib
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from rejoinder.chat import ids
from retold import check_retold
from serving import ServerThread
from test_http_service import figures
from test_http_streams_at_the_limit import deaf, open_streams
from wire import Api, Json, broken_body, check_problem, events_of, eventually, message_id, script, session_id, slow

StartServer = Callable[..., ServerThread]

JSONL = {"content-type": "application/jsonl"}
PICTURE = "data:image/png;base64,iVBORw0KGgo="


@pytest.fixture
def elsewhere(start_server: StartServer, tmp_path: Path) -> Api:
    """Another server, on another kind of store."""
    return start_server(store=f"sqlite:///{tmp_path}/elsewhere.db", prefill="scripted").api


def export(api: Api, sid: str) -> bytes:
    answer = api.get(f"/sessions/{sid}/export")
    assert answer.status_code == 200, answer.text
    return answer.content


def put(api: Api, file: bytes | Iterator[bytes], **headers: str) -> httpx2.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return api.post("/import", content=file, headers=JSONL | named)


def imported(api: Api, file: bytes) -> Json:
    made = put(api, file)
    assert made.status_code == 201, made.text
    session: Json = made.json()
    assert made.headers["location"] == f"/v1/sessions/{session['id']}"
    return session


def sealed(lines: list[Any]) -> bytes:
    """A file of these lines, with the last line that they deserve."""
    body = b"".join((line if isinstance(line, bytes) else json.dumps(line).encode()) + b"\n" for line in lines)
    end = {"messages": len(lines) - 1, "sha256": hashlib.sha256(body).hexdigest()}
    return body + json.dumps(end).encode() + b"\n"


def parsed(file: bytes) -> list[Json]:
    return [json.loads(line) for line in file.decode().split("\n")[:-1]]


def other_reply(api: Api, sid: str, mid: str, verb: str = "replies") -> Json:
    answer = api.post(f"/sessions/{sid}/messages/{mid}/{verb}", json={}, headers={"accept": "application/json"})
    assert answer.status_code == 200, answer.text
    found: Json = answer.json()
    return found


def a_life(api: Api) -> str:
    """A session with branches, pictures, calls of tools, and replies that came to every end."""
    sid = api.session(
        title="Trip \u2028 🏮", system_prompt="Be brief.", params={"temperature": 0.5}, metadata={"a": "é"}
    )
    first = api.send_whole(sid, "one\r\n\u0007 ünï 🏮")
    parts = [{"type": "text", "text": "what is it?"}, {"type": "image_url", "image_url": {"url": PICTURE}}]
    api.send_whole(sid, parts, params={"seed": 7}, metadata={"b": "c"})
    api.send_whole(sid, "another", parent_id=first["reply"]["id"])
    api.send_whole(sid, "at the root", parent_id=None)
    other_reply(api, sid, first["message"]["id"])
    api.send_whole(sid, script("tokens=3 calls=2"), parent_id=first["reply"]["id"])
    api.send_whole(sid, script("tokens=5 reasoning=3"), parent_id=None)
    api.send_whole(sid, script("tokens=5 fail=reset@3"))
    stopped = api.send_async(sid, slow())["reply"]["id"]
    eventually(lambda: api.message(sid, stopped)["content"])
    api.stop(sid, stopped)
    return sid


def views(api: Api, sid: str) -> Json:
    """All that a client can see of a session, but its cursors."""
    session = api.read_session(sid)
    everything = api.all_messages(sid)
    branches = {each["id"]: api.history(sid, branch=each["id"])["data"] for each in everything}
    usage = api.get(f"/sessions/{sid}/usage").json()
    del session["last_seq"]
    return {
        "session": session,
        "all": everything,
        "shown": api.history(sid)["data"],
        "branches": branches,
        "usage": usage,
    }


# --- there and back ----------------------------------------------------------------------------------------------


def test_a_session_moves_whole_and_with_the_same_bytes(api: Api, elsewhere: Api) -> None:
    sid = a_life(api)
    file = export(api, sid)
    session = imported(elsewhere, file)
    assert session == elsewhere.read_session(sid)
    assert export(elsewhere, sid) == file
    assert views(elsewhere, sid) == views(api, sid)
    assert export(api, sid) == file, "and the first one knows nothing of it"
    check_retold(elsewhere, sid)


def test_a_session_without_messages_moves(api: Api, sid: str, elsewhere: Api) -> None:
    file = export(api, sid)
    assert len(parsed(file)) == 2
    imported(elsewhere, file)
    assert (export(elsewhere, sid), views(elsewhere, sid)) == (file, views(api, sid))
    check_retold(elsewhere, sid)
    assert elsewhere.send_whole(sid, "hello")["reply"]["content"] == "hello"


def test_the_answer_is_a_file(api: Api, sid: str) -> None:
    api.send_whole(sid, "hello")
    answer = api.get(f"/sessions/{sid}/export")
    headers = answer.headers
    assert headers["content-type"] == "application/jsonl"
    assert headers["content-disposition"] == f'attachment; filename="{sid}.jsonl"'
    assert (headers["cache-control"], headers["x-content-type-options"]) == ("no-store", "nosniff")
    first, asked, reply, end = parsed(answer.content)
    assert (first["rejoinder"], first["session"]["id"], end["messages"]) == (1, sid, 2)
    assert [asked["message"]["role"], reply["message"]["role"]] == ["user", "assistant"]
    assert reply["models"] == ["scripted:echo"], "what it was asked with"
    lines = answer.content.splitlines(keepends=True)
    assert end["sha256"] == hashlib.sha256(b"".join(lines[:-1])).hexdigest()


def test_what_is_being_written_goes_as_interrupted(api: Api, sid: str, elsewhere: Api) -> None:
    live = api.send_async(sid, slow())["reply"]["id"]
    queued = api.send_async(sid, "and then", if_busy="queue")["reply"]["id"]
    eventually(lambda: api.message(sid, live)["content"])
    imported(elsewhere, export(api, sid))
    copy, waited = elsewhere.message(sid, live), elsewhere.message(sid, queued)
    assert (copy["status"], copy["error"]["code"], waited["status"]) == ("interrupted", "exported", "interrupted")
    assert copy["attempts"][-1]["error"] == copy["error"]
    assert copy["usage"] and waited["usage"] and copy["ended_at"] and waited["content"] == ""
    assert api.message(sid, live)["status"] == "streaming", "and the first one goes on"
    file = export(elsewhere, sid)
    api.ask("DELETE", f"/sessions/{sid}")
    imported(api, file)
    assert export(api, sid) == file
    check_retold(api, sid)


# --- living on ---------------------------------------------------------------------------------------------------


def test_a_reply_that_came_in_has_a_stream_like_any_other(api: Api, sid: str, elsewhere: Api) -> None:
    mid = api.send_whole(sid, "one two three")["reply"]["id"]
    imported(elsewhere, export(api, sid))
    with elsewhere.follow(sid, mid) as stream:
        frames = stream.rest()
    assert [frame.type for frame in frames] == ["message.created", "message.ended"]
    assert (frames[0].data["message"]["content"], frames[0].data["message"]["status"]) == ("", "streaming")
    assert frames[-1].data["message"]["content"] == "one two three"
    assert elsewhere.get(events_of(sid, mid), params={"after": frames[-1].seq}).status_code == 204
    assert elsewhere.stop(sid, mid)["status"] == "completed"
    assert elsewhere.get(f"/sessions/{sid}/messages/{mid}/prompt").json() == {"message_id": mid, "data": []}


def test_it_is_talked_to_regenerated_continued_and_forked(api: Api, elsewhere: Api) -> None:
    sid = api.session(params={"temperature": 0.25})
    first = api.send_whole(sid, "one")
    broken = api.send_whole(sid, script("tokens=5 fail=reset@3"))["reply"]["id"]
    imported(elsewhere, export(api, sid))
    gone_on = other_reply(elsewhere, sid, broken, "continue")["reply"]
    assert gone_on["continues"] == broken
    [asked] = elsewhere.get(f"/sessions/{sid}/messages/{gone_on['id']}/prompt").json()["data"]
    assert asked["request"]["temperature"] == 0.25, "with what it was asked with elsewhere"
    again = other_reply(elsewhere, sid, first["message"]["id"])["reply"]
    assert again["siblings"] == [first["reply"]["id"], again["id"]]
    assert elsewhere.send_whole(sid, "and on")["reply"]["status"] == "completed"
    forked = elsewhere.post(f"/sessions/{sid}/fork", json={"at": broken})
    assert forked.status_code == 201
    check_retold(elsewhere, forked.json()["id"])
    assert elsewhere.ask("PATCH", f"/sessions/{sid}", json={"head": broken}).json()["head"] == broken
    check_retold(elsewhere, sid)


def test_a_clients_retry_finds_what_it_made_before_the_move(api: Api, sid: str, elsewhere: Api) -> None:
    own = message_id()
    turn = api.send_whole(sid, "once", id=own)
    again = other_reply(api, sid, own)["reply"]["id"]
    imported(elsewhere, export(api, sid))
    assert elsewhere.send_whole(sid, "once", id=own)["reply"]["id"] == turn["reply"]["id"]
    with elsewhere.send_streamed(sid, "once", id=own) as stream:
        assert [frame.type for frame in stream.rest()] == ["message.created", "message.created", "message.ended"]
    answer = elsewhere.post(f"/sessions/{sid}/messages", json={"content": "twice", "id": own})
    check_problem(answer, 422, "idempotency_mismatch")
    assert elsewhere.post("/sessions", json={"id": sid}).json()["id"] == sid
    assert [each["id"] for each in elsewhere.all_messages(sid)] == [own, turn["reply"]["id"], again]


def test_a_session_may_name_a_model_that_is_not_here(api: Api, sid: str) -> None:
    head = parsed(export(api, sid))[0]
    sid = session_id()
    head["session"] |= {"id": sid, "model": ["openai:gpt-9", "elsewhere"]}
    imported(api, sealed([head]))
    assert api.read_session(sid)["model"] == ["openai:gpt-9", "elsewhere"]
    check_problem(api.post(f"/sessions/{sid}/messages", json={"content": "x"}), 422, "invalid_request")
    assert api.send_whole(sid, "x", model="scripted:echo")["reply"]["status"] == "completed"


def test_what_came_in_is_found(api: Api, elsewhere: Api) -> None:
    sid = api.session(title="Zanzibar")
    turn = api.send_whole(sid, "a heliotrope")
    live = api.send_async(sid, slow())["reply"]["id"]
    eventually(lambda: "t1" in api.message(sid, live)["content"])
    imported(elsewhere, export(api, sid))
    found = elsewhere.get("/search", params={"q": "helio"}).json()["data"]
    assert {hit["message"]["id"] for hit in found} == {turn["message"]["id"], turn["reply"]["id"]}
    assert [hit["message"]["id"] for hit in elsewhere.get("/search", params={"q": "t0"}).json()["data"]] == [live]
    assert [each["id"] for each in elsewhere.get("/sessions", params={"q": "zanzibar"}).json()["data"]] == [sid]


def test_of_a_reply_that_broke_off_elsewhere_no_prompt_is_told(api: Api, sid: str) -> None:
    """What was sent for it is in the log that has not come with it."""
    mid = api.send_whole(sid, "hello")["reply"]["id"]
    head, asked, reply = parsed(export(api, sid))[:-1]
    error = {"code": "server_restarted", "message": "x"}
    reply["message"] |= {
        "status": "interrupted",
        "error": error,
        "attempts": [{"model": "openai:gpt-9", "error": error}],
    }
    api.ask("DELETE", f"/sessions/{sid}")
    imported(api, sealed([head, asked, reply]))
    assert api.get(f"/sessions/{sid}/messages/{mid}/prompt").json()["data"] == []


# --- an id that is there, or was ---------------------------------------------------------------------------------


def test_an_id_that_is_there_is_refused(api: Api, sid: str) -> None:
    api.send_whole(sid, "hello")
    before = views(api, sid)
    check_problem(put(api, export(api, sid)), 409, "already_exists")
    assert views(api, sid) == before


def test_what_was_deleted_comes_in_again(api: Api, sid: str) -> None:
    api.send_whole(sid, "hello")
    file, before = export(api, sid), views(api, sid)
    assert api.ask("DELETE", f"/sessions/{sid}").status_code == 204
    check_problem(api.get(f"/sessions/{sid}/export"), 404, "session_not_found")
    imported(api, file)
    assert (export(api, sid), views(api, sid)) == (file, before)


def test_a_retry_under_the_same_key_finds_the_import(api: Api, sid: str, elsewhere: Api) -> None:
    api.send_whole(sid, "hello")
    file, key = export(api, sid), message_id()
    made = put(elsewhere, file, idempotency_key=key)
    again = put(elsewhere, file, idempotency_key=key)
    assert (made.status_code, again.status_code) == (201, 201)
    assert made.json() == again.json() == elsewhere.read_session(sid)
    assert export(elsewhere, sid) == file, "of which the file tells nothing"
    check_retold(elsewhere, sid)
    check_problem(put(elsewhere, file), 409, "already_exists")
    check_problem(put(elsewhere, file, idempotency_key=message_id()), 409, "already_exists")
    head, *messages = parsed(file)[:-1]
    head["session"]["title"] = "another"
    other = sealed([head, *messages])
    check_problem(put(elsewhere, other, idempotency_key=key), 422, "idempotency_mismatch")
    check_problem(put(elsewhere, file, idempotency_key="a b"), 422, "invalid_request")


def test_a_retry_finds_an_import_that_begins_with_what_is_long(api: Api, elsewhere: Api) -> None:
    tools = [{"type": "function", "function": {"name": f"f{n}", "description": "d" * 15_000}} for n in range(100)]
    sid = api.session(params={"tools": tools})
    file, key = export(api, sid), message_id()
    assert [put(elsewhere, file, idempotency_key=key).status_code for _ in range(2)] == [201, 201]


def test_of_many_imports_at_once_one_is_done(api: Api, sid: str, elsewhere: Api) -> None:
    api.send_whole(sid, "hello")
    file = export(api, sid)
    answers: list[int] = []
    threads = [threading.Thread(target=lambda: answers.append(put(elsewhere, file).status_code)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers.count(201) == 1 and set(answers) <= {201, 409, 503}
    assert export(elsewhere, sid) == file


# --- what is refused ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def lines(api: Api) -> list[Json]:
    """The lines of a file, but the last."""
    sid = api.session()
    api.send_whole(sid, "hello")
    return parsed(export(api, sid))[:-1]


def changed(lines: list[Json], number: int, **fields: Any) -> list[Any]:
    """With other fields in the session or message of a line, and an id of its own."""
    said: list[Json] = json.loads(json.dumps(lines))
    own = session_id()
    said[0]["session"]["id"] = own
    for line in said[1:]:
        line["message"]["session_id"] = own
    said[number - 1]["session" if number == 1 else "message"] |= fields
    return said


def text_in(line: Json) -> bytes:
    """With an escape instead of the title or content, which no JSON encoder of ours would write."""
    return json.dumps(line).encode().replace(b'"@"', b'"\\ud800"')


FAR = {"created_at": "9999-12-31T23:59:59.999Z"}
DEEP: Any = "x"
for _ in range(40):
    DEEP = [DEEP]

LINES: dict[str, tuple[int, Json]] = {
    "a title too long": (1, {"title": "x" * 513}),
    "a system prompt too long": (1, {"system_prompt": "x" * (256 << 10) + "x"}),
    "a parameter that is none": (1, {"params": {"colour": 1}}),
    "a parameter out of range": (1, {"params": {"temperature": 3}}),
    "too much metadata": (1, {"metadata": {str(n): "x" for n in range(17)}}),
    "an empty model": (1, {"model": ""}),
    "a model of two lines": (1, {"model": ["a", "b\nc"]}),
    "a reply's model of two lines": (3, {"model": "a\nb"}),
    "an attempt with a model of two lines": (3, {"attempts": [{"model": "a\nb", "error": None}]}),
    "NUL in the title": (1, {"title": "a\x00b"}),
    "an integer past 64 bits": (1, {"params": {"seed": 2**63}}),
    "too deep": (1, {"params": {"response_format": {"a": DEEP}}}),
    "NaN": (1, {"params": {"temperature": float("nan")}}),
    "Infinity": (1, {"params": {"temperature": float("inf")}}),
    "a text too long": (2, {"content": "x" * ((256 << 10) + 1)}),
    "NUL in a text": (2, {"content": "a\x00b"}),
    "a part of no kind": (2, {"content": [{"type": "input_audio"}]}),
    "a picture without an address": (2, {"content": [{"type": "image_url", "image_url": {"url": ""}}]}),
    "a part with more": (2, {"content": [{"type": "text", "text": "x", "more": 1}]}),
    "a value of metadata too long": (2, {"metadata": {"a": "x" * 513}}),
    "a reply too long": (3, {"content": "x" * ((4 << 20) + 1)}),
    "a reply and its thoughts too long": (3, {"content": "x" * (4 << 20), "reasoning": "x"}),
    "a reply that is being written": (3, {"status": "streaming"}),
    "a session of the far future": (1, FAR),
    "a change of the far future": (1, {"updated_at": FAR["created_at"]}),
    "a message of the far future": (2, FAR),
    "a reply of the far future": (3, FAR),
    "an end in the far future": (3, {"ended_at": FAR["created_at"]}),
    "a field of a later version": (3, {"colour": "blue"}),
}


@pytest.mark.parametrize(("number", "fields"), LINES.values(), ids=LINES.keys())
def test_a_line_that_cannot_be_right_is_told_and_nothing_is_stored(
    api: Api, lines: list[Json], number: int, fields: Json
) -> None:
    said = changed(lines, number, **fields)
    problem = check_problem(put(api, sealed(said)), 422, "invalid_request")
    assert f"Line {number} " in problem["detail"]
    assert problem["errors"] and all(error["loc"].startswith(f"line.{number}") for error in problem["errors"])
    check_problem(api.get(f"/sessions/{said[0]['session']['id']}"), 404, "session_not_found")


def test_a_time_may_lie_a_day_ahead_and_no_more(api: Api, lines: list[Json]) -> None:
    imported(api, sealed(changed(lines, 1, updated_at=ids.timestamp(-23 * 3600))))
    late = sealed(changed(lines, 1, updated_at=ids.timestamp(-25 * 3600)))
    problem = check_problem(put(api, late), 422, "invalid_request")
    assert problem["errors"][0]["loc"] == "line.1.session.updated_at"


def test_a_copy_adds_nothing_to_what_replies_have_cost_and_how_they_ended(
    start_server: StartServer, lines: list[Json]
) -> None:
    api = start_server().api
    sid = api.session()
    head = api.send_whole(sid, "hello")["reply"]["id"]
    before = figures(api)
    assert api.post(f"/sessions/{sid}/fork", json={"at": head}).status_code == 201
    why = {"code": "made_up", "message": "x"}
    imported(api, sealed(changed(lines, 3, status="failed", error=why)))
    after = figures(api)
    counted = ("rejoinder_replies_ended", "rejoinder_tokens", "rejoinder_reply_characters")
    assert not any("made_up" in name for name in after)
    assert all(after[name] == value for name, value in before.items() if name.startswith(counted))
    assert after['rejoinder_events_total{type="message.ended"}'] == 3, "they were committed all the same"


def test_half_of_a_surrogate_pair_is_refused(api: Api, lines: list[Json]) -> None:
    for number, fields in ((1, {"title": "@"}), (2, {"content": "@"}), (3, {"reasoning": "@"})):
        said = changed(lines, number, **fields)
        said[number - 1] = text_in(said[number - 1])
        problem = check_problem(put(api, sealed(said)), 422, "invalid_request")
        assert f"Line {number} " in problem["detail"]


def test_what_is_at_a_limit_comes_in(api: Api, lines: list[Json]) -> None:
    for number, fields in (
        (1, {"title": "x" * 512}),
        (2, {"content": "x" * (256 << 10)}),
        (3, {"content": "x" * ((4 << 20) - 1), "reasoning": "x"}),
    ):
        imported(api, sealed(changed(lines, number, **fields)))


def test_however_the_json_is_written_the_export_is_canonical(api: Api, lines: list[Json]) -> None:
    said = changed(lines, 1, title="é")
    sid = said[0]["session"]["id"]
    imported(api, sealed(said))  # spaces, and escapes for all that is not ASCII
    file = export(api, sid)
    assert parsed(file)[:-1] == said and "é".encode() in file and b": " not in file.splitlines()[0]


CUTS: dict[str, Callable[[bytes], bytes]] = {
    "nothing": lambda _: b"",
    "an empty line": lambda _: b"\n",
    "no JSON": lambda _: b"hello\n",
    "no UTF-8": lambda _: b"\xff\xfe\n",
    "a mark of the byte order": lambda file: b"\xef\xbb\xbf" + file,
    "another format": lambda file: file.replace(b'{"rejoinder":1,', b'{"rejoinder":2,'),
    "no last line": lambda file: b"".join(file.splitlines(keepends=True)[:-1]),
    "cut in a line": lambda file: file[: len(file) // 2],
    "a line is missing": lambda file: b"".join(file.splitlines(keepends=True)[:2] + file.splitlines(keepends=True)[3:]),
    "a word is changed": lambda file: file.replace(b'"content":"hello"', b'"content":"hallo"', 1),
    "twice": lambda file: file + file,
    "another line behind it": lambda file: file + b"{}\n",
    "lines of another system": lambda file: file.replace(b"\n", b"\r\n"),
}


@pytest.mark.parametrize("cut", CUTS.values(), ids=CUTS.keys())
def test_a_file_that_is_not_whole_is_refused(api: Api, sid: str, elsewhere: Api, cut: Callable[[bytes], bytes]) -> None:
    api.send_whole(sid, "hello")
    problem = check_problem(put(elsewhere, cut(export(api, sid))), 422, "invalid_request")
    assert problem["errors"][0]["loc"].startswith("line.")
    assert elsewhere.get("/sessions").json()["data"] == []


@pytest.mark.parametrize(("line", "cut"), [(1, 100), (2, 1_000), (4, -20)])
def test_a_file_that_breaks_off_says_where(api: Api, sid: str, elsewhere: Api, line: int, cut: int) -> None:
    api.send_whole(sid, "hello" * 100)
    problem = check_problem(put(elsewhere, export(api, sid)[:cut]), 422, "invalid_request")
    assert problem["detail"] == f"Line {line} of the file: The file is not whole: it breaks off in this line."


def test_a_last_line_that_is_nested_too_deep_has_no_other_fault(elsewhere: Api) -> None:
    nested = b'{"a":' * 5_000 + b"1" + b"}" * 5_000
    assert "nested" in check_problem(put(elsewhere, nested), 422, "invalid_request")["detail"]


def test_only_the_last_line_end_may_be_missing(api: Api, sid: str, elsewhere: Api) -> None:
    imported(elsewhere, export(api, sid)[:-1])


@pytest.mark.parametrize("kind", ["application/json", "text/plain", "", "application/x-www-form-urlencoded"])
def test_a_file_has_its_media_type(api: Api, kind: str) -> None:
    check_problem(api.post("/import", content=b"{}\n", headers={"content-type": kind}), 415, "unsupported_media_type")


@pytest.mark.parametrize("kind", ["application/x-ndjson", "Application/JSONL; charset=utf-8"])
def test_it_may_be_called_otherwise(api: Api, lines: list[Json], kind: str) -> None:
    file = sealed(changed(lines, 1))
    assert api.post("/import", content=file, headers={"content-type": kind}).status_code == 201


def test_the_size_of_a_file_is_limited(start_server: StartServer, lines: list[Json]) -> None:
    file = sealed(changed(lines, 1))
    for limit, status in ((len(file), 201), (len(file) - 1, 413)):
        for body in (file, iter([file])):  # with its length told before, and without
            api = start_server(max_import=limit).api
            answer = put(api, body)
            assert answer.status_code == status, answer.text
            if status == 413:
                check_problem(answer, 413, "payload_too_large")
                assert api.get("/sessions").json()["data"] == []


def test_the_size_of_a_line_is_limited(start_server: StartServer, lines: list[Json]) -> None:
    api = start_server(max_body=1000, max_reply=100).api
    long = iter([b'{"rejoinder": 1, "x": "', *[b"x" * 1000] * 3])
    problem = check_problem(put(api, long), 422, "invalid_request")
    assert "Line 1 " in problem["detail"] and "2600" in problem["detail"]


def test_files_are_taken_two_at_a_time(start_server: StartServer, lines: list[Json]) -> None:
    api = start_server().api
    first, *rest = sealed(changed(lines, 1)).splitlines(keepends=True)
    begun, go = threading.Semaphore(0), threading.Event()
    answers: list[int] = []

    def slowly() -> Iterator[bytes]:
        yield first
        begun.release()
        go.wait(20)
        yield from rest

    threads = [threading.Thread(target=lambda: answers.append(put(api, slowly()).status_code)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for _ in threads:
        begun.acquire(timeout=20)
    other = sealed(changed(lines, 1))
    eventually(lambda: put(api, other[:1]).status_code == 503)
    check_problem(put(api, other), 503, "overloaded")
    go.set()
    for thread in threads:
        thread.join()
    assert sorted(answers) == [201, 409]
    imported(api, other)


def test_an_upload_that_breaks_off_leaves_nothing(start_server: StartServer, lines: list[Json]) -> None:
    api = start_server().api
    file = sealed(changed(lines, 1))

    def broken() -> Iterator[bytes]:
        yield file[:100]
        raise InterruptedError

    for _ in range(3):
        with pytest.raises(InterruptedError):
            put(api, broken())
    assert api.get("/sessions").json()["data"] == []
    imported(api, file)


# --- large ones --------------------------------------------------------------------------------------------------


def a_long_file(lines: list[Json], turns: int, text: str = "word " * 40) -> bytes:
    """A file with so many turns, one behind the other."""
    said = changed(lines, 1)
    head, asked, reply = said
    long: list[Any] = [head]
    parent = None
    for n in range(turns):
        one, two = f"msg_{2 * n:032x}", f"msg_{2 * n + 1:032x}"
        for line, own, above in ((asked, one, parent), (reply, two, one)):
            long.append(line | {"message": line["message"] | {"id": own, "parent_id": above, "content": text}})
        parent = two
    head["session"]["head"] = parent
    return sealed(long)


def test_ten_thousand_messages_move_in_one_append(elsewhere: Api, lines: list[Json]) -> None:
    file = a_long_file(lines, 5_000)
    session = imported(elsewhere, file)
    sid = session["id"]
    page = elsewhere.history(sid, before="end", limit=2)["data"]
    assert page[-1]["id"] == session["head"]
    canonical = export(elsewhere, sid)
    assert parsed(canonical)[:-1] == parsed(file)[:-1]
    assert elsewhere.ask("DELETE", f"/sessions/{sid}").status_code == 204
    imported(elsewhere, canonical)
    assert export(elsewhere, sid) == canonical


def test_an_export_that_cannot_go_on_is_broken_off(elsewhere: Api, lines: list[Json]) -> None:
    """Its reader takes it slowly, and then the session is deleted."""
    sid = imported(elsewhere, a_long_file(lines, 600, "x" * 40_000))["id"]
    with elsewhere.http.stream("GET", f"/v1/sessions/{sid}/export") as answer:
        assert answer.status_code == 200
        assert elsewhere.ask("DELETE", f"/sessions/{sid}").status_code == 204
        body = broken_body(answer)
    assert 0 < len(body) < 600 * 80_000 and b'"sha256"' not in body[-200:]


def test_a_reader_of_an_export_that_takes_nothing_or_leaves_is_let_go(
    start_server: StartServer, lines: list[Json]
) -> None:
    api = start_server(write_timeout=0.3).api
    sid = imported(api, a_long_file(lines, 600, "x" * 40_000))["id"]
    with deaf(api, f"/sessions/{sid}/export") as line:
        assert line.recv(100).startswith(b"HTTP/1.1 200 OK")
        eventually(lambda: open_streams(api) == 0)
    api = start_server(max_streams=1).api
    sid = imported(api, a_long_file(lines, 600, "x" * 40_000))["id"]
    with api.http.stream("GET", f"/v1/sessions/{sid}/export"):
        eventually(lambda: open_streams(api) == 1)
        check_problem(api.get(f"/sessions/{sid}/export"), 503, "overloaded")
    eventually(lambda: open_streams(api) == 0)
    assert len(parsed(export(api, sid))) == 1202


def test_an_export_is_as_of_its_beginning(elsewhere: Api, lines: list[Json]) -> None:
    sid = imported(elsewhere, a_long_file(lines, 600, "x" * 40_000))["id"]
    before = export(elsewhere, sid)
    with elsewhere.http.stream("GET", f"/v1/sessions/{sid}/export") as answer:
        elsewhere.send_whole(sid, "meanwhile")
        elsewhere.ask("PATCH", f"/sessions/{sid}", json={"title": "another"})
        assert answer.read() == before


def test_an_export_of_what_is_not_there(api: Api) -> None:
    check_problem(api.get(f"/sessions/{session_id()}/export"), 404, "session_not_found")
    check_problem(api.get("/sessions/../export"), 404, "not_found")
    check_problem(api.get("/sessions/x/export"), 404, "session_not_found")
