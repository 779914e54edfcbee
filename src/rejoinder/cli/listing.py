"""`rejoinder sessions`: the newest sessions of a server, for people or for scripts."""

import asyncio
import sys
from contextlib import aclosing
from datetime import datetime

import msgspec

from rejoinder.cli.address import reached
from rejoinder.cli.display import harmless
from rejoinder.client import Client
from rejoinder.entities import Session


def list_sessions(url: str, limit: int, *, as_json: bool) -> None:
    """Prints them. Raises RejoinderError where the server cannot be asked."""

    async def ask() -> list[Session]:
        async with reached(url) as client:
            return await newest(client, limit)

    for session in asyncio.run(ask()):
        if as_json:
            sys.stdout.buffer.write(msgspec.json.encode(session) + b"\n")  # in UTF-8, whatever the terminal shows
        else:
            print(line(session))


def line(session: Session) -> str:
    """A session in one line, whatever its title holds, with the local time of its last activity."""
    title = " ".join(harmless(session.title or "–").split())
    updated = datetime.fromisoformat(session.updated_at).astimezone()
    return f"{session.id}  {updated:%Y-%m-%d %H:%M:%S}  {title}"


async def newest(client: Client, limit: int) -> list[Session]:
    found: list[Session] = []
    async with aclosing(client.sessions()) as sessions:
        async for session in sessions:
            found.append(session)
            if len(found) == limit:
                break
    return found
