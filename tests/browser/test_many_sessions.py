"""Thousands of sessions: the list is there at once, all of it can be reached, and nothing lags."""

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Locator, expect

from chat_page import Chat
from many_sessions import fill
from server_process import Server

NUMBER = 4000
BEARABLE = 1000
"""Milliseconds for which nothing answers, on a machine that does much else. On one that does not it is 60."""

WATCH = """() => {
  window.tasks = [];
  new PerformanceObserver((list) => tasks.push(...list.getEntries().map(({ duration }) => duration)))
    .observe({ type: "longtask", buffered: true });
}"""


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("server")
    fill(folder / "chat.db", NUMBER)
    with Server(folder) as server:
        yield server


@pytest.fixture
def server(process: Server) -> Server:
    """As the test before left it, since to make it empty and fill it again would take long."""
    return process


@pytest.fixture
def chat(chat: Chat) -> Iterator[Chat]:
    """A tab that never lags, and never draws more than one can see."""
    chat.page.evaluate(WATCH)
    yield chat
    assert chat.page.evaluate("Math.max(0, ...tasks)") < BEARABLE
    assert chat.page.evaluate("document.querySelectorAll('*').length") < 2000


def list_of(chat: Chat) -> Locator:
    return chat.page.locator(".sidebar .list")


def row(chat: Chat, number: int) -> Locator:
    return chat.listed.filter(has_text=re.compile(f"^chat {number}$"))


def scroll_to_the_end(chat: Chat) -> None:
    """As one does who drags the bar down again and again, once there is a list."""
    expect(chat.listed.nth(20)).to_be_attached()  # the one that is open is there before the others
    whole = "place => (place.scrollTop = place.scrollHeight, /Fetching/.test(place.innerText))"
    while list_of(chat).evaluate(whole):
        chat.page.wait_for_timeout(20)


def test_the_list_is_there_at_once_and_its_end_can_be_reached(chat: Chat, server: Server) -> None:
    expect(chat.listed.first).to_have_text("chat 0")
    scroll_to_the_end(chat)
    last = chat.listed.last
    expect(last).to_have_text(f"chat {NUMBER - 1}")
    expect(last).to_be_in_viewport()
    last.get_by_role("link").click()
    expect(chat.words).to_have_text(f"chat {NUMBER - 1}")
    # Back at the top, the open one is not forgotten.
    list_of(chat).evaluate("place => (place.scrollTop = 0)")
    expect(chat.listed.first).to_have_text("chat 0")
    chat.page.keyboard.press("Alt+l")
    expect(last.get_by_role("link")).to_be_focused()
    expect(last).to_be_in_viewport()


def test_the_keyboard_and_a_screen_reader_reach_every_row(chat: Chat) -> None:
    expect(chat.listed.first).to_have_text("chat 0")
    link = chat.listed.first.get_by_role("link")
    link.focus()
    chat.page.keyboard.press("End")  # what scrolls by a key leaves the focus where it was
    expect(chat.page.get_by_role("link", name="chat 49", exact=True)).to_be_in_viewport()
    expect(link).to_be_focused()
    for number in range(1, 40):
        for _ in ("rename", "delete", "the next row"):
            chat.page.keyboard.press("Tab")
        expect(chat.page.get_by_role("link", name=f"chat {number}", exact=True)).to_be_focused()
    expect(row(chat, 39)).to_be_in_viewport()
    place, of = (int(row(chat, 39).get_attribute(f"aria-{name}") or 0) for name in ("posinset", "setsize"))
    assert 0 < place <= of


def test_a_reader_in_the_middle_keeps_the_place_while_others_move_to_the_top(chat: Chat, server: Server) -> None:
    chat.open(f"ses_{2000:032x}")
    expect(chat.words).to_have_text("chat 2000")  # opened, which gives the field the focus
    scroll_to_the_end(chat)
    chat.page.keyboard.press("Alt+l")
    expect(row(chat, 2000).get_by_role("link")).to_be_focused()
    expect(row(chat, 2003)).to_be_in_viewport()
    before, height = row(chat, 2003).bounding_box(), list_of(chat).evaluate("place => place.scrollTop")
    writing = (3901, 3903, 3905, 3907)
    for number in writing:
        server.start_reply(f"ses_{number:032x}", "/script tokens=1000 pace=0.02")
    chat.wait_until(f"document.querySelector('.sidebar .list').scrollTop > {height + 3 * 36}")  # they have moved past
    assert row(chat, 2003).bounding_box() == before
    chat.field.press_sequentially("a thought meanwhile")
    list_of(chat).evaluate("place => (place.scrollTop = 0)")
    for number in writing:
        mark = row(chat, number).get_by_role("img", name="A reply is being written")
        expect(mark).to_be_in_viewport()
        server.stop_reply(f"ses_{number:032x}")
        expect(mark).to_be_hidden()


def test_in_thousands_one_is_found_renamed_deleted_and_brought_back(chat: Chat) -> None:
    scroll_to_the_end(chat)
    chat.page.get_by_role("searchbox").fill("3500")
    expect(chat.page.locator(".found")).to_contain_text("chat 3500")
    chat.page.locator(".found").get_by_role("link").click()
    expect(chat.words).to_have_text("chat 3500")
    chat.page.get_by_role("searchbox").fill("")
    expect(row(chat, 3500)).to_be_attached()  # the whole list is back
    chat.page.keyboard.press("Alt+l")
    expect(chat.page.get_by_role("link", name="chat 3500", exact=True)).to_be_focused()
    chat.page.get_by_role("button", name="Rename chat 3500", exact=True).click()
    chat.page.get_by_role("textbox", name="Name of the chat").fill("The one I meant")
    chat.page.keyboard.press("Enter")
    expect(chat.listed.first).to_have_text("The one I meant")  # a change is activity
    chat.page.get_by_role("button", name="Delete The one I meant").click()
    expect(chat.listed.first).not_to_have_text("The one I meant")
    chat.page.get_by_role("button", name="Undo").click()
    expect(chat.words).to_have_text("chat 3500")
