"""The edge: which hosts the service answers to, and which sites' pages may use it. Plain ASGI, before any routing.

A page of another site can make a browser send requests to a service on its user's machine. So the Host must be known
(against DNS rebinding), and what changes state must come from the service's own origin or a configured one. So must what reads:
the page could not see the answer, but how long it takes tells whether a word stands in somebody's chats.
"""

from collections.abc import Iterable

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rejoinder.api import connection
from rejoinder.api.problems import problem
from rejoinder.errors import quoted

OPEN_PATHS = ("/healthz", "/readyz")
"""Asked by load balancers under whatever address they know."""

SAFE_METHODS = ("GET", "HEAD", "OPTIONS")

API = "/v1/"

OTHERS = ("cross-site", "same-site")
"""What browsers say in `Sec-Fetch-Site` of a request that a page of another origin makes, with an Origin or without."""

ALLOWED_HEADERS = "Authorization, Content-Type, Idempotency-Key, Last-Event-ID, Prefer"
EXPOSED_HEADERS = "Location, Content-Location, Preference-Applied, Retry-After"
ALLOWED_METHODS = "GET, POST, PATCH, DELETE"


class Edge:
    def __init__(self, app: ASGIApp, *, hosts: Iterable[str], origins: Iterable[str]) -> None:
        self._app = app
        self._hosts = frozenset(host.lower().removesuffix(".") for host in hosts)
        self._origins = frozenset(origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        with connection.at_hand(scope, send):
            await self._http(scope, receive, send)

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        origin = headers.get("origin", "").lower()
        allowed = origin in self._origins
        host = _host(headers)
        if scope["path"] not in OPEN_PATHS and host not in self._hosts:
            remedy = "REJOINDER_HOSTS names the hosts under which it is."
            said = f"This service is not known under the host name {quoted(host)}. {remedy}"
            answer: Response | None = problem(403, "unknown_host", said)
        else:
            answer = self._refusal_or_preflight(scope, headers, origin, allowed)
        if allowed:
            send = _with_cors(send, headers["origin"])
        await (answer or self._app)(scope, receive, send)

    def _refusal_or_preflight(self, scope: Scope, headers: Headers, origin: str, allowed: bool) -> Response | None:
        if origin and _is_own(origin, headers):
            return None
        preflight = bool(origin) and scope["method"] == "OPTIONS" and "access-control-request-method" in headers
        changes = bool(origin) and scope["method"] not in SAFE_METHODS
        reads = headers.get("sec-fetch-site") in OTHERS and scope["path"].startswith(API)
        if not allowed and (preflight or changes or reads):
            which = f"the origin {quoted(origin)}" if origin else "another origin"
            remedy = "REJOINDER_ORIGINS names those whose pages may."
            return problem(403, "foreign_origin", f"Pages of {which} may not use this service. {remedy}")
        if not preflight:
            return None
        return Response(
            status_code=204,
            headers={
                "access-control-allow-methods": ALLOWED_METHODS,
                "access-control-allow-headers": ALLOWED_HEADERS,
                "access-control-max-age": "600",
            },
        )


def _host(headers: Headers) -> str:
    """The Host without its port, and without the dot at the end of a name that is told from the root."""
    host = headers.get("host", "").lower()
    name, colon, port = host.rpartition(":")
    return (name if colon and port.isdecimal() else host).removesuffix(".")


def _is_own(origin: str, headers: Headers) -> bool:
    """Whether the page came from this service. The scheme is left out, since a proxy may have ended TLS."""
    return origin.partition("://")[2] == headers.get("host", "").lower()


def _with_cors(send: Send, origin: str) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            headers["access-control-allow-origin"] = origin
            headers["access-control-expose-headers"] = EXPOSED_HEADERS
            headers.add_vary_header("origin")
        await send(message)

    return sending
