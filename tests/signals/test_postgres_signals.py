"""Wakes by LISTEN and NOTIFY: hints, that reach everyone where they can, and never stand in the way of whoever sends them."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack
from urllib.parse import urlsplit

import pytest
from msgspec import structs

from postgres_server import Databases, PostgresServer, databases, postgres_server
from rejoinder.abc import Wake
from rejoinder.entities import Key
from rejoinder.errors import Misconfigured
from rejoinder.events import Event
from rejoinder.signals import open_signals
from rejoinder.signals.local import LocalSignals
from rejoinder.signals.postgres import PAYLOAD, PostgresSignals, payloads
from rejoinder.stores import open_store
from tcp_proxy import tcp_proxy

KEY = Key("ann", "ses_1")


def event(seq: int, text: str = "word", key: Key = KEY) -> Event:
    return Event(seq, "message.delta", "msg_1", b'{"text":"%s"}' % text.encode())


class Ear:
    """Signals of one process, and all that it heard, wherever it came from."""

    def __init__(self, signals: PostgresSignals) -> None:
        self.signals = signals
        self.heard: list[Wake] = []
        self._more = asyncio.Event()
        signals.listen(self._hear)

    def _hear(self, wakes: Sequence[Wake]) -> None:
        self.heard += (structs.replace(wake, elsewhere=False) for wake in wakes)
        self._more.set()

    async def until(self, wanted: Wake, seconds: float = 10) -> None:
        async with asyncio.timeout(seconds):
            while wanted not in self.heard:
                self._more.clear()
                await self._more.wait()


@pytest.fixture(scope="module")
def own() -> Databases:
    return databases()


async def two_ears(stack: AsyncExitStack, url: str) -> tuple[Ear, Ear]:
    async with open_store(url):
        pass  # so that the place is there
    found = []
    for _ in range(2):
        signals = open_signals(url)
        assert isinstance(signals, PostgresSignals)
        found.append(Ear(await stack.enter_async_context(signals)))
    return found[0], found[1]


@pytest.fixture
async def ears(own: Databases) -> AsyncIterator[tuple[Ear, Ear]]:
    async with AsyncExitStack() as stack:
        yield await two_ears(stack, own.new())


def test_the_store_chooses_the_signals() -> None:
    assert isinstance(open_signals("memory:"), LocalSignals)
    assert isinstance(open_signals("sqlite:///chat.db"), LocalSignals)
    assert isinstance(open_signals("postgresql://ann@localhost/chat"), PostgresSignals)
    assert not open_signals("postgresql://ann@localhost/chat").reliable
    with pytest.raises(Misconfigured):
        open_signals("postgresql://localhost")


async def test_a_wake_is_heard_here_at_once_and_there_soon(ears: tuple[Ear, Ear]) -> None:
    one, two = ears
    for wake in (
        Wake(KEY, (event(1), event(2))),
        Wake(Key("b'ö\U0001f600\"", 'ses_\\"'), (event(7, "\\u0000 ö \U0001f600 'quoted' \\\\ $1"),)),
        Wake(KEY),
        Wake(KEY, deleted=True),
    ):
        one.signals.publish([wake])
        assert one.heard[-1] == wake
        await two.until(wake)
    # And its own echo is not heard again.
    assert len(one.heard) == len(two.heard) == 4


async def test_events_that_are_too_long_are_left_out(ears: tuple[Ear, Ear]) -> None:
    one, two = ears
    for length in (PAYLOAD - 200, PAYLOAD - 100, PAYLOAD, 1 << 20):
        wake = Wake(Key("ann", f"ses_{length}"), (event(1, '\\"' * (length // 2)),))
        one.signals.publish([wake])
        assert one.heard[-1] == wake
        await two.until(Wake(wake.key))


def test_notifications_are_few_and_each_fits() -> None:
    wakes = [Wake(Key("ann", f"ses_{number}"), (event(1, "ö" * (number * 7)),)) for number in range(600)]
    sent = list(payloads(wakes))
    assert all(len(payload.encode()) <= PAYLOAD for payload in sent)
    assert len(sent) < 400
    assert list(payloads([])) == []


async def test_wakes_that_wait_become_one_and_its_events_are_one_stretch_or_none(ears: tuple[Ear, Ear]) -> None:
    one, two = ears
    fits, gap, long = Key("ann", "ses_fits"), Key("ann", "ses_gap"), Key("ann", "ses_long")
    for seq in range(1, 6):
        one.signals.publish([Wake(fits, (event(seq),)), Wake(gap, (event(seq * 2),))])
        one.signals.publish([Wake(long, (event(seq, "x" * 2_000),))])
    assert one.signals._waiting[long].events == (), "nobody keeps more than can be sent"
    await two.until(Wake(fits, tuple(event(seq) for seq in range(1, 6))))
    await two.until(Wake(gap))
    await two.until(Wake(long))
    assert [wake.key for wake in two.heard] == [fits, gap, long]


async def test_many_wakes_from_all_sides_are_heard_by_all(ears: tuple[Ear, Ear]) -> None:
    one, two = ears
    last = {}
    for number in range(300):
        for place, ear in enumerate(ears):
            key = Key(f"owner {place}", f"ses_{number % 7}")
            last[place, key] = Wake(key, (event(number + 1),))
            ear.signals.publish([last[place, key]])
        if number % 3 == 0:
            await asyncio.sleep(0)
    # Each hears its own end at once, and that of the other behind all that the other said before.
    ends = Wake(Key("ann", "ses_end_of_one")), Wake(Key("ann", "ses_end_of_two"))
    one.signals.publish([ends[0]])
    two.signals.publish([ends[1]])
    await asyncio.gather(one.until(ends[1]), two.until(ends[0]))
    for place, ear in ((0, two), (1, one)):
        mine = {key for at, key in last if at == place}
        assert {wake.key for wake in ear.heard} >= mine


async def test_what_strangers_say_is_passed_over(ears: tuple[Ear, Ear], own: Databases) -> None:
    one, two = ears
    channel = one.signals._place.schema
    for said in ("", "no json", "[]", "[[1,2]]", '{"a":1}', '[["ann","ses_1",true]]'):
        own.run(f"SELECT pg_notify('{channel}', '{said}')")
    one.signals.publish([Wake(KEY, (event(1),))])
    await two.until(Wake(KEY, (event(1),)))
    assert len(two.heard) == 1


# --- when the server is away -------------------------------------------------------------------------------------


@pytest.fixture
def server() -> Iterator[PostgresServer]:
    with postgres_server() as server:
        yield server


async def test_signals_find_back_by_themselves_and_nobody_waits_for_them(server: PostgresServer) -> None:
    async with AsyncExitStack() as stack:
        one, two = await two_ears(stack, server.url())
        one.signals.publish([Wake(KEY, (event(1),))])
        await two.until(Wake(KEY, (event(1),)))
        for end in (server.stop, server.kill):
            end()
            for number in range(20_000):
                one.signals.publish([Wake(Key("ann", f"ses_{number}"))])
            assert len(one.signals._waiting) <= 10_000
            await asyncio.sleep(0.3)
            server.start()
            again, seq = Key("ann", f"ses_{end.__name__}"), 0
            while Wake(again) not in two.heard and not any(wake.key == again for wake in two.heard):
                seq += 1
                one.signals.publish([Wake(again, (event(seq),))])
                await asyncio.sleep(0.05)
                assert seq < 400


async def test_a_connection_that_something_on_the_way_has_forgotten_is_made_anew(
    own: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also by who only listens."""
    for name in ("PULSE_SECONDS", "ANSWER_SECONDS"):
        monkeypatch.setattr(f"rejoinder.signals.postgres.{name}", 0.1)
    url = own.new()
    parts = urlsplit(url)
    async with AsyncExitStack() as stack:
        one, _ = await two_ears(stack, url)
        proxy = stack.enter_context(tcp_proxy((str(parts.hostname), parts.port or 5432)))
        through = parts._replace(netloc=parts.netloc.replace(f":{parts.port}", f":{proxy.port}")).geturl()
        there = Ear(await stack.enter_async_context(PostgresSignals.from_url(through)))
        proxy.forsake()
        async with asyncio.timeout(5):
            while not there.heard:
                one.signals.publish([Wake(KEY)])
                await asyncio.sleep(0.02)


async def test_signals_of_a_wrong_place_are_refused_at_opening(own: Databases) -> None:
    parts = urlsplit(own.url)
    wrong = parts._replace(netloc=f"{parts.username}:hunter2@{parts.hostname}:{parts.port}").geturl()
    with pytest.raises(Misconfigured) as told:
        async with open_signals(wrong):
            pass
    assert "hunter2" not in repr(told.value)
