"""A real browser for the tests of the page."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
SECONDS = 30
"""How long what a page is to show may take; the machine may be busy."""

expect.set_options(timeout=SECONDS * 1_000)


def chromium() -> str | None:
    """Where this machine's Chromium is."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


@contextmanager
def opened_browser() -> Iterator[Browser]:
    """A headless browser, or a skipped test where the machine has none."""
    path = chromium()
    if path is None:
        pytest.skip(f"needs a browser: none of {', '.join(NAMES)} is on this machine")
    # Chromium's own sandbox does not work for root.
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=arguments)
        yield browser
        browser.close()


class Complaints(list[str]):
    """What a page has complained of: errors and warnings in its console, refused content, dialogs."""

    def listen_to(self, page: Page) -> None:
        page.on("console", self._note)
        page.on("pageerror", lambda error: self.append(f"error: {error}"))
        page.on("dialog", self._dismiss)

    def _note(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.append(message.text)

    def _dismiss(self, dialog: Any) -> None:
        self.append(f"dialog: {dialog.message}")
        dialog.dismiss()
