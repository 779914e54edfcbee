"""Who talks steers: stops, goes on, asks again, in other words, or further; and all of it by the keyboard as well."""

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Locator, Page, Route, expect

from chat_page import Chat
from server_process import Server

LONG = "/script tokens=1000 pace=0.02"
STALLED = "/script tokens=1000 pace=0.02 stall@5"


def button(chat: Chat, name: str) -> None:
    """Presses a button of the last reply."""
    chat.replies.last.hover()
    chat.replies.last.get_by_role("button", name=name, exact=True).click()


def edit(chat: Chat, place: int, text: str) -> None:
    chat.said.nth(place).hover()
    chat.said.nth(place).get_by_role("button", name="Edit").click()
    area = chat.page.get_by_role("textbox", name="Edit the message")
    expect(area).to_be_focused()
    area.fill(text)
    area.press("Enter")


def texts(server: Server, sid: str) -> list[str]:
    """What the branch says that the session shows."""
    return [message["content"] for message in server.messages(sid)]


def test_asking_again_makes_versions_to_switch_between(chat: Chat, open_chat: Callable[..., Chat]) -> None:
    chat.say("one")
    chat.expect_written()
    button(chat, "Ask again")
    expect(chat.versions(chat.replies.last)).to_have_text("2/2")
    other = open_chat(chat.session)
    button(chat, "Ask again")
    for tab in (chat, other):
        expect(tab.versions(tab.replies.last)).to_have_text("3/3")

    button(chat, "Previous version")
    for tab in (chat, other):
        expect(tab.versions(tab.replies.last)).to_have_text("2/3")
    # The button under the finger is still there, and has the focus.
    expect(chat.replies.last.get_by_role("button", name="Previous version")).to_be_focused()
    chat.page.keyboard.press("Enter")
    expect(chat.versions(chat.replies.last)).to_have_text("1/3")
    expect(chat.replies.last.get_by_role("button", name="Previous version")).to_be_disabled()
    chat.page.reload()
    expect(chat.versions(chat.replies.last)).to_have_text("1/3")


def test_an_edit_is_a_branch_and_the_old_one_is_kept(chat: Chat, server: Server) -> None:
    for text in ("one", "two", "three"):
        chat.say(text)
        expect(chat.reply).to_have_text(text)
    edit(chat, 1, "zwei")
    expect(chat.reply).to_have_text("zwei")
    expect(chat.words).to_have_text(["one", "zwei"])
    expect(chat.field).to_be_focused()
    expect(chat.versions(chat.said.last)).to_have_text("2/2")
    assert texts(server, chat.session) == ["one", "one", "zwei", "zwei"]

    chat.said.last.hover()
    chat.said.last.get_by_role("button", name="Previous version").click()
    expect(chat.words).to_have_text(["one", "two", "three"])  # with all that followed it
    expect(chat.versions(chat.said.nth(1))).to_have_text("1/2")
    chat.say("four")
    expect(chat.reply).to_have_text("four")
    assert texts(server, chat.session) == ["one", "one", "two", "two", "three", "three", "four", "four"]


def test_what_waits_is_answered_in_its_new_words_alone(chat: Chat, server: Server) -> None:
    chat.say("/script tokens=5 stall@5")
    chat.expect_writing("t4")
    for text in ("buy 100", "and then report", "and rest"):
        chat.say(text)
    expect(chat.page.get_by_text("Waiting for its turn")).to_have_count(3)
    edit(chat, 1, "buy 10")
    expect(chat.words).to_have_text(["/script tokens=5 stall@5", "buy 10", "and then report", "and rest"])
    chat.stop()
    expect(chat.reply).to_have_text("and rest")
    said = ("buy 10", "and then report", "and rest")
    assert texts(server, chat.session)[2:] == [text for text in said for _ in range(2)]
    everything = server.get(f"/v1/sessions/{chat.session}/messages?branch=all")["data"]
    ended = [message["status"] for message in everything if message["role"] == "assistant" and not message["content"]]
    assert ended == ["stopped"] * 3  # of the old words nothing was answered


def test_an_edit_that_is_given_up_changes_nothing(chat: Chat) -> None:
    chat.say("as it is")
    chat.expect_written()
    chat.field.press("ArrowUp")
    area = chat.page.get_by_role("textbox", name="Edit the message")
    expect(area).to_have_value("as it is")
    for place in (area, chat.page.get_by_role("button", name="Cancel")):
        area.fill("otherwise")
        place.press("Escape")
        expect(area).to_be_hidden()
        expect(chat.words).to_have_text("as it is")
        chat.field.press("ArrowUp")
        expect(area).to_have_value("as it is")


def test_a_first_message_can_be_edited_while_its_answer_is_written(chat: Chat, server: Server) -> None:
    chat.say(LONG)
    chat.expect_writing("t5")
    edit(chat, 0, "shorter")
    expect(chat.reply).to_have_text("shorter")
    expect(chat.words).to_have_text("shorter")
    chat.page.reload()  # the other branch is still written to, and does not disturb
    expect(chat.reply).to_have_text("shorter")
    chat.say("and on")
    expect(chat.reply).to_have_text("and on")
    chat.expect_written(2)
    everything = server.get(f"/v1/sessions/{chat.session}/messages?branch=all")["data"]
    assert [message["status"] for message in everything].count("streaming") == 1


def test_a_stopped_reply_goes_on_where_it_broke_off(chat: Chat, server: Server) -> None:
    chat.say("/script tokens=120 pace=0.02 stall@20")
    chat.expect_writing("t19")
    chat.page.keyboard.press("Escape")
    expect(chat.end).to_contain_text("Stopped")
    kept = chat.reply.inner_text()
    button(chat, "Continue")
    expect(chat.versions(chat.replies.last)).to_have_text("2/2")
    expect(chat.reply).to_have_text(re.compile(f"^{kept} .*t119\\s*$"))
    assert server.reply(chat.session)["content"] == " ".join(f"t{number}" for number in range(120))


def test_a_reply_is_not_continued_by_a_model_that_cannot(chat: Chat, server: Server) -> None:
    chat.say("/script tokens=20 fail=upstream_error@10")
    expect(chat.replies.last.get_by_role("button", name="Continue")).to_be_visible()
    models = server.get("/v1/models")
    for model in models["data"]:
        assert model["prefill"] is True
        model["prefill"] = False
    chat.page.route("**/v1/models", lambda route: route.fulfill(json=models))
    chat.page.reload()
    expect(chat.replies.last.get_by_role("button", name="Try again")).to_be_visible()
    expect(chat.replies.last.get_by_role("button", name="Continue")).to_be_hidden()


def test_a_reply_that_failed_is_asked_for_again_and_not_said_again(chat: Chat, server: Server) -> None:
    chat.say("/script tokens=20 fail=upstream_error@10 times=1")
    expect(chat.end).to_contain_text("Failed")
    button(chat, "Try again")
    expect(chat.reply).to_have_text(re.compile(r"t19\s*$"))
    expect(chat.versions(chat.replies.last)).to_have_text("2/2")
    assert len(server.messages(chat.session)) == 2


def test_what_is_sent_meanwhile_waits_for_its_turn(chat: Chat, server: Server) -> None:
    chat.page.set_viewport_size({"width": 390, "height": 780})
    chat.say(LONG)
    chat.expect_writing("t3")
    height = chat.page.locator(".composer").evaluate("composer => composer.clientHeight")
    chat.field.fill("next")
    expect(chat.page.get_by_text("Sent when the reply is done")).to_be_visible()
    assert chat.page.locator(".composer").evaluate("composer => composer.clientHeight") == height
    chat.field.press("Enter")
    expect(chat.page.get_by_text("Waiting for its turn")).to_have_count(1)
    chat.say("never mind")
    expect(chat.page.get_by_text("Waiting for its turn")).to_have_count(2)
    chat.say("and this")
    expect(chat.page.get_by_text("Waiting for its turn")).to_have_count(3)
    chat.replies.nth(2).get_by_role("button", name="Skip").click()  # something waits behind it
    expect(chat.replies.nth(2)).to_contain_text("Stopped")
    chat.stop()  # what ends is the reply that is being written, and the next one's turn comes
    expect(chat.replies.nth(1)).to_contain_text("next")
    expect(chat.reply).to_contain_text("and this")
    replies = [message["status"] for message in server.messages(chat.session)[1::2]]
    assert replies == ["stopped", "completed", "stopped", "completed"]


def test_what_is_taken_back_is_a_draft_again(chat: Chat, open_chat: Callable[..., Chat], server: Server) -> None:
    chat.say(STALLED)  # a button that moves down with each line above it can be missed by a press
    chat.expect_writing("t3")
    chat.say("rather not")
    expect(chat.page.get_by_text("Waiting for its turn")).to_be_visible()
    other = open_chat(chat.session)
    expect(other.said).to_have_count(2)
    chat.field.fill("what I thought meanwhile")
    button(chat, "Take back")
    for tab in (chat, other):
        expect(tab.said).to_have_count(1)
        expect(tab.replies).to_have_count(1)
    expect(chat.field).to_have_value("rather not\n\nwhat I thought meanwhile")
    expect(chat.field).to_be_focused()
    chat.stop()
    chat.say("said in the end")
    expect(chat.reply).to_have_text("said in the end")
    reply = server.reply(chat.session)
    sent = server.get(f"/v1/sessions/{chat.session}/messages/{reply['id']}/prompt")["data"][0]["request"]["messages"]
    assert [one["content"] for one in sent if one["role"] == "user"] == [STALLED, "said in the end"]


@pytest.fixture
def pressed(chat: Chat) -> Locator:
    """A button under a reply that is written, line by line, pressed and not let go: by an event, since it never stands still."""
    chat.page.set_viewport_size({"width": 1000, "height": 3000})  # room for a while
    chat.say("/script tokens=5000 pace=0.002")
    chat.expect_writing("t3")
    chat.say("rather not")
    button = chat.replies.last.get_by_role("button", name="Take back")
    button.dispatch_event("pointerdown")
    return button


def height(button: Locator) -> float:
    box = button.bounding_box()
    assert box is not None
    return box["y"]


def test_a_button_stays_where_it_is_while_it_is_pressed(chat: Chat, pressed: Locator) -> None:
    before = height(pressed)
    chat.page.wait_for_timeout(300)  # some lines would have come
    assert height(pressed) == before
    pressed.click()
    expect(chat.said).to_have_count(1)
    expect(chat.replies).to_have_count(1)
    expect(chat.reply).to_contain_text("t1500")


def test_a_reply_goes_on_though_a_press_does_not_end(chat: Chat, pressed: Locator) -> None:
    before = height(pressed)
    expect(chat.replies.first).to_contain_text("t1500")
    assert height(pressed) > before


def test_what_cannot_wait_interrupts(chat: Chat, server: Server) -> None:
    chat.say(LONG)
    chat.expect_writing("t3")
    chat.field.fill("stop, this first")
    chat.page.get_by_role("button", name="interrupt and send").click()
    expect(chat.reply).to_have_text("stop, this first")
    chat.say(LONG)
    chat.expect_writing("t3")
    chat.field.fill("and this")
    chat.field.press("Control+Enter")
    expect(chat.reply).to_have_text("and this")
    assert [message["status"] for message in server.messages(chat.session)[1::2]] == ["stopped", "completed"] * 2


def test_a_fork_is_a_chat_of_its_own(chat: Chat, server: Server) -> None:
    chat.say("one")
    chat.expect_written()
    chat.say("two")
    chat.expect_written(2)
    origin = chat.session
    chat.replies.first.hover()
    chat.replies.first.get_by_role("button", name="Fork").click()
    expect(chat.words).to_have_text(["one"])
    assert chat.session != origin
    expect(chat.page.get_by_role("heading", level=1)).to_have_text("Fork of one")
    expect(chat.listed).to_have_text(["Fork of one", "one"])
    chat.say("zwei")
    expect(chat.reply).to_have_text("zwei")
    assert texts(server, origin) == ["one", "one", "two", "two"]
    button(chat, "Fork the chat here")
    expect(chat.listed).to_have_text(["Fork of one", "Fork of one", "one"])


def fill_options(page: Page, **values: str) -> None:
    page.get_by_role("button", name="Model and instructions").click()
    dialog = page.get_by_role("dialog", name="Model and instructions")
    dialog.get_by_label("Model", exact=False).first.select_option(values["model"])
    dialog.get_by_label("Instructions").fill(values["instructions"])
    dialog.get_by_label("Temperature").fill("")
    dialog.get_by_label("Temperature").press_sequentially(
        values["temperature"]
    )  # behind a point there is no number yet
    dialog.get_by_label("Most tokens").fill(values["tokens"])
    dialog.get_by_role("button", name="Save").click()
    expect(dialog).to_be_hidden()


def test_model_parameters_and_instructions_are_the_sessions(chat: Chat, server: Server) -> None:
    fill_options(
        chat.page, model="scripted:story", instructions="Speak like a lamplighter.", temperature="0.5", tokens="7"
    )
    expect(chat.page.get_by_text("You are talking to scripted:story.")).to_be_visible()
    chat.page.reload()  # nothing of it is lost before there is a session
    chat.say("Good evening")
    expect(chat.end).to_contain_text("Cut short")
    session = server.get(f"/v1/sessions/{chat.session}")
    assert (session["model"], session["system_prompt"]) == ("scripted:story", "Speak like a lamplighter.")
    assert session["params"] == {"temperature": 0.5, "max_tokens": 7}

    fill_options(chat.page, model="", instructions="", temperature="", tokens="100")
    chat.say("Good night")
    expect(chat.reply).to_have_text("Good night")
    session = server.get(f"/v1/sessions/{chat.session}")
    assert (session["model"], session["system_prompt"], session["params"]) == (None, None, {"max_tokens": 100})
    chat.page.get_by_role("link", name="New chat").click()
    expect(chat.page.get_by_text("You are talking to scripted:echo.")).to_be_visible()


def test_a_double_click_asks_once(chat: Chat, server: Server) -> None:
    chat.say("one")
    chat.expect_written()
    chat.replies.last.get_by_role("button", name="Ask again").dblclick()
    chat.expect_written()
    expect(chat.versions(chat.replies.last)).to_have_text("2/2")
    chat.page.wait_for_timeout(600)  # longer than two clicks are one
    fork = chat.replies.last.get_by_role("button", name="Fork")

    def slowly(route: Route) -> None:
        chat.page.wait_for_timeout(300)
        route.continue_()

    chat.page.route("**/fork", slowly)
    fork.dblclick()
    expect(chat.listed).to_have_count(2)
    expect(chat.words).to_have_text("one")
    expect(chat.versions(chat.replies.last)).to_have_count(0)  # a fork has one branch
    assert len(server.get("/v1/sessions")["data"]) == 2
    [first] = [one["id"] for one in server.get("/v1/sessions")["data"] if one["id"] != chat.session]
    assert len(server.get(f"/v1/sessions/{first}/messages?branch=all")["data"]) == 3


def test_a_regeneration_that_the_server_does_not_take_can_be_cancelled(chat: Chat, server: Server) -> None:
    chat.open(server.session("one", "two"))
    chat.expect_written(2)
    server.kill()
    chat.replies.first.hover()
    chat.replies.first.get_by_role("button", name="Ask again").click()
    note = chat.page.get_by_text("The server cannot be reached.")
    expect(note).to_be_visible()
    assert note.evaluate("note => getComputedStyle(note).textAlign") == "start"  # where a reply stands
    expect(chat.replies.last).to_be_focused()  # it took the place of what was pressed
    chat.page.get_by_role("button", name="Cancel").click()
    expect(chat.words).to_have_text(["one", "two"])
    expect(chat.field).to_have_value("")
    server.start()
    chat.say("three")
    expect(chat.reply).to_have_text("three")
    assert texts(server, chat.session) == ["one", "one", "two", "two", "three", "three"]


def test_what_was_written_into_the_options_is_not_thrown_away(chat: Chat) -> None:
    mouse = chat.page.mouse
    chat.page.get_by_role("button", name="Model and instructions").click()
    dialog = chat.page.get_by_role("dialog", name="Model and instructions")
    area = dialog.get_by_label("Instructions")
    gone = chat.page.locator("dialog")  # it is hidden a moment before the page knows
    box = area.bounding_box()
    assert box
    mouse.move(box["x"] + 100, box["y"] + 10)
    mouse.down()
    mouse.move(20, 400, steps=5)  # as one marks a line up to its beginning
    mouse.up()
    expect(dialog).to_be_visible()
    area.fill("Written for five minutes.")
    mouse.click(20, 400)
    expect(area).to_have_value("Written for five minutes.")
    assert not area.evaluate(PRESS, ["Escape", "Escape", {"isComposing": True}])
    area.press("Escape")
    area.press("Escape")
    expect(area).to_be_visible()
    expect(area).to_have_value("Written for five minutes.")
    dialog.get_by_role("button", name="Cancel").click()
    expect(gone).to_have_count(0)
    chat.page.get_by_role("button", name="Model and instructions").click()
    expect(dialog).to_be_visible()
    mouse.click(20, 400)  # where nothing was changed, a press beside it closes it
    expect(gone).to_have_count(0)
    chat.page.get_by_role("button", name="Model and instructions").click()
    expect(dialog).to_be_visible()
    assert not area.evaluate(PRESS, ["Escape", "Escape", {"isComposing": True}])
    expect(dialog).to_be_visible()
    area.press("Escape")
    expect(gone).to_have_count(0)


def test_options_are_saved_for_the_chat_that_they_were_opened_for(chat: Chat, server: Server) -> None:
    sessions = [server.session("one"), server.session("two")]
    for sid, text in zip(sessions, ("one", "two"), strict=True):
        chat.open(sid)
        expect(chat.words).to_have_text(text)
    chat.page.get_by_role("button", name="Model and instructions").click()
    dialog = chat.page.get_by_role("dialog", name="Model and instructions")
    dialog.get_by_label("Instructions").fill("Be brief.")
    chat.page.go_back()
    expect(chat.words).to_have_text("one")
    dialog.get_by_role("button", name="Save").click()
    expect(dialog).to_be_hidden()
    assert [server.get(f"/v1/sessions/{sid}")["system_prompt"] for sid in sessions] == [None, "Be brief."]


def test_options_that_could_not_be_saved_are_still_there(chat: Chat, server: Server) -> None:
    chat.say("one")
    chat.expect_written()
    server.kill()
    chat.page.get_by_role("button", name="Model and instructions").click()
    dialog = chat.page.get_by_role("dialog", name="Model and instructions")
    area = dialog.get_by_label("Instructions")
    area.fill("Written for five minutes.")
    dialog.get_by_role("button", name="Save").click()
    expect(dialog.get_by_role("alert")).to_have_text("It is not saved: The server cannot be reached.")
    expect(area).to_have_value("Written for five minutes.")
    server.start()
    dialog.get_by_role("button", name="Save").click()
    expect(dialog).to_be_hidden()
    assert server.get(f"/v1/sessions/{chat.session}")["system_prompt"] == "Written for five minutes."


def test_options_with_which_no_chat_can_be_made_are_still_there(chat: Chat, server: Server) -> None:
    chat.page.get_by_role("button", name="Model and instructions").click()
    dialog = chat.page.get_by_role("dialog", name="Model and instructions")
    dialog.get_by_label("Instructions").fill("Be brief.")
    dialog.get_by_label("Seed").fill("99999999999999999999")
    dialog.get_by_role("button", name="Save").click()
    chat.say("hello")
    expect(chat.page.get_by_role("alert")).to_be_visible()
    expect(chat.field).to_have_value("hello")
    chat.page.get_by_role("button", name="Model and instructions").click()
    expect(dialog.get_by_label("Instructions")).to_have_value("Be brief.")
    dialog.get_by_label("Seed").fill("9")
    dialog.get_by_role("button", name="Save").click()
    chat.field.press("Enter")
    chat.expect_written()
    session = server.get(f"/v1/sessions/{chat.session}")
    assert (session["system_prompt"], session["params"]) == ("Be brief.", {"seed": 9})
    chat.page.get_by_role("link", name="New chat").click()
    chat.page.get_by_role("button", name="Model and instructions").click()
    expect(dialog.get_by_label("Instructions")).to_have_value("")


def test_the_keyboard_steers_messages(chat: Chat) -> None:
    keyboard = chat.page.keyboard
    chat.say("one")
    chat.expect_written()
    keyboard.press("Alt+r")
    expect(chat.versions(chat.replies.last)).to_have_text("2/2")
    keyboard.press("Alt+Comma")
    expect(chat.versions(chat.replies.last)).to_have_text("1/2")
    keyboard.press("Alt+Period")
    expect(chat.versions(chat.replies.last)).to_have_text("2/2")
    keyboard.press("Alt+e")
    expect(chat.page.get_by_role("textbox", name="Edit the message")).to_be_focused()
    keyboard.press("Escape")
    expect(chat.page.get_by_role("textbox", name="Edit the message")).to_be_hidden()
    keyboard.press("Alt+w")
    expect(chat.field).to_be_focused()
    keyboard.press("Alt+ArrowUp")
    expect(chat.replies.last).to_be_focused()
    keyboard.press("Alt+ArrowUp")
    expect(chat.said.last).to_be_focused()


def test_the_keyboard_leads_everywhere(chat: Chat) -> None:
    keyboard = chat.page.keyboard
    chat.say("one")
    chat.expect_written()
    keyboard.press("Alt+m")
    expect(chat.page.get_by_role("dialog", name="Model and instructions")).to_be_visible()
    keyboard.press("Escape")
    keyboard.press("Alt+l")
    expect(chat.listed.first.get_by_role("link")).to_be_focused()
    keyboard.press("?")
    keys = chat.page.get_by_role("dialog", name="Keys")
    expect(keys.get_by_text("Ask again")).to_be_visible()
    keyboard.press("Escape")
    expect(keys).to_be_hidden()
    expect(chat.listed.first.get_by_role("link")).to_be_focused()
    origin = chat.session
    keyboard.press("Alt+f")
    expect(chat.page).not_to_have_url(re.compile(origin))  # the list may know it before it is opened
    expect(chat.listed).to_have_count(2)
    keyboard.press("Alt+n")
    expect(chat.page.get_by_role("heading", name="What shall we talk about?")).to_be_visible()
    expect(chat.field).to_be_focused()
    keyboard.type("What is a fold?")  # a sign in the field is a sign
    expect(chat.field).to_have_value("What is a fold?")
    keyboard.press("Control+/")
    expect(keys).to_be_visible()


PRESS = """(field, [key, code, init]) => {
  const event = new KeyboardEvent("keydown", { key, code, bubbles: true, cancelable: true, ...init });
  field.dispatchEvent(event);
  return event.defaultPrevented;
}"""
"""A key as another system or another layout would tell of it. Returns whether the page took it."""


def test_signs_that_alt_writes_on_a_mac_are_written(chat: Chat) -> None:
    chat.say("one")
    chat.expect_written()
    alt = {"altKey": True}
    written = [
        ("@", "KeyL"),
        ("ł", "KeyL"),
        ("ę", "KeyE"),
        ("€", "KeyE"),
        ("~", "KeyN"),
        ("Dead", "KeyN"),
        ("≤", "Comma"),
    ]
    for key, code in written:
        assert not chat.field.evaluate(PRESS, [key, code, alt]), key
    assert not chat.field.evaluate(PRESS, ["x", "KeyW", alt])  # a letter of another layout
    assert not chat.field.evaluate(PRESS, ["n", "KeyN", {"altKey": True, "ctrlKey": True}])  # AltGr
    expect(chat.words).to_have_text("one")

    assert chat.page.locator("body").evaluate(PRESS, ["å", "KeyL", alt])  # where nothing is written it is the key
    expect(chat.listed.first.get_by_role("link")).to_be_focused()
    assert chat.field.evaluate(PRESS, ["ц", "KeyW", alt])  # and where Alt writes nothing
    expect(chat.field).to_be_focused()
    assert chat.field.evaluate(PRESS, ["l", "KeyP", alt])  # by its sign, wherever that lies
    expect(chat.listed.first.get_by_role("link")).to_be_focused()


def test_an_enter_that_an_input_method_takes_sends_nothing(chat: Chat) -> None:
    chat.say(LONG)
    chat.expect_writing("t3")
    chat.field.fill("にほんご")
    for init in ({"isComposing": True}, {"keyCode": 229}):  # Safari's last one is no longer composing
        for key in ("Enter", "Escape"):
            assert not chat.field.evaluate(PRESS, [key, key, init])
    expect(chat.field).to_have_value("にほんご")
    chat.field.fill("")
    chat.field.press("ArrowUp")
    area = chat.page.get_by_role("textbox", name="Edit the message")
    chat.page.get_by_role("button", name="Rename").first.click()
    name = chat.page.get_by_role("textbox", name="Name of the chat")
    for field in (area, name):
        for key in ("Enter", "Escape"):
            assert not field.evaluate(PRESS, [key, key, {"keyCode": 229}])
        expect(field).to_be_visible()
    expect(chat.said).to_have_count(1)
    expect(chat.replies.last).to_have_attribute("aria-busy", "true")


def test_an_escape_from_a_name_stops_no_reply(chat: Chat) -> None:
    chat.say(LONG)
    chat.expect_writing("t3")
    chat.page.get_by_role("button", name="Rename").click()
    chat.page.get_by_role("textbox", name="Name of the chat").press("Escape")
    expect(chat.page.get_by_role("textbox", name="Name of the chat")).to_be_hidden()
    chat.expect_writing("t40")


def test_a_regeneration_outlives_a_line_that_is_down(chat: Chat, server: Server) -> None:
    chat.say("one")
    chat.expect_written()
    chat.page.route(re.compile(r"/replies$"), lambda route: route.abort("connectionreset"))
    button(chat, "Ask again")
    expect(chat.page.get_by_text("The server cannot be reached.")).to_be_visible()
    chat.page.unroute_all()
    chat.page.reload()
    expect(chat.versions(chat.replies.last)).to_have_text("2/2")
    assert len(server.get(f"/v1/sessions/{chat.session}/messages?branch=all")["data"]) == 3
