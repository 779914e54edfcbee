"""Everyone can use the page: a judge of such things (axe) finds nothing serious, whatever is shown and in either light."""

import re
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

import tools
from chat_page import Chat
from server_process import Server

COLOURS = ["color-contrast", "link-in-text-block"]
"""The rules that see another page in the dark. None else does."""

RUN = """async (rules) => {
  const found = await axe.run(document, { resultTypes: ["violations"], ...(rules && { runOnly: rules }) });
  return found.violations.filter(({ impact }) => ["serious", "critical"].includes(impact))
    .map(({ id, nodes }) => [id, ...nodes.map(({ html, failureSummary }) => `${html.slice(0, 200)} ${failureSummary}`)]);
}"""

EVERYTHING = r"""
# A heading

Text with `code`, a [link](https://good.example/) and $x^2$.

- [x] done
- [ ] not done

| a | b |
|---|---|
| 1 | 2 |

$$
a + b + c + d + e + f + g + h + i + j + k + l + m + n + o + p + q + r + s + t + u + v + w + x + y + z + a + b + c + d + e + f = 0
$$

```python
print("good evening")  # a comment
```

> said by someone
"""

A_FILE = "\nFile: lamp.py\n```py\nlamp = 1\n```"


@pytest.fixture(scope="module")
def axe() -> str:
    return (tools.needed(tools.node_packages) / "node_modules/axe-core/axe.min.js").read_text()


def serious(page: Page, axe: str) -> list[Any]:
    """What is found in the light, and in the dark."""
    page.evaluate(axe)
    page.emulate_media(color_scheme="dark")
    found: list[Any] = page.evaluate(RUN, COLOURS)
    page.emulate_media(color_scheme="light")
    found += page.evaluate(RUN, None)
    return found


@pytest.mark.parametrize("size", [(1200, 800), (390, 780)], ids=["desktop", "phone"])
def test_nothing_serious(browser: Browser, server: Server, axe: str, size: tuple[int, int]) -> None:
    sid = server.session(f"/script reasoning=3 calls=1\n{EVERYTHING}{A_FILE}", "/script tokens=9 fail=upstream_error@3")
    server.again(sid)
    window: Any = {"viewport": {"width": size[0], "height": size[1]}}
    with browser.new_context(reduced_motion="reduce", **window) as context:  # nothing half-way faded
        chat = Chat(context.new_page(), server.url)
        chat.open()
        assert serious(chat.page, axe) == []  # a new chat

        chat.open(sid)
        expect(chat.versions(chat.replies.last)).to_have_text("2/2")
        for summary in chat.page.locator("summary").all():
            summary.click()
        chat.page.keyboard.press("Alt+e")
        expect(chat.page.get_by_role("textbox", name="Edit the message")).to_be_focused()
        chat.say("/script tokens=50 stall@20")
        chat.expect_writing("t19")
        chat.say("and this next")
        expect(chat.page.get_by_text("Waiting for its turn")).to_be_visible()
        assert serious(chat.page, axe) == []  # a chat with everything in it

        chat.page.keyboard.press("Alt+m")
        expect(chat.page.get_by_role("dialog")).to_be_visible()
        assert serious(chat.page, axe) == []
        chat.page.keyboard.press("Escape")
        chat.page.keyboard.press("Control+/")
        expect(chat.page.get_by_role("dialog", name="Keys")).to_be_visible()
        assert serious(chat.page, axe) == []
        chat.page.keyboard.press("Escape")
        chat.page.keyboard.press("Alt+l")
        chat.page.get_by_role("button", name="Delete").first.click()
        expect(chat.page.get_by_role("button", name="Undo")).to_be_visible()
        assert serious(chat.page, axe) == []  # the list, and what can be undone
        chat.check()


def listen(chat: Chat) -> None:
    """Keeps, from now on, everything that the page tells a screen reader."""
    chat.page.evaluate(
        """() => {
          window.heard = [];
          const told = document.querySelector("main > .unseen[role=status]");
          new MutationObserver(() => heard.push(told.textContent)).observe(told, { characterData: true, childList: true, subtree: true });
        }"""
    )


OPEN_AN_OLD_CHAT = """
async () => {
  const { html, render } = await import("/page/view/html.js");
  const { Announcer } = await import("/page/view/announcer.js");
  const reply = { id: "msg", role: "assistant", status: "completed", content: "An old reply." };
  const conversation = { phase: "loading", branch: [], fresh: false, running: null };
  const place = document.createElement("div");
  const heard = [];
  const draw = async (last) => {
    render(html`<${Announcer} conversation=${conversation} last=${last} />`, place);
    await new Promise((done) => setTimeout(done, 50));
    heard.push(place.textContent);
  };
  await draw(undefined);
  // The history is here, and something is drawn once more with what was known before it.
  Object.assign(conversation, { phase: "ready", branch: [reply] });
  await draw(null);
  await draw(reply);
  const next = { ...reply, id: "next", content: "A new reply." };
  conversation.branch = [reply, next];
  await draw(next);
  return heard;
}
"""


def test_a_screen_reader_is_not_read_an_old_reply_when_a_chat_is_opened(chat: Chat) -> None:
    assert chat.page.evaluate(OPEN_AN_OLD_CHAT) == ["", "", "", "The reply: A new reply."]


def test_fields_are_large_enough_on_a_phone_that_it_does_not_zoom_in(browser: Browser, server: Server) -> None:
    sid = server.session("hello")
    with browser.new_context(has_touch=True, is_mobile=True, viewport={"width": 390, "height": 780}) as context:
        chat = Chat(context.new_page(), server.url)
        chat.open(sid)
        chat.page.get_by_role("button", name="Model and instructions").tap()
        expect(chat.page.get_by_role("dialog")).to_be_visible()
        sizes = "fields => fields.map((field) => parseFloat(getComputedStyle(field).fontSize))"
        found = chat.page.locator("input, select, textarea").evaluate_all(sizes)
        assert len(found) > 5
        assert min(found) >= 16


SENTENCES = " ".join(f"This is sentence number {number}, and it is said." for number in range(10))


def test_a_screen_reader_hears_sentences_and_no_flood(chat: Chat) -> None:
    chat.say("hello")
    chat.expect_written()
    listen(chat)
    chat.say(f"/script echo pace=0.03\n**{SENTENCES}** `code`")
    chat.expect_written(2)
    chat.wait_until("heard.at(-1).includes('complete') || heard.at(-1).includes('End of the reply')")
    told = chat.page.evaluate("heard")
    assert told[0] == "A reply is being written."
    assert told[1].startswith("This is sentence number 0, and it is said.")
    assert all(re.search(r"[.:]\s*$", text) for text in told)  # nothing is cut in the middle of a sentence
    assert not any("*" in text or "`" in text for text in told)
    assert len(told) < 10
    assert sum(map(len, told)) < 1200


def test_less_motion_where_it_is_asked_for(chat: Chat) -> None:
    chat.page.emulate_media(reduced_motion="reduce")
    chat.say("/script tokens=50 stall@20")
    chat.expect_writing("t19")
    moving = "document.getAnimations().filter((it) => it.effect.getComputedTiming().duration > 1).length"
    assert chat.page.evaluate(moving) == 0
    chat.page.emulate_media(reduced_motion="no-preference")
    chat.wait_until(f"{moving} > 0")


def test_what_colours_tell_is_seen_where_the_reader_chooses_them(chat: Chat) -> None:
    chat.page.emulate_media(forced_colors="active")
    chat.say("/script tokens=50 stall@20")
    chat.expect_writing("t19")
    mark = chat.listed.get_by_role("img", name="A reply is being written")
    page = chat.page.evaluate("getComputedStyle(document.body).backgroundColor")
    for signal in (mark, chat.page.locator(".dots i").first):
        assert signal.evaluate("signal => getComputedStyle(signal).backgroundColor") != page
    for place, side in ((chat.words, "borderTopStyle"), (chat.listed, "outlineStyle")):
        assert place.evaluate(f"place => getComputedStyle(place).{side}") == "solid"
