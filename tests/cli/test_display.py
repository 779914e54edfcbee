"""What is shown of a reply, and what is never let through to a terminal."""

import asyncio
import re
import signal
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager

import pytest
from msgspec import structs

from rejoinder import events
from rejoinder.cli.address import checked_url, reached
from rejoinder.cli.display import Display, harmless
from rejoinder.cli.streams import fail
from rejoinder.cli.terminal import Terminal
from rejoinder.cli.watching import Watching
from rejoinder.client import Client, ConnectionLost, Received
from rejoinder.entities import FunctionCall, Message, Part, Status, ToolCall
from rejoinder.errors import RejoinderError
from rejoinder.events import Event, Fact, MessageCreated, MessageDelta, MessageEnded, MessageReset

NOW = "2026-01-01T00:00:00.000Z"
BEGUN = Message(id="msg_1", session_id="ses_1", role="assistant", status=Status.STREAMING, created_at=NOW)


async def received(*facts: Fact) -> AsyncGenerator[Received, None]:
    for seq, fact in enumerate(facts, 1):
        draft = events.draft(fact)
        yield Received(fact, Event(seq, draft.type, draft.message_id, draft.data))


def ended(content: str, finish_reason: str | None = None, calls: tuple[ToolCall, ...] = ()) -> MessageEnded:
    end = structs.replace(BEGUN, content=content, tool_calls=calls, finish_reason=finish_reason)
    reply = structs.replace(end, status=Status.COMPLETED, ended_at=NOW)
    return MessageEnded(message=reply)


def delta(text: str, part: Part = "content") -> MessageDelta:
    return MessageDelta(message_id="msg_1", part=part, offset=0, text=text)


async def shown(capsys: pytest.CaptureFixture[str], *facts: Fact) -> tuple[str, str]:
    client = Client()  # asked for nothing
    await Watching(client, "ses_1", Display(on_terminal=False)).watch(received(*facts))
    said = capsys.readouterr()
    return said.out, said.err


async def test_an_attempt_that_broke_off_is_told_and_the_reply_begins_anew(capsys: pytest.CaptureFixture[str]) -> None:
    reset = MessageReset(message_id="msg_1", attempt=2, reason="upstream_incomplete")
    out, err = await shown(capsys, MessageCreated(message=BEGUN), delta("Once"), reset, delta("Twice"), ended("Twice"))
    assert out == "OnceTwice\n"
    assert err == "[that attempt broke off (upstream_incomplete); the reply begins anew]\n"


async def test_text_that_only_the_end_tells_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    """Who comes back late finds the pieces gone from the log, and the whole at the end."""
    end = ended("Once upon a time")
    assert await shown(capsys, MessageCreated(message=BEGUN), delta("Once"), end) == ("Once upon a time\n", "")
    assert await shown(capsys, MessageCreated(message=BEGUN), end) == ("Once upon a time\n", "")
    reset = MessageReset(message_id="msg_1", attempt=2, reason="x")
    assert (await shown(capsys, MessageCreated(message=BEGUN), delta("Twice"), reset, end))[
        0
    ] == "TwiceOnce upon a time\n"
    watching = Watching(Client(), "ses_1", Display(on_terminal=False), "msg_1")
    await watching.watch(received(delta(" upon"), end), "Once")
    assert capsys.readouterr().out == "Once upon a time\n"


async def test_who_leaves_before_the_server_has_answered_is_told_what_is_known(
    capsys: pytest.CaptureFixture[str],
) -> None:
    async def nothing() -> AsyncGenerator[Received, None]:
        await asyncio.Event().wait()
        yield  # type: ignore[misc]  # never

    watching = asyncio.create_task(Watching(Client(), "ses_1", Display(on_terminal=False)).watch(nothing()))
    await asyncio.sleep(0)
    for _ in range(2):
        signal.raise_signal(signal.SIGINT)
        await asyncio.sleep(0.01)
    await watching
    assert (
        capsys.readouterr().err
        == "[left: whether the message has arrived is not known; the same words again are the same message]\n"
    )


async def test_words_that_are_typed_again_where_nobody_answered_are_the_same_message(
    capsys: pytest.CaptureFixture[str],
) -> None:
    ids: list[str] = []

    async def take_and_hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ids.append(re.findall(r"msg_[0-9a-f]{32}", (await reader.readuntil(b"}")).decode())[0])
        writer.close()

    async with await asyncio.start_server(take_and_hang_up, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with Client(f"http://127.0.0.1:{port}", patience=0) as client:
            terminal = Terminal("", "ses_1", None)
            for words in ("hello", "hello", "and on"):
                with pytest.raises(ConnectionLost):
                    await terminal.send(client, words)
    assert ids[0] == ids[1] != ids[2]


async def test_a_reply_that_was_cut_at_its_limit_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    facts: list[Fact] = [
        MessageCreated(message=BEGUN),
        delta("hm", "reasoning"),
        delta("m", "reasoning"),
        delta("Once"),
    ]
    out, err = await shown(capsys, *facts, ended("Once", finish_reason="length"))
    assert (out, err) == ("Once\n", "[thinking]\n[the model's limit of tokens was reached]\n")


async def test_a_reply_that_only_calls_tools_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    calls = tuple(ToolCall(id=name, function=FunctionCall(name=name)) for name in "fg")
    out, err = await shown(capsys, MessageCreated(message=BEGUN), ended("", "tool_calls", calls))
    assert (out, err) == ("", "[it calls tools, which nobody answers here: f, g]\n")


def test_no_text_commands_the_terminal() -> None:
    assert harmless("a\x1b]0;title\x07b\x9b2J\r\nc\td\x7f") == "a�]0;title�b�2J\nc\td�"


def test_no_error_of_a_server_commands_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        fail("There is no session \x1b[2J.")
    assert capsys.readouterr().err == "rejoinder: There is no session �[2J.\n"


def test_on_a_terminal_notes_have_lines_of_their_own(capsys: pytest.CaptureFixture[str]) -> None:
    display = Display(on_terminal=True)
    display.text("in the middle\x1b[2J")
    display.note("[note]")
    assert capsys.readouterr() == ("in the middle�[2J\n", "[note]\n")


def test_a_pipe_gets_the_words_to_the_letter(capsys: pytest.CaptureFixture[str]) -> None:
    display = Display(on_terminal=False)
    display.text("in the middle\x1b[2J\r\n ")
    display.note("[note]")
    assert capsys.readouterr() == ("in the middle\x1b[2J\r\n ", "[note]\n")


@asynccontextmanager
async def answering(status: str) -> AsyncIterator[str]:
    """The address of what answers with this alone."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(f"HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n".encode())
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def told_of(address: str) -> str:
    with pytest.raises(RejoinderError) as told:
        async with reached(address, patience=0) as client:
            await client.request("GET", "/v1/sessions")
    return told.value.detail


async def test_a_password_in_an_address_is_told_by_no_error() -> None:
    async with answering("404 Not Found") as there:
        for address in (there, "127.0.0.1:9"):
            told = await told_of(f"http://me:secret@{address}")
            assert f"http://{address}" in told and "secret" not in told


async def test_a_server_that_cannot_answer_just_now_need_not_be_started() -> None:
    async with answering("503 Service Unavailable") as there:
        url = f"http://{there}"
        told = await told_of(url)
    assert told == f"{url} cannot answer just now: GET {url}/v1/sessions was answered by 503."


def test_an_address_may_lack_its_scheme() -> None:
    assert checked_url("localhost:8000") == "http://localhost:8000"
    assert checked_url("https://chat.example/") == "https://chat.example/"
    assert checked_url("http://x:1\r\n") == "http://x:1"  # as from a file of variables
    for wrong in ("http://☃.x", "http://a\udcff", "", "ftp://x", "http://", "http://x:99999", "http://x:one", "x:0"):
        with pytest.raises(ValueError, match=r"URL|[Pp]ort"):
            checked_url(wrong)
