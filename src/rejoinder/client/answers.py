"""What a server answers instead of what was asked, as the errors of the core: the way back from `api/problems.py`."""

import math
from email.utils import parsedate_to_datetime

import httpx2
import msgspec

from rejoinder import errors
from rejoinder.entities import JsonObject
from rejoinder.errors import Conflict, Invalid, RejoinderError, Unavailable

BY_CODE: dict[str, type[RejoinderError]] = {
    kind.code: kind
    for kind in (
        errors.NotFound,
        errors.SessionNotFound,
        errors.MessageNotFound,
        errors.SessionBusy,
        errors.QueueFull,
        errors.CannotContinue,
        errors.NotAReply,
        errors.AlreadyExists,
        errors.Invalid,
        errors.IdempotencyMismatch,
        errors.InvalidCursor,
        errors.Overloaded,
        errors.StoreUnavailable,
    )
}

LATER = (408, 429, 502, 503, 504, *range(520, 531))
"""Statuses that pass by themselves. Proxies send them too, with a body of their own; those from 520 on are Cloudflare's."""

PROBLEM = ("type", "title", "status", "detail", "code", "errors")


class UnexpectedAnswer(RejoinderError):
    """What answers there is no Rejoinder, or something in between changes what it says."""

    code = "unexpected_answer"


def checked(response: httpx2.Response) -> httpx2.Response:
    """The response where it is a success, else raises its error. Its body must have been read if it is none."""
    if response.is_success:
        return response
    raise error_of(response)


def error_of(response: httpx2.Response) -> RejoinderError:
    problem = _problem(response)
    code = problem.get("code")
    asked = response.request.url.copy_with(userinfo=b"")  # a password is told by no error
    to = f", which points to {response.headers['location']}" if response.has_redirect_location else ""
    said = f"{response.request.method} {asked} was answered by {response.status_code}{to}."
    if code is None:
        return _unavailable(Unavailable(said), response) if response.status_code in LATER else UnexpectedAnswer(said)
    fallback = Unavailable if response.status_code in LATER else RejoinderError
    kind = BY_CODE.get(code, fallback)
    error = kind.__new__(kind)
    # Some kinds make their sentence out of an id; here it has been made.
    # And where there is no such path, the path is all that tells what is wrong.
    RejoinderError.__init__(error, said if code == errors.NotFound.code else str(problem.get("detail", "")))
    error.code = code
    match error:
        case Conflict():
            error.extra = {name: str(value) for name, value in problem.items() if name not in PROBLEM}
        case Invalid():
            error.errors = list(problem.get("errors", ()))
        case Unavailable():
            return _unavailable(error, response)
    return error


def _problem(response: httpx2.Response) -> JsonObject:
    if not response.headers.get("content-type", "").startswith("application/problem+json"):
        return {}
    try:
        return msgspec.json.decode(response.content, type=JsonObject)
    except msgspec.DecodeError:
        return {}


def _unavailable(error: Unavailable, response: httpx2.Response) -> Unavailable:
    error.retry_after = _delay(response.headers)
    return error


def _delay(headers: httpx2.Headers) -> int:
    """Seconds that `Retry-After` asks for. It may be a date, by the clock that `Date` tells; without one our own waits do."""
    said = headers.get("retry-after", "")
    try:
        if said.isascii() and said.isdecimal():
            return int(said)
        wait = parsedate_to_datetime(said) - parsedate_to_datetime(headers.get("date", ""))
    except (ValueError, TypeError):  # no date, or only one of them has a zone
        return 0
    return max(0, math.ceil(wait.total_seconds()))
