"""The `openai` provider over real HTTP: every form of a reply, and every fault with what was said before it."""

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from itertools import pairwise

import pytest
from msgspec import structs

from raw_server import Connection, Server, serving
from rejoinder.abc import Prompt
from rejoinder.chat.wording import as_said
from rejoinder.entities import JsonObject, Message, ToolCall, Usage
from rejoinder.errors import Misconfigured, ProviderError
from rejoinder.llm.openai import OpenAIProvider
from rejoinder.llm.refused import REMEMBERED, Refusals
from rejoinder.llm.scripted_answer import full_text
from rejoinder.testing.heard import asked, hear
from rejoinder.testing.upstream import ScriptedUpstream

# --- replies -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "script",
    [
        "story",
        "story burst=7",
        "story crlf",
        "story cut",
        "story halves",
        "story null empty pings compact",
        "story crlf cut halves null empty pings",
        "story nodone",
        "story usage=no",
        "story refusal",
        "story whole",
        "tokens=100000",
        "tokens=20 pace=0.002 first=0.01",
        "tokens=5 headers=0.05",
        "big=1000000",
    ],
)
async def test_every_form_of_a_reply_gives_its_whole_text(provider: OpenAIProvider, script: str) -> None:
    heard = await hear(provider, asked(f"/script {script}"))
    assert heard.error is None
    assert heard.reply.content == full_text(script)
    assert heard.reply.finish_reason == "stop"


async def test_reasoning_tool_calls_and_usage(provider: OpenAIProvider, upstream: ScriptedUpstream) -> None:
    for script in ("reasoning=3 calls=2 tokens=2", "reasoning=3 calls=2 tokens=2 field=reasoning noindex cut"):
        reply = (await hear(provider, asked(f"/script {script}"))).reply
        assert (reply.reasoning, reply.content, reply.finish_reason) == ("r0 r1 r2", "t0 t1", "tool_calls")
        said = [(call.id, call.function.name, json.loads(call.function.arguments)) for call in reply.tool_calls]
        assert said == [("call_0", "lookup", {"number": 0}), ("call_1", "lookup", {"number": 1})]
        assert reply.usage is not None
        assert upstream.requests[-1].usage == (reply.usage.input_tokens, reply.usage.output_tokens)


@pytest.mark.parametrize("reason", ["length", "content_filter", "stop"])
async def test_the_finish_reason_is_told(provider: OpenAIProvider, reason: str) -> None:
    assert (await hear(provider, asked(f"/script tokens=2 finish={reason}"))).reply.finish_reason == reason


async def test_what_one_read_brought_is_yielded_together(provider: OpenAIProvider) -> None:
    assert (await hear(provider, asked("/script tokens=20 pace=0.01"))).reads >= 15
    assert (await hear(provider, asked("/script tokens=5000"))).reads < 1_000


async def test_the_request_is_the_prompt_and_its_params(provider: OpenAIProvider, upstream: ScriptedUpstream) -> None:
    messages = ({"role": "system", "content": "Be böse 😀."}, {"role": "user", "content": "hi"})
    await hear(provider, Prompt(model="gpt-x", messages=messages, params={"temperature": 0.5, "max_tokens": 7}))
    await provider.complete(Prompt(model="gpt-x", messages=messages))
    streamed, whole = [json.loads(record.body) for record in upstream.requests]
    assert whole == {"model": "gpt-x", "messages": list(messages)}
    options = {"stream": True, "stream_options": {"include_usage": True}, "temperature": 0.5, "max_tokens": 7}
    assert streamed == {**whole, **options}
    assert "😀".encode() in upstream.requests[0].body


async def test_a_server_that_refuses_to_be_asked_for_usage_is_asked_without_from_then_on() -> None:
    async def talk(connection: Connection) -> None:
        while True:
            if b"stream_options" in (await connection.request()).body:
                refusal = {
                    "object": "error",
                    "message": {"detail": [{"loc": ["body", "stream_options"], "msg": "extra"}]},
                }
                await connection.answer(json.dumps(refusal).encode(), "422 Unprocessable")
            else:
                await connection.answer(b'{"choices":[{"message":{"content":"hi"},"finish_reason":"stop"}]}')

    async with serving(talk) as server, OpenAIProvider(None, server.url, default_model="m") as provider:
        refused = await hear(provider, asked("hi"))
        assert refused.error is not None
        assert refused.error.before_reply, "so it is asked again"
        for _ in range(2):
            heard = await hear(provider, asked("hi"))
            assert (heard.error, heard.reply.content) == (None, "hi")


@pytest.mark.parametrize("status", ["400 Bad Request", "500 Internal Server Error"])
async def test_a_server_that_wants_users_and_replies_in_turn_gets_them_so_from_then_on(status: str) -> None:
    async def talk(connection: Connection) -> None:
        while True:
            roles = [message["role"] for message in json.loads((await connection.request()).body)["messages"]]
            if ("user", "user") in pairwise(roles):
                refusal = {"message": "Conversation roles must alternate user/assistant/user/assistant/..."}
                await connection.answer(json.dumps({"error": refusal}).encode(), status)
            else:
                await connection.answer(b'{"choices":[{"message":{"content":"hi"},"finish_reason":"stop"}]}')

    picture = {"type": "image_url", "image_url": {"url": "data:"}}
    said = ["a", "b", [picture], "c"]
    messages = tuple({"role": "user", "content": content} for content in said)
    async with serving(talk) as server, OpenAIProvider(None, server.url, default_model="m") as provider:
        refused = await hear(provider, Prompt(model="m", messages=messages))
        assert refused.error is not None
        assert refused.error.before_reply, "so it is asked again"
        assert (await hear(provider, Prompt(model="m", messages=messages))).reply.content == "hi"
        assert (await hear(provider, Prompt(model="m", messages=messages[:2]))).reply.content == "hi"
    sent = [json.loads(request.body)["messages"] for request in server.requests]
    texts = [{"type": "text", "text": text} for text in ("a\n\nb", "c")]
    assert sent[1:] == [
        [{"role": "user", "content": [texts[0], picture, texts[1]]}],
        [{"role": "user", "content": "a\n\nb"}],
    ]


async def sent_after_a_refusal(
    prompt: Prompt, refuses: Callable[[bytes], bool], refusal: str | JsonObject
) -> list[JsonObject]:
    """The bodies that a server gets which refuses the first, so that it is asked again in another form, and takes that."""

    async def talk(connection: Connection) -> None:
        while True:
            if refuses((await connection.request()).body):
                body = {"error": {"message": refusal}} if isinstance(refusal, str) else refusal
                await connection.answer(json.dumps(body).encode(), "400 Bad Request")
            else:
                await connection.answer(b'{"choices":[{"message":{"content":"hi"},"finish_reason":"stop"}]}')

    async with serving(talk) as server, OpenAIProvider(None, server.url, default_model="m") as provider:
        refused = await hear(provider, prompt)
        assert refused.error is not None
        assert refused.error.before_reply, "so it is asked again"
        assert (await hear(provider, prompt)).reply.content == "hi"
    return [json.loads(request.body) for request in server.requests]


@pytest.mark.parametrize(
    ("refusal", "refuses"),
    [
        ("System role not supported", b'"system"'),
        ("Jinja Exception: System role not supported", b'"system"'),
        ("Developer instruction is not enabled for models/gemma-3-27b-it", b'"system"'),
        ("This model doesn't support the 'system' role.", b'"system"'),
        (
            "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.",
            b'"max_tokens"',
        ),
    ],
)
async def test_a_model_that_takes_no_system_prompt_or_another_limit_gets_them_as_it_takes_them(
    refusal: str, refuses: bytes
) -> None:
    said = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hi"}]
    prompt = Prompt(model="m", messages=tuple(said), params={"max_tokens": 7})
    first, second = await sent_after_a_refusal(prompt, lambda body: refuses in body, refusal)
    assert (first["messages"], first["max_tokens"]) == (said, 7)
    if refuses == b'"system"':
        assert second["messages"] == [{"role": "user", "content": "Be brief.\n\nhi"}]
    else:
        assert second == {name: value for name, value in first.items() if name != "max_tokens"} | {
            "max_completion_tokens": 7
        }


@pytest.mark.parametrize(
    "refusal",
    [
        {"message": {"detail": [{"loc": ["body", "max_completion_tokens"], "msg": "Extra inputs are not permitted"}]}},
        {
            "message": "[{'loc': ('body', 'max_completion_tokens'), 'msg': 'Extra inputs are not permitted', 'input': 7}]"
        },
        {"message": "Unrecognized request argument supplied: max_completion_tokens"},
    ],
)
async def test_an_older_server_gets_the_limit_under_its_older_name(refusal: JsonObject) -> None:
    prompt = asked("hi", model="m", max_completion_tokens=7)
    sent = await sent_after_a_refusal(prompt, lambda body: b"max_completion_tokens" in body, refusal)
    limits = [(body.get("max_tokens"), body.get("max_completion_tokens")) for body in sent]
    assert limits == [(None, 7), (7, None)]


async def test_both_names_of_the_limit_in_one_request_spoil_it_for_no_other() -> None:
    """The service passes both on, as they were set, and one is right."""

    async def talk(connection: Connection) -> None:
        while True:
            body = (await connection.request()).body
            if b'"max_tokens"' not in body:
                await connection.answer(b'{"choices":[{"message":{"content":"hi"},"finish_reason":"stop"}]}')
                continue
            said = "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."
            if b"max_completion_tokens" in body:
                said = "Setting 'max_tokens' and 'max_completion_tokens' at the same time is not supported."
            await connection.answer(json.dumps({"error": {"message": said}}).encode(), "400 Bad Request")

    async with serving(talk) as server, OpenAIProvider(None, server.url, default_model="m") as provider:
        for _ in range(3):
            both = await hear(provider, asked("hi", model="m", max_tokens=7, max_completion_tokens=7))
        other = await hear(provider, asked("hi", model="m", max_completion_tokens=7))
    assert (both.error, other.error) == (None, None)
    assert b'"max_completion_tokens":7' in bodies(server)[-1]


@pytest.mark.parametrize(
    "refusal",
    [
        "The `reasoning_content` in the thinking mode must be passed back to the API.",
        "Missing `reasoning_content` field in the assistant message at message index 2.",
        "thinking is enabled but reasoning_content is missing in assistant tool call message at index 2",
    ],
)
async def test_reasoning_goes_back_to_a_server_that_wants_it_with_tool_calls(refusal: str) -> None:
    reply = Message(id="m", session_id="s", role="assistant", content="1", reasoning="so", created_at="")
    calling = structs.replace(reply, content="", reasoning="hm", tool_calls=(ToolCall(id="a"),))
    another = structs.replace(calling, reasoning="")
    result = {"role": "tool", "tool_call_id": "a", "content": "1"}
    said = (as_said(calling), result, as_said(reply), {"role": "user", "content": "and?"}, as_said(another), result)
    sent = await sent_after_a_refusal(
        Prompt(model="m", messages=said), lambda body: b"reasoning_content" not in body, refusal
    )
    reasoning = [[message.get("reasoning_content") for message in body["messages"]] for body in sent]
    assert reasoning == [[None] * 6, ["hm", None, "so", None, " ", None]]


@pytest.mark.parametrize(
    "refusal",
    [
        "ValidationException: messages: text content blocks must be non-empty",
        "The text field in the ContentBlock object at messages.28.content.1 is blank. Add text to the text field",
        "chat content is empty (2013)",
    ],
)
async def test_calls_without_a_text_have_none_for_a_server_that_refuses_an_empty_one(refusal: str) -> None:
    calling = Message(id="m", session_id="s", role="assistant", tool_calls=(ToolCall(id="a"),), created_at="")
    prompt = Prompt(model="m", messages=(as_said(calling), {"role": "tool", "tool_call_id": "a", "content": "1"}))
    sent = await sent_after_a_refusal(prompt, lambda body: b'"content":""' in body, refusal)
    assert [body["messages"][0]["content"] for body in sent] == ["", None]


async def test_what_another_upstream_said_of_a_call_is_not_sent_to_one_that_refuses_it() -> None:
    calls = (ToolCall(id="a", extra_content={"google": {"thought_signature": "s"}}), ToolCall(id="b"))
    calling = Message(id="m", session_id="s", role="assistant", tool_calls=calls, created_at="")
    prompt = Prompt(model="m", messages=(as_said(calling), {"role": "tool", "tool_call_id": "a", "content": "1"}))
    refusal = "Unrecognized request argument supplied: messages[0].tool_calls[0].extra_content"
    sent = await sent_after_a_refusal(prompt, lambda body: b"extra_content" in body, refusal)
    assert [[call.get("extra_content") for call in each["messages"][0]["tool_calls"]] for each in sent] == [
        [{"google": {"thought_signature": "s"}}, None],
        [None, None],
    ]


@pytest.mark.parametrize(
    "refusal",
    [
        "Tool call id was functions.f:0 but must be a-z, A-Z, 0-9, with a length of 9.",
        f"Tool call id was {'x' * 400} but must be a-z, A-Z, 0-9, with a length of 9.",
        "Tool call IDs should be alphanumeric strings with length 9!",
        "messages.1.content.0.tool_use.id: String should match pattern '^[a-zA-Z0-9_-]+$'",
        "Invalid 'messages[2].tool_calls[0].id': string too long. Expected a string with maximum length 40.",
        "Invalid 'messages[2].tool_call_id': string too long. Expected a string with maximum length 40.",
    ],
)
async def test_ids_of_calls_that_another_upstream_has_made_are_made_plain_for_one_that_refuses_them(
    refusal: str,
) -> None:
    calls = (ToolCall(id="functions.f:0"), ToolCall(id="abcDEF123"))
    calling = Message(id="m", session_id="s", role="assistant", tool_calls=calls, created_at="")
    results = [{"role": "tool", "tool_call_id": call.id, "content": "1"} for call in calls]
    prompt = Prompt(model="m", messages=({"role": "user", "content": "hi"}, as_said(calling), *results))
    foreign, plain = await sent_after_a_refusal(prompt, lambda body: b"functions.f:0" in body, refusal)
    called, answered = zip(*((ids_of_calls(each), ids_of_results(each)) for each in (foreign, plain)), strict=True)
    assert called == answered, "calls and results belong together"
    assert called[0] == ["functions.f:0", "abcDEF123"]
    assert re.fullmatch("[a-zA-Z0-9]{9}", called[1][0]) and called[1][1] == "abcDEF123"


async def test_the_user_behind_results_of_tools_is_given_a_reply_before_where_that_is_wanted() -> None:
    """The reply to the results had ended before its first word."""
    result = {"role": "tool", "tool_call_id": "a", "content": "1"}
    said = (
        {"role": "assistant", "content": "", "tool_calls": [{"id": "a"}]},
        result,
        {"role": "user", "content": "and?"},
    )
    sent = await sent_after_a_refusal(
        Prompt(model="m", messages=said),
        lambda body: b'"role":"tool","tool_call_id":"a","content":"1"},{"role":"user"' in body,
        "Unexpected role 'user' after role 'tool'",
    )
    assert sent[1]["messages"] == [*said[:2], {"role": "assistant", "content": "…"}, said[2]]


def ids_of_calls(body: JsonObject) -> list[str]:
    return [call["id"] for message in body["messages"] for call in message.get("tool_calls", ())]


def ids_of_results(body: JsonObject) -> list[str]:
    return [message["tool_call_id"] for message in body["messages"] if message["role"] == "tool"]


SIGNS = [
    "stream_options",
    "roles must alternate",
    "system role not supported",
    "max_tokens: use max_completion_tokens",
    "unknown max_completion_tokens",
    "text content blocks must be non-empty",
    "unexpected role 'user' after role 'tool'",
    "`reasoning_content` must be passed",
    "extra_content",
    "unknown reasoning_details",
    "missing thought_signature",
    "tool call ids should be of length 9",
    "tool_use.id should match",
    "tool_call_id: string too long. Expected a string with maximum length",
]
"""By which the refused form of a request is known."""


@pytest.mark.parametrize("echo", ["Tell me about {}, please?", "{}"], ids=["all of it", "the sign"])
@pytest.mark.parametrize("sign", SIGNS)
async def test_what_a_user_said_does_not_change_how_others_are_asked(sign: str, echo: str) -> None:
    words = f"Tell me about {sign}, please?"

    async def talk(connection: Connection) -> None:
        while True:
            if words in json.loads((await connection.request()).body)["messages"][-1]["content"]:
                refusal = {"message": f"Unknown or missing: {echo.format(sign)!r} must be sent otherwise"}
                await connection.answer(json.dumps({"error": refusal}).encode(), "400 Bad Request")
            else:
                await connection.answer(b'{"choices":[{"message":{"content":"hi"},"finish_reason":"stop"}]}')

    call = {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}, "extra_content": {}}
    plain = Prompt(
        model="m",
        params={"max_tokens": 7, "max_completion_tokens": 7},
        messages=(
            {"role": "system", "content": "Be brief."},
            {
                "role": "assistant",
                "content": "",
                "reasoning_details": [{}],
                "reasoning_content": "hm",
                "tool_calls": [call],
            },
            {"role": "tool", "tool_call_id": "a", "content": "1"},
            *({"role": "user", "content": text} for text in "ab"),
        ),
    )
    odd = structs.replace(plain, messages=(*plain.messages, {"role": "user", "content": words}))
    async with serving(talk) as server, OpenAIProvider(None, server.url, default_model="m") as provider:
        before = provider.body(plain)
        refused = await hear(provider, odd)
        assert refused.error is not None and not refused.error.before_reply, "it would only be refused again"
        assert provider.body(plain) == before


async def test_the_words_of_a_tool_teach_nothing_either() -> None:
    schema = {"type": "object", "properties": {"stream_options": {"type": "vague"}}}
    prompt = asked("hi", model="m", tools=[{"type": "function", "function": {"name": "f", "parameters": schema}}])

    async def talk(connection: Connection) -> None:
        await connection.request()
        await connection.answer(b'{"error":{"message":"tools[0]: stream_options has no such type"}}', "400 Bad Request")

    async with serving(talk) as server, OpenAIProvider(None, server.url, default_model="m") as provider:
        before = provider.body(asked("hi", model="m"))
        await hear(provider, prompt)
        assert provider.body(asked("hi", model="m")) == before


async def test_what_one_model_refuses_the_others_are_still_asked_with() -> None:
    async def talk(connection: Connection) -> None:
        while True:
            body = json.loads((await connection.request()).body)
            if body["model"] != "fine" and "stream_options" in body:
                await connection.answer(b'{"error":{"message":"stream_options: extra"}}', "400 Bad Request")
            else:
                await connection.answer(b'{"choices":[{"message":{"content":"hi"},"finish_reason":"stop"}]}')

    async with serving(talk) as server, OpenAIProvider(None, server.url, default_model="m") as provider:
        assert (await hear(provider, asked("hi"))).error is not None, "the default model, under its name"
        assert (await hear(provider, asked("hi", model="m"))).error is None
        assert (await hear(provider, asked("hi", model="fine"))).error is None
    asked_for_usage = [(body["model"], "stream_options" in body) for body in map(json.loads, bodies(server))]
    assert asked_for_usage == [("m", True), ("m", False), ("fine", True)]


def bodies(server: Server) -> list[bytes]:
    return [request.body for request in server.requests]


def test_of_many_models_the_oldest_is_forgotten() -> None:
    refusals = Refusals()
    refusal = ProviderError("upstream_error", "No stream_options here", refused=True)
    names = [f"m{n}" for n in range(REMEMBERED + 1)]
    assert all(refusals.learn(refusal, asked("hi", model=name)) for name in names)
    assert [refusals.of(name).usage for name in (names[0], names[1], names[-1])] == [False, True, True]


async def test_a_refusal_that_does_not_end_is_known_by_its_status(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rejoinder.llm.openai.REFUSING", 0.1)

    async def talk(connection: Connection) -> None:
        await connection.request()
        await connection.say(b"HTTP/1.1 500 No\r\ncontent-length: 999\r\n\r\nno")
        await connection.left()

    async with serving(talk) as server, OpenAIProvider(None, server.url, default_model="m") as provider:
        heard = await asyncio.wait_for(hear(provider, asked("hi")), 5)
    assert heard.error is not None
    assert (heard.error.code, heard.error.before_reply) == ("upstream_error", True)


async def test_the_query_of_a_base_url_goes_with_every_request() -> None:
    async def talk(connection: Connection) -> None:
        while True:
            models = "/models" in (await connection.request()).line
            await connection.answer(
                b'[{"id":"m"}]' if models else b'{"choices":[{"message":{"content":"hi"},"finish_reason":"stop"}]}'
            )

    async with serving(talk) as server, OpenAIProvider(None, f"{server.url}/v1/?api-version=1&a=b c") as provider:
        assert (await hear(provider, asked("hi"))).reply.content == "hi"
    assert [request.line for request in server.requests] == [
        "GET /v1/models?api-version=1&a=b%20c HTTP/1.1",
        "POST /v1/chat/completions?api-version=1&a=b%20c HTTP/1.1",
    ]


async def test_a_whole_reply(provider: OpenAIProvider) -> None:
    reply = await provider.complete(asked("/script story reasoning=1 calls=1"))
    assert reply.content == full_text("story")
    assert (reply.reasoning, reply.finish_reason) == ("r0", "tool_calls")
    assert reply.usage == Usage(input_tokens=4, output_tokens=reply.usage.output_tokens, source="provider")  # type: ignore[union-attr]


async def test_a_connection_is_used_again_once_its_answer_has_ended(
    provider: OpenAIProvider, upstream: ScriptedUpstream
) -> None:
    for _ in range(3):
        await hear(provider, asked("/script tokens=2"))
        await provider.complete(asked("hi"))
    assert len(upstream.connections) == 1


async def test_many_replies_at_once(provider: OpenAIProvider) -> None:
    heard = await asyncio.gather(*(hear(provider, asked(f"/script tokens={n} pace=0.001")) for n in range(1, 151)))
    assert [each.reply.content for each in heard] == [full_text(f"tokens={n}") for n in range(1, 151)]


# --- faults ------------------------------------------------------------------------------------------------------

FAULTS = {
    "401": ("upstream_auth", False),
    "403": ("upstream_auth", False),
    "404": ("upstream_unavailable", False),
    "400": ("upstream_error", False),
    "422": ("upstream_error", False),
    "429": ("upstream_rate_limited", True),
    "500": ("upstream_error", True),
    "503": ("upstream_error", True),
    "504": ("upstream_timeout", False),
    "context_overflow": ("context_overflow", False),
    "content_filtered": ("content_filtered", False),
    "reset": ("upstream_incomplete", False),
    "close": ("upstream_incomplete", False),
    "eof": ("upstream_incomplete", False),
    "error": ("upstream_error", False),
    "malformed": ("upstream_malformed", False),
}
"""What goes wrong before the first token: the code, and whether the same request may be made again."""


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_fault_before_the_reply(provider: OpenAIProvider, upstream: ScriptedUpstream, fault: str) -> None:
    heard = await hear(provider, asked(f"/script fail={fault}"))
    assert heard.chunks == []
    assert heard.error is not None
    assert (heard.error.code, heard.error.before_reply) == FAULTS[fault]
    assert len(upstream.requests) == 1, "the SDK's own retries are off"


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_fault_of_a_whole_reply(provider: OpenAIProvider, fault: str) -> None:
    with pytest.raises(ProviderError) as caught:
        await provider.complete(asked(f"/script fail={fault}"))
    assert (caught.value.code, caught.value.before_reply) == FAULTS[fault]


@pytest.mark.parametrize("pace", ["", "pace=0.002"])
@pytest.mark.parametrize(
    ("fault", "code"),
    [
        ("reset", "upstream_incomplete"),
        ("close", "upstream_incomplete"),
        ("eof", "upstream_incomplete"),
        ("error", "upstream_error"),
        ("malformed", "upstream_malformed"),
        ("upstream_rate_limited", "upstream_rate_limited"),
        ("context_overflow", "context_overflow"),
    ],
)
async def test_a_fault_in_the_middle_keeps_what_was_said(
    provider: OpenAIProvider, fault: str, code: str, pace: str
) -> None:
    heard = await hear(provider, asked(f"/script tokens=9 {pace} fail={fault}@5"))
    assert heard.reply.content == full_text("tokens=5")
    assert heard.error is not None
    assert (heard.error.code, heard.error.before_reply) == (code, False)


@pytest.mark.parametrize("form", ["seconds", "ms", "date"])
async def test_the_wish_to_wait_is_told_in_seconds(provider: OpenAIProvider, form: str) -> None:
    heard = await hear(provider, asked(f"/script fail=429 retry_after=7 retry_form={form}"))
    assert heard.error is not None
    assert heard.error.retry_after == pytest.approx(7, abs=1.1)
    assert (await hear(provider, asked("/script fail=429"))).error.retry_after is None  # type: ignore[union-attr]


async def test_the_fault_may_pass(provider: OpenAIProvider) -> None:
    tries = [await hear(provider, asked("/script tokens=2 fail=503 times=2")) for _ in range(3)]
    assert [each.error is None for each in tries] == [False, False, True]


@pytest.mark.parametrize(
    ("base_url", "before_reply"),
    [
        ("http://127.0.0.1:{refusing}/v1", True),
        ("http://nowhere.invalid/v1", True),
        ("https://127.0.0.1:{plain}/v1", False),
    ],
)
async def test_an_upstream_that_is_not_there(base_url: str, before_reply: bool, key: str) -> None:
    async def answer_in_plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    async with ScriptedUpstream() as gone:
        refusing = gone.base_url.split(":")[2].removesuffix("/v1")
    server = await asyncio.start_server(answer_in_plain, "127.0.0.1", 0)
    async with (
        server,
        OpenAIProvider(
            key, base_url.format(refusing=refusing, plain=server.sockets[0].getsockname()[1]), default_model="m"
        ) as provider,
    ):
        error = (await hear(provider, asked("hi"))).error
        assert error is not None
        assert (error.code, error.before_reply) == ("upstream_unavailable", before_reply)
        assert await provider.models() == ["m"]


async def test_silence_for_longer_than_a_read_may_take(upstream: ScriptedUpstream, key: str) -> None:
    async with OpenAIProvider(key, upstream.base_url, read_timeout=0.1) as provider:
        before = await hear(provider, asked("/script hang", model="x"))
        within = await hear(provider, asked("/script tokens=3 stall@2", model="x"))
    assert before.error is not None
    assert within.error is not None
    assert (before.error.code, before.error.before_reply) == ("upstream_timeout", False)
    assert (within.error.code, within.reply.content) == ("upstream_stalled", "t0 t1")


async def test_a_web_page_is_no_reply(key: str) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 4\r\n\r\n<p/>")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, OpenAIProvider(key, f"http://127.0.0.1:{port}", default_model="m") as provider:
        error = (await hear(provider, asked("hi"))).error
    assert error is not None
    assert error.code == "upstream_malformed"


# --- what nobody may see -----------------------------------------------------------------------------------------


async def test_no_key_and_no_prompt_in_what_a_user_sees(provider: OpenAIProvider, key: str) -> None:
    refused = (await hear(provider, asked("/script fail=401"))).error
    assert refused is not None
    assert "Incorrect API key provided: [redacted]" in refused.detail
    assert key not in refused.detail
    # The scripted upstream repeats the line that it does not understand.
    echoed = (await hear(provider, asked("/script my-secret-word-of-the-prompt"))).error
    assert echoed is not None
    assert echoed.code == "upstream_error"
    assert "secret" not in echoed.detail


SOON = 0.15
"""Seconds. It takes 1 to 3 ms; the rest is for a machine that is busy with other tests."""

# --- leaving -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("script", ["hang", "headers=30", "first=30", "tokens=3 stall@1", "tokens=9999 pace=0.005"])
@pytest.mark.parametrize("leave", ["cancel", "close"])
async def test_the_upstream_sees_its_client_leave_at_once(
    provider: OpenAIProvider, upstream: ScriptedUpstream, script: str, leave: str
) -> None:
    stream = provider.stream(asked(f"/script {script}"))

    async def read() -> None:
        async for _ in stream:
            if leave == "close" and script.startswith("tokens"):
                return

    reading = asyncio.create_task(read())
    async with asyncio.timeout(10):
        while not upstream.requests:  # noqa: ASYNC110  # records are plain values
            await asyncio.sleep(0.005)
    await asyncio.sleep(0.1)
    left = time.monotonic()
    reading.cancel()
    await asyncio.wait({reading})
    await stream.aclose()
    returned = time.monotonic()
    record = await upstream.ended()
    assert record.end == "client left"
    assert record.ended is not None
    assert record.ended - left < SOON
    assert returned - left < SOON


async def test_a_reader_that_left_leaves_no_connection_behind(
    provider: OpenAIProvider, upstream: ScriptedUpstream
) -> None:
    async with aclosing(provider.stream(asked("/script tokens=1000 pace=0.01"))) as reads:
        await anext(reads)
    await upstream.ended()
    assert not upstream.connections
    assert (await hear(provider, asked("hi"))).reply.content == "hi"


async def test_a_cancelled_whole_reply_closes_its_connection(
    provider: OpenAIProvider, upstream: ScriptedUpstream
) -> None:
    asking = asyncio.create_task(provider.complete(asked("/script hang")))
    await asyncio.sleep(0.1)
    asking.cancel()
    await asyncio.wait({asking})
    assert (await upstream.ended(within=SOON)).end == "client left"


async def test_a_finished_reply_waits_only_so_long_for_an_end_that_does_not_come(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Some servers hold the connection open after the last chunk, or cut it."""
    monkeypatch.setattr("rejoinder.llm.answer_stream.AFTER_FINISH", 0.1)
    for how in (b"hold", b"reset"):
        async with Finishing(how) as base_url, OpenAIProvider("k", base_url) as provider:
            began = time.monotonic()
            heard = await hear(provider, asked("hi", model="m"))
            assert (heard.error, heard.reply.content) == (None, "hi")
            assert time.monotonic() - began < 1


class Finishing:
    """A server that finishes a reply and then neither says `[DONE]` nor ends the body as it should."""

    def __init__(self, how: bytes) -> None:
        self._how = how

    async def __aenter__(self) -> str:
        self._server = await asyncio.start_server(self._answer, "127.0.0.1", 0)
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def __aexit__(self, *exc: object) -> None:
        self._server.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        event = b'data: {"choices":[{"delta":{"content":"hi"},"finish_reason":"stop"}]}\n\n'
        head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
        writer.write(head + b"%x\r\n%b\r\n" % (len(event), event))
        await writer.drain()
        if self._how == b"hold":
            await reader.read()
        writer.close()


# --- models ------------------------------------------------------------------------------------------------------


async def test_the_default_is_listed_first(upstream: ScriptedUpstream, key: str) -> None:
    async with OpenAIProvider(key, upstream.base_url, default_model="story") as named:
        assert await named.models() == ["story", "echo", "slow"]
        assert await named.models() == ["story", "echo", "slow"]
    assert len(upstream.requests) == 1, "the list is kept for a minute"


async def test_without_a_name_the_first_model_of_the_upstream_is_asked(key: str) -> None:
    async with (
        ScriptedUpstream(models=["first", "second"]) as upstream,
        OpenAIProvider(key, upstream.base_url) as provider,
    ):
        assert (await hear(provider, asked("hi"))).reply.content == "hi"
        assert json.loads(upstream.requests[-1].body)["model"] == "first"
        assert await provider.models() == ["first", "second"]


async def test_without_a_name_and_without_a_list_there_is_an_error(key: str) -> None:
    async with ScriptedUpstream(models=[]) as upstream, OpenAIProvider(key, upstream.base_url) as provider:
        with pytest.raises(ProviderError):
            await provider.models()
        assert (await hear(provider, asked("hi"))).error.code == "upstream_unavailable"  # type: ignore[union-attr]


async def test_a_server_that_is_not_ready_yet_is_asked_for_its_models_again_with_each_attempt() -> None:
    answers = [
        (b'{"error":{"message":"Loading model"}}', "503 Service Unavailable"),
        (b'{"data":[{"id":"m"}]}', "200 OK"),
        (b'{"choices":[{"message":{"content":"hi"},"finish_reason":"stop"}]}', "200 OK"),
    ]

    async def talk(connection: Connection) -> None:
        while True:
            await connection.request()
            await connection.answer(*answers.pop(0))

    async with serving(talk) as server, OpenAIProvider(None, server.url) as provider:
        with pytest.raises(ProviderError):
            await provider.models()
        with pytest.raises(ProviderError):
            await provider.models()
        assert len(server.requests) == 1, "for a list that nobody waits for it is left alone"
        assert (await hear(provider, asked("hi"))).reply.content == "hi"


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b'{"error":"Unexpected endpoint or method. (GET /models)"}', "Unexpected endpoint"),
        (b"<!doctype html>", "base URL"),
        (b'{"status":"ok"}', "base URL"),
        (b'{"object":"list","data":null}', "name one"),
    ],
)
async def test_what_lists_no_models_says_why(body: bytes, told: str) -> None:
    async def talk(connection: Connection) -> None:
        await connection.request()
        await connection.answer(body)

    async with serving(talk) as server, OpenAIProvider(None, server.url) as provider:
        heard = await hear(provider, asked("hi"))
    assert heard.error is not None and told in heard.error.detail
    assert heard.error.refused, "and costs nothing, since the prompt was not sent"


async def test_the_official_api_has_a_default(key: str) -> None:
    provider = OpenAIProvider(key)
    assert provider._default == "gpt-5-mini"


@pytest.mark.parametrize(
    "base_url",
    [
        "ftp://me:hunter2@host/v1",
        "me:hunter2@host/v1",
        "http://me:hunter2/x@host/v1",
        "http://me:hunter2@[host",
        "http://me:hunter2@host:99999/v1",
    ],
)
def test_a_base_url_that_is_none_is_not_repeated_since_it_may_hold_a_password(base_url: str) -> None:
    with pytest.raises(Misconfigured, match="OPENAI_BASE_URL") as told:
        OpenAIProvider("k", base_url)
    assert "hunter2" not in str(told.value)


@pytest.mark.parametrize(
    ("key", "base_url"),
    [("sk-„smart“", None), ("sk-1\nx", None), ("sk-1", "localhost:1/v1"), ("sk-1", "http://me:secret@localhost:1/v1")],
)
def test_settings_that_cannot_be_right_are_told_at_once(key: str, base_url: str | None) -> None:
    with pytest.raises(Misconfigured):
        OpenAIProvider(key, base_url)


async def test_a_server_that_asks_for_no_key_gets_no_secret(
    upstream: ScriptedUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-another")
    async with OpenAIProvider(None, upstream.base_url) as provider:
        await hear(provider, asked("hi", model="m"))
    assert upstream.requests[-1].headers["authorization"] == "Bearer no-key"


async def test_pieces_come_as_they_are_written_and_not_at_the_end(provider: OpenAIProvider) -> None:
    async with aclosing(provider.stream(asked("/script tokens=5 pace=0.05"))) as reads:
        times = [time.monotonic() async for _ in reads]
    assert max(later - sooner for sooner, later in pairwise(times)) < 0.2
    assert times[-1] - times[0] > 0.15


async def test_the_key_and_the_organisation_go_with_every_request(upstream: ScriptedUpstream) -> None:
    async with OpenAIProvider("sk-mine", upstream.base_url, "org-ours", default_model="m") as provider:
        await hear(provider, asked("hello"))
        await provider.models()
    said = [(request.method, request.headers) for request in list(upstream.requests)[-2:]]
    assert [method for method, _ in said] == ["POST", "GET"]
    for _, headers in said:
        assert headers["authorization"] == "Bearer sk-mine"
        assert headers["openai-organization"] == "org-ours"
        assert headers["accept-encoding"] == "identity"


@asynccontextmanager
async def refusing_proxy(status: str) -> AsyncIterator[tuple[str, list[bytes]]]:
    """A proxy that refuses: where it is, and the heads of what it was asked."""
    heads: list[bytes] = []

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(f"HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".encode())
        writer.close()

    async with await asyncio.start_server(refuse, "127.0.0.1", 0) as proxy:
        yield f"127.0.0.1:{proxy.sockets[0].getsockname()[1]}", heads


async def fault_of(key: str, address: str) -> str:
    """The code with which a request to this address fails."""
    async with OpenAIProvider(key, address, default_model="m") as provider:
        with pytest.raises(ProviderError) as refused:
            await provider.complete(Prompt(model="m", messages=(), params={}))
    return refused.value.code


async def test_the_proxy_of_the_environment_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    async with refusing_proxy("503 Busy") as (proxy, heads):
        monkeypatch.setenv("http_proxy", f"http://some%20one:secret@{proxy}")
        monkeypatch.setenv("no_proxy", "inside.invalid")
        for host, code in (("outside.invalid", "upstream_error"), ("inside.invalid", "upstream_unavailable")):
            assert await fault_of("k", f"http://{host}/v1") == code
    [head] = heads  # the other host is known to nobody
    assert head.startswith(b"POST http://outside.invalid/v1/chat/completions HTTP/1.1\r\n")
    assert b"proxy-authorization: basic c29tzsbvbmu6c2vjcmv0\r\n" in head.lower()


async def test_a_proxy_on_the_way_to_a_secure_upstream_is_not_told_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    async with refusing_proxy("403 No") as (proxy, heads):
        monkeypatch.setenv("https_proxy", proxy)
        assert await fault_of("sk-secret", "https://outside.invalid/v1") == "upstream_unavailable"
    [head] = heads
    assert head.startswith(b"CONNECT outside.invalid:443 HTTP/1.1\r\n")
    assert b"sk-secret" not in head
