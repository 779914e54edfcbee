"""A send while a reply runs: it waits its turn (`queue`) or makes it come (`interrupt`), and nothing is lost or doubled."""

import contextlib
import signal
from collections.abc import Callable
from typing import Any

import httpx2
import pytest

from rejoinder.llm.scripted_answer import full_text
from retold import check_retold
from serving import ServerProcess, ServerThread
from strict_sse import text_of
from wire import ENDS, Api, Json, check_problem, eventually, message_id, script, slow, together

ASYNC = {"prefer": "respond-async"}


def queue(api: Api, sid: str, content: str, **fields: Any) -> str:
    """Sends with `queue`; the reply's id."""
    reply: str = api.send_async(sid, content, if_busy="queue", **fields)["reply"]["id"]
    return reply


def running(api: Api, sid: str, tokens: int = 10_000) -> str:
    reply: str = api.send_async(sid, slow(tokens))["reply"]["id"]
    return reply


def statuses(api: Api, sid: str) -> list[str]:
    return [message["status"] for message in api.all_messages(sid) if message["role"] == "assistant"]


def starts(frames: list[Any]) -> list[str | None]:
    return [frame.message_id for frame in frames if frame.type == "message.started"]


def test_queued_sends_are_shown_and_start_by_themselves_in_order(api: Api, sid: str) -> None:
    first = running(api, sid, 60)
    rest = [queue(api, sid, f"message {number}") for number in range(4)]
    assert statuses(api, sid) == ["streaming"] + ["queued"] * 4
    waiting = api.message(sid, rest[0])
    assert (waiting["content"], waiting["attempts"], waiting["ended_at"]) == ("", [], None)
    assert api.read_session(sid)["head"] == rest[-1], "the head moves when a send is accepted"
    assert [message["id"] for message in api.history(sid)["data"]][1::2] == [first, *rest]
    assert api.ended(sid, rest[-1])["content"] == "message 3"
    assert statuses(api, sid) == ["completed"] * 5
    frames = check_retold(api, sid)
    assert starts(frames) == [first, *rest]
    kinds = [frame.type for frame in frames if frame.type in ("message.started", "message.ended")]
    assert kinds == ["message.started", "message.ended"] * 5, "one after the other"


def test_a_queued_send_streams_its_turn_once_it_comes(api: Api, sid: str) -> None:
    running(api, sid, 30)
    with api.send_streamed(sid, "mine", if_busy="queue") as stream:
        frames = stream.rest()
    reply = frames[1].data["message"]
    assert reply["status"] == "queued"
    assert {frame.message_id for frame in frames} == {frames[0].message_id, reply["id"]}
    assert [frame.type for frame in frames][:3] == ["message.created", "message.created", "message.started"]
    assert text_of(frames, reply["id"]) == "mine" == frames[-1].data["message"]["content"]


def test_who_queues_and_waits_for_json_gets_the_whole_turn(api: Api, sid: str) -> None:
    running(api, sid, 20)
    turn = api.send_whole(sid, "mine", if_busy="queue")
    assert (turn["reply"]["status"], turn["reply"]["content"]) == ("completed", "mine")


@pytest.mark.parametrize("if_busy", ["queue", "interrupt"])
def test_where_nothing_runs_it_begins_at_once(api: Api, sid: str, if_busy: str) -> None:
    turn = api.send_async(sid, "hi", if_busy=if_busy)
    assert turn["reply"]["status"] == "streaming"
    assert api.ended(sid, turn["reply"]["id"])["content"] == "hi"


def test_a_queued_reply_sees_what_the_one_before_it_said(api: Api, sid: str) -> None:
    first = running(api, sid, 20)
    second = queue(api, sid, "go on")
    api.ended(sid, second)
    [asked] = api.get(f"/sessions/{sid}/messages/{second}/prompt").json()["data"]
    assert asked["request"]["messages"][1] == {"role": "assistant", "content": full_text("tokens=20")}
    assert api.message(sid, first)["status"] == "completed"


def test_a_queued_reply_that_is_stopped_ends_at_once_and_the_others_go_on(api: Api, sid: str) -> None:
    first = running(api, sid)
    second, third = queue(api, sid, "second"), queue(api, sid, "third")
    with api.follow(sid, second) as stream:
        stopped = api.stop(sid, second)
        frames = stream.rest()
    assert (stopped["status"], stopped["content"], stopped["attempts"]) == ("stopped", "", [])
    assert stopped["usage"] == {"input_tokens": 0, "output_tokens": 0, "source": "estimated"}
    assert [frame.type for frame in frames] == ["message.created", "message.stopping", "message.ended"]
    assert frames[-1].data["message"] == stopped
    assert api.stop(sid, second) == stopped, "and once is enough"
    assert statuses(api, sid) == ["streaming", "stopped", "queued"]
    api.stop(sid, first)
    assert api.ended(sid, third)["content"] == "third"
    check_retold(api, sid)


def test_a_stop_of_what_runs_lets_the_queue_go_on(api: Api, sid: str) -> None:
    first = running(api, sid)
    second = queue(api, sid, "second")
    assert api.stop(sid, first)["status"] == "stopped"
    assert api.ended(sid, second)["content"] == "second"


@pytest.mark.parametrize("words", ["tokens=3 pace=0.02 fail=reset@3", "first=0.05 fail=401", "tokens=9 finish=length"])
def test_the_queue_goes_on_after_any_end(api: Api, sid: str, words: str) -> None:
    api.send_async(sid, script("first=0.1 " + words))
    assert api.ended(sid, queue(api, sid, "second"))["content"] == "second"


def test_eight_may_wait_and_the_ninth_may_not(api: Api, sid: str) -> None:
    first = running(api, sid)
    for number in range(8):
        queue(api, sid, f"m{number}")
    seq = len(api.all_messages(sid))
    for if_busy, code in (("queue", "queue_full"), ("reject", "session_busy")):
        refused = api.post(f"/sessions/{sid}/messages", json={"content": "x", "if_busy": if_busy}, headers=ASYNC)
        check_problem(refused, 409, code)
    assert len(api.all_messages(sid)) == seq
    assert api.send_async(sid, "elsewhere", parent_id=None)["reply"]["status"] == "streaming"
    api.stop(sid, first)
    eventually(lambda: statuses(api, sid)[1:] == ["completed"] * 9)


def test_a_retry_of_a_queued_send_attaches(api: Api, sid: str) -> None:
    first, own = running(api, sid), message_id()
    api.send_async(sid, "between", if_busy="queue")
    turns = together(lambda _: api.send_async(sid, "second", id=own, if_busy="queue"), 6)
    assert len({turn["reply"]["id"] for turn in turns}) == 1
    assert len(api.all_messages(sid)) == 6
    other = api.post(f"/sessions/{sid}/messages", json={"content": "other", "id": own, "if_busy": "queue"})
    check_problem(other, 422, "idempotency_mismatch")
    api.stop(sid, first)
    with api.send_streamed(sid, "second", id=own, if_busy="queue") as stream:
        frames = stream.rest()
    assert {frame.message_id for frame in frames} == {own, turns[0]["reply"]["id"]}, "nothing of the one before it"
    assert frames[-1].data["message"]["content"] == "second"
    assert len(api.all_messages(sid)) == 6


# --- interrupt ---------------------------------------------------------------------------------------------------


def test_an_interrupt_ends_what_runs_and_what_waits_and_then_runs(api: Api, sid: str) -> None:
    first = running(api, sid)
    eventually(lambda: api.message(sid, first)["content"])
    waiting = [queue(api, sid, f"m{number}") for number in range(3)]
    turn = api.send_whole(sid, "now", if_busy="interrupt")
    assert (turn["reply"]["status"], turn["reply"]["content"]) == ("completed", "now")
    assert statuses(api, sid) == ["stopped"] * 4 + ["completed"]
    assert turn["message"]["parent_id"] == waiting[-1]
    stopped = api.message(sid, first)
    assert stopped["content"] and full_text("tokens=10000").startswith(stopped["content"])
    frames = check_retold(api, sid)
    assert starts(frames) == [first, turn["reply"]["id"]], "what waited never ran"
    assert [frame.type for frame in frames].count("message.stopping") == 4


def test_an_interrupt_while_the_upstream_is_silent(api: Api, sid: str) -> None:
    api.send_async(sid, script("hang"))
    assert api.send_whole(sid, "now", if_busy="interrupt")["reply"]["content"] == "now"


def test_interrupts_at_once_leave_one_that_runs(api: Api, sid: str) -> None:
    running(api, sid)
    turns = together(lambda n: api.send_async(sid, slow(40), if_busy="interrupt", metadata={"n": str(n)}), 8)
    ends = [api.ended(sid, turn["reply"]["id"])["status"] for turn in turns]
    assert set(ends) <= {"stopped", "completed"} and ends.count("completed") == 1
    assert statuses(api, sid)[-1] == "completed", "the last that was accepted"
    check_retold(api, sid)


def test_an_interrupt_touches_no_other_branch(api: Api, sid: str) -> None:
    elsewhere = running(api, sid, 80)
    here = api.send_async(sid, slow(), parent_id=None)["reply"]["id"]
    behind = queue(api, sid, "behind the other one", parent_id=elsewhere)
    api.send_whole(sid, "now", parent_id=here, if_busy="interrupt")
    assert api.message(sid, here)["status"] == "stopped"
    assert api.ended(sid, elsewhere)["content"] == full_text("tokens=80")
    assert api.ended(sid, behind)["content"] == "behind the other one"


def test_branches_have_queues_of_their_own(api: Api, sid: str) -> None:
    first = running(api, sid)
    queued = queue(api, sid, "waits")
    other = api.send_async(sid, slow(20), parent_id=None)["reply"]["id"]
    third = queue(api, sid, "waits for the other", parent_id=other)
    assert api.ended(sid, third)["content"] == "waits for the other"
    assert api.message(sid, queued)["status"] == "queued"
    api.stop(sid, first)
    assert api.ended(sid, queued)["content"] == "waits"


# --- many at once ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("store", ["memory:", "sqlite"])
def test_of_fifty_sends_at_once_each_is_answered_once_in_one_order(
    start_server: Callable[..., ServerThread], tmp_path: Any, store: str
) -> None:
    where = store if store == "memory:" else f"sqlite:///{tmp_path}/chat.db"
    api = start_server(max_queue=60, store=where).api
    sid = api.session()
    turns = together(lambda n: api.send_async(sid, f"message {n}", if_busy="queue"), 50)
    for number, turn in enumerate(turns):
        reply = api.ended(sid, turn["reply"]["id"])
        assert (reply["status"], reply["content"]) == ("completed", f"message {number}")
    branch = api.history(sid)["data"]
    assert len(branch) == len(api.all_messages(sid)) == 100
    parents = [None, *(message["id"] for message in branch[:-1])]
    assert [message["parent_id"] for message in branch] == parents, "one chain"
    assert {message["id"] for message in branch[::2]} == {turn["message"]["id"] for turn in turns}
    for turn in turns:
        assert turn["reply"]["parent_id"] == turn["message"]["id"]
        kept = next(message for message in branch if message["id"] == turn["message"]["id"])
        assert kept == turn["message"], "what the answer promised"
    frames = check_retold(api, sid)
    kinds = [frame.type for frame in frames if frame.type in ("message.started", "message.ended")]
    assert kinds == ["message.started", "message.ended"] * 50, "no two were written at once"


def test_a_send_that_meets_the_end_of_what_runs_is_never_left_behind(api: Api, sid: str) -> None:
    """Queued at the very moment at which the running reply ends, it starts all the same."""
    for number in range(25):
        api.send_async(sid, script(f"tokens={number % 5 + 1} pace=0.001"), if_busy="queue")
        turn = api.send_whole(sid, f"m{number}", if_busy="queue")
        assert turn["reply"]["content"] == f"m{number}"


# --- restarts ----------------------------------------------------------------------------------------------------


def queued_up(api: Api) -> tuple[str, str, list[str]]:
    sid = api.session()
    first = running(api, sid)
    with api.follow(sid, first) as stream:
        stream.until("message.delta")
    return sid, first, [queue(api, sid, f"message {number}") for number in range(4)]


def check_all_went_on(api: Api, sid: str, first: str, rest: list[str]) -> None:
    ended: list[Json] = [api.ended(sid, reply) for reply in rest]
    assert [reply["content"] for reply in ended] == [f"message {number}" for number in range(4)]
    interrupted = api.message(sid, first)
    assert (interrupted["status"], interrupted["error"]["code"]) == ("interrupted", "server_restarted")
    assert interrupted["content"]
    assert starts(check_retold(api, sid)) == [first, *rest], "in order, and each once"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_queue_goes_on_in_order_after_a_restart(start_process: Callable[..., ServerProcess], number: int) -> None:
    server = start_process(drain=0.1)
    sid, first, rest = queued_up(server.api)
    server.signal(number)
    server.ended()
    check_all_went_on(server.start(), sid, first, rest)


def test_a_queue_whose_turn_comes_while_the_server_drains_waits_for_the_next_run(
    start_process: Callable[..., ServerProcess],
) -> None:
    server = start_process(drain=10)
    api, sid = server.api, server.api.session()
    first, own = running(api, sid), message_id()
    second, third = queue(api, sid, "second", id=own), queue(api, sid, "third")
    server.signal(signal.SIGTERM)
    eventually(lambda: api.get("//readyz").status_code == 503)
    with contextlib.suppress(httpx2.TransportError):  # with no reply left it goes, perhaps before the answer is out
        assert api.stop(sid, first)["status"] == "stopped"
    server.ended()
    api = server.start()
    assert api.ended(sid, third)["content"] == "third"
    assert statuses(api, sid) == ["stopped", "completed", "completed"]
    assert api.send_whole(sid, "second", id=own, if_busy="queue")["reply"] == api.message(sid, second)
    assert set(statuses(api, sid)) <= ENDS
    check_retold(api, sid)
