"""In Firefox the page does what it is for. All else is tested in Chromium."""

from pathlib import Path

import pytest

import tools
from firefox import firefox
from server_process import Server


@pytest.mark.full
def test_a_reply_is_read_on_after_a_reload_and_in_two_windows_at_once(server: Server, tmp_path: Path) -> None:
    with firefox(tools.needed(tools.firefox), tmp_path) as browser:
        browser("WebDriver:Navigate", url=server.url)
        browser.wait_until("document.querySelector('.composer textarea')")
        browser.press(".composer textarea", "/script tokens=80 pace=0.03\ue007")
        text = "document.querySelector('.reply .markdown')?.textContent"
        browser.wait_until(f"{text}?.includes('t5 ')")
        browser("WebDriver:Refresh")
        first, url = browser("WebDriver:GetWindowHandle"), browser("WebDriver:GetCurrentURL")
        second = browser("WebDriver:NewWindow", type="window")["handle"]
        for window in (second, first):
            browser("WebDriver:SwitchToWindow", handle=window)
            browser("WebDriver:Navigate", url=url)
            browser.wait_until("document.querySelector('.reply')?.ariaBusy === 'false'")
            assert browser.evaluate(f"return {text}").split() == [f"t{number}" for number in range(80)]
        assert browser.complaints(server.url) == []
