"""A stream that is looked at, or waited for, or both in turn: it says the same, and nothing is lost between the two."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import aclosing
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from raw_server import Connection, Talk, serving
from rejoinder.abc import Chunk, ChunkStream, FinishChunk, LifeChunk, UsageChunk
from rejoinder.errors import ProviderError
from rejoinder.llm.completions import completion_of
from rejoinder.llm.openai import OpenAIProvider
from rejoinder.testing.heard import Heard, asked

TEXT = b'data: {"choices":[{"delta":{"content":" word"}}]}\n\n'
STOP = b'data: {"choices":[{"delta":{},"finish_reason":"stop"}]}\n\n'
USAGE = b'data: {"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":4}}\n\n'
DONE = b"data: [DONE]\n\n"
ENDS = {
    "whole": (STOP + USAGE + DONE, ""),
    "whole without a word": (STOP, ""),
    "cut": (b"data: {", "upstream_incomplete"),
    "unfinished": (DONE, "upstream_incomplete"),
    "an error": (b'data: {"error":{"message":"no"}}\n\n', "upstream_error"),
    "an error behind text": (TEXT + b'data: {"error":{"message":"no"}}\n\n', "upstream_error"),
    "nonsense": (b"data: {]\n\n", "upstream_malformed"),
}
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
FRAMINGS: dict[str, Callable[[bytes], bytes]] = {
    "chunked": lambda body: HEAD + b"transfer-encoding: chunked\r\n\r\n" + b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body),
    "length": lambda body: HEAD + b"content-length: %d\r\n\r\n" % len(body) + body,
    "until close": lambda body: HEAD + b"\r\n" + body,
}


def said_of(chunks: Sequence[Chunk]) -> list[Chunk]:
    return [chunk for chunk in chunks if not isinstance(chunk, LifeChunk)]


async def hear(stream: ChunkStream, looks: list[bool]) -> Heard:
    """Looks or waits, as told, and waits for all that is left."""
    heard = Heard([])
    try:
        async with aclosing(stream) as reads:
            async for chunks in reads:
                heard.chunks += said_of(chunks)
                while looks and looks.pop(0):
                    await asyncio.sleep(0.002)
                    if (found := reads.ready()) is None:
                        break
                    heard.chunks += said_of(found)
    except ProviderError as fault:
        heard.error = fault
    return heard


def saying(first: bytes, go_on: asyncio.Event, *then: bytes, stays: bool = False) -> Talk:
    """Answers in two steps, and closes, or leaves that to its client."""

    async def talk(connection: Connection) -> None:
        await connection.request()
        await connection.say(HEAD + b"\r\n" + first)
        await go_on.wait()
        await connection.say(*then)
        if stays:
            await connection.left()

    return talk


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("framing", FRAMINGS)
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    words=st.integers(1, 6),
    cuts=st.lists(st.integers(1, 500), max_size=8, unique=True).map(sorted),
    looks=st.lists(st.booleans(), max_size=12),
    then=st.sampled_from(["close", "reset", "wait"]),
)
async def test_a_stream_that_is_looked_at_says_what_one_says_that_is_waited_for(
    framing: str, end: str, words: int, cuts: list[int], looks: list[bool], then: str
) -> None:
    last, code = ENDS[end]
    data = FRAMINGS[framing](TEXT * words + last)
    edges = [0, *(cut for cut in cuts if cut < len(data)), len(data)]
    resets = then == "reset"
    waits = then == "wait" and framing != "until close"

    async def talk(connection: Connection) -> None:
        await connection.request()
        for start, stop in pairwise(edges):
            await connection.say(data[start:stop])
            await asyncio.sleep(0.001)
        if waits:
            await connection.left()
        elif resets:
            await asyncio.sleep(0.05)  # what came before it has been read: the system drops what has not
            connection.reset()

    async with serving(talk) as server, OpenAIProvider(None, server.url, default_model="m") as provider:
        heard = await hear(provider.stream(asked("hi")), list(looks))
    expected = words + (end == "an error behind text")
    assert heard.reply.content == " word" * expected
    assert (heard.error.code if heard.error else "") == code
    assert [chunk.reason for chunk in heard.chunks if isinstance(chunk, FinishChunk)] == ["stop"] * (not code)
    assert len([chunk for chunk in heard.chunks if isinstance(chunk, UsageChunk)]) == (end == "whole")


async def test_a_look_meets_nothing_then_what_has_come_and_leaves_the_end_to_the_next_read() -> None:
    go_on = asyncio.Event()
    async with (
        serving(saying(TEXT, go_on, TEXT, TEXT)) as server,
        OpenAIProvider(None, server.url, default_model="m") as provider,
    ):
        stream = provider.stream(asked("hi"))
        assert stream.ready() is None, "nobody has been asked yet"
        async with aclosing(stream) as reads:
            await anext(reads)
            found = reads.ready()
            assert found is not None
            assert not found
            go_on.set()
            await asyncio.sleep(0.1)
            found = reads.ready()
            assert found is not None
            assert completion_of(found).content == " word word"
            assert reads.ready() is None, "the connection has been closed"
            with pytest.raises(ProviderError) as caught:
                await anext(reads)
    assert caught.value.code == "upstream_incomplete"


async def test_a_finish_behind_which_text_comes_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some servers tell of one in their first event, or in each."""
    monkeypatch.setattr("rejoinder.llm.answer_stream.AFTER_FINISH", 0.1)

    async def talk(connection: Connection) -> None:
        await connection.request()
        await connection.say(HEAD + b"\r\n" + STOP)
        for _ in range(4):
            await asyncio.sleep(0.06)
            await connection.say(TEXT)
        await connection.left()

    async with serving(talk) as server, OpenAIProvider(None, server.url, default_model="m") as provider:
        heard = await hear(provider.stream(asked("hi")), [])
    assert (heard.error, heard.reply.content) == (None, " word" * 4)


async def test_behind_done_a_moment_is_waited_for_the_end_with_which_the_connection_is_used_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    said = TEXT + STOP + DONE

    async def talk(connection: Connection) -> None:
        while True:
            await connection.request()
            await connection.say(HEAD + b"transfer-encoding: chunked\r\n\r\n%x\r\n%b\r\n" % (len(said), said))
            if len(connection.requests) == 2:
                await connection.left()
            await asyncio.sleep(0.02)
            await connection.say(b"0\r\n\r\n")

    async with serving(talk) as server, OpenAIProvider(None, server.url, default_model="m") as provider:
        for moment in (2.0, 0.01):
            monkeypatch.setattr("rejoinder.llm.answer_stream.AFTER_DONE", moment)
            async with asyncio.timeout(3):
                heard = await hear(provider.stream(asked("hi")), [])
            assert (heard.error, heard.reply.content) == (None, " word")
        assert len(server.connections) == 1


WHOLE = b'{"choices":[{"message":{"content":" word"},"finish_reason":"stop"}]}'


@pytest.mark.parametrize("label", ["text/event-stream", "application/json", "text/plain", ""])
@pytest.mark.parametrize("body", [TEXT + STOP + DONE, b": ping\n\n" + TEXT + STOP, WHOLE, b"\n " + WHOLE])
async def test_an_answer_is_what_it_is_and_not_what_it_is_called(label: str, body: bytes) -> None:
    async def talk(connection: Connection) -> None:
        await connection.request()
        head = b"HTTP/1.1 200 OK\r\ncontent-type: %b\r\ncontent-length: %d\r\n\r\n" % (label.encode(), len(body))
        await connection.say(head + body[:3])
        await asyncio.sleep(0.01)
        await connection.say(body[3:])

    async with serving(talk) as server, OpenAIProvider(None, server.url, default_model="m") as provider:
        heard = await hear(provider.stream(asked("hi")), [])
    assert (heard.error, heard.reply.content, heard.reply.finish_reason) == (None, " word", "stop")


async def test_signs_of_life_are_told_whether_it_is_waited_or_looked() -> None:
    go_on = asyncio.Event()
    async with (
        serving(saying(b": ping\n\n", go_on, b'data: {"choices":[{"delta":{"details":1}}]}\n\n', stays=True)) as server,
        OpenAIProvider(None, server.url, default_model="m") as provider,
        aclosing(provider.stream(asked("hi"))) as reads,
    ):
        assert list(await anext(reads)) == [LifeChunk()]
        assert reads.ready() == ()
        go_on.set()
        await asyncio.sleep(0.1)
        assert list(reads.ready() or ()) == [LifeChunk()]


async def test_a_look_that_met_an_end_without_a_finish_is_the_last() -> None:
    """Though the connection stays open: else it would be looked at until somebody loses patience."""
    go_on = asyncio.Event()
    async with (
        serving(saying(TEXT, go_on, DONE, stays=True)) as server,
        OpenAIProvider(None, server.url, default_model="m") as provider,
        aclosing(provider.stream(asked("hi"))) as reads,
    ):
        await anext(reads)
        go_on.set()
        await asyncio.sleep(0.1)
        assert reads.ready() is not None
        assert reads.ready() is None
        with pytest.raises(ProviderError) as caught:
            await anext(reads)
    assert caught.value.code == "upstream_incomplete"
