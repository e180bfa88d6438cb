"""Draw ``docs/images/dashboard-*.png``: the console in Chromium, with a real Prometheus and two busy servers."""

from __future__ import annotations

import sys
import tempfile
import time
from contextlib import ExitStack
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import Page, sync_playwright
from tools.observability import CONSOLE, started

from tests.observability.rulefiles import ROOT
from tests.observability.scene import scene
from tests.ui.browser import launched

BOARDS = ("serving", "quality", "fleet")
IMAGES = ROOT / "docs" / "images"


def drawn(page: Page, url: str, uid: str, span: int) -> None:
    """Open a dashboard of the console, over so many seconds, once all its panels are drawn."""
    page.goto(f"{url}{CONSOLE}#{uid}")
    page.reload()
    page.evaluate(f"document.getElementById('span').append(new Option('{span} seconds', {span}, true, true))")
    page.evaluate("document.getElementById('state').textContent = ''")
    page.evaluate("draw(false)")
    page.wait_for_function("document.getElementById('state').textContent !== ''")
    for choice in page.locator("#choices select").all():
        page.evaluate("document.getElementById('state').textContent = ''")
        choice.select_option("iris")
    page.wait_for_function("document.getElementById('state').textContent !== ''")


def small(picture: Image.Image) -> Image.Image:
    """Return the picture in its 256 most frequent colours, a third of the bytes."""
    picture = picture.convert("RGB")
    found: Any = sorted(picture.getcolors(1 << 24) or [], reverse=True)[:256]
    palette = Image.new("P", (1, 1))
    palette.putpalette([part for _, colour in found for part in colour])
    return picture.quantize(palette=palette, dither=Image.Dither.NONE)


def main(seconds: int = 150) -> None:
    """Let the scene run for some time, and take the pictures."""
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        targets = {}
        for service, wrong_every, in_flight in (("iris", 40, 1), ("iris-canary", 4_000, 100)):
            folder = Path(name) / service
            folder.mkdir()
            server = stack.enter_context(scene(folder, wrong_every, in_flight))
            targets[f"127.0.0.1:{server.port}"] = {"namespace": "prod", "service": service}
        with started(targets, Path(name), interval="2s") as prometheus:
            time.sleep(seconds)
            with sync_playwright() as playwright:
                browser = launched(playwright)
                page = browser.new_page(viewport={"width": 1280, "height": 900}, color_scheme="light")
                for board in BOARDS:
                    drawn(page, prometheus.url, f"orris-{board}", seconds)
                    small(Image.open(BytesIO(page.screenshot(full_page=True)))).save(
                        IMAGES / f"dashboard-{board}.png", optimize=True
                    )
                    print(f"docs/images/dashboard-{board}.png", page.text_content("#state"))  # noqa: T201
                browser.close()


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
