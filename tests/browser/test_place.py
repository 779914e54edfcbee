"""Whoever has scrolled to some place stays there, whatever becomes of what stands above it."""

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Locator, Route, expect

from chat_page import Chat
from server_process import Server

LONG = "\n\n".join(["A paragraph of words that wraps over several lines where the window is narrow. " * 4] * 3)
SCROLL = "(place, part) => { place.scrollTop = part * place.scrollHeight; }"
FIRST_SEEN = """(place) => {
  const { top } = place.getBoundingClientRect();
  const first = [...place.querySelectorAll(".message")].find((one) => one.getBoundingClientRect().bottom > top);
  return [first.innerText.slice(0, 20), first.getBoundingClientRect().top];
}"""
WATCH = """(place) => {
  const message = [...place.querySelectorAll(".message")].find((one) => one.getBoundingClientRect().top > 100);
  const begins = message.getBoundingClientRect().top;
  window.furthest = 0;
  // Behind the page's own observer and before the frame is painted: whatever is measured earlier nobody sees.
  new ResizeObserver(() => {
    furthest = Math.max(furthest, Math.abs(message.getBoundingClientRect().top - begins));
  }).observe(place.firstElementChild);
}"""


def scroll(chat: Chat, part: float) -> None:
    chat.page.locator(".scroll").evaluate(SCROLL, part)
    expect(chat.page.get_by_role("button", name="To the newest")).to_be_visible()


def height(button: Locator) -> float:
    box = button.bounding_box()
    assert box is not None
    return box["y"]


@pytest.mark.parametrize("others", [4, 0], ids=["to a long one", "to one that fits"])
def test_a_switch_between_versions_of_an_early_message_stays_at_it(
    open_chat: Callable[..., Chat], server: Server, others: int
) -> None:
    sid = server.session("short", *[f"{number} {LONG}" for number in range(5)])
    server.post(f"/v1/sessions/{sid}/messages", {"content": "other", "parent_id": None})
    for number in range(others):
        server.say(sid, f"other {number} {LONG}")
    chat = open_chat(sid)
    expect(chat.said.first).to_contain_text("other")
    if others:
        scroll(chat, 0)
    for name, words in (("Previous", "short"), ("Next", "other")):
        chat.said.first.hover()
        button = chat.said.first.get_by_role("button", name=f"{name} version")
        before = height(button)
        button.click()
        expect(chat.said.first).to_contain_text(words)
        assert height(chat.said.first.get_by_role("button", name=f"{name} version")) == pytest.approx(before, abs=2)


def test_showing_less_leaves_the_button_under_the_finger(open_chat: Callable[..., Chat], server: Server) -> None:
    chat = open_chat(server.session("\n".join(f"line {number}" for number in range(150)), LONG, LONG, LONG))
    expect(chat.said).to_have_count(4)
    scroll(chat, 0)
    chat.page.get_by_role("button", name="Show all").click()
    less = chat.page.get_by_role("button", name="Show less")
    less.scroll_into_view_if_needed()
    before = height(less)
    less.click()
    more = chat.page.get_by_role("button", name="Show all")
    expect(more).to_be_in_viewport()
    assert height(more) == pytest.approx(before, abs=2)


def test_what_is_unfolded_leaves_its_head_under_the_finger(open_chat: Callable[..., Chat], server: Server) -> None:
    chat = open_chat(server.session("/script reasoning=900 tokens=10"))  # one sees its end
    thoughts = chat.replies.get_by_text("Its thoughts")
    before = height(thoughts)
    for shown in (True, False):
        thoughts.click()
        expect(chat.replies.get_by_text("r899")).to_be_visible(visible=shown)
        chat.page.wait_for_timeout(50)
        assert height(thoughts) == pytest.approx(before, abs=2)


def test_a_window_that_becomes_narrow_shows_the_same_message(open_chat: Callable[..., Chat], server: Server) -> None:
    chat = open_chat(server.session(*[f"question {number}\n{LONG}" for number in range(20)]))
    expect(chat.said).to_have_count(20)
    scroll(chat, 0.4)
    chat.page.wait_for_timeout(100)
    place = chat.page.locator(".scroll")
    [words, _] = before = place.evaluate(FIRST_SEEN)
    chat.page.set_viewport_size({"width": 500, "height": 800})
    chat.page.wait_for_timeout(300)
    assert place.evaluate(FIRST_SEEN)[0] == words
    chat.page.set_viewport_size({"width": 1200, "height": 800})
    chat.page.wait_for_timeout(300)
    assert place.evaluate(FIRST_SEEN) == before


def test_what_comes_before_moves_nothing_while_and_once_it_is_fetched(
    open_chat: Callable[..., Chat], server: Server
) -> None:
    formula = "$$\\frac{\\frac{a}{b}}{\\frac{c}{d}}$$"
    chat = open_chat(
        server.session(*[f"/script echo\n{number} {formula if number < 9 else ''}" for number in range(60)])
    )
    expect(chat.replies).to_have_count(50)
    held: list[Route] = []
    chat.page.route(re.compile("before=msg"), lambda route: held.append(route))  # noqa: PLW0108
    with chat.page.expect_request(re.compile("before=msg")):
        chat.page.locator(".scroll").evaluate("place => { place.scrollTop = 590; }")
        chat.page.locator(".scroll").evaluate(WATCH)
    expect(chat.page.get_by_text("Fetching what came before…")).to_be_attached()
    held[0].continue_()
    expect(chat.replies).to_have_count(60)
    expect(chat.page.locator(".katex-display")).to_have_count(9)
    chat.page.wait_for_timeout(500)
    assert chat.page.evaluate("furthest") < 2


def test_there_is_a_way_to_the_end_only_where_something_is_below(
    open_chat: Callable[..., Chat], server: Server
) -> None:
    chat = open_chat(server.session(*[f"{number} {LONG}" for number in range(5)]))
    expect(chat.said).to_have_count(5)
    scroll(chat, 0)
    chat.said.first.hover()
    chat.said.first.get_by_role("button", name="Edit").click()
    area = chat.page.get_by_role("textbox", name="Edit the message")
    area.fill("short")
    area.press("Enter")
    expect(chat.reply).to_have_text("short")
    expect(chat.page.get_by_role("button", name="To the newest")).to_be_hidden()


def test_whoever_asks_from_above_reads_what_is_answered(open_chat: Callable[..., Chat], server: Server) -> None:
    chat = open_chat(server.session(*[f"{number} {LONG}" for number in range(5)]))
    expect(chat.said).to_have_count(5)
    scroll(chat, 0)
    chat.say("/script tokens=1500")  # the server has it before it is drawn
    chat.expect_written(6)
    place = chat.page.locator(".scroll")
    assert place.evaluate("place => place.scrollHeight - place.clientHeight - place.scrollTop") < 2
