"""The HTTP client by way of proxies: what they are told, what goes through them, and what is said when they fail."""

import asyncio
import ssl
from collections.abc import Callable
from contextlib import AsyncExitStack

import pytest
import trustme

from asking import KEY, client_of, get, leave, refused
from raw_server import Connection, Talk, passing_on, serving
from rejoinder.abc import Prompt
from rejoinder.errors import ProviderError
from rejoinder.llm.openai import OpenAIProvider

FOR_PROXY = {"proxy-authorization": "Basic c29tZQ=="}
BODY = bytes(range(256)) * (2 << 20 >> 8)
NAME = "upstream.invalid"


async def echo(connection: Connection) -> None:
    while True:
        await connection.answer((await connection.request()).body)


@pytest.mark.parametrize("proxy_is_secure", [False, True])
@pytest.mark.parametrize("upstream_is_secure", [False, True])
async def test_an_exchange_by_way_of_a_proxy(
    server_context: Callable[..., ssl.SSLContext], *, proxy_is_secure: bool, upstream_is_secure: bool
) -> None:
    upstream_tls = server_context(NAME) if upstream_is_secure else None
    proxy_tls = server_context("localhost") if proxy_is_secure else None
    known: dict[str, int] = {}
    async with (
        serving(echo, tls=upstream_tls) as upstream,
        serving(passing_on(known), tls=proxy_tls) as proxy,
        client_of(
            f"http{'s' * upstream_is_secure}://{NAME}/v1",
            proxy=f"http{'s' * proxy_is_secure}://localhost:{proxy.port}",
            proxy_headers=FOR_PROXY,
        ) as client,
    ):
        known[NAME] = known[f"{NAME}:443"] = upstream.port
        for body in (b"hi", BODY):
            got = await get(client, body)
            assert (got.status, got.body == body, got.fault) == (200, True, None)
    assert len(proxy.connections) == 1
    [told] = proxy.requests
    assert told.headers["proxy-authorization"] == "Basic c29tZQ=="
    if upstream_is_secure:
        assert told.line == f"CONNECT {NAME}:443 HTTP/1.1"
        assert set(told.headers) == {"host", "proxy-authorization"}
        assert KEY not in told.head
        assert "proxy-authorization" not in upstream.requests[0].headers
    else:
        assert told.line == f"POST http://{NAME}/v1/x HTTP/1.1"
    assert upstream.requests[0].line == "POST /v1/x HTTP/1.1"
    assert upstream.requests[0].headers["host"] == NAME
    assert upstream.requests[0].headers["authorization"] == f"Bearer {KEY}"


def refusing(said: bytes) -> Talk:
    async def talk(connection: Connection) -> None:
        await connection.request()
        await connection.say(said)

    return talk


def status(told: str) -> bytes:
    return f"HTTP/1.1 {told}\r\ncontent-length: 0\r\nproxy-authenticate: Basic\r\n\r\n".encode()


BY_PROXY = "The proxy does not let the upstream be reached."


@pytest.mark.parametrize(
    "said",
    [status("407 Proxy Authentication Required"), status("503 Busy"), status("302 Found"), b"", b"SSH-2.0\r\n"],
)
async def test_a_proxy_that_makes_no_tunnel(said: bytes) -> None:
    async with (
        serving(refusing(said)) as proxy,
        client_of(f"https://{NAME}", proxy=proxy.url) as client,
    ):
        error = await refused(client)
    assert (error.code, error.detail, error.before_reply) == ("upstream_unavailable", BY_PROXY, True)


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize(
    "proxy", ["http://127.0.0.1:1", "http://nowhere.invalid", "socks5://127.0.0.1:1", "http://[::1"]
)
async def test_a_proxy_that_is_not_there(scheme: str, proxy: str) -> None:
    async with client_of(f"{scheme}://{NAME}", proxy=proxy) as client:
        error = await refused(client)
    assert (error.code, error.detail, error.before_reply) == ("upstream_unavailable", BY_PROXY, True)


async def test_a_proxy_that_never_answers() -> None:
    async def talk(connection: Connection) -> None:
        await connection.left()

    async with (
        serving(talk) as proxy,
        client_of(f"https://{NAME}", proxy=proxy.url, connect_timeout=0.05) as client,
    ):
        assert (await refused(client)).code == "upstream_unavailable"


@pytest.mark.parametrize("trusted", ["proxy", "upstream"])
async def test_who_is_not_trusted_behind_or_as_a_proxy(
    server_context: Callable[..., ssl.SSLContext], trusted: str
) -> None:
    stranger = trustme.CA()
    upstream_tls = server_context(NAME) if trusted == "upstream" else server_context(NAME, authority=stranger)
    proxy_tls = server_context() if trusted == "proxy" else server_context(authority=stranger)
    known: dict[str, int] = {}
    async with (
        serving(echo, tls=upstream_tls) as upstream,
        serving(passing_on(known), tls=proxy_tls) as proxy,
        client_of(f"https://{NAME}", proxy=proxy.url) as client,
    ):
        known[f"{NAME}:443"] = upstream.port
        error = await refused(client)
    assert (error.code, error.detail) == (
        "upstream_unavailable",
        "No secure connection to the upstream could be made.",
    )
    assert not upstream.requests


@pytest.mark.parametrize("secure", [False, True])
async def test_who_leaves_while_the_proxy_makes_a_tunnel_closes_the_line(
    server_context: Callable[..., ssl.SSLContext], *, secure: bool
) -> None:
    reached, left = asyncio.Event(), asyncio.Event()

    async def talk(connection: Connection) -> None:
        await connection.request()
        reached.set()
        await connection.left()
        left.set()

    async with (
        serving(talk, tls=server_context() if secure else None) as proxy,
        client_of(f"https://{NAME}", proxy=proxy.url) as client,
    ):
        await leave(client, reached, left)


@pytest.mark.parametrize(
    ("said", "code", "detail"),
    [
        (status("407 Proxy Authentication Required"), "upstream_unavailable", BY_PROXY),
        (status("503 Busy"), "upstream_error", "The upstream failed (HTTP 503)."),
        (b"", "upstream_incomplete", "The upstream closed the connection without an answer."),
        (
            b"SSH-2.0\r\n",
            "upstream_malformed",
            "The upstream does not answer in HTTP: is its base URL right?",
        ),
    ],
)
async def test_what_a_user_is_told_of_a_proxy_that_passes_nothing_on(
    monkeypatch: pytest.MonkeyPatch, said: bytes, code: str, detail: str
) -> None:
    async with AsyncExitStack() as stack:
        proxy = await stack.enter_async_context(serving(refusing(said)))
        monkeypatch.setenv("http_proxy", f"http://some:one@{proxy.address}")
        provider = await stack.enter_async_context(OpenAIProvider(KEY, f"http://{NAME}/v1"))
        with pytest.raises(ProviderError) as caught:
            await provider.complete(Prompt(model="m", messages=(), params={}))
    assert (caught.value.code, caught.value.detail) == (code, detail)
