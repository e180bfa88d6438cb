"""Tests of the alerts: each fires when it should and only then, names its runbook, and queries existing metrics."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from orris.telemetry.exposition import SECONDS
from tests.observability.rulefiles import ALERTS, CASES, FILES, ROOT, Rule, alerts, bare_names, rules, selectors
from tests.waiting import PATIENCE_SECONDS

RUNBOOK = ROOT / "docs" / "alerts.md"
NAMES = sorted(alerts())

needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool is not installed (apt-get install prometheus)"
)


def promtool(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run promtool."""
    return subprocess.run(
        ["promtool", *arguments], capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False
    )


def cases() -> list[Rule]:
    """What each case expects of an alert, at a moment."""
    tests = [test for file in CASES for test in yaml.safe_load(file.read_text("utf-8"))["tests"]]
    return [check for test in tests for check in test["alert_rule_test"]]


@needs_promtool
@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_promtool_accepts_the_rules(file: Path) -> None:
    """Syntax, names and templates of the rules are accepted by promtool."""
    checked = promtool("check", "rules", "--lint-fatal", str(file))
    assert checked.returncode == 0, checked.stdout + checked.stderr


@needs_promtool
@pytest.mark.parametrize("file", CASES, ids=lambda file: file.stem)
def test_alerts_fire_and_stay_silent(file: Path) -> None:
    """In Prometheus' simulation of hours and days alerts fire exactly as the cases state."""
    tested = promtool("test", "rules", str(file))
    assert tested.returncode == 0, tested.stdout + tested.stderr


@pytest.mark.parametrize("name", NAMES)
def test_an_alert_has_a_case_that_fires_and_one_that_does_not(name: str) -> None:
    """Every alert has a case in which it fires and one in which it does not."""
    found = [bool(check["exp_alerts"]) for check in cases() if check["alertname"] == name]
    assert set(found) == {True, False}


def test_no_case_is_about_an_alert_that_is_gone() -> None:
    """Every case is about an existing alert."""
    assert {check["alertname"] for check in cases()} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_an_alert_has_a_severity_and_a_runbook(name: str) -> None:
    """An alert has a severity, a summary, a description, and a runbook section of its own name."""
    alert = alerts()[name]
    assert alert["labels"]["severity"] in {"critical", "warning", "info"}
    assert alert["annotations"].keys() == {"summary", "description", "runbook_url"}
    assert alert["annotations"]["runbook_url"].endswith(f"/docs/alerts.md#{name.lower()}")
    section = re.search(rf"^## {name}\n(.*?)(?=^## |\Z)", RUNBOOK.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    assert section is not None
    assert "**Meaning.**" in section.group(1)
    assert "**Look.**" in section.group(1)


def test_the_runbook_has_no_section_of_an_alert_that_is_gone() -> None:
    """Every section of the runbook and every row of its thresholds is about an existing alert."""
    text = RUNBOOK.read_text("utf-8")
    assert sorted(re.findall(r"^## (Orris\w+)", text, re.MULTILINE)) == NAMES
    table = "\n".join(line for line in text.splitlines() if line.startswith("| Orris"))
    assert sorted(re.findall(r"Orris\w+", table)) == NAMES


def test_every_selector_is_held_to_the_job() -> None:
    """Every selector has ``job="orris"``, behind which a chart can put its namespace."""
    for rule in rules():
        assert not bare_names(rule["expr"]), rule
        found = selectors(rule["expr"])
        assert found
        assert [each for each in found if 'job="orris"' not in each] == []


def test_recordings_that_rules_use_are_recorded() -> None:
    """Every recording that an alert reads is made by a rule."""
    made = {rule["record"] for rule in rules() if "record" in rule}
    used = {each.partition("{")[0] for rule in rules() for each in selectors(rule["expr"]) if each.startswith("orris:")}
    assert used <= made


def test_the_latency_objective_is_a_bucket_boundary() -> None:
    """The latency objective is a boundary of a bucket, because Prometheus interpolates between them."""
    bounds = {bound for rule in rules() for bound in re.findall(r'le="([^"]*)"', rule["expr"])}
    assert bounds == {"0.1"}
    assert 0.1 in SECONDS


def test_every_window_of_a_burn_rate_is_recorded_alike() -> None:
    """The rules of two windows differ in nothing but the window."""
    shapes: dict[str, set[str]] = {}
    for rule in rules():
        found = re.fullmatch(r"(orris:predict_\w+:\w*rate)(\d+[mhd])", rule.get("record", ""))
        if found:
            shape = re.sub(rf"\b{found.group(2)}\b|(?<=rate){found.group(2)}\b", "WINDOW", rule["expr"])
            shapes.setdefault(found.group(1), set()).add(shape)
    assert {name: len(shape) for name, shape in shapes.items()} == {
        "orris:predict_requests:rate": 1,
        "orris:predict_errors:ratio_rate": 1,
        "orris:predict_slow:ratio_rate": 1,
    }


def test_the_reader_of_selectors_ignores_strings_and_labels() -> None:
    """Braces and names inside of strings are no selectors, labels in lists are no metrics."""
    query = (
        'sum by (a) (rate(x_total{route="/m/{model}",job="orris"}[5m])) / on (b) group_left () (y > 0) or z offset 1d'
    )
    assert selectors(query) == ['x_total{route="/m/{model}",job="orris"}']
    assert bare_names(query) == {"y", "z"}
    assert ALERTS.is_dir()
