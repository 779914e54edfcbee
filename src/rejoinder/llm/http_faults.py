"""What goes wrong with a request to an upstream, and what an upstream refuses, as a ProviderError."""

import socket
import ssl
from collections.abc import Sequence

import aiohttp

from rejoinder.errors import ProviderError
from rejoinder.llm.upstream_errors import error_from_body, retry_after

FAULTS = (aiohttp.ClientError, aiohttp.InvalidURL, OSError)
"""What a request and the reading of its answer may raise. (A TimeoutError and an SSLError are OSErrors.)"""

REFUSED = 1 << 20
"""Bytes of a refusal that are read."""


def provider_error(fault: Exception, *, began: bool = False) -> ProviderError:
    """`began` tells that the answer's headers had come."""
    if began:
        return _broken_off(fault)
    match fault:
        case aiohttp.ClientConnectorDNSError() | socket.gaierror():
            return _unavailable("The upstream's host name is not known", before_reply=True)
        case aiohttp.ClientSSLError() | ssl.SSLError():
            return _unavailable("No secure connection to the upstream could be made", before_reply=False)
        case aiohttp.ClientHttpProxyError():
            return _unavailable("The proxy does not let the upstream be reached", before_reply=True)
        case aiohttp.ClientConnectorError():
            return _unavailable("The upstream refuses connections", before_reply=True)
        case TimeoutError():
            return ProviderError("upstream_timeout", "The upstream could not be reached in time.")
        case aiohttp.InvalidURL():
            return _unavailable("The upstream's address is not one", before_reply=False)
    return ProviderError("upstream_incomplete", "The upstream closed the connection without an answer.")


async def refusal(response: aiohttp.ClientResponse, secrets: Sequence[str]) -> ProviderError:
    """What an answer with an error's status says."""
    body = b""
    try:
        while len(body) < REFUSED and (data := await response.content.readany()):
            body += data
    except FAULTS:
        pass  # the status says enough
    return error_from_body(response.status, body, retry_after=retry_after(response.headers), secrets=secrets)


def _broken_off(fault: Exception) -> ProviderError:
    if isinstance(fault, TimeoutError):
        return ProviderError("upstream_stalled", "The upstream fell silent in the middle of its reply.")
    if isinstance(fault.__cause__, aiohttp.http_exceptions.ContentEncodingError):
        return ProviderError("upstream_malformed", "The upstream's reply could not be decompressed.")
    return ProviderError("upstream_incomplete", "The connection to the upstream broke before the reply was finished.")


def _unavailable(what: str, *, before_reply: bool) -> ProviderError:
    return ProviderError("upstream_unavailable", f"{what}.", before_reply=before_reply)
