"""Wake-ups across processes by LISTEN and NOTIFY, on a connection of their own: no more services than the database.

What is published reaches this process at once, and the others by one statement at a time: while it runs, what comes next
gathers, one wake for a session. A notification carries the events where they are small. Nothing waits for the database and
nothing fails with it: what cannot be sent is forgotten, and readers look for themselves.
"""

import asyncio
import contextlib
import logging
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, Self

import asyncpg
import msgspec

from rejoinder.abc import Wake
from rejoinder.entities import Key
from rejoinder.errors import Misconfigured
from rejoinder.events import Event
from rejoinder.postgres_link import Connection, Place, close, connect, opening, parse
from rejoinder.signals.local import LocalSignals

log = logging.getLogger(__name__)

PAYLOAD = 7_900
"""Bytes of a notification: Postgres takes less than 8,000."""

WAITING = 10_000
"""Sessions whose wakes wait to be sent, at most; the oldest are forgotten. So many wait only where the database is away."""

ANSWER_SECONDS = 5.0
PULSE_SECONDS = 10.0
"""Without anything to send the server is asked for a sign of life, since who only listens never learns that it is gone."""

BACKOFF = (0.1, 0.2, 0.5, 1.0, 2.0)
"""Seconds between tries to connect; the last goes on for ever."""

FAULTS = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)

SEND = "SELECT pg_notify($1, payload) FROM unnest($2::text[]) AS payload"


class PostgresSignals(LocalSignals):
    reliable = False

    def __init__(self, place: Place) -> None:
        super().__init__()
        self._place = place
        self._waiting: dict[Key, Wake] = {}
        self._wanted = asyncio.Event()
        self._connection: Connection = None
        self._task: asyncio.Task[None] | None = None

    @classmethod
    def from_url(cls, url: str) -> Self:
        """The URL of the store. Raises Misconfigured."""
        return cls(parse(url))

    async def __aenter__(self) -> Self:
        with opening(self._place):
            await self._connect()
        self._task = asyncio.create_task(self._run(), name="signals")
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._listeners.clear()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self._connection is not None:
            await close(self._connection)

    def publish(self, wakes: Sequence[Wake]) -> None:
        super().publish(wakes)
        for wake in wakes:
            earlier = self._waiting.pop(wake.key, None)
            self._waiting[wake.key] = wake if earlier is None else _both(earlier, wake)
        while len(self._waiting) > WAITING:
            del self._waiting[next(iter(self._waiting))]
        self._wanted.set()

    async def _run(self) -> None:
        tries = 0
        while True:
            try:
                if self._connection is None:
                    await self._connect()
                    log.warning("signals are heard again")
                tries = 0
                await self._send()
            except (*FAULTS, Misconfigured) as fault:
                if self._connection is not None:
                    log.warning("signals are not heard just now, readers look for themselves: %s", fault)
                    self._connection.terminate()
                    self._connection = None
                await asyncio.sleep(BACKOFF[min(tries, len(BACKOFF) - 1)])
                tries += 1

    async def _connect(self) -> None:
        # To send a hint nobody needs to wait for a disk.
        connection = await connect(self._place, synchronous_commit="off")
        try:
            connection.add_termination_listener(lambda _: self._wanted.set())
            # Asked for now: notifications may still come when the connection has been cut, and then it does not know.
            await connection.add_listener(self._place.schema, partial(self._heard, connection.get_server_pid()))
        except BaseException:
            connection.terminate()
            raise
        self._connection = connection

    async def _send(self) -> None:
        """Sends what waits, or asks for a sign of life where nothing comes to wait."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PULSE_SECONDS):
                await self._wanted.wait()
        self._wanted.clear()
        wakes, self._waiting = list(self._waiting.values()), {}
        async with asyncio.timeout(ANSWER_SECONDS):
            await self._connection.execute(SEND, self._place.schema, list(payloads(wakes)))

    def _heard(self, own: int, _: Connection, pid: int, channel: str, payload: str) -> None:
        if pid == own:
            return  # it was told here when it was published
        try:
            wakes = [_decoded(*told) for told in _decoder.decode(payload)]
        except (msgspec.DecodeError, TypeError):
            log.warning("somebody else sends on the channel %s", channel)
            return
        super().publish(wakes)


def _both(earlier: Wake, later: Wake) -> Wake:
    """One wake for two: without their events where these are not one stretch of the log, or grow too long."""
    events = earlier.events + later.events
    if not (earlier.events and later.events and earlier.events[-1].seq + 1 == later.events[0].seq and _fit(events)):
        events = ()
    return Wake(later.key, events, earlier.deleted or later.deleted)


def _fit(events: tuple[Event, ...]) -> bool:
    return sum(len(event.data) for event in events) < PAYLOAD


# --- what is sent ------------------------------------------------------------------------------------------------


def payloads(wakes: Sequence[Wake]) -> Iterator[str]:
    """As few notifications as hold all the wakes: each a JSON list of them."""
    gathered: list[bytes] = []
    size = 0
    for wake in wakes:
        told = _encoded(wake)
        if gathered and size + len(told) + 2 > PAYLOAD:
            yield _list(gathered)
            gathered, size = [], 0
        gathered.append(told)
        size += len(told) + 1
    if gathered:
        yield _list(gathered)


def _list(encoded: list[bytes]) -> str:
    return (b"[" + b",".join(encoded) + b"]").decode()


def _encoded(wake: Wake) -> bytes:
    """`[owner, session, deleted, [[seq, type, message, data], …]]`, without its events where they are too long."""
    events = wake.events if _fit(wake.events) else ()
    told = [(event.seq, event.type, event.message_id, event.data.decode()) for event in events]
    encoded = msgspec.json.encode((*wake.key, wake.deleted, told))
    return encoded if len(encoded) < PAYLOAD - 2 else msgspec.json.encode((*wake.key, wake.deleted, ()))


def _decoded(owner: str, session_id: str, deleted: bool, told: list[tuple[int, str, str | None, str]]) -> Wake:
    events = tuple(Event(seq, kind, message_id, data.encode()) for seq, kind, message_id, data in told)
    return Wake(Key(owner, session_id), events, deleted, elsewhere=True)


_decoder: Any = msgspec.json.Decoder(list[tuple[str, str, bool, list[tuple[int, str, str | None, str]]]])
