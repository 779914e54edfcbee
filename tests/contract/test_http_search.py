"""Search over HTTP: what is found of what was said, where it was said, and which questions are none."""

import uuid
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rejoinder.chat.search import BEFORE, SNIPPET, snippet_of
from rejoinder.words import plain, words_of
from serving import serving
from wire import Api, Json, check_problem, slow


@pytest.fixture(scope="module", params=["shared", "sqlite"])
def stored(request: pytest.FixtureRequest, base_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """The server that all tests share, and one on SQLite, which has an index of words."""
    if request.param == "sqlite":
        with serving(store=f"sqlite:///{tmp_path_factory.mktemp('search')}/chat.db") as server:
            yield server.api
    else:
        api = Api(base_url)
        yield api
        api.close()


@pytest.fixture
def word() -> str:
    """One that no other test says."""
    return f"w{uuid.uuid4().hex}"


def found(api: Api, q: str, **params: int) -> list[Json]:
    answer = api.get("/search", params={"q": q, **params})
    assert answer.status_code == 200, answer.text
    said: Json = answer.json()
    assert said.keys() == {"data", "has_more"}
    hits: list[Json] = said["data"]
    assert all(hit.keys() == {"session_id", "session_title", "message", "snippet", "matches"} for hit in hits)
    return hits


def ids(hits: list[Json]) -> list[str]:
    return [hit["message"]["id"] for hit in hits]


def listed(api: Api, q: str) -> list[str]:
    return [session["id"] for session in api.get("/sessions", params={"q": q}).json()["data"]]


def marked(hit: Json) -> list[str]:
    return [hit["snippet"][start:end] for start, end in hit["matches"]]


# --- what is found -----------------------------------------------------------------------------------------------


def test_a_message_and_the_reply_to_it_are_found_the_latest_first(stored: Api, word: str) -> None:
    sid = stored.session(title="Where it was")
    turn = stored.send_whole(sid, f"Look: Ünïque {word}!")
    hits = found(stored, f"unique {word[:12].upper()}")
    ends = [hit["message"]["ended_at"] for hit in hits]
    assert ends == sorted(ends, reverse=True)
    # Both may have come to their end in one millisecond.
    message, reply = sorted(hits, key=lambda hit: hit["message"]["role"], reverse=True)
    assert ids([message, reply]) == [turn["message"]["id"], turn["reply"]["id"]]
    for hit, said in ((message, turn["message"]), (reply, turn["reply"])):
        assert (hit["session_id"], hit["session_title"]) == (sid, "Where it was")
        assert hit["message"] == {name: said[name] for name in hit["message"]}
        assert hit["message"].keys() >= {"id", "parent_id", "role", "status", "created_at", "ended_at"}
        assert hit["snippet"] == f"Look: Ünïque {word}!"
        assert marked(hit) == ["Ünïque", word]
    assert found(stored, f"{word} nothingofthekind") == []


def test_branches_that_are_not_shown_are_found(stored: Api, word: str) -> None:
    sid = stored.session()
    first = stored.send_whole(sid, f"{word} one")
    second = stored.send_whole(sid, f"{word} two", parent_id=None)
    assert set(ids(found(stored, f"{word} one"))) == {first["message"]["id"], first["reply"]["id"]}
    assert set(ids(found(stored, f"{word} two"))) == {second["message"]["id"], second["reply"]["id"]}


def test_the_text_of_parts_is_found_and_nothing_else_of_them(stored: Api, word: str) -> None:
    image = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{word}"}}
    parts = [{"type": "text", "text": f"a picture of {word}"}, image, {"type": "text", "text": "and more"}]
    turn = stored.send_whole(stored.session(), parts)
    hit = next(hit for hit in found(stored, f"{word} more") if hit["message"]["role"] == "user")
    assert hit["snippet"] == f"a picture of {word} and more"
    stored.send_whole(stored.session(), [image])
    assert {hit["session_id"] for hit in found(stored, word)} == {turn["message"]["session_id"]}


def test_a_reply_is_found_once_it_has_ended_however_it_ended(stored: Api) -> None:
    sid = stored.session()
    with stored.send_streamed(sid, slow(pace=0.001)) as stream:
        delta = stream.until(lambda frame: frame.type == "message.delta" and bool(words_of(frame.data["text"])))
    mid, said = delta.message_id or "", words_of(delta.data["text"])[0]
    assert mid not in ids(found(stored, said, limit=1000))
    assert stored.stop(sid, mid)["status"] == "stopped"
    assert mid in ids(found(stored, said, limit=1000))


def test_a_fork_is_found_beside_what_it_was_made_of(stored: Api, word: str) -> None:
    sid = stored.session(title=word)
    turn = stored.send_whole(sid, f"forked {word}")
    fork = stored.post(f"/sessions/{sid}/fork", json={"at": turn["reply"]["id"]}).json()["id"]
    assert {(hit["session_id"], hit["message"]["id"]) for hit in found(stored, word)} == {
        (where, turn[which]["id"]) for where in (sid, fork) for which in ("message", "reply")
    }
    assert listed(stored, word) == [fork, sid]


def test_a_deleted_session_is_not_found(stored: Api, word: str) -> None:
    sid = stored.session(title=f"titled{word}")
    stored.send_whole(sid, word)
    assert len(found(stored, word)) == 2
    assert stored.ask("DELETE", f"/sessions/{sid}").status_code == 204
    assert found(stored, word) == []
    assert listed(stored, word) == listed(stored, f"titled{word}") == []


def test_a_long_message_is_found_by_a_word_in_its_middle(stored: Api, word: str) -> None:
    text = " ".join(f"filler{number}é" for number in range(8_000)) + f" {word} the end " + "x" * 50_000
    turn = stored.send_whole(stored.session(), text)
    for hit in found(stored, f"{word} END"):
        assert marked(hit) == [word, "end"]
        assert hit["snippet"].startswith("…filler") and hit["snippet"].endswith("…")
    assert len(found(stored, word)) == 2 == len({turn["message"]["id"], turn["reply"]["id"]})


# --- how many ----------------------------------------------------------------------------------------------------


def test_as_many_are_told_as_are_asked_for(stored: Api, word: str) -> None:
    sid = stored.session()
    for number in range(3):
        stored.send_whole(sid, f"{word} {number}")
    every = ids(found(stored, word))
    assert len(every) == 6
    for limit in (1, 5, 6, 1000):
        answer = stored.get("/search", params={"q": word, "limit": limit}).json()
        assert (ids(answer["data"]), answer["has_more"]) == (every[:limit], limit < 6)
    for bad in ("0", "1001", "x", ""):
        check_problem(stored.get("/search", params={"q": word, "limit": bad}), 422, "invalid_request")


# --- the list of sessions ----------------------------------------------------------------------------------------


def test_the_list_shows_sessions_with_the_words_in_their_title_or_a_message(stored: Api, word: str) -> None:
    titled, said, both, neither = (stored.session(title=title) for title in (word, None, f"The {word}", "other"))
    stored.send_whole(said, word)
    stored.send_whole(both, f"{word} again")
    stored.send_whole(neither, "nothing")
    order = [session["id"] for session in stored.get("/sessions", params={"limit": 1000}).json()["data"]]
    assert listed(stored, word) == [sid for sid in order if sid in (titled, said, both)]
    stored.ask("PATCH", f"/sessions/{titled}", json={"title": "renamed"})
    stored.ask("PATCH", f"/sessions/{neither}", json={"title": f"now {word}"})
    assert listed(stored, word) == [neither, both, said]
    assert set(listed(stored, f"renamed {word}")) == set(), "words of two texts are not one text"
    stored.ask("PATCH", f"/sessions/{neither}", json={"title": None})
    assert listed(stored, word) == [both, said]


def test_the_list_of_what_is_found_has_pages(stored: Api, word: str) -> None:
    every = [stored.session(title=f"{word} {number}") for number in range(7)][::-1]
    for size in (1, 3, 7):
        pages, params = [], {"q": word, "limit": str(size)}
        while True:
            page = stored.get("/sessions", params=params).json()
            pages += [session["id"] for session in page["data"]]
            if not page["has_more"]:
                break
            params["after"] = page["next"]
        assert pages == every


# --- questions that are none -------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/search", "/sessions"])
def test_a_question_without_a_word_is_refused(stored: Api, path: str) -> None:
    for q in ("", "   ", "...", "\u00a0\t\n", "-_-", "\u200d", "🙂", "a" * 513, "a " * 400):
        problem = check_problem(stored.get(path, params={"q": q}), 422, "invalid_request")
        [error] = problem["errors"]
        assert (error["loc"], error["message"]) == ("query.q", problem["detail"])


@pytest.mark.parametrize("path", ["/search", "/sessions"])
def test_a_question_at_the_limits_is_answered(stored: Api, path: str) -> None:
    for q in (
        "a",
        f"  {'b' * 512}  ",
        "漢" * 512,
        "a " * 256,
        'x" OR y*',
        "NEAR(a b)",
        "-a ^b",
        "col:x",
        "\0x",
        "%_' ;--x",
    ):
        assert stored.get(path, params={"q": q}).status_code == 200, q


def test_a_search_needs_a_question(stored: Api) -> None:
    check_problem(stored.get("/search"), 422, "invalid_request")
    check_problem(stored.post("/search", json={"q": "x"}), 405, "method_not_allowed")


# --- snippets ----------------------------------------------------------------------------------------------------


def test_a_snippet_is_one_line_around_the_first_match() -> None:
    text = "Before\n" + "words and " * 20 + "the <b>Needle</b> in it,\tand needles " + "behind it " * 40
    snippet, matches = snippet_of(text, ["needle"])
    assert [snippet[start:end] for start, end in matches] == ["Needle", "needles"]
    assert snippet.startswith("…") and snippet.endswith("…") and "\n" not in snippet
    assert "<b>Needle</b> in it, and needles" in snippet
    assert len(snippet) <= SNIPPET + 2
    assert matches[0][0] <= BEFORE + 1
    assert snippet_of("short", ["nothing"]) == ("short", [])
    assert snippet_of("", ["x"]) == ("", [])


def test_a_snippet_parts_no_character_from_its_marks() -> None:
    text = "की" * 400
    for long in (text, "x" + text, "xy " + text, "की " * 400):
        snippet, matches = snippet_of(long, ["की"])
        shown = snippet.strip("…")
        assert shown in long and not shown.startswith("ी") and snippet.rstrip("…").endswith("ी") and len(matches) <= 80
        assert all(snippet[end : end + 1] != "ी" for _, end in matches)
    assert len(snippet_of("े" * 1_000, ["x"])[0]) <= SNIPPET + 2


texts = st.lists(
    st.one_of(
        st.sampled_from(["needle ", "Nèedle", "हिन्दी", "\u0301", "\n", "ℵﬁ ", "x" * 300, "日本語", "word, "]), st.text()
    )
)


@given(texts.map("".join), st.lists(st.sampled_from(["needle", "ne", "x", "本", "fi"]), min_size=1))
def test_whatever_the_text_matches_are_words_in_order_inside_the_snippet(text: str, words: list[str]) -> None:
    snippet, matches = snippet_of(text, words)
    assert len(snippet) <= SNIPPET + 2
    ends = [place for match in matches for place in match]
    assert ends == sorted(ends) and all(0 <= place <= len(snippet) for place in ends)
    for start, end in matches:
        assert any(plain(snippet[start:end]).find(word) >= 0 for word in words)
