"""Long conversations: what of them is sent when a model's window is too small for all, and that nobody is left in the dark."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from rejoinder.entities import JsonObject
from rejoinder.llm.script import Script, parse
from rejoinder.llm.scripted_answer import Answer
from rejoinder.testing.upstream import ScriptedUpstream
from serving import ServerProcess, ServerThread
from upstreams import upstream_running
from wire import Api, Json, script

StartServer = Callable[..., ServerThread]

WINDOW = 60
"""Words, which are the tokens of scripted models: eight turns or so, and a quarter is kept free for the reply."""


def words(messages: list[Json]) -> int:
    return sum(len(message["content"].split()) for message in messages)


def requests(upstream: ScriptedUpstream) -> list[Json]:
    return [msgspec.json.decode(record.body) for record in upstream.requests if record.path.endswith("completions")]


def talk(api: Api, sid: str, turns: int, first: int = 0) -> list[Json]:
    """So many turns, each with a few words of its own; the replies repeat them."""
    return [api.send_whole(sid, f"turn{number} alpha beta gamma")["reply"] for number in range(first, first + turns)]


def prompt_of(api: Api, sid: str, mid: str) -> Json:
    [told] = api.get(f"/sessions/{sid}/messages/{mid}/prompt").json()["data"]
    found: Json = told
    return found


@pytest.fixture
def small(start_server: StartServer) -> Api:
    """A server whose scripted model takes few words."""
    return start_server(model=f"scripted:echo+window={WINDOW}").api


def test_the_oldest_is_left_out_and_the_system_prompt_and_the_last_message_never(small: Api) -> None:
    sid = small.session(system_prompt="Be very brief.")
    replies = talk(small, sid, 20)
    assert {reply["status"] for reply in replies} == {"completed"}
    assert all(len(reply["attempts"]) == 1 for reply in replies), (
        "counts by the upstream keep all of them within its window"
    )
    told = prompt_of(small, sid, replies[-1]["id"])
    sent = told["request"]["messages"]
    assert sent[0] == {"role": "system", "content": "Be very brief."}
    assert sent[1]["role"] == "user" and sent[-1] == {"role": "user", "content": "turn19 alpha beta gamma"}
    assert WINDOW / 2 < words(sent) <= WINDOW, "as much as there is room for"
    assert told["exact"]
    history = small.history(sid)["data"]
    left_out = {entry["message_id"] for entry in told["left_out"]}
    assert [message["id"] for message in history[: len(left_out)]] == [
        entry["message_id"] for entry in told["left_out"]
    ]
    assert {entry["reason"] for entry in told["left_out"]} == {"context"}
    assert len(left_out) + len(sent) - 1 == len(history) - 1, "each message was sent, or left out and told of"


def test_with_room_for_all_nothing_is_left_out(small: Api) -> None:
    sid = small.session()
    reply = talk(small, sid, 3)[-1]
    told = prompt_of(small, sid, reply["id"])
    assert told["left_out"] == [] and len(told["request"]["messages"]) == 5


def test_as_an_error_the_reply_fails_and_nobody_is_asked(start_server: StartServer) -> None:
    with upstream_running() as upstream:
        api = start_server(
            model="openai:echo", openai_base_url=upstream.base_url, context_windows={"openai:echo": WINDOW}
        ).api
        sid = api.session(params={"context": "error"})
        replies = talk(api, sid, 12)
        ends = [(reply["status"], (reply["error"] or {}).get("code")) for reply in replies]
        fitting = ends.index(("failed", "context_overflow"))
        assert fitting > 2 and set(ends[:fitting]) == {("completed", None)}
        assert len(requests(upstream)) == fitting
        failed = replies[fitting]
        assert failed["usage"] == {"input_tokens": 0, "output_tokens": 0, "source": "estimated"}
        reply = api.send_whole(sid, "and on", params={"context": "drop_oldest"})["reply"]
        assert reply["status"] == "completed", "a message may choose otherwise"


def test_a_tool_call_is_never_parted_from_its_result(start_server: StartServer) -> None:
    api = start_server(model=f"scripted:echo+window={WINDOW}").api
    tools = [{"type": "function", "function": {"name": "lookup"}}]
    sid = api.session(params={"tools": tools})
    for number in range(12):
        calling = api.send_whole(sid, script("calls=2", f"question {number} alpha"))["reply"]
        results = [{"tool_call_id": call["id"], "content": "one two three"} for call in calling["tool_calls"]]
        answer = {"role": "tool", "results": results}
        reply = api.post(f"/sessions/{sid}/messages", json=answer, headers={"accept": "application/json"}).json()[
            "reply"
        ]
        assert reply["status"] == "completed", reply["error"]
        sent = prompt_of(api, sid, reply["id"])["request"]["messages"]
        assert sent[0]["role"] == "user" and sent[-1]["role"] == "tool"
        calls = [call["id"] for message in sent for call in message.get("tool_calls", ())]
        assert calls == [message["tool_call_id"] for message in sent if message["role"] == "tool"]


# --- an upstream that knows better -------------------------------------------------------------------------------


def test_a_prompt_that_was_too_long_is_sent_again_shorter_and_the_window_is_learned(start_server: StartServer) -> None:
    with upstream_running() as upstream:
        api = start_server(model=f"openai:echo+window={WINDOW}", openai_base_url=upstream.base_url).api
        sid = api.session()
        replies = talk(api, sid, 20)
        assert {reply["status"] for reply in replies} == {"completed"}
        tried = [len(reply["attempts"]) for reply in replies]
        assert tried.count(2) == 1 and set(tried) == {1, 2}, "once, and then its window is known"
        twice = replies[tried.index(2)]
        assert twice["attempts"][0]["error"]["code"] == "context_overflow" and twice["attempts"][1]["error"] is None
        assert twice["usage"]["source"] == "provider", "a refused prompt costs nothing"
        told = api.get(f"/sessions/{sid}/messages/{twice['id']}/prompt").json()["data"]
        assert [attempt["left_out"] == [] for attempt in told] == [True, False] and all(t["exact"] for t in told)


class Curt(ScriptedUpstream):
    """Takes so many messages, and says no more than that it will not take others."""

    def answer(self, asked: JsonObject) -> Answer:
        answer = super().answer(asked)
        if len(asked["messages"]) <= 8:
            return answer
        return msgspec.structs.replace(answer, script=parse("fail=context_overflow"))


def test_where_no_sizes_are_told_half_is_sent(start_server: StartServer) -> None:
    with upstream_running(upstream=Curt()) as upstream:
        api = start_server(model="openai:echo", openai_base_url=upstream.base_url).api
        sid = api.session()
        reply = talk(api, sid, 5)[-1]
        assert (reply["status"], len(reply["attempts"])) == ("completed", 2)
        first, second = requests(upstream)[-2:]
        assert len(first["messages"]) == 9 and 3 <= len(second["messages"]) <= 5
        assert second["messages"] == first["messages"][-len(second["messages"]) :]


def test_once_more_and_no_oftener(start_server: StartServer) -> None:
    with upstream_running() as upstream:
        api = start_server(model="openai:echo", openai_base_url=upstream.base_url).api
        sid = api.session()
        talk(api, sid, 6)
        reply = api.send_whole(sid, script("fail=context_overflow"))["reply"]
        assert (reply["status"], reply["error"]["code"]) == ("failed", "context_overflow")
        assert [attempt["error"]["code"] for attempt in reply["attempts"]] == ["context_overflow"] * 2
        assert reply["usage"]["output_tokens"] == 0


def test_a_last_message_that_is_too_long_alone_is_asked_once(start_server: StartServer) -> None:
    with upstream_running() as upstream:
        api = start_server(model=f"openai:echo+window={WINDOW}", openai_base_url=upstream.base_url).api
        sid = api.session()
        reply = api.send_whole(sid, "word " * (WINDOW + 1))["reply"]
        assert (reply["status"], reply["error"]["code"], len(reply["attempts"])) == ("failed", "context_overflow", 1)
        assert len(requests(upstream)) == 1
        assert api.send_whole(sid, "and on")["reply"]["status"] == "completed", "the session is not stuck"


def test_another_model_with_more_room_is_asked_where_nothing_can_be_left_out(start_server: StartServer) -> None:
    with upstream_running() as upstream:
        api = start_server(model="openai:echo+window=5", openai_base_url=upstream.base_url).api
        sid = api.session(model=["openai:echo+window=5", "openai:echo+window=50"])
        reply = api.send_whole(sid, "one two three four five six seven")["reply"]
        assert (reply["status"], reply["model"]) == ("completed", "openai:echo+window=50")


# --- summaries ---------------------------------------------------------------------------------------------------


class Summarising(ScriptedUpstream):
    """Knows a request for a summary by its instruction, and answers it with `notes`, as often as `working` says."""

    notes = parse("tokens=9")
    failing = False

    def answer(self, asked: JsonObject) -> Answer:
        answer = super().answer(asked)
        if self.is_summary(asked):
            script: Script = parse("fail=500") if self.failing else self.notes
            return msgspec.structs.replace(answer, script=script)
        return answer

    @staticmethod
    def is_summary(asked: JsonObject) -> bool:
        return str(asked["messages"][0]["content"]).startswith("You keep the notes")

    def asked_for(self) -> list[str]:
        """What it was to summarise, each time."""
        return [str(asked["messages"][1]["content"]) for asked in requests(self) if self.is_summary(asked)]


def summarising(start: Callable[..., Any], upstream: ScriptedUpstream, **settings: Any) -> Any:
    return start(model="openai:echo", openai_base_url=upstream.base_url, retries=0, **settings)


BIG = 200
"""Words of a window in which a summary has room to be worth it."""


def test_older_turns_are_summarised_and_the_summary_is_used_again_and_extended(start_server: StartServer) -> None:
    with upstream_running(upstream=Summarising()) as upstream:
        assert isinstance(upstream, Summarising)
        api = summarising(start_server, upstream, context_windows={"openai": BIG}).api
        sid = api.session(system_prompt="Be brief.", params={"context": "summarise"})
        replies = talk(api, sid, 60)
        assert {(reply["status"], len(reply["attempts"])) for reply in replies} == {("completed", 1)}
        asked = upstream.asked_for()
        assert 2 <= len(asked) <= 30, "not for every turn"
        assert "The notes so far" not in asked[0] and all("The notes so far:\nt0 t1" in more for more in asked[1:])
        for number in range(50):
            told = sum(f"User: turn{number} " in each for each in asked)
            assert told <= 1, "what was summarised once is not read again"
        prompt = prompt_of(api, sid, replies[-1]["id"])
        sent = prompt["request"]["messages"]
        assert sent[0]["role"] == "system" and sent[0]["content"].startswith("Be brief.\n\nWhat was said before")
        assert "t0 t1 t2" in sent[0]["content"] and words(sent) <= BIG
        assert prompt["exact"] and {entry["reason"] for entry in prompt["left_out"]} == {"summarised"}
        assert len(prompt["left_out"]) + len(sent) - 1 == len(api.history(sid)["data"]) - 1
        usage = api.get(f"/sessions/{sid}/usage").json()
        assert usage["summaries"] == len(asked)
        counted = [record.usage for record in upstream.requests if record.usage]
        assert usage["output_tokens"] == sum(each[1] for each in counted) and usage["estimated_output_tokens"] == 0


def test_streams_skip_the_summary_and_readers_are_not_left_behind(start_server: StartServer) -> None:
    with upstream_running(upstream=Summarising()) as upstream:
        api = summarising(start_server, upstream, context_windows={"openai": BIG}).api
        sid = api.session(params={"context": "summarise"})
        talk(api, sid, 40)
        assert api.get(f"/sessions/{sid}/usage").json()["summaries"] > 0
        with api.follow_session(sid) as stream:
            last = stream.until(lambda frame: frame.seq == api.last_seq(sid))
        assert last.type == "message.ended"
        assert not any("summary" in frame.type for frame in stream.frames)


def test_a_summary_outlives_the_server(start_process: Callable[..., ServerProcess], tmp_path: Path) -> None:
    with upstream_running(upstream=Summarising()) as upstream:
        assert isinstance(upstream, Summarising)
        # In a process settings are text.
        server = summarising(start_process, upstream, context_windows=f"openai={BIG}")
        api = server.api
        sid = api.session(params={"context": "summarise"})
        talk(api, sid, 30)
        made = len(upstream.asked_for())
        assert made >= 1
        server.signal(9)
        server.ended()
        api = server.start()
        reply = talk(api, sid, 1, first=30)[0]
        assert "t0 t1 t2" in prompt_of(api, sid, reply["id"])["request"]["messages"][0]["content"]
        talk(api, sid, 25, first=31)
        later = upstream.asked_for()[made:]
        assert later and all("The notes so far" in each for each in later), "extended, and never made anew"


def test_where_no_summary_can_be_had_the_reply_comes_all_the_same(start_server: StartServer) -> None:
    with upstream_running(upstream=Summarising()) as upstream:
        assert isinstance(upstream, Summarising)
        upstream.failing = True
        api = summarising(start_server, upstream, context_windows={"openai": BIG}).api
        sid = api.session(params={"context": "summarise"})
        replies = talk(api, sid, 40)
        assert {reply["status"] for reply in replies} == {"completed"}
        told = prompt_of(api, sid, replies[-1]["id"])
        assert {entry["reason"] for entry in told["left_out"]} == {"context"} and told["exact"]
        upstream.failing = False
        reply = talk(api, sid, 1, first=40)[0]
        assert {entry["reason"] for entry in prompt_of(api, sid, reply["id"])["left_out"]} == {"summarised"}


def test_an_earlier_branch_has_the_summary_of_its_own_past(start_server: StartServer) -> None:
    with upstream_running(upstream=Summarising()) as upstream:
        assert isinstance(upstream, Summarising)
        api = summarising(start_server, upstream, context_windows={"openai": BIG}).api
        sid = api.session(params={"context": "summarise"})
        replies = talk(api, sid, 50)
        asked = len(upstream.asked_for())
        early = api.send_whole(sid, "another way", parent_id=replies[2]["id"])["reply"]
        assert prompt_of(api, sid, early["id"])["left_out"] == [], "there it was short"
        late = api.send_whole(sid, "once more", parent_id=replies[-2]["id"])["reply"]
        assert {entry["reason"] for entry in prompt_of(api, sid, late["id"])["left_out"]} == {"summarised"}
        assert len(upstream.asked_for()) == asked, "and nothing is summarised twice"


def test_a_policy_that_is_none_is_refused(small: Api) -> None:
    made = small.post("/sessions", json={"params": {"context": "forget"}})
    assert made.status_code == 422 and "context" in made.text
