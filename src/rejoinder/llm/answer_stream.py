"""The answer to a prompt as a stream of chunks: what each read of its body brings, decoded, and whether it was whole."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AbstractAsyncContextManager

from rejoinder.abc import Chunk, ChunkStream, LifeChunk, TextChunk
from rejoinder.errors import ProviderError
from rejoinder.llm.chat_completions import StreamDecoder, decode_completion
from rejoinder.llm.completions import chunks_of
from rejoinder.llm.http_answer import Answer
from rejoinder.llm.openai_request import is_whole

WHOLE = 64 << 20
"""Bytes of a body that is not a stream at most."""
AFTER_FINISH = 5.0
"""Seconds that a reply which has finished waits for its usage and its end."""
AFTER_DONE = 0.1
"""Seconds that a connection waits for the end of its last answer, to be used again."""

LIFE = (LifeChunk(),)


class AnswerStream(ChunkStream):
    """`ask` makes the request: its answer is there, unread, inside `async with`. `secrets` are redacted from what errors say."""

    def __init__(self, ask: Callable[[], AbstractAsyncContextManager[Answer]], secrets: Sequence[str]) -> None:
        super().__init__(self._read())
        self._ask = ask
        self._secrets = secrets
        self._answer: Answer | None = None
        """Once it has come, if it is a stream."""
        self._decoder = StreamDecoder(secrets)

    def ready(self) -> Sequence[Chunk] | None:
        if self._answer is None or not self._goes_on:
            return None
        data = self._answer.ready()
        if not data:
            return None if data is None else ()
        try:
            return self._decoder.feed(data) or LIFE
        except ProviderError:  # which the decoder remembers
            return None

    @property
    def pieces(self) -> int:
        return self._decoder.events

    @property
    def _goes_on(self) -> bool:
        decoder = self._decoder
        return not (decoder.finished or decoder.done or decoder.fault)

    async def _read(self) -> AsyncGenerator[Sequence[Chunk], None]:
        async with self._ask() as answer:
            data = await answer.read()
            if is_whole(answer.headers.get("content-type", ""), data):  # the upstream does not stream
                yield chunks_of(decode_completion(data + await rest_of(answer), self._secrets))
                return
            self._answer, decoder = answer, self._decoder
            while data:
                yield decoder.feed(data) or LIFE
                data = await answer.read() if self._goes_on else b""
            loop = asyncio.get_running_loop()
            until = loop.time() + AFTER_FINISH
            while not (decoder.done or decoder.fault) and (data := await _extra(answer, until)):
                if chunks := decoder.feed(data):
                    yield chunks
                    # Some servers tell of a finish at once, or with each event (Open WebUI): it is none as long as text comes.
                    if any(isinstance(chunk, TextChunk) for chunk in chunks):
                        until = loop.time() + AFTER_FINISH
            if not decoder.fault:
                await _extra(answer, loop.time() + AFTER_DONE)
            decoder.finish()


async def _extra(answer: Answer, until: float) -> bytes:
    """What comes behind a reply that is whole: its usage, and the end, b"". What goes wrong now does not spoil it, and ends it too."""
    with contextlib.suppress(ProviderError, TimeoutError):
        async with asyncio.timeout_at(until):
            return await answer.read()
    return b""


async def rest_of(answer: Answer) -> bytes:
    """The whole body. Raises ProviderError."""
    body = bytearray()
    while data := await answer.read():
        body += data
        if len(body) > WHOLE:
            raise ProviderError("upstream_malformed", "The upstream sent an answer without end.")
    return bytes(body)
