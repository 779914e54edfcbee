"""What the SDK, and the HTTP client beneath it, raise: as a ProviderError.

The SDK tells a status, a time-out, and "connection error" for all else; what it was is further down the chain of
causes. aiohttp's errors come through a mapping that takes a connection that was cut for a time-out to connect, so they
are looked at first.
"""

import math
import socket
import ssl
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import aiohttp
import httpx2
import openai

from rejoinder.errors import ProviderError
from rejoinder.llm.upstream_errors import error_from_body

FAULTS = (openai.OpenAIError, httpx2.HTTPError, httpx2.StreamError, aiohttp.ClientError, OSError, ssl.SSLError)
"""What a request and the reading of its answer may raise. (A TimeoutError is an OSError.)"""


def provider_error(fault: Exception, *, began: bool = False, secrets: Sequence[str] = ()) -> ProviderError:
    """`began` tells that the answer's headers had come."""
    if isinstance(fault, openai.APIStatusError):
        headers = fault.response.headers
        body = fault.response.content
        return error_from_body(fault.status_code, body, retry_after=retry_after(headers), secrets=secrets)
    causes = tuple(_causes(fault))
    if began:
        return _broken_off(causes)
    if any(isinstance(cause, (socket.gaierror, aiohttp.ClientConnectorDNSError)) for cause in causes):
        return _unavailable("The upstream's host name is not known", before_reply=True)
    if any(isinstance(cause, (ssl.SSLError, aiohttp.ClientSSLError)) for cause in causes):
        return _unavailable("No secure connection to the upstream could be made", before_reply=False)
    if any(isinstance(cause, (httpx2.ConnectError, aiohttp.ClientConnectorError)) for cause in causes):
        return _unavailable("The upstream refuses connections", before_reply=True)
    if _timed_out(causes):
        return ProviderError("upstream_timeout", "The upstream could not be reached in time.")
    if any(isinstance(cause, (httpx2.UnsupportedProtocol, httpx2.InvalidURL, aiohttp.InvalidURL)) for cause in causes):
        return _unavailable("The upstream's address is not one", before_reply=False)
    return ProviderError("upstream_incomplete", "The upstream closed the connection without an answer.")


def retry_after(headers: Mapping[str, str]) -> float | None:
    """The seconds that the upstream asks to wait, from a number of seconds, of milliseconds, or a date."""
    if (milliseconds := _number(headers.get("retry-after-ms"))) is not None:
        return milliseconds / 1000
    told = headers.get("retry-after")
    if told is None or (seconds := _number(told)) is not None:
        return None if told is None else seconds
    try:
        date = parsedate_to_datetime(told)
    except ValueError:
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


def _broken_off(causes: tuple[BaseException, ...]) -> ProviderError:
    if _timed_out(causes):
        return ProviderError("upstream_stalled", "The upstream fell silent in the middle of its reply.")
    if any(isinstance(cause, httpx2.DecodingError) for cause in causes):
        return ProviderError("upstream_malformed", "The upstream's reply could not be decompressed.")
    return ProviderError("upstream_incomplete", "The connection to the upstream broke before the reply was finished.")


def _timed_out(causes: tuple[BaseException, ...]) -> bool:
    if any(isinstance(cause, aiohttp.ClientError) for cause in causes):
        return any(isinstance(cause, aiohttp.ServerTimeoutError) for cause in causes)
    return any(isinstance(cause, (httpx2.TimeoutException, TimeoutError)) for cause in causes)


def _unavailable(what: str, *, before_reply: bool) -> ProviderError:
    return ProviderError("upstream_unavailable", f"{what}.", before_reply=before_reply)


def _causes(fault: BaseException | None) -> Iterator[BaseException]:
    while fault is not None:
        yield fault
        fault = fault.__cause__ or fault.__context__
