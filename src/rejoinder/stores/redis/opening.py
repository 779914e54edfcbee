"""Opening a store in Redis: that it is ours and of our schema, and what its settings mean for the promise."""

import logging

from redis.exceptions import RedisError

from rejoinder.errors import Misconfigured, served_by_an_earlier
from rejoinder.redis_link import RedisUrl, code_of, redis_opening
from rejoinder.stores.redis.client import RedisClient
from rejoinder.stores.rereading import read_again
from rejoinder.words import lacks_marks

log = logging.getLogger(__name__)

SCHEMA = 2
"""Since 2 words have the marks of their letters."""
NOTED = f"rejoinder {SCHEMA}"

OLDEST = (7, 0)
LOOKED_THROUGH = 200
"""Pages of 1,000 keys of others that a first opening looks through for something under our prefix."""


async def open_redis(client: RedisClient, url: RedisUrl, *, make: bool = True) -> None:
    """Raises Misconfigured where this Redis or what is in it is not for us, and logs what weakens the promise.

    Without `make` also where there is no store in it yet."""
    with redis_opening(url):
        await _check_version(client, url)
        await _check_schema(client, url, make=make)
        await _warn(client, url)


async def _check_version(client: RedisClient, url: RedisUrl) -> None:
    info = await _ask_if_allowed(client, "INFO", "server")
    version = info.get("redis_version") if isinstance(info, dict) else None
    if version and tuple(int(part) for part in str(version).split(".")[:2] if part.isdigit()) < OLDEST:
        raise Misconfigured(f"Redis at {url} is of version {version}; Rejoinder needs 7.0 or later.")


async def _check_schema(client: RedisClient, url: RedisUrl, *, make: bool) -> None:
    key = client.key("schema")
    kind = await client.get("TYPE", key)
    if kind == b"none" and not make:
        raise Misconfigured(f"There is no store at {url}, under {url.names}.")
    if kind == b"none" and await _is_taken(client, url):
        # Unless another process has made it meanwhile.
        kind = await client.get("TYPE", key)
        if kind == b"none":
            raise Misconfigured(f"Redis at {url} holds something else under {url.names}: choose another ?prefix=.")
    if kind == b"none":
        await client.set("SET", key, NOTED, "NX")
    kept = await client.get("GET", key) if kind in (b"none", b"string") else b""
    name, _, number = (kept or b"").partition(b" ")
    if name != b"rejoinder" or not number.isdigit():
        raise Misconfigured(f"Redis at {url} holds something else under {url.names}: choose another ?prefix=.")
    if int(number) > SCHEMA:
        raise Misconfigured(
            f"Redis at {url} was written by a later version of Rejoinder (schema {int(number)}, this one knows {SCHEMA})."
        )
    if int(number) < SCHEMA:
        await _check_that_nobody_serves(client, url)
        await _read_again(client)
        await client.set("SET", key, NOTED)


async def _check_that_nobody_serves(client: RedisClient, url: RedisUrl) -> None:
    await client.write("revoke")
    for epoch in await client.get("ZRANGE", client.key("expiries"), 0, 0):
        worker = await client.get("HGET", client.key("lease", epoch), "worker") or b""
        raise served_by_an_earlier(f"Redis at {url}", worker.decode())


AT_ONCE = 100
"""Sessions whose texts are looked at together."""


async def _read_again(client: RedisClient) -> None:
    """Words that were kept without their marks are read again, from the message or the title. Harmless from many processes."""
    start = 0
    while names := await client.get("ZRANGE", client.key("keys"), start, start + AT_ONCE - 1):
        start += AT_ONCE
        for name in names:
            texts = _pairs(await client.get("HGETALL", client.key("texts", name)))
            for field, kept in texts:
                at, _, words = kept.partition(b" ")
                if lacks_marks(words.decode()):
                    again = read_again(words.decode(), await _told(client, name, field))
                    await client.set("HSET", client.key("texts", name), field, at + b" " + again.encode())


async def _told(client: RedisClient, name: bytes, field: bytes) -> bytes | None:
    """What tells a text: the event at which its message ended, or the header of its session."""
    if field == b"t":
        header: bytes | None = await client.get("HGET", client.key("session", name), "header")
        return header
    row = await client.get("HGET", client.key("rows", name), field[1:])
    place = b"0-" + row.split(b" ")[1] if row else b"0-0"
    for _, told in await client.get("XRANGE", client.key("events", name), place, place):
        return dict(_pairs(told)).get(b"d")
    return None


def _pairs(answer: object) -> list[tuple[bytes, bytes]]:
    if isinstance(answer, dict):
        return list(answer.items())
    values = answer if isinstance(answer, list) else []
    return list(zip(values[::2], values[1::2], strict=False))


async def _is_taken(client: RedisClient, url: RedisUrl) -> bool:
    cursor = b"0"
    for _ in range(LOOKED_THROUGH):
        found = await client.get("SCAN", cursor, "MATCH", f"{url.names}*", "COUNT", 1_000)
        cursor, keys = found
        if keys:
            return True
        if cursor in (b"0", 0):
            break
    return False


# --- what its settings mean --------------------------------------------------------------------------------------


async def _warn(client: RedisClient, url: RedisUrl) -> None:
    asked = ("appendonly", "appendfsync", "maxmemory", "maxmemory-policy")
    kept: dict[str, str] = {}
    for name in asked:
        answer = await _ask_if_allowed(client, "CONFIG", "GET", name)
        if answer is None:
            log.warning(
                "Redis at %s does not tell its settings: see to it that it has appendonly yes, appendfsync always and "
                "maxmemory-policy noeviction, or replies can be lost",
                url,
            )
            return
        kept |= _settings(answer)
    for warning in _warnings(kept):
        log.warning("Redis at %s: %s", url, warning)


def _warnings(kept: dict[str, str]) -> list[str]:
    found = []
    if kept.get("appendonly") == "no":
        found.append("appendonly is off: when it restarts, all is lost since its last snapshot, and replies with it")
    elif (fsync := kept.get("appendfsync", "always")) != "always":
        found.append(
            f"appendfsync is {fsync}: when its machine dies, the last acknowledged moments can be lost; only always keeps them"
        )
    if (policy := kept.get("maxmemory-policy", "noeviction")) != "noeviction":
        found.append(
            f"maxmemory-policy is {policy}: when its memory is full it forgets replies; noeviction refuses new ones"
        )
    return found


def _settings(answer: object) -> dict[str, str]:
    if isinstance(answer, dict):
        return {_text(name): _text(value) for name, value in answer.items()}
    values = [_text(value) for value in answer] if isinstance(answer, list) else []
    return dict(zip(values[::2], values[1::2], strict=False))


def _text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


async def _ask_if_allowed(client: RedisClient, *command: str) -> object:
    """None where this user, or this service of a cloud, may not ask."""
    try:
        return await client.ask(*command)
    except RedisError as refused:
        if code_of(refused) in ("NOPERM", "ERR"):
            return None
        raise
