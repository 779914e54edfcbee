"""`rejoinder sessions`: the newest sessions of a server, for people or for scripts."""

import asyncio
from contextlib import aclosing

import msgspec

from rejoinder.client import Client
from rejoinder.entities import Session

PATIENCE = 3.0
"""Seconds that a server that does not answer is tried for: a person is waiting at the prompt."""


def list_sessions(url: str, limit: int, *, as_json: bool) -> None:
    """Prints them. Raises RejoinderError where the server cannot be asked."""
    for session in asyncio.run(_newest(url, limit)):
        if as_json:
            print(msgspec.json.encode(session).decode())
        else:
            print(f"{session.id}  {session.updated_at[:19].replace('T', ' ')}  {session.title or '–'}")


async def _newest(url: str, limit: int) -> list[Session]:
    found: list[Session] = []
    async with (
        Client(url, patience=PATIENCE) as client,
        aclosing(client.sessions(page=min(limit, 100))) as sessions,
    ):
        async for session in sessions:
            found.append(session)
            if len(found) == limit:
                break
    return found
