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
from playwright.sync_api import sync_playwright
from tools.observability import CONFIGURATION, Prometheus, started

from tests.observability.pictures import drawn
from tests.observability.rulefiles import ROOT, alerts, rules, selectors
from tests.observability.scene import scene
from tests.ui.browser import CHROMIUM, launched
from tests.waiting import eventually

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

VARIABLES = {"__rate_interval": "10s", "__range": "60s", "job": "orris"}
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
    """A Prometheus that has scraped a busy server for some seconds, with our rules loaded."""
    folder = tmp_path_factory.mktemp("scene")
    with scene(folder) as server, started({f"127.0.0.1:{server.port}": LABELS}, folder, interval="1s") as running:
        # Recordings of recordings take a turn each; a rate needs two scrapes; the share of a version needs 45 rows.
        eventually(lambda: len(running.query("count_over_time(orris:predict_errors:ratio_rate3d[30s]) >= 6")) == 1)
        eventually(lambda: running.query('rate(orris_rejected_total{reason="overloaded"}[10s])'))
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
    empty = [each for each in asked if not numbers(prometheus.query(filled(each.expr)))]
    assert [each for each in empty if each[:2] not in WITHOUT_DATA] == []
    assert {each[:2] for each in empty} == {excused for excused in WITHOUT_DATA if excused[0] == dashboard}


def test_no_panel_is_excused_that_is_gone() -> None:
    """Every listed exception is the name of a panel."""
    assert WITHOUT_DATA.keys() <= {(asked.dashboard, asked.panel) for asked in QUERIES}


def test_every_recording_has_data(prometheus: Prometheus) -> None:
    """Every recording has data under its name, with the labels that tell deployments apart."""
    names = [rule["record"] for rule in rules() if "record" in rule]
    matchers = '{job="orris",namespace="flowers",service="iris"}'
    assert [name for name in names if not numbers(prometheus.query(name + matchers))] == []


def test_every_alert_queries_existing_series(prometheus: Prometheus) -> None:
    """Every metric and label of an alert exists, because otherwise it would never fire."""
    asked = [(name, selector) for name, rule in alerts().items() for selector in selectors(rule["expr"])]
    assert [each for each in asked if not prometheus.query(each[1])] == []


def test_prometheus_evaluates_every_rule(prometheus: Prometheus) -> None:
    """Prometheus evaluates every rule without an error on real data."""
    found = [rule for group in prometheus.get("rules")["groups"] for rule in group["rules"]]
    assert len(found) == len(rules())
    assert [rule for rule in found if rule["health"] != "ok"] == []


def test_the_scenes_faults_fire_their_alerts(prometheus: Prometheus) -> None:
    """Alerts fire for a refused version and for failing requests, and for nothing else."""

    def fired() -> set[str]:
        found = _firing(prometheus)
        return found if {"OrrisSwapRefused", "OrrisErrorBudgetFast"} <= found else set()

    assert eventually(fired) <= {
        "OrrisSwapRefused",
        "OrrisErrorBudgetFast",
        "OrrisErrorBudgetSlow",
        "OrrisLatencyBudgetFast",
        "OrrisLatencyBudgetSlow",
    }


def _firing(prometheus: Prometheus) -> set[str]:
    return {each["labels"]["alertname"] for each in prometheus.get("alerts")["alerts"] if each["state"] == "firing"}


@pytest.mark.skipif(not Path(CHROMIUM).exists(), reason="chromium is not installed (apt-get install chromium)")
def test_the_console_draws_every_panel(prometheus: Prometheus) -> None:
    """A real browser draws every panel on a screen and on a phone, without complaints of the console or axe."""
    with sync_playwright() as playwright:
        browser = launched(playwright)
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        complaints: list[str] = []
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        for file in DASHBOARDS:
            title = json.loads(file.read_text("utf-8"))["title"]
            drawn(page, prometheus.url, file.stem, 60)
            assert page.title() == title
            assert re.match("1 of 1 servers answer, drawn at", page.text_content("#state") or "")
            assert "OrrisSwapRefused" in (page.text_content("#alerts") or "")
            assert Axe().run(page).response["violations"] == []
            assert page.locator("#choices select").count() == (title == "Orris Model Quality")
            empty = [
                box.locator("h3").inner_text()
                for box in page.locator("main > section", has=page.locator(".none")).all()
            ]
            assert {(title, panel) for panel in empty} == {
                excused for excused in (*WITHOUT_DATA, NO_CATEGORIES) if excused[0] == title
            }
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
