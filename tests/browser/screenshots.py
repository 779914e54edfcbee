"""Makes the screenshots that the README shows: `python tests/browser/screenshots.py`, into `docs/images/`."""

import hashlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import httpx
from playwright.sync_api import Browser, sync_playwright

TESTS = Path(__file__).parents[1]
sys.path[:0] = [str(TESTS), str(TESTS / "contract")]

import tools  # noqa: E402  # it stands in a folder that is no package
from chat_page import FLAGS, Chat  # noqa: E402
from server_process import Server  # noqa: E402

IMAGES = TESTS.parent / "docs/images"

REPLY = r"""
A hash table finds a key in one step, however many there are: a function turns the key into the number of a bucket.

```python
def put(table: list[list[tuple[str, int]]], key: str, value: int) -> None:
    bucket = table[hash(key) % len(table)]
    bucket.append((key, value))  # the newest comes last
```

With $n$ keys in $m$ buckets, a bucket holds $\alpha = \frac{n}{m}$ of them:

$$
\mathbb{E}[\text{steps}] = 1 + \frac{\alpha}{2} + O\!\left(\frac{1}{m}\right)
$$

| load | steps |
|------|-------|
| 0.5  | 1.25  |
| 1.0  | 1.50  |
"""

TITLES = ("A weekend without screens", "Names for a lighthouse", "Packing for Norway", "The Lamplighter's Last Round")


class Shot(NamedTuple):
    name: str
    light: Any
    size: tuple[int, int]
    prepare: Callable[[Chat], None]


def reading(chat: Chat) -> None:
    chat.page.get_by_role("link", name="Hash tables").click()
    chat.replies.last.locator(".katex").last.wait_for()
    chat.replies.last.locator(".hljs-keyword").first.wait_for()
    chat.page.locator(".scroll").evaluate("place => (place.scrollTop = 0)")


def story(chat: Chat) -> None:
    chat.page.evaluate("localStorage.setItem('rejoinder.options.new', JSON.stringify({ model: 'scripted:story' }))")
    chat.say("Tell me a story of the harbour.")
    chat.expect_written()
    chat.page.locator(".scroll").evaluate("place => (place.scrollTop = 0)")


def options(chat: Chat) -> None:
    reading(chat)
    chat.page.keyboard.press("Alt+m")
    chat.page.get_by_role("dialog").wait_for()


def phone(chat: Chat) -> None:
    chat.page.get_by_role("button", name="Chats").click()
    reading(chat)


DESKTOP, PHONE = (1200, 760), (390, 780)
SHOTS = (
    Shot("desktop-light", "light", DESKTOP, reading),
    Shot("desktop-dark", "dark", DESKTOP, reading),
    Shot("options-dark", "dark", DESKTOP, options),
    Shot("phone-light", "light", PHONE, phone),
    Shot("phone-dark", "dark", PHONE, story),
)


def main() -> None:
    IMAGES.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory() as folder, Server(Path(folder)) as server, sync_playwright() as playwright:
        for title in TITLES:
            server.change(server.session("Good evening"), title=title)
        ask(server, "How does a hash table work, and how fast is it?", REPLY)
        browser = playwright.chromium.launch(executable_path=tools.chromium(), args=list(FLAGS))
        for shot in SHOTS:
            take(browser, server, shot)
        browser.close()


def ask(server: Server, question: str, reply: str) -> None:
    """Makes a session of a question and its reply, by way of a file, since a scripted model is asked in its own words."""
    sid = server.session(f"/script echo\n{reply}")
    server.change(sid, title="Hash tables")
    lines = httpx.get(f"{server.url}/v1/sessions/{sid}/export").text.splitlines()[:-1]
    server.delete(sid)
    asked = json.loads(lines[1])
    asked["message"]["content"] = question
    text = "".join(f"{line}\n" for line in (lines[0], json.dumps(asked, ensure_ascii=False), *lines[2:]))
    end = json.dumps({"messages": len(lines) - 1, "sha256": hashlib.sha256(text.encode()).hexdigest()})
    headers = {"content-type": "application/jsonl"}
    httpx.post(f"{server.url}/v1/import", content=f"{text}{end}\n", headers=headers).raise_for_status()


def take(browser: Browser, server: Server, shot: Shot) -> None:
    window: Any = {"viewport": {"width": shot.size[0], "height": shot.size[1]}, "reduced_motion": "reduce"}
    with browser.new_context(color_scheme=shot.light, locale="en-GB", **window) as context:
        chat = Chat(context.new_page(), server.url)
        chat.open()
        shot.prepare(chat)
        chat.page.mouse.move(5, 5)
        chat.page.screenshot(path=IMAGES / f"{shot.name}.png")
        print(f"{shot.name}.png: {(IMAGES / f'{shot.name}.png').stat().st_size // 1000} kB")  # noqa: T201  # a command


if __name__ == "__main__":
    main()
