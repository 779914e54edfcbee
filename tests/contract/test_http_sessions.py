"""Sessions over HTTP: made once however often they are asked for, read, changed, listed."""

import base64
import re
from datetime import datetime
from typing import Any

import pytest

from wire import Api, check_problem, message_id, session_id, slow, together

FIELDS = {"id", "title", "system_prompt", "model", "params", "metadata", "head", "created_at", "updated_at", "last_seq"}
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")

EVERYTHING: dict[str, Any] = {
    "title": "Über 🏮",
    "system_prompt": "Be brief.",
    "model": ["scripted:echo", "scripted:story"],
    "params": {"temperature": 0.5, "max_tokens": 100, "stop": ["\n"], "response_format": {"type": "text"}},
    "metadata": {"colour": "green", "Größe": ""},
}


# --- made --------------------------------------------------------------------------------------------------------


def test_a_new_session_says_where_it_is_and_is_empty(api: Api) -> None:
    made = api.post("/sessions", json={})
    assert made.status_code == 201
    session = made.json()
    assert session.keys() == FIELDS
    assert made.headers["location"] == f"/v1/sessions/{session['id']}"
    assert re.fullmatch(r"ses_[0-9a-f]{32}", session["id"])
    assert (session["title"], session["system_prompt"], session["model"], session["head"]) == (None, None, None, None)
    assert (session["params"], session["metadata"]) == ({}, {})
    assert api.read_session(session["id"]) == session
    assert api.history(session["id"]) == {"data": [], "has_more": False, "as_of": session["last_seq"]}


def test_a_session_needs_no_body_at_all(api: Api) -> None:
    assert api.post("/sessions").status_code == 201


def test_the_ids_that_the_service_makes_are_uuid7_and_sort_by_time(api: Api) -> None:
    ids = [api.session() for _ in range(3)]
    assert all(sid[16] == "7" and sid[20] in "89ab" for sid in ids)
    assert [sid[:16] for sid in ids] == sorted(sid[:16] for sid in ids)


def test_times_are_rfc_3339_in_utc_with_milliseconds(api: Api, sid: str) -> None:
    turn = api.send_whole(sid, "x")
    session = api.read_session(sid)
    times = [session["created_at"], session["updated_at"], turn["message"]["created_at"], turn["reply"]["ended_at"]]
    assert all(TIME.fullmatch(time) for time in times)
    assert times[0] <= times[2] <= times[3] == times[1]
    assert datetime.fromisoformat(times[0]).utcoffset() is not None


def test_everything_that_is_said_of_a_session_is_kept(api: Api) -> None:
    sid = api.session(**EVERYTHING)
    session = api.read_session(sid)
    assert {name: session[name] for name in EVERYTHING} == EVERYTHING


def test_a_client_may_choose_the_id_and_asking_again_is_a_retry(api: Api) -> None:
    own = session_id()
    answers = [api.post("/sessions", json={"id": own, "title": "one"}) for _ in range(3)]
    assert {(answer.status_code, answer.json()["id"]) for answer in answers} == {(201, own)}
    assert len({answer.text for answer in answers}) == 1
    assert api.last_seq(own) == answers[0].json()["last_seq"]


def test_twenty_of_the_same_at_once_make_one_session(api: Api) -> None:
    own = session_id()
    answers = together(lambda _: api.post("/sessions", json={"id": own, "title": "one"}), 20)
    assert {(answer.status_code, answer.text) for answer in answers} == {(201, answers[0].text)}


def test_a_retry_finds_the_session_as_it_has_become(api: Api) -> None:
    own = session_id()
    api.session(id=own, title="first")
    api.ask("PATCH", f"/sessions/{own}", json={"title": "second"})
    assert api.post("/sessions", json={"id": own, "title": "first"}).json()["title"] == "second"


def test_the_order_of_keys_does_not_matter_to_a_retry(api: Api) -> None:
    own = session_id()
    answers = [
        api.post("/sessions", content=body, headers={"content-type": "application/json"})
        for body in (
            f'{{"id":"{own}","title":"a","metadata":{{"x":"1","y":"2"}}}}',
            f'{{ "metadata" : {{"y":"2", "x":"\\u0031"}}, "title":"\\u0061", "id":"{own}"}}',
        )
    ]
    assert [answer.status_code for answer in answers] == [201, 201]


def test_the_same_id_with_another_body_is_refused(api: Api) -> None:
    own = api.session(id=session_id(), title="one")
    before = api.read_session(own)
    check_problem(api.post("/sessions", json={"id": own, "title": "two"}), 422, "idempotency_mismatch")
    assert api.read_session(own) == before


def test_an_idempotency_key_makes_one_session(api: Api) -> None:
    key = {"idempotency-key": session_id()}
    answers = together(lambda _: api.post("/sessions", json={"title": "one"}, headers=key), 8)
    assert {(answer.status_code, answer.text) for answer in answers} == {(201, answers[0].text)}
    check_problem(api.post("/sessions", json={"title": "two"}, headers=key), 422, "idempotency_mismatch")


def test_an_id_and_an_idempotency_key_together_are_refused(api: Api) -> None:
    own = session_id()
    answer = api.post("/sessions", json={"id": own}, headers={"idempotency-key": "k"})
    check_problem(answer, 422, "invalid_request")
    check_problem(api.get(f"/sessions/{own}"), 404, "session_not_found")


# --- read --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "sid", ["ses_" + "0" * 32, "ses_" + "A" * 32, "ses_1", "1", "msg_" + "0" * 32, "ses_" + "0" * 33]
)
@pytest.mark.parametrize("method", ["GET", "PATCH", "DELETE"])
def test_a_session_that_is_not_there_is_not_found_whatever_its_id_looks_like(api: Api, method: str, sid: str) -> None:
    body = {"json": {"title": "x"}} if method == "PATCH" else {}
    check_problem(api.ask(method, f"/sessions/{sid}", **body), 404, "session_not_found")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/messages"),
        ("POST", "/messages"),
        ("GET", "/events"),
        ("GET", "/messages/{mid}"),
        ("GET", "/messages/{mid}/events"),
        ("POST", "/messages/{mid}/stop"),
    ],
)
def test_whatever_is_asked_of_a_session_that_is_not_there_it_is_not_found(api: Api, method: str, path: str) -> None:
    body = {"json": {"content": "x"}} if path == "/messages" and method == "POST" else {}
    answer = api.ask(method, f"/sessions/{session_id()}{path.format(mid=message_id())}", **body)
    check_problem(answer, 404, "session_not_found")


# --- changed -----------------------------------------------------------------------------------------------------


def test_a_change_touches_what_it_names_alone(api: Api) -> None:
    sid = api.session(**EVERYTHING)
    before = api.read_session(sid)
    changed = api.ask("PATCH", f"/sessions/{sid}", json={"title": "new"})
    assert changed.status_code == 200
    assert changed.json() == before | {
        "title": "new",
        "updated_at": changed.json()["updated_at"],
        "last_seq": before["last_seq"] + 1,
    }
    assert changed.json()["updated_at"] >= before["updated_at"]
    assert api.read_session(sid) == changed.json()


@pytest.mark.parametrize("field", ["title", "system_prompt", "model"])
def test_null_takes_it_away(api: Api, field: str) -> None:
    sid = api.session(**EVERYTHING)
    assert api.ask("PATCH", f"/sessions/{sid}", json={field: None}).json()[field] is None
    assert api.read_session(sid)[field] is None


def test_params_and_metadata_are_replaced_whole(api: Api) -> None:
    sid = api.session(**EVERYTHING)
    said = {"params": {"top_p": 0.5}, "metadata": {"size": "big"}}
    changed = api.ask("PATCH", f"/sessions/{sid}", json=said).json()
    assert {name: changed[name] for name in said} == said


def test_a_change_to_what_is_so_already_changes_nothing(api: Api) -> None:
    sid = api.session(title="same")
    before = api.read_session(sid)
    for body in ({"title": "same"}, {}):
        assert api.ask("PATCH", f"/sessions/{sid}", json=body).json() == before
    assert api.read_session(sid) == before


def test_the_head_moves_to_another_branch_and_the_history_with_it(api: Api, sid: str) -> None:
    first, second = api.send_whole(sid, "one", parent_id=None), api.send_whole(sid, "two", parent_id=None)
    assert api.read_session(sid)["head"] == second["reply"]["id"]
    changed = api.ask("PATCH", f"/sessions/{sid}", json={"head": first["reply"]["id"]})
    assert changed.json()["head"] == first["reply"]["id"]
    assert [message["content"] for message in api.history(sid)["data"]] == ["one", "one"]


def test_the_head_may_move_while_a_reply_runs_and_changes_none(api: Api, sid: str) -> None:
    first = api.send_whole(sid, "one")
    live = api.send_async(sid, slow())["reply"]["id"]
    assert api.ask("PATCH", f"/sessions/{sid}", json={"head": first["message"]["id"]}).status_code == 200
    assert api.message(sid, live)["status"] == "streaming"
    api.stop(sid, live)
    assert api.read_session(sid)["head"] == first["message"]["id"], "the end of a reply moves no head"


def test_a_head_that_the_session_does_not_have_is_not_found(api: Api, sid: str) -> None:
    other = api.send_whole(api.session(), "elsewhere")["reply"]["id"]
    before = api.read_session(sid)
    for head in (message_id(), other):
        check_problem(api.ask("PATCH", f"/sessions/{sid}", json={"head": head, "title": "x"}), 404, "message_not_found")
    assert api.read_session(sid) == before


# --- listed ------------------------------------------------------------------------------------------------------


def pages(api: Api, size: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    after: dict[str, str] = {}
    for _ in range(10_000):
        page = api.get("/sessions", params={"limit": size, **after}).json()
        assert page.keys() == {"data", "has_more", "next"}
        assert len(page["data"]) == size or not page["has_more"]
        found += page["data"]
        if not page["has_more"]:
            assert page["next"] is None
            return found
        after = {"after": page["next"]}
    raise AssertionError("the list has no end")


def test_sessions_are_listed_by_their_newest_activity(api: Api) -> None:
    first, second, third = (api.session() for _ in range(3))
    api.send_whole(second, "x")
    api.ask("PATCH", f"/sessions/{first}", json={"title": "touched"})
    mine = [found["id"] for found in api.get("/sessions", params={"limit": 1000}).json()["data"]]
    times = [api.read_session(sid)["updated_at"] for sid in mine if sid in (first, second, third)]
    assert times == sorted(times, reverse=True)
    assert {first, second, third} <= set(mine)


def test_a_session_stands_in_the_list_as_it_is(api: Api) -> None:
    sid = api.session(**EVERYTHING)
    api.send_whole(sid, "x")
    listed = next(found for found in api.get("/sessions").json()["data"] if found["id"] == sid)
    assert listed == api.read_session(sid)


def test_paging_misses_none_and_doubles_none_also_where_times_are_equal(api: Api) -> None:
    mine: dict[str, str] = {}
    for _ in range(20):
        made = together(lambda _: api.read_session(api.session()), 10)
        mine |= {session["id"]: session["updated_at"] for session in made}
        if len(set(mine.values())) < len(mine):
            break
    assert len(set(mine.values())) < len(mine), "no two sessions were made in the same millisecond"
    for size in (2, 7, 1000):
        found = [session["id"] for session in pages(api, size) if session["id"] in mine]
        assert sorted(found) == sorted(mine)
        assert found == sorted(mine, key=lambda sid: (mine[sid], sid), reverse=True)


def test_a_page_has_one_to_a_thousand_sessions(api: Api) -> None:
    api.session(), api.session()
    assert len(api.get("/sessions", params={"limit": 1}).json()["data"]) == 1
    assert api.get("/sessions", params={"limit": 1000}).status_code == 200
    for limit in ("0", "1001", "-1", "x", "1.5", ""):
        check_problem(api.get("/sessions", params={"limit": limit}), 422, "invalid_request")


def cursor(time: str) -> str:
    return base64.urlsafe_b64encode(f"{time} ses_{'0' * 32}".encode()).decode().rstrip("=")


@pytest.mark.parametrize(
    "after",
    [
        *("x", "%%%", "", "é", "c2VzXzE", "A" * 5000, "MjAyNiBzZXNfMQ"),
        *map(cursor, ("", "2026", "2026-01-01T00:00:00.00\0Z", "2026-01-01T00:00:00.000Z\0", "9" * 3_000)),
    ],
)
def test_a_malformed_cursor_of_the_list_is_refused(api: Api, after: str) -> None:
    check_problem(api.get("/sessions", params={"after": after}), 400, "invalid_cursor")
