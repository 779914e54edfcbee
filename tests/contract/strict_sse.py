"""A reader of the service's streams that takes nothing but what the contract allows, byte by byte.

A client's parser forgives; this one raises at the first byte that is not as `docs/api.md` says: LF alone, frames of
`event:`, one `data:` line and `id:`, heartbeats of `:` without a blank line, `retry:` in the first frame only.
"""

import json
import re
from dataclasses import dataclass, field
from typing import Any

TYPES = {
    "session.created": {"session"},
    "session.updated": {"session"},
    "message.created": {"message"},
    "message.started": {"message_id", "attempt", "model"},
    "message.delta": {"message_id", "part", "offset", "text"},
    "message.reset": {"message_id", "attempt", "reason"},
    "message.stopping": {"message_id"},
    "message.ended": {"message"},
}
"""Every event that a stream may carry, and what its data must hold beside `seq`."""

HEARTBEAT = b":\n"
FRAME = re.compile(
    rb"(retry: (?P<retry>\d+)\n)?event: (?P<type>[a-z.]+)\ndata: (?P<data>\{[^\n\r]*\})\nid: (?P<id>\d+)\n\n"
)


class BadStream(AssertionError):
    """The server wrote what the contract does not allow."""


@dataclass(frozen=True)
class Frame:
    seq: int
    type: str
    data: dict[str, Any]
    raw: bytes

    @property
    def message_id(self) -> str | None:
        message = self.data.get("message")
        return message["id"] if message else self.data.get("message_id")


@dataclass
class StrictReader:
    """Feed it bytes as they come; `heartbeats` and `frames` are what they were, `left` is an unfinished piece."""

    frames: list[Frame] = field(default_factory=list)
    heartbeats: int = 0
    left: bytes = b""

    def feed(self, data: bytes) -> list[Frame]:
        """Returns the frames that these bytes made whole."""
        if b"\r" in data:
            raise BadStream(f"a carriage return in {data!r}")
        self.left += data
        found: list[Frame] = []
        while self.left:
            if self.left.startswith(HEARTBEAT):
                self.heartbeats += 1
                self.left = self.left[len(HEARTBEAT) :]
                continue
            end = self.left.find(b"\n\n")
            if end < 0:
                self._check_beginning()
                break
            raw, self.left = self.left[: end + 2], self.left[end + 2 :]
            found.append(self._frame(raw))
        return found

    def check_whole(self) -> None:
        if self.left:
            raise BadStream(f"the stream ended inside a frame: {self.left!r}")

    def _check_beginning(self) -> None:
        if not any(start.startswith(self.left[: len(start)]) for start in (b"event: ", b"retry: ", HEARTBEAT)):
            raise BadStream(f"neither a frame nor a heartbeat: {self.left[:200]!r}")

    def _frame(self, raw: bytes) -> Frame:
        match = FRAME.fullmatch(raw)
        if match is None:
            raise BadStream(f"not a frame: {raw!r}")
        if (match["retry"] is not None) != (not self.frames):
            raise BadStream(f"`retry:` belongs inside the first frame and nowhere else: {raw!r}")
        data = json.loads(match["data"].decode())
        frame = Frame(int(match["id"]), match["type"].decode(), data, raw)
        self._check_said(frame)
        self.frames.append(frame)
        return frame

    def _check_said(self, frame: Frame) -> None:
        if frame.type not in TYPES:
            raise BadStream(f"an event of no type that a stream carries: {frame.type}")
        if frame.data.get("seq") != frame.seq:
            raise BadStream(f"`seq` is {frame.data.get('seq')} and `id:` is {frame.seq}")
        if missing := TYPES[frame.type] - frame.data.keys():
            raise BadStream(f"{frame.type} lacks {missing}")
        if self.frames and frame.seq <= self.frames[-1].seq:
            raise BadStream(f"seq {frame.seq} came after {self.frames[-1].seq}")


def text_of(
    frames: list[Frame], message_id: str, *, start: str = "", part: str = "content", index: int | None = None
) -> str:
    """The text of one reply as a reader gathers it, who had `start` before; every offset must agree."""
    text = start
    for frame in frames:
        if frame.message_id != message_id:
            continue
        if frame.type == "message.reset":
            text = ""
        elif frame.type == "message.delta" and frame.data["part"] == part and frame.data.get("index") == index:
            if frame.data["offset"] != len(text):
                raise BadStream(f"offset {frame.data['offset']} where {len(text)} code points had come")
            text += frame.data["text"]
    return text
