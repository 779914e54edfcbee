"""The history: of a branch or of everything, whole or in pages that fit together, as it was at a seq."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from rejoinder.chat import history
from serving import ServerThread
from wire import Api, Json, check_problem, script, slow


@dataclass
class Tree:
    """root1 ─ a ─ b ─ c (a chain of turns), b2 under a's reply, and a second root. Ids in order of creation."""

    sid: str
    order: list[str] = field(default_factory=list)
    turns: dict[str, tuple[str, str]] = field(default_factory=dict)

    def path(self, *names: str) -> list[str]:
        return [mid for name in names for mid in self.turns[name]]


@pytest.fixture(scope="module")
def tree(api: Api) -> Tree:
    tree = Tree(api.session())
    for name, parent in (
        ("root", None),
        ("a", "root"),
        ("b", "a"),
        ("c", "b"),
        ("b2", "a"),
        ("other", None),
        ("c2", "b2"),
    ):
        parent_id = tree.turns[parent][1] if parent else None
        turn = api.send_whole(tree.sid, name, parent_id=parent_id)
        tree.turns[name] = (turn["message"]["id"], turn["reply"]["id"])
        tree.order += tree.turns[name]
    return tree


def ids(page: Json) -> list[str]:
    assert page.keys() == {"data", "has_more", "as_of"}
    return [message["id"] for message in page["data"]]


# --- which messages ----------------------------------------------------------------------------------------------


def test_the_history_is_the_branch_that_ends_at_the_head(api: Api, tree: Tree) -> None:
    page = api.history(tree.sid)
    assert ids(page) == tree.path("root", "a", "b2", "c2")
    assert (page["has_more"], page["as_of"]) == (False, api.last_seq(tree.sid))


@pytest.mark.parametrize(
    ("tip", "path"),
    [
        (("c", 1), ["root", "a", "b", "c"]),
        (("b2", 1), ["root", "a", "b2"]),
        (("a", 1), ["root", "a"]),
        (("other", 1), ["other"]),
    ],
)
def test_a_branch_is_the_path_to_its_last_message(api: Api, tree: Tree, tip: tuple[str, int], path: list[str]) -> None:
    assert ids(api.history(tree.sid, branch=tree.turns[tip[0]][tip[1]])) == tree.path(*path)


def test_a_branch_may_end_at_a_message_without_its_reply(api: Api, tree: Tree) -> None:
    assert ids(api.history(tree.sid, branch=tree.turns["b"][0])) == [*tree.path("root", "a"), tree.turns["b"][0]]


def test_all_are_the_messages_of_all_branches_in_order_of_creation(api: Api, tree: Tree) -> None:
    assert ids(api.history(tree.sid, branch="all")) == tree.order


def test_siblings_are_the_messages_with_the_same_parent_oldest_first(api: Api, tree: Tree) -> None:
    found = {message["id"]: message["siblings"] for message in api.all_messages(tree.sid)}
    wanted: dict[str, list[str]] = {mid: [] for mid in tree.order}
    for pair in (("root", "other"), ("b", "b2")):
        asked = [tree.turns[name][0] for name in pair]
        wanted |= dict.fromkeys(asked, asked)
    assert found == wanted


def test_one_message_is_the_same_as_in_the_history(api: Api, tree: Tree) -> None:
    for message in api.all_messages(tree.sid):
        assert api.message(tree.sid, message["id"]) == message


def test_a_message_says_who_its_parent_is(api: Api, tree: Tree) -> None:
    parents = {message["id"]: message["parent_id"] for message in api.all_messages(tree.sid)}
    for name, parent in (("root", None), ("a", "root"), ("b2", "a"), ("other", None)):
        asked, reply = tree.turns[name]
        assert parents[reply] == asked
        assert parents[asked] == (tree.turns[parent][1] if parent else None)


# --- pages -------------------------------------------------------------------------------------------------------


def forwards(api: Api, sid: str, size: int, **which: Any) -> list[str]:
    page = api.history(sid, limit=size, **which)
    found = ids(page)
    while page["has_more"]:
        assert len(page["data"]) == size
        page = api.history(sid, limit=size, after=found[-1], **{"as_of": page["as_of"], **which})
        found += ids(page)
    return found


def backwards(api: Api, sid: str, size: int, **which: Any) -> list[str]:
    page = api.history(sid, limit=size, before="end", **which)
    found = ids(page)
    while page["has_more"]:
        assert len(page["data"]) == size
        page = api.history(sid, limit=size, before=found[0], **{"as_of": page["as_of"], **which})
        found = ids(page) + found
    return found


@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 8, 14, 1000])
@pytest.mark.parametrize("branch", ["all", "head", "c", "other"])
def test_pages_in_either_direction_give_the_whole(api: Api, tree: Tree, size: int, branch: str) -> None:
    which = {"head": {}, "all": {"branch": "all"}}.get(branch) if branch in ("head", "all") else None
    which = {"branch": tree.turns[branch][1]} if which is None else which
    whole = ids(api.history(tree.sid, **which))
    assert forwards(api, tree.sid, size, **which) == whole
    assert backwards(api, tree.sid, size, **which) == whole


def test_a_page_behind_or_before_a_message_lies_next_to_it(api: Api, tree: Tree) -> None:
    for branch in ("all", tree.turns["c"][1]):
        whole = ids(api.history(tree.sid, branch=branch))
        for place, mid in enumerate(whole):
            page = api.history(tree.sid, branch=branch, after=mid, limit=2)
            assert (ids(page), page["has_more"]) == (whole[place + 1 : place + 3], place + 3 < len(whole))
            page = api.history(tree.sid, branch=branch, before=mid, limit=2)
            assert (ids(page), page["has_more"]) == (whole[max(0, place - 2) : place], place > 2)


def test_the_newest_page_is_the_one_before_the_end(api: Api, tree: Tree) -> None:
    page = api.history(tree.sid, branch="all", before="end", limit=3)
    assert (ids(page), page["has_more"]) == (tree.order[-3:], True)


def test_pages_fit_together_whatever_happens_in_between(api: Api, sid: str) -> None:
    for number in range(4):
        api.send_whole(sid, str(number))
    page = api.history(sid, branch="all", limit=3)
    whole = ids(api.history(sid, branch="all"))
    for _ in range(2):
        api.send_whole(sid, "later", parent_id=None)
    found = ids(page)
    while page["has_more"]:
        page = api.history(sid, branch="all", limit=3, after=found[-1], as_of=page["as_of"])
        found += ids(page)
    assert found == whole


def test_as_of_shows_every_message_as_it_was_then(api: Api, sid: str) -> None:
    first = api.send_whole(sid, "one")
    then = api.history(sid, branch="all")
    api.send_whole(sid, "beside", parent_id=None)
    with api.send_streamed(sid, slow(30, 0.005)) as stream:
        stream.until("message.delta")
        middle = api.history(sid, branch="all")
        stream.rest()
    assert api.history(sid, branch="all", as_of=then["as_of"]) == then
    assert api.history(sid, branch=first["reply"]["id"], as_of=then["as_of"])["data"] == then["data"]
    again = api.history(sid, branch="all", as_of=middle["as_of"])
    assert again == middle
    assert (again["data"][-1]["status"], again["data"][0]["siblings"] != []) == ("streaming", True)
    assert api.history(sid, as_of=0) == {"data": [], "has_more": False, "as_of": 0}


def test_a_branch_as_of_a_seq_ends_where_it_ended_then(api: Api, sid: str) -> None:
    places = []
    for number in range(5):
        api.send_whole(sid, str(number))
        places.append(api.last_seq(sid))
    whole = ids(api.history(sid))
    for number, place in enumerate(places):
        assert ids(api.history(sid, as_of=place)) == whole[: 2 * number + 2]
        assert ids(api.history(sid, as_of=place, before="end", limit=2)) == whole[2 * number : 2 * number + 2]


def test_a_live_reply_stands_in_the_history_with_its_text_so_far(api: Api, sid: str) -> None:
    with api.send_streamed(sid, slow()) as stream:
        mid = stream.until("message.delta").message_id or ""
        stream.until("message.delta")
        page = api.history(sid)
        live = page["data"][-1]
        assert (live["id"], live["status"], live["usage"], live["ended_at"]) == (mid, "streaming", None, None)
        assert live["content"] and len(live["attempts"]) == 1
        stream.until(lambda frame: frame.seq >= page["as_of"])
        text = "".join(f.data["text"] for f in stream.frames if f.type == "message.delta" and f.seq <= page["as_of"])
        assert live["content"] == text
    api.stop(sid, mid)


def test_an_ended_message_never_changes(api: Api, sid: str) -> None:
    turns = [api.send_whole(sid, script("tokens=3")), api.send_whole(sid, script("tokens=3 fail=500"))]
    api.send_whole(sid, "more")
    api.ask("PATCH", f"/sessions/{sid}", json={"model": "scripted:story", "system_prompt": "other"})
    for turn in turns:
        for message in turn.values():
            assert api.message(sid, message["id"]) == message


# --- what is refused ---------------------------------------------------------------------------------------------


def ask(api: Api, sid: str, **params: Any) -> Any:
    return api.get(f"/sessions/{sid}/messages", params=params)


@pytest.mark.parametrize("limit", ["0", "1001", "-1", "x", "1.5", "", "99999999999999999999999"])
def test_a_page_has_one_to_a_thousand_messages(api: Api, tree: Tree, limit: str) -> None:
    check_problem(ask(api, tree.sid, limit=limit), 422, "invalid_request")
    assert ask(api, tree.sid, limit=1).status_code == ask(api, tree.sid, limit=1000).status_code == 200


def test_both_before_and_after_are_refused(api: Api, tree: Tree) -> None:
    answer = ask(api, tree.sid, before=tree.order[3], after=tree.order[1])
    check_problem(answer, 422, "invalid_request")


@pytest.mark.parametrize("name", ["before", "after", "branch"])
@pytest.mark.parametrize("mid", ["msg_" + "0" * 32, "msg_1", "x", "END", "\0", "msg_" + "0" * 31 + "\0", "é" * 3_000])
def test_a_message_that_is_not_there_is_not_found(api: Api, tree: Tree, name: str, mid: str) -> None:
    check_problem(ask(api, tree.sid, **{name: mid}), 404, "message_not_found")


@pytest.mark.parametrize("name", ["before", "after", "branch"])
def test_a_message_of_another_session_is_not_found(api: Api, sid: str, tree: Tree, name: str) -> None:
    api.send_whole(sid, "so that there is a branch")
    check_problem(ask(api, sid, **{name: tree.order[0]}), 404, "message_not_found")


@pytest.mark.parametrize("name", ["before", "after"])
def test_a_message_that_is_not_on_the_branch_is_no_place_on_it(api: Api, tree: Tree, name: str) -> None:
    params = {"branch": tree.turns["c"][1], name: tree.turns["b2"][0]}
    check_problem(ask(api, tree.sid, **params), 400, "invalid_cursor")


@pytest.mark.parametrize("as_of", ["x", "-1", "1.0", "", "99999999", "9" * 30])
def test_an_as_of_from_the_future_or_that_is_no_number_is_refused(api: Api, tree: Tree, as_of: str) -> None:
    check_problem(ask(api, tree.sid, as_of=as_of), 400, "invalid_cursor")
    check_problem(ask(api, tree.sid, as_of=as_of, branch="all"), 400, "invalid_cursor")


@pytest.mark.parametrize("mid", ["msg_" + "0" * 32, "msg_" + "F" * 32, "x", "msg_" + "7e" * 16])
def test_one_message_that_is_not_there_is_not_found(api: Api, tree: Tree, mid: str) -> None:
    check_problem(api.get(f"/sessions/{tree.sid}/messages/{mid}"), 404, "message_not_found")


# --- in bytes ----------------------------------------------------------------------------------------------------

PICTURE = "data:image/png;base64," + "A" * (3 << 20)


@pytest.fixture(scope="module")
def album(api: Api) -> Tree:
    """Eight turns with a picture of 3 MiB each: more than one page."""
    album = Tree(api.session())
    for _ in range(8):
        content = [{"type": "image_url", "image_url": {"url": PICTURE}}]
        turn = api.send_whole(album.sid, content)
        album.order += (turn["message"]["id"], turn["reply"]["id"])
    return album


def check_size(page: Json) -> None:
    assert page["data"]
    assert len(json.dumps(page)) < (16 << 20) + 10_000


@pytest.mark.parametrize("branch", [None, "all"])
@pytest.mark.parametrize("direction", ["after", "before"])
def test_a_page_is_bounded_in_bytes_and_pages_fit_together(
    api: Api, album: Tree, branch: str | None, direction: str
) -> None:
    params: Json = {"branch": branch} if branch else {}
    if direction == "before":
        params["before"] = "end"
    page = api.history(album.sid, **params)
    found, pages = ids(page), 1
    check_size(page)
    assert page["has_more"] and len(found) > 3
    assert found == (album.order[: len(found)] if direction == "after" else album.order[-len(found) :])
    as_of = page["as_of"]
    while page["has_more"]:
        edge = found[-1] if direction == "after" else found[0]
        page = api.history(album.sid, **params | {direction: edge, "as_of": as_of})
        check_size(page)
        assert page["as_of"] == as_of
        found = found + ids(page) if direction == "after" else ids(page) + found
        pages += 1
    assert found == album.order
    assert pages == 2


def test_a_page_has_a_message_however_large(api: Api, album: Tree) -> None:
    """And no more than were asked for."""
    for limit in (1, 2):
        page = api.history(album.sid, limit=limit, before="end")
        assert ids(page) == album.order[-limit:] and page["has_more"]


@pytest.mark.parametrize("branch", [None, "all"])
def test_pages_of_any_size_tell_the_same_while_a_reply_is_written(
    start_server: Callable[..., ServerThread], monkeypatch: pytest.MonkeyPatch, branch: str | None
) -> None:
    api = start_server().api
    sid = api.session()
    for number in range(40):
        api.send_whole(sid, "x" * (number + 1))
    live = api.send_async(sid, slow())["reply"]["id"]
    params: Json = {"branch": branch} if branch else {}
    whole = api.history(sid, **params)
    for size in (1, 2_000, 20_000):
        monkeypatch.setattr(history, "PAGE_BYTES", size)
        for direction, edge in (("after", -1), ("before", 0)):
            found: list[Json] = []
            page: Json = {"data": [{"id": "end"}], "has_more": True} if direction == "before" else {"has_more": True}
            while page["has_more"]:
                place = {direction: page["data"][edge]["id"]} if "data" in page else {}
                page = api.history(sid, **params | place | {"as_of": whole["as_of"]})
                assert page["data"]
                found = found + page["data"] if direction == "after" else page["data"] + found
            assert found == whole["data"]
    api.stop(sid, live)
