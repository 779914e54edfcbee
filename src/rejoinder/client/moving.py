"""Files of sessions on their way to and from a server: whole, or tried again from their beginning."""

import hashlib
from collections.abc import AsyncIterator
from typing import BinaryIO

import httpx2
import msgspec
from msgspec import Struct

from rejoinder.client.answers import UnexpectedAnswer, checked
from rejoinder.client.asking import TROUBLE, decoded
from rejoinder.client.reading import Cut, Patience
from rejoinder.entities import Session

MEDIA_TYPE = "application/jsonl"

PIECE = 64 << 10
"""Bytes that are read and written at a time."""


async def fetch(http: httpx2.AsyncClient, path: str, file: BinaryIO, patience: Patience) -> None:
    """Writes the file that a server has there. Raises what the server refuses, and ConnectionLost."""
    while True:
        file.seek(0)
        file.truncate()
        try:
            async with http.stream("GET", path) as response:
                if response.is_error:
                    await response.aread()
                kind = checked(response).headers.get("content-type", "")
                if kind != MEDIA_TYPE:
                    raise UnexpectedAnswer(f"An export was asked for, and the server sends {kind or 'nothing'}.")
                async for piece in response.aiter_bytes():
                    file.write(piece)
            check_whole(file)
        except TROUBLE as failure:
            await patience.wait(failure)
        else:
            return


async def put(
    http: httpx2.AsyncClient, path: str, file: BinaryIO, headers: dict[str, str], patience: Patience
) -> Session:
    """Sends a file; the session that it makes. Raises what the server refuses, and ConnectionLost."""
    sent = {"accept": "application/json", "content-type": MEDIA_TYPE, **headers}
    while True:
        try:
            return decoded(Session, checked(await http.post(path, content=_pieces(file), headers=sent)))
        except TROUBLE as failure:
            await patience.wait(failure)


def check_whole(file: BinaryIO) -> None:
    """Raises Cut where the file's last line does not say that all lines before it are there."""
    file.seek(0)
    digest, last, count = hashlib.sha256(), b"", 0
    for line in file:
        digest.update(last)
        last = line
        count += 1
    try:
        end = msgspec.json.decode(last, type=_End)
    except msgspec.DecodeError as error:
        raise Cut("The export has no last line.") from error
    if (end.messages, end.sha256) != (count - 2, digest.hexdigest()):
        raise Cut("The lines of the export are not those that its last line tells of.")


async def _pieces(file: BinaryIO) -> AsyncIterator[bytes]:
    file.seek(0)
    while piece := file.read(PIECE):
        yield piece


class _End(Struct):
    messages: int
    sha256: str
