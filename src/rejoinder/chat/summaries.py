"""Summaries of what a branch no longer sends: made by the model, kept in the log, used again, and extended.

A summary tells a branch from its first message to the message `until`. The record of each prompt names the summary that
was in it, so the next one is found a reply or two above; a summary of its own begins with the one before, and what has been
summarised once is not read again.
"""

from collections.abc import Sequence

from msgspec import Struct

from rejoinder.abc import Row
from rejoinder.chat import aside
from rejoinder.chat.context import TOKEN
from rejoinder.chat.decisions import Decision, Decisions, change
from rejoinder.chat.history import History
from rejoinder.chat.models import Models
from rejoinder.chat.wording import plain_text
from rejoinder.entities import Header, JsonObject, Key, Message
from rejoinder.errors import ProviderError
from rejoinder.events import PromptSent, SummaryMade, draft, note

LOOK_BACK = 10
"""Replies above in which a summary is looked for: failed ones have none, and the next has it."""

FEWEST, MOST = 16, 1024
"""Tokens of a summary: an eighth of the room for the prompt, between these."""

SECONDS = 60.0
"""For one summary. A person is waiting."""

INSTRUCTION = (
    "You keep the notes of a conversation between a user and an assistant. Write down, in plain sentences and in the language "
    "of the conversation, what must be remembered to go on with it: who the user is and what they want, facts, names, numbers, "
    "decisions, and what is still open. Do not answer the user, and add nothing of your own."
)


class Summary(Struct, frozen=True):
    """`seq` is that of its SummaryMade; `until` the last message that it tells of."""

    seq: int
    until: str
    text: str


def size_for(room: float) -> int:
    """Tokens that a summary may take where there is room for so many in all."""
    return int(max(FEWEST, min(MOST, room // 8)))


class Summaries:
    def __init__(self, decisions: Decisions, history: History, models: Models) -> None:
        self._decisions = decisions
        self._history = history
        self._models = models

    async def latest(self, key: Key, replies: Sequence[Row]) -> Summary | None:
        """The summary that the first of these replies (the newest first) made or was asked with that did either."""
        for row in replies[:LOOK_BACK]:
            notes = await self._history.first_notes(key, row)
            for seq, said in reversed(notes):
                if isinstance(said, SummaryMade):
                    return Summary(seq, said.until, said.text)
            for _, said in notes:
                if isinstance(said, PromptSent):
                    if said.summary:
                        return await self.at(key, said.summary)
                    break
        return None

    async def at(self, key: Key, seq: int) -> Summary | None:
        for event in await self._decisions.store.events_at(key, [seq]):
            said = note(event)
            if isinstance(said, SummaryMade):
                return Summary(seq, said.until, said.text)
        return None

    async def extended(
        self,
        key: Key,
        reply: Message,
        model: str,
        params: JsonObject,
        had: Summary | None,
        messages: Sequence[Message],
        room: float,
    ) -> Summary:
        """A summary of what `had` tells and of these messages behind it, made in as many steps as `room` tokens ask for.

        Each step is committed by itself, so none is paid for twice. Raises ProviderError, and SessionNotFound.
        """
        size = size_for(room)
        for told in _portions(messages, int(room / 2 - size) * TOKEN):
            asked = _asked(had, told.text, size)
            answer = await aside.answer_aside(self._models, model, asked, params, most=size * TOKEN, seconds=SECONDS)
            if not answer.text:
                raise ProviderError("upstream_malformed", "The upstream gave no summary.")
            made = SummaryMade(
                message_id=reply.id, until=told.until, text=_whole(answer.text), model=model, usage=answer.usage
            )
            had = Summary(await self._keep(key, made), made.until, made.text)
        assert had is not None
        return had

    async def _keep(self, key: Key, made: SummaryMade) -> int:
        async def plan(header: Header) -> Decision[None]:
            asides = header.asides.with_one(made.usage, title=False)
            return Decision(None, change(key, header, header.session, (draft(made),), asides=asides))

        return (await self._decisions.decide(key, plan)).first


class _Portion(Struct, frozen=True):
    text: str
    until: str


def _portions(messages: Sequence[Message], size: int) -> list[_Portion]:
    """What was said, in portions of at most `size` bytes; a message that is longer loses its middle."""
    found: list[_Portion] = []
    lines: list[str] = []
    taken = 0
    for place, message in enumerate(messages):
        line = _told(message, max(200, size))
        if lines and taken + len(line.encode()) > size:
            found.append(_Portion("\n".join(lines), messages[place - 1].id))
            lines, taken = [], 0
        if line:
            lines.append(line)
            taken += len(line.encode())
    found.append(_Portion("\n".join(lines), messages[-1].id))
    return found


def _told(message: Message, most: int) -> str:
    calls = [f"[calls {call.function.name}({call.function.arguments})]" for call in message.tool_calls]
    text = " ".join(filter(None, (plain_text(message).strip(), *calls)))
    if len(text.encode()) > most:
        half = most // 2 - 10
        text = f"{text.encode()[:half].decode(errors='ignore')} … {text.encode()[-half:].decode(errors='ignore')}"
    return f"{message.role.capitalize()}: {text}" if text else ""


def _asked(had: Summary | None, told: str, size: int) -> tuple[dict[str, str], ...]:
    before = f"The notes so far:\n{had.text}\n\n" if had else ""
    words = max(20, size // 2)
    request = (
        f"{before}What was said {'since' if had else 'so far'}:\n{told}\n\n"
        f"Write the notes {'anew, with all of this in them' if had else 'of this'}, in at most {words} words."
    )
    return {"role": "system", "content": INSTRUCTION}, {"role": "user", "content": request}


def _whole(text: str) -> str:
    """Without the half of a sentence at its end, where it was cut."""
    end = max(text.rfind(mark) for mark in (".", "!", "?", "\n", "。"))
    return text[: end + 1].strip() if end > len(text) // 2 else text
