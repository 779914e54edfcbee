"""What the asynchronous and the synchronous client share: what is sent, and what is made of an answer."""

import re
from base64 import b64encode
from collections.abc import Iterator, Sequence
from hashlib import blake2b
from typing import Any
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

import msgspec
from msgspec import Struct
from pydantic import SecretStr

from rejoinder import __version__
from rejoinder.abc import REASONING, REASONING_DETAILS, Prompt
from rejoinder.entities import JsonObject
from rejoinder.errors import Misconfigured, ProviderError
from rejoinder.llm.http_client import place
from rejoinder.llm.refused import EXTRAS, Refused
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

PLAIN_ID = re.compile("[a-zA-Z0-9]{9}")
"""An id of a tool call that every upstream takes: Mistral no other one."""


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


UNSIGNED = {EXTRAS: {"google": {"thought_signature": "skip_thought_signature_validator"}}}
"""What Gemini takes with a call that it has not made itself."""


UNTHOUGHT = {REASONING: " "}
"""What a reply is sent with that came without reasoning, or from another model, where none may be missing: "" is as good as missing."""

SYSTEM = ("system", "developer")
"""Roles of messages by which the service and its user's front-end speak to the model."""


def request_body(prompt: Prompt, model: str, *, stream: bool, refused: Refused | None = None) -> bytes:
    """The very bytes that go upstream."""
    refused = refused or Refused()
    body: JsonObject = {"model": model, "messages": _messages(prompt, refused), **_limited(prompt.params, refused)}
    if stream:
        body["stream"] = True
        if not refused.usage:
            body["stream_options"] = {"include_usage": True}
    return msgspec.json.encode(body)


def _messages(prompt: Prompt, refused: Refused) -> Sequence[JsonObject]:
    messages: Sequence[JsonObject] = prompt.messages
    if refused.reasoning:
        messages = [UNTHOUGHT | message if message["role"] == "assistant" else message for message in messages]
    else:
        messages = [_without(REASONING, message) for message in messages]
    if refused.details:
        messages = [_without(REASONING_DETAILS, message) for message in messages]
    if refused.blank:
        messages = [message | {"content": None} if _is_blank(message) else message for message in messages]
    if refused.system:
        messages = [message | {"role": "user"} if message["role"] in SYSTEM else message for message in messages]
    if refused.turns or refused.system:
        messages = _in_turn(messages)
    if refused.bridges:
        messages = _bridged(messages)
    if refused.extras or refused.signatures:
        messages = [_signed_otherwise(message, refused) for message in messages]
    if refused.ids:
        messages = [_with_plain_ids(message) for message in messages]
    return messages


def _limited(params: JsonObject, refused: Refused) -> JsonObject:
    """The parameters with the limit of the reply under the name that the model takes."""
    old, new = "max_tokens", "max_completion_tokens"
    if refused.max_completion_tokens:
        old, new = new, old
    elif not refused.max_tokens:
        return params
    limit = params.get(new, params.get(old))
    return _without(old, params) | {new: limit} if old in params else params


def _without(field: str, said: JsonObject) -> JsonObject:
    return {name: value for name, value in said.items() if name != field} if field in said else said


def _is_blank(message: JsonObject) -> bool:
    return "tool_calls" in message and message.get("content") == ""


def _signed_otherwise(message: JsonObject, refused: Refused) -> JsonObject:
    calls = message.get("tool_calls")
    if not calls:
        return message
    if refused.extras:
        signed = [_without(EXTRAS, call) for call in calls]
    else:
        # Of calls that were made at once Gemini signs the first.
        signed = calls if any(EXTRAS in call for call in calls) else [calls[0] | UNSIGNED, *calls[1:]]
    return message | {"tool_calls": signed}


def _with_plain_ids(message: JsonObject) -> JsonObject:
    if calls := message.get("tool_calls"):
        return message | {"tool_calls": [call | {"id": _plain_id(call["id"])} for call in calls]}
    return message | {"tool_call_id": _plain_id(message["tool_call_id"])} if "tool_call_id" in message else message


def _plain_id(call_id: str) -> str:
    """Always the same for the same, so that calls and their results still belong together."""
    return call_id if PLAIN_ID.fullmatch(call_id) else blake2b(call_id.encode()).hexdigest()[:9]


def _in_turn(messages: Sequence[JsonObject]) -> list[JsonObject]:
    """The messages, with those of the user that follow one another made one. (A reply between them had said nothing.)"""
    turns: list[JsonObject] = []
    for message in messages:
        if turns and message["role"] == turns[-1]["role"] == "user":
            turns[-1] = {"role": "user", "content": _joined(turns[-1]["content"], message["content"])}
        else:
            turns.append(message)
    return turns


def _bridged(messages: Sequence[JsonObject]) -> list[JsonObject]:
    """The messages, with a reply between results of tools and what the user said after them."""
    bridged: list[JsonObject] = []
    for message in messages:
        if bridged and (bridged[-1]["role"], message["role"]) == ("tool", "user"):
            bridged.append({"role": "assistant", "content": "…"})
        bridged.append(message)
    return bridged


def _joined(first: Any, second: Any) -> str | list[JsonObject]:
    if isinstance(first, str) and isinstance(second, str):
        return f"{first}\n\n{second}"
    parts = [
        [{"type": "text", "text": content}] if isinstance(content, str) else content for content in (first, second)
    ]
    return [*parts[0], *parts[1]]


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
