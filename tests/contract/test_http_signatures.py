"""Tools with models that sign their thoughts: what came with a call goes back with it, as it came, or it is refused.

The upstream is one like Gemini's own endpoint: it signs the first of the calls that it makes at once, in their `extra_content`, and
refuses calls that nobody has signed. Or like LiteLLM's before the same models, which writes the signature into the id; or like
OpenRouter's before these and others, which signs in `reasoning_details` beside the calls, and tells those in pieces.
"""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Literal, TypeAlias

import pytest

from retold import check_retold
from serving import processes, serving
from wire import Api, Json

SIGNATURE = "CiQB0e2Kb" + "4bVq/R+k" * 300
SIGNED = {"google": {"thought_signature": SIGNATURE}}
LOOKUP = {"type": "function", "function": {"name": "lookup", "parameters": {"type": "object"}}}
LITELLM_ID = f"call_1__thought__{SIGNATURE}"
DETAILS: list[Json] = [
    {
        "type": "reasoning.text",
        "text": "Let me look.",
        "format": "anthropic-claude-v1",
        "index": 0,
        "signature": SIGNATURE,
    },
    {"type": "reasoning.encrypted", "id": "call_1", "format": "google-gemini-v1", "index": 0, "data": SIGNATURE},
    {"type": "reasoning.encrypted", "id": "call_2", "format": "google-gemini-v1", "index": 0, "data": "e30="},
]
PIECES: list[list[Json]] = [
    [DETAILS[0] | {"text": "Let", "signature": None}],
    [{"type": "reasoning.text", "text": " me look.", "index": 0}],
    [{"type": "reasoning.text", "signature": SIGNATURE, "index": 0}, DETAILS[1]],
    [DETAILS[2]],
]

Way: TypeAlias = Literal["calls", "ids", "details"]
"""Where the signature is."""


class Gemini(ThreadingHTTPServer):
    """`requests` are the messages that it was asked with."""

    def __init__(self, way: Way) -> None:
        super().__init__(("127.0.0.1", 0), _Gemini)
        self.way = way
        self.refusal = "Function call is missing a thought_signature in functionCall parts. This is required for tools."
        self.requests: list[list[Json]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    def calls(self) -> list[Json]:
        function = {"name": "lookup", "arguments": "{}"}
        first: Json = {"id": LITELLM_ID if self.way == "ids" else "call_1", "function": function}
        if self.way == "calls":
            first["extra_content"] = SIGNED
        return [first | {"index": 0, "type": "function"}, {"id": "call_2", "function": {"name": "lookup"}, "index": 1}]

    def is_signed(self, message: Json) -> bool:
        call = message["tool_calls"][0]
        match self.way:
            case "ids":
                return bool(call["id"] == LITELLM_ID)
            case "details":
                return bool(message.get("reasoning_details") == DETAILS)
        signature = call.get("extra_content", {}).get("google", {}).get("thought_signature")
        return signature in (SIGNATURE, "skip_thought_signature_validator")


class _Gemini(BaseHTTPRequestHandler):
    server: Gemini

    def do_POST(self) -> None:
        messages = json.loads(self.rfile.read(int(self.headers["content-length"])))["messages"]
        self.server.requests.append(messages)
        if not all(self.server.is_signed(message) for message in messages if message.get("tool_calls")):
            said = {"code": 400, "message": self.server.refusal}
            self._answer(400, "application/json", json.dumps([{"error": said}]).encode())
            return
        wants = messages[-1]["content"] == "look it up"
        deltas: list[Json] = [{"tool_calls": self.server.calls()} if wants else {"content": "It is so."}]
        if self.server.way == "details":
            deltas = [{"reasoning_details": pieces} for pieces in PIECES[:2]] + deltas
            deltas += [{"reasoning_details": pieces} for pieces in PIECES[2:]]
        choices: list[Json] = [{"delta": delta} for delta in deltas]
        choices.append({"delta": {}, "finish_reason": "tool_calls" if wants else "stop"})
        events = [json.dumps({"choices": [choice]}).encode() for choice in choices]
        self._answer(200, "text/event-stream", b"".join(b"data: %b\n\n" % event for event in (*events, b"[DONE]")))

    def _answer(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_request(self, *args: object) -> None:
        """Nothing on the error stream."""


@contextmanager
def gemini(way: Way = "calls") -> Iterator[Gemini]:
    with Gemini(way) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def calling(api: Api) -> tuple[str, Json]:
    sid = api.session(params={"tools": [LOOKUP]})
    reply = api.send_whole(sid, "look it up")["reply"]
    assert reply["finish_reason"] == "tool_calls", reply
    return sid, reply


def answered(api: Api, sid: str, reply: Json) -> Json:
    results = [{"tool_call_id": call["id"], "content": "found"} for call in reply["tool_calls"]]
    answer = api.post(
        f"/sessions/{sid}/messages", json={"role": "tool", "results": results}, headers={"accept": "application/json"}
    )
    assert answer.status_code == 200, answer.text
    turn: Json = answer.json()["reply"]
    return turn


@pytest.mark.parametrize("way", ["calls", "ids"])
def test_what_came_with_a_call_goes_back_with_it(way: Way) -> None:
    with gemini(way) as upstream, serving(model="openai:m", openai_base_url=upstream.url) as server:
        api = server.api
        sid, reply = calling(api)
        first, second = reply["tool_calls"]
        assert (first["id"], first.get("extra_content")) == ((LITELLM_ID, None) if way == "ids" else ("call_1", SIGNED))
        assert "extra_content" not in second, "no field for what is not there"
        assert answered(api, sid, reply)["content"] == "It is so."
        assert len(upstream.requests) == 2, "at the first try"
        sent = upstream.requests[-1][1]["tool_calls"]
        assert (sent[0]["id"], sent[0].get("extra_content")) == (first["id"], first.get("extra_content"))
        told = api.get(f"/sessions/{sid}/messages/{api.history(sid)['data'][-1]['id']}/prompt").json()["data"]
        assert told[0]["exact"], "the record of the prompt has it as well"


def test_what_came_in_pieces_beside_the_calls_goes_back_whole() -> None:
    with gemini("details") as upstream, serving(model="openai:m", openai_base_url=upstream.url) as server:
        api = server.api
        sid, reply = calling(api)
        assert reply["reasoning_details"] == DETAILS
        turn = answered(api, sid, reply)
        assert (turn["content"], len(turn["attempts"])) == ("It is so.", 1)
        assert "reasoning_details" not in turn, "nobody wants those of a reply without calls back"
        assert upstream.requests[-1][1]["reasoning_details"] == DETAILS
        [told] = api.get(f"/sessions/{sid}/messages/{turn['id']}/prompt").json()["data"]
        assert told["exact"]
        check_retold(api, sid)


def test_an_upstream_that_does_not_know_what_another_told_is_asked_without() -> None:
    refused = "Extra inputs are not permitted: messages[1].reasoning_details"
    with gemini("details") as upstream, serving(model="openai:m", openai_base_url=upstream.url) as server:
        sid, reply = calling(server.api)
        upstream.is_signed = lambda message: "reasoning_details" not in message  # type: ignore[method-assign]
        upstream.refusal = refused
        turn = answered(server.api, sid, reply)
        assert (turn["content"], len(turn["attempts"])) == ("It is so.", 2), "after one refusal, which cost nothing"
        assert server.api.message(sid, reply["id"])["reasoning_details"] == DETAILS, "the log has what was said"


@pytest.mark.parametrize("way", ["calls", "details"])
def test_it_is_kept_over_a_restart_and_moves_with_the_session(way: Way, tmp_path: Path) -> None:
    with gemini(way) as upstream, processes(tmp_path) as start:
        server = start(model="openai:m", openai_base_url=upstream.url)
        sid, reply = calling(server.api)
        server.close()
        api = server.start()
        assert api.message(sid, reply["id"]) == reply
        whole = api.get(f"/sessions/{sid}/export").content
        assert SIGNATURE.encode() in whole
        assert api.ask("DELETE", f"/sessions/{sid}").status_code == 204
        moved = api.post("/import", content=whole, headers={"content-type": "application/x-ndjson"})
        assert moved.status_code in (200, 201), moved.text
        assert answered(api, sid, reply)["content"] == "It is so."


def test_calls_of_another_model_are_taken_by_one_that_wants_its_own_signed() -> None:
    with gemini() as upstream, serving(model="openai:m", openai_base_url=upstream.url) as server:
        upstream.calls = lambda: [{"id": "call_1", "function": {"name": "lookup"}, "index": 0}]  # type: ignore[method-assign]
        sid, reply = calling(server.api)
        turn = answered(server.api, sid, reply)
        assert (turn["content"], len(turn["attempts"])) == ("It is so.", 2), "after one refusal, which cost nothing"
        assert "extra_content" not in server.api.message(sid, reply["id"])["tool_calls"][0], "the log has what was said"
