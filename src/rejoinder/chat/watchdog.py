"""The watchdog of a reply: an upstream that is silent for too long, or a reply that takes too long in all, is given up."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from msgspec import Struct

from rejoinder.errors import ProviderError

SOON = 0.02
"""Seconds after which it is looked again whether time is up, at least: where nobody looks at an upstream its time does not go on."""


class ReplyLimits(Struct, frozen=True, kw_only=True):
    """Bytes of UTF-8 and seconds of a whole reply, seconds of silence before its first piece and between two pieces."""

    max_bytes: int
    max_seconds: float
    max_delta: int
    first_token_timeout: float
    stall_timeout: float


class Watchdog:
    """Of one reply. One timer for each attempt, set anew only when it fires."""

    def __init__(self, limits: ReplyLimits) -> None:
        self._limits = limits
        self._loop = asyncio.get_running_loop()
        self._over = self._loop.time() + limits.max_seconds
        self._last = 0.0
        """When the upstream was heard last, or began to be waited for."""
        self._looked: float | None = None
        """Until when it is known to have been silent since, where it is looked at now and then. None where it is waited for."""
        self._heard = False
        self._fault: ProviderError | None = None

    @contextmanager
    def watching(self) -> Iterator[None]:
        """One attempt, by the task that is running. Raises ProviderError inside it, in place of what it waits for."""
        self._begin()
        try:
            yield
        except asyncio.CancelledError:
            # Cancelled by somebody else as well: then that counts.
            if self._fault is None or self._task.uncancel() > 0:
                raise
            raise self._fault from None
        finally:
            self._timer.cancel()

    def _begin(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._task = task
        self._last, self._looked, self._heard, self._fault = self._loop.time(), None, False, None
        self._timer: asyncio.Handle = self._loop.call_soon(self._look)

    def heard(self) -> None:
        """The upstream has said something. It is not waited for until `go_on`: what it says now is met at a later look."""
        self.alive()
        self._heard = True

    def alive(self) -> None:
        """The upstream has said nothing, and shown that it is at work: what it is waited for is waited for anew."""
        self._last = self._looked = self._loop.time()

    def silent(self) -> None:
        """A look has met nothing."""
        self._looked = self._loop.time()

    def go_on(self) -> None:
        """It is waited for from now on. What it was silent for until the last look counts."""
        if self._looked is not None:
            self._last += self._loop.time() - self._looked
            self._looked = None

    def _look(self) -> None:
        now = self._loop.time()
        silence = self._limits.stall_timeout if self._heard else self._limits.first_token_timeout
        left = silence - ((now if self._looked is None else self._looked) - self._last)
        if now >= self._over:
            self._give_up("reply_too_long", f"The reply took longer than {self._limits.max_seconds:g} s.")
        elif left <= 0:
            code = "upstream_stalled" if self._heard else "upstream_timeout"
            self._give_up(code, f"The upstream was silent for {silence:g} s.")
        else:
            # Before the first piece the limit of a stall, which may be the shorter, can come to count at any time.
            when = min(now + max(left, SOON), self._over, now + self._limits.stall_timeout)
            self._timer = self._loop.call_at(when, self._look)

    def _give_up(self, code: str, detail: str) -> None:
        self._fault = ProviderError(code, detail)
        self._task.cancel()
