"""The overview as a reader sees it who takes nothing but what the contract allows, and the list and marks that he keeps by it."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx2

import strict_sse
from strict_sse import BadStream, StrictReader
from wire import Api, Json, Stream

TYPES = {
    "snapshot": {"writing"},
    "session.created": {"session_id", "seq", "session"},
    "session.updated": {"session_id", "seq", "session"},
    "session.deleted": {"session_id"},
    "message.created": {"session_id", "seq", "message"},
    "message.started": {"session_id", "seq", "message_id", "attempt", "model"},
    "message.ended": {"session_id", "seq", "message"},
}
"""Every event that the overview may carry, and what its data must hold."""

FRAME = re.compile(rb"(retry: (?P<retry>\d+)\n)?event: (?P<type>[a-z.]+)\ndata: (?P<data>\{[^\n\r]*\})\n\n")


class OverviewReader(StrictReader):
    """As strict as the reader of logs, but frames have no `id:`, the first is a snapshot, and seqs rise by session."""

    def __init__(self) -> None:
        super().__init__()
        self._seqs: dict[str, int] = {}

    def _frame(self, raw: bytes) -> strict_sse.Frame:
        match = FRAME.fullmatch(raw)
        if match is None:
            raise BadStream(f"not a frame: {raw!r}")
        if (match["retry"] is not None) != (not self.frames):
            raise BadStream(f"`retry:` belongs inside the first frame and nowhere else: {raw!r}")
        data, kind = json.loads(match["data"].decode()), match["type"].decode()
        if not self.frames and kind != "snapshot":
            raise BadStream(f"the overview begins with {kind}")
        if kind not in TYPES or TYPES[kind] - data.keys():
            raise BadStream(f"no event of the overview: {raw!r}")
        self._check_order(kind, data)
        frame = strict_sse.Frame(data.get("seq", 0), kind, data, raw)
        self.frames.append(frame)
        return frame

    def _check_order(self, kind: str, data: Json) -> None:
        if kind == "snapshot":
            self._seqs = {session["session_id"]: session["last_seq"] for session in data["writing"]}
        elif kind == "session.deleted":
            self._seqs.pop(data["session_id"], None)
        elif data["seq"] <= self._seqs.get(data["session_id"], 0):
            raise BadStream(f"seq {data['seq']} of {data['session_id']} came after {self._seqs[data['session_id']]}")
        else:
            self._seqs[data["session_id"]] = data["seq"]


class OverviewStream(Stream):
    def __init__(self, response: httpx2.Response) -> None:
        super().__init__(response)
        self._reader = OverviewReader()

    def of(self, *sessions: str) -> list[strict_sse.Frame]:
        """What came so far of these sessions, without snapshots."""
        return [frame for frame in self.frames if frame.data.get("session_id") in sessions]

    def until_of(self, sid: str, kind: str) -> Json:
        """Data of the next event of this type and session."""
        return self.until(lambda frame: (frame.type, frame.data.get("session_id")) == (kind, sid)).data

    @property
    def marks(self) -> "Marks":
        marks = Marks()
        for frame in self.frames:
            marks.apply(frame.type, frame.data)
        return marks


class Marks:
    """What a front-end keeps by the overview: the open replies of each session, and titles as they were last told."""

    def __init__(self) -> None:
        self.writing: dict[str, dict[str, str]] = {}
        self.titles: dict[str, str | None] = {}

    def apply(self, kind: str, data: Json) -> None:
        sid = data.get("session_id", "")
        replies = self.writing.get(sid, {})
        match kind:
            case "snapshot":
                self.writing = {
                    session["session_id"]: {reply["id"]: reply["status"] for reply in session["replies"]}
                    for session in data["writing"]
                }
                return
            case "session.created" | "session.updated":
                self.titles[sid] = data["session"]["title"]
            case "session.deleted":
                replies = {}
                self.titles.pop(sid, None)
            case "message.created" if data["message"]["status"] in ("queued", "streaming"):
                replies = replies | {data["message"]["id"]: data["message"]["status"]}
            case "message.started":
                replies = replies | {data["message_id"]: "streaming"}
            case "message.ended":
                replies = {mid: status for mid, status in replies.items() if mid != data["message"]["id"]}
        self.writing.pop(sid, None)
        if replies:
            self.writing[sid] = replies


@contextmanager
def overview(api: Api, **request: Any) -> Iterator[OverviewStream]:
    with api.stream("GET", "/events", **request) as stream:
        yield OverviewStream(stream.response)


def settled(api: Api, stream: OverviewStream) -> None:
    """Reads until all that was committed before this call has come: what is made now comes behind it."""
    stream.until_of(api.session(title="behind it all"), "session.created")
