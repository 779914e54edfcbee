"""A person talks to the service in the page."""

import re
import time
from collections.abc import Callable
from typing import Any

from playwright.sync_api import Browser, BrowserContext, Page, expect

from chat_page import Chat
from server_process import Server


def test_a_first_chat(chat: Chat) -> None:
    expect(chat.page.get_by_role("heading", name="What shall we talk about?")).to_be_visible()
    expect(chat.field).to_be_focused()

    chat.say("Good evening, Tomas")

    expect(chat.said).to_have_text("Good evening, Tomas")
    chat.expect_written()
    expect(chat.reply).to_have_text("Good evening, Tomas")
    expect(chat.field).to_have_value("")
    expect(chat.listed).to_have_text("Good evening, Tomas")
    expect(chat.page).to_have_title("Good evening, Tomas – Rejoinder")

    chat.say("And good night")
    chat.expect_written(2)
    expect(chat.reply).to_have_text("And good night")
    assert chat.page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_a_long_message_of_ones_own_is_shown_by_its_beginning(chat: Chat) -> None:
    chat.say("\n".join(f"line {number}" for number in range(60)))
    chat.expect_written()
    height = "words => words.getBoundingClientRect().height"
    assert chat.words.evaluate(height) < 400
    chat.said.get_by_role("button", name="Show all").click()
    assert chat.words.evaluate(height) > 1200
    chat.said.get_by_role("button", name="Show less").click()
    assert chat.words.evaluate(height) < 400
    chat.say("line\n" * 10)
    chat.expect_written(2)
    expect(chat.said.last.get_by_role("button", name="Show all")).to_have_count(0)


def test_pages_are_turned_from_the_field(chat: Chat) -> None:
    chat.say("/script tokens=2000")
    chat.expect_written()
    chat.field.press("PageUp")
    expect(chat.page.get_by_role("button", name="To the newest")).to_be_visible()
    assert left(chat.page) > 400
    chat.field.press("PageDown")
    expect(chat.page.get_by_role("button", name="To the newest")).to_be_hidden()
    expect(chat.field).to_be_focused()


def test_on_paper_there_is_all_of_the_conversation(chat: Chat) -> None:
    chat.page.set_viewport_size({"width": 780, "height": 1100})
    chat.say("line\n" * 40)
    chat.expect_written()
    chat.say("/script tokens=2000")
    chat.expect_written(2)
    expect(chat.page.locator("main > .unseen")).to_be_attached()  # what comes late is here
    chat.page.emulate_media(media="print")
    for place in (".sidebar", ".composer", ".top a", ".top .menu", ".message footer", ".message > .link"):
        expect(chat.page.locator(place).first).to_be_hidden()
    assert chat.words.first.evaluate("words => words.getBoundingClientRect().height") > 900
    assert chat.page.locator(".scroll").evaluate("place => place.clientHeight === place.scrollHeight")
    assert chat.page.evaluate("getComputedStyle(document.body).overflow") == "visible"
    assert chat.reply.evaluate("reply => reply.getBoundingClientRect().height") > 800


def test_on_paper_all_is_dark_on_light_and_tables_are_whole(chat: Chat) -> None:
    chat.page.set_viewport_size({"width": 780, "height": 1100})
    columns = range(14)
    rows = [" | ".join(f"{word} {column}" for column in columns) for word in ("Column number", "value")]
    chat.say(f"/script echo\n| {rows[0]} |\n{'|---' * 14}|\n| {rows[1]} |\n\n```python\nx = 'one'\n```\n\nend")
    chat.expect_written()
    expect(chat.reply.locator(".hljs-string")).to_be_attached()
    expect(chat.page.locator("main > .unseen")).to_be_attached()
    chat.page.emulate_media(media="print", color_scheme="dark")
    lightness = (
        "text => { const [r, g, b] = getComputedStyle(text).color.match(/\\d+/g).map(Number); return (r + g + b) / 3; }"
    )
    for text in (chat.reply.locator("p").last, chat.reply.locator(".hljs-string"), chat.words):
        assert text.evaluate(lightness) < 110
    table = chat.reply.locator("table")
    assert table.evaluate("table => table.getBoundingClientRect().right <= innerWidth")


def test_shift_and_enter_make_a_new_line(chat: Chat) -> None:
    chat.field.press_sequentially("one")
    chat.field.press("Shift+Enter")
    chat.field.press_sequentially("two")
    expect(chat.field).to_have_value("one\ntwo")
    expect(chat.said).to_have_count(0)
    chat.field.press("Enter")
    expect(chat.said).to_have_text("one\ntwo")


def test_where_fingers_write_enter_makes_a_new_line(browser: Browser, server: Server) -> None:
    phone: Any = {"viewport": {"width": 390, "height": 844}}
    with browser.new_context(has_touch=True, is_mobile=True, **phone) as context:
        chat = Chat(context.new_page(), server.url)
        chat.open()
        chat.field.tap()
        chat.field.press_sequentially("one\ntwo")
        expect(chat.field).to_have_value("one\ntwo")
        chat.page.get_by_role("button", name="Send").tap()
        expect(chat.words).to_have_text("one\ntwo")
        chat.expect_written()
        chat.said.get_by_role("button", name="Edit").tap()
        area = chat.page.get_by_role("textbox", name="Edit the message")
        area.press_sequentially("\nthree")
        expect(area).to_have_value("one\ntwo\nthree")
        chat.check()


def test_markdown_as_it_is_written(chat: Chat, context: BrowserContext) -> None:
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    chat.say("/script story pace=0.01")
    expect(chat.reply.get_by_role("heading", name="The Lamplighter's Last Round")).to_be_visible()
    chat.expect_writing("knew each by its cough")

    chat.expect_written()
    expect(chat.reply.get_by_role("listitem")).to_have_count(3)
    assert chat.reply.locator("pre code").evaluate("code => parseFloat(getComputedStyle(code).fontSize)") >= 14
    expect(chat.reply.get_by_role("cell")).to_have_text(["six", "12", "🌫️ fog", "seven", "41", "☔ rain"])
    expect(chat.reply.locator("pre")).to_contain_text("for lamp in lamps:")
    assert "**" not in chat.reply.inner_text()

    chat.reply.get_by_role("button", name="Copy", exact=True).click()
    expect(chat.reply.get_by_role("button", name="Copied")).to_be_visible()
    copied = chat.page.evaluate("navigator.clipboard.readText()")
    assert copied == chat.reply.locator("pre").text_content()


def test_what_is_drawn_bit_by_bit_is_what_is_drawn_at_once(chat: Chat) -> None:
    chat.say("/script story pace=0.003")
    chat.expect_written()
    expect(chat.reply.locator(".hljs-keyword").first).to_be_visible()
    grown = chat.reply.inner_html()
    chat.page.reload()
    expect(chat.reply.locator(".hljs-keyword").first).to_be_visible()
    assert chat.reply.inner_html() == grown


def test_thoughts_and_calls_are_folded_away(chat: Chat) -> None:
    chat.say("/script reasoning=5 calls=1\nHello")
    chat.expect_written()
    thoughts = chat.replies.last.get_by_text("r0 r1 r2 r3 r4")
    expect(thoughts).to_be_hidden()
    chat.replies.last.get_by_text("Its thoughts").click()
    expect(thoughts).to_be_visible()
    chat.replies.last.get_by_text("Calls lookup").click()
    expect(chat.replies.last.get_by_text('"number": 0')).to_be_visible()


def test_stop_keeps_what_was_written(chat: Chat, server: Server) -> None:
    chat.say("/script tokens=500 pace=0.05")
    chat.expect_writing("t5")
    chat.stop()
    expect(chat.end).to_contain_text("Stopped")
    reply = server.reply(chat.session)
    assert reply["status"] == "stopped"
    assert chat.reply.inner_text() == reply["content"]

    chat.say("and on")
    chat.expect_written(2)
    expect(chat.reply).to_have_text("and on")


def test_a_reply_that_waits_says_for_what(chat: Chat, server: Server) -> None:
    chat.say("/script tokens=20 stall@0")
    expect(chat.replies.last).to_contain_text(re.compile(r"Waiting for the model…\s*\d+ s"))
    chat.stop()
    chat.say("/script tokens=20 fail=429 retry_after=1")
    expect(chat.replies.last).to_contain_text("The model is busy. Trying again…")
    chat.stop()
    expect(chat.end).to_contain_text("Stopped")
    chat.say("/script tokens=20 stall@10")
    chat.expect_writing("t9")
    expect(chat.replies.last).to_contain_text(re.compile(r"Waiting for the model…\s*\d+ s"))
    server.kill()  # then nobody knows
    expect(chat.replies.last).not_to_contain_text("Waiting for the model")


def test_a_reply_that_fails_says_so_keeps_its_text_and_can_be_asked_for_again(chat: Chat) -> None:
    chat.say("/script tokens=50 fail=upstream_rate_limited@20")
    expect(chat.end).to_contain_text("Failed")
    expect(chat.end).to_contain_text("upstream_rate_limited")
    expect(chat.end).to_contain_text("Wait a little")
    expect(chat.reply).to_contain_text("t19")

    chat.field.fill("a thought meanwhile")
    chat.replies.last.get_by_role("button", name="Try again").click()
    expect(chat.versions(chat.replies.last)).to_have_text("2/2")  # beside the first, not below it
    expect(chat.said).to_have_count(1)
    expect(chat.field).to_have_value("a thought meanwhile")


def test_a_send_that_is_refused_comes_back_into_the_field(chat: Chat) -> None:
    chat.say("hello")
    chat.expect_written()
    busy = {"title": "Conflict", "status": 409, "detail": "A reply is running.", "code": "session_busy"}
    chat.page.route("**/messages", lambda route: route.fulfill(status=409, json=busy))
    chat.say("hello again")
    expect(chat.page.get_by_role("alert")).to_contain_text("A reply is still being written")
    expect(chat.field).to_have_value("hello again")
    expect(chat.said).to_have_count(1)


def test_a_message_that_is_too_long_says_by_how_much(chat: Chat) -> None:
    chat.say("word " * 60_000)
    expect(chat.page.get_by_role("alert")).to_contain_text("The text may have 262144 bytes of UTF-8.")
    expect(chat.page.get_by_role("alert")).to_contain_text("It has 300000 now.")
    assert len(chat.field.input_value()) == 300_000


def test_a_copy_that_is_refused_is_told(chat: Chat) -> None:
    chat.say("```python\nx = 1\n```")
    chat.expect_written()
    chat.page.evaluate(
        "() => { document.execCommand = () => false; navigator.clipboard.writeText = () => Promise.reject(new Error('denied')); }"
    )
    told = chat.page.get_by_role("alert").get_by_text("The browser did not let it be copied.")
    for button in (chat.reply.get_by_role("button"), chat.replies.last.locator(".copy-message")):
        button.click()
        expect(told).to_be_visible()
        expect(chat.page.get_by_text("Copied", exact=True)).to_be_hidden()
        chat.page.get_by_role("alert").get_by_role("button", name="Close").click()
        expect(told).to_be_hidden()


def test_sessions_are_listed_renamed_and_deleted(chat: Chat, server: Server) -> None:
    for title in ("first", "second"):
        chat.page.get_by_role("link", name="New chat").click()
        expect(chat.page.get_by_role("heading", name="What shall we talk about?")).to_be_visible()
        chat.say(title)
        chat.expect_written()
    expect(chat.listed).to_have_text(["second", "first"])

    chat.listed.nth(1).hover()
    chat.page.get_by_role("button", name="Rename first").click()
    name = chat.page.get_by_role("textbox", name="Name of the chat")
    name.fill("renamed")
    name.press("Enter")
    expect(chat.listed).to_have_text(["renamed", "second"])

    chat.field.fill("what was not said in it")
    chat.delete("second")
    expect(chat.listed).to_have_text(["renamed"])
    chat.wait_until("!JSON.stringify(localStorage).includes('what was not said in it')")
    expect(chat.page.get_by_role("heading", name="What shall we talk about?")).to_be_visible()
    assert [session["title"] for session in server.get("/v1/sessions")["data"]] == ["renamed"]


def test_a_session_without_a_title_gets_one_with_its_first_message(
    open_chat: Callable[..., Chat], server: Server
) -> None:
    chat = open_chat(server.session())
    expect(chat.listed).to_have_text(["Untitled chat"])
    chat.say("Why   is\nthe sea salt, and since when, and who has found it out, and how?")
    expect(chat.listed).to_have_text([re.compile("^Why is the sea salt.*…$")])


def test_a_session_that_nobody_named_shows_how_it_begins(open_chat: Callable[..., Chat], server: Server) -> None:
    sid = server.session("Where do swallows sleep in winter?", "And storks?")
    server.session()
    chat = open_chat()
    expect(chat.listed).to_have_text(["Untitled chat", "Where do swallows sleep in winter?"])
    chat.listed.last.get_by_role("link").click()
    expect(chat.page).to_have_title("Where do swallows sleep in winter? – Rejoinder")
    chat.say("And cranes?")
    chat.expect_written(3)
    assert server.get(f"/v1/sessions/{sid}")["title"] is None  # no one named it, and neither does the page


def test_a_chat_is_called_nothing_until_its_name_is_here(context: BrowserContext, server: Server) -> None:
    sid = server.session("How do swallows find their way?")
    context.route(re.compile("/v1/sessions"), lambda _: None)
    chat = Chat(context.new_page(), server.url)
    chat.open(sid)
    heading = chat.page.get_by_role("heading", level=1)
    expect(heading).to_have_text("")
    context.unroute_all()  # which lets go of what it holds
    expect(heading).to_have_text("How do swallows find their way?")


def test_where_the_focus_is(chat: Chat) -> None:
    chat.page.get_by_role("button", name="Tell me a story").click()
    expect(chat.field).to_be_focused()
    expect(chat.field).to_have_value(re.compile("story"))
    chat.say("/script tokens=1000 pace=0.02")
    chat.expect_writing("t3")
    chat.stop()
    expect(chat.end).to_contain_text("Stopped")
    expect(chat.field).to_be_focused()

    link = chat.listed.first.get_by_role("link")
    for key in ("Escape", "Enter"):
        chat.page.get_by_role("button", name="Rename").click()
        expect(chat.page.get_by_role("textbox", name="Name of the chat")).to_be_focused()
        chat.page.keyboard.press(key)
        expect(link).to_be_focused()
    chat.page.get_by_role("button", name="Delete").click()
    expect(chat.listed).to_have_count(0)
    expect(chat.field).to_be_focused()  # there is no other session to go to
    chat.page.get_by_role("button", name="Undo").click()
    expect(chat.listed).to_have_count(1)
    expect(chat.end).to_contain_text("Stopped")


def test_the_field_grows_with_what_is_written(chat: Chat) -> None:
    height = "field => field.getBoundingClientRect().height"
    low = chat.field.evaluate(height)

    def becomes(right: Callable[[float], bool]) -> None:
        deadline = time.monotonic() + 20  # it follows in the next frame
        while not right(found := chat.field.evaluate(height)):
            assert time.monotonic() < deadline, found
            chat.page.wait_for_timeout(20)

    chat.field.fill("line\n" * 4)
    becomes(lambda now: low * 2 < now < 800 * 0.4)
    chat.field.fill("line\n" * 100)
    becomes(lambda now: low * 4 < now <= 800 * 0.4)
    chat.field.press("Enter")
    expect(chat.field).to_have_value("")
    becomes(lambda now: now == low)


def test_a_screen_reader_hears_of_a_reply_and_not_of_each_word(chat: Chat) -> None:
    told = chat.page.locator("main > .unseen[role=status]")
    chat.say("/script tokens=40 stall@20")
    expect(told).to_have_text("A reply is being written.")
    chat.expect_writing("t19")
    chat.stop()
    expect(told).to_have_text("The reply has ended: stopped")
    chat.say("/script tokens=40")
    expect(told).to_have_text(re.compile("^The reply: t0 t1 .* t39$"))
    chat.say("/script fail=upstream_auth")
    expect(told).to_have_text(re.compile("^The reply has ended: The script says"))


def test_every_control_has_a_name(chat: Chat) -> None:
    chat.say("/script story")
    chat.expect_written()
    nameless = """() => [...document.querySelectorAll("button, a, input:not([hidden]), textarea")].filter((control) =>
      !(control.getAttribute("aria-label") || control.textContent.trim() || control.title)).map((it) => it.outerHTML)"""
    assert chat.page.evaluate(nameless) == []


def test_long_histories_come_by_pages(open_chat: Callable[..., Chat], server: Server) -> None:
    long = server.session(*(f"message {number}." for number in range(75)))
    chat = open_chat(long)
    expect(chat.reply).to_have_text("message 74.")
    expect(chat.said).to_have_count(50)
    assert is_at_end(chat.page)

    shown = chat.said.first
    expect(shown).to_have_text("message 25.")
    chat.page.locator(".scroll").evaluate("place => place.scrollTop = 0")
    expect(chat.said).to_have_count(75)
    # What was on top is still where it was, below what came before it.
    expect(chat.said.nth(25)).to_be_in_viewport()
    expect(chat.said.first).not_to_be_in_viewport()


def test_the_page_stays_where_its_reader_is(chat: Chat) -> None:
    chat.say("/script tokens=6000 pace=0.002")
    chat.expect_writing("t700")
    assert is_at_end(chat.page)
    scroll = chat.page.locator(".scroll")
    scroll.hover()
    chat.page.mouse.wheel(0, -600)
    expect(chat.page.get_by_role("button", name="To the newest")).to_be_visible()
    place = scroll.evaluate("place => place.scrollTop")
    chat.expect_writing("t1100")
    assert scroll.evaluate("place => place.scrollTop") == place
    chat.page.get_by_role("button", name="To the newest").click()
    chat.expect_writing("t1500")
    assert is_at_end(chat.page)
    chat.stop()
    expect(chat.end).to_contain_text("Stopped")


def test_small_steps_of_a_wheel_lead_away_from_the_end(chat: Chat) -> None:
    chat.say("/script tokens=20000 pace=0.004")
    chat.expect_writing("t1500")
    chat.page.locator(".scroll").hover()
    away = chat.page.get_by_role("button", name="To the newest")
    for step in (4, 12, 30):
        before = left(chat.page)
        for _ in range(20):
            chat.page.mouse.wheel(0, -step)
            chat.page.wait_for_timeout(16)
        expect(away).to_be_visible()
        assert left(chat.page) > before + 19 * step
        chat.page.mouse.wheel(0, 20_000)
        expect(away).to_be_hidden()  # whoever comes back to the end reads along again
        chat.page.wait_for_timeout(300)
        assert left(chat.page) < 48
    chat.page.keyboard.press("Escape")


def test_a_finger_leads_away_from_the_end_however_slow_it_moves(browser: Browser, server: Server) -> None:
    sid = server.session("/script tokens=1500")
    server.start_reply(sid, "/script tokens=20000 pace=0.004")
    phone: Any = {"viewport": {"width": 390, "height": 844}}
    with browser.new_context(has_touch=True, is_mobile=True, **phone) as context:
        chat = Chat(context.new_page(), server.url)
        chat.open(sid)
        chat.expect_writing("t200")
        touch = context.new_cdp_session(chat.page)
        for steps in (60, 15):
            begin: Any = {"type": "touchStart", "touchPoints": [{"x": 200, "y": 250}]}
            touch.send("Input.dispatchTouchEvent", begin)
            for step in range(1, steps + 1):
                move: Any = {"type": "touchMove", "touchPoints": [{"x": 200, "y": 250 + 300 * step / steps}]}
                touch.send("Input.dispatchTouchEvent", move)
                chat.page.wait_for_timeout(16)
            touch.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
            assert left(chat.page) > 250
            # A quick finger gives it a swing, and a tap while it swings only stops that.
            chat.page.wait_for_function(RESTS, polling=200)
            away = chat.page.get_by_role("button", name="To the newest")
            away.tap()
            expect(away).to_be_hidden()
            chat.page.wait_for_timeout(300)
            assert left(chat.page) < 48
        server.stop_reply(sid)
        chat.check()


def test_on_a_phone_the_list_lies_behind_a_button(chat: Chat) -> None:
    chat.page.set_viewport_size({"width": 390, "height": 780})
    chat.say("hello")
    chat.expect_written()
    expect(chat.listed).to_have_count(0)  # not to be reached, by no one
    chat.page.get_by_role("button", name="Chats").click()
    chat.listed.first.get_by_role("link").click()
    expect(chat.listed).to_have_count(0)
    assert chat.page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_back_closes_the_list_before_it_leaves_the_chat(chat: Chat, server: Server) -> None:
    chat.page.set_viewport_size({"width": 390, "height": 780})
    for text in ("one", "two"):
        chat.open(server.session(text))
        expect(chat.words).to_have_text(text)
    expect(chat.page.locator("main > .unseen")).to_be_attached()  # what comes late is here
    for close in (chat.page.go_back, lambda: chat.page.keyboard.press("Escape")):
        chat.page.get_by_role("button", name="Chats").click()
        expect(chat.listed).to_have_count(2)
        close()
        expect(chat.listed).to_have_count(0)
        expect(chat.words).to_have_text("two")
        chat.wait_until("history.state === null")
    chat.page.get_by_role("button", name="Chats").click()
    chat.page.get_by_role("navigation", name="Chats").get_by_role("link", name="New chat").click()
    expect(chat.said).to_have_count(0)
    for text in ("two", "one"):  # the list was no place on the way
        chat.page.go_back()
        expect(chat.words).to_have_text(text)


def test_the_beginning_can_be_seen_in_a_low_window(chat: Chat) -> None:
    chat.page.set_viewport_size({"width": 640, "height": 320})
    above = "title => title.getBoundingClientRect().top - title.parentElement.getBoundingClientRect().top"
    assert chat.page.get_by_role("heading", name="What shall we talk about?").evaluate(above) > 0


def test_the_reference_works_without_any_other_host(chat: Chat) -> None:
    page = chat.page
    page.goto(f"{chat.url}/docs")
    page.get_by_role("button", name=re.compile("GET.*healthz")).click()
    page.get_by_role("button", name="Try it out").click()
    page.get_by_role("button", name="Execute").click()
    expect(page.locator(".live-responses-table").get_by_text("200")).to_be_visible()


def left(page: Page) -> float:
    """Pixels between what is seen and the end of the conversation."""
    found: float = page.locator(".scroll").evaluate("p => p.scrollHeight - p.clientHeight - p.scrollTop")
    return found


RESTS = """() => {
    const place = document.querySelector(".scroll"), before = place.dataset.before;
    place.dataset.before = place.scrollTop;
    return before === place.dataset.before;
}"""
"""Whether nothing has moved since it was asked last."""


def is_at_end(page: Page) -> bool:
    return left(page) < 2
