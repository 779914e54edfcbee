"""The servers that tests share: one of each for a run, started when it is first needed, and a fresh place in it for each test.

`REJOINDER_TEST_REDIS` names another Redis to use; a test takes a prefix of its own there, and nothing else is touched.
"""

import atexit
import itertools
import os
import tempfile
import uuid
from contextlib import ExitStack
from functools import cache
from pathlib import Path

from redis import Redis

from redis_server import redis_server

GIVEN_REDIS = os.environ.get("REJOINDER_TEST_REDIS", "")

_run = uuid.uuid4().hex[:8]
_numbers = itertools.count(1)


def fresh_redis_url() -> str:
    """A Redis store's URL that nobody has used."""
    return f"{shared_redis_url()}?prefix=test-{_run}-{next(_numbers)}"


@cache
def shared_redis_url() -> str:
    if GIVEN_REDIS:
        atexit.register(_clean, GIVEN_REDIS)
        return GIVEN_REDIS
    stack = ExitStack()
    atexit.register(stack.close)
    folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="rejoinder-redis-"))
    return stack.enter_context(redis_server(Path(folder))).url


def _clean(url: str) -> None:
    """Leaves nothing of this run in a server that is somebody else's."""
    with Redis.from_url(url, protocol=2) as client:
        for key in client.scan_iter(f"{{test-{_run}-*", count=1_000):
            client.unlink(key)
