"""The same API through the SDK's synchronous client, for scripts. One request, one client: it keeps no connections."""

from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from itertools import chain
from typing import TYPE_CHECKING, Any, cast

from msgspec import structs

from rejoinder.abc import Chunk, Completion, Prompt
from rejoinder.errors import ProviderError
from rejoinder.llm.chat_completions import StreamDecoder, decode_completion
from rejoinder.llm.completions import chunks_of
from rejoinder.llm.openai_request import (
    DEFAULT_MODEL,
    OFFICIAL,
    UNCOMPRESSED,
    checked_base_url,
    checked_key,
    configured,
    decode_models,
    is_whole,
    request_body,
    secrets,
    without_prompt,
)
from rejoinder.llm.refused import Refusals
from rejoinder.settings import Settings

if TYPE_CHECKING:
    import httpx2
    import openai


class SyncOpenAI:
    def __init__(self, settings: Settings, name: str = "openai") -> None:
        account = configured(settings, name)
        self._key = checked_key(account.key, name)
        self._base_url = checked_base_url(account.base_url, name)
        self._organization = account.organization
        self._settings = settings
        self._secrets = secrets(self._key)
        self._refusals = Refusals()

    def stream(self, prompt: Prompt) -> Generator[Sequence[Chunk], None, None]:
        """As `Provider.stream`. Silence for longer than the setting for the first token is an error here too."""
        with self._asked(prompt, stream=True) as response:
            decoder = StreamDecoder(self._secrets)
            with closing(cast("Generator[bytes, None, None]", response.iter_bytes())) as reads:
                begun = next(reads, b"")
                if is_whole(response.headers.get("content-type", ""), begun):
                    yield chunks_of(decode_completion(b"".join((begun, *reads)), self._secrets))
                    return
                for data in chain((begun,), reads):
                    if chunks := decoder.feed(data):
                        yield chunks
                    if decoder.finished or decoder.done or decoder.fault:
                        break  # usage, which may follow, is of no use here
            decoder.finish()

    def complete(self, prompt: Prompt) -> Completion:
        with self._asked(prompt, stream=False) as response:
            return decode_completion(response.read(), self._secrets)

    @contextmanager
    def _asked(self, prompt: Prompt, *, stream: bool) -> Iterator["httpx2.Response"]:
        """The answer to a prompt: its body is unread. Raises every fault, also of reading it, as ProviderError."""
        from rejoinder.llm.openai_errors import FAULTS, provider_error

        began = False
        try:
            with self._client() as client:
                named = structs.replace(prompt, model=prompt.model or self._default(client))
                with closing(self._answer(client, named, stream=stream)) as response:
                    began = True
                    yield response
        except FAULTS as fault:
            raise provider_error(fault, began=began, secrets=self._secrets) from fault
        except ProviderError as error:
            safe = without_prompt(error, prompt)
            if safe is error:
                raise
            raise safe from None

    def _answer(self, client: "openai.OpenAI", prompt: Prompt, *, stream: bool) -> "httpx2.Response":
        """Of a request that is made again without what is refused of its form, as long as a refusal tells something new."""
        import httpx2
        import openai

        from rejoinder.llm.openai_errors import provider_error

        while True:
            try:
                answer = client.post(
                    "/chat/completions",
                    content=request_body(prompt, prompt.model, stream=stream, refused=self._refusals.of(prompt.model)),
                    cast_to=httpx2.Response,
                    options={"headers": UNCOMPRESSED},
                    stream=True,  # leaves the body unread
                    stream_cls=openai.Stream[Any],
                )
            except openai.APIStatusError as refusal:
                if not self._refusals.learn(provider_error(refusal, secrets=self._secrets), prompt):
                    raise
            else:
                return cast("httpx2.Response", answer)

    def _client(self) -> "openai.OpenAI":
        import httpx2
        import openai

        settings = self._settings
        return openai.OpenAI(
            api_key=self._key,
            base_url=self._base_url,
            organization=self._organization,
            max_retries=0,
            timeout=httpx2.Timeout(settings.first_token_timeout, connect=settings.connect_timeout),
        )

    def _default(self, client: "openai.OpenAI") -> str:
        import httpx2

        if self._base_url.rstrip("/") == OFFICIAL:
            return DEFAULT_MODEL
        return decode_models(client.get("/models", cast_to=httpx2.Response).content, self._secrets)[0]
