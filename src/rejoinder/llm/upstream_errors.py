"""What an upstream says when it gives no reply, as a ProviderError: by its HTTP status and by the code in its body.

Servers word one and the same fault in many ways; the patterns here are those of OpenAI, Azure, vLLM, llama.cpp, Ollama,
OpenRouter, Groq, Mistral, DeepSeek, xAI, and of Gemini's and Anthropic's compatible endpoints. What an upstream says is
quoted to the user, trimmed and without anything that looks like a key.
"""

import math
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Literal

import msgspec

from rejoinder.errors import ProviderError

MAX_QUOTE = 300
"""Characters of an upstream's own words that a user is shown."""

_KEY = re.compile(r"\b(?:sk|pk|rk|gsk|xai|hf)[-_][\w*…-]{4,}|\bBearer\s+[^\s,;\"']+|\bAIza[\w*-]{8,}", re.IGNORECASE)
_ECHO = re.compile(r"""['"]?\binput(?:_value)?['"]?\s*[:=]\s*['"\[{].*""", re.DOTALL)
"""Validators (pydantic's) repeat the value that they refuse, which is the prompt."""

_OVERFLOW = re.compile(
    r"context_length_exceeded|exceed_context_size|context[ _](?:length|window|size)|prompt is too long|prompt too long"
    r"|maximum (?:allowed )?(?:prompt|input|sequence|model) length|maximum allowed length|input is too long"
    r"|input token count.*(?:exceeds|supports)|prompt token count|too many (?:input )?tokens"
    r"|reduce the length of the (?:messages|prompt)|exceed context limit|exceeds max length"
    r"|range of input length|exceeded model token limit|tokens_limit_reached|inputs.? tokens \+ .?max_new_tokens",
    re.IGNORECASE,
)
_TOO_LARGE = re.compile(r"request too large\b.*\blimit \d+, requested \d", re.IGNORECASE)
"""More tokens than an account has in a minute (OpenAI, Groq): no waiting helps, but a shorter prompt does."""
_COUNT = r"(\d[\d,]{0,14})"
_WINDOW = re.compile(
    r"(?:context (?:length|window|size)|maximum (?:\w+ ){0,2}length|token limit|(?<!context )limit)"
    rf"\W{{0,2}}(?:(?:is|of) (?:only )?)?{_COUNT}"
    rf"|(?:n_ctx\W+|tokens allowed \(|up to |max size: |should be \[\d+, |> |<= ){_COUNT}"
    rf"|{_COUNT} maximum context length",
    re.IGNORECASE,
)
_ASKED = re.compile(
    r"(?:resulted in|requested(?: about| a total of)?:?|too long:|n_prompt_tokens\W+|n_keep:|count (?:of|\()|request \(|\(length|"
    r"input (?:length )?\(|(?:prompt|request) (?:contains|has)(?: at least)?|you passed|keep the first|exceed context limit:|but got|is)\s*"
    rf"{_COUNT}(?! tokens\. However)",
    re.IGNORECASE,
)
"""How servers say how long a prompt was and how long it may be."""

_KINDS = {
    code: re.compile(pattern, re.IGNORECASE)
    for code, pattern in {
        "content_filtered": r"content_filter|content_policy|responsibleai|moderation_blocked|data_inspection",
        "upstream_rate_limited": r"rate_limit|too_many_requests|insufficient_quota|resource_exhausted",
        "upstream_auth": r"invalid_api_key|authentication_error|permission_(?:error|denied)|unauthorized",
        "upstream_unavailable": r"model_not_found|not_found_error",
    }.items()
}
"""For codes and types, never for sentences."""

BUSY = (503, 529)
"""Statuses of an upstream that begins no reply just now."""

_BY_STATUS = {
    401: "upstream_auth",
    403: "upstream_auth",
    429: "upstream_rate_limited",
    # A gateway had no answer from the model in time. It may be at work all the same, so it is not asked again.
    408: "upstream_timeout",
    504: "upstream_timeout",
    524: "upstream_timeout",
}


def error_from_body(
    status: int, body: bytes, *, retry_after: float | None = None, secrets: Sequence[str] = ()
) -> ProviderError:
    """The error that an answer with this status means. `secrets` are redacted from whatever it says."""
    if status == 407:
        return error_on_the_way("proxy")
    payload = lenient_json(body)
    kind, message = _told(payload) if payload is not None else ("", "")
    code = _code(status, kind, message)
    said = quoted(message, secrets)
    sentence = _ELSEWHERE if status < 400 else _SENTENCES[code]
    if status == 404 and _NOTHING_THERE.fullmatch(said):
        said = "is its base URL right?"
    detail = f"{sentence} (HTTP {status})" + (f": {said}" if said else ".")
    before = code in ("upstream_rate_limited", "upstream_error") and (status == 429 or status >= 500)
    refused = 300 <= status < 500 and _BY_STATUS.get(status) != "upstream_timeout"
    asked, window = _sizes(code, body.decode(errors="replace"))
    return ProviderError(
        code, detail, before_reply=before, refused=refused, retry_after=retry_after, asked=asked, window=window
    )


def error_from_chunk(payload: Any, *, secrets: Sequence[str] = (), spoken: bool = False) -> ProviderError:
    """The error that a stream carries in place of a chunk: `{"error": …}`, or whatever came as `event: error`.

    Where nothing was `spoken` before it, it may be a refusal that comes behind a 200 (OpenRouter's).
    """
    kind, message = _told(payload)
    status = next((int(word) for word in kind.split() if word.isdecimal() and len(word) == 3), 500)
    code = _code(status, kind, message)
    said = quoted(message, secrets)
    before = not spoken and (code == "upstream_rate_limited" or status in BUSY)
    asked, window = _sizes(code, message)
    detail = _SENTENCES[code] + (f": {said}" if said else ".")
    return ProviderError(code, detail, before_reply=before, asked=asked, window=window)


def quoted(text: str, secrets: Sequence[str] = ()) -> str:
    """An upstream's words as a user may see them: one line, trimmed, without keys and without an echo of the prompt."""
    for secret in secrets:
        if secret:
            text = text.replace(secret, "[redacted]")
    text = _KEY.sub("[redacted]", _ECHO.sub("…", text[: 20 * MAX_QUOTE]))
    text = " ".join("".join(char if char.isprintable() else " " for char in text).split())
    return text if len(text) <= MAX_QUOTE else f"{text[:MAX_QUOTE].rstrip()}…"


def lenient_json(data: bytes) -> Any:
    """What a body holds, as JSON where it is JSON; None where it is not."""
    try:
        return msgspec.json.decode(data.decode("utf-8", "replace"))
    except (msgspec.DecodeError, RecursionError):
        return None


_SENTENCES = {
    "upstream_unavailable": "The upstream does not have what was asked for",
    "upstream_auth": "The upstream refused the key",
    "upstream_rate_limited": "The upstream takes no more requests for now",
    "upstream_timeout": "The upstream ran out of time",
    "upstream_error": "The upstream failed",
    "content_filtered": "The upstream's content filter refused the prompt",
    "context_overflow": "The conversation is too long for the model",
}

_ELSEWHERE = "The upstream sends elsewhere, where nothing is sent: is its base URL right?"
"""For a redirection: followed, it could take the key to another."""


_NOTHING_THERE = re.compile(r"(?:(?:file )?not found\.?)?", re.IGNORECASE)
"""What is said of a path that there is not. Of a model that there is not, its name is said."""


def _code(status: int, kind: str, message: str) -> str:
    """The code for a status, and for what the body says where the status leaves it open."""
    if _TOO_LARGE.search(message):
        return "context_overflow"
    if status in _BY_STATUS:
        return _BY_STATUS[status]
    if _OVERFLOW.search(kind) or _OVERFLOW.search(message):
        return "context_overflow"
    if 300 <= status < 400 or status == 404:
        return "upstream_unavailable"
    return next((code for code, pattern in _KINDS.items() if pattern.search(kind)), "upstream_error")


def _sizes(code: str, said: str) -> tuple[int | None, int | None]:
    """(asked, window) of an overflow, where both are told and make sense."""
    if code != "context_overflow" or not (window := _WINDOW.search(said)):
        return None, None
    most = _counted(window)
    asked = next((count for count in map(_counted, _ASKED.finditer(said)) if count > most), None)
    return asked, most or None


def _counted(found: re.Match[str]) -> int:
    """The tokens that a pattern has found."""
    return int(found[found.lastindex or 0].replace(",", "")[:12])


def _told(payload: Any) -> tuple[str, str]:
    """(code and type, message) of an error object, in any of its forms."""
    if isinstance(payload, list) and payload:
        payload = payload[0]  # Gemini's
    if isinstance(payload, dict) and payload.get("error"):
        inner = payload["error"]
        payload = inner if isinstance(inner, dict) else {**payload, "message": inner}
    elif isinstance(payload, dict) and isinstance(payload.get("errors"), list) and payload["errors"]:
        return _told(payload["errors"][0])  # Cloudflare's
    if not isinstance(payload, dict):
        return "", payload if isinstance(payload, str) else ""
    kinds = [str(payload[name]) for name in ("code", "type", "status") if payload.get(name) is not None]
    message = payload.get("message") or payload.get("detail") or payload.get("msg") or ""
    if isinstance(message, dict) and "detail" in message:
        message = message["detail"]  # Mistral's
    text = message if isinstance(message, str) else _listed(message)
    metadata = payload.get("metadata")
    if isinstance(metadata, dict) and isinstance(raw := metadata.get("raw"), str):
        text = f"{text}: {raw}"  # OpenRouter's, of what its provider said
    return " ".join(kinds), text


def _listed(detail: Any) -> str:
    """FastAPI's way to tell what is wrong with a request: where, and what, but not the value."""
    items = detail if isinstance(detail, list) else [detail]
    told = [item for item in items if isinstance(item, dict)]
    return "; ".join(f"{'.'.join(map(str, item.get('loc') or ()))} {item.get('msg', '')}".strip() for item in told)


Way = Literal[
    "host", "tls", "refused", "proxy", "address", "late", "slow", "unanswered", "foreign", "silent", "compressed", "cut"
]
"""What goes wrong on the way to an upstream, and from `silent` on with an answer that has begun."""


_ON_THE_WAY: dict[Way, ProviderError] = {
    "host": ProviderError("upstream_unavailable", "The upstream's host name is not known.", before_reply=True),
    "tls": ProviderError("upstream_unavailable", "No secure connection to the upstream could be made.", refused=True),
    "refused": ProviderError("upstream_unavailable", "The upstream refuses connections.", before_reply=True),
    "proxy": ProviderError(
        "upstream_unavailable", "The proxy does not let the upstream be reached.", before_reply=True
    ),
    "address": ProviderError("upstream_unavailable", "The upstream's address is not one.", refused=True),
    "late": ProviderError("upstream_unavailable", "The upstream could not be reached in time.", refused=True),
    "slow": ProviderError("upstream_timeout", "The upstream did not answer in time."),
    "unanswered": ProviderError("upstream_incomplete", "The upstream closed the connection without an answer."),
    "foreign": ProviderError("upstream_malformed", "The upstream does not answer in HTTP: is its base URL right?"),
    "silent": ProviderError("upstream_stalled", "The upstream fell silent in the middle of its reply."),
    "compressed": ProviderError("upstream_malformed", "The upstream's reply could not be decompressed."),
    "cut": ProviderError("upstream_incomplete", "The connection to the upstream broke before the reply was finished."),
}


def error_on_the_way(what: Way) -> ProviderError:
    """A new error, in the same words for the same fault whichever client met it."""
    error = _ON_THE_WAY[what]
    return error.saying(error.detail)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """The seconds that the upstream asks to wait, from a number of seconds, of milliseconds, or a date."""
    if (milliseconds := _number(headers.get("retry-after-ms"))) is not None:
        return milliseconds / 1000
    told = headers.get("retry-after")
    if told is None or (seconds := _number(told)) is not None:
        return None if told is None else seconds
    try:
        date = parsedate_to_datetime(told)
    except (ValueError, OverflowError):
        return None
    if date.tzinfo is None:
        date = date.replace(tzinfo=UTC)
    return max(0.0, (date - datetime.now(UTC)).total_seconds())


def _number(text: str | None) -> float | None:
    try:
        number = float(text or "")
    except ValueError:
        return None
    return number if number >= 0 and math.isfinite(number) else None
