"""The app: settings in, an ASGI application out. The only file of the API that knows every adapter."""

import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from fastapi import FastAPI
from starlette.types import ASGIApp

import rejoinder
from rejoinder.api import messages, moving, pages, problems, reference, replies, search, service_routes, sessions
from rejoinder.api.edge import Edge
from rejoinder.api.methods import Methods
from rejoinder.api.metrics import Metrics
from rejoinder.api.shutdown import drained_on_signal
from rejoinder.api.sse import Streams
from rejoinder.chat.attempts import Retrying
from rejoinder.chat.growth import Keeping
from rejoinder.chat.models import Models
from rejoinder.chat.service import Chat, Rules
from rejoinder.chat.watchdog import ReplyLimits
from rejoinder.errors import Misconfigured, quoted
from rejoinder.llm import open_provider
from rejoinder.settings import Settings
from rejoinder.signals import open_signals
from rejoinder.stores import open_store

log = logging.getLogger(__name__)


def create_app(settings: Settings | None = None) -> ASGIApp:
    """The service over HTTP. Without settings they are read from the environment. Nothing opens before its lifespan."""
    settings = settings or Settings()
    app = FastAPI(
        title="Rejoinder",
        version=rejoinder.__version__,
        description="A chat service in which a reply cannot be lost.",
        lifespan=_lifespan,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,  # it would name http:// also where a proxy speaks https://
        telemetry={"tracing": False, "metrics": False, "logs": False},  # else looked for at every request
    )
    app.state.settings = settings
    app.state.streams = Streams(settings.max_streams, settings.write_timeout)
    app.state.imports = moving.Imports()
    app.state.metrics = Metrics()
    for part in (messages, sessions, replies, moving, search, service_routes):  # FastAPI looks through them in order
        # As the app's own: routes of a router that is included are matched twice, and take three more calls, at every request.
        app.router.routes += part.router.routes
    pages.install(app)
    problems.install(app)
    reference.install(app)
    return Edge(Methods(app), hosts=settings.known_hosts(), origins=settings.origins)


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Opens everything in order and closes it in reverse."""
    settings: Settings = app.state.settings
    streams: Streams = app.state.streams
    async with AsyncExitStack() as stack:
        store = await stack.enter_async_context(open_store(settings.store))
        signals = await stack.enter_async_context(open_signals(settings.store, settings.signals))
        signals.listen(app.state.metrics.on_wakes)
        models = await _open_models(stack, settings)
        chat = Chat(store, signals, models, _rules(settings))
        app.state.chat = await stack.enter_async_context(chat)
        signals.listen(lambda _: streams.outbox.send())  # the last to be told: now readers have been given all there is

        async def drain() -> None:
            await chat.drain(settings.drain)
            await streams.let_go()

        await stack.enter_async_context(drained_on_signal(drain, lambda: chat.drain(0)))
        yield
        await streams.let_go(grace=0)


async def _open_models(stack: AsyncExitStack, settings: Settings) -> Models:
    names = settings.models()
    providers = {}
    # A session may name models of further upstreams also where no default does.
    for name in (*names, *settings.upstreams):
        prefix = name.partition(":")[0]
        if prefix not in providers:
            providers[prefix] = await stack.enter_async_context(open_provider(name, settings))
    models = Models(names, providers, settings.prefill, settings.context_windows, settings.extra_params)
    if settings.title_model != "off" and not models.known(models.listed(settings.title_model)):
        raise Misconfigured(
            f"REJOINDER_TITLE_MODEL: there is no model {quoted(settings.title_model)} here. Its provider is one of those of "
            "REJOINDER_MODEL (further models follow there after commas) or REJOINDER_UPSTREAMS."
        )
    for setting, named in (("PREFILL", settings.prefill), ("CONTEXT_WINDOWS", settings.context_windows)):
        for name in named:
            if not models.has(name):
                log.warning(
                    "REJOINDER_%s names %s, which is no model here and changes nothing: one is PROVIDER:NAME, or PROVIDER for all of them, "
                    "with a provider of REJOINDER_MODEL or REJOINDER_UPSTREAMS",
                    *(setting, quoted(name)),
                )
    return models


def _rules(settings: Settings) -> Rules:
    limits = ReplyLimits(
        max_bytes=settings.max_reply,
        max_seconds=settings.max_reply_seconds,
        max_delta=settings.max_delta,
        first_token_timeout=settings.first_token_timeout,
        stall_timeout=settings.stall_timeout,
    )
    return Rules(
        limits=limits,
        lease=settings.lease,
        patience=settings.store_patience,
        max_queue=settings.max_queue,
        retrying=Retrying(retries=settings.retries, wait=settings.retry_wait),
        after_crash=settings.after_crash,
        title_model=settings.title_model,
        keeping=Keeping(deltas=settings.keep_deltas, sessions=settings.session_ttl),
    )
