"""Wakes through Redis: heard here at once and elsewhere soon, never waited for, and no harm where they are lost."""

import asyncio
import itertools
import logging
import time
from collections.abc import Callable, Iterator, Sequence

import pytest

from redis_server import RedisServer, redis_server
from rejoinder.abc import Signals, Wake
from rejoinder.entities import Key
from rejoinder.errors import Misconfigured
from rejoinder.events import Event
from rejoinder.redis_link import RedisUrl
from rejoinder.signals import open_signals
from rejoinder.signals.redis import MOST_WAITING, SHORTCUT
from tcp_proxy import tcp_proxy

KEY = Key("ann", "ses_1")

numbers = itertools.count(1)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with redis_server(tmp_path_factory.mktemp("redis")) as started:
        yield started


@pytest.fixture
def url(server: RedisServer) -> str:
    return f"{server.url}?prefix=test-{next(numbers)}"


def signals(url: str) -> Signals:
    return open_signals("memory:", url)


class Ear:
    def __init__(self, heard_from: Signals) -> None:
        self.wakes: list[Wake] = []
        self._changed = asyncio.Event()
        heard_from.listen(self._hear)

    def _hear(self, wakes: Sequence[Wake]) -> None:
        self.wakes += wakes
        self._changed.set()

    async def until(self, is_so: Callable[[list[Wake]], bool]) -> list[Wake]:
        async with asyncio.timeout(10):
            while not is_so(self.wakes):
                self._changed.clear()
                await self._changed.wait()
        return self.wakes


async def until(is_so: Callable[[], bool]) -> None:
    for _ in range(500):
        if is_so():
            return
        await asyncio.sleep(0.02)
    raise AssertionError("it never was so")


def grown(*seqs: int, key: Key = KEY, size: int = 10) -> Wake:
    return Wake(key, tuple(Event(seq, "message.delta", "msg_1", b"x" * size) for seq in seqs))


def seqs(wakes: list[Wake]) -> list[int]:
    return [event.seq for wake in wakes for event in wake.events]


async def test_a_wake_is_heard_here_at_once_and_once_and_elsewhere_soon(url: str) -> None:
    async with signals(url) as one, signals(url) as two:
        here, there = Ear(one), Ear(two)
        wakes = [grown(1), Wake(Key("böb", "a\0b"), (Event(7, "session.created", None, b"\x00{}"),)), grown(2)]
        one.publish(wakes)
        assert here.wakes == wakes
        await there.until(lambda heard: sorted(seqs(heard)) == [1, 2, 7])
        assert all(wake.elsewhere for wake in there.wakes)
        assert {wake.key for wake in there.wakes} == {wake.key for wake in wakes}
        assert {wake.events for wake in there.wakes} >= {wakes[1].events}
        two.publish([grown(3)])
        await here.until(lambda heard: seqs(heard)[-1] == 3)
        assert len(here.wakes) == 4
        assert not one.reliable


async def test_under_load_wakes_of_a_session_become_one_that_is_short_or_tells_nothing(url: str) -> None:
    async with signals(url) as one, signals(url) as two:
        there = Ear(two)
        one.publish([grown(seq) for seq in range(1, 51)])
        await there.until(lambda heard: seqs(heard) == list(range(1, 51)))
        assert len(there.wakes) == 1
        for wakes in ([grown(51), grown(53)], [grown(seq, size=SHORTCUT // 3) for seq in range(54, 60)]):
            there.wakes.clear()
            one.publish(wakes)
            await there.until(bool)
            assert there.wakes == [Wake(KEY, elsewhere=True)]


async def test_that_a_session_is_gone_is_never_overlaid(url: str) -> None:
    async with signals(url) as one, signals(url) as two:
        there = Ear(two)
        one.publish([grown(1), Wake(KEY, deleted=True), grown(1)])
        assert await there.until(bool) == [Wake(KEY, deleted=True, elsewhere=True)]


async def test_places_do_not_hear_each_other(server: RedisServer, url: str) -> None:
    other = url.replace("/0?", "/1?")
    async with signals(url) as one, signals(f"{server.url}?prefix=other") as two, signals(other) as three:
        ears = [Ear(two), Ear(three)]
        one.publish([grown(1)])
        for signal, ear in zip((two, three), ears, strict=True):
            async with signals(other if signal is three else f"{server.url}?prefix=other") as beside:
                beside.publish([grown(2)])
                assert seqs(await ear.until(bool)) == [2]


async def test_what_somebody_else_sends_does_no_harm(server: RedisServer, url: str) -> None:
    async with signals(url) as one, signals(url) as two:
        there = Ear(two)
        channel = f"{RedisUrl.parse(url).names}wakes:0"
        for said in (b"", b"x", b"x" * 16, b"x" * 16 + b"\xc1", b"y" * 16 + b"\x91\x01"):
            assert server.ask("PUBLISH", channel, said) == 2
        one.publish([grown(1)])
        assert seqs(await there.until(bool)) == [1]


async def test_it_comes_back_by_itself_and_nobody_waits_for_it(
    server: RedisServer, url: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with signals(url) as one, signals(url) as two:
        here, there = Ear(one), Ear(two)
        server.kill()
        with caplog.at_level(logging.WARNING, "rejoinder"):
            before = time.perf_counter()
            keys = [Key("ann", f"ses_{number}") for number in range(MOST_WAITING + 500)]
            for key in keys:
                one.publish([grown(1, key=key)])
            assert time.perf_counter() - before < 5
            assert len(here.wakes) == len(keys)
            await asyncio.sleep(0.7)  # it fails more than once meanwhile, and says so once
            server.start()
            async with asyncio.timeout(15):
                while not there.wakes:
                    one.publish([grown(2)])
                    await asyncio.sleep(0.05)
        assert 2 <= len(caplog.messages) <= 6


async def test_a_subscription_that_something_on_the_way_has_forgotten_is_made_anew(
    server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, seconds in {"PULSE_SECONDS": 0.1, "PAUSE": 0.05}.items():
        monkeypatch.setattr(f"rejoinder.signals.redis.{name}", seconds)
    prefix = f"?prefix=test-{next(numbers)}"
    with tcp_proxy(("127.0.0.1", server.port)) as proxy:
        through = f"redis://127.0.0.1:{proxy.port}/0{prefix}"
        async with signals(server.url + prefix) as one, signals(through) as two:
            there = Ear(two)
            proxy.forsake()
            async with asyncio.timeout(5):
                while not there.wakes:
                    one.publish([grown(1)])
                    await asyncio.sleep(0.02)


async def test_a_server_that_is_away_at_the_start_is_waited_for_behind_the_scenes(
    server: RedisServer, url: str, caplog: pytest.LogCaptureFixture
) -> None:
    server.kill()
    async with signals(url) as one:
        here = Ear(one)
        one.publish([grown(1)])
        assert seqs(here.wakes) == [1]
        server.start()
        await until(lambda: server.ask("PUBSUB", "NUMSUB", f"{RedisUrl.parse(url).names}wakes:0")[1] == 1)
    assert "reach" in caplog.text


async def test_closing_sends_what_waits_and_leaves_nothing_open(server: RedisServer, url: str) -> None:
    async with signals(url) as two:
        there = Ear(two)
        async with signals(url) as one:
            one.publish([grown(1)])
        assert seqs(await there.until(bool)) == [1]
    await until(lambda: int(server.ask("INFO", "clients")["connected_clients"]) == 1)


# --- which are chosen --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "store", "name"),
    [
        ("", "memory:", "LocalSignals"),
        ("", "sqlite:///chat.db", "LocalSignals"),
        ("", "redis://localhost", "RedisSignals"),
        ("", "rediss://localhost/2", "RedisSignals"),
        ("redis://localhost", "postgresql://localhost/chat", "RedisSignals"),
        ("", "postgresql://localhost/chat", "PostgresSignals"),
    ],
)
def test_the_store_chooses_where_no_url_does(url: str, store: str, name: str) -> None:
    assert type(open_signals(store, url)).__name__ == name


async def test_what_cannot_be_is_said_at_the_start_without_the_password(server: RedisServer) -> None:
    with pytest.raises(Misconfigured, match="REJOINDER_SIGNALS"):
        open_signals("memory:", "sqlite:///chat.db")
    with pytest.raises(Misconfigured, match="user and password") as told:
        async with signals(f"redis://ann:wrong-horse@127.0.0.1:{server.port}"):
            pass
    assert "wrong-horse" not in str(told.value)
