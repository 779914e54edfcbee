"""Two hundred turns with the embedded model in a small window: real tokens, counted by a real model. Takes some minutes.

    ./dev test --full tests/llm/test_long_conversation.py -s

prints what was sent on the way; docs/long-conversations.md shows an excerpt.
"""

import sys
from pathlib import Path

import pytest

from serving import ServerProcess
from wire import Api, Json

TURNS = 200
WINDOW = 320
REPLY = 20
"""Tokens of a reply at most, which are kept free."""

TOLD = 25
"""A line is printed for each so many turns."""

FIRST = "Hello! My name is Ada, I live in Bergen, and my dog is called Pixel. Please remember that."
LAST = "What is the name of my dog?"
TOPICS = ("the sea", "bread", "old maps", "rain", "a lighthouse", "chess", "the moon", "trains", "honey", "a garden")
ASKED = ("Tell me one thing about {}.", "Why do people like {}?", "Give me a word for {}.", "And what of {} in winter?")


def said(turn: int) -> str:
    if turn in (0, TURNS - 1):
        return FIRST if turn == 0 else LAST
    return ASKED[turn % len(ASKED)].format(TOPICS[turn // len(ASKED) % len(TOPICS)])


def prompt_of(api: Api, sid: str, mid: str) -> Json:
    [told] = api.get(f"/sessions/{sid}/messages/{mid}/prompt").json()["data"]
    found: Json = told
    return found


@pytest.mark.full
@pytest.mark.timeout(1_500)
@pytest.mark.parametrize("policy", ["drop_oldest", "summarise"])
def test_a_conversation_goes_on_and_on(tmp_path: Path, policy: str) -> None:
    server = ServerProcess(
        f"sqlite:///{tmp_path}/chat.db",
        tmp_path / "server.log",
        model="local",
        context_windows=f"local={WINDOW}",
        first_token_timeout=300,
        local_threads=1,
    )
    api = server.start()
    api.http.timeout = 300
    try:
        sid = api.session(params={"context": policy, "max_tokens": REPLY, "seed": 1})
        print(f"\n--- {policy}, a window of {WINDOW} tokens", file=sys.stderr)
        most = 0
        for turn in range(TURNS):
            reply = api.send_whole(sid, said(turn))["reply"]
            assert (reply["status"], len(reply["attempts"])) == ("completed", 1), reply
            assert reply["usage"]["source"] == "provider"
            most = max(most, reply["usage"]["input_tokens"])
            if (turn + 1) % TOLD == 0 or turn == TURNS - 1:
                told = prompt_of(api, sid, reply["id"])
                assert told["exact"]
                tell(turn, reply, told)
        usage = api.get(f"/sessions/{sid}/usage").json()
        print(f"the longest prompt: {most} tokens; {usage}", file=sys.stderr)
        assert most <= WINDOW, "by the model's own count"
        assert told["left_out"] and {entry["reason"] for entry in told["left_out"]} == {
            "summarised" if policy == "summarise" else "context"
        }
        assert (usage["summaries"] > 0) == (policy == "summarise") and usage["summaries"] < TURNS / 2
        assert len(api.history(sid)["data"]) == 2 * TURNS, "and all of it is in the history"
    finally:
        server.close()


def tell(turn: int, reply: Json, told: Json) -> None:
    sent = told["request"]["messages"]
    print(
        f"turn {turn + 1}: {reply['usage']['input_tokens']} tokens, {len(sent)} messages sent, {len(told['left_out'])} left out",
        file=sys.stderr,
    )
    if turn == TURNS - 1 or "What was said before" in sent[0]["content"]:
        print(f"  system: {sent[0]['content']}", file=sys.stderr)
    print(f"  user: {sent[-1]['content']}\n  assistant: {reply['content']}", file=sys.stderr)
