"""What a client wants to get for a message that it sends: a stream, the whole answer, or just a receipt."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Literal, TypeAlias

from starlette.datastructures import Headers

from rejoinder.api.problems import EdgeError

Form: TypeAlias = Literal["stream", "whole", "receipt"]

STREAM = "text/event-stream"
JSON = "application/json"


def form_of(headers: Headers) -> Form:
    """By `Accept` and `Prefer`. Raises a 406 where the client takes neither form."""
    ranges = _ranges(_said(headers, "accept"))
    stream, json = _quality(ranges, STREAM), _quality(ranges, JSON)
    if json and "respond-async" in _preferences(headers) and not ranges.get(STREAM):
        return "receipt"
    if not stream and not json:
        raise EdgeError(406, "not_acceptable", f"The answer is {STREAM} or {JSON}.")
    if stream == json:
        return "whole" if JSON in ranges and STREAM not in ranges else "stream"
    return "stream" if stream > json else "whole"


def check_stream(headers: Headers) -> None:
    """Raises a 406 where the client does not take a stream."""
    if not _quality(_ranges(_said(headers, "accept")), STREAM):
        raise EdgeError(406, "not_acceptable", f"The answer is {STREAM}.")


@lru_cache
def _ranges(accept: str) -> Mapping[str, float]:
    """The media ranges of an Accept header with their qualities. None at all means any."""
    ranges: dict[str, float] = {}
    for part in accept.split(","):
        media, *params = (piece.strip().lower() for piece in part.split(";"))
        if media:
            ranges[media] = next((_number(param[2:]) for param in params if param.startswith("q=")), 1.0)
    return ranges or {"*/*": 1.0}


def _quality(ranges: Mapping[str, float], media: str) -> float:
    """Of the most specific range that a media type falls in."""
    kind = media.partition("/")[0]
    return next((ranges[found] for found in (media, f"{kind}/*", "*/*") if found in ranges), 0.0)


def _number(text: str) -> float:
    try:
        return min(max(float(text), 0.0), 1.0)
    except ValueError:
        return 0.0


def _preferences(headers: Headers) -> set[str]:
    return {part.partition(";")[0].strip().lower() for part in _said(headers, "prefer").split(",")}


def _said(headers: Headers, name: str) -> str:
    """A header of which there may be several lines, which are one list."""
    return ",".join(headers.getlist(name))
