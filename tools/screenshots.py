"""Takes the pictures of the playground and of a report that the documentation shows.

A real server, a real browser (Debian's Chromium), real traffic.

``python -m tools.screenshots [FOLDER]`` writes ``playground*.png`` and ``report*.png``, by default to ``docs/images``;
it takes about a minute.
"""

from __future__ import annotations

import random
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

import httpx  # noqa: E402
from PIL import Image  # noqa: E402
from playwright.sync_api import Browser, Locator, Page, sync_playwright  # noqa: E402
from tests.example_tables import mixed_table  # noqa: E402
from tests.servers import serving  # noqa: E402
from tests.ui.browser import field_of, launched, put, visiting  # noqa: E402

import orris  # noqa: E402

COLOURS = 192
TRAFFIC_SECONDS = 60


def main(folder: Path) -> None:
    """All pictures."""
    with tempfile.TemporaryDirectory() as temporary:
        store = Path(temporary)
        bounds = {
            name: {"exclusive_minimum": 0} for name in ("sepal_length", "sepal_width", "petal_length", "petal_width")
        }
        iris = orris.train(
            ROOT / "data" / "iris.csv", target="species", name="iris", version="1.0.0", store=store, bounds=bounds
        )
        churn = orris.train(
            mixed_table(),
            target="churned",
            name="churn",
            model="logistic",
            version="1.0.0",
            learning_curve=True,
            store=store,
        )
        with serving(str(iris.folder), str(churn.folder), folder=store) as server, sync_playwright() as playwright:
            browser = launched(playwright)
            shoot(browser, server.url, folder)
            shoot_report(browser, churn.folder / "report.html", folder)
            browser.close()


def shoot(browser: Browser, url: str, folder: Path) -> None:
    """Each state of the page that is worth a look."""
    context: dict[str, Any] = {
        "viewport": {"width": 1240, "height": 760},
        "device_scale_factor": 1.5,
        "reduced_motion": "reduce",
    }
    with visiting(browser, **context) as visit:
        page = visit.open(url)
        page.locator("#examples button", has_text="versicolor").nth(1).click()
        keep(page, folder / "playground.png")
        page.get_by_label("CSV with a line of column names").fill((ROOT / "data" / "iris.csv").read_text("utf-8"))
        page.get_by_role("button", name="Predict").click()
        page.set_viewport_size({"width": 1240, "height": 1600})
        keep(page, folder / "playground-rows.png", page.locator("#batch"))
        for image in page.locator("figure img").all():
            image.scroll_into_view_if_needed()
        keep(page, folder / "playground-card.png", page.locator("#card"))
        busy(url, page)
        keep(page, folder / "playground-live.png", page.locator("#live"))
    with visiting(browser, refused=(422,), color_scheme="dark", **context) as visit:
        page = visit.open(f"{url}/?model=churn")
        put(page, "age", "104")
        field_of(page, "town").locator("select").select_option("other …")
        page.get_by_label("town: another level").fill("Atlantis")
        page.get_by_role("tab", name="Python").click()
        keep(page, folder / "playground-dark.png")
    with visiting(
        browser, viewport={"width": 390, "height": 844}, device_scale_factor=1.5, reduced_motion="reduce"
    ) as visit:
        page = visit.open(f"{url}/?model=churn")
        page.locator("#ask").evaluate("(form) => form.scrollIntoView()")
        keep(page, folder / "playground-phone.png")


def shoot_report(browser: Browser, report: Path, folder: Path) -> None:
    """The beginning of a report in light colours, and its plots in dark ones."""
    with visiting(browser, viewport={"width": 1120, "height": 1000}, color_scheme="light") as visit:
        keep(visit.open(report.as_uri(), ready="#parity"), folder / "report.png")
    with visiting(browser, viewport={"width": 1120, "height": 1000}, color_scheme="dark") as visit:
        page = visit.open(report.as_uri(), ready="#parity")
        keep(page, folder / "report-plots.png", page.locator("section", has=page.locator("#plots")))


def busy(url: str, page: Page) -> None:
    """Some traffic to look at: waves of rows, a few of them refused."""
    row = {"sepal_length": 5.1, "sepal_width": 3.5, "petal_length": 1.4, "petal_width": 0.2}
    chance, done = random.Random(0), threading.Event()  # noqa: S311 (no secret)

    def ask() -> None:
        with httpx.Client(base_url=url, trust_env=False) as client:
            while not done.wait(chance.expovariate(60)):
                client.post(
                    "/api/v1/predict",
                    json=[row] * chance.randint(1, 8) if chance.random() < 0.99 else {"sepal_length": -1},
                )

    clients = [threading.Thread(target=ask) for _ in range(3)]
    for client in clients:
        client.start()
    page.wait_for_timeout(TRAFFIC_SECONDS * 1000)
    done.set()
    for client in clients:
        client.join()


def keep(page: Page, path: Path, part: Locator | None = None) -> None:
    """A picture of the window, or of a part of the page, with few colours: small, and sharp enough."""
    page.wait_for_timeout(400)
    (part or page).screenshot(path=path)
    with Image.open(path) as image:
        image.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE).save(path, optimize=True)
    print(f"{path.name}: {path.stat().st_size // 1000} kB")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs" / "images")
