"""A prompt from a script, without a server: `rejoinder.ask("…")` asks a model and gives its reply, whole or streamed.

Chat Completions APIs are asked through the SDK's synchronous client. Other providers are asynchronous: they run in an event
loop of their own in a thread, so that this also works where a loop is running already, as in a notebook.
"""

import asyncio
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import aclosing, closing, suppress
from queue import SimpleQueue
from threading import Thread
from typing import Any, Literal, overload

from rejoinder.abc import Chunk, Completion, FinishChunk, Prompt, Provider, TextChunk
from rejoinder.entities import JsonObject
from rejoinder.errors import ProviderError
from rejoinder.llm import open_provider
from rejoinder.llm.completions import chunks_of
from rejoinder.settings import Settings


@overload
def ask(
    prompt: str | Sequence[JsonObject],
    *,
    model: str | None = None,
    system: str | None = None,
    stream: Literal[False] = False,
    settings: Settings | None = None,
    **params: Any,
) -> str: ...


@overload
def ask(
    prompt: str | Sequence[JsonObject],
    *,
    model: str | None = None,
    system: str | None = None,
    stream: Literal[True],
    settings: Settings | None = None,
    **params: Any,
) -> Iterator[str]: ...


def ask(
    prompt: str | Sequence[JsonObject],
    *,
    model: str | None = None,
    system: str | None = None,
    stream: bool = False,
    settings: Settings | None = None,
    **params: Any,
) -> str | Iterator[str]:
    """The reply to a prompt: its text, or with `stream` an iterator over pieces of it.

    `prompt` is a text, or a list of Chat Completions messages; `params` are Chat Completions parameters. `model` is
    named as in REJOINDER_MODEL (`openai:gpt-…`, `local`), which is the default. Closing the iterator closes the
    connection. Without `settings` they are those of the environment; `.env` is the service's. Raises
    ProviderError, when the reply fails, and Misconfigured.
    """
    settings = settings or Settings.from_environment()
    name = model or settings.models()[0]
    prefix, _, own = name.partition(":")
    asked = Prompt(model=own, messages=tuple(_messages(prompt, system)), params=params)
    if settings.is_api(prefix):
        from rejoinder.llm.openai_sync import SyncOpenAI

        client = SyncOpenAI(settings, prefix)
        return _texts(client.stream(asked)) if stream else _text(client.complete(asked))
    said = _texts(_in_a_thread(open_provider(name, settings), asked))
    return said if stream else "".join(said)


def _messages(prompt: str | Sequence[JsonObject], system: str | None) -> Iterator[JsonObject]:
    if system is not None:
        yield {"role": "system", "content": system}
    yield from [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt


def _texts(reads: Generator[Sequence[Chunk], None, None]) -> Iterator[str]:
    with closing(reads):
        for chunks in reads:
            if text := "".join(_contents(chunks)):
                yield text


def _text(completion: Completion) -> str:
    return "".join(_contents(chunks_of(completion)))


def _contents(chunks: Iterable[Chunk]) -> Iterator[str]:
    for chunk in chunks:
        if isinstance(chunk, TextChunk) and chunk.part == "content":
            yield chunk.text
        elif isinstance(chunk, FinishChunk) and chunk.reason == "content_filter":
            raise ProviderError("content_filtered", "The upstream withheld the rest of this reply.")


def _in_a_thread(provider: Provider, prompt: Prompt) -> Generator[Sequence[Chunk], None, None]:
    """What the provider yields. Leaving cancels it, and waits until it has closed."""
    reads: SimpleQueue[Sequence[Chunk] | BaseException | None] = SimpleQueue()
    begun: SimpleQueue[tuple[asyncio.AbstractEventLoop, asyncio.Task[None]] | None] = SimpleQueue()

    async def relay() -> None:
        task = asyncio.current_task()
        assert task is not None
        begun.put((asyncio.get_running_loop(), task))
        async with provider, aclosing(provider.stream(prompt)) as stream:
            async for chunks in stream:
                reads.put(chunks)

    def run() -> None:
        work = relay()
        try:
            asyncio.run(work)
        except BaseException as exc:  # noqa: BLE001 - raised where it is waited for
            reads.put(exc)
        else:
            reads.put(None)
        finally:
            work.close()
            begun.put(None)  # where there was no event loop to be had, it has not begun

    thread = Thread(target=run, name="rejoinder.ask", daemon=True)
    thread.start()
    running = begun.get()
    try:
        while (read := reads.get()) is not None:
            if isinstance(read, BaseException):
                raise read
            yield read
    finally:
        with suppress(RuntimeError):  # the loop has closed: it had ended by itself
            if running is not None:
                loop, task = running
                loop.call_soon_threadsafe(task.cancel)
        thread.join()
