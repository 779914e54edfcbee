"""The calls of the client. Each may come twice, so each is made again while the server cannot answer."""

import uuid
from collections.abc import AsyncGenerator, Mapping
from typing import Any, BinaryIO, Self, Unpack

import httpx2
from msgspec import Struct

from rejoinder.client import moving
from rejoinder.client.asking import Asking
from rejoinder.client.overview import OverviewReading, Told
from rejoinder.client.reading import OnWait, Patience, Reading, Received
from rejoinder.client.shapes import MessageFields, Model, SessionFields, Turn
from rejoinder.entities import JsonObject, Message, Session
from rejoinder.errors import NotFound
from rejoinder.fold import History

CONNECT = 10.0
"""Seconds to reach the server. Then it is as good as down, and the wait before the next attempt begins."""

LOOPBACK = ("127.0.0.1", "::1", "localhost")


class Client:
    """A client of one server, used inside `async with`, by as many tasks at once as you like.

    `silence`: seconds without a byte after which a stream is taken to be dead: three heartbeats of the server (15 s).
    `patience`: seconds of trouble after which a call raises ConnectionLost; trouble ends with the next event.
    `on_wait(error, seconds)` is called before each wait, for whoever wants to show it.
    """

    def __init__(
        self,
        base_url: str = "http://127.0.0.1:8000",
        *,
        headers: Mapping[str, str] | None = None,
        silence: float = 45.0,
        patience: float = 300.0,
        on_wait: OnWait | None = None,
    ) -> None:
        if httpx2.URL(base_url).scheme not in ("http", "https"):
            raise ValueError(f"An address begins with http:// or https://, and {base_url!r} does not.")
        self._patience, self._on_wait = patience, on_wait
        self._http = httpx2.AsyncClient(
            base_url=base_url,
            # As browsers send them: a key that was read from a file may end with its line.
            headers={name: value.strip() for name, value in (headers or {}).items()},
            timeout=httpx2.Timeout(silence, connect=CONNECT, pool=None),
            # Every stream holds a connection: with a limit, the next call would wait for some reply to end.
            limits=httpx2.Limits(max_connections=None),
            # Whatever proxy the environment names, it is not between us and our own machine.
            trust_env=httpx2.URL(base_url).host not in LOOPBACK,
        )
        self._asking = Asking(self._http, self._new_patience)

    async def __aenter__(self) -> Self:
        await self._http.__aenter__()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._http.aclose()

    # sessions

    async def create_session(self, session_id: str | None = None, **fields: Unpack[SessionFields]) -> Session:
        """Makes a session. The same id and fields again return the one that is there."""
        return await self._asking.call(Session, "POST", "/v1/sessions", {"id": session_id or new_id("ses"), **fields})

    async def session(self, session_id: str) -> Session:
        return await self._asking.call(Session, "GET", _path(session_id))

    async def sessions(self, *, page: int | None = None) -> AsyncGenerator[Session, None]:
        """All sessions, newest activity first, fetched `page` at a time, or as many as the server chooses."""
        query = _page_of(page)
        while True:
            found = await self._asking.call(_SessionPage, "GET", "/v1/sessions", query=query)
            for session in found.data:
                yield session
            if not found.has_more:
                return
            query["after"] = found.next

    async def change_session(self, session_id: str, **fields: Unpack[SessionFields]) -> Session:
        """Changes what is given and nothing else. `params` and `metadata` are replaced whole."""
        return await self._asking.call(Session, "PATCH", _path(session_id), {**fields})

    async def rename(self, session_id: str, title: str | None) -> Session:
        return await self.change_session(session_id, title=title)

    async def set_head(self, session_id: str, message_id: str) -> Session:
        """Chooses the message at which the branch ends that the session shows by default."""
        return await self._asking.call(Session, "PATCH", _path(session_id), {"head": message_id})

    async def delete(self, session_id: str) -> None:
        """Deletes a session for good; its running replies are stopped first. Raises SessionNotFound."""
        patience = self._new_patience()
        try:
            await self._asking.call(object, "DELETE", _path(session_id), patience=patience)
        except NotFound:
            if not patience.tried:  # else an attempt before this one did it, and its answer was lost
                raise

    async def models(self) -> list[Model]:
        """The models that a session may name."""
        return (await self._asking.call(_ModelList, "GET", "/v1/models")).data

    # messages

    async def history(self, session_id: str, *, branch: str | None = None, page: int | None = None) -> History:
        """The whole history: of the branch that ends at the head, at message `branch`, or of "all" messages.

        However many pages it takes and whatever happens meanwhile, it is as of one seq. To a history of "all" the
        events behind its `as_of` can be applied with `rejoinder.fold.fold`: that gives the history fetched later.
        A page has `page` messages, or as many as the server lets it have.
        """
        tip = branch or (await self.session(session_id)).head  # the head may move between two pages
        query = _page_of(page) | ({"branch": tip} if tip else {})
        messages: dict[str, Message] = {}
        while True:
            found = await self._asking.call(_Page, "GET", f"{_path(session_id)}/messages", query=query)
            messages.update((message.id, message) for message in found.data)
            if not found.has_more:
                break
            query |= {"as_of": found.as_of, "after": found.data[-1].id}
        # The session comes last: its changes behind `as_of` are told again by the events, those before would not be.
        return History(session=await self.session(session_id), messages=messages, as_of=found.as_of)

    async def message(self, session_id: str, message_id: str) -> Message:
        """One message as it is now."""
        return await self._asking.call(Message, "GET", _path(session_id, message_id))

    def send(
        self,
        session_id: str,
        content: str | list[JsonObject] | None,
        message_id: str | None = None,
        **fields: Unpack[MessageFields],
    ) -> AsyncGenerator[Received, None]:
        """Sends a message (None as its content where `results` of tools are sent) and yields the events of its turn: the
        message, then the reply to its `message.ended`.

        The same `message_id` and content again read the same turn from its start, also from another process.
        Raises what the server refuses (SessionBusy, Invalid, …), ConnectionLost, and BrokenLog where text is missing or
        doubled. A reply that failed is no exception: its `message.ended` tells. Whoever leaves the loop early
        should hold the generator in `contextlib.aclosing`, which lets go of the connection; the reply goes on.
        """
        body = _message(message_id, content, fields)
        return self._asking.read(Reading(f"{_path(session_id)}/messages", self._new_patience(), body=body))

    async def start(
        self,
        session_id: str,
        content: str | list[JsonObject] | None,
        message_id: str | None = None,
        **fields: Unpack[MessageFields],
    ) -> Turn:
        """Sends a message, but returns as soon as the server has taken it. `follow_reply` reads the reply."""
        body = _message(message_id, content, fields)
        return await self._asking.call(Turn, "POST", f"{_path(session_id)}/messages", body, {"prefer": "respond-async"})

    def follow_reply(
        self, session_id: str, reply_id: str, *, after: int | None = None
    ) -> AsyncGenerator[Received, None]:
        """The events of one reply to its `message.ended`, from its start or behind the seq `after`.

        Yields nothing where the reply had ended by then.
        """
        return self._asking.read(Reading(f"{_path(session_id, reply_id)}/events", self._new_patience(), cursor=after))

    def follow_session(self, session_id: str, *, after: int = 0) -> AsyncGenerator[Received, None]:
        """Every event of a session behind the seq `after`, then those to come, for ever: until it is deleted, which
        raises SessionNotFound."""
        path = f"{_path(session_id)}/events"
        return self._asking.read(Reading(path, self._new_patience(), cursor=after, one_reply=False))

    def overview(self) -> AsyncGenerator[Told, None]:
        """What happens in all sessions, for ever, but for the text of replies on its way: first a `Snapshot` of those that are
        writing, and another one wherever something may have been missed."""
        return self._asking.read(OverviewReading(self._new_patience()))

    async def stop(self, session_id: str, reply_id: str) -> Message:
        """Ends a reply and returns it once it has ended. To leave off reading is not to stop: the reply goes on."""
        return await self._asking.call(Message, "POST", f"{_path(session_id, reply_id)}/stop")

    # moving

    async def export_session(self, session_id: str, file: BinaryIO) -> None:
        """Writes a session into a binary file that can be read and sought, whole. Raises SessionNotFound."""
        await moving.fetch(self._http, f"{_path(session_id)}/export", file, self._new_patience())

    async def import_session(self, file: BinaryIO) -> Session:
        """Makes a session out of such a file. Raises AlreadyExists, and Invalid for a file that is not whole or not right."""
        # So that an import whose answer was lost is found and not refused.
        key = {"idempotency-key": uuid.uuid4().hex}
        return await moving.put(self._http, "/v1/import", file, key, self._new_patience())

    # all the rest

    async def request(
        self,
        method: str,
        path: str,
        body: JsonObject | None = None,
        *,
        query: Mapping[str, str | int] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        """Makes any request of the HTTP interface that is answered with JSON, such as those that have no call of their own here.

        `path` begins with `/v1/`, `body` is sent as JSON. Returns the decoded JSON, None where the answer has none. Raises as
        every call does: what the server refuses as the error that has its code, ConnectionLost when the patience is at its
        end, and UnexpectedAnswer for what is no JSON. Until then it is made again while the server cannot answer. So that
        this makes nothing twice, a POST without an `id` in its body gets an Idempotency-Key, unless `headers` have one.

            fork = await client.request("POST", f"/v1/sessions/{session.id}/fork", {"at": message.id})
        """
        sent = {name.lower(): value for name, value in (headers or {}).items()}
        if method.upper() == "POST" and "id" not in (body or {}):
            sent.setdefault("idempotency-key", uuid.uuid4().hex)
        return await self._asking.call(object, method.upper(), path, body, sent, None if query is None else dict(query))

    def _new_patience(self) -> Patience:
        return Patience(self._patience, self._on_wait)


def new_id(prefix: str) -> str:
    """An id that a client may choose: `ses` for a session, `msg` for a message."""
    return f"{prefix}_{uuid.uuid4().hex}"


def _message(message_id: str | None, content: str | list[JsonObject] | None, fields: MessageFields) -> JsonObject:
    said: JsonObject = {} if content is None else {"content": content}
    return {"id": message_id or new_id("msg"), **said, **fields}


def _page_of(items: int | None) -> JsonObject:
    """Of so many, or of the server's choice: what it lets a page have is a setting."""
    return {} if items is None else {"limit": items}


def _path(session_id: str, message_id: str | None = None) -> str:
    path = f"/v1/sessions/{session_id}"
    return path if message_id is None else f"{path}/messages/{message_id}"


class _Page(Struct):
    data: list[Message]
    has_more: bool
    as_of: int


class _SessionPage(Struct):
    data: list[Session]
    has_more: bool
    next: str | None


class _ModelList(Struct):
    data: list[Model]
