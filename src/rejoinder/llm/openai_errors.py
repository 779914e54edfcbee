"""What the SDK, and the HTTP client beneath it, raise: as a ProviderError.

The SDK tells a status, a time-out, and "connection error" for all else; what it was is further down the chain of
causes.
"""

import socket
import ssl
from collections.abc import Sequence

import httpx2
import openai

from rejoinder.errors import ProviderError, causes
from rejoinder.llm.upstream_errors import Way, error_from_body, error_on_the_way, retry_after

FAULTS = (openai.OpenAIError, httpx2.HTTPError, httpx2.StreamError, OSError)
"""What a request and the reading of its answer may raise. (A TimeoutError and an SSLError are OSErrors.)"""


def provider_error(fault: Exception, *, began: bool = False, secrets: Sequence[str] = ()) -> ProviderError:
    """`began` tells that the answer's headers had come."""
    if isinstance(fault, openai.APIStatusError):
        headers = fault.response.headers
        body = fault.response.content
        return error_from_body(fault.status_code, body, retry_after=retry_after(headers), secrets=secrets)
    met = tuple(causes(fault))
    return error_on_the_way(_cut(met) if began else _missed(met))


def _missed(met: tuple[BaseException, ...]) -> Way:
    if any(isinstance(cause, socket.gaierror) for cause in met):
        return "host"
    if any(isinstance(cause, ssl.SSLError) for cause in met):
        return "tls"
    if any(isinstance(cause, httpx2.ConnectError) for cause in met):
        return "refused"
    if any(isinstance(cause, httpx2.ConnectTimeout) for cause in met):
        return "late"
    if _timed_out(met):
        return "slow"
    if any(isinstance(cause, (httpx2.UnsupportedProtocol, httpx2.InvalidURL)) for cause in met):
        return "address"
    return "unanswered"


def _cut(met: tuple[BaseException, ...]) -> Way:
    if _timed_out(met):
        return "silent"
    if any(isinstance(cause, httpx2.DecodingError) for cause in met):
        return "compressed"
    return "cut"


def _timed_out(met: tuple[BaseException, ...]) -> bool:
    return any(isinstance(cause, (httpx2.TimeoutException, TimeoutError)) for cause in met)
