"""Pictures in messages: chosen, pasted or dropped, seen before and after they are sent."""

import base64
import random
import struct
import zlib
from collections.abc import Callable

import pytest
from playwright.sync_api import FilePayload, expect

from chat_page import Chat
from server_process import Server


def pattern(y: int, length: int) -> bytes:
    return bytes((x * x * 7 + y * 131 + x * y) % 251 for x in range(length))


def randbytes(_y: int, length: int) -> bytes:
    return random.randbytes(length)


def png(width: int, height: int, row: Callable[[int, int], bytes] = pattern) -> bytes:
    """A picture of noise, which no compression makes small."""
    rows = b"".join(b"\0" + row(y, width * 3) for y in range(height))

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows, 1)) + chunk(b"IEND", b"")


SMALL = png(40, 30)

GIVE = """(field, [way, name, type, data]) => {
  const file = new File([Uint8Array.from(atob(data), (sign) => sign.charCodeAt(0))], name, { type });
  const transfer = new DataTransfer();
  transfer.items.add(file);
  const fields = { bubbles: true, cancelable: true };
  if (way === "paste") field.dispatchEvent(new ClipboardEvent("paste", { ...fields, clipboardData: transfer }));
  else for (const type of ["dragover", "drop"]) field.dispatchEvent(new DragEvent(type, { ...fields, dataTransfer: transfer }));
}"""


HOLD_THE_FIRST = """() => {
  const read = createImageBitmap;
  const released = new Promise((resolve) => (window.release = resolve));
  window.createImageBitmap = async (file) => (window.createImageBitmap = read, await released, read(file));
}"""
"""Of the pictures that are read from now on."""


def choose(chat: Chat, data: bytes = SMALL, name: str = "lamp.png", kind: str = "image/png") -> None:
    with chat.page.expect_file_chooser() as chooser:
        chat.page.get_by_role("button", name="Attach files").click()
    chooser.value.set_files({"name": name, "mimeType": kind, "buffer": data})


def attach(chat: Chat, data: bytes = SMALL) -> None:
    choose(chat, data)
    expect(chat.page.get_by_role("img", name="Picture 1")).to_be_visible()


def attached(chat: Chat) -> int:
    return chat.page.get_by_role("list", name="Attachments").get_by_role("img").count()


def test_a_picture_is_attached_sent_and_kept(chat: Chat, server: Server) -> None:
    attach(chat)
    chat.page.reload()  # it is a part of the draft
    expect(chat.page.get_by_role("img", name="Picture 1")).to_be_visible()
    chat.say("What is on it?")
    chat.expect_written()
    expect(chat.reply).to_have_text("What is on it?")
    [said, _] = server.messages(chat.session)
    text, picture = said["content"]
    assert text == {"type": "text", "text": "What is on it?"}
    assert base64.b64decode(picture["image_url"]["url"].removeprefix("data:image/png;base64,")) == SMALL
    chat.page.reload()
    thumbnail = chat.said.get_by_role("img")
    expect(thumbnail).to_be_visible()
    assert thumbnail.evaluate("image => image.naturalWidth") == 40

    chat.said.get_by_role("button", name="Enlarge the picture").click()
    expect(chat.page.get_by_role("dialog", name="Picture")).to_be_visible()
    chat.page.keyboard.press("Escape")
    expect(chat.page.get_by_role("dialog", name="Picture")).to_be_hidden()


def test_pictures_are_pasted_and_dropped_and_removed(chat: Chat, server: Server) -> None:
    data = base64.b64encode(SMALL).decode()
    chat.field.evaluate(GIVE, ["paste", "a.png", "image/png", data])
    expect(chat.page.get_by_role("img", name="Picture 1")).to_be_visible()
    chat.field.evaluate(GIVE, ["drop", "b.png", "image/png", base64.b64encode(png(20, 20)).decode()])
    expect(chat.page.get_by_role("img", name="Picture 2")).to_be_visible()
    chat.page.get_by_role("button", name="Remove Picture 1").click()
    expect(chat.page.get_by_role("img", name="Picture 2")).to_be_hidden()
    chat.page.get_by_role("button", name="Send").click()  # a picture says enough
    chat.expect_written()
    [said, _] = server.messages(chat.session)
    assert [part["type"] for part in said["content"]] == ["image_url"]
    expect(chat.listed).to_have_text("A picture")


def test_that_files_can_be_dropped_is_told_until_they_leave_the_page(chat: Chat) -> None:
    """Also where a browser tells only what they leave and not what for, as Safari."""
    drag = """(place, type) => {
      const dataTransfer = new DataTransfer();
      dataTransfer.items.add(new File(["picture"], "a.png"));
      place.dispatchEvent(new DragEvent(type, { dataTransfer, bubbles: true, cancelable: true }));
    }"""
    around, told = chat.page.locator(".composer"), chat.page.get_by_text("Drop pictures")
    around.evaluate(drag, "dragenter")
    while not told.is_visible():
        around.evaluate(drag, "dragover")  # as a browser says again and again, also before the page listens
        chat.page.wait_for_timeout(20)
    chat.field.evaluate(drag, "dragenter")
    around.evaluate(drag, "dragleave")
    chat.page.wait_for_timeout(100)
    expect(told).to_be_visible()
    chat.field.evaluate(drag, "dragleave")
    expect(told).to_be_hidden()


def test_a_text_that_brings_a_picture_of_itself_is_pasted_as_text(chat: Chat) -> None:
    """As office programs have it."""
    taken = chat.field.evaluate("""(field) => {
      const clipboardData = new DataTransfer();
      clipboardData.setData("text/plain", "one\\ttwo");
      clipboardData.setData("text/html", "<table><tr><td>one<td>two</table>");
      clipboardData.items.add(new File(["picture"], "image.png", { type: "image/png" }));
      return !field.dispatchEvent(new ClipboardEvent("paste", { clipboardData, bubbles: true, cancelable: true }));
    }""")
    assert not taken  # the browser pastes
    assert attached(chat) == 0


def test_a_large_picture_is_made_small_enough(chat: Chat, server: Server) -> None:
    attach(chat, png(2600, 700))
    chat.say("large")
    chat.expect_written()
    url = server.messages(chat.session)[0]["content"][1]["image_url"]["url"]
    assert url.startswith("data:image/jpeg;base64,")
    assert len(url) < 1_250_000
    assert chat.said.get_by_role("img").evaluate("image => image.naturalWidth") <= 2048
    chat.said.get_by_role("button", name="Enlarge the picture").click()
    enlarged = chat.page.get_by_role("dialog", name="Picture").get_by_role("img")
    expect(enlarged).to_be_visible()
    assert enlarged.evaluate("image => image.width / image.height") == pytest.approx(2600 / 700, rel=0.02)
    assert enlarged.evaluate("image => image.width") > 1000  # the window has 1,200


def test_pictures_that_are_still_being_read_go_with_their_message(chat: Chat, server: Server) -> None:
    chat.page.evaluate(HOLD_THE_FIRST)
    choose(chat)
    choose(chat)  # is read at once
    chat.say("sent at once")
    expect(chat.field).to_have_value("sent at once")
    chat.page.evaluate("release()")
    expect(chat.reply).to_have_text("sent at once")
    assert [part["type"] for part in server.messages(chat.session)[0]["content"]] == ["text", "image_url", "image_url"]
    assert attached(chat) == 0


def test_a_picture_that_is_read_while_one_goes_elsewhere_stays_with_its_chat(chat: Chat, server: Server) -> None:
    first, other = server.session("one"), server.session("two")
    chat.open(first)
    chat.page.evaluate(HOLD_THE_FIRST)
    choose(chat)
    chat.open(other)
    expect(chat.words).to_have_text(["two"])
    chat.page.evaluate("release()")
    chat.wait_until("Boolean(Object.keys(localStorage).find((key) => key.includes('attached')))")
    chat.open(first)
    expect(chat.page.get_by_role("img", name="Picture 1")).to_be_visible()
    chat.open(other)
    expect(chat.words).to_have_text(["two"])
    assert attached(chat) == 0


def test_a_text_is_kept_beside_pictures_that_are_too_large_to_keep(chat: Chat) -> None:
    data = png(600, 450, randbytes)
    noise: list[FilePayload] = [{"name": f"{n}.png", "mimeType": "image/png", "buffer": data} for n in range(6)]
    with chat.page.expect_file_chooser() as chooser:
        chat.page.get_by_role("button", name="Attach files").click()
    chooser.value.set_files(noise)
    expect(chat.page.get_by_role("img", name="Picture 6")).to_be_visible()
    chat.page.evaluate("""() => {
      const set = Storage.prototype.setItem;
      window.written = 0;
      Storage.prototype.setItem = function (key, text) {
        window.written += text.length;
        return set.call(this, key, text);
      };
    }""")
    chat.field.press_sequentially("What is on them?")
    assert chat.page.evaluate("written") < 1000  # and not all of the pictures with each key
    chat.page.reload()
    expect(chat.field).to_have_value("What is on them?")


def test_of_two_equal_pictures_one_is_removed(chat: Chat) -> None:
    attach(chat)
    choose(chat)
    expect(chat.page.get_by_role("img", name="Picture 2")).to_be_visible()
    chat.page.get_by_role("button", name="Remove Picture 2").click()
    expect(chat.page.get_by_role("img", name="Picture 2")).to_be_hidden()
    assert attached(chat) == 1


def test_what_cannot_be_attached_keeps_none_of_the_others_away(chat: Chat) -> None:
    files: list[FilePayload] = [
        {"name": "broken.png", "mimeType": "image/png", "buffer": b"not a picture"},
        {"name": "lamp.png", "mimeType": "image/png", "buffer": SMALL},
        {"name": "lamp.heic", "mimeType": "image/heic", "buffer": b"\0\0\0\x18ftypheic"},
    ]
    with chat.page.expect_file_chooser() as chooser:
        chat.page.get_by_role("button", name="Attach files").click()
    chooser.value.set_files(files)
    alert = chat.page.get_by_role("alert")
    expect(alert).to_contain_text("“broken.png” cannot be read as a picture.")
    expect(alert).to_contain_text(
        "“lamp.heic” is neither text in UTF-8 nor a picture that can be sent: PNG, JPEG, WebP and GIF can."
    )
    assert attached(chat) == 1


@pytest.mark.parametrize(("width", "height"), [(640, 400), (844, 390), (390, 430)])
def test_a_long_message_with_pictures_can_be_sent_in_a_low_window(chat: Chat, width: int, height: int) -> None:
    chat.page.set_viewport_size({"width": width, "height": height})
    for number in range(1, 7):
        choose(chat, png(160, 90 + number))
        expect(chat.page.get_by_role("img", name=f"Picture {number}")).to_be_attached()
    chat.field.fill("a line\n" * 12)
    send = chat.page.get_by_role("button", name="Send")
    expect(send).to_be_in_viewport(ratio=1)
    chat.page.get_by_role("img", name="Picture 6").scroll_into_view_if_needed()
    expect(chat.page.get_by_role("img", name="Picture 6")).to_be_in_viewport()
    send.click()
    expect(chat.said.get_by_role("img")).to_have_count(6)


def test_an_edit_keeps_the_pictures(chat: Chat, server: Server) -> None:
    attach(chat)
    chat.say("first")
    chat.expect_written()
    chat.field.press("ArrowUp")
    area = chat.page.get_by_role("textbox", name="Edit the message")
    area.fill("second")
    area.press("Enter")
    expect(chat.reply).to_have_text("second")
    assert [part["type"] for part in server.messages(chat.session)[0]["content"]] == ["text", "image_url"]
