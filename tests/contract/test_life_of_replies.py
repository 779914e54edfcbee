"""The life of replies, at random: sends, edits, other replies, continuations, queues, interrupts, stops, forks and kills,
over real HTTP, beside a model of a few lines that says what must have become of every message (docs/replies.md)."""

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from retold import check_retold
from serving import ServerProcess
from wire import Api, Json, check_problem, message_id, script

MAX_QUEUE = 3
QUICK, STUCK = "said at once", script("tokens=9 stall@3")
"""What a reply does: it ends by itself, or says a few words and is silent for ever."""

ASYNC = {"prefer": "respond-async"}
IF_BUSY = st.sampled_from(["reject", "queue", "queue", "interrupt"])


class Model:
    """What must be so. `replies` are all replies in the order in which they were accepted."""

    def __init__(self) -> None:
        self.parents: dict[str, str | None] = {}
        self.status: dict[str, str] = {}
        self.replies: list[str] = []
        self.head: str | None = None

    def above(self, mid: str | None) -> list[str]:
        """A message and all above it."""
        path = []
        while mid is not None:
            path.append(mid)
            mid = self.parents[mid]
        return path

    def unended(self) -> list[str]:
        return [mid for mid in self.replies if self.status[mid] in ("queued", "streaming")]

    def blockers(self, above: str | None, answers: str | None = None) -> list[str]:
        path = self.above(above)
        return [mid for mid in self.unended() if mid in path or (answers and self.parents[mid] == answers)]

    def waits(self, mid: str) -> list[str]:
        earlier = self.replies[: self.replies.index(mid)]
        found = self.blockers(mid, self.parents[mid])
        return [other for other in found if other in earlier]

    def accept(self, if_busy: str, blockers: list[str]) -> str | None:
        """The code of a refusal, or None; what an interrupt ends is ended."""
        if blockers and if_busy == "reject":
            return "session_busy"
        ended: set[str] = set()
        if blockers and if_busy == "interrupt":
            ended = set(blockers)
            for mid in self.unended():
                if self.status[mid] == "queued" and ended & set(self.waits(mid)):
                    ended.add(mid)
        queued = [mid for mid in self.unended() if self.status[mid] == "queued" and mid not in ended]
        waits = blockers and (if_busy == "queue" or any(self.status[mid] == "streaming" for mid in blockers))
        if waits and len(queued) >= MAX_QUEUE:
            return "queue_full"
        for mid in ended:
            self.status[mid] = "stopped"
        return None

    def add(self, parent: str | None, message: str | None, reply: str) -> None:
        if message is not None:
            self.parents[message], self.status[message] = parent, "completed"
        self.parents[reply], self.status[reply] = message or parent, "queued"
        self.replies.append(reply)
        self.head = reply

    def settle(self, stuck: set[str]) -> None:
        """Whatever waits for nothing runs; what is not stuck comes to its end."""
        for mid in self.replies:
            if self.status[mid] == "queued" and not self.waits(mid):
                self.status[mid] = "streaming" if mid in stuck else "completed"


class LifeOfReplies(RuleBasedStateMachine):
    server: ServerProcess

    @initialize()
    def begin(self) -> None:
        self.model = Model()
        self.stuck: set[str] = set()
        self.sid = self.api.session()
        self.requests: list[tuple[str, Json, Json]] = []

    @property
    def api(self) -> Api:
        return self.server.api

    def ask(self, path: str, body: Json, refusal: str | None) -> Json | None:
        answer = self.api.post(f"/sessions/{self.sid}/messages{path}", json=body, headers=ASYNC)
        if refusal is not None:
            check_problem(answer, 409, refusal)
            return None
        assert answer.status_code == 202, answer.text
        turn: Json = answer.json()
        self.requests.append((path, body, turn))
        return turn

    def any_message(self, data: st.DataObject, role: str | None = None) -> str:
        wanted = [
            mid for mid in self.model.parents if role is None or (mid in self.model.replies) == (role == "assistant")
        ]
        return data.draw(st.sampled_from(wanted))

    # what people do

    @rule(
        content=st.sampled_from([QUICK, STUCK]),
        if_busy=IF_BUSY,
        where=st.sampled_from(["head", "head", "any", "root"]),
        data=st.data(),
    )
    def send(self, content: str, if_busy: str, where: str, data: st.DataObject) -> None:
        """At the head, or somewhere else: that is an edit."""
        where = "root" if where == "any" and not self.model.parents else where
        parent = {"head": self.model.head, "root": None}[where] if where != "any" else self.any_message(data)
        refusal = self.model.accept(if_busy, self.model.blockers(parent))
        body: Json = {"content": content, "if_busy": if_busy, "id": message_id()}
        if where != "head":
            body["parent_id"] = parent
        if turn := self.ask("", body, refusal):
            self._added(turn["reply"]["id"], parent, turn["message"]["id"], stuck=content == STUCK)

    @precondition(lambda self: self.model.replies)
    @rule(if_busy=IF_BUSY, data=st.data())
    def regenerate(self, if_busy: str, data: st.DataObject) -> None:
        message = self.any_message(data, "user")
        refusal = self.model.accept(if_busy, self.model.blockers(message, message))
        if turn := self.ask(f"/{message}/replies", {"if_busy": if_busy, "id": message_id()}, refusal):
            stuck = self.api.message(self.sid, message)["content"] == STUCK
            self._added(turn["reply"]["id"], message, None, stuck=stuck)

    @precondition(lambda self: self.model.replies)
    @rule(if_busy=IF_BUSY, data=st.data())
    def go_on(self, if_busy: str, data: st.DataObject) -> None:
        source = self.any_message(data, "assistant")
        told = self.api.message(self.sid, source)
        message = told["parent_id"]
        able = told["status"] in ("stopped", "interrupted") and told["content"]
        refusal = self.model.accept(if_busy, self.model.blockers(message, message)) if able else "cannot_continue"
        if turn := self.ask(f"/{source}/continue", {"if_busy": if_busy, "id": message_id()}, refusal):
            self._added(turn["reply"]["id"], message, None, stuck=False)  # the script gets stuck once, in what is said

    @precondition(lambda self: self.model.replies)
    @rule(data=st.data())
    def stop(self, data: st.DataObject) -> None:
        reply = self.any_message(data, "assistant")
        if self.model.status[reply] in ("queued", "streaming"):
            self.model.status[reply] = "stopped"
        assert self.api.stop(self.sid, reply)["status"] == self.model.status[reply]
        self.model.settle(self.stuck)

    @precondition(lambda self: self.requests)
    @rule(data=st.data())
    def ask_again(self, data: st.DataObject) -> None:
        """A request that comes again finds what it made, whatever has become of it."""
        path, body, turn = data.draw(st.sampled_from(self.requests))
        again = self.api.post(f"/sessions/{self.sid}/messages{path}", json=body, headers=ASYNC).json()
        assert (again["message"]["id"], again["reply"]["id"]) == (turn["message"]["id"], turn["reply"]["id"])

    @precondition(lambda self: self.model.replies)
    @rule(data=st.data())
    def show_another_branch(self, data: st.DataObject) -> None:
        self.model.head = self.any_message(data)
        assert self.api.ask("PATCH", f"/sessions/{self.sid}", json={"head": self.model.head}).status_code == 200

    @precondition(lambda self: self.model.replies)
    @rule(data=st.data())
    def fork(self, data: st.DataObject) -> None:
        at = self.any_message(data)
        made = self.api.post(f"/sessions/{self.sid}/fork", json={"at": at})
        assert made.status_code == 201, made.text
        copies = self.api.all_messages(made.json()["id"])
        assert [copy["id"] for copy in copies] == self.model.above(at)[::-1]
        check_retold(self.api, made.json()["id"])

    @precondition(lambda self: self.model.unended())
    @rule(number=st.sampled_from([signal.SIGKILL, signal.SIGTERM]))
    def restart(self, number: int) -> None:
        self.server.signal(number)
        self.server.ended()
        self.server.start()
        for mid in self.model.replies:
            if self.model.status[mid] == "streaming":
                self.model.status[mid] = "interrupted"
        self.model.settle(self.stuck)

    # what must be so then

    @invariant()
    def everything_is_as_the_model_says(self) -> None:
        def wrong() -> dict[str, Any]:
            """What is not (yet) as it must be. Replies that are stuck have come to that place."""
            found = {}
            for message in self.api.all_messages(self.sid):
                mid = message["id"]
                is_so = (message["parent_id"], message["status"]) == (self.model.parents[mid], self.model.status[mid])
                if not is_so or (message["status"] == "streaming" and not message["content"].endswith("t2")):
                    found[mid] = (message["status"], message["content"], self.model.status[mid])
            return found

        deadline = time.monotonic() + 5
        while difference := wrong():
            assert time.monotonic() < deadline, difference
            time.sleep(0.005)
        assert len(self.api.all_messages(self.sid)) == len(self.model.parents)
        assert self.api.read_session(self.sid)["head"] == self.model.head

    def teardown(self) -> None:
        if hasattr(self, "requests"):
            for mid in reversed(self.model.unended()):
                self.api.stop(self.sid, mid)
            frames = check_retold(self.api, self.sid)
            ends = [frame.message_id for frame in frames if frame.type == "message.ended"]
            assert sorted(map(str, ends)) == sorted(self.model.replies), "each reply ended exactly once"

    def _added(self, reply: str, parent: str | None, message: str | None, *, stuck: bool) -> None:
        if stuck:
            self.stuck.add(reply)
        self.model.add(parent, message, reply)
        self.model.settle(self.stuck)


@contextmanager
def server_running() -> Iterator[ServerProcess]:
    with TemporaryDirectory() as folder:
        store, log = f"sqlite:///{folder}/chat.db", Path(folder) / "server.log"
        # It is about replies, and not about a disk that stands still for some seconds while others write it full.
        server = ServerProcess(store, log, drain=0, max_queue=MAX_QUEUE, store_patience=30)
        server.start()
        try:
            yield server
        finally:
            server.close()


@pytest.mark.crash
@pytest.mark.timeout(900)
def test_whatever_people_do_every_reply_becomes_what_it_must(request: pytest.FixtureRequest) -> None:
    examples = 120 if request.config.getoption("--full") else 8
    with server_running() as server:
        machine: Any = type("Machine", (LifeOfReplies,), {"server": server})
        run_state_machine_as_test(
            machine,
            settings=settings(
                max_examples=examples,
                stateful_step_count=25,
                deadline=None,
                suppress_health_check=list(HealthCheck),
                print_blob=True,
            ),
        )
