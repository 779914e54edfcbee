"""The replies that this worker is writing: started, stopped by a wake, drained at shutdown, given up with the lease."""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

from rejoinder.abc import Wake
from rejoinder.chat.decisions import Decisions
from rejoinder.chat.endings import interrupted, stopped
from rejoinder.chat.generation import Generation, patiently
from rejoinder.chat.recovery import Recovery
from rejoinder.chat.sending import Turn
from rejoinder.entities import Key, OpenReply
from rejoinder.errors import SessionNotFound

log = logging.getLogger(__name__)

END_SECONDS = 5.0
"""How long a shutdown waits for the ends of halted replies to be committed: longer only where the store is away."""


class Replies:
    def __init__(
        self, decisions: Decisions, recovery: Recovery, generation: Callable[[Key, Turn, OpenReply], Generation]
    ) -> None:
        self._decisions = decisions
        self._recovery = recovery
        self._generation = generation
        self._live: dict[tuple[Key, str], Generation] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._live)

    def start(self, key: Key, turn: Turn) -> None:
        """Writes the reply of a turn that this worker made to its end, whoever reads it."""
        if turn.mine is None:
            return
        generation = self._generation(key, turn, turn.mine)
        self._live[key, turn.reply.id] = generation
        self._spawn(self._run(generation))

    def on_wake(self, wake: Wake) -> None:
        """Halts what someone, on this worker or another, asked to stop: the durable event is the order."""
        if wake.deleted or not wake.events:
            if mine := [reply for (key, _), reply in self._live.items() if key == wake.key]:
                self._spawn(self._look(wake.key, mine))
            return
        for event in wake.events:
            if event.type == "message.stopping" and (generation := self._live.get((wake.key, event.message_id or ""))):
                generation.halt(stopped())

    async def drain(self, seconds: float) -> None:
        """Lets live replies run on for so long, then interrupts them; returns when their ends are committed."""
        if self._tasks and seconds > 0:
            await asyncio.wait(self._tasks, timeout=seconds)
        for generation in list(self._live.values()):
            generation.halt(interrupted())
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=END_SECONDS)
        await self.abandon()

    async def abandon(self) -> None:
        """Leaves all live replies to whoever recovers them: nothing more is written."""
        tasks = [task for task in self._tasks if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self, generation: Generation) -> None:
        try:
            await generation.run()
        except Exception:
            # A fault of our own. Nobody else will look at this reply while our lease holds, so it is recovered at once.
            log.exception("reply %s could not be ended as it should", generation.reply.id)
            await patiently(lambda: self._recovery.end(generation.key, generation.mine))
        finally:
            del self._live[generation.key, generation.reply.id]

    async def _look(self, key: Key, mine: list[Generation]) -> None:
        """A wake that told nothing: what it was about stands in the header."""
        try:
            header = await patiently(lambda: self._decisions.header(key))
            going_on = {reply.id for reply in header.open if not reply.stopping}
        except SessionNotFound:
            going_on = set()
        for generation in mine:
            if generation.reply.id not in going_on:
                generation.halt(stopped())

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
