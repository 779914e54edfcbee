"""What the SDK, and the HTTP client beneath it, raise: as a ProviderError.

The SDK tells a status, a time-out, and "connection error" for all else; what it was is further down the chain of
causes.
"""

import socket
import ssl
from collections.abc import Iterator, Sequence

import httpx2
import openai

from rejoinder.errors import ProviderError
from rejoinder.llm.upstream_errors import error_from_body, retry_after

FAULTS = (openai.OpenAIError, httpx2.HTTPError, httpx2.StreamError, OSError)
"""What a request and the reading of its answer may raise. (A TimeoutError and an SSLError are OSErrors.)"""


def provider_error(fault: Exception, *, began: bool = False, secrets: Sequence[str] = ()) -> ProviderError:
    """`began` tells that the answer's headers had come."""
    if isinstance(fault, openai.APIStatusError):
        headers = fault.response.headers
        body = fault.response.content
        return error_from_body(fault.status_code, body, retry_after=retry_after(headers), secrets=secrets)
    causes = tuple(_causes(fault))
    if began:
        return _broken_off(causes)
    if any(isinstance(cause, socket.gaierror) for cause in causes):
        return _unavailable("The upstream's host name is not known", before_reply=True)
    if any(isinstance(cause, ssl.SSLError) for cause in causes):
        return _unavailable("No secure connection to the upstream could be made", before_reply=False)
    if any(isinstance(cause, httpx2.ConnectError) for cause in causes):
        return _unavailable("The upstream refuses connections", before_reply=True)
    if _timed_out(causes):
        return ProviderError("upstream_timeout", "The upstream could not be reached in time.")
    if any(isinstance(cause, (httpx2.UnsupportedProtocol, httpx2.InvalidURL)) for cause in causes):
        return _unavailable("The upstream's address is not one", before_reply=False)
    return ProviderError("upstream_incomplete", "The upstream closed the connection without an answer.")


def _broken_off(causes: tuple[BaseException, ...]) -> ProviderError:
    if _timed_out(causes):
        return ProviderError("upstream_stalled", "The upstream fell silent in the middle of its reply.")
    if any(isinstance(cause, httpx2.DecodingError) for cause in causes):
        return ProviderError("upstream_malformed", "The upstream's reply could not be decompressed.")
    return ProviderError("upstream_incomplete", "The connection to the upstream broke before the reply was finished.")


def _timed_out(causes: tuple[BaseException, ...]) -> bool:
    return any(isinstance(cause, (httpx2.TimeoutException, TimeoutError)) for cause in causes)


def _unavailable(what: str, *, before_reply: bool) -> ProviderError:
    return ProviderError("upstream_unavailable", f"{what}.", before_reply=before_reply)


def _causes(fault: BaseException | None) -> Iterator[BaseException]:
    while fault is not None:
        yield fault
        fault = fault.__cause__ or fault.__context__
