"""Any OpenAI-compatible Chat Completions API, through the official SDK's client.

The SDK makes the request and keeps the connections (over aiohttp, which is two to four times cheaper than its default);
the bytes of the answer are decoded by `chat_completions`, since a model object for each chunk costs more than all else
together. The SDK's own retries are off: each time that an upstream is asked is one call here.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import TYPE_CHECKING, Any, Self, cast

from msgspec import structs

from rejoinder.abc import Chunk, Completion, Prompt, Provider
from rejoinder.errors import ProviderError
from rejoinder.llm.chat_completions import StreamDecoder, chunks_of, decode_completion
from rejoinder.llm.openai_request import (
    DEFAULT_MODEL,
    OFFICIAL,
    UNCOMPRESSED,
    checked_base_url,
    checked_key,
    decode_models,
    is_whole,
    request_body,
    secrets,
    without_prompt,
)
from rejoinder.llm.windows import known_window

if TYPE_CHECKING:
    import httpx2

LISTED_FOR = 60.0
"""Seconds for which the upstream's list of models is taken to be right."""
UNLISTED_FOR = 10.0
"""Seconds for which it is not asked for again after it could not be had."""
LISTING = 10.0
"""Seconds that it may take."""
KEEPALIVE = 30.0
"""Seconds for which an idle connection is kept: chats pause for so long, and proxies forget after a minute."""
CONNECTIONS = 100_000
"""More than a process has replies: its limits are set where replies begin, not where they would wait unseen."""
AFTER_FINISH = 5.0
"""Seconds that a reply which has finished waits for its usage and its end."""
AFTER_DONE = 0.1
"""Seconds that a connection waits for the end of its last answer, to be used again."""


class OpenAIProvider(Provider):
    """`default_model` "" is `gpt-5-mini` on the official API, and elsewhere the first model that the upstream lists.

    `read_timeout` is the longest silence in seconds; None leaves that to the caller, who can cancel. `include_usage`
    False leaves out `stream_options`, for servers that refuse it.
    `embedded` is for a server of our own: past the proxies of the environment, and a connection for each prompt, since
    llama.cpp closes one after a stream although it has promised to keep it.
    """

    name = "openai"

    def __init__(
        self,
        api_key: str | None = None,
        base_url: str | None = None,
        organization: str | None = None,
        default_model: str = "",
        *,
        connect_timeout: float = 10,
        read_timeout: float | None = None,
        include_usage: bool = True,
        embedded: bool = False,
    ) -> None:
        self._key = checked_key(api_key)
        self._base_url = checked_base_url(base_url)
        self._organization = organization
        self._default = default_model or (DEFAULT_MODEL if self._base_url.rstrip("/") == OFFICIAL else "")
        self._connect_timeout = connect_timeout
        self._read_timeout = read_timeout
        self._include_usage = include_usage
        self._embedded = embedded
        self._headers = UNCOMPRESSED | ({"connection": "close"} if embedded else {})
        self._secrets = secrets(self._key)
        self._listed: tuple[float, list[str] | ProviderError] = (0, [])
        self._listing = asyncio.Lock()

    async def __aenter__(self) -> Self:
        import httpx2  # with the SDK it takes most of a second, which whoever uses another provider need not wait for
        import openai

        timeout = httpx2.Timeout(self._read_timeout, connect=self._connect_timeout, pool=self._connect_timeout)
        limits = httpx2.Limits(max_connections=CONNECTIONS, keepalive_expiry=KEEPALIVE)
        self._client = openai.AsyncOpenAI(
            api_key=self._key,
            base_url=self._base_url,
            organization=self._organization,
            max_retries=0,
            timeout=timeout,
            http_client=openai.DefaultAioHttpClient(timeout=timeout, limits=limits, trust_env=not self._embedded),
        )
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._client.close()

    async def prepare(self, prompt: Prompt) -> Prompt:
        model = prompt.model or self._default or (await self._upstream_models())[0]
        return structs.replace(prompt, model=model)

    def body(self, prompt: Prompt) -> bytes:
        return request_body(prompt, prompt.model, stream=True, include_usage=self._include_usage)

    async def stream(self, prompt: Prompt) -> AsyncGenerator[Sequence[Chunk], None]:
        async with self._asked(prompt, stream=True) as response:
            if is_whole(response.headers.get("content-type", "")):  # the upstream does not stream
                yield chunks_of(decode_completion(await _rest(response), self._secrets))
                return
            decoder = StreamDecoder(self._secrets)
            async with aclosing(_reads(response, decoder)) as reads:
                async for data in reads:
                    if chunks := decoder.feed(data):
                        yield chunks
            decoder.finish()

    async def complete(self, prompt: Prompt) -> Completion:
        async with self._asked(prompt, stream=False) as response:
            return decode_completion(await _rest(response), self._secrets)

    def window(self, model: str) -> int | None:
        return known_window(model or self._default)

    async def models(self) -> list[str]:
        try:
            listed = await self._upstream_models()
        except ProviderError:
            if not self._default:
                raise
            listed = []
        return list(dict.fromkeys(([self._default] if self._default else []) + listed))

    @asynccontextmanager
    async def _asked(self, prompt: Prompt, *, stream: bool) -> AsyncIterator["httpx2.Response"]:
        """The answer to a prompt: its body is unread. Leaving closes the connection unless the body has ended."""
        import httpx2
        import openai

        prompt = await self.prepare(prompt)
        body = request_body(prompt, prompt.model, stream=stream, include_usage=self._include_usage)
        response: httpx2.Response | None = None
        try:
            request = self._client.post(
                "/chat/completions",
                content=body,
                cast_to=httpx2.Response,
                options={"headers": self._headers},
                stream=True,  # leaves the body unread; it is given out as it is asked for, and not as an AsyncStream
                stream_cls=openai.AsyncStream[Any],
            )
            response = await _unless_faulty(cast("Awaitable[httpx2.Response]", request), self._secrets)
            yield response
        except ProviderError as error:
            safe = without_prompt(error, prompt)
            if safe is error:
                raise
            raise safe from None
        finally:
            if response is not None:
                await _close(response)

    async def _upstream_models(self) -> list[str]:
        """At least one. Raises ProviderError."""
        async with self._listing:
            until, listed = self._listed
            if time.monotonic() >= until:
                try:
                    listed = await self._list()
                except ProviderError as error:
                    listed = error
                lasting = UNLISTED_FOR if isinstance(listed, ProviderError) else LISTED_FOR
                self._listed = (time.monotonic() + lasting, listed)
        if isinstance(listed, ProviderError):
            raise ProviderError(listed.code, listed.detail, before_reply=listed.before_reply)
        return listed

    async def _list(self) -> list[str]:
        import httpx2

        try:
            async with asyncio.timeout(LISTING):
                response = await _unless_faulty(self._client.get("/models", cast_to=httpx2.Response), self._secrets)
        except TimeoutError:
            raise ProviderError("upstream_timeout", "The upstream did not list its models in time.") from None
        return decode_models(response.content)


async def _unless_faulty(request: Awaitable["httpx2.Response"], secrets: Sequence[str]) -> "httpx2.Response":
    from rejoinder.llm.openai_errors import FAULTS, provider_error

    try:
        response = await request
    except FAULTS as fault:
        raise provider_error(fault, secrets=secrets) from fault
    return response


async def _reads(response: "httpx2.Response", decoder: StreamDecoder) -> AsyncGenerator[bytes, None]:
    """What each read of the body brings, until the decoder knows that it is the end, or the upstream ends it."""
    from rejoinder.llm.openai_errors import FAULTS, provider_error

    async with aclosing(response.aiter_bytes()) as body:
        try:
            while not (decoder.finished or decoder.done or decoder.fault):
                yield await anext(body)
        except StopAsyncIteration:
            return
        except FAULTS as fault:
            raise provider_error(fault, began=True) from fault
        if decoder.fault:
            return
        # The reply is whole. What still comes (its usage) is welcome, and what goes wrong now does not spoil it.
        until = asyncio.get_running_loop().time() + AFTER_FINISH
        with contextlib.suppress(StopAsyncIteration, *FAULTS):
            while not decoder.done and decoder.fault is None:
                async with asyncio.timeout_at(until):
                    data = await anext(body)
                yield data
            async with asyncio.timeout(AFTER_DONE):
                await anext(body)


async def _rest(response: "httpx2.Response") -> bytes:
    from rejoinder.llm.openai_errors import FAULTS, provider_error

    try:
        return await response.aread()
    except FAULTS as fault:
        raise provider_error(fault, began=True) from fault


async def _close(response: "httpx2.Response") -> None:
    from rejoinder.llm.openai_errors import FAULTS

    with contextlib.suppress(*FAULTS):  # there is nobody left who wants to know
        await response.aclose()
