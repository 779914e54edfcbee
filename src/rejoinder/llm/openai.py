"""Any OpenAI-compatible Chat Completions API, over HTTP.

`http_client` makes the request and keeps the connections; the bytes of the answer are decoded by `chat_completions`. The
official SDK, which stands behind `rejoinder.ask`, costs a millisecond of CPU a request and a layer for each read more, and
adds nothing that this service wants: its retries would be attempts that nobody recorded (docs/decisions/0004-the-hot-path.md).
Each time that an upstream is asked is one call here.
"""

import asyncio
import contextlib
import math
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Self

from msgspec import structs

from rejoinder.abc import ChunkStream, Completion, Prompt, Provider
from rejoinder.errors import ProviderError
from rejoinder.llm.answer_stream import AnswerStream, rest_of
from rejoinder.llm.chat_completions import decode_completion
from rejoinder.llm.http_answer import Answer
from rejoinder.llm.http_client import HttpClient
from rejoinder.llm.openai_request import (
    DEFAULT_MODEL,
    OFFICIAL,
    checked_base_url,
    checked_key,
    decode_models,
    headers_of,
    proxy_of,
    request_body,
    secrets,
    without_prompt,
)
from rejoinder.llm.refused import Refusals
from rejoinder.llm.upstream_errors import error_from_body, retry_after
from rejoinder.llm.windows import known_window

LISTED_FOR = 60.0
"""Seconds for which the upstream's list of models is taken to be right."""
UNLISTED_FOR = 10.0
"""Seconds for which it is not asked for again after it could not be had, but for a reply: that is tried again sooner."""
LISTING = 10.0
"""Seconds that it may take."""
REFUSED, REFUSING = 1 << 20, 5.0
"""Bytes of a refusal that are read, and seconds for which they are waited for."""


class OpenAIProvider(Provider):
    """`default_model` "" is `gpt-5-mini` on the official API, and elsewhere the first model that the upstream lists.

    `read_timeout` is the longest silence in seconds; None leaves that to the caller, who can cancel. What has been refused of
    the form of a request the same model is asked without from then on.
    `embedded` is for a server of our own: past the proxies of the environment, and a connection for each prompt, since
    llama.cpp closes one after a stream although it has promised to keep it.
    """

    def __init__(
        self,
        api_key: str | None = None,
        base_url: str | None = None,
        organization: str | None = None,
        default_model: str = "",
        *,
        name: str = "openai",
        connect_timeout: float = 10,
        read_timeout: float | None = None,
        embedded: bool = False,
    ) -> None:
        self.name = name
        key = checked_key(api_key, name)
        self._address = checked_base_url(base_url, name).rstrip("/")
        self._default = default_model or (DEFAULT_MODEL if self._address == OFFICIAL else "")
        self._refusals = Refusals()
        proxy, proxy_headers = (None, {}) if embedded else proxy_of(self._address)
        self._client = HttpClient(
            self._address,
            headers_of(key, organization),
            proxy=proxy,
            proxy_headers=proxy_headers,
            connect_timeout=connect_timeout,
            silence=read_timeout,
            keep=not embedded,
        )
        self._secrets = secrets(key)
        self._listed: tuple[float, list[str] | ProviderError] | None = None
        """What was listed last, and when."""
        self._listing = asyncio.Lock()
        self._encoded: tuple[Prompt, bytes] | None = None
        """The prompt whose `body` was asked for last: it is asked next, and may be long."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._client.close()

    async def prepare(self, prompt: Prompt) -> Prompt:
        if prompt.model:
            return prompt
        return structs.replace(prompt, model=self._default or (await self._upstream_models(0))[0])

    def body(self, prompt: Prompt) -> bytes:
        body = request_body(prompt, prompt.model, stream=True, refused=self._refusals.of(prompt.model))
        self._encoded = (prompt, body)
        return body

    def stream(self, prompt: Prompt) -> ChunkStream:
        return AnswerStream(lambda: self._asked(prompt, stream=True), self._secrets)

    async def complete(self, prompt: Prompt) -> Completion:
        async with self._asked(prompt, stream=False) as answer:
            return decode_completion(await rest_of(answer), self._secrets)

    def window(self, model: str) -> int | None:
        return known_window(model or self._default)

    async def models(self) -> list[str]:
        try:
            listed = await self._upstream_models(UNLISTED_FOR)
        except ProviderError:
            if not self._default:
                raise
            listed = []
        return list(dict.fromkeys(([self._default] if self._default else []) + listed))

    @asynccontextmanager
    async def _asked(self, prompt: Prompt, *, stream: bool) -> AsyncIterator[Answer]:
        """The answer to a prompt: its body is unread. Leaving closes the connection unless the body has ended."""
        prompt = await self.prepare(prompt)
        body = self._body_of(prompt, stream=stream)
        try:
            async with self._client.ask("POST", "/chat/completions", body) as answer:
                await self._check(answer)
                yield answer
        except ProviderError as error:
            if self._refusals.learn(error, prompt):
                error.before_reply = True  # in the other form it may well be answered
            safe = without_prompt(error, prompt)
            if safe is error:
                raise
            raise safe from None

    def _body_of(self, prompt: Prompt, *, stream: bool) -> bytes:
        encoded, self._encoded = self._encoded, None
        if stream and encoded is not None and encoded[0] is prompt:
            return encoded[1]
        return request_body(prompt, prompt.model, stream=stream, refused=self._refusals.of(prompt.model))

    async def _check(self, answer: Answer) -> None:
        """Raises ProviderError for one that is a refusal."""
        if answer.status >= 300:
            raise await _refusal(answer, self._secrets)

    async def _upstream_models(self, unlisted_for: float) -> list[str]:
        """At least one. Raises ProviderError, also one that was met less than so long before this was called."""
        called = time.monotonic()
        async with self._listing:
            at, listed = self._listed or (-math.inf, [])
            lasting = unlisted_for if isinstance(listed, ProviderError) else LISTED_FOR
            if at + lasting <= called:
                try:
                    listed = await self._list()
                except ProviderError as error:
                    error.refused = True  # whatever it was, it never had the prompt
                    listed = error
                self._listed = (time.monotonic(), listed)
        if isinstance(listed, ProviderError):
            raise listed.saying(listed.detail)
        return listed

    async def _list(self) -> list[str]:
        try:
            async with asyncio.timeout(LISTING), self._client.ask("GET", "/models") as answer:
                await self._check(answer)
                return decode_models(await rest_of(answer), self._secrets)
        except TimeoutError:
            raise ProviderError("upstream_timeout", "The upstream did not list its models in time.") from None


async def _refusal(answer: Answer, secrets: Sequence[str]) -> ProviderError:
    """What an answer with an error's status says."""
    body = b""
    with contextlib.suppress(ProviderError, TimeoutError):  # the status says enough
        async with asyncio.timeout(REFUSING):
            while len(body) < REFUSED and (data := await answer.read()):
                body += data
    return error_from_body(answer.status, body, retry_after=retry_after(answer.headers), secrets=secrets)
