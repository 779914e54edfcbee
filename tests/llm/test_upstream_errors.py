"""What an upstream says when it gives no reply: the same fault in the words of many servers, and never a secret."""

import json
import time

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rejoinder.abc import Prompt
from rejoinder.errors import ProviderError
from rejoinder.llm.openai_request import without_prompt
from rejoinder.llm.upstream_errors import MAX_QUOTE, error_from_body, quoted, retry_after

OVERFLOWS = {
    "OpenAI": (400, {"error": {"message": "Too long.", "code": "context_length_exceeded"}}),
    "llama.cpp": (400, {"error": {"code": 400, "type": "exceed_context_size_error", "message": "request too large"}}),
    "llama.cpp, older": (500, {"error": {"code": 500, "message": "the request exceeds the available context size"}}),
    "vLLM": (400, {"object": "error", "message": "This model's maximum context length is 4096 tokens.", "code": 400}),
    "Anthropic": (400, {"error": {"type": "invalid_request_error", "message": "prompt is too long: 9 tokens > 8"}}),
    "Groq": (400, {"error": {"message": "Please reduce the length of the messages or completion."}}),
    "xAI": (400, {"code": "x", "error": "This model's maximum prompt length is 131072"}),
    "Gemini": (400, [{"error": {"message": "The input token count (9) exceeds the maximum (8)."}}]),
    "Anthropic, with max_tokens": (
        400,
        {"error": {"message": "input length and `max_tokens` exceed context limit: 9 + 8 > 10"}},
    ),
    "Qwen": (400, {"error": {"message": "Range of input length should be [1, 30720]"}}),
    "Vertex": (400, {"error": {"message": "The input token count is 9 but model only supports up to 8"}}),
    "GLM": (400, {"error": {"message": "The prompt exceeds the maximum allowed input length of 8."}}),
    "TGI": (
        422,
        {"error": "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4096", "error_type": "x"},
    ),
    "GitHub Models": (413, {"error": {"code": "tokens_limit_reached", "message": "Request body too large"}}),
    "OpenRouter": (
        400,
        {"error": {"message": "Provider returned error", "metadata": {"raw": "prompt is too long: 9 > 8"}}},
    ),
    "FastAPI": (422, {"detail": [{"loc": ["body"], "msg": "context window exceeded", "input": "secret"}]}),
    "OpenAI, more than in a minute": (
        429,
        {"error": {"code": "rate_limit_exceeded", "message": "Request too large for m (TPM): Limit 6, Requested 14."}},
    ),
}


@pytest.mark.parametrize("server", OVERFLOWS)
def test_too_long_a_conversation_is_told_apart_whatever_the_server(server: str) -> None:
    status, body = OVERFLOWS[server]
    assert error_from_body(status, json.dumps(body).encode()).code == "context_overflow"


@pytest.mark.parametrize(
    ("said", "asked", "window"),
    [
        ("This model's maximum context length is 4097 tokens. However, you requested 4226 tokens (4000 in", 4226, 4097),
        ("You passed 90 input tokens. However, the model's context length is only 64 tokens, resulting in a", 90, 64),
        ("maximum context length is 200 tokens. However, your request has 203 input tokens. Please reduce", 203, 200),
        ("The decoder prompt (length 10127) is longer than the maximum model length of 8192. Make", 10127, 8192),
        ("The input (61709 tokens) is longer than the model's context length (40960 tokens).", 61709, 40960),
        ("Input length (160062 tokens) exceeds the maximum allowed length (59862 tokens). Use a", 160062, 59862),
        ("is greater than the context length (n_keep: 10247 >= n_ctx: 4096). Try to load", 10247, 4096),
        ("keep the first 15857 tokens when context the overflows. However, … with context length of only 4096", 15857, 4096),
        ("request (5000 tokens) exceeds the available context size (4096 tokens), try increasing it", 5000, 4096),
        ("Prompt contains 300 tokens and 0 draft tokens, too large for model with 128 maximum context length", 300, 128),
        ("Your request exceeded model token limit: 262144 (requested: 269030)", 269030, 262144),
        ("maximum prompt length is 131072 but the request contains 136973 tokens.", 136973, 131072),
        ("maximum context length is 131072 tokens. However, you requested about 138956 tokens", 138956, 131072),
        ("reduce the length of the messages or completion. Current length is 9000 while limit is 8192", 9000, 8192),
        ("Request too large for `m` on tokens per minute (TPM): Limit 6000, Requested 14810, please", 14810, 6000),
        ("prompt token count of 130000 exceeds the limit of 128000", 130000, 128000),
        ("prompt is too long: 213462 tokens > 200000 maximum", 213462, 200000),
        ("input length and `max_tokens` exceed context limit: 190000 + 21333 > 200000", None, 200000),
        ("Prompt has 300,000 tokens, but the configured context size is 131,072 tokens", 300_000, 131_072),
        ("The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).", 1200000, 1048576),
        ("`inputs` tokens + `max_new_tokens` must be <= 4097. Given: 4000 `inputs` tokens and 300", None, 4097),
        ("Range of input length should be [1, 30720]", None, 30720),
        ("prompt too long; exceeded max context length by 4096 tokens", None, None),
    ],
)  # fmt: skip
def test_how_long_a_prompt_may_be_is_learned_from_the_words_of_many_servers(
    said: str, asked: int | None, window: int | None
) -> None:
    error = error_from_body(400, json.dumps({"error": {"message": said}}).encode())
    assert (error.code, error.asked, error.window) == ("context_overflow", asked, window)


@pytest.mark.parametrize(
    ("status", "body", "code"),
    [
        (400, {"error": {"message": "max_tokens is too large: 9. This model supports at most 8."}}, "upstream_error"),
        (400, {"error": {"code": "content_filter", "message": "x"}}, "content_filtered"),
        (400, {"error": {"code": "invalid_api_key", "message": "x"}}, "upstream_auth"),
        (400, {"error": {"message": "Unknown parameter: stream_options"}}, "upstream_error"),
        (429, {"error": {"code": "insufficient_quota", "message": "context length"}}, "upstream_rate_limited"),
        (
            429,
            {"error": {"message": "Rate limit reached (TPM): Limit 9, Used 8, Requested 3."}},
            "upstream_rate_limited",
        ),
        (404, {"error": {"code": "model_not_found"}}, "upstream_unavailable"),
        (418, "text", "upstream_error"),
        (301, None, "upstream_unavailable"),
        (407, None, "upstream_unavailable"),
    ],
)
def test_the_code_of_an_answer(status: int, body: object, code: str) -> None:
    assert error_from_body(status, json.dumps(body).encode()).code == code


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (
            {"object": "error", "message": {"detail": [{"loc": ["body", "stream_options"], "msg": "Extra inputs"}]}},
            "body.stream_options Extra inputs",
        ),
        ({"success": False, "errors": [{"code": 5007, "message": "No such model"}]}, "No such model"),
        (
            {"error": {"message": "Provider returned error", "metadata": {"raw": "busy"}}},
            "Provider returned error: busy",
        ),
    ],
)
def test_what_an_upstream_says_is_found_wherever_it_says_it(body: object, said: str) -> None:
    assert error_from_body(400, json.dumps(body).encode()).detail == f"The upstream failed (HTTP 400): {said}"


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"404 page not found", "is its base URL right?"),
        (b'{"detail":"Not Found"}', "is its base URL right?"),
        (b'{"error":{"message":"File Not Found","type":"not_found_error"}}', "is its base URL right?"),
        (b'{"error":{"message":"model \'x\' not found"}}', "model 'x' not found"),
    ],
)
def test_where_there_is_nothing_the_base_url_may_be_wrong(body: bytes, said: str) -> None:
    assert error_from_body(404, body).detail == f"The upstream does not have what was asked for (HTTP 404): {said}"


@pytest.mark.parametrize(
    ("status", "owed"),
    [(400, False), (401, False), (404, False), (422, False), (408, True), (429, False), (500, False), (504, True)],
)
def test_what_was_refused_is_not_owed(status: int, owed: bool) -> None:
    error = error_from_body(status, b"{}")
    assert (error.refused or error.before_reply) is not owed


def test_a_long_conversation_is_searched_for_an_echo_quickly_and_thoroughly() -> None:
    words = " ".join(f"word{n}" for n in range(400_000))
    prompt = Prompt(model="m", messages=({"role": "user", "content": words},))
    part = words[2_000_003:2_000_027]
    assert part not in without_prompt(ProviderError("upstream_error", f"It failed: no, {part} is wrong"), prompt).detail
    other = ProviderError("upstream_error", "It failed: " + " ".join(f"other{n}" for n in range(40)))
    began = time.process_time()
    assert without_prompt(other, prompt) is other
    assert time.process_time() - began < 0.5, "the event loop stands still meanwhile"


@given(st.text("ab ", max_size=80), st.text("ab ", max_size=60))
def test_an_echo_is_found_just_where_there_is_one(said: str, text: str) -> None:
    prompt = Prompt(model="m", messages=({"role": "user", "content": text},))
    shown = " ".join(text.split())
    error = ProviderError("upstream_error", f"It failed: {said}")
    echoed = (len(shown) >= 6 and shown in said) or any(said[at : at + 24] in shown for at in range(len(said) - 23))
    assert (without_prompt(error, prompt) is not error) is echoed


BODIES = [b"", b"<html>", b"\xff\xfe", b"[" * 100_000, b"{}", b"null", b'{"error":[1]}', b'{"detail":7}']


@pytest.mark.parametrize("body", BODIES, ids=range(len(BODIES)))
def test_any_body_will_do(body: bytes) -> None:
    error = error_from_body(500, body)
    assert (error.code, error.detail, error.before_reply) == ("upstream_error", "The upstream failed (HTTP 500).", True)


@pytest.mark.parametrize("digits", [400, 5_000])
def test_a_number_without_end_is_no_fault_of_ours(digits: int) -> None:
    message = f"This model's maximum context length is {'8' * digits} tokens. However, you requested {'9' * digits}."
    error = error_from_body(400, json.dumps({"error": {"message": message}}).encode())
    assert error.code == "context_overflow" and error.window is not None and error.window < 10**12


@pytest.mark.parametrize(
    "secret",
    ["sk-proj-abc_DEF123", "sk-abcd********wxyz", "gsk_abcdef12", "hf_abcdef1234", "Bearer abc.def", "my own key"],
)
def test_keys_are_redacted(secret: str) -> None:
    said = quoted(f"Wrong key {secret}, sorry", ["my own key"])
    assert said == "Wrong key [redacted], sorry"


def test_words_that_only_look_a_little_like_keys_stay() -> None:
    words = "The task-list of the disk-usage model is key-value: ask-me"
    assert quoted(words) == words


def test_a_quote_is_one_short_line_without_the_value_that_was_refused() -> None:
    assert quoted("a\nb\t\x00c \u202e") == "a b c"
    assert len(quoted("x" * 10_000)) == MAX_QUOTE + 1
    assert quoted("[{'msg': 'bad', 'input': [{'content': 'my secret'}]}]") == "[{'msg': 'bad', …"
    body = {"detail": [{"loc": ["body", "n"], "msg": "must be 1", "input": "my secret"}]}
    assert error_from_body(422, json.dumps(body).encode()).detail == "The upstream failed (HTTP 422): body.n must be 1"


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("cannot read 'the plan for tomorrow is a secret'", False),
        ("cannot read the plan for", True),
        ("is hush-1 meant?", False),
        ("something else went wrong on the way to the model", True),
    ],
)
def test_an_error_that_repeats_the_prompt_is_not_quoted(said: str, kept: bool) -> None:
    parts = [{"type": "text", "text": "hush-1"}, {"type": "image_url", "image_url": {"url": "data:"}}]
    secret = {"role": "system", "content": "Know that the plan for\ntomorrow is a secret."}
    prompt = Prompt(
        model="m", messages=(secret, {"role": "user", "content": parts}, {"role": "assistant", "content": None})
    )
    error = ProviderError("upstream_error", f"The upstream failed: {said}", before_reply=True, retry_after=3)
    safe = without_prompt(error, prompt)
    assert safe.detail == (error.detail if kept else "The upstream failed.")
    assert (safe.code, safe.before_reply, safe.retry_after) == ("upstream_error", True, 3)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "3"}, 3),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after-ms": "1500", "retry-after": "9"}, 1.5),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": f"Wed, 21 Oct {'9' * 20} 07:28:00 GMT"}, None),
        ({"retry-after": f"Wed, 21 Oct 2015 07:28:00 +{'9' * 20}"}, None),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
    ],
)
def test_the_wish_to_wait(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(httpx2.Headers(headers)) == seconds
