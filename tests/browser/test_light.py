"""The page is light: little is fetched before one can talk, all of it at once, and from nowhere else."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Response, Route, expect

from chat_page import Chat
from server_process import Server

PAGE = Path(__file__).parents[2] / "src/rejoinder/page"
ALL_BEFORE_PAINT = 97_000
"""Bytes, as they are sent, of everything that is fetched to show a chat without formulas and code: three less than promised."""

LATE = re.compile(r"/page/(view/late_views.js|style/(late|dialog).css)(\?|$)")
"""What comes once the first is drawn."""

SHIFTS = """() => new Promise((resolve) => new PerformanceObserver((list) =>
  resolve(list.getEntries().reduce((sum, { value, hadRecentInput }) => sum + (hadRecentInput ? 0 : value), 0)))
  .observe({ type: "layout-shift", buffered: true }) || setTimeout(() => resolve(0), 300))"""


@pytest.fixture
def newcomer(browser: Browser) -> Iterator[BrowserContext]:
    """The browser of one who was never here: its cache is empty."""
    with browser.new_context() as context:
        yield context


def fetched(newcomer: BrowserContext, url: str, shown: str) -> list[Response]:
    """The files that are asked for until a text is shown, and one could talk. What comes late does not come."""
    newcomer.route(LATE, lambda route: route.abort())
    page = newcomer.new_page()
    responses: list[Response] = []
    page.on("response", lambda response: responses.append(response))  # noqa: PLW0108  # it wants a function of Python
    page.goto(url)
    expect(page.get_by_text(shown).last).to_be_visible()
    page.get_by_role("textbox", name="Message", exact=True).fill("And then?")
    page.keyboard.press("Enter")
    expect(page.get_by_role("article", name="Reply").last).to_contain_text("And then?")
    return [response for response in responses if "/v1/" not in response.url]


def test_less_than_100_kb_come_before_one_can_talk(newcomer: BrowserContext, server: Server) -> None:
    sid = server.session("Good evening")
    responses = fetched(newcomer, f"{server.url}/#{sid}", "Good evening")
    sizes = {response.url: response.request.sizes()["responseBodySize"] for response in responses}
    assert min(sizes.values()) > 100  # they were sent, and not taken from a cache
    assert 50_000 < sum(sizes.values()) < ALL_BEFORE_PAINT, sorted(sizes.items(), key=lambda item: item[1])
    assert not [url for url in sizes if "/vendor/katex/" in url or "/vendor/highlight/" in url]


def test_the_browser_is_told_at_once_what_it_will_need(newcomer: BrowserContext, server: Server) -> None:
    named = set(re.findall(r'(?:href|src)="(/page/[^"]+\.js)"', (PAGE / "index.html").read_text()))
    responses = fetched(newcomer, server.url, "What shall we talk about?")
    asked = {response.url.removeprefix(server.url) for response in responses if response.url.endswith(".js")}
    assert asked == named


def test_a_page_that_takes_long_to_come_says_so(context: BrowserContext, server: Server) -> None:
    context.route("**/page/main.js", lambda _: None)
    page = context.new_page()
    page.goto(server.url, wait_until="commit")
    loading = page.get_by_text("Loading…")
    expect(loading).to_be_visible()
    context.unroute_all()  # which lets go of what it holds
    expect(page.get_by_role("textbox", name="Message", exact=True)).to_be_visible()
    expect(loading).to_have_count(0)


def test_without_scripts_it_says_what_it_needs_and_promises_nothing(browser: Browser, server: Server) -> None:
    with browser.new_context(java_script_enabled=False) as context:
        page = context.new_page()
        page.goto(server.url)
        expect(page.locator("noscript")).to_contain_text("needs JavaScript", use_inner_text=True)
        expect(page.get_by_text("Loading…")).to_be_hidden()


def test_what_is_asked_for_before_it_is_here_comes_also_where_what_was_under_way_fails(
    context: BrowserContext, server: Server
) -> None:
    held: list[Route] = []
    context.route(LATE, lambda route: held.append(route))  # noqa: PLW0108  # it wants a function of Python
    page = context.new_page()
    chat = Chat(page, server.url)
    chat.open()
    page.get_by_role("button", name="Model and instructions").click()
    chat.say("meanwhile one can talk")
    expect(chat.reply).to_have_text("meanwhile one can talk")
    dialog = page.get_by_role("dialog", name="Model and instructions")
    expect(dialog).to_be_hidden()
    for route in held.copy():
        route.abort()
    context.unroute_all()  # which lets go of what is asked for since
    expect(dialog).to_be_visible()
    chat.check()


def test_what_could_not_be_fetched_can_be_asked_for_again(context: BrowserContext, server: Server) -> None:
    context.route(LATE, lambda route: route.abort())
    page = context.new_page()
    chat = Chat(page, server.url)
    button = page.get_by_role("button", name="Model and instructions")
    known = "import('/page/view/late_views.js').catch(() => null)"  # by then the page knows it as well
    for ask in (chat.open, button.click):
        with page.expect_event("requestfailed", lambda request: "late_views" in request.url):
            ask()
        page.evaluate(known)
    context.unroute_all()
    dialog = page.get_by_role("dialog", name="Model and instructions")
    expect(dialog).to_be_hidden()
    button.click()
    expect(dialog).to_be_visible()
    chat.check()


def test_the_keys_come_late_where_they_could_not_be_fetched_at_once(context: BrowserContext, server: Server) -> None:
    context.route(LATE, lambda route: route.abort())
    page = context.new_page()
    chat = Chat(page, server.url)
    with page.expect_event("requestfailed", lambda request: "late_views" in request.url):
        chat.open()
    context.unroute_all()
    with page.expect_response(lambda response: "/late_views.js?" in response.url):  # which is new to Firefox too
        pass  # nobody asks for it
    chat.wait_until("Boolean(document.querySelector('main [role=status].unseen'))")
    page.keyboard.press("Alt+m")
    expect(page.get_by_role("dialog", name="Model and instructions")).to_be_visible()
    chat.check()


def test_nothing_moves_under_the_reader(open_chat: Callable[..., Chat], server: Server) -> None:
    chat = open_chat(server.session("/script story", "And then?"))
    expect(chat.replies).to_have_count(2)
    assert chat.page.evaluate(SHIFTS) < 0.02
    chat.say("/script story pace=0.002")
    chat.expect_written(3)
    assert chat.page.evaluate(SHIFTS) < 0.1
