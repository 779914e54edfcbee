"""Any OpenAI-compatible Chat Completions API, over HTTP.

aiohttp makes the request and keeps the connections; the bytes of the answer are decoded by `chat_completions`. The official
SDK, which stands behind `rejoinder.ask`, costs a millisecond of CPU a request and a layer for each read more, and adds
nothing that this service wants: its retries would be attempts that nobody recorded (docs/decisions/0004-the-hot-path.md).
Each time that an upstream is asked is one call here.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import TYPE_CHECKING, Self

from msgspec import structs

from rejoinder.abc import Chunk, Completion, Prompt, Provider
from rejoinder.errors import ProviderError
from rejoinder.llm.chat_completions import StreamDecoder, chunks_of, decode_completion
from rejoinder.llm.openai_request import (
    DEFAULT_MODEL,
    OFFICIAL,
    checked_base_url,
    checked_key,
    decode_models,
    headers_of,
    is_whole,
    proxy_of,
    request_body,
    secrets,
    without_prompt,
)
from rejoinder.llm.windows import known_window

if TYPE_CHECKING:
    import aiohttp

LISTED_FOR = 60.0
"""Seconds for which the upstream's list of models is taken to be right."""
UNLISTED_FOR = 10.0
"""Seconds for which it is not asked for again after it could not be had."""
LISTING = 10.0
"""Seconds that it may take."""
KEEPALIVE = 30.0
"""Seconds for which an idle connection is kept: chats pause for so long, and proxies forget after a minute."""
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
        key = checked_key(api_key)
        self._address = checked_base_url(base_url).rstrip("/")
        self._default = default_model or (DEFAULT_MODEL if self._address == OFFICIAL else "")
        self._connect_timeout = connect_timeout
        self._read_timeout = read_timeout
        self._include_usage = include_usage
        self._headers = headers_of(key, organization) | ({"connection": "close"} if embedded else {})
        # aiohttp would look for a proxy at each request, in a thread.
        self._proxy, self._proxy_headers = (None, {}) if embedded else proxy_of(self._address)
        if self._address.startswith("http://"):
            # A proxy that passes plain requests on reads its headers there, any other with the request for a tunnel.
            self._headers |= self._proxy_headers
            self._proxy_headers = {}
        self._secrets = secrets(key)
        self._listed: tuple[float, list[str] | ProviderError] = (0, [])
        self._listing = asyncio.Lock()
        self._encoded: tuple[Prompt, bytes] | None = None
        """The prompt whose `body` was asked for last: it is asked next, and may be long."""

    async def __aenter__(self) -> Self:
        import aiohttp  # takes a while, which whoever uses another provider need not wait for

        # Nobody waits unseen for a connection: limits are set where replies begin.
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEPALIVE)
        timeout = aiohttp.ClientTimeout(total=None, connect=self._connect_timeout, sock_read=self._read_timeout)
        self._session = aiohttp.ClientSession(
            connector=connector,
            timeout=timeout,
            cookie_jar=aiohttp.DummyCookieJar(),
        )
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._session.close()

    async def prepare(self, prompt: Prompt) -> Prompt:
        if prompt.model:
            return prompt
        return structs.replace(prompt, model=self._default or (await self._upstream_models())[0])

    def body(self, prompt: Prompt) -> bytes:
        body = request_body(prompt, prompt.model, stream=True, include_usage=self._include_usage)
        self._encoded = (prompt, body)
        return body

    async def stream(self, prompt: Prompt) -> AsyncGenerator[Sequence[Chunk], None]:
        async with self._asked(prompt, stream=True) as response:
            if is_whole(response.headers.get("content-type", "")):  # the upstream does not stream
                yield chunks_of(decode_completion(await rest_of(response), self._secrets))
                return
            decoder = StreamDecoder(self._secrets)
            async with aclosing(_reads(response, decoder)) as reads:
                async for data in reads:
                    if chunks := decoder.feed(data):
                        yield chunks
            decoder.finish()

    async def complete(self, prompt: Prompt) -> Completion:
        async with self._asked(prompt, stream=False) as response:
            return decode_completion(await rest_of(response), self._secrets)

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
    async def _asked(self, prompt: Prompt, *, stream: bool) -> AsyncIterator["aiohttp.ClientResponse"]:
        """The answer to a prompt: its body is unread. Leaving closes the connection unless the body has ended."""
        body = self._body_of(await self.prepare(prompt), stream=stream)
        try:
            async with self._answered("POST", "/chat/completions", body) as response:
                yield response
        except ProviderError as error:
            safe = without_prompt(error, prompt)
            if safe is error:
                raise
            raise safe from None

    def _body_of(self, prompt: Prompt, *, stream: bool) -> bytes:
        encoded, self._encoded = self._encoded, None
        if stream and encoded is not None and encoded[0] is prompt:
            return encoded[1]
        return request_body(prompt, prompt.model, stream=stream, include_usage=self._include_usage)

    @asynccontextmanager
    async def _answered(
        self, method: str, path: str, body: bytes | None = None
    ) -> AsyncIterator["aiohttp.ClientResponse"]:
        """An answer that is no refusal, its body unread. Raises ProviderError."""
        from rejoinder.llm.http_faults import FAULTS, provider_error, refusal

        try:
            response = await self._session.request(
                method,
                self._address + path,
                data=body,
                headers=self._headers,  # the session's own would go to the proxy as well, the key among them
                proxy=self._proxy,
                proxy_headers=self._proxy_headers,
            )
        except FAULTS as fault:
            raise provider_error(fault) from fault
        try:
            if response.status >= 400:
                raise await refusal(response, self._secrets)
            yield response
        finally:
            response.close()

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
        try:
            async with asyncio.timeout(LISTING), self._answered("GET", "/models") as response:
                return decode_models(await rest_of(response))
        except TimeoutError:
            raise ProviderError("upstream_timeout", "The upstream did not list its models in time.") from None


async def _reads(response: "aiohttp.ClientResponse", decoder: StreamDecoder) -> AsyncGenerator[bytes, None]:
    """What each read of the body brings, until the decoder knows that it is the end, or the upstream ends it."""
    from rejoinder.llm.http_faults import FAULTS, provider_error

    read = response.content.readany
    try:
        while not (decoder.finished or decoder.done or decoder.fault):
            if not (data := await read()):
                return
            yield data
    except FAULTS as fault:
        raise provider_error(fault, began=True) from fault
    if decoder.fault:
        return
    # The reply is whole. What still comes (its usage) is welcome, and what goes wrong now does not spoil it.
    until = asyncio.get_running_loop().time() + AFTER_FINISH
    with contextlib.suppress(*FAULTS):
        while not decoder.done and decoder.fault is None:
            async with asyncio.timeout_at(until):
                data = await read()
            if not data:
                return
            yield data
        async with asyncio.timeout(AFTER_DONE):
            await read()


async def rest_of(response: "aiohttp.ClientResponse") -> bytes:
    """The whole body. Raises ProviderError."""
    from rejoinder.llm.http_faults import FAULTS, provider_error

    try:
        return await response.read()
    except FAULTS as fault:
        raise provider_error(fault, began=True) from fault
