"""The routes about the service as a whole: what happens in all of its sessions, its models, its health, its figures."""

import asyncio

from fastapi import APIRouter, Request
from starlette.responses import PlainTextResponse, Response

from rejoinder.api import negotiation
from rejoinder.api.dependencies import OWNER, AppSettings, ChatService, OpenStreams
from rejoinder.api.responses import NO_STORE, Model, ModelList, answers, endless, json_answer, problems
from rejoinder.api.sse import EventStream, NotNow
from rejoinder.errors import StoreUnavailable

router = APIRouter(tags=["service"])


@router.get(
    "/v1/events",
    tags=["sessions"],
    response_class=EventStream,
    status_code=200,
    responses=endless("What happens in all sessions.") | problems(406),
)
async def overview_events(
    request: Request, chat: ChatService, settings: AppSettings, open_streams: OpenStreams
) -> Response:
    """Follow all sessions, for lists and marks: first a `snapshot` of those that are writing, then what is made, changed,
    begun, ended and deleted, without the text of replies on its way. Never ends by itself; a connection that is made
    again begins with a snapshot again."""
    negotiation.check_stream(request.headers)
    try:
        await chat.overview.check(OWNER)
    except StoreUnavailable:
        return NotNow()
    if open_streams.full:
        return NotNow()
    return EventStream(open_streams, lambda _: chat.overview.follow(OWNER, idle=settings.heartbeat))


@router.get("/v1/models", responses=answers(ModelList, "The models."))
async def list_models(chat: ChatService) -> Response:
    """The models that a session may name, the default first."""
    models = chat.models
    listed = [
        Model(id=name, default=name == models.default, prefill=models.prefills(name))
        for name in await models.available()
    ]
    return json_answer(ModelList(data=listed))


@router.get("/healthz")
async def alive() -> Response:
    """Whether the process lives."""
    return json_answer({"status": "alive"})


@router.get("/readyz", responses=problems(503))
async def ready(chat: ChatService, settings: AppSettings) -> Response:
    """Whether the process can serve: its store can be written, and it is not about to stop."""
    try:
        async with asyncio.timeout(settings.store_patience):
            await chat.store.ping()
    except TimeoutError as late:
        raise StoreUnavailable("The store does not answer.") from late
    if chat.store_failing is not None:
        raise chat.store_failing
    if chat.draining:
        raise StoreUnavailable("The server is about to stop.")
    return json_answer({"status": "ready"})


@router.get("/metrics", response_class=PlainTextResponse)
async def metrics(request: Request, chat: ChatService, open_streams: OpenStreams) -> Response:
    """Figures in the text format of Prometheus."""
    text, media_type = request.app.state.metrics.text(live_replies=len(chat.replies), open_streams=len(open_streams))
    return Response(text, headers=NO_STORE, media_type=media_type)
