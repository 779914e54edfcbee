"""The file of a session: read and written again it has the same bytes, and what is cut, changed or wrong is refused."""

import asyncio
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from rejoinder.abc import Appended, Store
from rejoinder.chat.decisions import Decisions
from rejoinder.chat.export_format import MessageLine, Seal, SessionLine
from rejoinder.chat.exporting import of_store
from rejoinder.chat.importing import BadLine, Imported, Reader
from rejoinder.chat.writer import Writer
from rejoinder.entities import (
    Asides,
    Attempt,
    FunctionCall,
    JsonObject,
    Key,
    Message,
    ReplyError,
    Role,
    Session,
    Status,
    ToolCall,
    Usage,
)
from rejoinder.signals.local import LocalSignals
from rejoinder.stores.memory import MemoryStore
from rejoinder.stores.sqlite.store import SqliteStore

SID = "ses_" + "0" * 32
ENDS = [Status.COMPLETED, Status.STOPPED, Status.FAILED, Status.INTERRUPTED]

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=8)
numbers = st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
objects = st.dictionaries(texts, values, max_size=3)
metadata = st.dictionaries(texts, texts, max_size=3)
counts = st.integers(0, 2**40)
errors = st.builds(ReplyError, code=texts, message=texts)
attempts = st.builds(Attempt, model=texts, error=st.none() | errors)
calls = st.builds(ToolCall, id=texts, function=st.builds(FunctionCall, name=texts, arguments=texts))
usages = st.builds(Usage, input_tokens=counts, output_tokens=counts, source=st.sampled_from(["provider", "estimated"]))
parts = st.fixed_dictionaries({"type": st.just("text"), "text": texts}) | st.fixed_dictionaries(
    {"type": st.just("image_url"), "image_url": st.fixed_dictionaries({"url": texts})}
)


def message_id(n: int) -> str:
    return f"msg_{n:032x}"


def time(n: int) -> str:
    return f"2026-01-01T00:{n // 60:02}:{n % 60:02}.{n:03}Z"


def sealed(*lines: SessionLine | MessageLine) -> bytes:
    seal = Seal()
    body = b"".join([seal.add(line.encoded()) for line in lines])
    return body + seal.end().encoded()


def a_session(**fields: Any) -> SessionLine:
    return SessionLine(
        rejoinder=1, session=Session(**{"id": SID, "created_at": time(0), "updated_at": time(9)} | fields)
    )


@st.composite
def replies(draw: st.DrawFn, n: int, parent: Message) -> MessageLine:
    message = Message(
        id=message_id(n),
        session_id=SID,
        parent_id=parent.id,
        role="assistant",
        content=draw(texts),
        reasoning=draw(texts),
        tool_calls=tuple(draw(st.lists(calls, max_size=2))),
        status=draw(st.sampled_from(ENDS)),
        model=draw(st.none() | texts),
        finish_reason=draw(st.none() | texts),
        usage=draw(usages),
        error=draw(errors),
        attempts=tuple(draw(st.lists(attempts, max_size=2))),
        continues=draw(st.none() | st.just(message_id(7))),
        metadata=draw(metadata),
        created_at=time(n),
        ended_at=time(n + 1),
    )
    return MessageLine(
        message=message,
        request_hash=draw(st.none() | texts),
        models=tuple(draw(st.lists(texts, max_size=2))),
        params=draw(objects),
    )


@st.composite
def messages(draw: st.DrawFn, n: int, parent: Message | None) -> MessageLine:
    above = parent.role if parent else None
    roles: list[Role] = ["user", "system", *(["tool"] if above in ("assistant", "tool") else [])]  # type: ignore[list-item]  # a literal
    role = draw(st.sampled_from(roles))
    message = Message(
        id=message_id(n),
        session_id=SID,
        parent_id=parent.id if parent else None,
        role=role,
        content=tuple(draw(st.lists(parts, min_size=1, max_size=2)))
        if role == "user" and draw(st.booleans())
        else draw(texts),
        tool_call_id=draw(texts) if role == "tool" else None,
        metadata=draw(metadata),
        created_at=time(n),
        ended_at=time(n),
    )
    return MessageLine(message=message, request_hash=draw(st.none() | texts))


@st.composite
def files(draw: st.DrawFn) -> bytes:
    """The export of a session with branches of every shape, of every author, with every end."""
    lines: list[MessageLine] = []
    for n in range(1, draw(st.integers(1, 6))):
        parent = draw(st.sampled_from([None, *(line.message for line in lines)]))
        if parent is not None and parent.role != "assistant" and draw(st.booleans()):
            lines.append(draw(replies(n, parent)))
        else:
            lines.append(draw(messages(n, parent)))
    first = a_session(
        title=draw(st.none() | texts),
        system_prompt=draw(st.none() | texts),
        model=draw(st.none() | texts | st.tuples(texts, texts)),
        params=draw(objects),
        metadata=draw(metadata),
        head=draw(st.sampled_from([None, *(line.message.id for line in lines)])),
    )
    asides = Asides(titles=draw(counts), input_tokens=draw(counts))
    return sealed(structs.replace(first, request_hash=draw(st.none() | texts), asides=asides), *lines)


def take(lines: list[Any]) -> Imported:
    reader = Reader("ann")
    for line in lines:
        reader.take(line if isinstance(line, bytes) else msgspec.json.encode(line) + b"\n")
    return reader.whole()


def read(file: bytes) -> Imported:
    return take([line + b"\n" for line in file.split(b"\n")[:-1]])


async def moved(file: bytes, store: Store) -> bytes:
    """The export of what was imported into a store."""
    async with store:
        lease = await store.acquire_lease("test", 60)
        [made] = await store.append(lease, 1, [read(file).append])
        assert isinstance(made, Appended)
        decisions = Decisions(store, Writer(store, LocalSignals()))
        pieces = await of_store(decisions).begin(Key("ann", SID))
        return b"".join([piece async for piece in pieces])


@given(files())
def test_what_was_imported_is_exported_with_the_same_bytes(file: bytes) -> None:
    assert asyncio.run(moved(file, MemoryStore())) == file


@settings(max_examples=20)
@given(files())
def test_also_by_a_store_on_the_disk(file: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        assert asyncio.run(moved(file, SqliteStore(Path(folder) / "chat.db"))) == file


@settings(max_examples=30)
@given(files(), st.data())
def test_a_file_that_was_changed_is_refused(file: bytes, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(file) - 2))
    other = data.draw(st.integers(0, 255).filter(lambda byte: byte != file[at]))
    with pytest.raises(BadLine):
        read(file[:at] + bytes([other]) + file[at + 1 :])


@settings(max_examples=30)
@given(files(), st.data())
def test_a_file_that_was_cut_is_refused(file: bytes, data: st.DataObject) -> None:
    cut = file[: data.draw(st.integers(0, len(file) - 2))]
    with pytest.raises(BadLine):
        read(cut + b"\n" if cut else cut)


@settings(max_examples=20)
@given(files(), st.data())
def test_a_file_without_one_of_its_lines_is_refused(file: bytes, data: st.DataObject) -> None:
    lines = file.splitlines(keepends=True)
    del lines[data.draw(st.integers(0, len(lines) - 1))]
    with pytest.raises(BadLine):
        read(b"".join(lines))


def test_the_lines_are_what_the_document_says() -> None:
    asked = Message(
        id=message_id(1), session_id=SID, role="user", content="é\u2028", created_at=time(1), ended_at=time(1)
    )
    first, second, last = sealed(a_session(), MessageLine(message=asked)).decode().split("\n")[:-1]
    assert first.startswith('{"rejoinder":1,"session":{"id":"ses_0') and "last_seq" not in first
    assert second.startswith('{"message":{"id":"msg_0') and "siblings" not in second and "é\u2028" in second
    assert msgspec.json.decode(last) == {"messages": 1, "sha256": msgspec.json.decode(last)["sha256"]}


# --- lines that cannot be right ----------------------------------------------------------------------------------

ASKED: JsonObject = {
    "id": message_id(1),
    "session_id": SID,
    "parent_id": None,
    "role": "user",
    "content": "hi",
    "created_at": time(1),
    "ended_at": time(1),
}
REPLY: JsonObject = ASKED | {
    "id": message_id(2),
    "parent_id": message_id(1),
    "role": "assistant",
    "usage": {"input_tokens": 1, "output_tokens": 1, "source": "provider"},
}
USAGE = REPLY["usage"]

WRONG: dict[str, JsonObject] = {
    "an id of another kind": {"id": SID},
    "an id that was told": {"id": message_id(1)},
    "another session's": {"session_id": "ses_" + "1" * 32},
    "a parent that comes later": {"parent_id": message_id(3)},
    "a reply to nothing": {"parent_id": None},
    "a role of its own": {"role": "parrot"},
    "a status of its own": {"status": "lost"},
    "a reply that is being written": {"status": "streaming"},
    "a queued reply": {"status": "queued"},
    "no usage": {"usage": None},
    "fewer than no tokens": {"usage": USAGE | {"input_tokens": -1}},
    "usage from elsewhere": {"usage": USAGE | {"source": "guessed"}},
    "failed without an error": {"status": "failed"},
    "interrupted without an error": {"status": "interrupted"},
    "no end": {"ended_at": None},
    "a time of another form": {"created_at": "2026-01-01 00:00:00"},
    "a time that never was": {"created_at": "2026-13-01T00:00:00.000Z"},
    "an end of another zone": {"ended_at": "2026-01-01T00:00:00.000+01:00"},
    "parts of a reply": {"content": [{"type": "text", "text": "x"}]},
    "a number as content": {"content": 5},
    "a tool's id": {"tool_call_id": "call_1"},
    "a continuation of nothing": {"continues": "x"},
    "siblings, which are derived": {"siblings": []},
    "a field of a later version": {"colour": "blue"},
    "a field of a later version, inside": {"usage": USAGE | {"colour": "blue"}},
    "a field of a later version, in a list": {"attempts": [{"model": "m", "colour": "blue"}]},
    "a user's usage": {"role": "user"},
    "a tool without an id": {"role": "tool"},
}


def refused(lines: list[Any]) -> BadLine:
    with pytest.raises(BadLine) as why:
        take(lines)
    return why.value


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG.keys())
def test_a_message_that_cannot_be_right_is_refused_with_its_line(wrong: JsonObject) -> None:
    first = a_session().encoded()
    why = refused([first, {"message": ASKED}, {"message": REPLY | wrong}])
    assert "Line 3" in why.detail and why.errors[0]["loc"].startswith("line.3")


def test_without_what_is_wrong_it_is_taken() -> None:
    reader = Reader("ann")
    for line in (a_session().encoded(), *(msgspec.json.encode({"message": said}) for said in (ASKED, REPLY))):
        reader.take(line)  # would raise


HEADS: dict[str, Callable[[JsonObject], Any]] = {
    "nothing": lambda _: {},
    "a list": lambda _: [],
    "another format": lambda head: head | {"rejoinder": 2},
    "true for a format": lambda head: head | {"rejoinder": True},
    "no session": lambda _: {"rejoinder": 1},
    "a field of a later version": lambda head: head | {"colour": "blue"},
    "a field of a later version, inside": lambda head: head | {"session": head["session"] | {"colour": "blue"}},
    "the store's own": lambda head: head | {"session": head["session"] | {"last_seq": 1}},
    "an id of another kind": lambda head: head | {"session": head["session"] | {"id": "../etc"}},
    "a time of another form": lambda head: head | {"session": head["session"] | {"updated_at": "now"}},
    "a message": lambda _: {"message": ASKED},
}


@pytest.mark.parametrize("wrong", HEADS.values(), ids=HEADS.keys())
def test_a_first_line_that_cannot_be_right_is_refused(wrong: Callable[[JsonObject], Any]) -> None:
    why = refused([wrong(msgspec.json.decode(a_session().encoded()))])
    assert why.errors[0]["loc"].startswith("line.1")


def test_a_head_that_is_not_there_is_refused() -> None:
    why = refused(sealed(a_session(head=message_id(1))).splitlines(keepends=True))
    assert "head" in why.detail


def test_nothing_comes_behind_the_end() -> None:
    whole = sealed(a_session()).splitlines(keepends=True)
    assert "Line 3" in refused([*whole, whole[-1]]).detail
