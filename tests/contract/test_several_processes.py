"""Several processes on one store: whoever is asked, the answer is the same, and one that dies leaves nothing behind undone.

Real servers, and a round-robin proxy before them, as a load balancer without sticky sessions is.
"""

import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import pytest

from postgres_server import databases
from rejoinder.llm.scripted_answer import full_text
from retold import check_retold
from serving import ServerProcess, processes
from shared_servers import fresh_redis_url
from strict_sse import Frame, text_of
from tcp_proxy import TcpProxy, tcp_proxy
from wire import SILENT, Api, Json, eventually, message_id, script, slow

SHARED: dict[str, Callable[[], str]] = {"postgres": lambda: databases().new(), "redis": fresh_redis_url}
"""The stores that processes can share: each gives the URL of a new place."""

LEASE = 2.0
"""Seconds. What a dead worker wrote is ended within this and a third of it, which is how often the others look."""

BROKEN = (httpx2.NetworkError, httpx2.RemoteProtocolError)


@pytest.fixture(scope="module", params=SHARED)
def new_place(request: pytest.FixtureRequest) -> Callable[[], str]:
    return SHARED[request.param]


@pytest.fixture(scope="module")
def url(new_place: Callable[[], str]) -> str:
    return new_place()


@pytest.fixture(scope="module")
def trio(url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[ServerProcess]]:
    with processes(tmp_path_factory.mktemp("workers")) as start:
        # The first makes the schema, and the others start beside each other.
        first = start(store=url, lease=LEASE)
        with ThreadPoolExecutor(2) as pool:
            yield [first, *pool.map(lambda _: start(store=url, lease=LEASE), range(2))]


@pytest.fixture
def workers(trio: list[ServerProcess]) -> list[ServerProcess]:
    """Three that live. Those that a test before has killed are started again where they were."""
    killed = [worker for worker in trio if not worker.runs]
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(ServerProcess.start, killed))
    return trio


def bare(frames: Iterable[Frame]) -> list[bytes]:
    """Their bytes without the `retry:` that travels in the first one of a connection."""
    return [frame.raw[frame.raw.index(b"event: ") :] for frame in frames]


# --- one writes, others read -------------------------------------------------------------------------------------


def test_a_reader_on_one_worker_follows_what_another_writes(workers: list[ServerProcess]) -> None:
    one, two, three = (worker.api for worker in workers)
    sid = one.session()
    reply = one.send_async(sid, slow(200, 0.01))["reply"]["id"]
    with two.follow(sid, reply) as near, three.follow_session(sid) as far:
        began = time.monotonic()
        near.until("message.delta")
        far.until("message.delta")
        assert time.monotonic() - began < 0.9, "the wake did not come, and the reader looked for itself"
        frames = near.rest()
        far.until("message.ended")
        assert bare(frame for frame in far.frames if frame.message_id == reply) == bare(frames)
    assert [frame.type for frame in frames].count("message.ended") == 1
    assert text_of(frames, reply) == full_text("tokens=200 pace=0.01") == two.message(sid, reply)["content"]
    for api in (one, two, three):
        check_retold(api, sid)


def test_wakes_come_from_everywhere_at_once(workers: list[ServerProcess]) -> None:
    """A session in which all write, each on a branch of its own, while a reader on each sees the same log."""
    apis = [worker.api for worker in workers]
    sid = apis[0].session()

    def write(place: int) -> list[str]:
        api, parent, replies = apis[place], None, []
        for _ in range(4):
            turn = api.send_whole(sid, script("tokens=30 pace=0.005"), parent_id=parent)
            parent = turn["reply"]["id"]
            replies.append(parent)
        return replies

    def read(api: Api) -> list[bytes]:
        with api.follow_session(sid) as stream:
            stream.until(lambda frame: frame.type == "session.updated" and frame.data["session"]["title"] == "over")
            return bare(stream.frames)

    with ThreadPoolExecutor(6) as pool:
        reading = [pool.submit(read, api) for api in apis]
        writing = [pool.submit(write, place) for place in range(3)]
        replies = [reply for written in writing for reply in written.result(40)]
        apis[1].ask("PATCH", f"/sessions/{sid}", json={"title": "over"})
        read_by_all = [read.result(20) for read in reading]
    assert read_by_all[0] == read_by_all[1] == read_by_all[2]
    assert sum(frame.startswith(b"event: message.ended") for frame in read_by_all[0]) == len(replies) == 12
    check_retold(apis[2], sid)


@pytest.mark.parametrize("words", [slow(), SILENT], ids=["in the middle", "before the first token"])
def test_a_stop_works_from_any_worker(workers: list[ServerProcess], words: str) -> None:
    one, two, three = (worker.api for worker in workers)
    sid = one.session()
    reply = one.send_async(sid, words)["reply"]["id"]
    queued = two.send_async(sid, script("tokens=3"), if_busy="queue")["reply"]["id"]
    also = three.send_async(sid, script("tokens=3"), if_busy="queue")["reply"]["id"]
    assert three.stop(sid, also)["status"] == "stopped"
    began = time.monotonic()
    assert two.stop(sid, reply)["status"] == "stopped"
    assert time.monotonic() - began < 1.5
    # Whoever ended it started what waited for it.
    assert three.ended(sid, queued)["status"] == "completed"
    check_retold(two, sid)


def test_a_message_sent_twice_to_two_workers_is_there_once(workers: list[ServerProcess]) -> None:
    apis = [worker.api for worker in workers]
    sid = apis[0].session()
    for _ in range(5):
        mid = message_id()

        def send(place: int, mid: str = mid) -> Json:
            return apis[place].send_whole(sid, script("tokens=5 pace=0.005", mid), id=mid, parent_id=None)

        with ThreadPoolExecutor(3) as pool:
            turns = list(pool.map(send, range(3)))
        assert turns[0] == turns[1] == turns[2]
    replies = [message for message in apis[2].all_messages(sid) if message["role"] == "assistant"]
    assert len(replies) == 5


def test_a_deleted_session_is_gone_for_readers_on_every_worker(workers: list[ServerProcess]) -> None:
    one, two, three = (worker.api for worker in workers)
    sid = one.session()
    with two.follow_session(sid) as stream:
        stream.until("session.created")
        assert three.ask("DELETE", f"/sessions/{sid}").status_code == 204
        began = time.monotonic()
        while True:
            try:
                if not stream.read():
                    break
            except BROKEN:
                break
        assert time.monotonic() - began < 5
    assert one.ask("GET", f"/sessions/{sid}").status_code == 404


# --- one dies ----------------------------------------------------------------------------------------------------


def test_the_replies_of_a_killed_worker_are_ended_by_another_within_its_lease(workers: list[ServerProcess]) -> None:
    """One is left to itself, and one is asked to stop, which is answered once it has ended."""
    victim, other, third = workers
    left, stopped = victim.api.session(), victim.api.session()
    replies = {sid: victim.api.send_async(sid, slow())["reply"]["id"] for sid in (left, stopped)}
    with (
        other.api.follow(left, replies[left]) as stream,
        third.api.follow(stopped, replies[stopped]) as beside,
        ThreadPoolExecutor(1) as pool,
    ):
        stream.until("message.delta")
        beside.until("message.delta")
        victim.signal(signal.SIGKILL)
        victim.ended()
        began = time.monotonic()
        stop = pool.submit(third.api.stop, stopped, replies[stopped])
        stream.rest()
        assert time.monotonic() - began < LEASE * 4 / 3 + 1
        assert stop.result(10)["status"] == "stopped"
        assert [frame.type for frame in beside.rest()].count("message.ended") == 1
    ended = other.api.message(left, replies[left])
    assert (ended["status"], ended["error"]["code"]) == ("interrupted", "server_restarted")
    assert ended["content"] == text_of(stream.frames, replies[left])
    for sid in replies:
        check_retold(other.api, sid)


def test_a_paused_worker_loses_its_replies_and_finds_back(workers: list[ServerProcess]) -> None:
    victim, other, _ = workers
    sid = victim.api.session()
    reply = victim.api.send_async(sid, slow())["reply"]["id"]
    with other.api.follow(sid, reply) as stream:
        stream.until("message.delta")
        victim.signal(signal.SIGSTOP)
        stream.rest()
        victim.signal(signal.SIGCONT)
    ended = other.api.message(sid, reply)
    assert ended["status"] == "interrupted"
    # It may write again, under a new lease, and nothing that it had in hand comes behind the end.
    eventually(lambda: victim.api.post(f"/sessions/{sid}/messages", json={"content": script("tokens=3")}).is_success)
    assert victim.api.message(sid, reply) == ended
    check_retold(victim.api, sid)


def test_a_worker_that_is_told_to_go_leaves_its_replies_to_the_others(
    new_place: Callable[[], str], tmp_path: Path
) -> None:
    url = new_place()
    with processes(tmp_path) as start:
        settings = {"store": url, "lease": LEASE, "after_crash": "restart", "drain": 0.1}
        with ThreadPoolExecutor(2) as pool:
            leaving, staying = pool.map(lambda _: start(**settings), range(2))
        sid = leaving.api.session()
        words = "tokens=40 pace=0.02"
        reply = leaving.api.send_async(sid, script(words))["reply"]["id"]
        with staying.api.follow(sid, reply) as stream:
            stream.until("message.delta")
            leaving.signal(signal.SIGTERM)
            frames = stream.rest()
        assert staying.api.message(sid, reply)["status"] == "completed"
        assert [frame.type for frame in frames].count("message.reset") == 1
        assert text_of(frames, reply) == full_text(words)
        check_retold(staying.api, sid)


# --- all behind a proxy ------------------------------------------------------------------------------------------


@pytest.fixture
def proxy(workers: list[ServerProcess]) -> Iterator[TcpProxy]:
    """Gives each connection to the next worker."""
    places = [urlsplit(worker.api.url) for worker in workers]
    with tcp_proxy(*((str(place.hostname), place.port or 0) for place in places)) as proxy:
        yield proxy


class Reader:
    """Reads one reply over as many connections, and so workers, as it takes."""

    def __init__(self, url: str, sid: str, reply: str) -> None:
        self.frames: list[Frame] = []
        self.connections = 0
        self.reads = False
        self._url, self._sid, self._reply = url, sid, reply

    def read(self) -> list[Frame]:
        while not self.frames or self.frames[-1].type != "message.ended":
            self.connections += 1
            api = Api(self._url)
            try:
                self._read(api)
            except BROKEN:
                time.sleep(0.02)
            finally:
                api.close()
        return self.frames

    def _read(self, api: Api) -> None:
        after = self.frames[-1].seq if self.frames else None
        with api.follow(self._sid, self._reply, after) as stream:
            try:
                while stream.read():
                    self.reads = True
            finally:
                assert after is None or all(frame.seq > after for frame in stream.frames)
                self.frames += stream.frames


def test_workers_behind_a_proxy_are_killed_and_every_reply_ends_once_for_every_reader(
    workers: list[ServerProcess], proxy: TcpProxy
) -> None:
    address, words = f"http://127.0.0.1:{proxy.port}", "tokens=300 pace=0.02"
    turns: list[tuple[str, str]] = []
    for _ in range(12):
        api = Api(address)  # a connection of its own, so the next worker
        sid = api.session()
        turns.append((sid, api.send_async(sid, script(words))["reply"]["id"]))
        api.close()
    readers = [Reader(address, sid, reply) for sid, reply in turns for _ in range(2)]
    with ThreadPoolExecutor(len(readers)) as pool:
        reading = [pool.submit(reader.read) for reader in readers]
        for victim in workers[:2]:
            eventually(lambda: all(reader.reads for reader in readers))
            threading.Event().wait(0.4)  # in the middle of the replies
            victim.signal(signal.SIGKILL)
            victim.ended()
        for read in reading:
            read.result(40)
    survivor = workers[-1].api
    statuses = [survivor.message(sid, reply)["status"] for sid, reply in turns]
    assert set(statuses) == {"completed", "interrupted"}
    assert statuses.count("interrupted") <= 4 * 2, "a reply of a living worker was ended"
    for place, (sid, reply) in enumerate(turns):
        kept = survivor.message(sid, reply)
        log = bare(frame for frame in check_retold(survivor, sid) if frame.message_id == reply)
        for reader in readers[place * 2 : place * 2 + 2]:
            assert bare(reader.frames) == log
            assert text_of(reader.frames, reply) == kept["content"]
        assert full_text(words).startswith(kept["content"])
        assert sum(frame.startswith(b"event: message.ended") for frame in log) == 1
    assert sum(reader.connections for reader in readers) > len(readers), "nobody was cut off"
