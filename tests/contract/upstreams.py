"""A scripted upstream in a thread of its own, for tests of servers that run in other threads."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from rejoinder.testing.upstream import ScriptedUpstream

SECONDS = 10.0


@contextmanager
def upstream_running(script: str = "", upstream: ScriptedUpstream | None = None) -> Iterator[ScriptedUpstream]:
    """Answers on loopback until this is left; `requests` may be read from any thread."""
    upstream = upstream or ScriptedUpstream(script=script)
    ready, loop, done = threading.Event(), asyncio.new_event_loop(), asyncio.Event()

    async def run() -> None:
        async with upstream:
            ready.set()
            await done.wait()

    thread = threading.Thread(target=lambda: loop.run_until_complete(run()), name="upstream", daemon=True)
    thread.start()
    assert ready.wait(SECONDS), "the upstream did not start"
    try:
        yield upstream
    finally:
        loop.call_soon_threadsafe(done.set)
        thread.join(SECONDS)
        assert not thread.is_alive(), "the upstream did not stop"
        loop.close()
