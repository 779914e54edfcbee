"""The process: uvicorn with the app, quiet where it must be, saying where to open it."""

import errno
import gc
import logging
import os
import socket
import sys
from collections.abc import Awaitable
from contextlib import suppress
from ipaddress import ip_address

import uvicorn
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rejoinder.api.app import create_app
from rejoinder.api.request_heads import BoundedHeads
from rejoinder.errors import RejoinderError
from rejoinder.logs import SafeLines
from rejoinder.settings import Settings

log = logging.getLogger(__name__)

FILES = 256
"""Files that may be open beside those of streams: the store's, what listens, requests. An upstream's of a live reply is one of these."""

NEW_OBJECTS = 10_000
"""From one look for cycles to the next: some MB at most that wait for it."""
OLDER = 50
"""Looks at what is new, to one that goes through what those have left as well, which is all that is live."""


def serve(settings: Settings) -> None:
    """Serves until a signal. Raises RejoinderError where a setting or the store keeps it from starting, and CannotListen.

    Exits with 3 for a fault of our own, which the log tells.
    """
    log_to_stderr()
    for name, meant in Settings.unknown():
        log.warning("%s is no setting and changes nothing%s", name, f": is {meant} meant?" if meant else "")
    if not settings.hosts and not _is_loopback(settings.host):
        log.warning(
            "it listens on %s and answers to the host names %s alone: name in REJOINDER_HOSTS those under which it is reached",
            settings.host,
            ", ".join(settings.known_hosts()),
        )
    open_many_files(settings.max_streams)
    app = _PlainStart(create_app(settings))
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,
        server_header=False,
        interface="asgi3",
        http=BoundedHeads,
        lifespan="on",
        ws="none",
        proxy_headers=False,  # nobody asks who the client is, or by which scheme it came
        # Readers are gone by then: what is left are requests that are being answered.
        timeout_graceful_shutdown=5,
        timeout_keep_alive=75,
        backlog=4096,
    )
    try:
        Server(config).run()
    except SystemExit:
        if app.refusal is not None:
            raise app.refusal from None
        raise


class CannotListen(RejoinderError):
    """The address cannot be had."""

    code = "cannot_listen"


def open_many_files(streams: int) -> None:
    """Lets this process open as many files as it may, since each stream is one. Says so where that is too few for so many streams."""
    if sys.platform == "win32":
        return  # where only memory bounds them
    import resource

    allowed, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    for wanted in (most, streams + FILES):  # macOS takes no boundless number
        if _fits(allowed, wanted):
            continue
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))
        except (OSError, ValueError, OverflowError):  # the last for a number that no system has
            continue
        allowed = wanted
    if not _fits(allowed, streams + FILES):
        log.warning(
            "only %d files may be open here: that is room for some %d streams, and REJOINDER_MAX_STREAMS is %d; raise the limit "
            "(`ulimit -Hn`, `LimitNOFILE`, `--ulimit nofile`) or lower the setting",
            *(allowed, max(0, allowed - FILES), streams),
        )


def _fits(allowed: int, wanted: int) -> bool:
    """Whether a limit is as high as another. No limit is -1 or, elsewhere, a great number."""
    return allowed == wanted or allowed < 0 or 0 <= wanted < allowed


class _PlainStart:
    """The app, whose refusal to start is kept in `refusal`: a sentence for a person, which needs no traceback."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self.refusal: RejoinderError | None = None

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        # No coroutine of its own, which a stream would hold for as long as it is open.
        if scope["type"] == "lifespan":
            return self._live(scope, receive, send)
        return self._app(scope, receive, send)

    async def _live(self, scope: Scope, receive: Receive, send: Send) -> None:
        failed: list[Message] = []

        async def held_back(message: Message) -> None:
            if message["type"] == "lifespan.startup.failed":
                failed.append(message)
            else:
                await send(message)

        try:
            await self._app(scope, receive, held_back)
        except RejoinderError as refusal:
            self.refusal = refusal
            failed = [{"type": "lifespan.startup.failed", "message": ""}]
        finally:
            for message in failed:
                await send(message)


class Server(uvicorn.Server):
    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        try:
            await super().startup(sockets)
        except SystemExit as end:
            # Uvicorn has closed the app by then, and tells no more of the cause than this.
            if isinstance(end.__context__, OSError):
                raise _cannot_listen(self.config.host, self.config.port, end.__context__) from end
            raise
        if self.started:
            look_for_cycles_seldom()
            with suppress(OSError):  # nobody may be there to be told
                print(f"Rejoinder is at {_address(self)}", flush=True)


def look_for_cycles_seldom() -> None:
    """Python looks for objects that hold each other whenever 700 are new. Here hundreds of replies make that many all the time
    and leave hardly any such behind: the looks took a tenth of the service's CPU, and stopped it for 80 ms at a time.

    What start-up has made is there for good, and is not looked through any more.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(NEW_OBJECTS, OLDER)


def _cannot_listen(host: str, port: int, why: OSError) -> CannotListen:
    place = _place(host, port)
    if isinstance(why, socket.gaierror) or why.errno == errno.EADDRNOTAVAIL:
        return CannotListen(f"{host} is no address of this machine; choose another with --host.")
    if why.errno == errno.EADDRINUSE:
        return CannotListen(f"{place} is in use; choose another with --port.")
    if why.errno == errno.EACCES:
        return CannotListen(f"This user may not listen on {place}; choose another with --port.")
    return CannotListen(f"{place} cannot be listened on: {os.strerror(why.errno or 0)}.")


def _address(server: uvicorn.Server) -> str:
    host, port = server.servers[0].sockets[0].getsockname()[:2]
    shown = "127.0.0.1" if host in ("0.0.0.0", "::") else host  # noqa: S104  # it is compared, not bound
    return f"http://{_place(shown, port)}"


def _place(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:  # a name
        return host.lower() == "localhost"


def log_to_stderr() -> None:
    to_stderr = logging.StreamHandler()
    to_stderr.setFormatter(SafeLines("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[to_stderr])
    logging.getLogger("uvicorn.error").addFilter(_is_news)
    logging.getLogger("httpx2").setLevel(logging.WARNING)


def _is_news(record: logging.LogRecord) -> bool:
    """Breaking off a stream is how a reader learns that it must resume; to uvicorn it looks like a forgotten end. An address
    that cannot be had is told as CannotListen."""
    if isinstance(record.msg, OSError):
        return False
    return "ASGI callable returned without completing response" not in record.getMessage()
