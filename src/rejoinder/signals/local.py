"""Wake-ups within one process: a call of each listener. Enough wherever one process holds the store.

The signals of several processes are these, and a way to the others.
"""

from collections.abc import Sequence
from typing import Self

from rejoinder.abc import Listener, Signals, Wake


class LocalSignals(Signals):
    reliable = True

    def __init__(self) -> None:
        self._listeners: list[Listener] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._listeners.clear()

    def publish(self, wakes: Sequence[Wake]) -> None:
        for listener in self._listeners:
            listener(wakes)

    def listen(self, listener: Listener) -> None:
        self._listeners.append(listener)
