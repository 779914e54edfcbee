"""A real HTTP server that speaks Chat Completions by script, and remembers who asked what, and when they left.

It stands in for an upstream wherever a test, a demo or a benchmark needs one: the answer to a request is chosen by its
model's name or by `/script …` in its last message (`rejoinder.llm.script` has the language). It is one asyncio
protocol, so that it costs little beside what is measured.

    async with ScriptedUpstream() as upstream:   # upstream.base_url, upstream.requests
    python -m rejoinder.testing.upstream --port 0 [--script "tokens=200 pace=0.02"] [--models a,b]

Beside `/v1/chat/completions` and `/v1/models` it serves `GET /records` and `DELETE /records`, for other processes.
"""

import argparse
import asyncio
import contextlib
import time
from collections import Counter, deque
from collections.abc import Sequence
from typing import Any, Self

import msgspec

from rejoinder.abc import Prompt
from rejoinder.entities import JsonObject
from rejoinder.llm.script import BUILT_IN, BadScript, Script, parse
from rejoinder.llm.scripted_answer import Answer, answer_to, overflow
from rejoinder.testing.exchange import Exchange
from rejoinder.testing.records import Record
from rejoinder.testing.wire import http_error, http_fault, stream, whole

REMEMBERED = 10_000
BEFORE_HEADERS = ("stall", "upstream_stalled", "reset", "close")
"""Faults that, before the first token, come before everything."""


class ScriptedUpstream:
    """`script` is what it does where neither model nor message say otherwise. `port` 0 takes a free one."""

    def __init__(
        self, *, script: str = "", models: Sequence[str] = BUILT_IN, host: str = "127.0.0.1", port: int = 0
    ) -> None:
        self.requests: deque[Record] = deque(maxlen=REMEMBERED)
        self.connections: set[asyncio.BaseTransport] = set()
        self._script = parse(script)
        self._models = tuple(models)
        self._host, self._port = host, port
        self._asked: Counter[bytes] = Counter()
        self._number = 0

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Connection(self), self._host, self._port, backlog=1024)
        self._port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *exc: object) -> None:
        """From now on connections are refused."""
        self._server.close()
        for transport in list(self.connections):
            if isinstance(transport, asyncio.Transport):
                transport.abort()
        await self._server.wait_closed()

    @property
    def base_url(self) -> str:
        return f"http://{self._host}:{self._port}/v1"

    async def ended(self, number: int = -1, within: float = 5) -> Record:
        """The request of this place, once it has ended. Raises TimeoutError."""
        async with asyncio.timeout(within):
            while not self.requests or not self.requests[number].end:  # noqa: ASYNC110 - records are plain values
                await asyncio.sleep(0.002)
        return self.requests[number]

    # what a connection asks

    def record(self, method: str, path: str, headers: dict[str, str], body: bytes) -> Record:
        self._number += 1
        record = Record(
            number=self._number, method=method, path=path, headers=headers, body=body, began=time.monotonic()
        )
        if path != "/records":
            self.requests.append(record)
        return record

    def listed(self) -> JsonObject:
        return {"object": "list", "data": [{"id": name, "object": "model", "created": 0} for name in self._models]}

    def answer(self, asked: JsonObject) -> Answer:
        """Raises BadScript for a `/script` line that is wrong. A model that is no script is any model."""
        model = asked.get("model") or ""
        try:
            script = parse(model, self._script)
        except BadScript:
            script = self._script
        params = {name: value for name, value in asked.items() if name not in ("model", "messages")}
        return answer_to(Prompt(model=model, messages=tuple(asked.get("messages") or ()), params=params), script)

    def fails(self, script: Script, body: bytes) -> bool:
        """Whether its fault, if it has one, happens this time."""
        if not script.times:
            return True
        self._asked[body] += 1
        return self._asked[body] <= script.times


class _Connection(asyncio.Protocol):
    """One client. Requests follow one another; while one is answered, what the client does is still seen."""

    def __init__(self, upstream: ScriptedUpstream) -> None:
        self._upstream = upstream
        self._loop = asyncio.get_running_loop()
        self._received = b""
        self._exchange: Exchange | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._upstream.connections.add(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._upstream.connections.discard(self._transport)
        self.eof_received()

    def eof_received(self) -> None:
        if self._exchange is not None:
            self._exchange.end("client left")

    def pause_writing(self) -> None:
        if self._exchange is not None:
            self._exchange.pause()

    def resume_writing(self) -> None:
        if self._exchange is not None:
            self._exchange.resume()

    def data_received(self, data: bytes) -> None:
        self._received += data
        if self._exchange is not None and not self._exchange.record.end:
            return
        head, found, rest = self._received.partition(b"\r\n\r\n")
        if not found:
            return
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        size = int(headers.get("content-length", 0))
        if len(rest) >= size:
            self._received = rest[size:]
            method, path, _ = first.split(" ")
            self._exchange = Exchange(self._transport, self._upstream.record(method, path, headers, rest[:size]))
            self._respond(self._exchange)

    def _respond(self, exchange: Exchange) -> None:
        record = exchange.record
        match record.method, record.path.removeprefix("/v1"):
            case "POST", "/chat/completions":
                self._complete(exchange)
            case "GET", "/models":
                exchange.send(200, self._upstream.listed())
            case "GET", "/records":
                exchange.send(200, [each.as_json() for each in self._upstream.requests])
            case "DELETE", "/records":
                self._upstream.requests.clear()
                exchange.send(200, {})
            case _:
                exchange.send(404, {"error": {"message": f"There is no {record.method} {record.path}.", "code": None}})

    def _complete(self, exchange: Exchange) -> None:
        record = exchange.record
        try:
            asked = msgspec.json.decode(record.body, type=dict[str, Any])
            answer = self._upstream.answer(asked)
        except (msgspec.MsgspecError, BadScript) as exc:
            exchange.send(400, {"error": {"message": str(exc), "code": "invalid_request_error"}})
            return
        script = answer.script
        fails = self._upstream.fails(script, record.body)
        model = asked.get("model") or ""
        fault_after = answer.fault_after() if fails else None
        exchange.begin(script.headers)
        if fault_after == 0 and script.fault is not None and script.fault.what in BEFORE_HEADERS:
            exchange.fail(script.fault.what)
        elif answer.too_long:
            exchange.at(0, lambda: exchange.send(400, overflow(answer), {}, end="failed"))
        elif fails and (what := http_fault(script)):
            status, fields, body = http_error(script, what, record.headers.get("authorization", ""))
            exchange.at(0, lambda: exchange.send(status, body, fields, end="failed"))
        elif asked.get("stream") and "whole" not in script.wire:
            options = asked.get("stream_options") or {}
            pieces = stream(answer, model, fault_after, bool(options.get("include_usage")))
            exchange.at(0, lambda: exchange.stream(pieces))
        else:
            piece = whole(answer, model, fault_after)
            exchange.at(piece.due, lambda: exchange.send_whole(piece))


async def serve(upstream: ScriptedUpstream) -> None:
    async with upstream:
        print(upstream.base_url, flush=True)
        await asyncio.Event().wait()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m rejoinder.testing.upstream", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--script", default="", help="what it does where a request says nothing else")
    parser.add_argument("--models", default=",".join(BUILT_IN), help="names for GET /v1/models")
    given = parser.parse_args()
    upstream = ScriptedUpstream(script=given.script, models=given.models.split(","), host=given.host, port=given.port)
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serve(upstream))


if __name__ == "__main__":
    main()
