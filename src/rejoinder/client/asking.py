"""How the client asks: again while the server cannot answer and, of a stream, behind the last event."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import aclosing, asynccontextmanager
from typing import TypeVar, cast

import httpx2
import msgspec

from rejoinder.client.answers import UnexpectedAnswer, checked
from rejoinder.client.reading import Cut, Patience, Reads
from rejoinder.entities import JsonObject
from rejoinder.errors import Unavailable

T = TypeVar("T")
R = TypeVar("R")

TROUBLE = (httpx2.RequestError, Unavailable)
"""What passes by itself: a line that breaks or garbles what it carries, and answers that say "later"."""


class Asking:
    """Asks one server for what may safely come twice. `patience` makes a new one for each call."""

    def __init__(self, http: httpx2.AsyncClient, patience: Callable[[], Patience]) -> None:
        self._http, self._patience = http, patience

    async def call(
        self,
        kind: type[T],
        method: str,
        path: str,
        body: JsonObject | None = None,
        headers: Mapping[str, str] | None = None,
        query: JsonObject | None = None,
        *,
        patience: Patience | None = None,
    ) -> T:
        """The answer of a call as this kind; of the kind `object` it may be empty, which is None."""
        patience = patience or self._patience()
        content = None if body is None else msgspec.json.encode(body)
        sent = {"accept": "application/json", "content-type": "application/json", **(headers or {})}
        while True:
            try:
                answer = await self._http.request(method, path, content=content, params=query, headers=sent)
                return decoded(kind, checked(answer))
            except TROUBLE as failure:
                await patience.wait(failure)

    async def read(self, reading: Reads[R]) -> AsyncGenerator[R, None]:
        """Asks, reads, and asks again behind the last event, until the reply has ended."""
        while True:
            trouble: Exception = Cut("The stream ended before the reply did.")
            try:
                async with self._stream(reading) as response:
                    if response.status_code == 204:
                        reading.check_over()
                        return
                    async with aclosing(reading.events(response)) as events:
                        async for received in events:
                            yield received
                            if reading.ends_with(received):
                                return
            except TROUBLE as failure:
                trouble = failure
            await reading.patience.wait(trouble)

    @asynccontextmanager
    async def _stream(self, reading: Reads[R]) -> AsyncIterator[httpx2.Response]:
        method, path, content, headers = reading.request()
        async with self._http.stream(method, path, content=content, headers=headers) as response:
            if response.is_error:
                await response.aread()
            yield checked(response)


def decoded(kind: type[T], response: httpx2.Response) -> T:
    """The JSON of an answer. Raises Cut where it is not whole, and UnexpectedAnswer where it is something else."""
    if kind is object and not response.content:
        return cast("T", None)
    try:
        return msgspec.json.decode(response.content, type=kind)
    except msgspec.DecodeError as error:
        asked = f"{response.request.method} {response.request.url.path}"
        said = f"{asked} was answered by something else: {error}"
        # A proxy may make a clean end of what broke off behind it.
        is_json = response.headers.get("content-type", "").startswith("application/json")
        if is_json and not isinstance(error, msgspec.ValidationError):
            raise Cut(said) from error
        raise UnexpectedAnswer(said) from error
