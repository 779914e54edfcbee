"""Wake-ups over Redis: one channel for all processes. They may be lost, and nothing depends on one: the log is the truth.

This process hears its own at once. For the others what was committed while one message was on its way gathers to the next,
one wake a session; a short growth of a log travels with its wake, a longer one is read from the store.
"""

import asyncio
import contextlib
import logging
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from itertools import islice
from typing import Any, Self

import msgspec
from msgspec import Struct
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as NotInTime

from rejoinder.abc import Wake
from rejoinder.entities import Key
from rejoinder.errors import StoreUnavailable
from rejoinder.events import Event
from rejoinder.redis_link import CONNECT_SECONDS, RedisUrl, redis_opening
from rejoinder.signals.local import LocalSignals

log = logging.getLogger(__name__)

SHORTCUT = 8 << 10
"""Bytes of events that travel with a wake. Every process gets them, whether it has a reader for them or not."""

MOST_WAITING = 20_000
"""Sessions whose wakes wait while Redis does not take any. The oldest are dropped: readers look for themselves."""

PIECE = 500
"""Wakes of one message: a few milliseconds of each process that hears them."""

PAUSE = 0.5
"""Seconds after which a broken connection is made anew."""

PULSE_SECONDS = 10.0
"""After so long without a message Redis is asked for a sign of life, since who only listens never learns that it is gone."""


class RedisSignals(LocalSignals):
    reliable = False

    def __init__(self, url: RedisUrl) -> None:
        super().__init__()
        self._url = url
        # Messages know no databases: two services in two of them are not to hear each other.
        self._channel = f"{url.names}wakes:{url.database}"
        self._me = uuid.uuid4().bytes
        self._client: Any = None
        self._waiting: dict[Key, Wake] = {}
        self._wanted = asyncio.Event()
        self._heard = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    @classmethod
    def from_url(cls, url: str) -> Self:
        return cls(RedisUrl.parse(url))

    async def __aenter__(self) -> Self:
        """Raises Misconfigured. A Redis that is away is waited for behind the scenes: readers look for themselves."""
        self._client = self._url.client(3)
        try:
            with redis_opening(self._url):
                await self._client.execute_command("PING")
        except StoreUnavailable as away:
            log.warning("wakes do not reach other processes yet: %s", away.detail)
        except BaseException:
            await self._client.connection_pool.aclose()
            raise
        self._tasks = [
            asyncio.create_task(self._send(), name="wakes out"),
            asyncio.create_task(self._hear(), name="wakes in"),
        ]
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._heard.wait(), CONNECT_SECONDS)
        return self

    async def __aexit__(self, *exc: object) -> None:
        while running := [task for task in self._tasks if not task.done()]:
            # More than once: `asyncio.wait_for`, in the driver, may forget a cancellation before Python 3.12.
            for task in running:
                task.cancel()
            await asyncio.wait(running, timeout=PAUSE)
        with contextlib.suppress(RedisError, OSError):
            await self._say_the_last()
        await self._client.connection_pool.aclose()
        self._listeners.clear()

    def publish(self, wakes: Sequence[Wake]) -> None:
        super().publish(wakes)
        for wake in wakes:
            waiting = self._waiting.pop(wake.key, None)
            self._waiting[wake.key] = _together(waiting, wake)
        for key in list(islice(self._waiting, max(0, len(self._waiting) - MOST_WAITING))):
            del self._waiting[key]
        self._wanted.set()

    # out

    async def _send(self) -> None:
        async def send() -> None:
            while True:
                await self._wanted.wait()
                await self._say()
                away.over()

        away = _Away("wakes reach other processes")
        await away.for_ever(send)

    async def _say(self) -> None:
        """Sends what waits. What is under way when it fails is lost."""
        self._wanted.clear()
        waiting, self._waiting = list(self._waiting.values()), {}
        for place in range(0, len(waiting), PIECE):
            data = self._me + _encode([_sent(wake) for wake in waiting[place : place + PIECE]])
            await self._client.execute_command("PUBLISH", self._channel, data)

    async def _say_the_last(self) -> None:
        """At closing: the ends of the last replies, so that their readers need not find them for themselves."""
        if self._waiting:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._say(), PAUSE)

    # in

    async def _hear(self) -> None:
        async def hear() -> None:
            async with self._subscribed() as subscription:
                self._heard.set()
                away.over()
                asked = False
                while True:
                    message = await subscription.get_message(ignore_subscribe_messages=True, timeout=PULSE_SECONDS)
                    if message is None:
                        if asked:
                            raise NotInTime("Redis gives no sign of life.")
                        await subscription.ping()
                    elif message["type"] == "message":
                        self._take(message["data"])
                    asked = message is None
                    # Messages that have come already are handed out without waiting, and others want to run.
                    await asyncio.sleep(0)

        away = _Away("wakes of other processes are heard")
        await away.for_ever(hear)

    @asynccontextmanager
    async def _subscribed(self) -> AsyncIterator[Any]:
        subscription = self._client.pubsub()
        try:
            await subscription.subscribe(self._channel)
            yield subscription
        finally:
            await subscription.aclose()

    def _take(self, data: bytes) -> None:
        if data.startswith(self._me):
            return
        try:
            sent = _decode(data[len(self._me) :])
        except msgspec.DecodeError:
            log.debug("a message in the channel of wakes is none of ours")
            return
        super().publish([_wake(each) for each in sent])


class _Away:
    """Says once that Redis is away, and once that it is back."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._fails = False

    async def for_ever(self, work: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await work()
            except (RedisError, OSError) as away:
                if not self._fails:
                    log.warning("not now: %s: %s", self._what, away)
                self._fails = True
                await asyncio.sleep(PAUSE)

    def over(self) -> None:
        if self._fails:
            log.warning("again: %s", self._what)
        self._fails = False


# --- as they travel ----------------------------------------------------------------------------------------------


class _Sent(Struct, frozen=True, array_like=True):
    owner: str
    session_id: str
    deleted: bool
    events: tuple[tuple[int, str, str | None, bytes], ...]


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[_Sent]).decode


def _sent(wake: Wake) -> _Sent:
    events = tuple((event.seq, event.type, event.message_id, event.data) for event in wake.events)
    return _Sent(wake.key.owner, wake.key.session_id, wake.deleted, events)


def _wake(sent: _Sent) -> Wake:
    events = tuple(Event(*event) for event in sent.events)
    return Wake(Key(sent.owner, sent.session_id), events, sent.deleted, elsewhere=True)


def _together(before: Wake | None, wake: Wake) -> Wake:
    """One wake for two, without events that are too many or not one stretch of the log."""
    events = wake.events
    if before is not None:
        if before.deleted:
            return before
        fits = before.events and events and before.events[-1].seq + 1 == events[0].seq
        events = before.events + events if fits else ()
    if wake.deleted or sum(_sizes(events)) > SHORTCUT:
        events = ()
    return Wake(wake.key, events, wake.deleted)


def _sizes(events: Sequence[Event]) -> Iterator[int]:
    return (len(event.data) for event in events)
