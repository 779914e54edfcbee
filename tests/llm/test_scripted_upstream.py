"""The scripted upstream as tests and benchmarks rely on it, with another client than ours."""

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Iterator

import httpx2
import openai
import pytest

from rejoinder.llm.scripted_answer import full_text
from rejoinder.testing.upstream import ScriptedUpstream


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[str]:
    """The URL of one that runs in a process of its own."""
    command = [sys.executable, "-m", "rejoinder.testing.upstream", "--script", "tokens=3", "--models", "a,b"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
        process.terminate()


def test_another_process_reads_its_records(elsewhere: str) -> None:
    root = elsewhere.removesuffix("/v1")
    with httpx2.Client() as client:
        assert [model["id"] for model in client.get(f"{elsewhere}/models").json()["data"]] == ["a", "b"]
        client.delete(f"{root}/records")
        body = {"model": "whatever", "messages": [{"role": "user", "content": "Grüße"}]}
        sent = time.monotonic()
        answer = client.post(f"{elsewhere}/chat/completions", json=body, headers={"x-mark": "7"}).json()
        (record,) = client.get(f"{root}/records").json()
    assert answer["choices"][0]["message"]["content"] == "t0 t1 t2"
    assert json.loads(record["body"]) == body
    assert (record["headers"]["x-mark"], record["tokens"], record["usage"], record["end"]) == (
        "7",
        3,
        [1, 3],
        "answered",
    )
    assert sent <= record["began"] <= record["first"] <= record["ended"] <= time.monotonic()


async def test_the_official_client_reads_it(upstream: ScriptedUpstream) -> None:
    client = openai.AsyncOpenAI(api_key="k", base_url=upstream.base_url, max_retries=0)
    async with client:
        script = "/script story crlf cut null empty pings"
        stream = await client.chat.completions.create(
            model="m", messages=[{"role": "user", "content": script}], stream=True
        )
        pieces = [chunk.choices[0].delta.content or "" async for chunk in stream if chunk.choices]
        whole = await client.chat.completions.create(model="story", messages=[{"role": "user", "content": "x"}])
    assert "".join(pieces) == whole.choices[0].message.content == full_text("story")
    assert [record.end for record in upstream.requests] == ["answered", "answered"]


async def test_it_stops_writing_when_its_client_leaves(upstream: ScriptedUpstream) -> None:
    host, port = upstream.base_url.removeprefix("http://").removesuffix("/v1").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    body = b'{"model":"tokens=9000000","stream":true,"messages":[]}'
    writer.write(b"POST /v1/chat/completions HTTP/1.1\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))
    await reader.readexactly(1_000)
    async with asyncio.timeout(5):  # until all buffers between them are full
        written = -1
        while written < upstream.requests[-1].tokens:
            written = upstream.requests[-1].tokens
            await asyncio.sleep(0.1)
    assert written < 1_000_000, "it writes no faster than its client reads"
    writer.transport.abort()
    assert (await upstream.ended()).end == "client left"


async def test_a_request_that_comes_in_pieces_and_two_on_one_connection(upstream: ScriptedUpstream) -> None:
    host, port = upstream.base_url.removeprefix("http://").removesuffix("/v1").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    body = b'{"model":"tokens=2","messages":[]}'
    request = b"POST /v1/chat/completions HTTP/1.1\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    for _ in range(2):
        for at in range(0, len(request), 20):
            writer.write(request[at : at + 20])
            await asyncio.sleep(0.001)
        head = await reader.readuntil(b"\r\n\r\n")
        size = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
        assert b'"t0 t1"' in await reader.readexactly(size)
    writer.close()


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"messages":[{"role":"user","content":"/script nonsense"}]}'])
async def test_a_request_that_is_none_is_a_400(upstream: ScriptedUpstream, body: bytes) -> None:
    async with httpx2.AsyncClient() as client:
        answer = await client.post(f"{upstream.base_url}/chat/completions", content=body)
        assert answer.status_code == 400
        assert (await client.get(f"{upstream.base_url}/nowhere")).status_code == 404
