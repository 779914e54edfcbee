"""Many tabs of one browser: it has six connections to a server for all of them, and none is left without."""

from collections.abc import Callable

import pytest
from playwright.sync_api import BrowserContext, Page, Request, expect

from chat_page import Chat
from server_process import Server

SHOWN = """
  window.shown = %s;
  Object.defineProperty(document, "hidden", { get: () => !shown });
  Object.defineProperty(document, "visibilityState", { get: () => (shown ? "visible" : "hidden") });
"""
"""A tab that one sees, or not: a browser without a screen takes all of them to be seen."""

FORBIDDEN = """
  function refuse() { throw new DOMException("The operation is insecure.", "SecurityError"); }
  for (const storage of ["localStorage", "sessionStorage"]) Object.defineProperty(window, storage, { get: refuse });
  Object.defineProperty(navigator, "locks", { value: { request: async () => refuse(), query: async () => refuse() } });
  window.BroadcastChannel = refuse;
"""
"""What Firefox makes of a page whose cookies are blocked. Chromium grants it the channels and nothing else."""

LONG = "/script tokens=2000 pace=0.02"


def show(page: Page, shown: bool) -> None:
    page.evaluate(f"shown = {str(shown).lower()}; document.dispatchEvent(new Event('visibilitychange'))")


@pytest.fixture
def open_tab(open_chat: Callable[..., Chat]) -> Callable[..., Chat]:
    def open_tab(session: str, *, shown: bool, script: str = "") -> Chat:
        return open_chat(session, SHOWN % str(shown).lower() + script)

    return open_tab


def streams(context: BrowserContext, path: str) -> set[Request]:
    """The requests of all tabs, from now on, whose stream is open."""
    open_now: set[Request] = set()
    context.on("request", lambda request: open_now.add(request) if request.url.endswith(path) else None)
    for ended in ("requestfailed", "requestfinished"):
        context.on(ended, lambda request: open_now.discard(request))  # noqa: PLW0108  # it wants a function of Python
    return open_now


def test_tabs_that_nobody_sees_leave_the_connections_to_the_others(
    context: BrowserContext, open_tab: Callable[..., Chat], server: Server
) -> None:
    sessions = [server.session(f"chat {number}") for number in range(8)]
    reading = streams(context, "/events")
    tabs = [open_tab(session, shown=False) for session in sessions]
    for number, tab in enumerate(tabs):
        expect(tab.page.get_by_role("main")).to_contain_text(f"chat {number}")  # its history is there all the same
    assert len(reading) == 1  # the overview
    server.say(sessions[0], "said meanwhile")
    show(tabs[0].page, True)
    expect(tabs[0].reply).to_have_text("said meanwhile")
    tabs[0].say("and now")
    expect(tabs[0].reply).to_have_text("and now")
    assert len(reading) == 2

    show(tabs[0].page, False)  # and lets go of it again
    tabs[0].page.wait_for_timeout(2000)
    assert len(reading) == 2  # but not of what one turns back to at once
    tabs[0].page.wait_for_timeout(4000)
    assert len(reading) == 1


def test_what_ended_unseen_is_marked_until_somebody_looks(open_tab: Callable[..., Chat], server: Server) -> None:
    read, unread = (server.session(text) for text in ("this is read", "this is not"))
    tab = open_tab(read, shown=True)
    hidden = open_tab(unread, shown=False)
    for one in (tab, hidden):
        expect(one.listed).to_have_text(["this is not", "this is read"])
        expect(one.page.locator("main > .unseen")).to_be_attached()  # what comes late is here
    marks = [one.page.get_by_role("img", name="A new reply") for one in (tab, hidden)]
    for sid in (unread, read):
        server.say(sid, "and on")
    expect(hidden.page).to_have_title("● this is not – Rejoinder")
    expect(tab.page).to_have_title("this is read – Rejoinder")
    for mark in marks:
        expect(mark).to_have_count(1)
    expect(tab.listed.filter(has=marks[0])).to_have_text("this is not")
    tab.page.reload()
    expect(marks[0]).to_have_count(1)
    show(hidden.page, True)
    expect(hidden.page).to_have_title("this is not – Rejoinder")
    for mark in marks:
        expect(mark).to_have_count(0)  # in the other tab as well


def test_more_windows_than_connections_are_all_kept_up_to_date(
    context: BrowserContext, open_tab: Callable[..., Chat], server: Server
) -> None:
    sid = server.session("hello")
    reading = streams(context, "/events")
    windows = [open_tab(sid, shown=True) for _ in range(7)]
    for window in windows:
        expect(window.reply).to_have_text("hello")
    windows[0].say(LONG)
    windows[0].page.evaluate("dispatchEvent(new Event('focus'))")
    for window in windows:
        expect(window.reply).to_contain_text("t9 ")  # some a little later than others
    assert len(reading) <= 5
    windows[0].stop()
    for window in windows:
        expect(window.end).to_contain_text("Stopped")
    for window in (windows[2], windows[5], windows[6]):  # whichever one turns to reads at once
        window.page.evaluate("dispatchEvent(new Event('focus'))")
        window.say(LONG)
        window.expect_writing("t5 ")
        window.stop()
        expect(window.end).to_contain_text("Stopped")


def test_without_locks_the_tab_that_one_turned_to_last_keeps_the_list_for_all(
    context: BrowserContext, open_tab: Callable[..., Chat], server: Server
) -> None:
    reading = streams(context, "/v1/events")
    no_locks = "Object.defineProperty(navigator, 'locks', { value: undefined });"
    tabs = [open_tab("", shown=True, script=no_locks) for _ in range(4)]
    sid = server.session("Good evening")
    for tab in tabs:
        expect(tab.listed).to_have_text(["Good evening"])
    assert len(reading) == 1
    tabs.pop().page.close()
    tabs[0].page.evaluate("dispatchEvent(new Event('focus'))")
    server.change(sid, title="Lamps")
    for tab in tabs:
        expect(tab.listed).to_have_text(["Lamps"])


def test_a_browser_that_keeps_nothing_for_the_page_shows_all_the_same_what_is_written(
    context: BrowserContext, open_tab: Callable[..., Chat], server: Server
) -> None:
    reading = streams(context, "/events")
    tab = open_tab("", shown=True, script=FORBIDDEN)
    server.session("Good evening")
    expect(tab.listed).to_have_text(["Good evening"])
    tab.say(LONG)
    tab.expect_writing("t5 ")
    assert len(reading) == 2  # so the reply is read, and not fetched again and again
    with tab.page.expect_event("requestfailed", lambda request: request.url.endswith("/v1/events")):
        show(tab.page, False)  # no other tab could tell it to make room
    tab.stop()


def test_a_tab_that_loses_the_list_to_another_takes_it_up_again(
    context: BrowserContext, open_tab: Callable[..., Chat], server: Server
) -> None:
    """Safari takes it from a page that one leaves, and gives it to another before one comes back."""
    reading = streams(context, "/v1/events")
    tab = open_tab("", shown=True)
    tab.wait_until("navigator.locks.query().then(({ held }) => held.length)")
    with tab.page.expect_event("requestfailed"):
        tab.page.evaluate("""void navigator.locks.request("rejoinder.overview", { steal: true },
          () => new Promise((free) => (window.free = free)))""")
    server.session("Good evening")
    tab.page.evaluate("free()")
    expect(tab.listed).to_have_text(["Good evening"])
    assert len(reading) == 1
