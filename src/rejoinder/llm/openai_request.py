"""What the asynchronous and the synchronous client share: what is sent, and what is made of an answer."""

from base64 import b64encode
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

import msgspec

from rejoinder import __version__
from rejoinder.abc import Prompt
from rejoinder.entities import JsonObject
from rejoinder.errors import Misconfigured, ProviderError
from rejoinder.llm.http_client import place
from rejoinder.llm.upstream_errors import lenient_json
from rejoinder.settings import Settings

OFFICIAL = "https://api.openai.com/v1"
DEFAULT_MODEL = "gpt-5-mini"
"""On the official API, where no model is named."""
KEYLESS = "no-key"
"""What is sent where no key is set: servers of one's own ask for none, but the SDK does."""
UNCOMPRESSED = {"accept-encoding": "identity"}
"""A compressed stream is held back until a block of it is full."""

ECHO, SHORT_ECHO = 24, 6
"""Characters: an error repeats the prompt with so many in a row of a message, or with a whole one no shorter."""


def headers_of(key: str, organization: str | None) -> dict[str, str]:
    """Of every request. Raises Misconfigured for an organization that cannot stand in a header."""
    organization = _for_a_header(organization, "OPENAI_ORG_ID holds characters that no organization has.")
    headers = {
        "accept": "text/event-stream, application/json",
        "authorization": f"Bearer {key}",
        "content-type": "application/json",
        "user-agent": f"Rejoinder/{__version__}",
        **UNCOMPRESSED,
    }
    return headers | ({"openai-organization": organization} if organization else {})


def proxy_of(address: str) -> tuple[str | None, dict[str, str]]:
    """The proxy that the environment names for an address, and the headers for it. Read once, since it is read from files too."""
    url = urlsplit(address)
    named = getproxies()
    proxy = named.get(url.scheme) or named.get("all")
    if not proxy or (url.hostname and proxy_bypass(url.hostname)):
        return None, {}
    parts = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
    if parts.username is None:
        return parts.geturl(), {}
    said = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    bare = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
    return bare, {"proxy-authorization": f"Basic {b64encode(said.encode()).decode()}"}


def request_body(prompt: Prompt, model: str, *, stream: bool, include_usage: bool = True) -> bytes:
    """The very bytes that go upstream."""
    body: JsonObject = {"model": model, "messages": prompt.messages, **prompt.params}
    if stream:
        body["stream"] = True
        if include_usage:
            body["stream_options"] = {"include_usage": True}
    return msgspec.json.encode(body)


def configured(settings: Settings) -> tuple[str | None, str | None]:
    """The key and the base URL of the settings, of which there must be one. Raises Misconfigured."""
    key = settings.openai_api_key.get_secret_value() if settings.openai_api_key else None
    if not key and not settings.openai_base_url:
        raise Misconfigured(
            "An `openai` model needs OPENAI_API_KEY, or OPENAI_BASE_URL for another OpenAI-compatible API. "
            "REJOINDER_MODEL=local needs neither."
        )
    return key, settings.openai_base_url


def checked_base_url(base_url: str | None) -> str:
    """Raises Misconfigured. Without one it is the official API."""
    base_url = (base_url or OFFICIAL).strip()
    if not base_url.startswith(("http://", "https://")):
        raise Misconfigured(f"OPENAI_BASE_URL must begin with http:// or https://, and is {base_url!r}.")
    try:
        place(base_url)
    except ValueError:
        raise Misconfigured(f"OPENAI_BASE_URL is no address: {base_url!r}.") from None
    return base_url


def checked_key(api_key: str | None) -> str:
    """Raises Misconfigured for what cannot stand in a header. Without a key it is `KEYLESS`."""
    return _for_a_header(api_key, "OPENAI_API_KEY holds characters that no key has.") or KEYLESS


def _for_a_header(text: str | None, unfit: str) -> str:
    """Raises Misconfigured, in the words of `unfit`, for what cannot stand in a header."""
    text = (text or "").strip()
    if not text.isascii() or not text.isprintable():
        raise Misconfigured(unfit)
    return text


def secrets(api_key: str) -> tuple[str, ...]:
    return () if api_key == KEYLESS else (api_key,)


def decode_models(body: bytes) -> list[str]:
    """The names in an answer of `GET /models`, at least one. Raises ProviderError."""
    listed = lenient_json(body)
    models = listed.get("data") if isinstance(listed, dict) else None
    names = [model.get("id") for model in models or () if isinstance(model, dict)]
    if not (found := [name for name in names if isinstance(name, str) and name]):
        raise ProviderError("upstream_unavailable", "The upstream lists no models: name one.")
    return found


def is_whole(content_type: str) -> bool:
    """Whether an answer is one JSON body, not a stream. Raises ProviderError where it is no answer of such an API."""
    if "html" in content_type:
        raise ProviderError("upstream_malformed", "The upstream answered with a web page: is its base URL right?")
    return content_type.startswith("application/json")


def without_prompt(error: ProviderError, prompt: Prompt) -> ProviderError:
    """The error without the upstream's words where those repeat the prompt."""
    sentence, _, said = error.detail.partition(": ")
    windows = {said[at : at + ECHO] for at in range(len(said) - ECHO + 1)}
    for text in _texts(prompt):
        if (len(text) >= SHORT_ECHO and text in said) or any(window in text for window in windows):
            return error.saying(f"{sentence}.")
    return error


def _texts(prompt: Prompt) -> Iterator[str]:
    for message in prompt.messages:
        content: Any = message.get("content")
        parts = content if isinstance(content, list) else [{"text": content}]
        for part in parts:
            text = part.get("text") if isinstance(part, dict) else None
            if isinstance(text, str):
                yield " ".join(text.split())  # as `quoted` shows what an upstream says
