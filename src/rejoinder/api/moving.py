"""The routes that move sessions: one out as a file, one in from a file."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import aclosing, contextmanager
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from rejoinder.api import connection
from rejoinder.api.dependencies import OWNER, AppSettings, ChatService, IdempotencyKey, OpenStreams, SessionKey
from rejoinder.api.import_gate import ImportGate
from rejoinder.api.problems import EdgeError
from rejoinder.api.responses import NO_STORE, answers, json_answer, problems
from rejoinder.api.sse import Streams
from rejoinder.api.strict_json import StrictRoute
from rejoinder.chat import ids
from rejoinder.chat.export_format import Lines
from rejoinder.chat.importing import BadLine, Imported, Reader
from rejoinder.entities import Session
from rejoinder.errors import Invalid, Overloaded, RejoinderError

log = logging.getLogger(__name__)

MEDIA_TYPE = "application/jsonl"

TAKEN = (MEDIA_TYPE, "application/x-ndjson", "application/x-jsonlines")
"""What a file may be called when it comes in: there is no registered name, and these are in use."""

AT_ONCE = 2
"""Imports of a process at a time. Each may hold twice `max_import` in memory."""

YIELD = 16
"""Lines after which others get their turn: a millisecond or two of work."""

PATIENCE = 60.0
"""Seconds that an import may take in the store, above the usual patience and what its size takes."""

A_SECOND = 256 << 10
"""Bytes that a slow store takes in a second, indexing every word."""

FILE = {MEDIA_TYPE: {"schema": {"type": "string", "format": "binary"}}}

router = APIRouter(prefix="/v1", tags=["moving"], route_class=StrictRoute)


class FileStream(Response):
    """Writes a file in pieces. Where it cannot be told to its end the connection is broken off, never ended cleanly."""

    media_type = MEDIA_TYPE
    streams = True

    def __init__(self, streams: Streams, pieces: AsyncGenerator[bytes, None], headers: Mapping[str, str]) -> None:
        self.status_code = 200
        self.background = None
        self.body = b""
        self.init_headers({"content-type": MEDIA_TYPE, **NO_STORE, **headers})
        # init_headers would count a length for the empty body, and nobody knows it yet.
        del self.headers["content-length"]
        self._streams = streams
        self._pieces = pieces

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        task = asyncio.current_task()
        assert task is not None
        leaving = asyncio.create_task(connection.left(receive))
        self._streams.opened(task, ends=True)
        try:
            await self._write(send, leaving)
        except asyncio.CancelledError:
            if not self._streams.letting_go:
                raise
            task.uncancel()
        except TimeoutError:
            log.info("a reader of an export that took nothing for %g s was cut", self._streams.write_timeout)
            connection.abort(scope)
        except RejoinderError as why:
            log.warning("an export was broken off: %s", why.detail)
        finally:
            self._streams.closed(task)
            leaving.cancel()

    async def _write(self, send: Send, leaving: asyncio.Task[None]) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        async with aclosing(self._pieces) as pieces:
            async for piece in pieces:
                await self._send(send, piece, more=True)
                if leaving.done():  # a server takes everything for a client that has gone
                    return
        await self._send(send, b"", more=False)

    async def _send(self, send: Send, body: bytes, *, more: bool) -> None:
        # In parts, since a picture is one line, and a slow reader is not to hold a copy of it.
        for part in connection.parts(body, more=more):
            async with asyncio.timeout(self._streams.write_timeout):
                await send(part)


class Imports:
    """The imports that run in this process."""

    def __init__(self) -> None:
        self._running = 0

    @contextmanager
    def running(self) -> Iterator[None]:
        """Raises Overloaded where there are enough."""
        if self._running >= AT_ONCE:
            raise Overloaded("Other files are being imported just now.")
        self._running += 1
        try:
            yield
        finally:
            self._running -= 1


async def _imports(request: Request) -> Imports:
    imports: Imports = request.app.state.imports
    return imports


@router.get(
    "/sessions/{sid}/export",
    status_code=200,
    response_class=FileStream,
    responses={200: {"description": "The session as a file.", "content": FILE}, **problems(404, 503)},
)
async def export_session(chat: ChatService, open_streams: OpenStreams, key: SessionKey) -> Response:
    """Fetch a session as JSON Lines, with all branches; what is still being written goes as interrupted.

    A connection that breaks off means that the file is not whole; so does a file without its last line."""
    if open_streams.full:
        raise Overloaded("Too many streams are open just now.")
    pieces = await chat.exporting.begin(key)
    return FileStream(open_streams, pieces, {"content-disposition": f'attachment; filename="{key.session_id}.jsonl"'})


@router.post(
    "/import",
    status_code=201,
    responses=answers(Session, "The session.", 201, "Location") | problems(400, 408, 409, 413, 415, 422, 503),
    openapi_extra={"requestBody": {"required": True, "content": FILE}},
)
async def import_session(
    request: Request,
    chat: ChatService,
    settings: AppSettings,
    imports: Annotated[Imports, Depends(_imports)],
    idempotency_key: IdempotencyKey,
) -> Response:
    """Make a session out of such a file, whole or not at all. Its ids and times stay as they are."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in TAKEN:
        raise EdgeError(415, "unsupported_media_type", f"A file is {MEDIA_TYPE}.")
    with imports.running():
        try:
            imported = await _read(request, ImportGate(settings), settings.max_import)
        except ClientDisconnect:
            return Response(status_code=400)  # which nobody reads
        named = None if idempotency_key is None else ids.derived_id("key", OWNER, "import", idempotency_key)
        more = PATIENCE + imported.append.size / A_SECOND
        session = await chat.settled(chat.importing.take(imported, named), more=more)
    return json_answer(session, 201, {"location": f"/v1/sessions/{session.id}"})


async def _read(request: Request, gate: ImportGate, limit: int) -> Imported:
    """What the body holds, taken line by line as it comes. Raises BadLine, and a 413."""
    too_large = EdgeError(413, "payload_too_large", f"A file may have {limit} bytes.")
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > limit:
        raise too_large
    reader, lines, size, number = Reader(OWNER, gate), Lines(), 0, 0
    async for piece in request.stream():
        size += len(piece)
        if size > limit:
            raise too_large
        for line in lines.feed(piece):
            reader.take(line)
            number += 1
            if number % YIELD == 0:
                await asyncio.sleep(0)
        if lines.held > gate.max_line:
            raise BadLine(number + 1, Invalid(f"A line may have {gate.max_line} bytes."))
    for line in lines.rest():
        reader.take(line, unended=True)
    return reader.whole()
