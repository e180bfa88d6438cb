"""Takes the pictures of the playground, a report and promotions that the documentation shows.

A real server, a real browser (Debian's Chromium), real traffic; promotions in a git repository of their own.

``python -m tools.screenshots [FOLDER]`` writes ``playground*.png``, ``report*.png`` and ``promotion*.png``, by default
to ``docs/images``; it takes about a minute.
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
from markdown_it import MarkdownIt  # noqa: E402
from PIL import Image  # noqa: E402
from playwright.sync_api import Browser, Locator, Page, sync_playwright  # noqa: E402
from tests.delivery.gitops import OTHER_IMAGE, plant  # noqa: E402
from tests.example_tables import mixed_table  # noqa: E402
from tests.servers import serving  # noqa: E402
from tests.ui.browser import field_of, launched, put, visiting  # noqa: E402

import orris  # noqa: E402

COLOURS = 192
TRAFFIC_SECONDS = 60

PULL_REQUEST = """\
<!doctype html><meta charset="utf-8"><style>
body { font: 15px/1.5 system-ui, sans-serif; color: #1f2328; background: #fff }
body { margin: 0; padding: 16px 32px; max-width: 880px }
h2 { border-bottom: 1px solid #d1d9e0; padding-bottom: .3em }
table { border-collapse: collapse } th, td { border: 1px solid #d1d9e0; padding: 5px 12px; text-align: left }
code { font: 85% ui-monospace, monospace; background: #f0f1f2; padding: .15em .35em; overflow-wrap: anywhere }
pre code { display: block; padding: 12px; overflow: hidden }
</style>"""
"""How a host of git repositories shows a pull request's body, roughly."""


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
            shoot_promotions(browser, store, folder)
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


def shoot_promotions(browser: Browser, store: Path, folder: Path) -> None:
    """The pull request's text of a promotion, and that of one which a gate refuses."""
    table = ROOT / "data" / "iris.csv"
    for version, model in (("1.1.0", "svm"), ("1.2.0", "forest")):
        orris.train(table, target="species", name="iris", version=version, model=model, store=store)
    tree = plant(store / "gitops", store)
    tree.run("stage", "1.0.0")
    for version, expected, name in (("1.1.0", 0, "promotion.png"), ("1.2.0", 1, "promotion-refused.png")):
        tree.run("dev", version, OTHER_IMAGE)
        report = store / f"{version}.md"
        tree.promote(version, "--from", "dev", "--to", "stage", "--report", str(report), expect=expected)
        html = MarkdownIt("commonmark").enable("table").render(report.read_text("utf-8"))
        page = browser.new_page(viewport={"width": 960, "height": 600}, device_scale_factor=1.5)
        page.set_content(PULL_REQUEST + html)
        keep(page, folder / name, page.locator("body"))
        page.close()


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
