"""The message index of a Redis store: rows by id, by parent, of a branch, and in order of creation, read by portions."""

from collections.abc import Collection, Iterator, Sequence
from typing import TypeVar

from msgspec import Struct

from rejoinder.abc import Row
from rejoinder.entities import Key
from rejoinder.stores.redis import values
from rejoinder.stores.redis.batch import Argument, parent
from rejoinder.stores.redis.client import RedisClient
from rejoinder.stores.redis.names import BEHIND, digits, name_of, pack, unpack

T = TypeVar("T")

PIECE = 500
"""Texts, rows or seqs of one script: about a millisecond of the server, which does nothing else meanwhile."""


def pieces(values: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    return (values[place : place + size] for place in range(0, len(values), size))


async def rows(client: RedisClient, key: Key, ids: Collection[str]) -> dict[str, Row]:
    found: dict[str, Row] = {}
    for some in pieces(list(dict.fromkeys(ids)), PIECE):
        kept = await client.get("HMGET", client.key("rows", name_of(key)), *map(pack, some))
        found |= {message_id: values.row(message_id, row) for message_id, row in zip(some, kept, strict=True) if row}
    return found


async def children(client: RedisClient, key: Key, parents: Collection[str | None]) -> dict[str | None, list[Row]]:
    found: dict[str | None, list[Row]] = {}
    for some in pieces(list(dict.fromkeys(parents)), PIECE):
        starts = [b"p\0" + parent(above) + b"\0" for above in some]
        ranges = [_Range(b"[" + start, b"(" + start + BEHIND, len(start) + 17) for start in starts]
        below = await _in(client, key, *ranges)
        found |= {above: rows for above, rows in zip(some, below, strict=True) if rows}
    return found


async def branch(client: RedisClient, key: Key, tip: str, low: int, high: int) -> list[Row]:
    found: list[Row] = []
    above: str | None = tip
    while above is not None and high >= max(low, 0):
        some = _rows(await client.read("branch", name_of(key), pack(above), digits(low), digits(high), PIECE))
        found[:0] = some
        if len(some) < PIECE:
            break
        above, high = some[0].parent_id, some[0].depth - 1
    return found


async def created(client: RedisClient, key: Key, after: int, before: int, limit: int, newest: bool) -> list[Row]:
    found: list[Row] = []
    while len(found) < limit:
        first, last = (b"c\0" + digits(seq).encode() + b"\0" for seq in (after, before))
        most = min(PIECE, limit - len(found))
        [some] = await _in(client, key, _Range(b"(" + first + BEHIND, b"(" + last, len(first), most, newest))
        found += some
        if len(some) < most:
            break
        after, before = (after, some[-1].created) if newest else (some[-1].created, before)
    return found[::-1] if newest else found


class _Range(Struct, frozen=True):
    """A stretch of the index; `skip` are the bytes of a member before the message's id."""

    low: bytes
    high: bytes
    skip: int
    limit: int = -1
    newest: bool = False


async def _in(client: RedisClient, key: Key, *ranges: _Range) -> list[list[Row]]:
    asked: list[Argument] = []
    for one in ranges:
        asked += (one.low, one.high, one.skip, one.limit, "1" if one.newest else "")
    return [_rows(found) for found in await client.read("index", name_of(key), *asked)]


def _rows(found: Sequence[bytes]) -> list[Row]:
    """Of ids and rows in turn; one that has gone meanwhile is left out."""
    return [
        values.row(unpack(message_id)[0], row) for message_id, row in zip(found[::2], found[1::2], strict=True) if row
    ]
