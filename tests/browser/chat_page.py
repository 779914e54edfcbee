"""A tab with the chat page in it, in the words of a person who uses it."""

import re
import time

from playwright.sync_api import ConsoleMessage, Locator, Page, Request, expect

FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)

RECORD_VIOLATIONS = """
  window.violations = [];
  addEventListener("securitypolicyviolation", (event) => violations.push(`${event.effectiveDirective}: ${event.blockedURI}`));
"""


class Chat:
    def __init__(self, page: Page, url: str) -> None:
        self.page, self.url = page, url
        self.foreign: list[str] = []
        self.errors: list[str] = []
        page.add_init_script(RECORD_VIOLATIONS)
        page.on("request", self._on_request)
        page.on("console", self._on_console)
        page.on("pageerror", lambda error: self.errors.append(str(error)))

    def open(self, session: str = "") -> None:
        self.page.goto(f"{self.url}/#{session}")
        expect(self.field).to_be_visible()

    def check(self) -> None:
        """Nothing was asked of any other host, the policy forbade nothing, and no script failed."""
        assert not self.foreign, self.foreign
        assert not self.errors, self.errors
        violations = self.page.evaluate("violations")
        assert not violations, violations

    # what one does

    def say(self, text: str) -> None:
        self.field.fill(text)
        self.field.press("Enter")

    def stop(self) -> None:
        self.page.get_by_role("button", name="Stop").click()

    def delete(self, title: str) -> None:
        """Deletes a session of the list for good, without waiting until it can be undone no more."""
        self.page.get_by_role("button", name=f"Delete {title}").click()
        with self.page.expect_response(lambda response: response.request.method == "DELETE"):
            self.page.get_by_role("button", name="Delete it now").click()

    # what one sees

    @property
    def field(self) -> Locator:
        return self.page.get_by_role("textbox", name="Message", exact=True)

    @property
    def session(self) -> str:
        """The id of the open session."""
        expect(self.page).to_have_url(re.compile("#ses_"))
        return self.page.url.partition("#")[2]

    @property
    def said(self) -> Locator:
        return self.page.get_by_role("article", name="You")

    @property
    def words(self) -> Locator:
        """What was said, without the buttons around it."""
        return self.said.locator(".said")

    @property
    def replies(self) -> Locator:
        return self.page.get_by_role("article", name="Reply")

    @property
    def reply(self) -> Locator:
        """The text of the last reply."""
        return self.replies.last.locator(".markdown").last

    @property
    def end(self) -> Locator:
        """How the last reply ended, where it did not simply come to its end."""
        return self.replies.last.locator(".end")

    def versions(self, message: Locator) -> Locator:
        """Which of its versions a message is, as in `2/3`."""
        return message.get_by_role("group", name="Versions").get_by_role("img")

    @property
    def listed(self) -> Locator:
        """The sessions of the list."""
        return self.page.get_by_role("navigation", name="Chats").get_by_role("listitem")

    def expect_written(self, number: int = 1) -> None:
        """Waits until so many replies are there and the last one has ended."""
        expect(self.replies).to_have_count(number)
        expect(self.replies.last).to_have_attribute("aria-busy", "false")

    def expect_writing(self, text: str) -> None:
        """Waits until the reply that is being written has come to some text."""
        expect(self.reply).to_contain_text(text)
        expect(self.replies.last).to_have_attribute("aria-busy", "true")

    def wait_until(self, condition: str) -> None:
        """Waits for an expression. Playwright's own way would evaluate a string in the page, which its policy forbids."""
        deadline = time.monotonic() + 30
        while not self.page.evaluate(condition):
            assert time.monotonic() < deadline, f"never: {condition}"
            self.page.wait_for_timeout(50)

    # what it must not do

    def _on_request(self, request: Request) -> None:
        if not request.url.startswith((self.url, "data:", "blob:")):
            self.foreign.append(request.url)

    def _on_console(self, message: ConsoleMessage) -> None:
        # A server that is down or refuses is the business of the test that makes it so.
        if message.type == "error" and "Failed to load resource" not in message.text:
            self.errors.append(message.text)
