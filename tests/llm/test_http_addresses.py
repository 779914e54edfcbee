"""Where the HTTP client goes and what it says there: addresses, the head of a request, and nowhere that it is sent."""

import asyncio
import socket
from contextlib import suppress
from typing import Any

import pytest

from asking import KEY, client_of, get, refused
from raw_server import Connection, serving
from rejoinder.abc import Prompt
from rejoinder.errors import Misconfigured, ProviderError
from rejoinder.llm.http_client import Place, place
from rejoinder.llm.openai import OpenAIProvider


async def answer(connection: Connection) -> None:
    while True:
        await connection.request()
        await connection.answer()


async def test_the_head_of_a_request() -> None:
    async with serving(answer) as server, client_of(f"{server.url}/v1/") as client:
        await get(client, "ü".encode())
        await get(client)
    assert [request.head for request in server.requests] == [
        f"POST /v1/x HTTP/1.1\r\nhost: {server.address}\r\nauthorization: Bearer {KEY}\r\ncontent-length: 2\r\n\r\n",
        f"GET /v1/x HTTP/1.1\r\nhost: {server.address}\r\nauthorization: Bearer {KEY}\r\n\r\n",
    ]


def has_ipv6() -> bool:
    with suppress(OSError), socket.create_server(("::1", 0), family=socket.AF_INET6):
        return True
    return False


HOSTS = ["127.0.0.1", "::1"] if has_ipv6() else ["127.0.0.1"]


async def test_an_address_of_ipv6(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = asyncio.get_running_loop()
    resolved = loop.getaddrinfo

    async def known(name: str, port: int, **options: Any) -> list[Any]:
        """Where a machine has no IPv6, another way there is better than no test."""
        assert name == "::1"
        return await resolved(HOSTS[-1], port, **options)

    monkeypatch.setattr(loop, "getaddrinfo", known)
    async with serving(answer, host=HOSTS[-1]) as server, client_of(f"http://[::1]:{server.port}/v1") as client:
        assert (await get(client)).body == b"hi"
    assert server.requests[0].headers["host"] == f"[::1]:{server.port}"


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("first", ["127.0.0.1", "::1"])
async def test_a_name_with_two_addresses_of_which_one_answers(
    host: str, first: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = asyncio.get_running_loop()
    resolved = loop.getaddrinfo

    async def known(name: str, port: int, **options: Any) -> list[Any]:
        """What `localhost` is on many machines, but not on all."""
        if name != "localhost":
            return await resolved(name, port, **options)
        of_six = (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("::1", port, 0, 0))
        of_four = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))
        return [of_six, of_four] if first == "::1" else [of_four, of_six]

    monkeypatch.setattr(loop, "getaddrinfo", known)
    monkeypatch.setattr("rejoinder.llm.http_line.NEXT_ADDRESS", 9)
    async with serving(answer, host=host) as server, client_of(f"http://localhost:{server.port}") as client:
        assert (await get(client)).body == b"hi"
    assert server.requests[0].headers["host"] == f"localhost:{server.port}"


@pytest.mark.parametrize(
    ("url", "said", "named"),
    [
        ("http://example.com", Place(False, "example.com", 80, ""), "example.com"),
        ("https://example.com:443/v1/", Place(True, "example.com", 443, "/v1"), "example.com"),
        ("http://Example.COM:443", Place(False, "example.com", 443, ""), "example.com:443"),
        ("https://example.com:8443", Place(True, "example.com", 8443, ""), "example.com:8443"),
        ("http://example.com:8080", Place(False, "example.com", 8080, ""), "example.com:8080"),
        ("http://[::1]:80/", Place(False, "::1", 80, ""), "[::1]"),
        ("http://[2001:db8::80]", Place(False, "2001:db8::80", 80, ""), "[2001:db8::80]"),
        (
            "https://bücher.example/für/v1",
            Place(True, "xn--bcher-kva.example", 443, "/f%C3%BCr/v1"),
            "xn--bcher-kva.example",
        ),
        ("https://a.example/with space%20and%2F", Place(True, "a.example", 443, "/with%20space%20and%2F"), "a.example"),
        ("https://some:one@a.example/v1", Place(True, "a.example", 443, "/v1"), "a.example"),
        ("https://a.example/v1\r\nx-evil: 1", Place(True, "a.example", 443, "/v1x-evil:%201"), "a.example"),
    ],
)
def test_what_a_url_says(url: str, said: Place, named: str) -> None:
    assert (place(url), place(url).named) == (said, named)


@pytest.mark.parametrize(
    ("url", "detail"),
    [
        ("http://nowhere.invalid", "The upstream's host name is not known."),
        ("http://a..invalid", "The upstream's address is not one."),
        (f"http://{'a' * 64}.invalid", "The upstream's address is not one."),
        ("http://127.0.0.1:65536", "The upstream's address is not one."),
        ("http://127.0.0.1:x", "The upstream's address is not one."),
        ("http:///v1", "The upstream's address is not one."),
        ("ftp://127.0.0.1", "The upstream's address is not one."),
        ("http://[::1", "The upstream's address is not one."),
        ("http://127.0.0.1:1", "The upstream refuses connections."),
    ],
)
async def test_an_address_where_nobody_is(url: str, detail: str) -> None:
    async with client_of(url) as client:
        error = await refused(client)
    assert (error.code, error.detail) == ("upstream_unavailable", detail)


@pytest.mark.parametrize("base_url", ["http://[::1/v1", "https://127.0.0.1:65536/v1", "https://a..b/v1", "http:///v1"])
def test_a_base_url_that_cannot_be_one_is_told_at_once(base_url: str) -> None:
    with pytest.raises(Misconfigured):
        OpenAIProvider("sk-1", base_url)


@pytest.mark.parametrize("organization", ["org\r\nx-evil: 1", "org\nx", "org\0", "组织"])
def test_an_organization_that_cannot_stand_in_a_header_is_told_at_once(organization: str) -> None:
    with pytest.raises(Misconfigured):
        OpenAIProvider("sk-1", None, organization)


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "307 Temporary Redirect", "308 Permanent Redirect"])
async def test_a_redirection_is_not_followed(status: str) -> None:
    async def redirect(connection: Connection) -> None:
        await connection.request()
        await connection.answer(b"<html>", status, f"location: {elsewhere.url}/v1/chat/completions\r\n")

    async with (
        serving(answer) as elsewhere,
        serving(redirect) as server,
        OpenAIProvider(KEY, f"{server.url}/v1") as provider,
    ):
        with pytest.raises(ProviderError) as caught:
            await provider.complete(Prompt(model="m", messages=(), params={}))
    assert (caught.value.code, caught.value.detail, caught.value.before_reply) == (
        "upstream_unavailable",
        f"The upstream sends elsewhere, where nothing is sent: is its base URL right? (HTTP {status[:3]}).",
        False,
    )
    assert not elsewhere.connections
