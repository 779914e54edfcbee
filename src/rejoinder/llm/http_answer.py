"""The answer to a request as it comes over a line: its head, and then what each read brings of its body. llhttp parses both."""

import asyncio
import ssl
import zlib

import httptools

from rejoinder.errors import ProviderError
from rejoinder.llm.http_line import Line
from rejoinder.llm.upstream_errors import error_on_the_way

HEAD = 64 << 10
"""Bytes of a head at most."""

INFLATED = 64 << 20
"""Bytes that a compressed body becomes at most: more than a reply of a hundred thousand tokens."""


class Answer:
    """`head` comes first, then `read` until it gives b"". Both raise ProviderError.

    `silence` is how long they wait for a byte, in seconds, and None for ever.
    """

    def __init__(self, line: Line, silence: float | None) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        """By names in small letters; of several with one name the last."""
        self.leaves_line = False
        """Whether all of the body has come, and the line can be used for another request."""
        self.line = line
        self._silence = silence
        self._headed = False
        self._whole = False
        self._ends_with_line = False
        """Whether it is the end of the line that tells the end of the body."""
        self._body: list[bytes] = []
        self._compressed: zlib._Decompress | None = None
        self._inflatable = INFLATED
        self._fault: ProviderError | None = None
        """What was met behind the bytes that are good."""
        self._parser = httptools.HttpResponseParser(self)
        # As other clients do: servers are many, and not all of them are strict.
        self._parser.set_dangerous_leniencies(
            lenient_headers=True, lenient_optional_cr_before_lf=True, lenient_spaces_after_chunk_size=True
        )

    async def head(self) -> None:
        size = 0
        try:
            while not self._headed:
                data = self.line.receive()
                if data is None:
                    await self._come()
                    continue
                self._parse(data)
                size += len(data)
                if not self._headed and (not data or self._fault or size > HEAD):
                    raise error_on_the_way("foreign" if data else "unanswered")
        except TimeoutError:
            raise error_on_the_way("slow") from None
        except ssl.SSLError as fault:  # of TLS 1.3 a server may refuse its client so late
            raise error_on_the_way("tls") from fault
        except OSError as fault:
            raise error_on_the_way("unanswered") from fault

    async def read(self) -> bytes:
        """All that has come of the body, a byte at least, for which it waits; b"" is the end."""
        try:
            while not self._body:
                if self._fault is not None:
                    raise self._fault
                if self._whole:
                    return b""
                data = self.line.receive()
                if data is None:
                    await self._come()
                elif data:
                    self._parse(data)
                elif self._ends_with_line:
                    self._whole = True
                else:
                    raise error_on_the_way("cut")
        except OSError as fault:
            raise _broken(fault) from fault
        return self._taken()

    def ready(self) -> bytes | None:
        """What has come of the body since the last `read`, without waiting: b"" is nothing yet. None where only `read` can tell."""
        if self._body or self._fault is not None or self._whole:
            return None
        try:
            data = self.line.receive()
        except OSError as fault:
            self._fault = _broken(fault)
            return None
        if not data:
            return None if data is not None else b""
        self._parse(data)
        return None if self._fault is not None or self._whole else self._taken()

    def close(self) -> None:
        """Nothing of it is read any more. It and its parser hold each other: that is undone, so as to leave Python's collector nothing."""
        self._whole = True
        del self._parser

    def _taken(self) -> bytes:
        body, self._body = self._body, []
        return body[0] if len(body) == 1 else b"".join(body)

    async def _come(self) -> None:
        if self._silence is None:
            await self.line.readable()
        else:
            async with asyncio.timeout(self._silence):
                await self.line.readable()

    def _parse(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self.leaves_line = False
            if not self._whole:  # else it is not this answer's any more
                self._fault = self._fault or error_on_the_way("cut")

    # what the parser calls

    def on_message_begin(self) -> None:
        if self._whole:  # another answer, which nobody asked for
            raise httptools.HttpParserError

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._headed:  # else it is a trailer
            self.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        self.status = self._parser.get_status_code()
        if self.status < 200:  # it says only that another will come
            self.headers.clear()
            return
        self._headed = True
        coding = self.headers.get("transfer-encoding", "")
        self._ends_with_line = "content-length" not in self.headers and "chunked" not in coding.lower()
        if self.headers.get("content-encoding", "").lower() not in ("", "identity"):  # though nobody asked for it
            self._compressed = zlib.decompressobj(zlib.MAX_WBITS | 32)

    def on_body(self, body: bytes) -> None:
        if self._compressed is not None:
            body = self._inflated(self._compressed, body)
        if body and self._fault is None:
            self._body.append(body)

    def on_message_complete(self) -> None:
        if self._headed:
            self._whole = True
            self.leaves_line = self._parser.should_keep_alive()

    def _inflated(self, compressed: "zlib._Decompress", data: bytes) -> bytes:
        try:
            inflated = compressed.decompress(data, self._inflatable + 1)
            self._inflatable -= len(inflated)
            spoilt = self._inflatable < 0
        except zlib.error:
            inflated, spoilt = b"", True
        if spoilt:
            self._compressed = None  # no more is made of it
            self._fault = self._fault or error_on_the_way("compressed")
        return inflated


def _broken(fault: OSError) -> ProviderError:
    return error_on_the_way("silent" if isinstance(fault, TimeoutError) else "cut")
