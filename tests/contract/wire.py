"""A client of the contract tests' own: thin over HTTP, strict about what comes back."""

import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar

import httpx2

from strict_sse import Frame, StrictReader

T = TypeVar("T")
Json = dict[str, Any]

PATIENCE = 20.0
"""Seconds after which a test gives up on an answer: far more than a busy machine needs."""

STREAM_HEADERS = {
    "content-type": "text/event-stream; charset=utf-8",
    "cache-control": "no-cache, no-store, no-transform",
    "x-content-type-options": "nosniff",
    "cross-origin-resource-policy": "same-origin",
}

PROBLEM_MEMBERS = {"type", "title", "status", "detail", "code"}

ENDS = {"completed", "stopped", "failed", "interrupted"}


def session_id() -> str:
    return f"ses_{uuid.uuid4().hex}"


def message_id() -> str:
    return f"msg_{uuid.uuid4().hex}"


def script(words: str, message: str = "") -> str:
    """What to send so that the scripted model plays these words (`rejoinder.llm.script` has the language)."""
    return f"/script {words}\n{message}"


def slow(tokens: int = 10_000, pace: float = 0.01) -> str:
    """A reply that is still being written for as long as a test needs it to."""
    return script(f"tokens={tokens} pace={pace}")


SILENT = script("hang")
"""A reply whose first token never comes."""


class Answer(Protocol):
    """What a response is to any HTTP client."""

    @property
    def status_code(self) -> int: ...

    @property
    def headers(self) -> Any: ...

    @property
    def text(self) -> str: ...

    def json(self) -> Any: ...


class Stream:
    """A stream as a reader sees it. `frames` are all that came so far."""

    def __init__(self, response: httpx2.Response) -> None:
        self.response = response
        self._reader = StrictReader()
        self._bytes = response.iter_raw()
        self._taken = 0

    @property
    def frames(self) -> list[Frame]:
        return self._reader.frames

    @property
    def heartbeats(self) -> int:
        return self._reader.heartbeats

    def read(self) -> bool:
        """Reads once. False where the stream ended cleanly; raises RemoteProtocolError or ReadError where it broke."""
        data = next(self._bytes, None)
        if data is None:
            self._reader.check_whole()
            return False
        self._reader.feed(data)
        return True

    def until(self, wanted: str | Callable[[Frame], bool]) -> Frame:
        """The first frame, of those not yet passed, of this type or for which this is true."""
        fits = (lambda frame: frame.type == wanted) if isinstance(wanted, str) else wanted
        while True:
            while self._taken < len(self.frames):
                self._taken += 1
                if fits(frame := self.frames[self._taken - 1]):
                    return frame
            assert self.read(), f"the stream ended before {wanted}"

    def rest(self) -> list[Frame]:
        """All frames, after reading to a clean end."""
        while self.read():
            pass
        return self.frames

    def broken(self) -> list[Frame]:
        """All frames, after reading to where the connection was broken off, which it must be."""
        try:
            while self.read():
                pass
        except (httpx2.RemoteProtocolError, httpx2.ReadError):
            return self.frames
        raise AssertionError("the stream ended cleanly, and a client would take it for the whole")


class Api:
    """One server. Paths are below `/v1`, unless they begin with two slashes."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        limits = httpx2.Limits(max_connections=None, max_keepalive_connections=50)
        self.http = httpx2.Client(base_url=self.url, timeout=PATIENCE, trust_env=False, limits=limits)

    def close(self) -> None:
        self.http.close()

    def ask(self, method: str, path: str, **request: Any) -> httpx2.Response:
        return self.http.request(method, _full(path), **request)

    def get(self, path: str, **request: Any) -> httpx2.Response:
        return self.ask("GET", path, **request)

    def post(self, path: str, **request: Any) -> httpx2.Response:
        return self.ask("POST", path, **request)

    # sessions

    def session(self, **body: Any) -> str:
        """A new session's id."""
        made = self.post("/sessions", json=body)
        assert made.status_code == 201, made.text
        found: str = made.json()["id"]
        return found

    def read_session(self, sid: str) -> Json:
        return self._found(self.get(f"/sessions/{sid}"))

    def last_seq(self, sid: str) -> int:
        found: int = self.read_session(sid)["last_seq"]
        return found

    # messages

    def send_async(self, sid: str, content: Any, **fields: Any) -> Json:
        """`{message, reply}` at once."""
        sent = self.post(
            f"/sessions/{sid}/messages", json={"content": content, **fields}, headers={"prefer": "respond-async"}
        )
        assert sent.status_code == 202, sent.text
        turn: Json = sent.json()
        return turn

    def send_whole(self, sid: str, content: Any, **fields: Any) -> Json:
        """`{message, reply}` when the reply has ended."""
        sent = self.post(
            f"/sessions/{sid}/messages", json={"content": content, **fields}, headers={"accept": "application/json"}
        )
        return self._found(sent)

    @contextmanager
    def send_streamed(
        self, sid: str, content: Any, *, headers: dict[str, str] | None = None, **fields: Any
    ) -> Iterator[Stream]:
        said = {"content": content, **fields}
        with self.stream("POST", f"/sessions/{sid}/messages", json=said, headers=headers) as stream:
            yield stream

    def message(self, sid: str, mid: str) -> Json:
        return self._found(self.get(f"/sessions/{sid}/messages/{mid}"))

    def history(self, sid: str, **params: Any) -> Json:
        return self._found(self.get(f"/sessions/{sid}/messages", params=params))

    def all_messages(self, sid: str) -> list[Json]:
        found: list[Json] = self.history(sid, branch="all")["data"]
        return found

    def stop(self, sid: str, mid: str) -> Json:
        return self._found(self.post(f"/sessions/{sid}/messages/{mid}/stop"))

    def ended(self, sid: str, mid: str) -> Json:
        """The reply once it has ended."""
        with self.follow(sid, mid) as stream:
            stream.rest()
        return self.message(sid, mid)

    # streams

    @contextmanager
    def follow(self, sid: str, mid: str, after: int | None = None, **request: Any) -> Iterator[Stream]:
        """A reply's stream."""
        with self.stream("GET", events_of(sid, mid), params=_cursor(after), **request) as stream:
            yield stream

    @contextmanager
    def follow_session(self, sid: str, after: int | None = None, **request: Any) -> Iterator[Stream]:
        with self.stream("GET", f"/sessions/{sid}/events", params=_cursor(after), **request) as stream:
            yield stream

    @contextmanager
    def stream(self, method: str, path: str, **request: Any) -> Iterator[Stream]:
        """A stream with the headers that a stream must have. Leaving this closes the connection."""
        with self.http.stream(method, _full(path), **request) as response:
            if response.status_code != 200:
                response.read()
            assert response.status_code == 200, (response.status_code, response.text)
            check_stream_headers(response)
            yield Stream(response)

    def _found(self, response: httpx2.Response) -> Json:
        assert response.status_code == 200, (response.status_code, response.text)
        assert response.headers["content-type"] == "application/json"
        found: Json = response.json()
        return found


def broken_body(response: httpx2.Response) -> bytes:
    """All bytes of a body up to where its connection was broken off, which it must be."""
    body = b""
    try:
        for piece in response.iter_raw():
            body += piece
    except (httpx2.RemoteProtocolError, httpx2.ReadError):
        return body
    raise AssertionError(f"the body ended cleanly: {body!r}")


def check_stream_headers(response: httpx2.Response) -> None:
    headers = response.headers
    assert {name: headers.get(name) for name in STREAM_HEADERS} == STREAM_HEADERS
    assert "content-length" not in headers
    assert "content-encoding" not in headers


def check_problem(response: Answer, status: int, code: str) -> Json:
    """The problem document that an error must be (RFC 9457)."""
    assert (response.status_code, response.headers.get("content-type")) == (status, "application/problem+json"), (
        response.status_code,
        response.text,
    )
    document: Json = response.json()
    assert document.keys() >= PROBLEM_MEMBERS
    assert (document["status"], document["code"]) == (status, code), document
    assert document["title"] and document["detail"]
    assert "Traceback" not in response.text and ".py" not in response.text
    if status == 409:
        assert response.headers["x-should-retry"] == "false"
    if status == 422:
        assert document["errors"] and all(error["loc"] and error["message"] for error in document["errors"])
    if status == 503:
        assert int(response.headers["retry-after"]) > 0
    return document


def events_of(sid: str, mid: str) -> str:
    return f"/sessions/{sid}/messages/{mid}/events"


def together(work: Callable[[int], T], times: int) -> list[T]:
    """Does it so many times at once."""
    with ThreadPoolExecutor(times) as pool:
        return list(pool.map(work, range(times)))


def eventually(true: Callable[[], Any], seconds: float = PATIENCE) -> None:
    """Waits until it is true."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not come to be"
        time.sleep(0.02)


def _full(path: str) -> str:
    return path[1:] if path.startswith("//") else f"/v1{path}"


def _cursor(after: int | None) -> dict[str, int] | None:
    return None if after is None else {"after": after}
