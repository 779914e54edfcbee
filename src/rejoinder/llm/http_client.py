"""HTTP/1.1 to one upstream: lines that are kept for the next request, by way of a proxy where there is one.

It is our own for what it does with an answer that takes minutes (`http_line`): nothing, until somebody reads it. A general
client takes in each piece as it comes, which was a fifth of what a token cost (docs/decisions/0004-the-hot-path.md).
It follows no redirection, which could take the key elsewhere, and asks nothing twice.
"""

import asyncio
import contextlib
import re
import socket
import ssl
from collections.abc import Awaitable, Callable, Mapping
from functools import lru_cache, partial
from urllib.parse import quote, urlsplit

from msgspec import Struct

from rejoinder.errors import ProviderError
from rejoinder.llm.http_addresses import Addresses
from rejoinder.llm.http_answer import Answer
from rejoinder.llm.http_line import Line, connect, secured
from rejoinder.llm.upstream_errors import Way, error_on_the_way

KEPT, EARLY = 30.0, 1.0
"""Seconds for which a line that is not in use is kept: chats pause for so long, and proxies forget after a minute. Where a server tells
its own time, the line is left so much earlier."""

CLOSING = (4.5, 5.5)
"""Between so many seconds out of use a line is not used: many servers (uvicorn, vLLM) then close it without a word before, and a request
that meets the close on its way is lost and may not be sent again."""

PORTS = {"http": 80, "https": 443}

IN_A_PATH = "/%:@!$&'()*+,;=~"
"""What stands there as it is."""


class Place(Struct, frozen=True):
    """What a URL says. `host` is a name in ASCII or an address, `path` ends in no slash, `query` is "" or begins with its mark."""

    secure: bool
    host: str
    port: int
    path: str
    query: str = ""

    @property
    def named(self) -> str:
        """As it is named to a server: without the port that goes without saying."""
        return self.authority.removesuffix(f":{PORTS['https' if self.secure else 'http']}")

    @property
    def authority(self) -> str:
        return f"{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"


@lru_cache
def place(url: str) -> Place:
    """Raises ValueError (UnicodeError is one) for what is no URL of HTTP."""
    parts = urlsplit(url)
    if parts.scheme not in PORTS or not parts.hostname:
        raise ValueError(url)
    host = parts.hostname.encode("idna").decode() if ":" not in parts.hostname else parts.hostname
    path = quote(parts.path.rstrip("/"), safe=IN_A_PATH)
    query = quote(f"?{parts.query}", safe=f"{IN_A_PATH}?") if parts.query else ""
    return Place(parts.scheme == "https", host, parts.port or PORTS[parts.scheme], path, query)


class HttpClient:
    """`headers` are those of every request; `proxy` is a URL, and `proxy_headers` are for it alone.

    `connect_timeout` is in seconds, up to where a request can be sent; `silence` is the longest between two pieces of an
    answer, and None leaves that to the caller, who can cancel. Where lines are not to be kept, each request has its own.
    """

    def __init__(
        self,
        url: str,
        headers: Mapping[str, str],
        *,
        proxy: str | None = None,
        proxy_headers: Mapping[str, str] | None = None,
        connect_timeout: float,
        silence: float | None,
        keep: bool = True,
    ) -> None:
        self._url = url
        self._headers = dict(headers) | ({} if keep else {"connection": "close"})
        self._proxy = proxy
        self._proxy_headers = dict(proxy_headers or {})
        self._connect_timeout = connect_timeout
        self._silence = silence
        self._keep = keep
        self._addresses = Addresses()
        self._kept: list[_Kept] = []
        """Lines not in use, and until when. The one that was let go last is taken first."""
        self._timer: asyncio.TimerHandle | None = None
        self._trusted: ssl.SSLContext | None = None

    def close(self) -> None:
        """Answers that are being read go on; their lines are not kept."""
        self._keep = False
        self._tidy()

    def ask(self, method: str, path: str, body: bytes = b"") -> "Request":
        """The answer, its body unread, inside `async with`. To leave it before its end closes its line. Raises ProviderError."""
        return Request(partial(self._ask, method, path, body), self._let_go)

    async def _ask(self, method: str, path: str, body: bytes) -> Answer:
        to = _place_of(self._url, "address")
        proxy = _place_of(self._proxy, "proxy") if self._proxy else None
        line = self._take() or await self._connected(to, proxy)
        answer = Answer(line, self._silence)
        try:
            with contextlib.suppress(OSError):  # it may have answered all the same
                await line.send(self._head(to, method, path, len(body), proxy) + body)
            await answer.head()
        except BaseException:
            answer.close()
            line.close()
            raise
        return answer

    def _head(self, to: Place, method: str, path: str, size: int, proxy: Place | None) -> bytes:
        headers = {"host": to.named, **self._headers}
        if size:
            headers["content-length"] = str(size)
        where = to.path + path + to.query
        if proxy is not None and not to.secure:
            # It passes the request on, and reads what is for itself there.
            where = f"http://{to.named}{where}"
            headers |= self._proxy_headers
        return _head(method, where, headers)

    # lines

    def _take(self) -> Line | None:
        now = asyncio.get_running_loop().time()
        while self._kept:
            kept = self._kept.pop()
            with contextlib.suppress(OSError):
                if kept.fit(now) and kept.line.receive() is None:
                    return kept.line
            kept.line.close()  # its server has closed it or soon will, or said what nobody asked
        return None

    def _let_go(self, answer: Answer) -> None:
        answer.close()
        if self._keep and answer.leaves_line:
            self._give_back(answer.line, _kept_for(answer.headers))
        else:
            answer.line.close()

    def _give_back(self, line: Line, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        self._kept.append(_Kept(line, loop.time(), loop.time() + seconds))
        if self._timer is None:
            self._timer = loop.call_later(seconds, self._tidy)

    def _tidy(self) -> None:
        """Closes the lines whose time is over, and looks again when the next one's will be."""
        loop = asyncio.get_running_loop()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        kept, self._kept = self._kept, []
        for each in kept:
            if self._keep and each.until > loop.time():
                self._kept.append(each)
            else:
                each.line.close()
        if self._kept:
            self._timer = loop.call_at(min(each.until for each in self._kept), self._tidy)

    async def _connected(self, to: Place, proxy: Place | None) -> Line:
        try:
            async with asyncio.timeout(self._connect_timeout):
                return await self._connect(to, proxy)
        except TimeoutError:
            raise error_on_the_way("late") from None
        except ssl.SSLError as fault:
            raise error_on_the_way("tls") from fault
        except socket.gaierror as fault:
            raise error_on_the_way("proxy" if proxy else "host") from fault
        except OSError as fault:
            raise error_on_the_way("proxy" if proxy else "refused") from fault

    async def _connect(self, to: Place, proxy: Place | None) -> Line:
        first = proxy or to
        line = await self._line_to(first)
        try:
            if first.secure:
                line = await secured(line, first.host, self._trust)
            if proxy is not None and to.secure:
                await self._tunnel(line, to)
                line = await secured(line, to.host, self._trust)
        except BaseException:
            line.close()
            raise
        return line

    async def _line_to(self, place: Place) -> Line:
        addresses = await self._addresses.of(place.host, place.port)
        try:
            return await connect(addresses)
        except BaseException:  # a cancelled one too: it may have waited for somebody who is not there
            self._addresses.forget(place.host, place.port)
            raise

    async def _tunnel(self, line: Line, to: Place) -> None:
        await line.send(_head("CONNECT", to.authority, {"host": to.authority, **self._proxy_headers}))
        answer = Answer(line, None)
        try:
            await answer.head()
        except ProviderError:
            raise error_on_the_way("proxy") from None
        finally:
            answer.close()
        if not 200 <= answer.status < 300:
            raise error_on_the_way("proxy")

    @property
    def _trust(self) -> ssl.SSLContext:
        if self._trusted is None:
            self._trusted = ssl.create_default_context()
            self._trusted.set_alpn_protocols(["http/1.1"])
        return self._trusted


class Request:
    """Gives its answer inside `async with`. No generator, which costs the event loop some µs and is on the way of each reply."""

    __slots__ = ("_answer", "_ask", "_let_go")

    def __init__(self, ask: Callable[[], Awaitable[Answer]], let_go: Callable[[Answer], None]) -> None:
        self._ask = ask
        self._let_go = let_go

    async def __aenter__(self) -> Answer:
        self._answer = await self._ask()
        return self._answer

    async def __aexit__(self, *exc: object) -> None:
        self._let_go(self._answer)


class _Kept(Struct, frozen=True):
    """A line that is not in use, since when, and until when it is kept, in seconds of the event loop."""

    line: Line
    since: float
    until: float

    def fit(self, now: float) -> bool:
        low, high = CLOSING
        return now < self.until and not low < now - self.since < high


def _kept_for(headers: Mapping[str, str]) -> float:
    """Seconds for which a line can be kept, by what its server says of that."""
    told = re.search(r"timeout\s*=\s*(\d{1,12})", headers.get("keep-alive", ""))
    return KEPT if told is None else max(0.0, min(KEPT, int(told[1]) - EARLY))


def _place_of(url: str, fault: Way) -> Place:
    try:
        return place(url)
    except ValueError as error:
        raise error_on_the_way(fault) from error


def _head(method: str, where: str, headers: Mapping[str, str]) -> bytes:
    lines = [f"{method} {where} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join((*lines, "", "")).encode("latin-1")
