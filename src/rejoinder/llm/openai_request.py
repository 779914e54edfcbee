"""What the asynchronous and the synchronous client share: what is sent, and what is made of an answer."""

from base64 import b64encode
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

import msgspec
from msgspec import Struct
from pydantic import SecretStr

from rejoinder import __version__
from rejoinder.abc import Prompt
from rejoinder.entities import JsonObject
from rejoinder.errors import Misconfigured, ProviderError
from rejoinder.llm.forms import messages_for, params_for
from rejoinder.llm.http_client import place
from rejoinder.llm.refused import Refused
from rejoinder.llm.upstream_errors import error_from_chunk, lenient_json
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
BLOCK = ECHO // 2


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


def request_body(prompt: Prompt, model: str, *, stream: bool, refused: Refused | None = None) -> bytes:
    """The very bytes that go upstream."""
    refused = refused or Refused()
    body: JsonObject = {"model": model, "messages": messages_for(prompt, refused), **params_for(prompt, refused)}
    if stream:
        body["stream"] = True
        if not refused.usage:
            body["stream_options"] = {"include_usage": True}
    return msgspec.json.encode(body)


class Account(Struct, frozen=True):
    """Where an API is asked, and as who."""

    base_url: str | None
    """None: the official API."""
    key: str | None
    organization: str | None = None


def configured(settings: Settings, name: str) -> Account:
    """That of the upstream whose models are named by `name`. Raises Misconfigured."""
    if name in settings.upstreams:
        return Account(settings.upstreams[name], _secret(settings.upstream_keys.get(name)))
    if not settings.openai_api_key and not settings.openai_base_url:
        raise Misconfigured(
            "An `openai` model needs OPENAI_API_KEY, or OPENAI_BASE_URL for another OpenAI-compatible API. "
            "REJOINDER_MODEL=local needs neither."
        )
    return Account(settings.openai_base_url, _secret(settings.openai_api_key), settings.openai_organization)


def _secret(said: SecretStr | None) -> str | None:
    return said.get_secret_value() if said else None


def checked_base_url(base_url: str | None, name: str) -> str:
    """Raises Misconfigured. Without one it is the official API."""
    base_url = (base_url or OFFICIAL).strip()
    setting = "OPENAI_BASE_URL" if name == "openai" else f"The address of {name} in REJOINDER_UPSTREAMS"
    if not base_url.startswith(("http://", "https://")):
        raise Misconfigured(f"{setting} must begin with http:// or https://.")
    try:
        place(base_url)
    except ValueError:
        raise Misconfigured(
            f"{setting} is no address (what is no letter, digit or one of -._~ in a user or a password is written as %XX)."
        ) from None
    if "@" in urlsplit(base_url).netloc:
        raise Misconfigured(
            f"{setting} holds a name or a password, which would not be sent: {_key_setting(name)} is for that."
        )
    return base_url


def checked_key(api_key: str | None, name: str) -> str:
    """Raises Misconfigured for what cannot stand in a header. Without a key it is `KEYLESS`."""
    return _for_a_header(api_key, f"{_key_setting(name)} holds characters that no key has.") or KEYLESS


def _key_setting(name: str) -> str:
    return "OPENAI_API_KEY" if name == "openai" else f"REJOINDER_UPSTREAM_KEYS ({name})"


def _for_a_header(text: str | None, unfit: str) -> str:
    """Raises Misconfigured, in the words of `unfit`, for what cannot stand in a header."""
    text = (text or "").strip()
    if not text.isascii() or not text.isprintable():
        raise Misconfigured(unfit)
    return text


def secrets(api_key: str) -> tuple[str, ...]:
    return () if api_key == KEYLESS else (api_key,)


def decode_models(body: bytes, secrets: Sequence[str] = ()) -> list[str]:
    """The names in an answer of `GET /models`, at least one. Raises ProviderError."""
    listed = lenient_json(body)
    if isinstance(listed, dict) and listed.get("error"):  # with a 200: LM Studio, of a path that it does not know
        raise error_from_chunk(listed, secrets=secrets)
    if isinstance(listed, dict) and "data" in listed:
        listed = listed["data"] or []  # Ollama's are null where it has none
    if not isinstance(listed, list):
        raise ProviderError(
            "upstream_malformed", "The upstream does not list its models: is its base URL right? If so, name a model."
        )
    names = [model.get("id") for model in listed if isinstance(model, dict)]
    if not (found := [name for name in names if isinstance(name, str) and name]):
        raise ProviderError("upstream_unavailable", "The upstream lists no models: name one.")
    return found


def is_whole(content_type: str, begun: bytes) -> bool:
    """Whether an answer that has begun so is one JSON body, not a stream. Raises ProviderError where it is no answer of such an API."""
    if "html" in content_type:
        raise ProviderError("upstream_malformed", "The upstream answered with a web page: is its base URL right?")
    first = begun.lstrip(b"\xef\xbb\xbf \t\r\n")[:1]
    # By what it is, since servers and proxies name it wrongly. No line of a stream begins with a bracket.
    return first in (b"{", b"[") if first else content_type.startswith("application/json")


def without_prompt(error: ProviderError, prompt: Prompt) -> ProviderError:
    """The error without the upstream's words where those repeat the prompt."""
    sentence, _, said = error.detail.partition(": ")
    # So many in a row hold a whole block of half as many. A long conversation is searched for few blocks, not for all windows.
    blocks = range(0, len(said) - BLOCK + 1, BLOCK)
    windows = {at: [said[start : start + ECHO] for start in range(max(0, at - BLOCK + 1), at + 1)] for at in blocks}
    for text in _texts(prompt):
        if len(text) >= SHORT_ECHO and text in said:
            return error.saying(f"{sentence}.")
        for at in blocks:
            if said[at : at + BLOCK] in text and any(len(w) == ECHO and w in text for w in windows[at]):
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
