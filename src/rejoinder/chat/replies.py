"""The replies that this worker is writing: started, stopped by a wake, drained at shutdown, given up with the lease."""

import asyncio
import logging
from collections.abc import Coroutine, Sequence
from typing import Any

from rejoinder.abc import Wake
from rejoinder.chat.endings import failed, interrupted, stopped
from rejoinder.chat.generation import Generation, Tools, patiently
from rejoinder.chat.recovery import Recovery
from rejoinder.chat.starting import Start
from rejoinder.chat.tails import Tails
from rejoinder.chat.titles import Titles
from rejoinder.entities import Key
from rejoinder.errors import LeaseLost, SessionNotFound

log = logging.getLogger(__name__)

END_SECONDS = 5.0
"""How long a shutdown waits for the ends of halted replies to be committed: longer only where the store is away."""


class Replies:
    def __init__(self, tools: Tools, recovery: Recovery, titles: Titles, tails: Tails) -> None:
        self._tools = tools
        self._recovery = recovery
        self._titles = titles
        self._tails = tails
        self._live: dict[tuple[Key, str], Generation] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._looking: asyncio.Task[None] | None = None
        self._drained = False

    def __len__(self) -> int:
        return len(self._live)

    def start(self, key: Key, start: Start) -> None:
        """Writes a reply to its end, whoever reads it. Once all others have had their time, it is left to whoever comes after."""
        if self._drained:
            log.warning("reply %s is left to recovery: the service is about to stop", start.reply.id)
            return
        if start.mine.epoch != self._tools.decisions.writer.epoch:
            log.warning("reply %s is left to recovery: the lease was lost as it began", start.reply.id)
            return
        generation = Generation(key, start, self._tools)
        self._live[key, start.reply.id] = generation
        # Whoever comes to read a live reply finds what is new of it in memory.
        tail = self._tails.hold(key)
        self._spawn(self._run(generation)).add_done_callback(lambda _: self._tails.let_go(key, tail))

    def on_wakes(self, wakes: Sequence[Wake]) -> None:
        """Halts what someone, on this worker or another, asked to stop: the durable event is the order."""
        for wake in wakes:
            if wake.deleted or not wake.events:
                if there := [reply for (key, _), reply in self._live.items() if key == wake.key]:
                    self._spawn(self._look(wake.key, there))
                continue
            for event in wake.events:
                if event.type == "message.stopping" and (mine := self._live.get((wake.key, event.message_id or ""))):
                    mine.halt(stopped())

    def look(self) -> None:
        """Looks whether a live reply is to stop, where the wake that said so may have been lost. Returns at once."""
        if self._looking is None or self._looking.done():
            self._looking = self._spawn(self._look_at_all())

    async def drain(self, seconds: float) -> None:
        """Lets live replies run on for so long. Then they end as interrupted; or they are left, with all of their text
        committed, to go on under whoever comes after, where the settings say so. Returns when that is committed."""
        if self._tasks and seconds > 0:
            await asyncio.wait(self._tasks, timeout=seconds)
        # What a store that comes back only now has taken of a send is nobody's to end here any more.
        self._drained = True
        if self._recovery.goes_on:
            left = list(self._live.values())
            await self.abandon()
            try:
                await asyncio.wait_for(self._commit(left), END_SECONDS)
            except TimeoutError:
                log.warning("the store was away until the end: the last of the text is asked for again")
            return
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

    async def _commit(self, left: list[Generation]) -> None:
        told = await asyncio.gather(*(generation.commit_text() for generation in left), return_exceptions=True)
        for generation, fault in zip(left, told, strict=True):
            if isinstance(fault, LeaseLost):
                log.warning("the lease was lost before the last of reply %s was committed", generation.reply.id)
            elif fault is not None:
                # Of our own. The others have their text all the same, and the service comes to its end.
                log.error("the last of reply %s could not be committed", generation.reply.id, exc_info=fault)

    async def _run(self, generation: Generation) -> None:
        try:
            await generation.run()
            self._titles.consider(generation.key, generation.reply.id)
        except LeaseLost:
            log.warning("reply %s is left to the worker that took over", generation.reply.id)
        except Exception:
            # A fault of our own. Nobody else will look at this reply while our lease holds, so it is recovered at once.
            log.exception("reply %s could not be ended as it should", generation.reply.id)
            fault = failed("internal_error", "The service failed while it wrote this reply.")
            await patiently(lambda: self._recovery.end(generation.key, generation.mine, fault))
        finally:
            if self._live.get((generation.key, generation.reply.id)) is generation:
                del self._live[generation.key, generation.reply.id]

    async def _look(self, key: Key, mine: list[Generation]) -> None:
        """A wake that told nothing: what it was about stands in the header."""
        try:
            header = await patiently(lambda: self._tools.decisions.header(key))
            going_on = {reply.id for reply in header.open if not reply.stopping}
        except SessionNotFound:
            going_on = set()
        for generation in mine:
            if generation.reply.id not in going_on:
                generation.halt(stopped())

    async def _look_at_all(self) -> None:
        # One after the other: hundreds at once would be in the way of those who wait for an answer.
        for key in {key for key, _ in self._live}:
            await self._look(key, [reply for (of, _), reply in self._live.items() if of == key])

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task
