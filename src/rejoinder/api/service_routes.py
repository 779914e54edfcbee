"""The routes about the service itself: its models, its health, its figures."""

import asyncio

from fastapi import APIRouter, Request
from starlette.responses import PlainTextResponse, Response

from rejoinder.api.dependencies import AppSettings, ChatService, OpenStreams
from rejoinder.api.responses import Model, ModelList, answers, json_answer, problems
from rejoinder.errors import StoreUnavailable

router = APIRouter(tags=["service"])


@router.get("/v1/models", responses=answers(ModelList, "The models."))
async def list_models(chat: ChatService) -> Response:
    """The models that a session may name, the default first."""
    names = await chat.models.available()
    return json_answer(ModelList(data=[Model(id=name, default=name == chat.models.default) for name in names]))


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
    return Response(text, media_type=media_type)
