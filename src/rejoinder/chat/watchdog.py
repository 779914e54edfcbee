"""The watchdog of a reply: an upstream that is silent for too long, or writes for too long in all, is given up."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Self

from msgspec import Struct

from rejoinder.chat.endings import Outcome, failed


class ReplyLimits(Struct, frozen=True, kw_only=True):
    """Bytes of UTF-8 and seconds of a whole reply, seconds of silence before its first piece and between two pieces."""

    max_bytes: int
    max_seconds: float
    max_delta: int
    first_token_timeout: float
    stall_timeout: float


class Watchdog:
    """Halts a reply past its limits. One timer for each reply, set anew only when it fires."""

    def __init__(self, limits: ReplyLimits, halt: Callable[[Outcome], None]) -> None:
        self._limits = limits
        self._halt = halt
        self._loop = asyncio.get_running_loop()
        self._began = self._last = self._loop.time()
        self._heard = False
        self._paused = False

    def __enter__(self) -> Self:
        self._timer = self._loop.call_soon(self._look)
        return self

    def __exit__(self, *exc: object) -> None:
        self._timer.cancel()

    def heard(self) -> None:
        self._last, self._heard = self._loop.time(), True

    @contextmanager
    def paused(self) -> Iterator[None]:
        """While it is not the upstream that is waited for."""
        self._paused = True
        try:
            yield
        finally:
            self._paused, self._last = False, self._loop.time()

    def _look(self) -> None:
        now = self._loop.time()
        silence = self._limits.stall_timeout if self._heard else self._limits.first_token_timeout
        silent_until = now + silence if self._paused else self._last + silence
        over = self._began + self._limits.max_seconds
        if now >= over:
            self._halt(failed("reply_too_long", f"The reply took longer than {self._limits.max_seconds:g} s."))
        elif now >= silent_until:
            code = "upstream_stalled" if self._heard else "upstream_timeout"
            self._halt(failed(code, f"The upstream was silent for {silence:g} s."))
        else:
            # Before the first piece the limit of a stall, which may be the shorter, can come to count at any time.
            self._timer = self._loop.call_at(min(silent_until, over, now + self._limits.stall_timeout), self._look)
