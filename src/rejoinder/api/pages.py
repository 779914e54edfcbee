"""The chat page and the interactive reference: static files with a strict Content-Security-Policy."""

from pathlib import Path

from fastapi import FastAPI
from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route
from starlette.staticfiles import StaticFiles
from starlette.types import Receive, Scope, Send

from rejoinder.api.problems import NOBODY_ELSE_S

FOLDER = Path(__file__).parent.parent / "page"

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data: blob:; "
    "font-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
PAGE_POLICY = f"{POLICY}; require-trusted-types-for 'script'; trusted-types rejoinder"
"""Text becomes HTML by one function of the page alone: see `page/text/safe.js`."""
REFERENCE_POLICY = POLICY.replace("style-src 'self'", "style-src 'self' 'unsafe-inline'")
"""The reference is Swagger UI, which sets styles on its elements."""

HEADERS = {
    "cache-control": "no-cache",
    **NOBODY_ELSE_S,
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
}


class PageFiles(StaticFiles):
    """The page's own files, asked for anew each time, so that a new version is seen at once."""

    def file_response(self, *args: object, **kwargs: object) -> Response:
        response = super().file_response(*args, **kwargs)  # type: ignore[arg-type]
        response.headers.update(HEADERS)
        return response


def install(app: FastAPI) -> None:
    # Streams are never compressed, so the page's files have this each for themselves.
    app.router.routes.append(Route("/", GZipMiddleware(_page), methods=["GET"]))
    app.mount("/page", GZipMiddleware(PageFiles(directory=FOLDER), compresslevel=6))

    @app.get("/docs", include_in_schema=False)
    async def reference() -> Response:
        headers = HEADERS | {"content-security-policy": REFERENCE_POLICY}
        return FileResponse(FOLDER / "reference.html", headers=headers)

    @app.get("/openapi.json", include_in_schema=False)
    async def schema() -> Response:
        return JSONResponse(app.openapi(), headers=HEADERS)


async def _page(scope: Scope, receive: Receive, send: Send) -> None:
    headers = HEADERS | {"content-security-policy": PAGE_POLICY}
    await FileResponse(FOLDER / "index.html", headers=headers)(scope, receive, send)
