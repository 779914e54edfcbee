"""One reply's life where several things happen at once: its models say what a test wants, and its store fails where a test wants it."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from itertools import chain
from typing import Any, Self, TypeAlias

import pytest

from chat_service import chat_over
from rejoinder.abc import (
    Append,
    AppendResult,
    Chunk,
    ChunkStream,
    Completion,
    FinishChunk,
    Lease,
    Prompt,
    Provider,
    Row,
    TextChunk,
    UsageChunk,
)
from rejoinder.chat.asked import AnotherReply, Send, Turn
from rejoinder.chat.ids import new_session_id
from rejoinder.chat.service import Chat
from rejoinder.chat.sessions import NewSession
from rejoinder.entities import Key, Message, Status, Usage
from rejoinder.errors import ProviderError, StoreUnavailable
from rejoinder.events import MessageEnded, fact
from rejoinder.fold import fold
from rejoinder.stores.memory import MemoryStore

Reads: TypeAlias = AsyncGenerator[Sequence[Chunk], None]
Says: TypeAlias = Callable[[], Reads]
Step: TypeAlias = Sequence[Chunk] | float | asyncio.Event | Exception
STOP = [FinishChunk("stop")]
GONE = ProviderError("upstream_incomplete", "gone")
FOREVER = 30.0


def says(*steps: Step) -> Says:
    """A model that says chunks, waits for so many seconds or for an event, or fails, one after the other."""

    async def reads() -> Reads:
        for step in steps:
            match step:
                case float():
                    await asyncio.sleep(step)
                case asyncio.Event():
                    await step.wait()
                case Exception():
                    raise step
                case chunks:
                    yield chunks

    return reads


def words(*texts: str) -> list[Chunk]:
    return [TextChunk("content", text) for text in texts]


def call(name: str, arguments: str = "") -> list[Chunk]:
    return [TextChunk("tool_call", arguments, 0, f"call_{name}", name)]


class Told(Provider):
    """Models by name, each a generator of what it says."""

    name = "told"

    def __init__(self, models: Mapping[str, Says]) -> None:
        self._models = models
        self.asked: list[str] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None: ...

    async def prepare(self, prompt: Prompt) -> Prompt:
        return prompt

    def body(self, prompt: Prompt) -> bytes:
        return b"{}"

    def stream(self, prompt: Prompt) -> ChunkStream:
        self.asked.append(prompt.model)
        return ChunkStream(self._models[prompt.model]())

    async def complete(self, prompt: Prompt) -> Completion:
        raise NotImplementedError

    async def models(self) -> list[str]:
        return list(self._models)


class Faulty(MemoryStore):
    """`fails` may raise for a commit, and `held` holds those back that are done."""

    def __init__(self) -> None:
        super().__init__()
        self.fails: Callable[[Sequence[Append]], None] = lambda _: None
        self.held: Callable[[Sequence[Append]], bool] = lambda _: False
        self.go_on = asyncio.Event()
        self.holding = asyncio.Event()

    async def append(
        self, lease: Lease, number: int, appends: Sequence[Append], *, acknowledged: int = 0
    ) -> list[AppendResult]:
        self.fails(appends)
        results = await super().append(lease, number, appends, acknowledged=acknowledged)
        if self.held(appends):
            self.holding.set()
            await self.go_on.wait()
        return results


def away(_: Sequence[Append]) -> None:
    raise StoreUnavailable("away")


def chatting(
    models: Mapping[str, Says], store: MemoryStore | None = None, **settings: Any
) -> AbstractAsyncContextManager[Chat]:
    usual = {"store_patience": 0.3, "retries": 0, "retry_wait": 0.01}
    return chat_over(store or MemoryStore(), Told(models), **usual | settings)


async def asked(chat: Chat, *models: str) -> tuple[Key, Turn]:
    key = Key("o", new_session_id())
    await chat.sessions.create(key, NewSession(model=tuple(f"told:{model}" for model in models)))
    return key, await chat.send(key, None, Send(content="hi"))


async def ended(chat: Chat, key: Key, turn: Turn) -> Message:
    """The reply at its end. What was told of it on the way folds to it."""
    async with asyncio.timeout(10):
        await chat.following.ended(key, turn.reply.id, turn.after)
    reply = await chat.history.message(key, turn.reply.id)
    events = await chat.store.events(key, after=0)
    before_its_end = [event for event in events if event.type != "message.ended"]
    folded = fold(before_its_end).messages[reply.id]
    assert (folded.content, folded.tool_calls) == (reply.content, reply.tool_calls), "no reader missed a character"
    assert [attempt.model for attempt in folded.attempts] == [attempt.model for attempt in reply.attempts]
    return reply


async def test_a_call_that_a_model_had_only_begun_is_none_of_the_next_ones() -> None:
    a = says(call("delete_all"), 0.05, GONE)
    b = says(words("All is well."), STOP)
    async with chatting({"a": a, "b": b}) as chat:
        reply = await ended(chat, *await asked(chat, "a", "b"))
    assert (reply.content, reply.tool_calls, reply.finish_reason) == ("All is well.", (), "stop")


async def test_the_thoughts_of_a_model_that_failed_are_none_of_the_next_ones() -> None:
    a = says([TextChunk("reasoning", "Hm.")], 0.05, GONE)
    b = says([TextChunk("reasoning", "Well.")], words("Yes."), STOP)
    async with chatting({"a": a, "b": b}) as chat:
        reply = await ended(chat, *await asked(chat, "a", "b"))
    assert (reply.reasoning, reply.content) == ("Well.", "Yes.")


async def test_a_prompt_that_cannot_be_made_while_the_turn_is_committed_is_made_behind_it() -> None:
    class Away(MemoryStore):
        away = False

        async def branch(self, key: Key, tip: str, *, low: int, high: int) -> list[Row]:
            if self.away:
                self.away = False
                raise StoreUnavailable("away")
            return await super().branch(key, tip, low=low, high=high)

    store = Away()
    async with chatting({"a": says(words("yes"), STOP)}, store) as chat:
        key, turn = await asked(chat, "a")
        await ended(chat, key, turn)
        store.away = True
        again = await chat.send(key, None, Send(content="and now?"))
        assert not store.away
        assert (await ended(chat, key, again)).content == "yes"


async def test_another_reply_is_asked_of_the_models_of_the_session_unless_it_names_others() -> None:
    provider = {name: says(words(name), STOP) for name in ("a", "b", "c")}
    async with chatting(provider) as chat:
        key, turn = await asked(chat, "b")
        await ended(chat, key, turn)
        for model, wanted in ((None, "b"), ("told:c", "c")):
            another = await chat.reply(key, None, AnotherReply(to=turn.message.id, model=model))
            assert (await ended(chat, key, another)).content == wanted


async def test_a_stop_beside_the_telling_of_another_attempt_loses_no_text() -> None:
    go, store = asyncio.Event(), Faulty()
    a = says(words("one "), go, words("two "), GONE)
    b = says(FOREVER)
    async with chatting({"a": a, "b": b}, store) as chat:
        key, turn = await asked(chat, "a", "b")
        await asyncio.sleep(0.1)
        # A commit is on its way (a slow disk); meanwhile comes the stop, and then the fault.
        store.held = lambda _: not store.go_on.is_set()
        other = asyncio.create_task(chat.sessions.create(Key("o", new_session_id()), NewSession()))
        await store.holding.wait()
        stop = asyncio.create_task(chat.stopping.stop(key, turn.reply.id))
        await asyncio.sleep(0.05)
        go.set()
        await asyncio.sleep(0.05)
        store.go_on.set()
        await asyncio.gather(stop, other)
        reply = await ended(chat, key, turn)
    assert (reply.status, reply.content) == (Status.STOPPED, "one two ")


async def test_a_shutdown_in_the_telling_of_another_attempt_ends_what_was_told() -> None:
    store = Faulty()
    store.held = lambda appends: any(draft.type == "message.reset" for each in appends for draft in each.drafts)
    a = says(words("one two "), 0.05, GONE)
    b = says(FOREVER)
    async with chatting({"a": a, "b": b}, store) as chat:
        key, turn = await asked(chat, "a", "b")
        await store.holding.wait()
        draining = asyncio.create_task(chat.drain(0))
        await asyncio.sleep(0.05)
        store.go_on.set()
        await draining
        reply = await ended(chat, key, turn)
    assert (reply.status, reply.content, len(reply.attempts)) == (Status.INTERRUPTED, "", 2)


async def test_a_reply_of_which_a_part_could_not_be_written_ends_as_far_as_the_log_has_it() -> None:
    store = Faulty()

    def fails(appends: Sequence[Append]) -> None:
        if any(b"two" in draft.data and draft.type == "message.delta" for each in appends for draft in each.drafts):
            raise RuntimeError("a fault that the store does not know")

    a = says(words("one "), 0.1, words("two "), 0.1, words("three "), 0.1, STOP)
    well = says(words("fine"), STOP)
    store.fails = fails
    async with chatting({"a": a, "well": well}, store) as chat:
        reply = await ended(chat, *await asked(chat, "a"))
        assert (await ended(chat, *await asked(chat, "well"))).content == "fine", "the others are written on"
    assert (reply.status, reply.content) == (Status.FAILED, "one ")
    assert reply.error is not None
    assert reply.error.code == "internal_error"


async def test_what_cannot_even_be_encoded_ends_its_reply_alone() -> None:
    a = says(words("one "), 0.1, call("half of a pair: \ud83d"), FOREVER)
    well = says(words("fine"), STOP)
    async with chatting({"a": a, "well": well}) as chat:
        key, turn = await asked(chat, "a")
        await asyncio.sleep(0.3)
        assert (await ended(chat, *await asked(chat, "well"))).content == "fine"
        reply = await chat.stop(key, turn.reply.id)
    assert (reply.status, reply.content) == (Status.STOPPED, "one ")


async def test_a_reply_that_has_finished_is_whole_whatever_goes_wrong_behind_it() -> None:
    a = says(words("The whole answer."), STOP, FOREVER)
    b = says(words("Another."), STOP)
    async with chatting({"a": a, "b": b}, stall_timeout=0.2) as chat:
        reply = await ended(chat, *await asked(chat, "a", "b"))
    assert (reply.status, reply.content, len(reply.attempts)) == (Status.COMPLETED, "The whole answer.", 1)


async def test_usage_that_is_told_as_nothing_before_the_end_is_estimated() -> None:
    nothing = UsageChunk(Usage(input_tokens=0, output_tokens=0, source="provider"))
    a = says([*words("four words are here"), nothing], FOREVER)
    async with chatting({"a": a}) as chat:
        key, turn = await asked(chat, "a")
        await asyncio.sleep(0.1)
        usage = (await chat.stopping.stop(key, turn.reply.id)).usage
    assert usage is not None
    assert (usage.output_tokens, usage.source) == (5, "estimated")


async def test_calls_without_number_are_bounded_as_text_is() -> None:
    a = says(*([TextChunk("tool_call", "{}", number, f"call_{number}", "f")] for number in range(10_000)), STOP)
    async with chatting({"a": a}, max_reply=1 << 16) as chat:
        reply = await ended(chat, *await asked(chat, "a"))
    assert reply.error is not None
    assert (reply.error.code, len(reply.tool_calls) < 300) == ("reply_too_long", True)


async def test_a_stop_that_the_store_does_not_take_is_not_waited_for_without_end() -> None:
    store = Faulty()
    a = says(words("one "), FOREVER)
    async with chatting({"a": a}, store) as chat:
        key, turn = await asked(chat, "a")
        await asyncio.sleep(0.1)
        store.fails = away
        async with asyncio.timeout(5):
            with pytest.raises(StoreUnavailable):
                await chat.stop(key, turn.reply.id)
        store.fails = lambda _: None
        assert (await ended(chat, key, turn)).status is Status.STOPPED, "the order stands once the store takes it"


async def test_a_shutdown_while_the_store_is_away_gives_the_lease_back() -> None:
    store = Faulty()
    a = says(words("one "), 0.1, words("two "), FOREVER)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("rejoinder.chat.replies.END_SECONDS", 0.2)
        async with chatting({"a": a}, store, after_crash="continue") as chat:
            await asked(chat, "a")
            await asyncio.sleep(0.05)
            store.fails = away
            await asyncio.sleep(0.2)
    assert not store._leases


async def left_behind(store: MemoryStore, replies: int, *pieces: str) -> list[tuple[Key, Turn]]:
    """Replies that their worker left open with these pieces in the log."""
    steps: Iterator[Step] = chain.from_iterable((words(piece), 0.05) for piece in pieces)
    a = says(*steps, FOREVER)
    async with chatting({"a": a}, store, after_crash="restart") as chat:
        left = [await asked(chat, "a") for _ in range(replies)]
        await asyncio.sleep(0.3)
    return left


@pytest.mark.parametrize(("after_crash", "content"), [("restart", "anew"), ("interrupt", "one two ")])
async def test_what_a_dead_worker_spent_is_counted_and_its_attempt_has_its_error(
    after_crash: str, content: str
) -> None:
    store = MemoryStore()
    [(key, turn)] = await left_behind(store, 1, "one ", "two ")
    told = UsageChunk(Usage(input_tokens=100, output_tokens=1, source="provider"))
    a = says(words("anew"), [*STOP, told])
    async with chatting({"a": a}, store, after_crash=after_crash) as chat:
        reply = await ended(chat, key, turn)
    assert reply.content == content
    assert reply.usage is not None
    assert reply.usage.source == "estimated"
    assert reply.usage.output_tokens == 2 + (after_crash == "restart")
    assert reply.usage.input_tokens > 100 * (after_crash == "restart")
    assert reply.attempts[0].error is not None
    assert reply.attempts[0].error.code == "server_restarted"


async def test_what_each_dead_worker_spent_is_counted_also_where_its_attempt_said_nothing() -> None:
    store, silent, speaking = MemoryStore(), says(FOREVER), says(words("anew"), STOP)
    async with chatting({"a": silent}, store, after_crash="restart") as chat:
        key, turn = await asked(chat, "a")
        await asyncio.sleep(0.05)
    async with chatting({"a": silent}, store, after_crash="restart"):
        await asyncio.sleep(0.05)
    async with chatting({"a": speaking}, store, after_crash="restart") as chat:
        reply = await ended(chat, key, turn)
        once = await ended(chat, *await asked(chat, "a"))
    assert reply.usage is not None and once.usage is not None
    assert len(reply.attempts) == 3
    assert reply.usage.input_tokens == 3 * once.usage.input_tokens


async def test_the_ends_of_a_dead_workers_replies_do_not_each_wait_for_company(monkeypatch: pytest.MonkeyPatch) -> None:
    store, now = MemoryStore(), asyncio.get_running_loop().time
    await left_behind(store, 20, "one ")
    monkeypatch.setattr("rejoinder.chat.writer.EACH", 0.04)
    began = now()
    async with chatting({"a": says(FOREVER)}, store):
        assert now() - began < 10 * 0.04
    assert not await store.orphans(1)


@pytest.mark.parametrize("after_crash", ["interrupt", "restart", "continue"])
async def test_a_log_that_does_not_fold_ends_with_what_does_and_is_in_nobodys_way(after_crash: str) -> None:
    store = MemoryStore()
    (broken, turn), (whole, other) = await left_behind(store, 2, "one ", "two ", "three ")
    events = store._logs[broken].events
    del events[[event.type for event in events].index("message.delta", 5) + 1]
    a = says(words("anew"), STOP)
    async with chatting({"a": a}, store, after_crash=after_crash) as chat:
        assert (await ended(chat, whole, other)).content
        async with asyncio.timeout(5):
            await chat.following.ended(broken, turn.reply.id, 0)
        [said] = [fact(event) for event in await store.events(broken, after=0) if event.type == "message.ended"]
    assert isinstance(said, MessageEnded)
    assert (said.message.status, said.message.content) == (Status.INTERRUPTED, "one ")
