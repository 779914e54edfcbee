"""Where the running server is, and what is said where none answers there."""

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import httpx2

from rejoinder.client import Client, ConnectionLost, UnexpectedAnswer
from rejoinder.errors import NotFound, Unavailable, causes

PATIENCE = 3.0
"""Seconds that a server that does not answer is tried for: a person is waiting at the prompt."""


def checked_url(value: str) -> str:
    """The URL that is meant: `localhost:8000` will do. Raises ValueError for what cannot be one."""
    url = value.strip()
    url = url if "://" in url else f"http://{url}"
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("a URL is wanted, such as http://127.0.0.1:8000")
    if parts.port == 0:  # asking for the port raises ValueError where it is none
        raise ValueError("no server is at port 0")
    try:
        httpx2.URL(url)
    except httpx2.InvalidURL as wrong:
        raise ValueError(f"this is no URL: {wrong}") from wrong
    return url


@asynccontextmanager
async def reached(url: str, patience: float = PATIENCE) -> AsyncIterator[Client]:
    """A client of the server there. Raises Unavailable, soon and with what to do, where none answers, and UnexpectedAnswer
    where it is none of ours that does."""
    shown = httpx2.URL(url).copy_with(userinfo=b"")  # what is said may be kept in a log
    try:
        async with Client(url, patience=patience) as client:
            yield client
    except (UnexpectedAnswer, NotFound) as wrong:
        if wrong.code not in (UnexpectedAnswer.code, NotFound.code):  # then what was asked for is not there
            raise
        raise UnexpectedAnswer(f"{wrong.detail} Is {shown} a Rejoinder server, given without /v1?") from wrong
    except ConnectionLost as lost:
        raise Unavailable(_why_not(str(shown), lost)) from lost


def _why_not(url: str, lost: ConnectionLost) -> str:
    cause = lost.__cause__
    why = str(cause) or type(cause).__name__
    if isinstance(cause, Unavailable):
        return f"{url} cannot answer just now: {why}"
    if any(isinstance(each, ssl.SSLError) for each in causes(lost)):  # something answers there
        return f"No secure connection to {url} ({why}). Is it https:// that is spoken there?"
    return f"No server answers at {url} ({why}). `rejoinder serve` starts one."
