"""Methods that no route has by itself: HEAD is a GET of which the headers are told, OPTIONS tells what a path allows.

FastAPI has a route for each method of a path, and knows of one of them where the method is wrong: what a path allows is asked of all.
"""

from collections.abc import Awaitable, Iterable

from fastapi import FastAPI
from starlette.responses import Response
from starlette.routing import BaseRoute, Match
from starlette.types import Message, Receive, Scope, Send

ORDER = ("GET", "HEAD", "POST", "PATCH", "DELETE", "OPTIONS")


def allowed(app: FastAPI, scope: Scope) -> str:
    """The methods of the path of a request, as `Allow` tells them. Empty where nothing is there."""
    # What is below a mount is looked for from the top again.
    asked = {**scope, "root_path": scope.get("app_root_path", scope.get("root_path", ""))}
    found = {method for route in app.router.routes for method in _methods(route, asked)}
    return ", ".join(method for method in ORDER if method in found | {"OPTIONS"}) if found else ""


def _methods(route: BaseRoute, scope: Scope) -> Iterable[str]:
    if route.matches(scope)[0] is Match.NONE:
        return ()
    methods: set[str] = getattr(route, "methods", None) or {"GET"}  # a folder of files has GET alone
    # The head of a stream says nothing that would be worth a place among the streams.
    streams = getattr(getattr(route, "response_class", None), "streams", False)
    return methods | {"HEAD"} if "GET" in methods and not streams else methods


class Methods:
    """The app, with HEAD and OPTIONS."""

    def __init__(self, app: FastAPI) -> None:
        self._app = app

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        # No coroutine of its own for any other, which a stream would hold for as long as it is open.
        special = scope.get("method") in ("HEAD", "OPTIONS")
        return (self._answer if special else self._app)(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        methods = allowed(self._app, scope)
        if methods and scope["method"] == "OPTIONS":
            await Response(status_code=204, headers={"allow": methods})(scope, receive, send)
        elif "HEAD" in methods and scope["method"] == "HEAD":
            await self._app({**scope, "method": "GET"}, receive, _without_body(send))
        else:
            await self._app(scope, receive, send)


def _without_body(send: Send) -> Send:
    async def sending(message: Message) -> None:
        await send({**message, "body": b""} if message["type"] == "http.response.body" else message)

    return sending
