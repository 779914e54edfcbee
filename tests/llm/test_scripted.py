"""The scripted provider: what it says is a function of script and prompt, and it fails as it is told."""

import asyncio
import time

import pytest

from rejoinder.abc import FinishChunk, Prompt, TextChunk, UsageChunk
from rejoinder.errors import Misconfigured, ProviderError
from rejoinder.llm.script import CODES, BadScript, parse
from rejoinder.llm.scripted import ScriptedProvider
from rejoinder.llm.scripted_answer import full_text
from rejoinder.llm.story import STORY
from rejoinder.testing.heard import asked, hear


@pytest.fixture
def provider() -> ScriptedProvider:
    return ScriptedProvider()


async def test_it_echoes_what_it_has_no_script_for(provider: ScriptedProvider) -> None:
    for text in ("hi", "", "  Grüße,\n\n\t👩‍👩‍👧‍👦 é ", "script tokens=3", "/scripted x"):
        heard = await hear(provider, asked(text))
        assert (heard.error, heard.reply.content) == (None, text)


@pytest.mark.parametrize(
    ("model", "message", "text"),
    [
        ("story", "x", STORY),
        ("tokens=3", "x", "t0 t1 t2"),
        ("tokens=3", "/script tokens=2", "t0 t1"),
        ("tokens=3+pace=0.001", "/script burst=2", "t0 t1 t2"),
        ("", "/script\nhello\nyou", "hello\nyou"),
        ("story", "/script echo\nhello", "hello"),
        ("", "/script big=10", "x" * 10),
        ("", "/script tokens=0", ""),
    ],
)
async def test_the_message_wins_over_the_model(provider: ScriptedProvider, model: str, message: str, text: str) -> None:
    heard = await hear(provider, asked(message, model=model))
    assert (heard.error, heard.reply.content) == (None, text)
    assert (await provider.complete(asked(message, model=model))).content == text


async def test_its_own_script_is_the_default() -> None:
    async with ScriptedProvider("tokens=2") as provider:
        assert (await hear(provider, asked("x"))).reply.content == "t0 t1"
        assert await provider.models() == ["tokens=2", "echo", "story", "slow"]
        assert (await hear(provider, asked("x", model="echo"))).reply.content == "x"
    with pytest.raises(Misconfigured):
        ScriptedProvider("no-such-script")


def test_it_takes_no_script_that_is_none(provider: ScriptedProvider) -> None:
    for good in (
        "",
        "echo",
        "slow",
        "tokens=5,pace=0.1",
        "fail=429",
        "fail=reset@3+times=2",
        "stall@7",
        "hang",
        "story crlf",
    ):
        assert provider.accepts(good)
    for bad in (
        "x",
        "tokens",
        "tokens=-1",
        "tokens=x",
        "tokens=99999999",
        "pace=nan",
        "pace=-1",
        "pace=1e30",
        "fail=x",
        "fail=200",
        "fail=429@3",
        "echo=1",
        "usage=maybe",
        "file=/etc/passwd",
        "@/etc/passwd",
        "field=a.b",
    ):
        assert not provider.accepts(bad), bad


async def test_a_wrong_line_is_an_error_of_the_reply(provider: ScriptedProvider) -> None:
    error = (await hear(provider, asked("/script tokens=x"))).error
    assert error is not None
    assert (error.code, error.detail) == ("upstream_error", "A script has no word 'tokens=x'.")
    with pytest.raises(BadScript):
        parse("no")


async def test_the_end(provider: ScriptedProvider) -> None:
    heard = await hear(provider, asked("/script tokens=2 finish=length"))
    assert isinstance(heard.chunks[-2], FinishChunk)
    assert isinstance(heard.chunks[-1], UsageChunk)
    usage = heard.reply.usage
    assert usage is not None
    assert (heard.reply.finish_reason, usage.input_tokens, usage.output_tokens) == ("length", 3, 2)
    assert (await hear(provider, asked("/script tokens=2 usage=no"))).reply.usage is None


async def test_reasoning_and_tool_calls(provider: ScriptedProvider) -> None:
    reply = (await hear(provider, asked("/script tokens=1 reasoning=2 calls=2"))).reply
    assert (reply.reasoning, reply.content, reply.finish_reason) == ("r0 r1", "t0", "tool_calls")
    assert [call.function.arguments for call in reply.tool_calls] == ['{"number": 0}', '{"number": 1}']
    returned = [{"role": "tool", "content": f"result {n}"} for n in range(2)]
    again = Prompt(
        model="", messages=({"role": "user", "content": "/script calls=2"}, {"role": "assistant"}, *returned)
    )
    assert (await provider.complete(again)).content == "The tools said: result 0, result 1"


@pytest.mark.parametrize("length", [1, 7, 100, len(STORY)])
async def test_a_prefill_is_continued_where_it_ends(provider: ScriptedProvider, length: int) -> None:
    messages = ({"role": "user", "content": "/script story"}, {"role": "assistant", "content": STORY[:length]})
    assert (await provider.complete(Prompt(model="", messages=messages))).content == STORY[length:]


async def test_a_fault_that_a_prefill_has_passed_does_not_come_again(provider: ScriptedProvider) -> None:
    user = {"role": "user", "content": "/script tokens=9 fail=eof@4"}
    first = await hear(provider, Prompt(model="", messages=(user,)))
    assert first.error is not None
    rest = await hear(
        provider, Prompt(model="", messages=(user, {"role": "assistant", "content": first.reply.content}))
    )
    assert rest.error is None
    assert first.reply.content + rest.reply.content == full_text("tokens=9")


async def test_max_tokens_cuts(provider: ScriptedProvider) -> None:
    for prompt in (asked("/script tokens=9", max_tokens=4), asked("/script tokens=9", max_completion_tokens=4)):
        reply = await provider.complete(prompt)
        assert (reply.content, reply.finish_reason) == (full_text("tokens=4"), "length")


@pytest.mark.parametrize("code", sorted(CODES))
async def test_every_code_can_be_had_before_and_after_tokens(provider: ScriptedProvider, code: str) -> None:
    before = await hear(provider, asked(f"/script tokens=5 fail={code}"))
    after = await hear(provider, asked(f"/script tokens=5 burst=2 fail={code}@3"))
    assert before.error is not None
    assert after.error is not None
    assert (before.chunks, before.error.code, after.error.code) == ([], code, code)
    assert after.reply.content == full_text("tokens=3")
    assert not after.error.before_reply


@pytest.mark.parametrize(
    ("fault", "code", "before_reply"),
    [
        ("429", "upstream_rate_limited", True),
        ("500", "upstream_error", True),
        ("401", "upstream_auth", False),
        ("reset", "upstream_incomplete", False),
        ("malformed", "upstream_malformed", False),
    ],
)
async def test_faults_of_the_wire_are_told_as_a_real_upstream_would(
    provider: ScriptedProvider, fault: str, code: str, before_reply: bool
) -> None:
    with pytest.raises(ProviderError) as caught:
        await provider.complete(asked(f"/script fail={fault} retry_after=2"))
    assert (caught.value.code, caught.value.before_reply) == (code, before_reply)


async def test_a_fault_may_pass(provider: ScriptedProvider) -> None:
    tries = [await hear(provider, asked("/script tokens=2 fail=eof@1 times=1")) for _ in range(2)]
    assert [each.reply.content for each in tries] == ["t0", "t0 t1"]


async def test_the_pace_is_kept_without_drift(provider: ScriptedProvider) -> None:
    began = time.monotonic()
    heard = await hear(provider, asked("/script tokens=20 first=0.1 pace=0.02 burst=4"))
    assert heard.reads == 5
    assert 0.1 + 16 * 0.02 <= time.monotonic() - began < 0.9


async def test_a_stall_lasts_until_its_reader_leaves(provider: ScriptedProvider) -> None:
    said: list[str] = []

    async def read() -> None:
        async for chunks in provider.stream(asked("/script tokens=5 stall@2")):
            said.extend(chunk.text for chunk in chunks if isinstance(chunk, TextChunk))

    with pytest.raises(TimeoutError):
        await asyncio.wait_for(read(), 0.1)
    assert "".join(said) == "t0 t1"


async def test_a_reply_without_pace_leaves_others_their_turn(provider: ScriptedProvider) -> None:
    long = asyncio.create_task(hear(provider, asked("/script tokens=1000000")))
    began = time.monotonic()
    await hear(provider, asked("/script tokens=100"))
    assert time.monotonic() - began < 1
    long.cancel()
