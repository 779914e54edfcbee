"""How the client reads the overview: what happens in all sessions, over all the connections that it takes.

There is no cursor: each connection begins with a snapshot, and a snapshot says that what was told before may have gaps.
"""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TypeAlias

import httpx2
import msgspec
from msgspec import Struct

from rejoinder import events
from rejoinder.client.answers import UnexpectedAnswer
from rejoinder.client.reading import Patience, frames
from rejoinder.client.sse import Frame
from rejoinder.events import Fact, SessionDeleted, Snapshot

OverviewFact: TypeAlias = Snapshot | SessionDeleted | Fact


class Told(Struct, frozen=True):
    """One event of the overview. A snapshot is of no session and has no seq; a deletion has no seq."""

    fact: OverviewFact
    session_id: str | None = None
    seq: int | None = None


class _Place(Struct):
    session_id: str | None = None
    seq: int | None = None


class OverviewReading:
    def __init__(self, patience: Patience) -> None:
        self.patience = patience

    def request(self) -> tuple[str, str, bytes | None, dict[str, str]]:
        return "GET", "/v1/events", None, {"accept": "text/event-stream"}

    async def events(self, response: httpx2.Response) -> AsyncGenerator[Told, None]:
        """What one connection brings. Raises httpx2.TransportError where it breaks off."""
        async with aclosing(frames(response, self.patience)) as found:
            async for frame in found:
                told = _told(frame)
                if told:
                    yield told

    def ends_with(self, told: Told) -> bool:
        return False

    def check_over(self) -> None:
        raise UnexpectedAnswer("The server says that nothing follows, and the overview never ends.")


def _told(frame: Frame) -> Told | None:
    """What a frame tells; None for a type of a later version."""
    kind = (events.FACTS | events.OVERVIEW_FACTS).get(frame.event)
    if kind is None:
        return None
    try:
        place = msgspec.json.decode(frame.data, type=_Place)
        return Told(msgspec.json.decode(frame.data, type=kind), place.session_id, place.seq)
    except msgspec.DecodeError as error:
        raise UnexpectedAnswer(f"An event ({frame.event}) is not as it should be: {error}") from error
