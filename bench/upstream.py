"""The upstream of the benchmark: replies whose bytes are made once, on one timer for all of them.

It says what the scripted upstream (`rejoinder.testing.upstream`) says to the same request, byte for byte, for half of the
CPU and in a burst for a tenth, so that those who relay are measured and not it. It has no faults and remembers nobody.

    python -m bench.upstream    # says where it listens
"""

import asyncio
import contextlib
import gc
import heapq
from collections.abc import Iterator
from functools import lru_cache
from itertools import count, groupby
from typing import Any, NamedTuple

import msgspec

from bench.load import LENGTH
from rejoinder.abc import Prompt
from rejoinder.llm.scripted_answer import answer_to
from rejoinder.testing.wire import stream

AT_ONCE = 6 << 10
"""Bytes that are written in one go, some 32 tokens, before other replies get their turn."""
REMEMBERED = 64
"""Requests whose answers are kept: every stream of a turn asks the same."""
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n"
LAST_CHUNK = b"0\r\n\r\n"


class Write(NamedTuple):
    """`due` is in seconds from the request."""

    due: float
    data: bytes


@lru_cache(REMEMBERED)
def writes_of(body: bytes) -> tuple[Write, ...]:
    """The answer to a request, as it is written where nobody is late. Raises ValueError, KeyError and MsgspecError."""
    asked = msgspec.json.decode(body, type=dict[str, Any])
    model = asked["model"]
    answer = answer_to(Prompt(model=model, messages=tuple(asked["messages"])))
    pieces = stream(answer, model, None, bool((asked.get("stream_options") or {}).get("include_usage")))
    writes = [Write(0, HEAD)]
    for due, group in groupby(pieces, key=lambda piece: piece.due):
        writes += [
            Write(due, data) for data in _gathered(b"%x\r\n%b\r\n" % (len(each.data), each.data) for each in group)
        ]
    last = writes.pop()
    return (*writes, Write(last.due, last.data + LAST_CHUNK))


def _gathered(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """As they are written in one go."""
    held: list[bytes] = []
    for chunk in chunks:
        held.append(chunk)
        if sum(map(len, held)) >= AT_ONCE:
            yield b"".join(held)
            held = []
    if held:
        yield b"".join(held)


class Reply:
    """One answer on its way. It is written when it is due and not paused, and no faster than it is read."""

    def __init__(self, transport: asyncio.Transport, writes: tuple[Write, ...], began: float) -> None:
        self._transport = transport
        self._writes = writes
        self._began = began
        self._next = 0
        self.paused = False
        self.waiting = False
        """Whether the timer has it."""

    @property
    def due(self) -> float | None:
        """None where there is nothing left to write, or nobody to read it."""
        if self._next == len(self._writes) or self._transport.is_closing():
            return None
        return self._began + self._writes[self._next].due

    def write(self, now: float) -> None:
        """What is due by now, as far as it goes in one go."""
        out, size = [], 0
        while (due := self.due) is not None and due <= now and size < AT_ONCE:
            out.append(self._writes[self._next].data)
            size += len(out[-1])
            self._next += 1
        self._transport.write(out[0] if len(out) == 1 else b"".join(out))


class Timer:
    """Wakes for the reply that is due next. A timer for each would cost as much as the writing."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._waiting: list[tuple[float, int, Reply]] = []
        self._numbers = count()
        self._handle: asyncio.Handle | None = None
        self._armed = 0.0

    def add(self, reply: Reply) -> None:
        if self._push(reply) and (self._handle is None or self._waiting[0][0] < self._armed):
            self._arm()

    def _push(self, reply: Reply) -> bool:
        due = reply.due
        if due is None or reply.waiting or reply.paused:
            return False
        reply.waiting = True
        heapq.heappush(self._waiting, (due, next(self._numbers), reply))
        return True

    def _arm(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
        self._handle = None
        if self._waiting:
            self._armed = self._waiting[0][0]
            self._handle = self._loop.call_at(self._armed, self._wake)

    def _wake(self) -> None:
        now, waiting, due = self._loop.time(), self._waiting, []
        while waiting and waiting[0][0] <= now:
            due.append(heapq.heappop(waiting)[2])
        for reply in due:
            reply.waiting = False
            reply.write(now)
            self._push(reply)
        self._arm()


class Connection(asyncio.Protocol):
    """One client, whose requests follow one another."""

    def __init__(self, timer: Timer) -> None:
        self._timer = timer
        self._loop = asyncio.get_running_loop()
        self._received = b""
        self._reply: Reply | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def pause_writing(self) -> None:
        if self._reply is not None:
            self._reply.paused = True

    def resume_writing(self) -> None:
        if self._reply is not None and self._reply.paused:
            self._reply.paused = False
            self._timer.add(self._reply)

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, found, rest = self._received.partition(b"\r\n\r\n")
        size = LENGTH.search(head + b"\r\n")
        length = int(size[1]) if size else 0
        if found and len(rest) >= length:
            self._received = rest[length:]
            self._respond(head, rest[:length])

    def _respond(self, head: bytes, body: bytes) -> None:
        if head.startswith(b"GET /v1/models "):
            self._tell(200, {"object": "list", "data": []})
        elif not head.startswith(b"POST /v1/chat/completions "):
            self._tell(404, {"error": {"message": "There is nothing here."}})
        else:
            try:
                writes = writes_of(body)
            except (ValueError, KeyError, msgspec.MsgspecError) as error:
                self._tell(400, {"error": {"message": f"It cannot be answered: {error!r}"}})
                return
            self._reply = Reply(self._transport, writes, self._loop.time())
            self._timer.add(self._reply)

    def _tell(self, status: int, body: object) -> None:
        data = msgspec.json.encode(body)
        head = f"HTTP/1.1 {status} -\r\ncontent-type: application/json\r\ncontent-length: {len(data)}\r\n\r\n"
        self._transport.write(head.encode() + data)


async def serve() -> None:
    timer = Timer()
    server = await asyncio.get_running_loop().create_server(lambda: Connection(timer), "127.0.0.1", 0, backlog=4096)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    gc.freeze()
    await asyncio.Event().wait()


if __name__ == "__main__":
    # Not on uvloop, whose timers cost more than all else here.
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serve())
