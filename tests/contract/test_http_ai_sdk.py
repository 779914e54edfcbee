"""Vercel's AI SDK itself on `page/ai_sdk.js`: what a chat of it shows is what the history has, whatever happened meanwhile."""

import json
import re
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import pytest

import tools
from rejoinder.llm.scripted_answer import full_text
from serving import ServerProcess
from tcp_proxy import TcpProxy, tcp_proxy
from wire import Api, Json, eventually, script, slow

pytestmark = pytest.mark.node

ROOT = Path(__file__).parent.parent.parent
CHAT = ROOT / "tests/node/chat.mjs"


class Tab:
    """A `Chat` in Node. What it is told to do is answered with its state."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def __call__(self, what: str, **how: object) -> Json:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps({"do": what, **how}) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, "it has ended"
        state: Json = json.loads(line)
        return state

    def open(self, api: Api, sid: str) -> Json:
        return self("open", base=api.url, chat=sid)

    def check(self, api: Api, sid: str) -> Json:
        """Waits for the end of what runs. What is shown then is what whoever comes later is shown."""
        state = self("rest")
        assert self.open(api, sid)["messages"] == state["messages"]
        return state


@pytest.fixture(scope="module")
def tab() -> Iterator[Tab]:
    node, _ = tools.needed(tools.node), tools.needed(tools.node_packages)
    with subprocess.Popen([node, CHAT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield Tab(process)
        finally:
            process.kill()


def proxy_to(api: Api) -> AbstractContextManager[TcpProxy]:
    place = urlsplit(api.url)
    return tcp_proxy((str(place.hostname), place.port or 0))


def texts(message: Json, kind: str = "text") -> str:
    return "".join(part["text"] for part in message["parts"] if part["type"] == kind)


def test_replies_are_shown_whole_one_after_another(tab: Tab, api: Api, sid: str) -> None:
    tab.open(api, sid)
    tab("send", texts=[script("story")])
    tab("rest")
    tab("send", texts=[script("reasoning=5 tokens=9 pace=0.002")])
    state = tab.check(api, sid)
    assert (state["status"], state["finished"][1]) == (
        "ready",
        {"isAbort": False, "isError": False, "finishReason": "stop"},
    )
    first, second = state["messages"][1], state["messages"][3]
    assert texts(first) == full_text("story")
    assert [part["type"] for part in second["parts"]] == ["step-start", "reasoning", "text"]
    assert (texts(second, "reasoning"), texts(second)) == ("r0 r1 r2 r3 r4", full_text("tokens=9"))
    assert second["metadata"]["usage"]["source"] == "provider"


def test_pictures_and_metadata_are_sent_and_come_back(tab: Tab, api: Api, sid: str) -> None:
    picture = {"type": "file", "mediaType": "image/png", "url": "data:image/png;base64,iVBORw0KGgo="}
    tab.open(api, sid)
    tab("send", texts=["What is this?"], files=[picture], metadata={"from": "a phone"})
    asked = tab.check(api, sid)["messages"][0]
    assert (asked["parts"][0], asked["metadata"]) == (picture, {"from": "a phone"})


def test_tools_are_called_once_and_their_results_go_on_with_the_message(tab: Tab, api: Api, sid: str) -> None:
    tab.open(api, sid)
    tab("send", texts=[script("calls=2 pace=0.02", "Look.")])
    state = tab.check(api, sid)
    assert state["called"] == [{"number": 0}, {"number": 1}] and state["finished"][0]["finishReason"] == "tool-calls"
    assert [part["state"] for part in state["messages"][1]["parts"][2:]] == ["input-available"] * 2
    tab("output", toolCallId="call_0", output={"found": 3})
    tab("output", toolCallId="call_1", output="nothing")
    assert len(tab("see", size=len("Look.The"))["messages"]) == 2
    tab.open(api, sid)
    tab("resume")
    state = tab.check(api, sid)
    assert state["called"] == [], "a reload runs no tool again"
    [_, shown] = state["messages"]
    assert [part.get("output") for part in shown["parts"]] == [None, None, {"found": 3}, "nothing", None, None]
    assert texts(shown) == 'Look.The tools said: {"found":3}, nothing'
    assert len(api.all_messages(sid)) == 5


@pytest.mark.parametrize("words", ["tokens=60 pace=0.02", "tokens=9 calls=50 pace=0.02"])
def test_a_reload_in_the_middle_goes_on_to_the_end(tab: Tab, api: Api, sid: str, words: str) -> None:
    tab.open(api, sid)
    tab("send", texts=[script(words)])
    tab("see", size=20, parts=8 if "calls" in words else 2)
    shown = tab.open(api, sid)["messages"][-1]
    assert shown["parts"][-1]["state"] == ("input-streaming" if "calls" in words else "streaming")
    tab("resume")
    tab("resume")  # React does so in its strict mode, and `Chat` aborts the first: that is no stop
    ended = tab("rest")
    assert ended["messages"][-1]["metadata"]["status"] == "completed"
    tab("resume")
    assert tab("rest") == ended, "there is nothing to go on with"
    tab.check(api, sid)


def test_a_reply_that_ended_during_the_reload_is_shown_to_its_end(tab: Tab, api: Api, sid: str) -> None:
    reply = api.send_async(sid, slow(20, 0.02))["reply"]
    tab.open(api, sid)
    api.ended(sid, reply["id"])
    tab("resume")
    assert texts(tab.check(api, sid)["messages"][-1]) == full_text("tokens=20")


def test_a_cut_connection_loses_and_doubles_nothing(tab: Tab, api: Api, sid: str) -> None:
    with proxy_to(api) as proxy:
        tab("open", base=f"http://127.0.0.1:{proxy.port}", chat=sid)
        tab("send", texts=[slow(60, 0.005)])
        seen = tab("see", size=50)
        proxy.cut()
        state = tab.check(api, sid)
    assert (state["status"], texts(state["messages"][-1])) == ("ready", full_text("tokens=60"))
    assert len(texts(seen["messages"][-1])) < len(full_text("tokens=60")), "it was cut in the middle"


def test_what_was_sent_and_nobody_knows_is_not_sent_twice(tab: Tab, api: Api, sid: str) -> None:
    with proxy_to(api) as proxy:
        tab("open", base=f"http://127.0.0.1:{proxy.port}", chat=sid, tries=1)
        proxy.loses = lambda _: True
        tab("send", texts=["Good evening"])
        assert tab("rest")["status"] == "error"
        proxy.loses = lambda _: False
        tab("again")
        assert texts(tab.check(api, sid)["messages"][-1]) == "Good evening"
    assert len(api.all_messages(sid)) == 2


def test_a_killed_server_ends_the_reply_honestly(tab: Tab, start_process: Callable[..., ServerProcess]) -> None:
    server = start_process()
    sid = server.api.session()
    tab.open(server.api, sid)
    tab("send", texts=[slow()])
    tab("see", size=50)
    server.signal(signal.SIGKILL)
    server.ended()
    server.start()
    state = tab.check(server.api, sid)
    assert state["status"] == "error" and state["finished"][0]["finishReason"] == "interrupted"
    reply = state["messages"][-1]
    assert reply["metadata"]["error"]["code"] == "server_restarted" and len(texts(reply)) >= 50


def test_stop_ends_the_reply_at_the_server_and_one_goes_on(tab: Tab, api: Api, sid: str) -> None:
    tab.open(api, sid)
    tab("send", texts=[slow()])
    tab("see", size=50)
    tab("stop", texts=["And now?"])  # at once: it waits for the end of the one before
    state = tab("rest")
    assert (state["status"], texts(state["messages"][-1])) == ("ready", "And now?")
    reply = api.all_messages(sid)[1]
    assert reply["status"] == "stopped" and reply["content"].startswith(texts(state["messages"][1]))


def test_what_came_in_the_moment_of_the_stop_is_shown_by_a_resume(tab: Tab, api: Api, sid: str) -> None:
    tab.open(api, sid)
    tab("send", texts=[slow()])
    tab("see", size=50)
    tab("stop")
    tab("resume")
    assert tab.check(api, sid)["messages"][-1]["metadata"]["status"] == "stopped"


def test_a_stop_before_the_answer_stops_what_was_sent(tab: Tab, api: Api, sid: str) -> None:
    with proxy_to(api) as proxy:
        tab("open", base=f"http://127.0.0.1:{proxy.port}", chat=sid)
        proxy.silent = True
        tab("send", texts=[script("hang")])
        tab("stop")
        assert tab("rest")["status"] == "ready", "at once"
        proxy.silent = False
        eventually(lambda: [message["status"] for message in api.all_messages(sid)] == ["completed", "stopped"])


def test_a_stop_of_someone_else_is_an_end(tab: Tab, api: Api, sid: str) -> None:
    tab.open(api, sid)
    tab("send", texts=[slow()])
    tab("see", size=50)
    api.stop(sid, api.all_messages(sid)[1]["id"])
    state = tab.check(api, sid)
    assert (state["status"], state["messages"][-1]["metadata"]["status"]) == ("ready", "stopped")
    assert state["finished"][0]["finishReason"] == "interrupted"


def test_another_reply_and_other_words_are_branches(tab: Tab, api: Api, sid: str) -> None:
    tab.open(api, sid)
    tab("send", texts=["one"])
    first = tab("rest")["messages"]
    tab("regenerate")
    state = tab.check(api, sid)
    assert [texts(message) for message in state["messages"]] == ["one", "one"]
    assert state["messages"][0] == first[0] and state["messages"][1]["id"] != first[1]["id"]
    tab("send", texts=["two"], messageId=first[0]["id"])
    edited = tab("rest")["messages"]
    assert [texts(message) for message in edited] == ["two", "two"]
    tab("regenerate")
    assert texts(tab("rest")["messages"][1]) == "two"
    tab("send", texts=["two"], messageId=first[0]["id"])  # an edit without a change asks once more, and is no retry
    shown = tab("rest")["messages"]
    assert shown[1]["id"] == api.history(sid)["data"][1]["id"] and len(shown) == 2
    roots = [message for message in api.all_messages(sid) if message["parent_id"] is None]
    assert [message["content"] for message in roots] == ["one", "two", "two"]


def test_a_failed_reply_has_its_error_and_its_text(tab: Tab, api: Api, sid: str) -> None:
    tab.open(api, sid)
    tab("send", texts=[script("tokens=9 reasoning=3 calls=2 fail=reset@13")])
    state = tab.check(api, sid)
    reply = state["messages"][-1]
    assert (state["status"], state["error"]["message"]) == ("error", reply["metadata"]["error"]["message"])
    assert reply["metadata"]["error"]["code"] == "upstream_incomplete" and texts(reply) == full_text("tokens=9")
    assert (reply["parts"][-1]["state"], state["called"]) == ("output-error", []), (
        "a call that may be cut off is not carried out"
    )


@pytest.mark.parametrize("how", ["again", "regenerate"])
def test_what_was_refused_is_tried_again_under_its_id(tab: Tab, api: Api, sid: str, how: str) -> None:
    running = api.send_async(sid, slow())["reply"]["id"]
    tab.open(api, sid)
    tab("send", texts=["Are you there?"])
    state = tab("rest")
    assert (state["status"], state["error"]["code"]) == ("error", "session_busy")
    api.stop(sid, running)
    tab(how)
    assert texts(tab("rest")["messages"][-1]) == "Are you there?"
    assert api.all_messages(sid)[2]["id"] == state["messages"][-1]["id"]


def test_of_two_sends_at_once_one_is_answered(tab: Tab, api: Api, sid: str) -> None:
    tab.open(api, sid)
    tab("send", texts=[slow(9, 0.02), slow(10, 0.02)])
    state = tab("rest")
    assert sorted(end["isError"] for end in state["finished"]) == [False, True]
    shown = {message["id"]: texts(message) for message in state["messages"]}
    [sent, reply] = api.all_messages(sid)
    assert shown[sent["id"]] == sent["content"] and shown[reply["id"]] == reply["content"]


def test_what_is_begun_anew_is_shown_once(tab: Tab, api: Api) -> None:
    sid = api.session(model=["scripted:reasoning=20+pace=0.01+fail=reset@15", "scripted:tokens=6"])
    tab.open(api, sid)
    tab("send", texts=["hi"])
    assert texts(tab("see", size=5)["messages"][-1], "reasoning")
    state = tab.check(api, sid)
    assert [part["type"] for part in state["messages"][-1]["parts"]] == ["step-start", "text"]
    assert texts(state["messages"][-1]) == full_text("tokens=6")


def test_the_files_that_one_copies_are_all_that_it_takes(tab: Tab, api: Api, tmp_path: Path) -> None:
    copied = re.findall(
        r"/page/(\w+\.js) -o (\w+\.js)$", (ROOT / "docs/clients.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert [name for name, _ in copied] == ["client.js", "ai_sdk.js", "ai_messages.js"]
    (tmp_path / "package.json").write_text('{"type": "module"}')
    for name, there in copied:
        (tmp_path / there).write_bytes(httpx2.get(f"{api.url}/page/{name}").content)
    subprocess.run([tools.node(), "-e", 'import("./ai_sdk.js")'], cwd=tmp_path, check=True)
