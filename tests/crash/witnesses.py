"""Readers, who write down every frame that they saw, and what the service has acknowledged to anyone.

A reader comes back after every broken connection, at its cursor, until it has seen the end. It is strict: it raises where
a frame comes twice, an offset does not agree, or a stream ends cleanly before its end.
"""

import asyncio
import random
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

import httpx2

from strict_sse import Frame, StrictReader, text_of
from wire import Json

BROKEN = (httpx2.NetworkError, httpx2.RemoteProtocolError)
"""What it looks like when the server was killed, is not there, or lets go. A time-out is none of these: it is a fault."""

STUCK = 10.0
"""Seconds of silence after which a server is stuck: heartbeats come every second."""

PAUSE = 0.05
"""Seconds between two tries to reach a server."""

PARTS = (("content", None), ("reasoning", None), ("tool_call", 0))


class Busy(Exception):
    """The service said that it cannot just now (503)."""


@dataclass
class Witnessed:
    """What all readers and senders know together. Pairs are of a session's id and a message's."""

    compacts: bool = False
    """Whether the service drops deltas of replies that have ended: then a reader may find the beginning of a text, and its end."""
    seen: defaultdict[str, dict[int, bytes]] = field(default_factory=lambda: defaultdict(dict))
    """Each frame that any reader saw, by session and seq."""
    begun: set[str] = field(default_factory=set)
    """Replies of which anyone has seen anything."""
    sent: dict[tuple[str, str], str] = field(default_factory=dict)
    """The script of every message that anyone has tried to send, answered or not."""
    acknowledged: dict[tuple[str, str], str] = field(default_factory=dict)
    """The reply to each message that was answered for, in whatever form."""
    stopped: set[tuple[str, str]] = field(default_factory=set)
    """Replies whose stop was answered for."""
    titles: defaultdict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    """Those whose change was answered for, in order."""
    readers: int = 0
    again: int = 0
    """Requests that had to be made again."""

    def note(self, sid: str, frame: Frame) -> None:
        raw = bare(frame)
        if frame.type == "message.started":
            self.begun.add(str(frame.message_id))
        had = self.seen[sid].setdefault(frame.seq, raw)
        assert had == raw, f"two readers saw two things under seq {frame.seq} of {sid}: {had!r} and {raw!r}"

    def acknowledge(self, sid: str, mid: str, reply: str) -> None:
        had = self.acknowledged.setdefault((sid, mid), reply)
        assert had == reply, f"{mid} was answered by {had}, and to a retry by {reply}"


def bare(frame: Frame) -> bytes:
    """The bytes of a frame without the `retry:` that travels in the first one of a connection."""
    return frame.raw[frame.raw.index(b"event: ") :]


class Reader:
    """Someone who reads one stream over as many connections as it takes."""

    def __init__(self, http: httpx2.AsyncClient, witnessed: Witnessed, sid: str) -> None:
        self.frames: list[Frame] = []
        self._http = http
        self._witnessed = witnessed
        self._sid = sid
        witnessed.readers += 1

    @property
    def cursor(self) -> int | None:
        return self.frames[-1].seq if self.frames else None

    async def read(self, response: httpx2.Response) -> None:
        """Reads one connection to its clean end. Raises what is BROKEN where it is broken off."""
        parser = StrictReader()
        async for data in response.aiter_raw():
            for frame in parser.feed(data):
                assert self.cursor is None or frame.seq > self.cursor, f"{frame.raw!r} came behind {self.cursor}"
                self.frames.append(frame)
                self._witnessed.note(self._sid, frame)
                self.on_frame(frame)
        parser.check_whole()

    async def follow(self, path: str, chance: random.Random) -> None:
        """Reads until the stream ends cleanly, resuming at the cursor by the header or by `?after=`."""
        while True:
            request: dict[str, Any] = {}
            if self.cursor is not None:
                by_header = {"headers": {"last-event-id": str(self.cursor)}}
                request = by_header if chance.random() < 0.5 else {"params": {"after": self.cursor}}
            try:
                async with self._http.stream("GET", path, **request) as response:
                    assert response.status_code == 200, (response.status_code, self._sid, path, self.cursor)
                    await self.read(response)
                    return
            except BROKEN:
                await asyncio.sleep(PAUSE)

    def on_frame(self, frame: Frame) -> None: ...

    def check_reply(self, mid: str) -> Json:
        """What it read of this reply is the whole of it, to its one end. Returns the reply."""
        last = self.frames[-1]
        assert last.type == "message.ended" and last.message_id == mid, f"a clean end behind {last.raw!r}"
        assert sum(frame.type == "message.ended" for frame in self.frames) == 1
        reply: Json = last.data["message"]
        for part, index in PARTS:
            read = text_of(self.frames, mid, part=part, index=index)
            assert is_told(read, part_of(reply, part), compacts=self._witnessed.compacts)
        return reply


class Enough(Exception):
    """The reader has seen what it waited for."""


class SessionReader(Reader):
    """Reads a session from its first event until its title says that it is over."""

    OVER = "the end"

    def on_frame(self, frame: Frame) -> None:
        if frame.type == "session.updated" and frame.data["session"]["title"] == self.OVER:
            raise Enough

    async def follow_to_the_end(self, chance: random.Random) -> list[int]:
        """Every seq that it saw."""
        try:
            await self.follow(f"/v1/sessions/{self._sid}/events", chance)
        except Enough:
            return [frame.seq for frame in self.frames]
        raise AssertionError("the stream of a session ended cleanly")


def is_told(read: str, whole: str, *, compacts: bool) -> bool:
    """Whether deltas have told a text that has ended, or as much of it as they may."""
    return whole.startswith(read) if compacts else whole == read


def part_of(message: Json, part: str) -> str:
    """The text of a part; of tool calls, the arguments of the first."""
    if part == "tool_call":
        calls = message["tool_calls"]
        return str(calls[0]["function"]["arguments"]) if calls else ""
    return str(message[part])
