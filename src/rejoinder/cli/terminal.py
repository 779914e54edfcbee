"""`rejoinder chat`: a terminal client of a running server, as a person uses it or with its messages piped in.

The prompt is read in the main thread, where Ctrl-C means what it always means; while a reply is read, Ctrl-C stops it.
"""

import asyncio
import signal
import sys
from collections.abc import AsyncGenerator, Coroutine
from contextlib import aclosing, suppress
from typing import Any, TypeVar

from rejoinder.client import Client, Received
from rejoinder.entities import Message, Session, Status
from rejoinder.errors import RejoinderError
from rejoinder.events import MessageCreated, MessageDelta, MessageEnded, MessageReset

T = TypeVar("T")

HELP = """\
/new        begin a new session
/sessions   list the newest sessions
/history    show this session's messages
/quit       leave (as does Ctrl-D); Ctrl-C stops a reply that is being written"""

NOTES = {
    Status.STOPPED: "stopped",
    Status.INTERRUPTED: "interrupted",
    Status.FAILED: "failed",
}
LISTED = 10


class Terminal:
    """Talks in `session_id`, or in a new session with this model."""

    def __init__(self, url: str, session_id: str | None, model: str | None) -> None:
        self._url = url
        self._session_id = session_id
        self._model = model
        self._interactive = sys.stdin.isatty()
        self._waits = False

    def run(self) -> None:
        """Until the input ends. Raises RejoinderError where the server refuses or stays away."""
        with asyncio.Runner() as runner:
            self._runner = runner
            client = Client(self._url, on_wait=self._on_wait)
            self._do(client.__aenter__())
            try:
                self._open(client)
                self._talk(client)
            finally:
                self._do(client.__aexit__())

    def _do(self, work: Coroutine[Any, Any, T]) -> T:
        return self._runner.run(work)

    # the conversation

    def _open(self, client: Client) -> None:
        if self._session_id is None:
            self._begin(client)
        else:
            self._do(self._show_history(client))
        if self._interactive:
            self._note(f"Session {self._session_id}. /help lists what there is.")

    def _begin(self, client: Client) -> None:
        fields = {} if self._model is None else {"model": self._model}
        session: Session = self._do(client.create_session(**fields))  # type: ignore[arg-type]  # a name is what it takes
        self._session_id = session.id

    def _talk(self, client: Client) -> None:
        while (line := self._line()) is not None:
            try:
                self._obey(client, line.strip())
            except StopIteration:
                return

    def _line(self) -> str | None:
        """The next message; None at the end of the input."""
        try:
            return input("\n> " if self._interactive else "")
        except (EOFError, KeyboardInterrupt):
            if self._interactive:
                print()
            return None

    def _obey(self, client: Client, line: str) -> None:
        """Raises StopIteration where the user wants to leave."""
        match line:
            case "":
                return
            case "/quit" | "/exit":
                raise StopIteration
            case "/help":
                self._note(HELP)
            case "/new":
                self._begin(client)
                self._note(f"Session {self._session_id}.")
            case "/sessions":
                self._do(self._show_sessions(client))
            case "/history":
                self._do(self._show_history(client))
            case _:
                self._send(client, line)

    def _send(self, client: Client, line: str) -> None:
        try:
            self._do(self._read(client, client.send(str(self._session_id), line)))
        except RejoinderError as error:
            if not self._interactive:
                raise
            self._note(error.detail)

    # what is shown

    async def _read(self, client: Client, events: AsyncGenerator[Received, None], reply_id: str = "") -> None:
        """Shows a reply to its end. Ctrl-C asks for that end."""
        wanted = asyncio.Event()
        stopping = asyncio.create_task(self._stop_when(wanted, client))
        self._reply_id = reply_id
        loop = asyncio.get_running_loop()
        with suppress(NotImplementedError):  # where signals cannot be handled in a loop, Ctrl-C leaves
            loop.add_signal_handler(signal.SIGINT, wanted.set)
        try:
            async with aclosing(events) as received:
                async for each in received:
                    self._show(each)
        finally:
            with suppress(NotImplementedError):
                loop.remove_signal_handler(signal.SIGINT)
            if not wanted.is_set():
                stopping.cancel()
            await asyncio.gather(stopping, return_exceptions=True)

    async def _stop_when(self, wanted: asyncio.Event, client: Client) -> None:
        await wanted.wait()
        while not self._reply_id:  # noqa: ASYNC110  # it comes with the first events, or the send fails
            await asyncio.sleep(0.05)
        await client.stop(str(self._session_id), self._reply_id)

    def _show(self, received: Received) -> None:
        if self._waits:
            self._waits = False
            self._note("[back again]")
        match received.fact:
            case MessageCreated(message=Message(role="assistant") as reply):
                self._reply_id = reply.id
            case MessageDelta(part="content", text=text):
                print(text, end="", flush=True)
            case MessageReset():
                self._note("\n[that attempt broke off; the reply begins anew]")
            case MessageEnded(message=reply):
                print(flush=True)
                self._show_end(reply)
            case _:
                pass

    def _show_end(self, reply: Message) -> None:
        if (note := NOTES.get(reply.status)) is not None:
            self._note(f"[{note}: {reply.error.message}]" if reply.error else f"[{note}]")

    async def _show_history(self, client: Client) -> None:
        history = await client.history(str(self._session_id))
        for message in history.messages.values():
            text = message.content if isinstance(message.content, str) else "[parts]"
            live = message.role == "assistant" and not message.status.ended
            print(f"> {text}" if message.role == "user" else text, end="" if live else "\n", flush=True)
            if live:
                reading = client.follow_reply(str(self._session_id), message.id, after=history.as_of)
                await self._read(client, reading, message.id)
            elif message.role == "assistant":
                self._show_end(message)

    async def _show_sessions(self, client: Client) -> None:
        shown = 0
        async with aclosing(client.sessions(page=LISTED)) as sessions:
            async for session in sessions:
                print(f"{session.id}  {session.updated_at[:19].replace('T', ' ')}  {session.title or '–'}")
                shown += 1
                if shown == LISTED:
                    break

    def _on_wait(self, failure: Exception, seconds: float) -> None:
        if not self._waits:
            self._waits = True
            why = str(failure) or type(failure).__name__
            self._note(f"\n[the server is away ({why}); trying on]")

    def _note(self, text: str) -> None:
        """What is not the conversation goes to standard error, so that a pipe gets the replies alone."""
        print(text, file=sys.stderr, flush=True)
