"""Tests of the page as a whole: accessibility, keyboard, origins, keys, proxies, several models, markup in data."""

from __future__ import annotations

import csv
import json
import re
import subprocess
import sys
import threading
from ast import literal_eval
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect
from sklearn.ensemble import IsolationForest, RandomForestClassifier
from sklearn.impute import KNNImputer
from sklearn.mixture import GaussianMixture
from sklearn.pipeline import make_pipeline

import orris
from orris.api import Bundle
from orris.serving.access.keys import digest_of, new_key
from tests.servers import Server, serving
from tests.ui.browser import Visit, field_of, put, visiting
from tests.ui.hostile import COLUMNS, LEVELS, MARKUP
from tests.waiting import PATIENCE_SECONDS

PHONE = {"width": 360, "height": 740}
DESKTOP = {"width": 1280, "height": 900}


def violations(page: Page) -> list[str]:
    """What axe-core finds, of WCAG 2.2 AA and of its best practices."""
    tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
    found = Axe().run(page, options={"resultTypes": ["violations"], "runOnly": tags}).response["violations"]
    return [
        f"{each['id']}: {node['html'][:150]} {node['failureSummary'][:300]}" for each in found for node in each["nodes"]
    ]


def overflow(page: Page) -> int:
    """Pixels that the page is wider than its window."""
    return int(page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth"))


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_axe_finds_nothing(browser: Browser, mixed_server: Server, scheme: Any, size: Any) -> None:
    """In each state of the page axe finds nothing, and no part is cut off."""
    with visiting(browser, refused=(422,), viewport=size, color_scheme=scheme, reduced_motion="reduce") as visit:
        page = visit.open(mixed_server.url)
        expect(page.locator("#charts path").first).to_be_attached()
        assert size == PHONE or violations(page) == []
        put(page, "age", "300")
        field_of(page, "town").locator("select").select_option("other …")
        expect(page.locator("#answer")).to_contain_text("Unusual")
        page.get_by_label("CSV with a line of column names").fill("age,spend\n44,1\n45,many\n400,2")
        page.get_by_role("button", name="Predict").click()
        expect(page.locator("#batch-said")).to_contain_text("1 row refused")
        page.get_by_role("button", name="Key").click()
        put(page, "spend", "")
        field_of(page, "spend").locator("input[type=number]").press("e")
        expect(page.locator("#answer")).to_have_attribute("data-state", "refused")
        assert violations(page) == []
        assert overflow(page) == 0


def test_nothing_is_loaded_from_elsewhere(visit: Visit, server: Server) -> None:
    """Neither the page nor the interactive documentation loads anything from another origin."""
    page = visit.open(server.url)
    page.locator("figure img").last.scroll_into_view_if_needed()
    expect(page.locator("#charts path").first).to_be_attached()
    page.get_by_role("link", name="API docs").click()
    expect(page.locator("#operations-default-api_v1_model_card, [id*=model_card]").first).to_be_visible()
    assert visit.origins == {server.url}


def test_the_charts_follow_the_traffic(visit: Visit, server: Server, ask: httpx.Client) -> None:
    """The charts show requests and rows per second, and latency, from /metrics."""
    page = visit.open(server.url)
    row = {"sepal_length": 5.1, "sepal_width": 3.5, "petal_length": 1.4, "petal_width": 0.2}
    charts = page.locator("#charts")
    expect(charts.locator("path").first).to_be_attached()
    for _ in range(100):
        ask.post("/api/v1/predict", json=[row, row])
    # In one look: the next one finds no traffic any more.
    expect(charts).to_have_text(re.compile(r"Rows a second[1-9]\d[\d.]*Latency, median and p99[\d.]+ ms · [\d.]+ ms"))


def test_the_card_describes_the_model(visit: Visit, server: Server, iris: Bundle) -> None:
    """The card shows name, version, table, metrics, parity, confusion matrix, plots, and the loaded versions."""
    page = visit.open(server.url)
    expect(page.get_by_role("heading", level=1)).to_have_text("iris 1.0.0")
    expect(page.locator("#lead")).to_contain_text("Predicts species (setosa, versicolor, virginica) from 4 columns.")
    expect(page.locator("#lead")).to_contain_text("Trained on iris.csv, 150 rows, ")
    card = page.locator("#card")
    expect(card.locator(".verdict")).to_have_text(
        "Yes. Both answered the same rows alike before this version could be published."
    )
    accuracy = iris.manifest.metrics["accuracy"]
    expect(card.locator("table.metrics tr", has_text=re.compile("^accuracy")).locator("td").first).to_have_text(
        f"{accuracy:.4g}"
    )
    expect(card.locator("table.matrix tbody tr")).to_have_count(3)
    for image in card.locator("figure img").all():
        image.scroll_into_view_if_needed()
        page.wait_for_function("(image) => image.complete && image.naturalWidth > 0", arg=image.element_handle())
    assert card.locator("figure").count() >= 2
    expect(page.locator("#loaded tbody tr")).to_have_count(1)
    expect(page.locator("#loaded tbody tr")).to_contain_text("shown here")


def test_the_card_shows_the_reasons_of_refused_ways(visit: Visit, tmp_path: Path) -> None:
    """Each with its reason, and with what to do about it."""
    X = np.random.default_rng(0).normal(size=(60, 2)).round(2)
    model = make_pipeline(KNNImputer(), RandomForestClassifier(3, random_state=0)).fit(X, X[:, 0] > 0)
    bundle = orris.package(model, X, X[:, 0] > 0, name="cut", store=None)
    assert bundle.verdict.attempts
    with serving(str(bundle.folder), folder=tmp_path) as running:
        page = visit.open(running.url)
        refused = page.locator("#card dt", has_text="not served by exact")
        expect(refused).to_have_count(1)
        reason = page.locator("#card dd", has_text="no exact converter covers KNNImputer")
        expect(reason).to_contain_text("To change that, use a step that")


@pytest.mark.parametrize("name", ["forest", "mixture"])
def test_an_answer_with_a_score_shows_it(visit: Visit, tmp_path: Path, name: str) -> None:
    """Label and score stand beside each other on the page, in the table of many rows and in its download."""
    X = np.random.default_rng(0).normal(size=(80, 2)).round(2)
    detects = name == "forest"
    model = IsolationForest(n_estimators=5, random_state=0) if detects else GaussianMixture(2, random_state=0)
    bundle = orris.package(model.fit(X), X, name=name, store=None)
    scores = model.decision_function(X) if detects else model.score_samples(X)
    with serving(str(bundle.folder), folder=tmp_path) as running:
        page = visit.open(running.url)
        expect(page.locator("#answer")).to_contain_text("Score: ")
        expect(page.locator("#answer")).to_contain_text("an outlier" if detects else "logarithm of the density")
        lines = "\n".join(f"{a},{b}" for a, b in X[:3].tolist())
        page.get_by_label("CSV with a line of column names").fill(f"x0,x1\n{lines}\n")
        page.get_by_role("button", name="Predict").click()
        expect(page.locator("#batch-said")).to_contain_text("3 rows answered")
        expect(page.locator("th", has_text="score")).to_have_count(1)
        with page.expect_download() as download:
            page.get_by_role("button", name="Download answers").click()
        download.value.save_as(tmp_path / "answers.csv")
    rows = list(csv.DictReader((tmp_path / "answers.csv").read_text("utf-8-sig").splitlines()))
    assert [float(row["score"]) for row in rows] == pytest.approx(scores[:3].tolist(), rel=1e-9)
    assert [int(row["prediction"]) for row in rows] == model.predict(X[:3]).tolist()


def test_the_report_of_the_training_opens(visit: Visit, server: Server) -> None:
    """The training report opens as a page without scripts."""
    page = visit.open(server.url)
    page.get_by_role("link", name="Full report").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("iris")


def test_everything_is_reached_by_keyboard(visit: Visit, server: Server) -> None:
    """A skip link comes first, arrows choose the language of the request, and the focus is visible."""
    page = visit.open(server.url)
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the form")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#ask")).to_be_focused()
    page.keyboard.press("Tab")
    expect(page.locator("#examples button").first).to_be_focused()
    page.get_by_role("tab", name="curl").focus()
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("tab", name="Python")).to_be_focused()
    expect(page.locator("#snippet")).to_contain_text("import json")
    page.keyboard.press("End")
    expect(page.get_by_role("tab", name="JavaScript")).to_have_attribute("aria-selected", "true")


def test_the_focus_is_visible(visit: Visit, server: Server) -> None:
    """From the first Tab to the last, each control has the focus once, with an outline."""
    page = visit.open(server.url)
    seen = []
    for _ in range(80):
        page.keyboard.press("Tab")
        at: list[str] | None = page.evaluate("""() => {
            const node = document.activeElement;
            if (node === document.body) return null;
            const name = node.id || node.textContent.trim() || node.getAttribute("aria-label");
            return [name, getComputedStyle(node).outlineStyle];
        }""")
        if at is None:
            break
        assert at[1] == "solid", at
        seen.append(at[0])
    order = ["key-button", "field-0", "copy", "tab-0", "csv", "predict", "choose", "fill", "Full report"]
    assert [name for name in seen if name in order] == order


def test_the_snippets_send_the_request_of_the_page(visit: Visit, mixed_server: Server) -> None:
    """Each snippet, run as it is copied, prints the server's answer."""
    page = visit.open(mixed_server.url)
    field_of(page, "town").locator("select").select_option('New "York"')
    field_of(page, "age").get_by_label("age is missing").check()
    expect(page.locator("#snippet")).to_contain_text('"age": null')
    expect(page.locator("#answer .bars li")).to_have_count(2)

    def code(language: str) -> str:
        page.get_by_role("tab", name=language).click()
        return page.locator("#snippet").inner_text()

    said = [
        json.loads(subprocess.run(["bash", "-c", code("curl")], capture_output=True, check=True).stdout)[
            "probabilities"
        ],
        literal_eval(
            subprocess.run([sys.executable, "-c", code("Python")], capture_output=True, check=True, text=True).stdout
        )["probabilities"],
        page.evaluate("async () => {" + code("JavaScript").replace("console.log(", "return (") + "}")["probabilities"],
    ]
    assert len({tuple(shares) for shares in said}) == 1


def test_markup_in_data_stays_text(visit: Visit, hostile_server: Server) -> None:
    """Names of columns, levels, labels and the target are shown as they are; not one becomes an element."""
    page = visit.open(hostile_server.url)
    assert page.locator("#fields label.column").all_inner_texts() == list(COLUMNS)
    ours = {"— missing —", "other …", "two lines"}
    assert set(LEVELS) >= set(page.locator("#field-1 option").all_inner_texts()) - ours
    expect(page.locator("#answer .target")).to_have_text("<u>target</u>")
    expect(page.locator("#answer .bar-name").nth(1)).to_have_text("=no")
    page.get_by_role("button", name="Fill in examples").click()
    page.get_by_role("button", name="Predict").click()
    expect(page.locator("#batch-result th", has_text=MARKUP)).to_have_count(1)
    expect(page.locator("figure")).not_to_have_count(0)
    for intruder in (f"main {name}" for name in ("img[src=x]", "b:not(li > b)", "u", "i", "script")):
        expect(page.locator(intruder)).to_have_count(0)


# keys


@pytest.fixture(scope="module")
def locked(iris: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, str]]:
    """A server that demands keys, for metrics too, and a valid key."""
    folder, key = tmp_path_factory.mktemp("locked"), new_key()
    keys = folder / "keys.toml"
    keys.write_text(f'page = {{ sha256 = "{digest_of(key.encode()).hex()}" }}\n')
    environ = {"ORRIS_METRICS_AUTH": "on"}
    with serving(str(iris.folder), "--api-keys", str(keys), folder=folder, environ=environ) as running:
        yield running, key


def test_the_page_of_a_server_with_keys_has_a_field_for_one(browser: Browser, locked: tuple[Server, str]) -> None:
    """A wrong key is reported; with a valid key everything works, and the shown code does not contain it."""
    server, key = locked
    with visiting(browser, refused=(401,)) as visit:
        page = visit.page
        page.goto(server.url)
        field = page.get_by_label("API key or token")
        expect(field).to_be_focused()
        expect(page.locator("#lead")).to_have_text("This server asks for a key.")
        assert violations(page) == []
        field.fill("wrong")
        page.keyboard.press("Enter")
        expect(page.locator("#key-note")).to_have_text("This key is not taken.")
        field.fill(key)
        page.get_by_role("button", name="Use it").click()
        expect(page.locator("#answer .bars li")).to_have_count(3)
        expect(field).to_be_hidden()
        expect(page.locator("#charts path").first).to_be_attached()
        expect(page.locator("#snippet")).to_contain_text("Authorization: Bearer $API_KEY")
        expect(page.locator("figure img").first).to_have_attribute("src", re.compile("^data:image/png"))
        with page.expect_download() as report:
            page.get_by_role("button", name="Download the report").click()
        assert report.value.suggested_filename == "iris-1.0.0-report.html"


def test_a_key_is_kept_in_memory_only(browser: Browser, locked: tuple[Server, str]) -> None:
    """The key is in neither the document, the address, the browser's stores nor a cookie."""
    server, key = locked
    with visiting(browser, refused=(401,)) as visit:
        page = visit.page
        page.goto(server.url)
        page.get_by_label("API key or token").fill(key)
        page.keyboard.press("Enter")
        expect(page.locator("#answer .bars li")).to_have_count(3)
        kept = page.evaluate(
            """() => [document.documentElement.outerHTML, document.querySelector("#key").value, document.cookie,
            location.href, JSON.stringify([localStorage, sessionStorage, history.state])].join()"""
        )
        assert key not in kept
        assert [request.url for request in visit.requests if key in request.url] == []
        page.reload()
        expect(page.get_by_label("API key or token")).to_be_focused()


# several models, proxies


def test_the_model_and_its_version_can_be_chosen(
    browser: Browser, iris: Bundle, mixed: Bundle, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The chosen model and version are kept in the address."""
    folders = (str(mixed.folder), str(iris.folder))
    with serving(*folders, folder=tmp_path_factory.mktemp("server")) as running, visiting(browser) as visit:
        page = visit.open(running.url)
        expect(page.get_by_role("heading", level=1)).to_have_text("churn 1.0.0")
        page.get_by_label("Model", exact=True).select_option("iris 1.0.0")
        expect(page.get_by_role("heading", level=1)).to_have_text("iris 1.0.0")
        expect(page.locator("#answer .bars li")).to_have_count(3)
        expect(page.locator("#snippet")).to_contain_text("/api/v1/models/iris/predict")
        expect(page.locator("#loaded tbody tr")).to_have_count(2)
        page.reload()
        expect(page.get_by_role("heading", level=1)).to_have_text("iris 1.0.0")


def test_an_address_of_a_model_that_is_not_there_leads_back(browser: Browser, server: Server) -> None:
    """An address of an unknown model shows an explanation with a link to an existing one."""
    with visiting(browser, refused=(404,)) as visit:
        visit.page.goto(f"{server.url}/?model=%3Cb%3Egone%3C/b%3E/../x")
        expect(visit.page.get_by_role("alert")).to_contain_text("there is no /api/v1/models/")
        expect(visit.page.locator("main b")).to_have_count(0)
        visit.page.get_by_role("link", name="Show the default model").click()
        expect(visit.page.get_by_role("heading", level=1)).to_have_text("iris 1.0.0")


class Stripping(BaseHTTPRequestHandler):
    """A proxy that takes ``/ml/orris`` off, and passes everything on."""

    upstream = ""
    prefix = "/ml/orris"
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Log nothing."""

    def do_GET(self) -> None:
        """Pass the request on."""
        self._pass(None)

    def do_POST(self) -> None:
        """Pass the request on, with the body."""
        self._pass(self.rfile.read(int(self.headers["content-length"])))

    def _pass(self, body: bytes | None) -> None:
        inside = self.path.startswith(self.prefix)
        given = {name: value for name, value in self.headers.items() if name.lower() in {"accept", "content-type"}}
        if inside:
            path = self.path.removeprefix(self.prefix) or "/"
            answer = httpx.request(
                self.command,
                self.upstream + path,
                content=body,
                headers=given,
                trust_env=False,
                timeout=PATIENCE_SECONDS,
            )
        else:
            answer = httpx.Response(404, content=b"outside")
        self.send_response(answer.status_code)
        for name in ("content-type", "content-security-policy"):
            if name in answer.headers:
                self.send_header(name, answer.headers[name])
        self.send_header("content-length", str(len(answer.content)))
        self.end_headers()
        self.wfile.write(answer.content)


@contextmanager
def proxied(server: Server) -> Iterator[str]:
    """The address of a proxy before the server."""
    handler = type("Handler", (Stripping,), {"upstream": server.url})
    proxy = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    proxy.daemon_threads = True
    thread = threading.Thread(target=proxy.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{proxy.server_address[1]}"
    finally:
        proxy.shutdown()
        proxy.server_close()
        thread.join()


def test_it_works_behind_a_path(browser: Browser, iris: Bundle, tmp_path: Path) -> None:
    """Files, requests, code and links lead through the proxy, whether or not the address ends with a slash."""
    with (
        serving(str(iris.folder), "--root-path", "/ml/orris", folder=tmp_path) as running,
        proxied(running) as proxy,
        visiting(browser) as visit,
    ):
        visit.open(f"{proxy}/ml/orris/")
        page = visit.open(f"{proxy}/ml/orris")
        expect(page.locator("#snippet")).to_contain_text(f"{proxy}/ml/orris/api/v1/predict")
        expect(page.locator("#charts path").first).to_be_attached()
        page.get_by_role("link", name="API docs").click()
        expect(page.locator("#swagger-ui .opblock").first).to_be_visible()
        assert [request.url for request in visit.requests if not request.url.startswith(f"{proxy}/ml/orris")] == []


def test_a_stopped_server_is_reported(browser: Browser, iris: Bundle, tmp_path: Path) -> None:
    """If the server stops, the answer and the charts report it and keep the last answer."""
    with serving(str(iris.folder), folder=tmp_path) as running, visiting(browser) as visit:
        page = visit.open(running.url)
        running.stop()
        put(page, "petal_width", "0.4")
        expect(page.locator("#answer")).to_contain_text("The server does not answer.")
        expect(page.locator("#live-note")).to_contain_text("No metrics: The server does not answer.")
        visit.complaints.clear()  # the browser's own lines on connections that were refused
