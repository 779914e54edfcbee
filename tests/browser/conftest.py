"""A real server and a real Chromium. Every test also holds the page to its promises: see `Chat.check`."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, sync_playwright

import tools
from chat_page import Chat
from server_process import Server

FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.browser)


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("server")) as server:
        yield server


@pytest.fixture
def server(process: Server) -> Server:
    """The service, empty, with a scripted model: what it says stands in the message (`/script …`)."""
    process.empty()
    return process


# Not for the whole run: Playwright's loop would be in the way of tests that have a loop of their own.
@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    try:
        path = tools.chromium()
    except tools.ToolMissing as missing:
        pytest.skip(str(missing))
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(FLAGS))
        yield browser
        browser.close()


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    """One person's browser: the tabs in it share what it keeps."""
    context = browser.new_context(viewport={"width": 1200, "height": 800}, locale="en-GB")
    context.set_default_timeout(15_000)
    yield context
    context.close()


@pytest.fixture
def open_chat(context: BrowserContext, server: Server) -> Iterator[Callable[..., Chat]]:
    """Opens tabs, each at a session or at a new chat."""
    opened: list[Chat] = []

    def open_chat(session: str = "") -> Chat:
        chat = Chat(context.new_page(), server.url)
        opened.append(chat)
        chat.open(session)
        return chat

    yield open_chat
    for chat in opened:
        chat.check()


@pytest.fixture
def chat(open_chat: Callable[..., Chat]) -> Chat:
    """A tab with a new chat."""
    return open_chat()
