"""Files of text in messages: chosen, pasted or dropped, seen by their names before and after they are sent."""

import base64

from playwright.sync_api import FilePayload, expect

from chat_page import Chat
from server_process import Server
from test_pictures import GIVE, SMALL

CODE = "def lamp():\r\n    return '''\n```\nFile: other\n```\n'''\n"
SENT = "What is wrong?\n\nFile: lamp.py\n````py\ndef lamp():\n    return '''\n```\nFile: other\n```\n'''\n````"


def file(name: str, data: str | bytes, kind: str = "") -> FilePayload:
    return {"name": name, "mimeType": kind, "buffer": data.encode() if isinstance(data, str) else data}


def choose(chat: Chat, *files: FilePayload) -> None:
    with chat.page.expect_file_chooser() as chooser:
        chat.page.get_by_role("button", name="Attach files").click()
    chooser.value.set_files(files)


def test_a_file_is_attached_sent_folded_and_edited(chat: Chat, server: Server) -> None:
    choose(chat, file("lamp.py", CODE, "text/x-python"))
    expect(chat.field).to_be_focused()  # the question comes next
    chips = chat.page.get_by_role("list", name="Attachments").get_by_role("listitem")
    expect(chips).to_have_text(["lamp.py"])
    chat.page.reload()  # it is a part of the draft
    expect(chips).to_have_text(["lamp.py"])
    chat.say("What is wrong?")
    expect(chips).to_have_count(0)
    chat.expect_written()
    sid = chat.session
    assert server.messages(sid)[0]["content"] == SENT
    expect(chat.words).to_have_text("What is wrong?")
    expect(chat.listed).to_have_text("What is wrong?")
    file_sent = chat.said.get_by_role("group")
    expect(file_sent.locator("pre")).to_have_count(0)
    file_sent.get_by_text("lamp.py").click()
    expect(file_sent.locator("pre")).to_contain_text("File: other")

    chat.page.keyboard.press("Alt+e")
    expect(chips).to_have_text(["lamp.py"])
    area = chat.page.get_by_role("textbox", name="Edit the message")
    expect(area).to_have_value("What is wrong?")
    area.fill("What is right?")
    chat.page.get_by_role("button", name="Remove lamp.py").click()
    chat.page.reload()
    chat.said.get_by_role("button", name="Edit").click()
    expect(area).to_have_value("What is right?")
    expect(chips).to_have_count(0)  # what was taken away is a part of the draft
    area.press("Escape")
    expect(area).to_be_hidden()
    chat.page.keyboard.press("Alt+e")
    expect(chips).to_have_text(["lamp.py"])
    area.fill("What is right?")
    area.press("Enter")
    expect(chat.words).to_have_text("What is right?")
    expect(chat.reply).to_contain_text("What is right?")
    chat.expect_written()
    assert server.messages(sid)[0]["content"] == SENT.replace("wrong", "right")


def test_files_are_pasted_dropped_mixed_with_pictures_and_removed(chat: Chat, server: Server) -> None:
    chips = chat.page.get_by_role("list", name="Attachments").get_by_role("listitem")
    files = (
        ("paste", "notes.md", "text/markdown", b"# Notes"),
        ("drop", "lamp.png", "image/png", SMALL),
        ("drop", "drawing.svg", "image/svg+xml", b"<svg onload='window.hacked=1'/>"),
        ("drop", "lamps.jsonl", "", b'{"lamp": 1}\n'),  # no exported chat
        ("drop", "windows.log", "", "zwölf\r\n".encode("utf-16")),
    )
    for number, (way, name, kind, data) in enumerate(files, 1):
        chat.page.get_by_role("searchbox").focus()
        chat.field.evaluate(GIVE, [way, name, kind, base64.b64encode(data).decode()])
        expect(chips).to_have_count(number)
        expect(chat.field).to_be_focused()
    chat.page.get_by_role("button", name="Remove notes.md").click()
    expect(chips).to_have_text(["", "drawing.svg", "lamps.jsonl", "windows.log"])
    chat.page.get_by_role("button", name="Send").click()  # files say enough
    chat.expect_written()
    text, picture = server.messages(chat.session)[0]["content"]
    drawing = "File: drawing.svg\n```svg\n<svg onload='window.hacked=1'/>\n```"
    lamps = 'File: lamps.jsonl\n```jsonl\n{"lamp": 1}\n```'
    assert text["text"] == f"{drawing}\n\n{lamps}\n\nFile: windows.log\n```log\nzwölf\n```"
    assert picture["type"] == "image_url"
    expect(chat.said.get_by_role("group")).to_have_text(
        ["drawing.svg 1 line", "lamps.jsonl 1 line", "windows.log 1 line"]
    )
    expect(chat.words).to_have_count(0)
    expect(chat.listed).to_have_text("drawing.svg")


def test_what_is_no_text_is_refused_and_says_why(chat: Chat) -> None:
    choose(
        chat,
        file("page.pdf", b"%PDF-1.7\n\0\1"),
        file("latin.csv", "zwölf;drei".encode("latin-1")),
        file("late.bin", b"text" * 5000 + b"\0"),
        file("film.mp4", b"\0" * 300_000),
        file("huge.log", "line\n" * 60_000),
        file("nothing.txt", ""),
        file("fine.txt", "fine"),
    )
    alert = chat.page.get_by_role("alert")
    for wrong in (
        "“page.pdf” is neither text in UTF-8 nor a picture that can be sent",
        "“latin.csv” is neither",
        "“late.bin” is neither",
        "“film.mp4” is neither",
        "“huge.log” is too large: a file of text may have 250 kB.",
        "“nothing.txt” is empty.",
    ):
        expect(alert).to_contain_text(wrong)
    expect(chat.page.get_by_role("list", name="Attachments").get_by_role("listitem")).to_have_text(["fine.txt"])


def test_a_file_is_attached_while_the_server_is_away(chat: Chat, server: Server) -> None:
    expect(chat.page.locator("main > .unseen")).to_be_attached()  # what comes late is here
    chat.page.route("**/*", lambda route: route.abort())
    choose(chat, file("one.txt", "one"), file("two.txt", "two"))
    for name in ("two.txt", "one.txt"):
        chat.page.get_by_role("button", name=f"Remove {name}").press("Enter")
        expect(chat.field).to_be_focused()
    expect(chat.page.get_by_role("list", name="Attachments")).to_have_count(0)


def test_files_that_are_refused_with_their_message_are_attached_again(chat: Chat) -> None:
    choose(chat, file("one.log", "line\n" * 40_000), file("two.log", "line\n" * 40_000))
    chips = chat.page.get_by_role("list", name="Attachments").get_by_role("listitem")
    expect(chips).to_have_count(2)
    chat.say("Compare them")
    expect(chat.page.get_by_role("alert")).to_contain_text("It has 400064 now.")
    expect(chat.field).to_have_value("Compare them")
    expect(chips).to_have_text(["one.log", "two.log"])
