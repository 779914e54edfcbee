"""What a worker remembers of sessions. That it is what the store says, whatever is appended, the model test of the stores shows."""

import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest
from msgspec import UNSET

from rejoinder.abc import ABSENT, Append, Appended, EndedRow, NewRow, Refused
from rejoinder.chat import latest as module
from rejoinder.chat.latest import Latest
from rejoinder.entities import Header, JsonObject, Key, Session
from rejoinder.events import Draft

KEY = Key("ann", "ses_1")
AT = "2026-11-26T12:00:00.000Z"


def header(version: int, **fields: Any) -> Header:
    return Header(session=Session(id=KEY.session_id, created_at=AT, updated_at=AT, **fields), version=version)


def append(*, key: Key = KEY, expect: int = ABSENT, new: str = "", ends: str = "", **fields: Any) -> Append:
    row = NewRow(id=new, parent_id=None, lane=new, depth=0, at=0, ended=False)
    return Append(
        key=key,
        drafts=(Draft("message.created", None, b"{}"),) * 2,
        expect=expect,
        header=header(expect + 1, **fields),
        created=(row,) if new else (),
        ended=(EndedRow(id=ends, at=1, ended_at=AT),) if ends else (),
    )


def ended(latest: Latest) -> tuple[str, int | None]:
    newest = latest.newest(KEY)
    assert newest
    return newest.id, newest.ended


def test_nothing_is_known_of_a_session_before_it_was_changed_here_and_of_its_messages_before_one_was_made() -> None:
    latest = Latest()
    assert latest.header(KEY) is None
    latest.learn([append(expect=7)], [Appended(20)])
    assert latest.header(KEY) == header(8)
    assert latest.newest(KEY) is UNSET
    latest.learn([append(expect=8, new="a")], [Appended(22)])
    assert ended(latest) == ("a", None)


def test_a_session_that_was_made_here_has_no_message() -> None:
    latest = Latest()
    latest.learn([append()], [Appended(1)])
    assert latest.newest(KEY) is None


def test_the_end_of_the_newest_message_is_noticed_and_that_of_another_is_not() -> None:
    latest = Latest()
    latest.learn([append(new="a"), append(expect=1, new="b")], [Appended(1), Appended(3)])
    latest.learn([append(expect=2, ends="a")], [Appended(5)])
    assert ended(latest) == ("b", None)
    latest.learn([append(expect=3, ends="b")], [Appended(7)])
    assert ended(latest) == ("b", 8)


def test_who_was_refused_reads_what_is_there() -> None:
    latest = Latest()
    latest.learn([append(new="a"), append(expect=1)], [Appended(1), Refused("version")])
    assert latest.header(KEY) is None
    assert latest.newest(KEY) is UNSET


def test_no_more_sessions_are_kept_in_mind_than_there_is_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SESSIONS", 3)
    latest, keys = Latest(), [Key("ann", f"ses_{number}") for number in range(10)]
    for key in keys:
        latest.learn([append(key=key)], [Appended(1)])
    assert 1 <= sum(latest.header(key) is not None for key in keys) <= 4
    assert latest.header(keys[-1]) is not None


def a_text(size: int) -> JsonObject:
    return {"system_prompt": "x" * size}


def tools(size: int) -> JsonObject:
    """What takes about so many bytes in memory, and a few of JSON."""
    return {"params": {"tools": [{"a": {}} for _ in range(size // 300)]}}


def wide(size: int) -> JsonObject:
    return {"system_prompt": "🏮" * (size // 4)}


@pytest.mark.parametrize("fields", [a_text, tools, wide])
def test_no_more_bytes_are_kept_in_mind_than_there_is_room_for(fields: Callable[[int], JsonObject]) -> None:
    latest, keys = Latest(), [Key("ann", f"ses_{number}") for number in range(200)]
    tracemalloc.start()
    for key in keys:
        latest.learn([append(key=key, new="a", **fields(1 << 20))], [Appended(1)])
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    known = [latest.header(key) is not None for key in keys]
    assert held < 1.25 * module.BYTES
    assert 10 < sum(known) < 100 and all(known[-5:]), "those that were changed last"
    assert [latest.newest(key) is not UNSET for key in keys] == known


def test_a_session_too_large_to_be_kept_in_mind_is_in_nobodys_way() -> None:
    latest, large = Latest(), Key("ann", "ses_2")
    latest.learn([append(new="a"), append(key=large, new="a")], [Appended(1)] * 2)
    latest.learn([append(key=large, expect=1, new="b", **a_text(module.LARGE))], [Appended(3)])
    assert latest.header(KEY) is not None
    assert latest.header(large) is None and latest.newest(large) is UNSET


def test_a_session_that_changes_counts_once() -> None:
    latest, other = Latest(), Key("ann", "ses_2")
    latest.learn([append(key=other)], [Appended(1)])
    for version in range(100):
        latest.learn([append(expect=version, **a_text(1 << 20))], [Appended(1)])
    assert latest.header(other) is not None
