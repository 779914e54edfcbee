"""`rejoinder chat`: a terminal client of a running server, as a person uses it or with its messages piped in.

The prompt is read in the main thread, where Ctrl-C means what it always means; while a reply is read, Ctrl-C stops it.
"""

import asyncio
import re
import sys
from collections.abc import AsyncGenerator, Coroutine
from contextlib import aclosing, suppress
from typing import Any, TypeVar

from rejoinder.cli.address import reached
from rejoinder.cli.display import Display
from rejoinder.cli.listing import line, newest
from rejoinder.cli.watching import Watching
from rejoinder.client import Client, Received, SessionFields, new_id
from rejoinder.entities import Message
from rejoinder.errors import Invalid, RejoinderError

T = TypeVar("T")

HELP = """\
/new        begin a new session
/sessions   list the newest sessions
/history    show this session's messages
/help       show this
/quit       leave (as does Ctrl-D); Ctrl-C stops a reply that is being written"""

LISTED = 10

TITLE = 60
"""Characters of its first message by which a new session is called, as on the page."""


class Terminal:
    """Talks in `session_id`, or in a new session with this model."""

    def __init__(self, url: str, session_id: str | None, model: str | None) -> None:
        self._url = url
        self._session_id = session_id or ""
        self._model = model
        self._interactive = sys.stdin.isatty() and sys.stdout.isatty()
        self._untitled = False
        self._unanswered: dict[str, str] = {}
        """The last words, by which id they were sent, while nothing has come of them."""
        self._display = Display(on_terminal=self._interactive)

    def run(self) -> None:
        """Until the input ends. Raises RejoinderError where the server refuses or stays away."""
        if self._interactive:
            with suppress(ImportError):  # not every Python has it; with it, lines can be edited and called back
                import readline  # noqa: F401
        with asyncio.Runner() as runner:
            self._runner = runner
            self._do(self._knock())
            client = Client(self._url, on_wait=self._display.wait)
            self._do(client.__aenter__())
            try:
                self._open(client)
                self._talk(client)
            finally:
                self._do(client.__aexit__())

    def _do(self, work: Coroutine[Any, Any, T]) -> T:
        return self._runner.run(work)

    # the conversation

    async def _knock(self) -> None:
        """Raises Unavailable where there is no server. One that has been there is waited for much longer."""
        async with reached(self._url) as client:
            await client.request("GET", "/v1/sessions", query={"limit": 1})  # what waits for no upstream

    def _open(self, client: Client) -> None:
        if self._session_id:
            self._do(self._show_history(client))
        else:
            self._begin(client)
        if self._interactive:
            self._display.note(f"Session {self._session_id}. /help lists what there is.")

    def _begin(self, client: Client) -> None:
        fields: SessionFields = {} if self._model is None else {"model": self._model}
        self._session_id = self._do(client.create_session(**fields)).id
        self._untitled = True
        self._unanswered = {}

    def _talk(self, client: Client) -> None:
        """Until the user leaves. In a terminal, what goes wrong is told, and the talk goes on."""
        while (said := self._line()) is not None:
            try:
                if not self._obey(client, said.strip()):
                    return
            except RejoinderError as error:
                if not self._interactive:
                    raise
                self._display.note(error.detail)
            except KeyboardInterrupt:
                if not self._interactive:
                    raise

    def _line(self) -> str | None:
        """The next message; None at the end of the input."""
        while True:
            try:
                if self._interactive:
                    print()
                return input("> " if self._interactive else "")
            except EOFError:
                if self._interactive:
                    print()
                return None
            except KeyboardInterrupt:
                if not self._interactive:
                    raise
                self._display.note("\nCtrl-D leaves.")

    def _obey(self, client: Client, said: str) -> bool:
        """False where the user wants to leave."""
        match said:
            case "":
                pass
            case "/quit" | "/exit":
                return False
            case "/help":
                self._display.note(HELP)
            case "/new":
                self._begin(client)
                self._display.note(f"Session {self._session_id}.")
            case "/sessions":
                for session in self._do(newest(client, LISTED)):
                    self._display.text(f"{line(session)}\n")
            case "/history":
                self._do(self._show_history(client))
            case _ if re.fullmatch("/[a-z]+", said):
                self._display.note(f"There is no {said}.\n{HELP}")
            case _:
                self._do(self.send(client, said))
        return True

    async def send(self, client: Client, said: str) -> None:
        """Sends a message and shows the reply. The same words again where nobody has answered are a retry."""
        if self._untitled:
            with suppress(Invalid):  # a server may be set to take shorter ones alone, and the message matters more
                await client.rename(self._session_id, _beginning(said))
            self._untitled = False
        message_id = self._unanswered.get(said) or new_id("msg")
        self._unanswered = {said: message_id}
        await self._watch(client, self._answers(client.send(self._session_id, said, message_id)))

    async def _answers(self, events: AsyncGenerator[Received, None]) -> AsyncGenerator[Received, None]:
        async with aclosing(events) as received:
            async for each in received:
                self._unanswered = {}
                yield each

    # what is shown

    async def _watch(
        self, client: Client, events: AsyncGenerator[Received, None], begun: Message | None = None
    ) -> None:
        """A reply to its end; `begun` is as much of it as there was before."""
        watching = Watching(client, self._session_id, self._display, begun.id if begun else None)
        await watching.watch(events, _text(begun) if begun else "")
        if watching.interrupted and not self._interactive:
            raise KeyboardInterrupt  # whoever piped the messages in wants no further ones sent

    async def _show_history(self, client: Client) -> None:
        history = await client.history(self._session_id)
        for message in history.messages.values():
            if not message.status.ended:
                reading = client.follow_reply(self._session_id, message.id, after=history.as_of)
                await self._watch(client, reading, message)
            elif message.role == "assistant":
                self._display.text(_text(message))
                self._display.end(message)
            else:
                self._display.text(f"> {_text(message)}\n")


def _text(message: Message) -> str:
    return message.content if isinstance(message.content, str) else "[parts]"


def _beginning(said: str) -> str:
    words = " ".join(said.split())
    return words if len(words) <= TITLE else f"{words[:TITLE]}…"
