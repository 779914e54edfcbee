"""Replies that rest between two looks at what their upstreams have sent, and when each is looked at.

What comes between two looks is one delta, so seldom looks are cheap; and how seldom goes unseen depends on how fast a reply is. Looks
fall on the same ticks of the clock, so that what they find is committed together.
"""

import asyncio
import math
from collections.abc import Callable
from typing import TypeAlias

TICK = 0.024
"""Seconds: looks fall on ticks of the clock."""
FIRST = 2
"""Ticks from one look to the next while no speed is known."""
PAUSES = ((22.0, 3), (40.0, FIRST), (math.inf, 4))
"""Ticks from one look to the next (72, 48 and 96 ms) for replies of less than so many pieces a second; pieces are tokens, mostly. A slow
one comes piece by piece: to look more often would find nothing. A fast one is written faster than anybody reads, and comes in lumps
at any rate. One between them, if it were looked at as seldom, would come in lumps of two and three, after pauses that one sees."""
OVERDUE = 2
"""Looks that find nothing behind one that found something, each a tick later: what a reply says a little later than usual shall not
wait for a whole pause more. Then it is taken to be silent."""
NEARLY = 1e-6
"""Ticks that a tick may seem to be early by, as floats are rounded."""
WINDOW = 0.2
"""Seconds over which it is measured how fast a reply is, again and again. Until then it is taken to be as fast as the
last that was measured: it is the same model, mostly."""

Look: TypeAlias = Callable[[bool], int | None]
"""Looks at what a reply has to say, and writes it; told whether there is another look soon. Returns how many pieces its upstream has
sent so far, and None where the rest is over."""


class Rests:
    """All that rest."""

    def __init__(self) -> None:
        self._all: list[_Rest] = []
        self.usual = FIRST
        """Ticks between looks at the reply whose speed was measured last."""
        self.speaking = 0
        """Of those that were there at the last look, how many had something to say when they were looked at last."""
        self.next = 0.0
        """When it is time for one of these again, in seconds of the event loop."""

    def __bool__(self) -> bool:
        return bool(self._all)

    def add(self, look: Look, said: int, loop: asyncio.AbstractEventLoop) -> asyncio.Future[None]:
        """Calls `look` until it says that the rest is over. `said` is how many pieces there were before. What `look` raises is
        raised by the future."""
        woken = loop.create_future()
        self._all.append(_Rest(self, woken, look, said))
        return woken

    def look(self, now: float, *, busy: bool) -> bool:
        """Looks, one after the other, at whom it is time for; at all where the service is not `busy`. Whether a rest is over."""
        tick = int(now / TICK + NEARLY)
        staying, self.speaking = [], 0
        for rest in self._all:
            if (rest.due > tick and busy) or rest.goes_on(now, tick, busy):
                staying.append(rest)
                self.speaking += not rest.silent
        self.next = TICK * min((rest.due for rest in staying), default=_next(tick, FIRST))
        over = len(staying) < len(self._all)
        self._all = staying
        return over


class _Rest:
    __slots__ = ("_counted", "_every", "_look", "_pieces", "_rests", "_since", "_woken", "due", "silent")

    def __init__(self, rests: Rests, woken: asyncio.Future[None], look: Look, said: int) -> None:
        self.due = 0
        """Tick at which it is looked at next."""
        self.silent = 0
        """How many looks have found nothing since one that found something."""
        self._woken = woken
        self._look = look
        self._rests = rests
        self._every = rests.usual
        self._pieces = said
        self._since, self._counted = 0.0, 0
        """When a window began, and how many pieces there were then."""

    def goes_on(self, now: float, tick: int, busy: bool) -> bool:
        if self._woken.done():  # cancelled
            return False
        try:
            pieces = self._look(busy)
        except Exception as fault:  # noqa: BLE001 - raised where it is waited for
            self._woken.set_exception(fault)
            return False
        if pieces is None:
            self._woken.set_result(None)
            return False
        self.silent = 0 if pieces > self._pieces else self.silent + 1
        self._pieces = pieces
        if now >= self._since + WINDOW:
            self._measure(now)
        self.due = _next(tick, 1 if 0 < self.silent <= OVERDUE else self._every)
        return True

    def _measure(self, now: float) -> None:
        if self._since:
            speed = (self._pieces - self._counted) / (now - self._since)
            self._every = self._rests.usual = next(ticks for below, ticks in PAUSES if speed < below)
        self._since, self._counted = now, self._pieces


def _next(tick: int, every: int) -> int:
    """The next of these ticks."""
    return tick + every - tick % every
