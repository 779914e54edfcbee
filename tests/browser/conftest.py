"""A real server and a real Chromium. Every test also holds the page to its promises: see `Chat.check`."""

from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from playwright.sync_api import Browser, BrowserContext, expect, sync_playwright

import tools
from chat_page import FLAGS, Chat
from server_process import Server

FOLDER = Path(__file__).parent

PATIENCE = 20_000
"""Milliseconds that whatever is waited for may take: ten times what it takes on a machine that does nothing else."""
expect.set_options(timeout=PATIENCE)

_shared = ExitStack()
"""The browser, the person's profile in it and the server of all tests here. They end with the last of these tests and not
with the run, since Playwright's loop would be in the way of tests elsewhere that have a loop of their own."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(FOLDER):
            item.add_marker(pytest.mark.browser)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(nextitem: pytest.Item | None) -> Generator[None, None, None]:
    try:
        return (yield)
    finally:
        if nextitem is None or not nextitem.path.is_relative_to(FOLDER):
            _shared.close()
            for shared in (_server, _browser, _profile):
                shared.cache_clear()


@cache
def _server() -> Server:
    folder = _shared.enter_context(TemporaryDirectory(ignore_cleanup_errors=True))
    return _shared.enter_context(Server(Path(folder)))


@cache
def _browser() -> Browser:
    path = tools.chromium()
    playwright = _shared.enter_context(sync_playwright())
    browser = playwright.chromium.launch(executable_path=path, args=list(FLAGS))
    _shared.callback(browser.close)
    return browser


@cache
def _profile() -> BrowserContext:
    context = _browser().new_context(viewport={"width": 1200, "height": 800}, locale="en-GB")
    context.set_default_timeout(PATIENCE)
    context.new_page()  # stays, since a window that opens is dear
    return context


@pytest.fixture
def process() -> Server:
    return _server()


@pytest.fixture
def server(process: Server) -> Server:
    """The service, empty, with a scripted model: what it says stands in the message (`/script …`)."""
    process.empty()
    return process


@pytest.fixture
def browser() -> Browser:
    return tools.needed(_browser)


@pytest.fixture
def context(browser: Browser, server: Server) -> Iterator[BrowserContext]:
    """One person's browser: the tabs in it share what it keeps, and nothing is kept yet.

    It is the same for all tests, since a new one is a second's work for the machine each time.
    """
    context = _profile()
    yield context
    blank, *tabs = context.pages
    for tab in tabs:
        tab.close()
    context.set_offline(False)
    context.unroute_all()
    context.clear_permissions()
    devtools = context.new_cdp_session(blank)
    devtools.send("Storage.clearDataForOrigin", {"origin": server.url, "storageTypes": "local_storage"})
    devtools.detach()


@pytest.fixture
def open_chat(context: BrowserContext, server: Server) -> Iterator[Callable[..., Chat]]:
    """Opens tabs, each at a session or at a new chat, with a script that runs before the page's own."""
    opened: list[Chat] = []

    def open_chat(session: str = "", script: str = "") -> Chat:
        page = context.new_page()
        if script:
            page.add_init_script(script)
        chat = Chat(page, server.url)
        opened.append(chat)
        chat.open(session)
        return chat

    yield open_chat
    for chat in opened:
        if not chat.page.is_closed():
            chat.check()


@pytest.fixture
def chat(open_chat: Callable[..., Chat]) -> Chat:
    """A tab with a new chat."""
    return open_chat()
