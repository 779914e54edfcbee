"""A service whose database goes away: it says so, keeps what it holds, and goes on by itself, without a reply lost."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from postgres_server import PostgresServer, postgres_server
from rejoinder.llm.scripted_answer import full_text
from retold import check_retold
from serving import ServerProcess, processes
from strict_sse import text_of
from wire import Api, check_problem, eventually, script

LEASE = 1.0


@pytest.fixture(scope="module")
def database() -> Iterator[PostgresServer]:
    with postgres_server() as server:
        yield server


@pytest.fixture(scope="module")
def workers(database: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[ServerProcess]]:
    with processes(tmp_path_factory.mktemp("workers")) as start:
        yield [start(store=database.url(), lease=LEASE, store_patience=0.5) for _ in range(2)]


def stop(database: PostgresServer) -> None:
    database.stop()


def kill(database: PostgresServer) -> None:
    database.kill()


@pytest.mark.parametrize(
    ("end", "seconds"), [(stop, 0), (kill, 2.5 * LEASE)], ids=["for a moment", "for longer than a lease"]
)
def test_replies_go_on_when_the_database_is_back(
    database: PostgresServer,
    workers: list[ServerProcess],
    end: Callable[[PostgresServer], None],
    seconds: float,
) -> None:
    words = "tokens=100 pace=0.02"
    turns = [(worker.api, worker.api.session()) for worker in workers]
    replies = [api.send_async(sid, script(words))["reply"]["id"] for api, sid in turns]
    for (api, sid), reply in zip(turns, replies, strict=True):
        with api.follow(sid, reply) as stream:
            stream.until("message.delta")
    end(database)
    if seconds:
        answer = workers[0].api.ask("POST", f"/sessions/{turns[0][1]}/messages", json={"content": "hello"})
        check_problem(answer, 503, "store_unavailable")
        time.sleep(seconds)  # that it is away for so long is what is tested
    database.start()
    for (_, sid), reply, other in zip(turns, replies, reversed(workers), strict=True):
        eventually(lambda sid=sid, other=other: other.api.ask("GET", f"/sessions/{sid}").is_success)  # type: ignore[misc]
        with other.api.follow(sid, reply) as stream:
            frames = stream.rest()
        assert other.api.message(sid, reply)["status"] == "completed"
        assert text_of(frames, reply) == full_text(words)
        check_retold(other.api, sid)


def seq_of(api: Api, sid: str) -> int:
    """The last of a session, once it can be read."""
    eventually(lambda: api.ask("GET", f"/sessions/{sid}").is_success)
    return int(api.read_session(sid)["last_seq"])


def test_a_reply_whose_last_moments_a_fail_over_lost_ends_with_what_there_is(
    database: PostgresServer, workers: list[ServerProcess]
) -> None:
    api, other = (worker.api for worker in workers)
    words = "tokens=1000 pace=0.02"
    sid = api.session()
    reply = api.send_async(sid, script(words))["reply"]["id"]
    with api.follow(sid, reply) as stream:
        stream.until("message.delta")
    database.stop()
    database.copy()
    database.start()
    copied = seq_of(api, sid)
    eventually(lambda: seq_of(api, sid) > copied + 30)
    database.kill()
    database.fail_over()
    database.start()
    assert seq_of(other, sid) < copied + 30, "something was lost"
    ended = other.ended(sid, reply)
    assert ended["status"] == "interrupted"
    assert full_text(words).startswith(ended["content"]) and ended["content"]
    check_retold(other, sid)


def test_a_service_does_not_start_without_it(database: PostgresServer, tmp_path: Path) -> None:
    database.stop()
    try:
        with processes(tmp_path) as start, pytest.raises(AssertionError) as told:
            start(store=database.url())
        assert "cannot be used just now" in str(told.value) and "open%20sesame" not in str(told.value)
        assert "Traceback" not in str(told.value)
    finally:
        database.start()
