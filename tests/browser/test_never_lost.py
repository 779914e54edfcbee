"""The promise, as a person sees it: whatever happens to the page, the line or the server, the reply is there."""

import re
from collections.abc import Callable

from playwright.sync_api import Browser, Route, expect

from chat_page import Chat
from server_process import Server

LONG = "/script tokens=1000 pace=0.02"
"""Longer than any test looks at it, however slow the machine is: it is stopped in the end."""
SHORT = "/script tokens=150 pace=0.01"
WHOLE = " ".join(f"t{number}" for number in range(150))


def stopped(chat: Chat, server: Server) -> str:
    """What the server holds of the reply, once the page has stopped it."""
    chat.stop()
    expect(chat.end).to_contain_text("Stopped")
    kept: str = server.reply(chat.session)["content"]
    return kept


def test_a_reload_in_the_middle_reads_on(chat: Chat, server: Server) -> None:
    chat.say(LONG)
    for reached in ("t10", "t40", "t70"):
        chat.expect_writing(reached)
        seen = chat.reply.inner_text()
        chat.page.reload()
        chat.expect_writing(reached)
        assert chat.reply.inner_text().startswith(seen)
    assert stopped(chat, server) == chat.reply.inner_text()


def test_what_is_shown_only_ever_grows(chat: Chat) -> None:
    chat.say(SHORT)
    chat.expect_writing("t1")
    shown = chat.reply.evaluate(
        """async (place) => {
          const shown = [];
          while (place.closest("[aria-busy=true]")) {
            shown.push(place.innerText);
            await new Promise(requestAnimationFrame);
          }
          return shown;
        }"""
    )
    assert len(set(shown)) > 20
    assert all(WHOLE.startswith(text.strip()) for text in shown)
    assert sorted(shown, key=len) == shown
    expect(chat.reply).to_have_text(WHOLE)


def test_two_tabs_show_the_same(chat: Chat, open_chat: Callable[..., Chat], server: Server) -> None:
    chat.say(LONG)
    chat.expect_writing("t5")
    other = open_chat(chat.session)
    other.expect_writing("t20")
    chat.expect_writing("t20")
    other.stop()  # either may stop it
    for tab in (chat, other):
        expect(tab.end).to_contain_text("Stopped")
    assert chat.reply.inner_text() == other.reply.inner_text() == server.reply(chat.session)["content"]

    other.say("said in the other")
    chat.expect_written(2)
    expect(chat.reply).to_have_text("said in the other")
    expect(other.reply).to_have_text("said in the other")


def test_another_browser_shows_the_same(chat: Chat, browser: Browser, server: Server) -> None:
    chat.say(LONG)
    chat.expect_writing("t10")
    with browser.new_context() as context:
        other = Chat(context.new_page(), chat.url)
        other.open(chat.session)
        other.expect_writing("t20")
        kept = stopped(other, server)
        for tab in (chat, other):
            expect(tab.end).to_contain_text("Stopped")
            expect(tab.reply).to_have_text(kept)
        other.check()


def test_another_session_meanwhile(chat: Chat, server: Server) -> None:
    chat.say(LONG)
    chat.expect_writing("t5")
    chat.page.get_by_role("link", name="New chat").click()
    expect(chat.page.get_by_role("heading", name="What shall we talk about?")).to_be_visible()
    chat.say("something else")
    chat.expect_written()
    expect(chat.reply).to_have_text("something else")
    chat.page.get_by_role("link", name=re.compile("tokens=1000")).click()
    chat.expect_writing("t20")
    assert stopped(chat, server) == chat.reply.inner_text()


def test_drafts_survive_a_reload(chat: Chat, open_chat: Callable[..., Chat]) -> None:
    chat.say("hello")
    chat.expect_written()
    chat.field.fill("half a thought")
    chat.page.reload()
    expect(chat.field).to_have_value("half a thought")
    chat.page.get_by_role("link", name="New chat").click()
    expect(chat.field).to_have_value("")
    chat.field.fill("another one")
    chat.page.go_back()
    expect(chat.field).to_have_value("half a thought")
    expect(open_chat().field).to_have_value("another one")


def test_a_draft_outlives_what_another_tab_sends(chat: Chat, open_chat: Callable[..., Chat], server: Server) -> None:
    other = open_chat()
    for session in ("", server.session("one")):
        chat.open(session)
        other.open(session)
        chat.field.fill("thought about for ten minutes")
        other.say("quickly")
        expect(other.reply).to_have_text("quickly")
        chat.page.reload()
        expect(chat.field).to_have_value("thought about for ten minutes")
        chat.field.press("Enter")
        expect(chat.reply).to_have_text("thought about for ten minutes")
        chat.page.reload()
        expect(chat.reply).to_be_visible()
        expect(chat.field).to_have_value("")


def test_a_tab_keeps_its_own_draft_and_a_new_one_begins_with_the_newest(
    chat: Chat, open_chat: Callable[..., Chat], server: Server
) -> None:
    sid = server.session("hello")
    chat.open(sid)
    chat.field.fill("said in the first tab")
    other = open_chat(sid)
    expect(other.field).to_have_value("said in the first tab")
    other.field.fill("said in the other")
    chat.page.reload()
    expect(chat.field).to_have_value("said in the first tab")
    third = open_chat(sid)
    expect(third.field).to_have_value("said in the other")
    third.field.press("Enter")
    third.expect_written(2)
    chat.wait_until("JSON.stringify(localStorage).includes('said in the first tab')")  # is the newest now
    other.page.reload()
    expect(other.field).to_have_value("said in the first tab")  # its own was sent


def test_the_words_of_an_edit_outlive_a_look_at_another_chat(chat: Chat, server: Server) -> None:
    chat.open(server.session("as it is"))
    expect(chat.words).to_have_text("as it is")
    area = chat.page.get_by_role("textbox", name="Edit the message")
    chat.field.press("ArrowUp")
    area.fill("thought about for ten minutes")
    chat.page.get_by_role("link", name="New chat").click()
    expect(chat.said).to_have_count(0)
    chat.page.go_back()
    expect(chat.words).to_have_text("as it is")
    chat.field.press("ArrowUp")
    expect(area).to_have_value("thought about for ten minutes")
    area.press("Escape")
    expect(area).to_be_hidden()
    chat.field.press("ArrowUp")
    expect(area).to_have_value("as it is")
    area.fill("otherwise")
    area.press("Enter")
    expect(chat.reply).to_have_text("otherwise")


def test_a_server_that_is_killed_and_comes_back(chat: Chat, server: Server) -> None:
    chat.say("/script tokens=1000 pace=0.02")
    chat.expect_writing("t30")
    server.kill()
    expect(chat.page.get_by_text("The connection is lost.")).to_be_visible()
    seen = chat.reply.inner_text()
    server.start()

    expect(chat.end).to_contain_text("Interrupted")
    expect(chat.page.get_by_text("The connection is lost.")).to_be_hidden()
    kept = server.reply(chat.session)
    assert (kept["status"], kept["error"]["code"]) == ("interrupted", "server_restarted")
    assert kept["content"].startswith(seen)
    assert chat.reply.inner_text() == kept["content"]

    chat.say("still here")
    chat.expect_written(2)
    expect(chat.reply).to_have_text("still here")


def test_a_message_for_a_server_that_is_away_is_sent_when_it_is_back(chat: Chat, server: Server) -> None:
    chat.say("first")
    chat.expect_written()
    server.kill()
    chat.say("second")
    expect(chat.page.get_by_text("The server cannot be reached.")).to_be_visible()
    server.start()
    chat.expect_written(2)
    expect(chat.page.get_by_text("The server cannot be reached.")).to_be_hidden()
    assert [message["content"] for message in server.messages(chat.session)] == ["first", "first", "second", "second"]


def test_a_message_that_the_server_does_not_take_can_be_cancelled(chat: Chat, server: Server) -> None:
    busy = {"title": "Service Unavailable", "status": 503, "code": "overloaded"}
    chat.page.route(re.compile(r"/messages$"), lambda route: route.fulfill(status=503, json=busy))
    chat.say("in a new chat")
    chat.page.get_by_role("button", name="Cancel").click()
    expect(chat.said).to_have_count(0)
    expect(chat.field).to_have_value("in a new chat")
    chat.page.unroute_all()
    chat.field.press("Enter")
    chat.expect_written()
    chat.page.route(re.compile(r"/messages$"), lambda route: route.fulfill(status=503, json=busy))
    chat.say("and then")
    expect(chat.page.get_by_role("button", name="Cancel")).to_be_visible()
    chat.page.reload()
    chat.page.get_by_role("button", name="Cancel").click()
    expect(chat.said).to_have_count(1)
    expect(chat.field).to_have_value("and then")
    chat.page.unroute_all()
    chat.page.reload()
    expect(chat.field).to_have_value("and then")
    expect(chat.said).to_have_count(1)  # nothing of it is on its way any more
    assert len(server.messages(chat.session)) == 2


def test_what_is_written_while_the_server_is_away_arrives_in_its_order(chat: Chat, server: Server) -> None:
    chat.say("one")
    chat.expect_written()
    for further in ("", "reloaded"):
        server.kill()
        words = [f"{further}{number}" for number in range(2, 6)]
        for word in words:
            chat.say(word)
        expect(chat.page.get_by_role("button", name="Cancel")).to_have_count(len(words))
        server.start()
        if further:
            chat.page.reload()
        chat.expect_written(9 if further else 5)
        said = [message["content"] for message in server.messages(chat.session) if message["role"] == "user"]
        assert said[-4:] == words


def test_a_new_chat_that_cannot_be_made_is_given_up_as_a_whole(chat: Chat, server: Server) -> None:
    chat.page.get_by_role("button", name="Model and instructions").click()
    instructions = chat.page.get_by_role("textbox", name="Instructions")
    instructions.fill("Be brief.")
    chat.page.get_by_role("button", name="Save").click()
    server.kill()
    chat.say("one")
    expect(chat.page.get_by_role("button", name="Cancel")).to_have_count(1)
    chat.say("two")
    expect(chat.page.get_by_role("button", name="Cancel")).to_have_count(2)
    chat.page.get_by_role("button", name="Cancel").last.click()
    expect(chat.field).to_have_value("two")
    expect(chat.said).to_have_count(1)
    chat.field.press("Enter")
    expect(chat.said).to_have_count(2)
    chat.page.get_by_role("button", name="Cancel").first.click()
    expect(chat.said).to_have_count(0)
    expect(chat.field).to_have_value("one\n\ntwo")
    server.start()
    chat.field.press("Enter")
    chat.expect_written()
    assert server.get(f"/v1/sessions/{chat.session}")["system_prompt"] == "Be brief."


def test_a_send_whose_answer_was_lost_is_sent_again_under_its_id(chat: Chat, server: Server) -> None:
    asked: list[str] = []

    def lose_the_first_answer(route: Route) -> None:
        asked.append(route.request.post_data or "")
        if len(asked) == 1:
            route.fetch()  # the server takes it …
            route.abort("connectionreset")  # … and the page never hears of it
        else:
            route.continue_()

    chat.page.route(re.compile(r"/messages$"), lose_the_first_answer)
    with chat.page.expect_response(re.compile(r"/messages$")):
        chat.say("only once")
    chat.expect_written()
    expect(chat.said).to_have_count(1)
    expect(chat.page.get_by_text("Sending…")).to_be_hidden()
    assert len(asked) == 2
    assert asked[0] == asked[1]
    assert len(server.messages(chat.session)) == 2


def test_a_reload_in_the_middle_of_sending_sends_on(chat: Chat, server: Server) -> None:
    chat.page.route(re.compile(r"/messages$"), lambda route: route.abort("connectionreset"))
    chat.say("written in a tunnel")
    expect(chat.page.get_by_text("The server cannot be reached.")).to_be_visible()
    session = chat.session
    chat.page.unroute_all()
    chat.page.reload()
    chat.expect_written()
    expect(chat.said).to_have_text("written in a tunnel")
    assert len(server.messages(session)) == 2


def test_words_that_are_refused_after_a_reload_are_in_the_field_again(chat: Chat) -> None:
    chat.say("one")
    chat.expect_written()
    chat.page.evaluate(
        """(session) => {
          const fields = { content: "kept words", params: { temprature: 1 } };
          const ask = { id: "msg_" + "f".repeat(32), session, how: "messages", fields };
          localStorage.setItem(`rejoinder.ask.${ask.id}`, JSON.stringify(ask));
        }""",
        chat.session,
    )
    chat.page.reload()
    expect(chat.field).to_have_value("kept words")
    expect(chat.page.get_by_text("There is no such parameter")).to_be_visible()
    assert chat.page.evaluate("Object.keys(localStorage).filter((key) => key.includes('.ask.'))") == []


def test_a_page_that_is_offline_says_so(chat: Chat) -> None:
    chat.say("hello")
    chat.expect_written()
    chat.page.context.set_offline(True)
    expect(chat.page.get_by_text("You are offline.")).to_be_visible()
    chat.say("to be sent later")
    chat.page.context.set_offline(False)
    chat.expect_written(2)
    expect(chat.page.get_by_text("You are offline.")).to_be_hidden()


def test_a_session_that_is_deleted_elsewhere(chat: Chat, open_chat: Callable[..., Chat]) -> None:
    chat.say("hello")
    chat.expect_written()
    other = open_chat(chat.session)
    chat.delete("hello")
    expect(other.page.get_by_role("heading", name="This chat is not here")).to_be_visible()
    expect(other.listed).to_have_count(0)
    expect(other.page.get_by_text("The connection is lost.")).to_be_hidden()

    gone = other.session
    other.say("said all the same")
    other.expect_written()
    expect(other.reply).to_have_text("said all the same")
    assert other.session != gone


def test_a_draft_outlives_the_deletion_of_its_session(chat: Chat, open_chat: Callable[..., Chat]) -> None:
    chat.say("/script tokens=1000 pace=0.02")
    chat.expect_writing("t3")
    other = open_chat(chat.session)
    other.expect_writing("t3")
    other.field.fill("in the middle of a thought")
    chat.delete("")
    expect(other.page.get_by_role("heading", name="This chat is not here")).to_be_visible()
    expect(other.field).to_have_value("in the middle of a thought")
    other.field.press("Enter")
    expect(other.said).to_have_text("in the middle of a thought")
    other.expect_written()
