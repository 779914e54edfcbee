"""What a conversation looks like: its words on standard output, and what there is to say about them on standard error.

So a pipe gets the replies alone, to the letter. On a terminal both are one screen, where no text of a model may move the
cursor, rename the window or play with the clipboard.
"""

import sys

from rejoinder.entities import Message, Status
from rejoinder.errors import RejoinderError

HARMLESS: dict[int, str | None] = {
    **dict.fromkeys((*range(0x20), *range(0x7F, 0xA0)), "\N{REPLACEMENT CHARACTER}"),
    ord("\n"): "\n",
    ord("\t"): "\t",
    ord("\r"): None,
}

NOTES = {Status.STOPPED: "stopped", Status.INTERRUPTED: "interrupted", Status.FAILED: "failed"}


def harmless(text: str) -> str:
    """The text without the control characters that a terminal obeys."""
    return text.translate(HARMLESS)


class Display:
    def __init__(self, *, on_terminal: bool) -> None:
        self.away = False
        """Whether the server was away when it was last asked."""
        self._on_terminal = on_terminal
        self._mid_line = False

    def text(self, text: str) -> None:
        if text:
            print(harmless(text) if self._on_terminal else text, end="", flush=True)
            self._mid_line = not text.endswith("\n")

    def end_line(self) -> None:
        if self._mid_line:
            self.text("\n")

    def pause(self) -> None:
        """The words end here for now. A pipe gets what there were, and no line end that nobody wrote."""
        if self._on_terminal:
            self.end_line()

    def note(self, text: str) -> None:
        """Something about the conversation, which is none of its words."""
        self.pause()
        print(harmless(text), file=sys.stderr, flush=True)

    def end(self, reply: Message) -> None:
        """How a reply ended, where it did not just end well."""
        self.end_line()
        if (note := NOTES.get(reply.status)) is not None:
            self.note(f"[{note}: {reply.error.message}]" if reply.error else f"[{note}]")
        elif reply.finish_reason == "length":
            self.note("[the model's limit of tokens was reached]")
        elif reply.tool_calls:
            names = ", ".join(call.function.name for call in reply.tool_calls)
            self.note(f"[it calls tools, which nobody answers here: {names}]")

    def wait(self, failure: Exception, seconds: float) -> None:
        """The client waits before it asks again. Said once, not with every attempt."""
        if not self.away:
            self.away = True
            said = (
                f" ({failure.detail})" if isinstance(failure, RejoinderError) else ""
            )  # the line's own words help nobody
            self.note(f"[the server is away{said}; trying on]")

    def answered(self) -> None:
        if self.away:
            self.away = False
            self.note("[back again]")
