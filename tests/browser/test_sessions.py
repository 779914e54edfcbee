"""The list of sessions: true without being asked for again, in every tab, however long; searched, taken out and brought in."""

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Request, expect

from chat_page import Chat
from server_process import Server

MARK = "A reply is being written"


def streams(context: BrowserContext) -> list[Request]:
    """From now on, the requests of all tabs for the overview."""
    asked: list[Request] = []
    context.on("request", lambda request: asked.append(request) if request.url.endswith("/v1/events") else None)
    return asked


def test_one_stream_keeps_all_tabs_up_to_date(
    context: BrowserContext, open_chat: Callable[..., Chat], server: Server
) -> None:
    asked = streams(context)
    tabs = [open_chat() for _ in range(3)]
    sid = server.session("Good evening")
    for tab in tabs:
        expect(tab.listed).to_have_text(["Good evening"])
    assert len(asked) == 1

    title = "Lamps of all the harbours along the whole coast"
    server.change(sid, title=title)
    for tab in tabs:
        expect(tab.listed).to_have_text([title])
    other = server.session("another")
    server.start_reply(sid, "/script tokens=1000 pace=0.02")
    for tab in tabs:
        expect(tab.listed).to_have_text([title, "another"])
        expect(tab.listed.first.get_by_role("img", name=MARK)).to_be_in_viewport(ratio=1)
    late = open_chat()  # it is told by the tab that knows
    expect(late.listed.first.get_by_role("img", name=MARK)).to_be_visible()
    assert len(asked) == 1

    for tab in tabs:
        tab.page.close()  # whoever held the stream
    tabs.clear()
    server.stop_reply(sid)
    expect(late.listed.first.get_by_role("img", name=MARK)).to_be_hidden()
    server.delete(other)
    expect(late.listed).to_have_text([title])
    assert len(asked) <= 4  # each that goes hands the stream on


def test_the_list_is_right_after_the_server_was_away(chat: Chat, server: Server) -> None:
    sid = server.session("one")
    server.start_reply(sid, "/script tokens=1000 pace=0.05")
    expect(chat.listed.first.get_by_role("img", name=MARK)).to_be_visible()
    server.kill()
    server.start()
    server.change(sid, title="renamed")
    expect(chat.listed).to_have_text(["renamed"])
    expect(chat.listed.first.get_by_role("img", name=MARK)).to_be_hidden()


def test_another_browser_sees_titles_as_they_come(chat: Chat, browser: Browser) -> None:
    with browser.new_context() as context:
        other = Chat(context.new_page(), chat.url)
        other.open()
        chat.say("Where do swallows sleep?")
        expect(other.listed).to_have_text(["Where do swallows sleep?"])
        chat.page.get_by_role("button", name="Rename").click()
        chat.page.get_by_role("textbox", name="Name of the chat").fill("Swallows")
        chat.page.keyboard.press("Enter")
        expect(other.listed).to_have_text(["Swallows"])
        other.check()


@pytest.mark.parametrize("renamed", [0, 1])
def test_a_name_that_is_typed_stays_whatever_is_said_meanwhile(chat: Chat, server: Server, renamed: int) -> None:
    sessions = [server.session("about herons"), server.session("about owls")]
    items = [chat.page.locator(f'li[data-session="{sid}"]') for sid in sessions]
    expect(items[1]).to_have_attribute("aria-posinset", "1")
    items[renamed].hover()
    items[renamed].get_by_role("button", name="Rename").click()
    name = chat.page.get_by_role("textbox", name="Name of the chat")
    name.fill("Waders")
    for said in (0, 1, 1, 0):  # each goes to the top with it
        server.say(sessions[said], "and on")
        expect(items[said]).to_have_attribute("aria-posinset", "1")
        expect(name).to_have_value("Waders")
        expect(name).to_be_focused()
    chat.page.keyboard.press("Enter")
    expect(items[renamed]).to_have_text("Waders")
    assert server.get(f"/v1/sessions/{sessions[renamed]}")["title"] == "Waders"
    chat.check()


def test_a_deletion_can_be_undone_and_otherwise_happens(chat: Chat, server: Server) -> None:
    chat.say("to be kept")
    chat.expect_written()
    sid = chat.session
    chat.page.get_by_role("button", name="Delete to be kept").click()
    expect(chat.page.get_by_text("Deleted “to be kept”")).to_be_visible()
    expect(chat.listed).to_have_count(0)
    chat.page.get_by_role("button", name="Undo").click()
    expect(chat.listed).to_have_text(["to be kept"])
    expect(chat.reply).to_have_text("to be kept")  # it is open again

    chat.page.get_by_role("button", name="Delete to be kept").click()
    expect(chat.page.get_by_text("Deleted “to be kept”")).to_be_visible()
    chat.page.goto("about:blank")  # whoever leaves has meant it
    server.wait_until_gone(sid)


LIST_THAT_IS_LATE = """
async () => {
  const { Sessions } = await import("/page/state/sessions.js");
  const asked = [];
  const client = { request: (method, path) => new Promise((answer) => asked.push({ path, answer })) };
  const sessions = new Sessions(client, () => {});
  const session = (id, seq) => ({ id, title: id, head: null, last_seq: seq, updated_at: `2026-01-01T00:00:0${seq}Z` });
  const tell = (type, data) => sessions.apply({ type, data });
  const soon = () => new Promise((done) => setTimeout(done));

  const loaded = sessions.load();
  tell("session.created", { seq: 2, session: session("told", 2) });
  tell("snapshot", { writing: [] });
  asked[0].answer({ data: [session("old", 1)], next: null });
  await loaded;
  const first = sessions.items.map(({ id }) => id);
  await soon();
  tell("session.deleted", { session_id: "told" });
  asked[1].answer({ data: [session("missed", 3), session("told", 2), session("old", 1)], next: null });
  await soon();
  const again = sessions.load();
  asked[2].answer({ data: [session("missed", 3)], next: null });
  await again;
  const last = sessions.items.map(({ id }) => id);

  // The end of the list comes near while the first page is fetched once more.
  const scrolled = new Sessions(client, () => {});
  scrolled.load();
  asked[3].answer({ data: [session("one", 3)], next: "behind-one" });
  await soon();
  scrolled.load();
  scrolled.more();
  scrolled.more();
  asked[4].answer({ data: [session("one", 3)], next: "behind-one" });
  await soon();
  asked[5].answer({ data: [session("two", 2)], next: null });
  await soon();
  const whole = scrolled.items.map(({ id }) => id);
  return { first, last, whole, paths: asked.map(({ path }) => /after=(.*)/.exec(path)?.[1] ?? "") };
}
"""


def test_a_list_that_is_late_takes_nothing_away_and_is_fetched_again(chat: Chat) -> None:
    seen = chat.page.evaluate(LIST_THAT_IS_LATE)
    # What was told while the list was on its way stays; what came before the snapshot, and was told to nobody, is fetched
    # once more; what has been deleted meanwhile does not come back, and what is not there any more goes. Nor is a further
    # page forgotten that was asked for meanwhile.
    assert seen == {
        "first": ["told", "old"],
        "last": ["missed"],
        "whole": ["one", "two"],
        "paths": ["", "", "", "", "", "behind-one"],
    }


def test_a_deletion_can_be_undone_on_a_phone_and_by_a_key(chat: Chat, server: Server) -> None:
    chat.page.set_viewport_size({"width": 390, "height": 780})
    for text in ("to be kept", "to be read"):
        server.session(text)
    chat.page.get_by_role("button", name="Chats").click()
    expect(chat.listed).to_have_text(["to be read", "to be kept"])  # else they might move under the finger
    chat.page.get_by_role("button", name="Delete to be kept").click()
    expect(chat.listed).to_have_text(["to be read"])
    chat.page.get_by_role("button", name="Undo").click()  # while the list lies over everything else
    expect(chat.listed).to_have_text(["to be read", "to be kept"])
    chat.page.get_by_role("button", name="Delete to be read").click()
    expect(chat.listed).to_have_text(["to be kept"])
    chat.page.keyboard.press("Alt+z")
    expect(chat.listed).to_have_text(["to be read", "to be kept"])


def test_messages_are_found_by_their_words(chat: Chat, server: Server) -> None:
    long = server.session("The lamplighter of Quay Street", *(f"message {number}." for number in range(60)))
    server.change(long, title="Lamps <b>")
    server.session("Nothing of the kind")
    chat.page.keyboard.press("Alt+k")
    expect(chat.page.get_by_role("searchbox")).to_be_focused()
    chat.page.keyboard.type("LAMPLI quay")
    found = chat.page.locator(".found").get_by_role("link")
    expect(found).to_have_count(2)  # what was said, and its echo
    expect(found.first.locator("mark")).to_have_text(["lamplighter", "Quay"])
    expect(found.first).to_contain_text("Lamps <b>")
    found.last.click()
    # It is opened where it was said, far above the newest.
    there = chat.words.get_by_text("The lamplighter of Quay Street")
    expect(there).to_be_in_viewport()
    expect(chat.page.locator(".sought").get_by_text("The lamplighter of Quay Street")).to_be_visible()
    expect(chat.page.locator(".sought")).to_have_count(0)  # marked for a moment
    assert chat.session == long
    chat.page.get_by_role("searchbox").fill("message")
    expect(found).to_have_count(30)
    chat.page.get_by_role("button", name="Find more").click()
    expect(found).to_have_count(120)
    expect(chat.page.get_by_role("button", name="Find more")).to_have_count(0)
    chat.page.get_by_role("searchbox").fill("nowhere")
    expect(chat.page.get_by_text("No chat has these words.")).to_be_visible()
    chat.page.get_by_role("searchbox").press("Escape")
    expect(chat.listed).to_have_count(2)


def test_what_was_found_is_called_as_in_the_list(chat: Chat, server: Server) -> None:
    server.session("Where do swallows sleep in winter?", "In Africa, I suppose")
    for number in range(60):  # so that the list has not come to it
        server.session(f"chat {number}")
    chat.page.get_by_role("searchbox").fill("africa")
    found = chat.page.locator(".found").get_by_role("link")
    expect(found.locator("strong")).to_have_text(["Where do swallows sleep in winter?"] * 2)
    chat.open(server.session("And storks?"))  # which was not found
    expect(chat.page.get_by_role("heading", level=1)).to_have_text("And storks?")


def test_a_chat_is_found_by_its_title(chat: Chat, server: Server) -> None:
    server.change(server.session("Good evening"), title="Names for a lighthouse")
    server.session("Nothing of the kind")
    chat.page.get_by_role("searchbox").fill("lightho nam")
    found = chat.page.locator(".found").get_by_role("link")
    expect(found).to_have_text(["Names for a lighthouse"])
    found.click()
    expect(chat.words).to_have_text("Good evening")


DRAW_ONLY_WHEN_ALL_HAS_COME = """() => {
  const [draw, ask, waiting] = [requestAnimationFrame, fetch, []];
  const goOn = () => {
    window.requestAnimationFrame = draw;
    for (const frame of waiting) draw(frame);
  };
  window.requestAnimationFrame = (frame) => waiting.push(frame);
  window.fetch = async (...request) => {
    const answer = await ask(...request);
    if (/ses_.*events$/.test(request[0])) setTimeout(goOn); // the history is here, and the stream behind it is open
    return answer;
  };
}"""
"""As it happens by itself where a machine is busy."""


def test_what_was_found_is_shown_also_where_all_of_it_came_before_it_was_drawn(chat: Chat, server: Server) -> None:
    server.session("The lamplighter of Quay Street", *(f"message {number}." for number in range(30)))
    chat.page.get_by_role("searchbox").fill("lamplighter")
    found = chat.page.locator(".found").get_by_role("link")
    expect(found).to_have_count(2)
    chat.page.evaluate(DRAW_ONLY_WHEN_ALL_HAS_COME)
    found.last.click()
    expect(chat.words.get_by_text("The lamplighter of Quay Street")).to_be_in_viewport()


def test_what_stands_on_another_branch_is_found_as_well(chat: Chat, server: Server) -> None:
    chat.say("the first wording")
    chat.expect_written()
    chat.field.press("ArrowUp")
    area = chat.page.get_by_role("textbox", name="Edit the message")
    area.fill("the second")
    area.press("Enter")
    expect(chat.reply).to_have_text("the second")
    chat.page.get_by_role("searchbox").fill("wording")
    chat.page.locator(".found").get_by_role("link").last.click()
    expect(chat.words).to_have_text(["the first wording"])


def test_a_name_and_a_search_wait_for_a_server_that_is_away(chat: Chat, server: Server) -> None:
    chat.say("swallows")
    chat.expect_written()
    server.kill()
    for title in ("first thought", "better thought"):
        chat.page.get_by_role("button", name="Rename").click()
        chat.page.get_by_role("textbox", name="Name of the chat").fill(title)
        chat.page.keyboard.press("Enter")
        expect(chat.page.get_by_role("alert")).to_have_text("The server cannot be reached.")
    chat.page.get_by_role("searchbox").fill("swallows")
    found = chat.page.get_by_role("navigation").get_by_role("alert")
    expect(found).to_have_text("Nothing can be found: The server cannot be reached.")
    chat.page.wait_for_timeout(4000)  # longer than three attempts take
    server.start()
    expect(chat.page.locator(".found").get_by_role("link")).to_have_count(2)  # what was said, and its echo
    expect(chat.page.get_by_role("heading", name="better thought")).to_be_visible()
    expect(chat.page.get_by_role("alert")).to_have_count(0)
    assert server.get(f"/v1/sessions/{chat.session}")["title"] == "better thought"


def test_a_chat_is_exported_and_imported(chat: Chat, server: Server, tmp_path: Path) -> None:
    chat.say("to be carried elsewhere")
    chat.expect_written()
    sid = chat.session
    with chat.page.expect_download() as download:
        chat.page.get_by_role("link", name="Export this chat").click()
    file = tmp_path / download.value.suggested_filename
    download.value.save_as(file)
    assert file.name == f"{sid}.jsonl"

    def bring(*files: Path) -> None:
        with chat.page.expect_file_chooser() as chooser:
            chat.page.get_by_role("button", name="Import a chat").click()
        chooser.value.set_files(files or (file,))

    chat.page.get_by_role("link", name="New chat").click()
    expect(chat.said).to_have_count(0)
    bring()  # it is here, and is shown
    expect(chat.reply).to_have_text("to be carried elsewhere")
    expect(chat.page.get_by_role("alert")).to_be_hidden()
    assert chat.session == sid
    chat.delete("to be carried elsewhere")
    expect(chat.listed).to_have_count(0)
    bring()
    expect(chat.reply).to_have_text("to be carried elsewhere")
    expect(chat.listed).to_have_text(["to be carried elsewhere"])
    good = tmp_path / "good.jsonl"
    file.rename(good)
    file.write_text("{}\n")
    bad = tmp_path / "bad.jsonl"
    bad.write_text("{}\n")
    server.delete(sid)  # from elsewhere, so that its place is still open here
    expect(chat.page.get_by_role("heading", name="This chat is not here")).to_be_visible()
    bring(file, good, bad)  # what cannot be imported keeps no other from it
    expect(chat.reply).to_have_text("to be carried elsewhere")
    for name in (file.name, bad.name):
        expect(chat.page.get_by_role("alert")).to_contain_text(f"“{name}” cannot be imported")


def test_what_was_deleted_and_imported_again_stays(chat: Chat, server: Server, tmp_path: Path) -> None:
    chat.say("precious")
    chat.expect_written()
    sid = chat.session
    file = tmp_path / "precious.jsonl"
    file.write_bytes(chat.page.request.get(f"{server.url}/v1/sessions/{sid}/export").body())
    chat.page.get_by_role("button", name="Delete precious").click()
    chat.page.reload()
    server.wait_until_gone(sid)
    with chat.page.expect_file_chooser() as chooser:
        chat.page.get_by_role("button", name="Import a chat").click()
    chooser.value.set_files(file)
    expect(chat.reply).to_have_text("precious")
    assert chat.page.evaluate("Object.keys(localStorage).filter((key) => key.includes('doomed'))") == []
    chat.page.reload()
    expect(chat.reply).to_have_text("precious")
    expect(chat.listed).to_have_text(["precious"])


def test_whoever_goes_back_to_a_chat_that_was_just_deleted_has_it_again(chat: Chat, server: Server) -> None:
    chat.say("precious")
    chat.expect_written()
    chat.page.get_by_role("button", name="Delete precious").click()
    expect(chat.said).to_have_count(0)
    chat.page.go_back()
    expect(chat.reply).to_have_text("precious")
    expect(chat.page.get_by_role("button", name="Undo")).to_be_hidden()
    expect(chat.listed).to_have_text(["precious"])


def test_what_was_brought_back_from_far_down_is_in_the_list(chat: Chat, server: Server) -> None:
    for number in range(60):
        server.post("/v1/sessions", {"title": f"Chat {number:02}"})
    expect(chat.listed.first).to_have_text("Chat 59")
    place = chat.page.locator(".sidebar .list")
    place.evaluate("place => (place.scrollTop = place.scrollHeight)")
    row = chat.listed.filter(has_text="Chat 02")
    expect(row).to_be_visible()
    row.hover()
    chat.page.get_by_role("button", name="Delete Chat 02").click()
    expect(row).to_be_hidden()
    chat.page.get_by_role("button", name="Undo").click()
    expect(row).to_be_visible()


def test_what_was_found_opens_in_another_tab_alone_where_that_is_asked_for(chat: Chat, server: Server) -> None:
    sid = server.session("the albatross")
    chat.page.get_by_role("searchbox").fill("albatross")
    with chat.page.context.expect_page() as other:
        chat.page.locator(".found a").first.click(modifiers=["ControlOrMeta"])
    expect(other.value).to_have_url(f"{server.url}/#{sid}")
    other.value.close()
    assert sid not in chat.page.url


def test_escape_closes_the_list_that_lies_over_a_reply(chat: Chat) -> None:
    chat.page.set_viewport_size({"width": 640, "height": 400})
    chat.say("/script tokens=1000 pace=0.02")
    chat.expect_writing("t3")
    chat.page.keyboard.press("Alt+l")
    expect(chat.page.locator("main[inert]")).to_be_visible()
    stop = chat.page.locator(".stop")
    stop.dispatch_event("pointerdown")  # from now on nothing is drawn, as at times on a busy machine
    chat.page.keyboard.press("Escape")
    chat.page.wait_for_timeout(100)
    stop.dispatch_event("pointerup")
    expect(chat.page.get_by_role("button", name="Chats")).to_be_focused()
    chat.expect_writing("t20")
    chat.page.keyboard.press("Escape")
    expect(chat.end).to_contain_text("Stopped")


def test_an_idea_goes_behind_what_was_written(chat: Chat) -> None:
    chat.field.fill("My own words")
    chat.page.locator(".ideas button").first.click()
    expect(chat.field).to_have_value("My own words\n\nTell me a story about a lighthouse keeper.")
