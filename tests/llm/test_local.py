"""The real embedded model, loaded once for all of these: what it streams, its limits, its turns, and leaving it."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import pytest
import pytest_asyncio

from rejoinder.abc import FinishChunk, Prompt, TextChunk, UsageChunk
from rejoinder.llm.local import LocalProvider
from rejoinder.llm.local_prompt import MODEL
from rejoinder.testing.heard import Heard, asked, hear

pytestmark = pytest.mark.asyncio(loop_scope="module")

SLOTS = 2
CONTEXT = 1024
"""Tokens of a slot: few, so that a prompt that is too long is still short."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def local() -> AsyncIterator[LocalProvider]:
    async with LocalProvider(slots=SLOTS, context=CONTEXT) as provider:
        yield provider


def exact(message: str, **params: Any) -> Prompt:
    """A prompt that is always answered in the same words."""
    return asked(message, temperature=0, **params)


ENDLESS = asked("Count from 1 to 10000.", temperature=0, max_tokens=CONTEXT, logit_bias=[[2, False]])
"""A reply that takes many seconds: the token that ends a turn is forbidden."""


def texts(heard: Heard) -> list[str]:
    return [chunk.text for chunk in heard.chunks if isinstance(chunk, TextChunk)]


# --- what it answers ---------------------------------------------------------------------------------------------


async def test_a_reply_comes_in_pieces_with_a_finish_and_the_usage_that_was_counted(local: LocalProvider) -> None:
    heard = await hear(local, exact("What is the capital of France?"))
    assert heard.error is None
    assert "Paris" in heard.reply.content
    assert heard.reads > 3
    finish, usage = heard.chunks[-2:]
    assert finish == FinishChunk("stop")
    assert isinstance(usage, UsageChunk)
    assert usage.usage.source == "provider"
    assert usage.usage.input_tokens > 10
    assert usage.usage.output_tokens == pytest.approx(len(texts(heard)), abs=3)


async def test_a_whole_reply_is_the_streamed_one(local: LocalProvider) -> None:
    prompt = exact("Name three colours.", max_tokens=20)
    streamed = (await hear(local, prompt)).reply
    assert await local.complete(prompt) == streamed
    assert streamed.content


async def test_a_limit_of_tokens_is_a_finish_of_its_own(local: LocalProvider) -> None:
    reply = (await hear(local, exact("Tell me a long story.", max_tokens=5))).reply
    assert reply.finish_reason == "length"
    assert reply.usage is not None
    assert reply.usage.output_tokens == 5


async def test_it_knows_what_was_said_before(local: LocalProvider) -> None:
    first = {"role": "user", "content": "My name is Ada."}
    answer = {"role": "assistant", "content": "Nice to meet you, Ada."}
    second = {"role": "user", "content": "What is my name?"}
    prompt = Prompt(model="", messages=(first, answer, second), params={"temperature": 0, "max_tokens": 30})
    assert "Ada" in (await local.complete(prompt)).content


async def test_a_prefill_is_continued_exactly(local: LocalProvider) -> None:
    """From every place at which the reply could have been cut: what is new begins at the very next character."""
    prompt = exact("Name three colours.", max_tokens=12)
    pieces = texts(await hear(local, prompt))
    for cut in (1, len(pieces) // 2, len(pieces) - 2):
        said, rest = "".join(pieces[:cut]), "".join(pieces[cut:])
        prefill = {"role": "assistant", "content": said}
        asking = Prompt(model="", messages=(*prompt.messages, prefill), params=prompt.params)
        went_on = (await hear(local, asking)).reply.content
        assert went_on.startswith(rest), (said, rest, went_on)


async def test_too_long_a_prompt_is_a_context_overflow_told_without_the_prompt(local: LocalProvider) -> None:
    began = time.monotonic()
    heard = await hear(local, asked("secret " * 2 * CONTEXT))
    assert heard.chunks == []
    assert heard.error is not None
    assert heard.error.code == "context_overflow"
    assert "secret" not in heard.error.detail and str(CONTEXT) in heard.error.detail
    assert time.monotonic() - began < 30  # and not for the time that a death is waited for
    assert (await hear(local, exact("hi", max_tokens=3))).error is None


async def test_replies_follow_each_other_at_once(local: LocalProvider) -> None:
    """llama.cpp closes a connection after a stream: whoever uses it again meets its end, about once in four times."""
    heard = [await hear(local, exact("hi", max_tokens=1)) for _ in range(20)]
    assert [each.error for each in heard] == [None] * 20


async def test_it_has_one_model_under_its_own_name(local: LocalProvider) -> None:
    assert await local.models() == [MODEL]
    assert local.accepts(MODEL) and local.accepts("") and not local.accepts("gpt-5")


async def test_proxies_of_the_environment_do_not_stand_before_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    async with LocalProvider(slots=1, context=256) as behind_a_proxy:
        assert (await hear(behind_a_proxy, exact("hi", max_tokens=2))).error is None


# --- turns, and leaving ------------------------------------------------------------------------------------------


async def test_leaving_frees_the_model_at_once(local: LocalProvider) -> None:
    """Else what still writes for those who left would have both slots, for many seconds."""
    for _ in range(2 * SLOTS):
        async with aclosing(local.stream(ENDLESS)) as reads:
            await anext(reads)
            began = time.monotonic()
        assert time.monotonic() - began < 2, "closing waits for nobody"
    async with asyncio.timeout(10):
        assert (await hear(local, exact("hi", max_tokens=2))).error is None


async def test_who_comes_when_all_slots_are_taken_waits_for_a_turn_or_leaves(local: LocalProvider) -> None:
    running = [local.stream(ENDLESS) for _ in range(SLOTS)]
    for reads in running:
        await anext(reads)
    waiting = [asyncio.create_task(hear(local, exact("hi", max_tokens=2))) for _ in range(3)]
    await anext(running[0])  # the model is at work, and for none of them
    assert not any(task.done() for task in waiting)
    waiting[0].cancel()  # the first in the line
    await asyncio.wait({waiting[0]})
    assert waiting[0].cancelled()
    await running[0].aclose()  # one slot, for two
    async with asyncio.timeout(20):
        heard = await asyncio.gather(*waiting[1:])
    assert [each.error for each in heard] == [None, None]
    await anext(running[1])  # which went on all the time
    await running[1].aclose()
