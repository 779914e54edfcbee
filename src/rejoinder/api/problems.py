"""Errors as problem documents (RFC 9457), each with its status and a stable code."""

from collections.abc import Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import Any

import msgspec
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from rejoinder.api.methods import allowed
from rejoinder.entities import JsonObject
from rejoinder.errors import (
    Conflict,
    Invalid,
    InvalidCursor,
    LeaseLost,
    NotFound,
    RejoinderError,
    SessionGone,
    Unavailable,
    first_of,
)

MEDIA_TYPE = "application/problem+json"

NOBODY_ELSE_S = {"x-content-type-options": "nosniff", "cross-origin-resource-policy": "same-origin"}
"""Of every answer: it is what it says, and no page of another origin may take it in without asking (see `edge.py`)."""

STATUS: dict[type[RejoinderError], int] = {
    InvalidCursor: 400,
    NotFound: 404,
    SessionGone: 404,
    Conflict: 409,
    Invalid: 422,
    Unavailable: 503,
    LeaseLost: 503,
}

HTTP_CODES = {
    404: "not_found",
    405: "method_not_allowed",
    406: "not_acceptable",
    413: "payload_too_large",
    415: "unsupported_media_type",
}


MOST_TOLD = 20
"""Errors of one request that are told."""


class EdgeError(HTTPException):
    """What HTTP itself gets wrong. An HTTPException, so that FastAPI lets it pass wherever it is raised.

    `members` are further members of the problem document.
    """

    def __init__(
        self, status: int, code: str, detail: str, headers: Mapping[str, str] | None = None, **members: Any
    ) -> None:
        super().__init__(status, detail, headers)
        self.code = code
        self.members = members


def malformed_json(detail: str) -> EdgeError:
    return EdgeError(400, "malformed_json", detail)


def unfit(detail: str, loc: str = "body") -> EdgeError:
    """JSON that cannot be kept. Not an `Invalid`, which FastAPI would make a 400 of where it reads a body."""
    return EdgeError(422, Invalid.code, detail, errors=[{"loc": loc, "message": detail}])


def problem(status: int, code: str, detail: str, headers: Mapping[str, str] | None = None, **members: Any) -> Response:
    """A response that carries a problem document; `members` are further members of it."""
    document: JsonObject = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "code": code,
        **members,
    }
    sent = {"cache-control": "no-store", **NOBODY_ELSE_S, **(headers or {})}
    return Response(msgspec.json.encode(document), status, sent, media_type=MEDIA_TYPE)


def of_error(error: RejoinderError) -> Response:
    """What the core raised, told to the client."""
    status = next((STATUS[kind] for kind in type(error).__mro__ if kind in STATUS), 500)
    headers: dict[str, str] = {}
    members: dict[str, Any] = {}
    match error:
        case Conflict(extra=extra):
            # SDKs that retry a 409 by default would only meet it again.
            headers["x-should-retry"] = "false"
            members = dict(extra)
        case Invalid(errors=errors, detail=detail):
            members["errors"] = errors or [{"loc": "body", "message": detail}]
        case Unavailable(retry_after=seconds):
            headers["retry-after"] = str(seconds)
        case LeaseLost():
            headers["retry-after"] = "1"
            return problem(status, "store_unavailable", "This worker is just taking up its work again.", headers)
    return problem(status, error.code, error.detail, headers, **members)


def install(app: FastAPI) -> None:
    """Makes every error of the app a problem document."""
    app.add_exception_handler(RejoinderError, _on_error)
    app.add_exception_handler(RequestValidationError, _on_invalid)
    app.add_exception_handler(HTTPException, _on_http)
    app.add_exception_handler(Exception, _on_fault)


async def _on_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, RejoinderError)
    return of_error(error)


async def _on_invalid(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    errors = _told(error.errors()[: 4 * MOST_TOLD], error.body)[:MOST_TOLD]
    return problem(422, Invalid.code, first_of(errors), errors=errors)


async def _on_http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if isinstance(error, EdgeError):
        return problem(error.status_code, error.code, str(error.detail), error.headers, **error.members)
    code = HTTP_CODES.get(error.status_code, Invalid.code)
    headers = {"allow": allowed(request.app, request.scope)} if error.status_code == 405 else error.headers
    return problem(error.status_code, code, str(error.detail), headers)


async def _on_fault(_: Request, __: Exception) -> Response:
    # Starlette has logged it with its traceback; the client learns nothing of our inside.
    return problem(500, RejoinderError.code, "The service failed at this request.")


def _told(found: Sequence[Any], body: Any) -> list[JsonObject]:
    """What Pydantic has found, but for what it found of kinds of value that were not meant: of a text that may be a list, it tells what
    is wrong with the text, and that this is no list."""
    places = [_place(error, body) for error in found]
    told = []
    for path, error in zip(places, found, strict=True):
        meant = any(
            other[: len(path)] == path and (len(other) > len(path) or not _is_of_kind(another))
            for other, another in zip(places, found, strict=True)
        )
        if not (_is_of_kind(error) and meant):
            told.append({"loc": place(path), "message": str(error["msg"]).removeprefix("Value error, ")})
    return told


def _place(error: Any, body: Any) -> tuple[int | str, ...]:
    whole, *inside = error["loc"]
    return (whole, *(path_in(body, inside, error["type"]) if whole == "body" else inside))


def _is_of_kind(error: Any) -> bool:
    """Whether it says that the value is of another kind: no text, no list."""
    return bool(error["type"].endswith("_type"))


def place(parts: Iterable[int | str]) -> str:
    """A place in a request as `errors` name it. A client's own names may be long, and are told by their beginnings."""
    return ".".join(str(part)[:64] for part in parts)


def path_in(said: Any, loc: Sequence[int | str], kind: str) -> list[int | str]:
    """Where in what was said an error of this kind lies, by Pydantic's place of it: without the names that it has for the kinds
    of value that it tried."""
    path: list[int | str] = []
    for at, part in enumerate(loc, 1):
        match said, part:
            case dict(), str() if part in said:
                said = said[part]
            case list(), int() if part < len(said):
                said = said[part]
            case dict(), str() if kind == "missing" and at == len(loc):
                pass
            case _:
                continue
        path.append(part)
    return path
