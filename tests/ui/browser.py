"""Chromium, and a page that holds against the playground whatever a browser's console would show."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import Browser, Locator, Page, Playwright, Request, expect

from tests.waiting import PATIENCE_SECONDS

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome") or ""
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

expect.set_options(timeout=PATIENCE_SECONDS * 1000)
"""A promise that holds is seen at once; a busy machine is no reason to fail."""

READY = "#answer[data-state='answered']"
"""There once the first example row has been answered."""


def launched(playwright: Playwright) -> Browser:
    """Debian's Chromium."""
    return playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)


@dataclass
class Visit:
    """The playground in a browser.

    Attributes:
        page: The page.
        complaints: What the console showed: errors and warnings, uncaught exceptions, violations of the policy.
        requests: What was asked for.
    """

    page: Page
    complaints: list[str] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)

    def open(self, url: str, *, ready: str = READY) -> Page:
        """The page at this address, once ``ready`` is visible: by default the answer to the first row."""
        self.page.goto(url)
        expect(self.page.locator(ready)).to_be_visible()
        return self.page

    def asked(self, request: Request) -> None:
        """A request."""
        self.requests.append(request)

    @property
    def origins(self) -> set[str]:
        """Where anything was loaded from."""
        return {
            "{0.scheme}://{0.netloc}".format(urlsplit(request.url))
            for request in self.requests
            if ":" in request.url[:6]
        }


@contextmanager
def visiting(browser: Browser, *, refused: tuple[int, ...] = (), **options: Any) -> Iterator[Visit]:
    """A fresh visitor, with Playwright's ``options`` of a context; at the end nothing may have complained.

    Args:
        browser: The browser.
        refused: Statuses that the test provokes: a browser writes a line for each refusal, whatever the page does.
        **options: Of the context.
    """
    context = browser.new_context(viewport=options.pop("viewport", {"width": 1280, "height": 900}), **options)
    try:
        context.set_default_timeout(PATIENCE_SECONDS * 1000)
        page = context.new_page()
        visit = Visit(page)
        page.on(
            "console",
            lambda message: visit.complaints.append(message.text) if message.type in {"error", "warning"} else None,
        )
        page.on("pageerror", lambda error: visit.complaints.append(str(error)))
        page.on("request", visit.asked)
        yield visit
    finally:
        context.close()
    usual = tuple(f"Failed to load resource: the server responded with a status of {status} " for status in refused)
    assert [complaint for complaint in visit.complaints if not complaint.startswith(usual or ("\0",))] == []


def field_of(page: Page, column: str) -> Locator:
    """The part of the form that belongs to a column."""
    return page.locator(f'.field[data-column="{column}"]')


def put(page: Page, column: str, value: str) -> None:
    """Type a value."""
    field_of(page, column).locator("input:not([type=range]):not([type=checkbox])").first.fill(value)
