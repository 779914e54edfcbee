"""Wake-ups within one process: a call of each listener. Enough wherever one process holds the store."""

from collections.abc import Callable, Sequence
from typing import Self

from rejoinder.abc import Signals, Wake


class LocalSignals(Signals):
    reliable = True

    def __init__(self) -> None:
        self._listeners: list[Callable[[Wake], None]] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._listeners.clear()

    def publish(self, wakes: Sequence[Wake]) -> None:
        for wake in wakes:
            for listener in self._listeners:
                listener(wake)

    def listen(self, listener: Callable[[Wake], None]) -> None:
        self._listeners.append(listener)
