"""Tests against a real Prometheus that scrapes a busy server: every panel, rule and alert has data."""

from __future__ import annotations

import json
import math
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, sync_playwright
from tools.observability import CONFIGURATION, Prometheus, started

from tests.observability.pictures import drawn
from tests.observability.rulefiles import ROOT, alerts, rules, selectors
from tests.observability.scene import scene
from tests.ui.browser import CHROMIUM, launched
from tests.waiting import PATIENCE_SECONDS, becomes, eventually

pytestmark = [
    pytest.mark.skipif(
        shutil.which("prometheus") is None, reason="prometheus is not installed (apt-get install prometheus)"
    ),
    pytest.mark.xdist_group("prometheus"),  # with --dist loadgroup: one scene for all
]

DASHBOARDS = sorted((ROOT / "observability" / "dashboards").glob("*.json"))

WITHOUT_DATA = {
    (
        "Orris Model Serving",
        "Replicas wanted and there",
    ): "the autoscaler's metrics come from kube-state-metrics, in a cluster",
    ("Orris Model Serving", "What KEDA scales by"): "KEDA's metrics come from its operator, in a cluster",
}
"""Panels whose data only a cluster has, and why."""

NO_CATEGORIES = ("Orris Model Quality", "Unseen levels")
"""Panels without data for iris, which has numbers only."""

LABELS = {"namespace": "flowers", "service": "iris", "pod": "iris-0"}
"""What the operator's discovery would add."""

VARIABLES = {"__rate_interval": "5m", "__range": "5m", "job": "orris"}
"""What Grafana puts in place of a variable; of others, all values."""


class Asked(NamedTuple):
    """A query of a panel."""

    dashboard: str
    panel: str
    expr: str


def panels(dashboard: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The panels of a dashboard, those of folded rows too."""
    for panel in dashboard["panels"]:
        yield panel
        yield from panel.get("panels") or []


def queries() -> list[Asked]:
    """Every query of every dashboard."""
    found = []
    for file in DASHBOARDS:
        dashboard = json.loads(file.read_text("utf-8"))
        title = dashboard["title"]
        found += [
            Asked(title, panel["title"], target["expr"])
            for panel in panels(dashboard)
            for target in panel.get("targets") or []
        ]
    return found


def filled(expr: str) -> str:
    """A query as Grafana sends it, with everything chosen."""
    return re.sub(r"\$\{?(\w+)\}?", lambda found: VARIABLES.get(found.group(1), ".*"), expr)


QUERIES = queries()


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """A Prometheus that scrapes a busy server and has seen it overloaded, with our rules loaded.

    A scrape may take as long as lies between two of them, and on a busy machine one can still fail, after which series
    are absent until the next: the tests wait for what they look for.
    """
    folder = tmp_path_factory.mktemp("scene")
    with scene(folder) as server, started({f"127.0.0.1:{server.port}": LABELS}, folder, interval="5s") as running:
        # A rate needs two scrapes; the share of a version needs 45 rows.
        eventually(lambda: running.query('rate(orris_rejected_total{reason="overloaded"}[5m]) > 0'))
        eventually(lambda: len(running.query("orris:predictions:share_rate15m")) >= 3)
        eventually(lambda: running.query("orris:drift_unseen_ratio:weighted > 0"))
        yield running


def numbers(series: list[Any]) -> list[float]:
    """The values of an instant query that are numbers."""
    return [value for each in series if math.isfinite(value := float(each["value"][1]))]


@pytest.mark.parametrize("dashboard", sorted({asked.dashboard for asked in QUERIES}))
def test_every_panel_has_data(prometheus: Prometheus, dashboard: str) -> None:
    """Every query of the dashboards names metrics and labels that exist, so that no panel is empty."""
    asked = [each for each in QUERIES if each.dashboard == dashboard]

    def empty() -> set[tuple[str, ...]]:
        return {each[:2] for each in asked if not numbers(prometheus.query(filled(each.expr)))}

    becomes(empty, {excused for excused in WITHOUT_DATA if excused[0] == dashboard})


def test_no_panel_is_excused_that_is_gone() -> None:
    """Every listed exception is the name of a panel."""
    assert WITHOUT_DATA.keys() <= {(asked.dashboard, asked.panel) for asked in QUERIES}


def test_every_recording_has_data(prometheus: Prometheus) -> None:
    """Every recording has data under its name, with the labels that tell deployments apart."""
    names = [rule["record"] for rule in rules() if "record" in rule]
    matchers = '{job="orris",namespace="flowers",service="iris"}'
    becomes(lambda: [name for name in names if not numbers(prometheus.query(name + matchers))], [])


def test_every_alert_queries_existing_series(prometheus: Prometheus) -> None:
    """Every metric and label of an alert exists, because otherwise it would never fire."""
    asked = [(name, selector) for name, rule in alerts().items() for selector in selectors(rule["expr"])]
    becomes(lambda: [each for each in asked if not prometheus.query(each[1])], [])


def test_prometheus_evaluates_every_rule(prometheus: Prometheus) -> None:
    """Prometheus evaluates every rule without an error on real data."""

    def health() -> list[str]:
        return [rule["health"] for group in prometheus.get("rules")["groups"] for rule in group["rules"]]

    becomes(health, ["ok"] * len(rules()))


def test_the_scenes_faults_fire_their_alerts(prometheus: Prometheus) -> None:
    """Alerts fire for a refused version and for failing requests, and for nothing else."""
    expected = {"OrrisSwapRefused", "OrrisErrorBudgetFast"}
    firing = eventually(lambda: found if expected <= (found := _firing(prometheus)) else set())
    assert firing <= expected | {
        "OrrisErrorBudgetSlow",
        "OrrisLatencyBudgetFast",
        "OrrisLatencyBudgetSlow",
        "OrrisOverloaded",  # after 5 minutes
    }


def _firing(prometheus: Prometheus) -> set[str]:
    return {each["labels"]["alertname"] for each in prometheus.get("alerts")["alerts"] if each["state"] == "firing"}


def _seen(page: Page, prometheus: Prometheus, uid: str) -> tuple[str, bool, bool, set[str]]:
    """Draw a dashboard; return its title, whether the server answers, whether an alert is listed, and empty panels."""
    drawn(page, prometheus.url, uid, 300)
    answers = (page.text_content("#state") or "").startswith("1 of 1 servers answer, drawn at")
    listed = "OrrisSwapRefused" in (page.text_content("#alerts") or "")
    empty = page.locator("main > section", has=page.locator(".none")).all()
    return page.title(), answers, listed, {box.locator("h3").inner_text() for box in empty}


@pytest.mark.skipif(not Path(CHROMIUM).exists(), reason="chromium is not installed (apt-get install chromium)")
def test_the_console_draws_every_panel(prometheus: Prometheus) -> None:
    """A real browser draws every panel on a screen and on a phone, without complaints of the console or axe."""
    with sync_playwright() as playwright:
        browser = launched(playwright)
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.set_default_timeout(PATIENCE_SECONDS * 1000)
        complaints: list[str] = []
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        for file in DASHBOARDS:
            title = json.loads(file.read_text("utf-8"))["title"]
            excused = {panel for board, panel in (*WITHOUT_DATA, NO_CATEGORIES) if board == title}
            becomes(lambda stem=file.stem: _seen(page, prometheus, stem), (title, True, True, excused))  # type: ignore[misc]
            assert Axe().run(page).response["violations"] == []
            assert page.locator("#choices select").count() == (title == "Orris Model Quality")
        page.set_viewport_size({"width": 390, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        browser.close()
    assert complaints == []


def test_promtool_accepts_the_configuration() -> None:
    """The shipped configuration and the rule files that it names are accepted by promtool."""
    checked = subprocess.run(
        ["promtool", "check", "config", str(CONFIGURATION)], capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "3 rule files found" in checked.stdout
