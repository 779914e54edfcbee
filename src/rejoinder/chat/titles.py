"""Titles: made by the model from the first turns of a session that has none, aside, when a reply has ended.

Nothing waits for a title: neither the first token of a reply nor its end, nor a shutdown. It is decided like every change of a
session, so one that the user gives meanwhile stays, and it reaches readers as `session.updated`.
"""

import asyncio
import logging
import re

from msgspec import structs

from rejoinder.chat import aside
from rejoinder.chat.decisions import Decision, Decisions, change
from rejoinder.chat.history import History
from rejoinder.chat.models import Models
from rejoinder.chat.wording import plain_text
from rejoinder.entities import Header, JsonObject, Key, Message, Session
from rejoinder.errors import Invalid, NotFound, ProviderError, StoreUnavailable
from rejoinder.events import Draft, SessionUpdated, TitleMade, draft

log = logging.getLogger(__name__)

FIRST_TURNS = 6
"""Messages of a branch after which no title is tried for any more: an upstream that makes none is not asked for ever."""

READ = 1_000
"""Code points of each message that the model reads: a title needs no more."""

LONGEST = 80
"""Code points of a title."""

SECONDS = 60.0

INSTRUCTION = (
    "You give conversations a title: two to six words that say what it is about, in the language of the conversation, "
    "without quotation marks and without a full stop. Answer with the title alone."
)


class Titles:
    """`chosen` is the model that makes them: "" for the one that replied, `off` for none."""

    def __init__(self, decisions: Decisions, history: History, models: Models, chosen: str) -> None:
        self._decisions = decisions
        self._history = history
        self._models = models
        self._chosen = chosen
        self._making: dict[Key, asyncio.Task[None]] = {}
        self.closed = False
        """Whether none are begun any more: the service is about to stop, and would only break them off."""

    def consider(self, key: Key, reply_id: str) -> None:
        """After the end of a reply: makes a title where the session needs one, without keeping anybody waiting."""
        if self._chosen != "off" and not self.closed and key not in self._making:
            task = self._making[key] = asyncio.create_task(self._consider(key, reply_id), name=f"title of {key[1]}")
            task.add_done_callback(lambda _: self._making.pop(key, None))

    async def close(self) -> None:
        tasks = list(self._making.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _consider(self, key: Key, reply_id: str) -> None:
        try:
            session = (await self._decisions.header(key)).session
            if session.title is not None:
                return
            row = await self._history.row(key, reply_id)
            if row.depth >= FIRST_TURNS:
                return
            rows = await self._history.rows_above(key, row)
            told = await self._history.plain(key, [*rows, row])
            reply = told[-1]
            if reply.content and reply.model is not None:
                await self._make(key, session, told, self._chosen or reply.model)
        except (ProviderError, Invalid, NotFound, StoreUnavailable) as fault:
            log.info("no title for session %s: %s", key.session_id, fault)
        except Exception:
            log.exception("no title for session %s, by a fault of our own", key.session_id)

    async def _make(self, key: Key, begun: Session, told: list[Message], model: str) -> None:
        asked = _asked(told)
        answer = await aside.answer_aside(self._models, model, asked, begun.params, most=4 * LONGEST, seconds=SECONDS)
        title = tidy(answer.text)
        made = TitleMade(title=title, model=model, usage=answer.usage)

        async def plan(header: Header) -> Decision[None]:
            session, drafts = header.session, list[Draft]([draft(made)])
            if not session.may_be(begun.created_at, 0):
                return Decision(None)  # it was deleted meanwhile, and what has its id is another one
            if session.title is None and title:
                session = structs.replace(session, title=title, updated_at=self._decisions.now(session))
            # Also where it is as it was: streams skip the note, and a session whose last event no reader sees would look ahead of
            # its readers.
            drafts.append(draft(SessionUpdated(session=session)))
            asides = header.asides.with_one(made.usage, title=True)
            return Decision(None, change(key, header, session, tuple(drafts), asides=asides))

        await self._decisions.decide(key, plan)


def tidy(text: str) -> str:
    """A title out of what a model said: its first line, without marks around it, cut at a word. "" where nothing is left."""
    line = next(filter(None, (line.strip(_MARKS) for line in text.splitlines())), "")
    line = re.sub(r"^title\s*:\s*", "", line, flags=re.IGNORECASE).strip(_MARKS)
    line = " ".join(line.split())
    if len(line) <= LONGEST:
        return line
    cut = line[:LONGEST]
    return f"{cut.rsplit(' ', 1)[0] if ' ' in cut[LONGEST // 2 :] else cut[:-1]}…"


_MARKS = " \t\"'`*#_.“”«»„「」"


def _asked(told: list[Message]) -> tuple[JsonObject, ...]:
    lines = [f"{message.role.capitalize()}: {plain_text(message)[:READ]}" for message in told if message.role != "tool"]
    said = "\n".join(line for line in lines if line)
    return (
        {"role": "system", "content": INSTRUCTION},
        {"role": "user", "content": f"Give this conversation a title.\n\n{said}"},
    )
