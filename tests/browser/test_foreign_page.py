"""A page of another site in a real Chromium: it can open the chat page, and ask the service nothing."""

from collections.abc import Iterator
from http.server import ThreadingHTTPServer
from threading import Thread

import pytest
from playwright.sync_api import BrowserContext

from server_process import Server
from test_event_source import EmptyPage

ASKS = """
async ([base, mode]) => {
  for (const path of ["/v1/search?q=word", "/v1/sessions", "/v1/events"]) {
    await fetch(base + path, { mode, cache: "no-store" }).catch(() => null);
  }
  await new Promise((done) => {
    const image = new Image();
    image.onerror = image.onload = done;
    image.src = `${base}/page/icon.svg?${Math.random()}`;  // one that was kept would be a 304
    document.body.append(image);
    window.image = image;
  });
  return image.naturalWidth;
}
"""


@pytest.fixture(scope="module")
def site() -> Iterator[int]:
    """The port of another server on this machine, under whatever name of it."""
    with ThreadingHTTPServer(("127.0.0.1", 0), EmptyPage) as site:
        serving = Thread(target=site.serve_forever)
        serving.start()
        yield site.server_port
        site.shutdown()
        serving.join()


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"], ids=["cross-site", "same-site"])
@pytest.mark.parametrize("mode", ["no-cors", "cors"])
def test_it_learns_nothing_and_has_nothing_looked_for(
    context: BrowserContext, server: Server, site: int, host: str, mode: str
) -> None:
    page = context.new_page()
    page.goto(f"http://{host}:{site}/")
    statuses: list[int] = []
    wires = context.new_cdp_session(page)  # sees answers that the page is not given
    wires.on("Network.responseReceivedExtraInfo", lambda answer: statuses.append(answer["statusCode"]))
    wires.send("Network.enable")
    assert page.evaluate(ASKS, [server.url, mode]) == 0, "its own picture is the service's alone"
    assert statuses == [403, 403, 403, 200]


@pytest.mark.parametrize("path", ["/", "/docs"])
def test_a_link_to_the_page_and_to_the_reference_works(
    context: BrowserContext, server: Server, site: int, path: str
) -> None:
    page = context.new_page()
    page.goto(f"http://localhost:{site}/")
    refused: list[str] = []
    page.on("response", lambda answer: refused.append(answer.url) if answer.status >= 400 else None)
    with page.expect_navigation(wait_until="networkidle" if path == "/docs" else "load"):
        page.evaluate("(url) => { location.href = url; }", server.url + path)
    assert page.url.startswith(server.url)
    assert refused == []
