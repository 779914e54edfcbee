"""A small language model inside the service: no key, no account, no download at run time.

It is SmolLM2 (135 million parameters), which chats and cannot be relied on for facts: it is there so that a first start
answers, and so that everything can be tried and tested with a model that is real. llama.cpp runs it in a child process and
serves Chat Completions on loopback; so what speaks to it is the provider that speaks to every such API.
"""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from typing import Self

from msgspec import Struct

from rejoinder.abc import Chunk, ChunkStream, Completion, Prompt, Provider
from rejoinder.errors import ProviderError
from rejoinder.llm.completions import completion_of
from rejoinder.llm.local_process import ModelProcess, usable_threads
from rejoinder.llm.local_prompt import MODEL, as_asked
from rejoinder.llm.model_files import ModelFiles, find_model
from rejoinder.llm.openai import OpenAIProvider
from rejoinder.llm.openai_request import request_body

logger = logging.getLogger(__name__)

SETTLE = 1.0
"""Seconds for the death of a child to be known once its connections are cut."""
CUT = frozenset({"upstream_unavailable", "upstream_incomplete"})
"""What a dying child looks like from its connections."""

SILENCE, IMPATIENCE = 30.0, 10.0
"""Seconds without a sign of life after which a child that is asked hangs, and after which who leaves it need not say so. It sends the
head of its answer at once and then pings every second, also while it reads a prompt; a machine that swaps may take longer."""
SILENT = frozenset({"upstream_timeout", "upstream_stalled"})
"""What a child that hangs looks like from its connections."""


class _Child(Struct, frozen=True):
    """A model that is loaded, and the client that asks it."""

    process: ModelProcess
    client: OpenAIProvider

    async def close(self) -> None:
        await self.process.stop()
        await self.client.__aexit__()


class LocalProvider(Provider):
    """Runs the model as long as it is open, and again after a crash or where it hangs.

    `threads` 0 takes what the machine has. `slots` replies are written at once, further ones wait for their turn; each has room for
    `context` tokens, prompt and reply together, at 23 KB a token (4 x 4,096: 380 MB). `find` says where the model is.

    A last message by the assistant is a prefill: the reply goes on exactly where it ends, white space included, and only what is new
    is streamed. A prefill of "" would spoil the prompt and is left out; two assistant messages at the end are refused upstream.
    """

    name = "local"

    def __init__(
        self, threads: int = 0, *, slots: int = 4, context: int = 4096, find: Callable[[], ModelFiles] = find_model
    ) -> None:
        self._threads = threads or usable_threads()
        self._slots = slots
        self._context = context
        self._find = find

    async def __aenter__(self) -> Self:
        """Returns before the model has loaded: the first prompts wait for it. Raises Misconfigured where it is not installed."""
        self._files = self._find()
        self._turn = asyncio.Semaphore(self._slots)
        self._closed = False
        self._loading = asyncio.create_task(self._load(None), name="loading the local model")
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._closed = True
        self._loading.cancel()
        await asyncio.wait({self._loading})
        if child := _outcome(self._loading):
            await child.close()

    async def prepare(self, prompt: Prompt) -> Prompt:
        return as_asked(prompt)

    def body(self, prompt: Prompt) -> bytes:
        return request_body(prompt, prompt.model, stream=True)

    def prefills(self, model: str) -> bool:
        return True

    def stream(self, prompt: Prompt) -> ChunkStream:
        return ChunkStream(self._read(as_asked(prompt)))

    async def complete(self, prompt: Prompt) -> Completion:
        # Streamed, since llama.cpp writes on when the reader of an unstreamed reply leaves, and repeats a prefill in it.
        async with aclosing(self.stream(prompt)) as reads:
            return completion_of([chunk async for chunks in reads for chunk in chunks])

    async def models(self) -> list[str]:
        return [MODEL]

    def accepts(self, model: str) -> bool:
        return model in ("", MODEL)

    def window(self, model: str) -> int | None:
        return self._context

    async def _read(self, asked: Prompt) -> AsyncGenerator[Sequence[Chunk], None]:
        async with self._turn:
            child = await self._ready()
            since = time.monotonic()
            try:
                async with aclosing(child.client.stream(asked)) as reads:
                    async for chunks in reads:
                        yield chunks
                        since = time.monotonic()
            except ProviderError as error:
                await self._examine(child, error)
                raise
            except asyncio.CancelledError:
                if time.monotonic() - since > IMPATIENCE:
                    _give_up(child)
                raise

    async def _examine(self, child: _Child, error: ProviderError) -> None:
        """So that whoever asks next does not meet the same child where it dies or hangs."""
        if error.code in SILENT:
            _give_up(child)
        elif error.code in CUT and child.process.alive and await child.process.exited(SETTLE):
            logger.error("the local model died; the next prompt loads it again")  # its last words are in the log

    async def _ready(self) -> _Child:
        """The model, loaded again where it has died or did not load: once for all who wait, and never by itself.

        So a model that cannot be loaded costs one attempt for each prompt at most. Cancelling leaves the loading to the others.
        """
        if self._loading.done() and not self._closed:
            child = _outcome(self._loading)
            if child is None or not child.process.alive:
                self._loading = asyncio.create_task(self._load(child), name="loading the local model again")
        loading = self._loading
        await asyncio.wait({loading})
        if self._closed:
            raise ProviderError("upstream_unavailable", "The local model is being closed.", before_reply=True)
        return loading.result()

    async def _load(self, dead: _Child | None) -> _Child:
        if dead is not None:
            await dead.close()
        process = await ModelProcess.start(self._files, threads=self._threads, slots=self._slots, context=self._context)
        client = OpenAIProvider(
            process.key, f"{process.address}/v1", default_model=MODEL, read_timeout=SILENCE, embedded=True
        )
        try:
            return _Child(process, await client.__aenter__())
        except BaseException:
            await process.stop()
            raise


def _give_up(child: _Child) -> None:
    if child.process.alive:
        logger.error("the local model hangs and is stopped; the next prompt loads it again")
        child.process.kill()


def _outcome(loading: asyncio.Task[_Child]) -> _Child | None:
    """The model of a loading that has ended, where it brought one."""
    return None if loading.cancelled() or loading.exception() else loading.result()
