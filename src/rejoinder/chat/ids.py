"""Ids, and what makes a retry the same request: ids derived from a key, hashes of a canonical body."""

import hashlib
import json
import re
import secrets
import time
from datetime import UTC, datetime
from functools import lru_cache

from rejoinder.entities import JsonObject

SESSION_ID = re.compile(r"ses_[0-9a-f]{32}")
MESSAGE_ID = re.compile(r"msg_[0-9a-f]{32}")
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
"""As `timestamp` tells times: they are compared as text."""


def new_session_id() -> str:
    return f"ses_{_uuid7():032x}"


def new_message_id() -> str:
    return f"msg_{_uuid7():032x}"


def new_tool_call_id() -> str:
    """For a tool call that came without an id: results are matched by it."""
    return f"call_{secrets.token_hex(12)}"


def derived_id(prefix: str, *parts: str) -> str:
    """The id of what a request with an `Idempotency-Key` creates: the same parts give the same id."""
    digest = hashlib.sha256(json.dumps(parts).encode()).hexdigest()
    return f"{prefix}_{digest[:32]}"


FRACTIONS = ("temperature", "top_p", "min_p", "presence_penalty", "frequency_penalty")
"""Parameters of which 1 and 1.0 are the same, as are those of `logit_bias`."""


def request_hash(body: JsonObject) -> str:
    """Of what a client asked for, whatever the order of its keys."""
    if params := body.get("params"):
        body = {**body, "params": _told_as_fractions(params)}
    canonical = json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).hexdigest()[:32]


def _told_as_fractions(params: JsonObject) -> JsonObject:
    told: JsonObject = {name: float(params[name]) for name in FRACTIONS if params.get(name) is not None}
    if biases := params.get("logit_bias"):
        told["logit_bias"] = {token: float(bias) for token, bias in biases.items()}
    return params | told


def timestamp(ago: float = 0) -> str:
    """Now, or some seconds ago, though not before 1970, as the wire tells times: RFC 3339 in UTC with milliseconds."""
    now = time.time_ns() // 1_000_000
    # A year of three digits would stand behind all others, and to who keeps for so long everything would be too old.
    seconds, milliseconds = divmod(now - round(min(ago * 1_000, now)), 1_000)
    return f"{_to_the_second(seconds)}.{milliseconds:03}Z"


@lru_cache(1)
def _to_the_second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def _uuid7() -> int:
    """UUIDv7 (RFC 9562): 48 bits of milliseconds, 12 of their fraction (its section 6.2, method 3), 62 of chance.

    So ids sort by time of creation. Milliseconds alone leave it to chance which of two sessions is the newer one in
    the list when both were made within one.
    """
    milliseconds, nanoseconds = divmod(time.time_ns(), 1_000_000)
    fraction = (nanoseconds << 12) // 1_000_000
    return milliseconds << 80 | 0x7 << 76 | fraction << 64 | 0b10 << 62 | secrets.randbits(62)
