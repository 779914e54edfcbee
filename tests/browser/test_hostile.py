"""What a model writes is hostile. Whatever it writes, no script runs, nothing is fetched and nothing can pose as the page."""

import pytest
from playwright.sync_api import BrowserContext, expect

from chat_page import Chat
from server_process import Server

HOSTILE = r"""
<script>window.hacked = 1</script>
<img src=x onerror="window.hacked = 1">
<img src="https://tracker.example/pixel.png" alt="a cat">
<svg onload="window.hacked = 1"><script>window.hacked = 1</script></svg>
<math><mtext></mtext><mglyph><style><img src=x onerror=window.hacked=1></style></mglyph></math>
<iframe src="javascript:window.hacked = 1" srcdoc="<script>parent.hacked = 1</script>"></iframe>
<object data="https://tracker.example/o"></object><embed src="https://tracker.example/e">
<video src="https://tracker.example/v" poster="https://tracker.example/p" autoplay></video>
<link rel="stylesheet" href="https://tracker.example/s.css">
<style>body { display: none; background: url(https://tracker.example/b.png) }</style>
<base href="https://tracker.example/"><meta http-equiv="refresh" content="0;url=https://tracker.example/">
<form action="https://tracker.example/"><input name="password" type="password"><button>Sign in</button></form>
<div style="position: fixed; inset: 0; background: url(https://tracker.example/c.png)" class="composer" id="app">over everything</div>
<details ontoggle="window.hacked = 1" open><summary>x</summary></details>

![a dog](https://tracker.example/dog.png) <b>bold</b> H<sub>2</sub>O <img src=x onerror="window.hacked = 1">
[one](javascript:window.hacked=1) [two](JaVaScRiPt:window.hacked=1) [three](data:text/html,<script>window.hacked=1</script>)
[four](vbscript:x) [five](&#106;avascript:window.hacked=1) [six](/docs) <javascript:window.hacked=1>
<a href="javascript:window.hacked = 1" target="_self" onclick="window.hacked = 1">seven</a>
[good](https://good.example/page)

```"><img src=x onerror=window.hacked=1>
<script>window.hacked = 1</script>
```

| <img src=x onerror=window.hacked=1> |
|---|
| <b onmouseover=window.hacked=1>cell</b> |
"""

LINKS = "place => [...place.querySelectorAll('[href]')].map((link) => link.getAttribute('href'))"
FORBIDDEN = (
    "script, style, link, meta, base, iframe, object, embed, img, video, svg, math, form, input, "
    "[style], [id], [name], [onerror], [onclick], .composer"
)


@pytest.mark.parametrize("pace", ["", " pace=0.002"], ids=["at once", "bit by bit"])
def test_hostile_markdown_is_harmless(chat: Chat, pace: str) -> None:
    chat.say(f"/script echo{pace}\n{HOSTILE}")
    chat.expect_written()
    for link in chat.reply.get_by_role("link").all():
        link.hover()
    for text in ("one", "seven", "cell"):
        chat.reply.get_by_text(text).last.click()

    assert chat.page.evaluate("window.hacked") is None
    assert chat.page.evaluate("document.activeElement?.type") != "password"
    # Pictures of others are links: fetched by a click, and only so.
    assert chat.reply.evaluate(LINKS) == ["https://tracker.example/dog.png", "https://good.example/page"]
    assert chat.reply.locator(FORBIDDEN).count() == 0
    expect(chat.reply.get_by_text("bold")).to_have_css("font-weight", "700")
    expect(chat.reply).to_contain_text("<script>window.hacked = 1</script>")  # shown as the text that it is
    expect(chat.field).to_be_in_viewport()
    good = chat.reply.get_by_role("link", name="good")
    expect(good).to_have_attribute("rel", "noopener noreferrer nofollow")
    expect(good).to_have_attribute("target", "_blank")


def test_the_policy_forbids_what_gets_past_the_other_walls(context: BrowserContext, server: Server) -> None:
    left: list[str] = []
    context.route("https://tracker.example/**", lambda route: left.append(route.request.url))
    page = context.new_page()
    tab = Chat(page, server.url)
    tab.open()
    page.evaluate(
        """() => {
          const add = (name, properties) => {
            try {
              document.body.append(Object.assign(document.createElement(name), properties));
            } catch {} // what Trusted Types forbid throws
          };
          add("script", { textContent: "window.hacked = 1" });
          add("script", { src: "https://tracker.example/s.js" });
          add("img", { src: "https://tracker.example/pixel.png" });
          add("iframe", { src: "https://tracker.example/frame" });
          add("style", { textContent: "body { display: none }" });
          add("div", { innerHTML: "<b id='bait'>x</b>" });
          add("a", { href: "javascript:window.hacked = 1", id: "link" });
          document.getElementById("link").click();
          fetch("https://tracker.example/tell").catch(() => {});
          try {
            trustedTypes.createPolicy("another", { createHTML: (html) => html });
          } catch {}
          // Later, since what the test itself evaluates is exempt from the policy.
          setTimeout(() => eval("window.hacked = 1"));
        }"""
    )
    expect(tab.field).to_be_visible()
    tab.wait_until("violations.length >= 8")
    forbidden = {violation.partition(":")[0] for violation in page.evaluate("violations")}
    assert forbidden >= {
        *("script-src-elem", "img-src", "frame-src", "style-src-elem", "connect-src"),
        *("require-trusted-types-for", "trusted-types"),
    }
    assert page.locator("#bait").count() == 0
    assert page.evaluate("window.hacked") is None
    assert left == []  # nothing left the browser
    with pytest.raises(AssertionError):
        tab.check()  # and every other test would have said so


def test_what_a_person_writes_is_shown_as_it_is(chat: Chat) -> None:
    chat.say("<b>not bold</b> **nor this** <img src=x onerror=window.hacked=1>")
    chat.expect_written()
    expect(chat.said).to_have_text("<b>not bold</b> **nor this** <img src=x onerror=window.hacked=1>")
    assert chat.page.evaluate("window.hacked") is None


def test_a_hostile_title_is_text(chat: Chat) -> None:
    title = "<img src=x onerror=window.hacked=1>"
    chat.say(title)
    chat.expect_written()
    expect(chat.listed).to_have_text(title)
    assert chat.page.evaluate("window.hacked") is None
