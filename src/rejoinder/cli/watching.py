"""One reply on the screen, from wherever it is to its end. Ctrl-C stops it; a second one leaves it to itself."""

import asyncio
import signal
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing, contextmanager, suppress

from rejoinder.cli.display import Display
from rejoinder.client import Client, Received
from rejoinder.entities import Message
from rejoinder.errors import RejoinderError
from rejoinder.events import MessageCreated, MessageDelta, MessageEnded, MessageReset

LEFT = "[left: the reply goes on without you, and /history shows it]"
LEFT_EARLY = "[left: whether the message has arrived is not known; the same words again are the same message]"


class Watching:
    """`reply_id` is that of a reply that had begun before; else it is told by the first events."""

    def __init__(self, client: Client, session_id: str, display: Display, reply_id: str | None = None) -> None:
        self.interrupted = False
        self._client, self._session_id, self._display = client, session_id, display
        self._reply_id = reply_id
        self._known = asyncio.Event()
        if reply_id is not None:
            self._known.set()
        self._thinks = False
        self._shown = 0
        """Code points of its text that are on the screen."""

    async def watch(self, events: AsyncGenerator[Received, None], so_far: str = "") -> None:
        """Shows what there is of the reply, then the events to their end. Raises RejoinderError where the server refuses
        or stays away."""
        self._reading = asyncio.create_task(self._read(events))
        self._stopping: asyncio.Task[None] | None = None
        try:
            with _on_ctrl_c(self._interrupt):
                self._text(so_far)  # in here: whoever sees it may want to stop it
                await asyncio.wait({self._reading})
        finally:
            # Whatever has been asked for has been answered by the end of the reply.
            tasks = [task for task in (self._reading, self._stopping) if task is not None]
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
        if self._reading.cancelled():
            self._display.note(LEFT if self._known.is_set() else LEFT_EARLY)
        else:
            self._reading.result()

    def _interrupt(self) -> None:
        self.interrupted = True
        if self._stopping is not None:
            self._reading.cancel()
            return
        self._stopping = asyncio.create_task(self._stop())
        if self._display.away:
            self._display.note("[it is stopped as soon as the server is back; Ctrl-C again leaves it to itself]")

    async def _stop(self) -> None:
        """Also before the first event has come: the reply is stopped as soon as its id is known."""
        await self._known.wait()
        assert self._reply_id is not None
        try:
            await self._client.stop(self._session_id, self._reply_id)
        except RejoinderError as error:
            self._display.note(f"[it could not be stopped: {error.detail}]")

    async def _read(self, events: AsyncGenerator[Received, None]) -> None:
        async with aclosing(events) as received:
            async for each in received:
                self._display.answered()
                self._show(each)

    def _show(self, received: Received) -> None:
        match received.fact:
            case MessageCreated(message=Message(role="assistant") as reply):
                self._reply_id = reply.id
                self._known.set()
            case MessageDelta(part="content", text=text):
                self._text(text)
            case MessageDelta(part="reasoning") if not self._thinks:
                self._thinks = True
                self._display.note("[thinking]")
            case MessageReset(reason=reason):
                self._shown = 0
                self._display.note(f"[that attempt broke off ({reason}); the reply begins anew]")
            case MessageEnded(message=reply):
                if isinstance(reply.content, str):  # who comes back late finds its last pieces gone, and the whole here
                    self._text(reply.content[self._shown :])
                self._display.end(reply)
            case _:
                pass

    def _text(self, text: str) -> None:
        self._display.text(text)
        self._shown += len(text)


@contextmanager
def _on_ctrl_c(do: Callable[[], None]) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    with suppress(NotImplementedError):  # where a loop cannot handle signals, Ctrl-C leaves
        loop.add_signal_handler(signal.SIGINT, do)
    try:
        yield
    finally:
        with suppress(NotImplementedError):
            loop.remove_signal_handler(signal.SIGINT)
