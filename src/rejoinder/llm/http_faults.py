"""What goes wrong with a request to an upstream, and what an upstream refuses, as a ProviderError."""

import socket
import ssl
from collections.abc import Sequence

import aiohttp

from rejoinder.errors import ProviderError
from rejoinder.llm.upstream_errors import Way, error_from_body, error_on_the_way, retry_after

FAULTS = (aiohttp.ClientError, aiohttp.InvalidURL, OSError)
"""What a request and the reading of its answer may raise. (A TimeoutError and an SSLError are OSErrors.)"""

REFUSED = 1 << 20
"""Bytes of a refusal that are read."""


def provider_error(fault: Exception, *, began: bool = False) -> ProviderError:
    """`began` tells that the answer's headers had come."""
    return error_on_the_way(_cut(fault) if began else _missed(fault))


async def refusal(response: aiohttp.ClientResponse, secrets: Sequence[str]) -> ProviderError:
    """What an answer with an error's status says."""
    body = b""
    try:
        while len(body) < REFUSED and (data := await response.content.readany()):
            body += data
    except FAULTS:
        pass  # the status says enough
    return error_from_body(response.status, body, retry_after=retry_after(response.headers), secrets=secrets)


def _missed(fault: Exception) -> Way:
    match fault:
        case aiohttp.ClientConnectorDNSError() | socket.gaierror():
            return "host"
        case aiohttp.ClientSSLError() | ssl.SSLError():
            return "tls"
        case aiohttp.ClientHttpProxyError():
            return "proxy"
        case aiohttp.ClientConnectorError():
            return "refused"
        case TimeoutError():
            return "late"
        case aiohttp.InvalidURL():
            return "address"
    return "unanswered"


def _cut(fault: Exception) -> Way:
    if isinstance(fault, TimeoutError):
        return "silent"
    if isinstance(fault.__cause__, aiohttp.http_exceptions.ContentEncodingError):
        return "compressed"
    return "cut"
