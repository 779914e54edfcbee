"""How the client reads one stream to its end: where it is, what it has proved, and how long it stays patient.

Nothing here makes a request. A `Reading` says what to ask next and takes in what comes; `client` does the asking.
"""

import asyncio
import random
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Protocol, TypeAlias, TypeVar

import httpx2
import msgspec
from msgspec import Struct

from rejoinder import events
from rejoinder.client.answers import UnexpectedAnswer
from rejoinder.client.sse import Frame, SseParser
from rejoinder.entities import JsonObject, Message, Part
from rejoinder.errors import Unavailable
from rejoinder.events import Event, Fact, MessageCreated, MessageDelta, MessageEnded, MessageReset
from rejoinder.fold import BrokenLog

R = TypeVar("R")
OnWait: TypeAlias = Callable[[Exception, float], None]

FIRST_WAIT = 0.5
"""Seconds before the second attempt, where the server does not name its own; doubled with each that fails."""

LONGEST_WAIT = 15.0
"""Seconds. A server that is back is noticed soon enough, and one that is down is not hammered."""

HELD = 30.0
"""Seconds: a stream that stood this long was a good one, even where the reply was silent all the time."""


class ConnectionLost(Unavailable):
    """The client's patience is at its end. What was read is good, and the seq of the last event still resumes."""

    code = "connection_lost"


class Cut(Unavailable):
    """A stream ended before its reply did."""

    code = "cut"
    retry_after = 0


class Received(Struct, frozen=True):
    """One event: what it says, typed, and the event itself, as `rejoinder.fold.fold` takes it."""

    fact: Fact
    event: Event

    @property
    def seq(self) -> int:
        """The cursor that resumes behind this event."""
        return self.event.seq


class Patience:
    """Waits between attempts, longer each time, and gives up after `seconds` of trouble.

    Trouble begins with the first failure and ends when something good comes. Waits are drawn at random, so that the
    readers of a server that restarts do not come back all at once; none is shorter than what the server asked for.
    """

    def __init__(self, seconds: float, on_wait: OnWait | None = None) -> None:
        self.least = 0.0
        """Seconds that the server asked for with `retry:`."""
        self.tried = 0
        """Attempts that failed since the last good thing."""
        self._seconds, self._on_wait = seconds, on_wait
        self._since: float | None = None

    def relieve(self) -> None:
        self.tried, self._since = 0, None

    async def wait(self, failure: Exception) -> None:
        """Waits before the next attempt. Raises ConnectionLost from the failure where there is to be none."""
        now = time.monotonic()
        self._since = now if self._since is None else self._since
        left = self._since + self._seconds - now
        if left <= 0:
            why = str(failure) or type(failure).__name__
            raise ConnectionLost(f"Gave up after {self._seconds:g} s of trouble: {why}") from failure
        asked = failure.retry_after if isinstance(failure, Unavailable) else 0
        growing = FIRST_WAIT * 2 ** min(self.tried, 10)  # who waits for hours has tried more often than a float can say
        least = max(self.least, asked, min(LONGEST_WAIT, growing))
        wait = min(left, least * random.uniform(1, 1.5))  # noqa: S311  # no secret is made of it
        self.tried += 1
        if self._on_wait:
            self._on_wait(failure, wait)
        await asyncio.sleep(wait)


class Proof:
    """Holds a stream to its offsets. What began before the stream is taken as it comes, and from there on proved."""

    def __init__(self) -> None:
        self._from_start: set[str] = set()
        self._ends: dict[tuple[str, Part, int], int] = {}

    def check(self, fact: Fact) -> None:
        """Raises BrokenLog where this fact shows that text is missing or doubled."""
        match fact:
            case MessageCreated(message=message):
                self._begin(message.id)
            case MessageReset(message_id=message_id):
                self._begin(message_id)
            case MessageDelta():
                self._add(fact)
            case MessageEnded(message=message):
                self._compare(message)
                self._forget(message.id)
            case _:
                pass

    def _begin(self, message_id: str) -> None:
        self._forget(message_id)
        self._from_start.add(message_id)

    def _forget(self, message_id: str) -> None:
        self._from_start.discard(message_id)
        self._ends = {place: end for place, end in self._ends.items() if place[0] != message_id}

    def _add(self, delta: MessageDelta) -> None:
        place = (delta.message_id, delta.part, delta.index or 0)
        end = self._ends.get(place, 0 if delta.message_id in self._from_start else delta.offset)
        if delta.offset != end:
            wrong = "is missing" if delta.offset > end else "came again"
            raise BrokenLog(f"Text of {delta.message_id} {wrong}: behind {end} code points came {delta.offset}.")
        self._ends[place] = end + len(delta.text)

    def _compare(self, message: Message) -> None:
        # Deltas of an ended message may have been dropped from the log, so it may well be longer than what was seen.
        texts: tuple[tuple[Part, object], ...] = (("content", message.content), ("reasoning", message.reasoning))
        for part, text in texts:
            if isinstance(text, str) and len(text) < self._ends.get((message.id, part, 0), 0):
                raise BrokenLog(f"Text of {message.id} was shown that is not in the message as it ended.")


class Reads(Protocol[R]):
    """One stream, over all the connections that it takes."""

    patience: Patience

    def request(self) -> tuple[str, str, bytes | None, dict[str, str]]: ...
    def events(self, response: httpx2.Response) -> AsyncGenerator[R, None]: ...
    def ends_with(self, received: R) -> bool: ...
    def check_over(self) -> None: ...


class Reading:
    """One stream, over all the connections that it takes.

    `body`: the message to send first; from its first event on, the reply's own stream is read like any other.
    `cursor`: the seq behind which to read, None for the start. `one_reply`: whether it ends with `message.ended`.
    """

    def __init__(
        self,
        path: str,
        patience: Patience,
        *,
        body: JsonObject | None = None,
        cursor: int | None = None,
        one_reply: bool = True,
    ) -> None:
        self.patience = patience
        self._one_reply = one_reply
        self._path, self._body, self._cursor = path, body, cursor
        self._seen = False
        self._proof = Proof()

    def request(self) -> tuple[str, str, bytes | None, dict[str, str]]:
        """Method, path, body and headers of the next attempt."""
        headers = {"accept": "text/event-stream"}
        if self._cursor is not None:
            headers["last-event-id"] = str(self._cursor)
        if self._body is None:
            return "GET", self._path, None, headers
        return "POST", self._path, msgspec.json.encode(self._body), headers | {"content-type": "application/json"}

    async def events(self, response: httpx2.Response) -> AsyncGenerator[Received, None]:
        """What one connection brings. Raises BrokenLog, and httpx2.TransportError where it breaks off."""
        async with aclosing(frames(response, self.patience)) as found:
            async for frame in found:
                received = self._take(frame)
                if self._body is not None:
                    self._path, self._body = _reply_of(response), None
                self._seen = True
                if received:
                    yield received

    def ends_with(self, received: Received) -> bool:
        return self._one_reply and isinstance(received.fact, MessageEnded)

    def check_over(self) -> None:
        """Raises UnexpectedAnswer where the server says that nothing follows, and that is not of a reply which had ended by then."""
        if self._seen or self._body is not None or not self._one_reply:
            raise UnexpectedAnswer("The server says that nothing follows, and never told of an end.")

    def _take(self, frame: Frame) -> Received | None:
        """The event of a frame, proved; None for a type of a later version."""
        if not (frame.id.isascii() and frame.id.isdecimal()):
            raise UnexpectedAnswer(f"An event of type {frame.event} came without a number.")
        seq = int(frame.id)
        if self._cursor is not None and seq <= self._cursor:
            raise BrokenLog(f"Event {seq} came behind event {self._cursor}.")
        self._cursor = seq
        try:
            fact = events.fact(Event(seq, frame.event, None, frame.data.encode()))
        except msgspec.DecodeError as error:
            raise UnexpectedAnswer(f"Event {seq} ({frame.event}) is not as it should be: {error}") from error
        if fact is None:
            return None
        self._proof.check(fact)
        draft = events.draft(fact)
        return Received(fact, Event(seq, draft.type, draft.message_id, draft.data))


async def frames(response: httpx2.Response, patience: Patience) -> AsyncGenerator[Frame, None]:
    """The frames of one connection, which relieve the patience. Raises UnexpectedAnswer where the answer is no stream of events."""
    kind = response.headers.get("content-type", "")
    if not kind.startswith("text/event-stream"):
        raise UnexpectedAnswer(f"A stream of events was asked for, and the server sends {kind or 'nothing'}.")
    parser, opened = SseParser(), time.monotonic()
    async for chunk in response.aiter_bytes():
        whole = parser.feed(chunk)
        patience.least = patience.least if parser.retry is None else parser.retry
        if whole or time.monotonic() - opened > HELD:
            patience.relieve()
        for frame in whole:
            yield frame


def _reply_of(response: httpx2.Response) -> str:
    """The path of a reply's events, of which proxies may write where they are before it."""
    location = response.headers.get("location", "")
    if "/v1/" not in location:
        raise UnexpectedAnswer("The server took the message and did not say where its reply is (Location).")
    return location[location.index("/v1/") :]
