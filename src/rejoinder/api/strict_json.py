"""The gate for what clients send: a body is read up to a limit, is strict JSON, and its text can be kept by every store."""

import asyncio
import json
import math
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any, NoReturn

from fastapi import Request, Response
from fastapi.routing import APIRoute
from starlette.types import Message, Receive

from rejoinder.api.problems import EdgeError, malformed_json, place, unfit
from rejoinder.entities import BIGGEST


def parse(body: bytes, max_depth: int, max_values: int) -> Any:
    """What a body says.

    Raises a 400 for what is no JSON (NaN and Infinity, invalid UTF-8, an object that names a field twice), and a 422 for
    JSON that has more values than `max_values`, is nested deeper than `max_depth`, or holds a lone surrogate, a NUL or an
    integer beyond 64 bits.
    """
    if not _has_at_most(body, max_values):
        raise unfit(f"The body has more than {max_values} values.")
    try:
        said = _decoder.decode(body.decode())
    except RecursionError as error:
        raise _too_deep(max_depth) from error
    except UnicodeDecodeError as error:
        raise malformed_json("The body is no UTF-8.") from error
    except ValueError as error:
        raise malformed_json(f"The body is no JSON: {error}") from error
    _check(said, max_depth)
    return said


def _has_at_most(body: bytes, values: int) -> bool:
    """Whether JSON has so many values at most, those inside arrays and objects counted: as many as commas and opening brackets.

    Told by the bytes alone, since to decode millions of values, and to look at each, would hold the service up for seconds.
    """
    if _counted(body) <= values:
        return True
    # What stands in strings is left out. Without what is escaped, every quote begins or ends one.
    bare = body.replace(rb"\\", b"").replace(rb"\"", b"")
    if bare.count(b'"') > 4 * values + 2:
        return False  # a string is a value or the name of one, and not all of them are looked at
    return _counted(b" ".join(bare.split(b'"')[::2])) <= values


def _counted(body: bytes) -> int:
    # To look for each of the three takes longer, where there are many.
    return len(body) - len(body.translate(None, b",[{"))


def _check(said: Any, max_depth: int) -> None:
    """Finds out quickly whether something is wrong, and only then where."""
    level = [said]
    depth = 0
    while level:
        inner: list[Any] = []
        for value in level:
            wrong = ""
            match value:
                case str():
                    wrong = _wrong_text(value)
                case int() | float():
                    wrong = _wrong_number(value)
                case dict():
                    inner += value.keys()
                    inner += value.values()
                case list():
                    inner += value
            if wrong:
                raise unfit(wrong, place(("body", *_path_to(value, said))))
        depth += any(isinstance(value, dict | list) for value in level)
        if depth > max_depth:
            raise _too_deep(max_depth)
        level = inner


def _wrong_text(text: str) -> str:
    if "\x00" in text:
        return "The body holds a NUL character, which not every store can keep."
    try:
        text.encode()
    except UnicodeEncodeError:
        return "The body holds half of a surrogate pair."
    return ""


def _wrong_number(number: float) -> str:
    if isinstance(number, float) and not math.isfinite(number):
        raise malformed_json("The body holds a number that is not finite.")
    if isinstance(number, int) and not -BIGGEST <= number < BIGGEST:
        return "The body holds an integer beyond 64 bits."
    return ""


def _path_to(wanted: Any, said: Any) -> list[int | str]:
    """Where a value stands, or the name of one: then that is the object which has the name."""
    ways: list[tuple[Any, list[int | str]]] = [(said, [])]
    for value, path in ways:
        if value is wanted or (isinstance(value, dict) and any(name is wanted for name in value)):
            return path
        if isinstance(value, dict):
            ways += [(inner, [*path, name]) for name, inner in value.items()]
        elif isinstance(value, list):
            ways += [(inner, [*path, at]) for at, inner in enumerate(value)]
    return []


def _no_number(name: str) -> NoReturn:
    raise malformed_json(f"{name} is no JSON number.")


def _integer(digits: str) -> int:
    # Python takes a while for long ones, and past some thousands of digits it refuses, with advice for programmers.
    return int(digits) if len(digits) <= len(str(-BIGGEST)) else 2 * BIGGEST


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    told = dict(pairs)
    if len(told) < len(pairs):
        name = next(name for name, times in Counter(name for name, _ in pairs).items() if times > 1)
        raise malformed_json(f"An object has the field {name[:64]!a} twice.")
    return told


_decoder = json.JSONDecoder(parse_constant=_no_number, parse_int=_integer, object_pairs_hook=_object)


def _too_deep(max_depth: int) -> EdgeError:
    return unfit(f"The body is nested deeper than {max_depth}.")


SLOWEST = 1024
"""Bytes a second that a body brings on the average, at least: else one byte a minute would hold what a body holds for ever."""


def _impatient(receive: Receive, silence: float) -> Receive:
    """Raises a 408 where nothing comes for so many seconds, or too little for longer."""
    left = silence
    clock = asyncio.get_running_loop().time

    async def receiving() -> Message:
        nonlocal left
        begun = clock()
        try:
            async with asyncio.timeout(min(silence, left)):
                message = await receive()
        except TimeoutError as late:
            # What still comes of it must not be taken for the next request.
            close = {"connection": "close"}
            detail = f"The body did not come: it may be silent for {silence:g} s."
            raise EdgeError(408, "request_timeout", detail, close) from late
        left += len(message.get("body", b"")) / SLOWEST - (clock() - begun)
        return message

    return receiving


class StrictRequest(Request):
    """A request whose body is bounded, in time as well, and strict. The limits are those of the app's settings."""

    async def body(self) -> bytes:
        if not hasattr(self, "_body"):
            limit = self.app.state.settings.max_body
            declared = self.headers.get("content-length", "")
            chunks: list[bytes] = []
            size = int(declared) if declared.isdecimal() and int(declared) > limit else 0
            if not size:
                try:
                    async for chunk in self.stream():
                        size += len(chunk)
                        if size > limit:
                            break
                        chunks.append(chunk)
                except BaseException:
                    # The traceback of what is raised is part of a cycle, and would hold all of it until somebody looks for cycles.
                    chunks.clear()
                    raise
            if size > limit:
                raise EdgeError(413, "payload_too_large", f"A body may have {limit} bytes.")
            self._body = b"".join(chunks)
            self._check_media_type()
        return self._body

    async def json(self) -> Any:
        if not hasattr(self, "_json"):
            settings = self.app.state.settings
            self._json = parse(await self.body(), settings.max_depth, settings.max_values)
        return self._json

    def _check_media_type(self) -> None:
        media_type = self.headers.get("content-type", "").partition(";")[0].strip().lower()
        if self._body and media_type != "application/json":
            raise EdgeError(415, "unsupported_media_type", "A body is application/json.")


class StrictRoute(APIRoute):
    """A route whose handlers get a StrictRequest."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handler = super().get_route_handler()

        async def strict(request: Request) -> Response:
            patience = request.app.state.settings.read_timeout
            return await handler(StrictRequest(request.scope, _impatient(request.receive, patience)))

        return strict
