"""Tools with models that sign their thoughts: what came with a call goes back with it, as it came, or it is refused.

The upstream is one like Gemini's own endpoint: it signs the first of the calls that it makes at once, in their `extra_content`, and
refuses calls that nobody has signed. Or like LiteLLM's before the same models, which writes the signature into the id.
"""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import msgspec
import pytest

from serving import processes, serving
from wire import Api, Json

SIGNATURE = "CiQB0e2Kb" + "4bVq/R+k" * 300
SIGNED = {"google": {"thought_signature": SIGNATURE}}
LOOKUP = {"type": "function", "function": {"name": "lookup", "parameters": {"type": "object"}}}
LITELLM_ID = f"call_1__thought__{SIGNATURE}"


class Gemini(ThreadingHTTPServer):
    """`in_ids` is LiteLLM's way. `requests` are the messages that it was asked with."""

    def __init__(self, *, in_ids: bool) -> None:
        super().__init__(("127.0.0.1", 0), _Gemini)
        self.in_ids = in_ids
        self.requests: list[list[Json]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    def calls(self) -> list[Json]:
        first = {"id": "call_1", "function": {"name": "lookup", "arguments": "{}"}, "extra_content": SIGNED}
        if self.in_ids:
            first = {"id": LITELLM_ID, "function": first["function"]}
        return [first | {"index": 0, "type": "function"}, {"id": "call_2", "function": {"name": "lookup"}, "index": 1}]

    def is_signed(self, call: Json) -> bool:
        signature = call.get("extra_content", {}).get("google", {}).get("thought_signature")
        return call["id"] == LITELLM_ID if self.in_ids else signature in (SIGNATURE, "skip_thought_signature_validator")


class _Gemini(BaseHTTPRequestHandler):
    server: Gemini

    def do_POST(self) -> None:
        messages = json.loads(self.rfile.read(int(self.headers["content-length"])))["messages"]
        self.server.requests.append(messages)
        calling = [message["tool_calls"] for message in messages if message.get("tool_calls")]
        if not all(self.server.is_signed(first) for first, *_ in calling):
            said = "Function call is missing a thought_signature in functionCall parts. This is required for tools."
            self._answer(400, "application/json", [{"error": {"code": 400, "message": said}}])
            return
        wants = messages[-1]["content"] == "look it up"
        delta = {"tool_calls": self.server.calls()} if wants else {"content": "It is so."}
        choice = {"index": 0, "delta": delta, "finish_reason": "tool_calls" if wants else "stop"}
        self._answer(200, "text/event-stream", {"choices": [choice]})

    def _answer(self, status: int, kind: str, said: Any) -> None:
        data = json.dumps(said).encode()
        body = data if status != 200 else b"data: %b\n\ndata: [DONE]\n\n" % data
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_request(self, *args: object) -> None:
        """Nothing on the error stream."""


@contextmanager
def gemini(*, in_ids: bool = False) -> Iterator[Gemini]:
    with Gemini(in_ids=in_ids) as server:
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


@pytest.mark.parametrize("in_ids", [False, True])
def test_what_came_with_a_call_goes_back_with_it(in_ids: bool) -> None:
    with gemini(in_ids=in_ids) as upstream, serving(model="openai:m", openai_base_url=upstream.url) as server:
        api = server.api
        sid, reply = calling(api)
        first, second = reply["tool_calls"]
        assert (first["id"], first.get("extra_content")) == ((LITELLM_ID, None) if in_ids else ("call_1", SIGNED))
        assert "extra_content" not in second, "no field for what is not there"
        assert answered(api, sid, reply)["content"] == "It is so."
        assert len(upstream.requests) == 2, "at the first try"
        sent = upstream.requests[-1][1]["tool_calls"]
        assert (sent[0]["id"], sent[0].get("extra_content")) == (first["id"], first.get("extra_content"))
        told = api.get(f"/sessions/{sid}/messages/{api.history(sid)['data'][-1]['id']}/prompt").json()["data"]
        assert told[0]["exact"], "the record of the prompt has it as well"


def test_it_is_kept_over_a_restart_and_moves_with_the_session(tmp_path: Path) -> None:
    with gemini() as upstream, processes(tmp_path) as start:
        server = start(model="openai:m", openai_base_url=upstream.url)
        sid, reply = calling(server.api)
        server.close()
        api = server.start()
        assert api.message(sid, reply["id"]) == reply
        whole = api.get(f"/sessions/{sid}/export").content
        assert msgspec.json.encode(SIGNED) in whole
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
