"""The process: uvicorn with the app, quiet where it must be, saying where to open it."""

import logging
import socket
import sys

import uvicorn

from rejoinder.api.app import create_app
from rejoinder.settings import Settings


def serve(settings: Settings) -> None:
    """Serves until a signal. Raises RejoinderError where a setting or the store keeps it from starting."""
    _log_to_stderr()
    config = uvicorn.Config(
        create_app(settings),
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,
        server_header=False,
        lifespan="on",
        ws="none",
        # Readers are gone by then: what is left are requests that are being answered.
        timeout_graceful_shutdown=5,
        timeout_keep_alive=75,
        backlog=4096,
    )
    server = _Server(config)
    server.run()
    if not server.started:
        sys.exit(3)


class _Server(uvicorn.Server):
    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            print(f"Rejoinder is at {_address(self)}", flush=True)


def _address(server: uvicorn.Server) -> str:
    host, port = server.servers[0].sockets[0].getsockname()[:2]
    shown = "127.0.0.1" if host in ("0.0.0.0", "::") else host  # noqa: S104  # it is compared, not bound
    return f"http://[{shown}]:{port}" if ":" in shown else f"http://{shown}:{port}"


def _log_to_stderr() -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("uvicorn.error").addFilter(_is_news)
    logging.getLogger("httpx2").setLevel(logging.WARNING)


def _is_news(record: logging.LogRecord) -> bool:
    """Breaking off a stream is how a reader learns that it must resume; to uvicorn it looks like a forgotten end."""
    return "ASGI callable returned without completing response" not in record.getMessage()
