"""Where the running server is, and what is said where none answers there."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

from rejoinder.client import Client, ConnectionLost
from rejoinder.errors import Unavailable

PATIENCE = 3.0
"""Seconds that a server that does not answer is tried for: a person is waiting at the prompt."""


def checked_url(value: str) -> str:
    """The URL that is meant: `localhost:8000` will do. Raises ValueError for what cannot be one."""
    url = value if "://" in value else f"http://{value}"
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("a URL is wanted, such as http://127.0.0.1:8000")
    if parts.port == 0:  # asking for the port raises ValueError where it is none
        raise ValueError("no server is at port 0")
    return url


@asynccontextmanager
async def reached(url: str) -> AsyncIterator[Client]:
    """A client of the server there. Raises Unavailable, soon and with what to do, where none answers."""
    try:
        async with Client(url, patience=PATIENCE) as client:
            yield client
    except ConnectionLost as lost:
        why = str(lost.__cause__) or type(lost.__cause__).__name__
        raise Unavailable(f"No server answers at {url} ({why}). `rejoinder serve` starts one.") from lost
