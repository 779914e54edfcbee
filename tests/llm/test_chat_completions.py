"""The decoder: whatever way the bytes are cut and whatever a server makes of the protocol, the text is the same."""

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET

from rejoinder.abc import Chunk, FinishChunk, TextChunk, UsageChunk
from rejoinder.entities import LONGEST_CALL_ID, Usage
from rejoinder.errors import ProviderError
from rejoinder.llm.chat_completions import StreamDecoder, decode_completion
from rejoinder.llm.completions import chunks_of, completion_of

# Thoughts inside the text have tests of their own, and Hypothesis has read of them in the code.
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20).filter(
    lambda text: not {"<", "["} & set(text)
)


def event(payload: object, end: str = "\n") -> bytes:
    return b"data: " + json.dumps(payload, ensure_ascii=False).encode() + end.encode() * 2


def delta(finish: str | None = None, **words: object) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": words, "finish_reason": finish}]}


def decoded(*pieces: bytes) -> list[Chunk]:
    decoder = StreamDecoder()
    chunks = [chunk for piece in pieces for chunk in decoder.feed(piece)]
    decoder.finish()
    return chunks


def cut(data: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[low:high] for low, high in pairwise(edges)]


FINISH = event(delta("stop"))


@given(
    texts=st.lists(st.tuples(st.sampled_from(["content", "reasoning_content"]), TEXT), max_size=6),
    places=st.lists(st.integers(0, 5_000), max_size=12),
    end=st.sampled_from(["\n", "\r\n", "\r"]),
    noise=st.sampled_from(["", ": ping", "retry: 3", "event: message"]),
)
def test_any_cut_of_the_bytes_gives_the_same_text(
    texts: list[tuple[str, str]], places: list[int], end: str, noise: str
) -> None:
    stream = b"".join((noise + end).encode() * bool(noise) + event(delta(**{part: text}), end) for part, text in texts)
    stream += event(delta("stop"), end) + f"data: [DONE]{end}{end}".encode()
    reply = completion_of(decoded(*cut(stream, places)))
    assert reply.content == "".join(text for part, text in texts if part == "content")
    assert reply.reasoning == "".join(text for part, text in texts if part != "content")
    assert reply.finish_reason == "stop"


@given(data=st.binary(max_size=200), places=st.lists(st.integers(0, 200), max_size=5))
def test_no_bytes_raise_anything_but_a_provider_error(data: bytes, places: list[int]) -> None:
    for stream in (data, b"data: " + data + b"\n\n", b'data: {"choices":' + data + b"}\n\n"):
        try:
            decoded(*cut(stream, places))
        except ProviderError:
            continue
    with pytest.raises(ProviderError):
        decode_completion(data)


@given(text=st.text(max_size=30), at=st.integers(0, 60))
def test_halves_of_a_surrogate_pair_are_joined_over_chunks(text: str, at: int) -> None:
    # Behind a letter: what begins with a tag would be taken for thoughts.
    units = f"a{text}".encode("utf-16-le", "surrogatepass")
    at = min(at * 2, len(units))
    halves = (units[:at].decode("utf-16-le", "surrogatepass"), units[at:].decode("utf-16-le", "surrogatepass"))
    stream = b"".join(b"data: " + json.dumps(delta(content=half)).encode() + b"\n\n" for half in halves)
    reply = completion_of(decoded(stream + FINISH))
    assert reply.content == units.decode("utf-16-le", "replace").replace("\0", "\ufffd")


def test_a_half_that_stays_alone_is_replaced() -> None:
    stream = b'data: {"choices":[{"delta":{"content":"a\\ud83d"}}]}\n\n'
    assert decoded(stream, FINISH) == [
        TextChunk("content", "a"),
        TextChunk("content", "\ufffd"),
        FinishChunk("stop"),
    ]


def test_broken_utf8_is_replaced() -> None:
    stream = b'data: {"choices":[{"delta":{"content":"a\xff\xedb"}}]}\n\n'
    assert completion_of(decoded(stream, FINISH)).content == "a\ufffd\ufffdb"


@pytest.mark.parametrize(
    "stream",
    [
        b'data:{"choices":[{"delta":{"content":"hi"},"finish_reason":"stop"}]}\n\n',
        b'data: {"choices":\ndata: [{"delta":{"content":"hi"},"finish_reason":"stop"}]}\n\n',
        b'\xef\xbb\xbfdata: {"choices":[{"delta":{"content":"hi"},"finish_reason":"stop"}]}\n\n',
        event(delta(role="assistant", content=None)) + event({"choices": []}) + event(delta("stop", content="hi")),
        event(delta(content="hi")) + event(delta("")) + event(delta("stop")) + event(delta("stop")),
        event(delta(refusal="hi")) + FINISH,
        event(delta(content=[{"type": "text", "text": "hi"}])) + FINISH,
        event(delta(content="hi")) + event({"error": None, **delta("stop")}),
        event({"choices": [{"index": 1, "delta": {"content": "no"}}, *delta("stop", content="hi")["choices"]]}),
        event({"choices": [{"delta": {"content": "hi"}, "finish_reason": "eos", "logprobs": {"content": [1]}}]}),
        event(delta("stop", content="hi")) + b"data: [DONE]\n\ndata: {nonsense\n\n",
        event(delta("stop", content="hi")) + b'data: {"choices"',
        b"data:\n\ndata: \n\n" + event(delta("stop", content="hi")),
        event({"choices": [{"index": "0", "delta": {"content": "hi"}, "finish_reason": "STOP"}]}),
        event(delta(content="hi")) + event(delta("stop") | {"usage": "n/a"}),
        event({"choices": [{"message": {"content": "h"}}]})
        + event({"choices": [{"message": {"content": "i"}}]})
        + FINISH,
        # Behind the deltas the whole once more, in one answer (MiniMax).
        event(delta(content="hi")) + event({"choices": [{"message": {"content": "hi"}, "finish_reason": "stop"}]}),
        event(delta("stop", content="hi")) + event({"choices": [{"message": {"content": "hi"}}]}),
    ],
)
def test_what_servers_make_of_the_protocol(stream: bytes) -> None:
    reply = completion_of(decoded(stream))
    assert (reply.content, reply.finish_reason) == ("hi", "stop")


def test_usage_comes_after_the_finish() -> None:
    usage = event({"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}})
    assert decoded(FINISH + usage)[-1] == UsageChunk(Usage(input_tokens=3, output_tokens=4, source="provider"))
    half = event({"choices": [], "usage": {"prompt_tokens": 3}})
    assert decoded(FINISH + half)[-1] == UsageChunk(Usage(input_tokens=3, output_tokens=0, source="provider"))


def test_tool_calls_are_told_apart_in_every_way_that_servers_number_them() -> None:
    def calls(*deltas: dict[str, Any]) -> list[tuple[str, str, str]]:
        stream = b"".join(event(delta(tool_calls=[each])) for each in deltas) + event(delta("tool_calls"))
        said = completion_of(decoded(stream)).tool_calls
        return [(call.id, call.function.name, call.function.arguments) for call in said]

    def call(name: str | None = None, arguments: Any = "", **others: Any) -> dict[str, Any]:
        return {"function": {"name": name, "arguments": arguments}, **others}

    two = [("a", "f", '{"x":1}'), ("b", "g", "{}")]
    in_order = (call("f", id="a", index=0), call(None, '{"x":', index=0), call(None, "1}", index=0))
    assert calls(*in_order, call("g", "{}", id="b", index=1)) == two
    mixed = (call("f", id="a", index=5), call("g", id="b", index=7), call(None, '{"x":1}', index=5))
    assert calls(*mixed, call(None, "{}", index=7)) == two
    assert calls(call("f", '{"x":1}', id="a"), call("g", "{}", id="b")) == two
    assert calls(call("f", '{"x":', id="a"), call(None, "1}"), call("g", "{}", id="b")) == two
    assert calls(call("f", '{"x":1}', id="a", index=0), call("g", "{}", id="b", index=0)) == two
    assert calls(call("f", '{"x":', id="a", index=0), call(None, "1}", id="z", index=0))[0] == two[0]
    assert calls(call("f", {"x": 1}, id="a"))[0] == ("a", "f", '{"x": 1}')
    assert calls(call("f", "1"), call("f", "2")) == [("", "f", "1"), ("", "f", "2")]
    assert calls(call("f", '{"x":1}', index=0), call("f", "{}", index=0)) == [("", "f", '{"x":1}'), ("", "f", "{}")]
    assert calls(call("f", '{"x":', index=0), call("f", "1}", index=0)) == [("", "f", '{"x":1}')], "the name again"


SIGNED = {"google": {"thought_signature": "abc="}, "ü": [1, 2.5, None, True]}


@pytest.mark.parametrize(
    ("extra", "kept"),
    [
        (SIGNED, SIGNED),
        (None, UNSET),
        ({}, UNSET),
        ("signature", UNSET),
        ({"google": {"thought_signature": "x" * 70_000}}, UNSET),
        ({"half": "\ud800"}, UNSET),
        ({"nul": "a\0b"}, UNSET),
        ({"long": 1 << 70}, UNSET),
        ({"long": [1e400]}, UNSET),
        ({"deep": [[[1]]]}, {"deep": [[[1]]]}),
        ({"deep": [[[[]]]]}, UNSET),
        ({"deep": [[[{}]]]}, UNSET),
        (json.loads('{"a":' * 900 + "1" + "}" * 900), UNSET),
    ],
)
def test_what_else_is_said_of_a_call_is_kept_where_every_store_can(extra: object, kept: object) -> None:
    call = {"index": 0, "id": "a", "function": {"name": "f", "arguments": "{}"}, "extra_content": extra}
    data = b"data: " + json.dumps(delta(tool_calls=[call])).encode() + b"\n\n"
    stream = completion_of(decoded(data + event(delta(tool_calls=[{"index": 0}])), event(delta("tool_calls"))))
    body = {"choices": [{"message": {"tool_calls": [call]}, "finish_reason": "tool_calls"}]}
    whole = decode_completion(json.dumps(body).encode())
    for reply in (stream, whole, completion_of(chunks_of(whole))):
        assert [(call.id, call.function.name, call.extra_content) for call in reply.tool_calls] == [("a", "f", kept)]


def test_names_and_ids_are_text_too_and_of_bounded_length() -> None:
    call = {"id": "a\0", "function": {"name": "look\ud83d", "arguments": "{}"}}
    stream = (
        b'data: {"choices":[{"delta":{"tool_calls":[%b]},"finish_reason":"so\\ud83d"}]}\n\n' % json.dumps(call).encode()
    )
    whole = b'{"choices":[{"message":{"tool_calls":[%b]},"finish_reason":"so\\ud83d"}]}' % json.dumps(call).encode()
    for reply in (completion_of(decoded(stream)), decode_completion(whole)):
        [said] = reply.tool_calls
        assert (said.id, said.function.name, reply.finish_reason) == ("a\ufffd", "look\ufffd", "so\ufffd")
    long = {"id": "a" * 99_999, "function": {"name": "f" * 9_999}}
    [said] = completion_of(decoded(event(delta("stop", tool_calls=[long])))).tool_calls
    assert (len(said.id), len(said.function.name)) == (LONGEST_CALL_ID, 256)


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("end_turn", "stop"),
        ("STOP", "stop"),
        ("model_length", "length"),
        ("MAX_TOKENS", "length"),
        ("tool_use", "tool_calls"),
        ("SAFETY", "content_filter"),
        ("content_filter: PROHIBITED_CONTENT", "content_filter"),
        ("sensitive", "content_filter"),
        ("something_new", "something_new"),
    ],
)
def test_a_reason_in_the_words_of_another_protocol(said: str, reason: str) -> None:
    assert decoded(event(delta(said, content="hi")))[-1] == FinishChunk(reason)


@pytest.mark.parametrize("told", [{"prompt_tokens": -5}, {"prompt_tokens": 1 << 70}, {"completion_tokens": 12.5}])
def test_a_count_that_is_none_is_not_told(told: dict[str, Any]) -> None:
    assert decoded(FINISH + event({"choices": [], "usage": told})) == [FinishChunk("stop")]


@pytest.mark.parametrize(
    ("stream", "code"),
    [
        (b"", "upstream_incomplete"),
        (event(delta(content="hi")), "upstream_incomplete"),
        (event(delta(content="hi")) + b"data: [DONE]\n\n", "upstream_incomplete"),
        (event(delta(content="hi")) + b"data: {\n\n", "upstream_malformed"),
        (event(delta(content="hi")) + b'data: "text"\n\n', "upstream_malformed"),
        pytest.param(
            event(delta(content="hi")) + b"data: " + b"[" * 100_000 + b"\n\n", "upstream_malformed", id="deep"
        ),
        (event({"error": {"message": "x", "code": "server_error"}}), "upstream_error"),
        (event({"error": "x"}), "upstream_error"),
        (event({"error": {"message": "x", "code": 429}}), "upstream_rate_limited"),
        (event({"error": {"message": "x", "type": "rate_limit_exceeded"}}), "upstream_rate_limited"),
        (event({"error": {"message": "x", "code": "context_length_exceeded"}}), "context_overflow"),
        (event({"error": {"code": 400, "type": "exceed_context_size_error", "message": "y"}}), "context_overflow"),
        (b'event: error\ndata: {"message": "x"}\n\n', "upstream_error"),
        (b"event:error\ndata: plain words\n\n", "upstream_error"),
        (b"event: error\ndata: 3\n\n", "upstream_error"),
        (event(delta("error")), "upstream_error"),
        (event(delta("abort")), "upstream_error"),
        (event(delta("network_error")), "upstream_error"),
        (event(delta("function_call_filter: MALFORMED_FUNCTION_CALL")), "upstream_error"),
        (b'error: {"code": 400, "type": "exceed_context_size_error", "message": "y"}\n\n', "context_overflow"),
    ],
)
def test_what_ends_no_reply(stream: bytes, code: str) -> None:
    with pytest.raises(ProviderError) as caught:
        decoded(stream)
    assert caught.value.code == code
    assert caught.value.before_reply is (code == "upstream_rate_limited")
    assert ("was done" in caught.value.detail) is (b"[DONE]" in stream)


@pytest.mark.parametrize(
    ("code", "refused"),
    [(429, True), ("rate_limit_exceeded", True), (503, True), (529, True), (502, False), ("x", False)],
)
def test_an_error_before_the_first_word_may_be_a_refusal(code: int | str, refused: bool) -> None:
    """OpenRouter's come behind a 200, pings and an event that says who speaks."""
    begun = b": OPENROUTER PROCESSING\n\n" + event(delta(role="assistant", content=""))
    error = event({"error": {"message": "x", "code": code}})
    called = event(delta(tool_calls=[{"index": 0, "id": "a"}]))
    for said, before in (
        (begun, refused),
        (begun + event(delta(reasoning="hm")), False),
        (begun + called, False),
    ):
        decoder = StreamDecoder()
        decoder.feed(said)
        with pytest.raises(ProviderError) as caught:
            decoder.feed(error)
        assert caught.value.before_reply is before


def test_text_before_a_fault_in_the_same_bytes_is_not_lost() -> None:
    decoder = StreamDecoder()
    assert decoder.feed(event(delta(content="hi")) + b"data: {\n\n") == [TextChunk("content", "hi")]
    assert decoder.fault is not None
    for go_on in (lambda: decoder.feed(event(delta(content="more"))), decoder.finish):
        with pytest.raises(ProviderError, match="no Chat Completions chunk"):
            go_on()


def test_an_event_without_end_is_given_up() -> None:
    decoder = StreamDecoder()
    for _ in range(32):
        assert decoder.feed(b"x" * (1 << 20)) == []
    with pytest.raises(ProviderError, match="without end"):
        decoder.feed(b"x")


def test_a_megabyte_in_small_reads() -> None:
    text = "ä" * 500_000
    stream = event(delta("stop", content=text))
    assert completion_of(decoded(*cut(stream, list(range(0, len(stream), 1_400))))).content == text


def test_a_whole_answer_becomes_the_same_reply_by_either_way() -> None:
    message = {
        "role": "assistant",
        "content": "hi\0",
        "reasoning": "hm",
        "tool_calls": [{"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}, {"id": "b"}],
    }
    usage = {"prompt_tokens": 1, "completion_tokens": 2}
    body = {"choices": [{"message": message, "finish_reason": "tool_calls"}], "usage": usage}
    reply = decode_completion(json.dumps(body).encode())
    assert (reply.content, reply.reasoning, reply.finish_reason) == ("hi\ufffd", "hm", "tool_calls")
    assert reply.tool_calls[0].function.name == "f"
    assert completion_of(chunks_of(reply)) == reply


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"choices": []}, "upstream_malformed"),
        ({}, "upstream_malformed"),
        ({"choices": [{"finish_reason": "stop"}]}, "upstream_malformed"),
        ({"choices": [{"message": {"content": "x"}, "finish_reason": None}]}, "upstream_incomplete"),
        ({"error": {"message": "x"}}, "upstream_error"),
    ],
)
def test_a_whole_answer_that_is_none(body: dict[str, Any], code: str) -> None:
    with pytest.raises(ProviderError) as caught:
        decode_completion(json.dumps(body).encode())
    assert caught.value.code == code
