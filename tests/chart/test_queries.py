"""Tests of the queries of KEDA, of a Rollout's analysis and of the alerts: existing series, correct answers."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.chart.rendering import CHART, VALUES, metric_names, objects, of_kind, one, queries, rendered, selects
from tests.waiting import PATIENCE_SECONDS

ASKING = [case for case in VALUES if queries(rendered(case))]
DISCOVERED = {"job", "namespace", "service", "instance", "pod", "rollouts_pod_template_hash", "le"}
"""Labels that Prometheus and its operator add; the last is of every histogram."""
PROMETHEUS_OWN = {"up"}

needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool is not installed (apt-get install prometheus)"
)


def promtool(file: Path, content: object, *arguments: str) -> None:
    """Have promtool check a file; its complaints are the failure."""
    file.write_text(yaml.safe_dump(content), "utf-8")
    done = subprocess.run(
        ["promtool", *arguments, file], capture_output=True, text=True, check=False, timeout=PATIENCE_SECONDS
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("case", ASKING)
def test_every_queried_series_exists(case: str, ask: httpx.Client) -> None:
    """A real server exposes every queried name and label, and every selector is limited to this release."""
    ask.post(
        "/predict", json={"sepal_length": 5.1, "sepal_width": 3.5, "petal_length": 1.4, "petal_width": 0.2}
    ).raise_for_status()
    kinds = dict(re.findall(r"^# TYPE (\w+) (\w+)$", ask.get("/metrics").text, re.MULTILINE))
    exposed = {
        f"{name}{suffix}"
        for name, kind in kinds.items()
        for suffix in (("_bucket", "_sum", "_count") if kind == "histogram" else ("",))
    }
    rules = [
        rule
        for each in of_kind(rendered(case), "PrometheusRule")
        for group in each["spec"]["groups"]
        for rule in group["rules"]
    ]
    recorded = {rule["record"] for rule in rules if "record" in rule}
    for query in queries(rendered(case)):
        assert metric_names(query), f"no series in {query}"
        assert metric_names(query) <= exposed | recorded | PROMETHEUS_OWN
        name = "scorer" if case == "canary-keda" else "orris"
        for matchers in re.findall(r"[\w:]\{([^}]*)\}", query.replace("{{args.pods}}", "")):
            assert matchers.startswith(f'job="orris",namespace="serving",service="{name}"')


@pytest.mark.parametrize("case", [case for case in VALUES if of_kind(rendered(case), "ServiceMonitor")])
def test_queried_series_are_scraped(case: str, ask: httpx.Client) -> None:
    """One service is scraped at the metrics page, under the job that queries, alerts and dashboards name."""
    found = rendered(case)
    monitor = one(found, "ServiceMonitor")["spec"]
    [service] = [
        each
        for each in of_kind(found, "Service")
        if selects(monitor["selector"]["matchLabels"], each["metadata"]["labels"])
    ]
    assert service["metadata"]["labels"][monitor["jobLabel"]] == "orris"
    assert all(
        f'job="orris",namespace="serving",service="{service["metadata"]["name"]}"' in query for query in queries(found)
    )
    assert "orris_model_info" in ask.get(monitor["endpoints"][0]["path"]).text


def test_queried_labels_exist(ask: httpx.Client) -> None:
    """Queries use labels that our series have, or that discovery adds."""
    ask.post(
        "/predict", json={"sepal_length": 5.1, "sepal_width": 3.5, "petal_length": 1.4, "petal_width": 0.2}
    ).raise_for_status()
    known: dict[str, set[str]] = {}
    for name, labels in re.findall(r"^(\w+)\{([^}]*)\}", ask.get("/metrics").text, re.MULTILINE):
        known.setdefault(name, set()).update(re.findall(r"(\w+)=", labels))
    known["orris_grpc_requests_total"] = {"method", "code"}  # a server without gRPC has none
    for query in [*queries(rendered("keda")), *queries(rendered("canary"))]:
        for name, matchers in re.findall(r"([a-zA-Z_]\w*)\{((?:[^{}]|\{\{[^}]*\}\})*)\}", query):
            assert set(re.findall(r"(\w+)=", matchers)) <= known.get(name, set()) | DISCOVERED


@needs_promtool
@pytest.mark.parametrize("case", [case for case in ASKING if of_kind(rendered(case), "PrometheusRule")])
def test_promtool_accepts_the_rules_of_a_release(case: str, tmp_path: Path) -> None:
    """Promtool accepts the rules after they are limited to a release."""
    promtool(
        tmp_path / "rules.yaml",
        one(rendered(case), "PrometheusRule")["spec"],
        "check",
        "rules",
        "--lint=all",
        "--lint-fatal",
    )


def test_the_rules_of_a_release_are_those_of_observability() -> None:
    """A release has all groups of rules, with every selector limited to its job."""
    groups = one(rendered("monitoring"), "PrometheusRule")["spec"]["groups"]
    files = [yaml.safe_load(file.read_text("utf-8")) for file in sorted((CHART / "files" / "alerts").glob("*.yaml"))]
    assert [group["name"] for group in groups] == [group["name"] for file in files for group in file["groups"]]
    pairs = [
        pair
        for group, file in zip(groups, [group for file in files for group in file["groups"]], strict=True)
        for pair in zip(group["rules"], file["rules"], strict=True)
    ]
    assert len(pairs) > 20
    for held, plain in pairs:
        assert held["expr"].replace(f"{{{SERIES}", '{job="orris"') == plain["expr"]
        assert {**held, "expr": ""} == {**plain, "expr": ""}
        assert held["expr"].count(SERIES) == plain["expr"].count('job="orris"') > 0


SERIES = 'job="orris",namespace="serving",service="orris"'
POST = 'method="POST",route="/predict"'
IN_FLIGHT = {"series": f"orris_requests_in_flight{{{SERIES}}}", "values": "0x10"}
"""What every server that is scraped exposes."""

BUSY = [
    IN_FLIGHT,
    # 120 a minute each, over HTTP and gRPC, of which 12 and 6 fail; metrics pages and other releases do not count.
    {"series": f'http_requests_total{{{SERIES},{POST},status="200"}}', "values": "0+108x10"},
    {"series": f'http_requests_total{{{SERIES},{POST},status="503"}}', "values": "0+12x10"},
    {"series": f'http_requests_total{{{SERIES},method="GET",route="/metrics",status="500"}}', "values": "0+600x10"},
    {
        "series": f'http_requests_total{{job="orris",namespace="other",service="orris",{POST},status="500"}}',
        "values": "0+600x10",
    },
    {"series": f'orris_grpc_requests_total{{{SERIES},method="ModelInfer",code="OK"}}', "values": "0+114x10"},
    {"series": f'orris_grpc_requests_total{{{SERIES},method="ModelInfer",code="INTERNAL"}}', "values": "0+6x10"},
    {
        "series": f'orris_predictions_total{{{SERIES},instance="a",model="iris",version="1.0.0",label="setosa"}}',
        "values": "0+250x10",
    },
    {
        "series": f'orris_predictions_total{{{SERIES},instance="b",model="iris",version="1.0.0",label="setosa"}}',
        "values": "0+50x10",
    },
    {"series": f'http_request_duration_seconds_bucket{{{SERIES},{POST},le="0.1"}}', "values": "0+100x10"},
    {"series": f'http_request_duration_seconds_bucket{{{SERIES},{POST},le="0.2"}}', "values": "0+200x10"},
    {"series": f'http_request_duration_seconds_bucket{{{SERIES},{POST},le="+Inf"}}', "values": "0+200x10"},
    # Much drift, but in few rows; some, in many.
    {"series": f'orris_drift_prediction_psi{{{SERIES},instance="a",model="iris",version="1.0.0"}}', "values": "0.9x10"},
    {"series": f'orris_drift_rows{{{SERIES},instance="a",model="iris",version="1.0.0"}}', "values": "300x10"},
    {"series": f'orris_drift_prediction_psi{{{SERIES},instance="b",model="iris",version="1.0.0"}}', "values": "0.3x10"},
    {"series": f'orris_drift_rows{{{SERIES},instance="b",model="iris",version="1.0.0"}}', "values": "5000x10"},
]


def answers(tmp_path: Path, series: list[dict[str, str]], expected: dict[str, float | None]) -> None:
    """Evaluate queries over these series after ten minutes, to a thousandth; ``None``: no answer."""
    tests = [
        {
            "expr": f"round({expr}, 0.001)",
            "eval_time": "10m",
            "exp_samples": [] if value is None else [{"labels": "{}", "value": value}],
        }
        for expr, value in expected.items()
    ]
    case = {"interval": "1m", "input_series": series, "promql_expr_test": tests}
    promtool(tmp_path / "case.yaml", {"rule_files": [], "evaluation_interval": "1m", "tests": [case]}, "test", "rules")


def triggers() -> dict[str, str]:
    """KEDA's queries by name."""
    return {
        each["name"]: each["metadata"]["query"] for each in one(rendered("keda"), "ScaledObject")["spec"]["triggers"]
    }


def analysis(pods: str = "5f7") -> dict[str, str]:
    """The queries of the analysis by name, as Argo Rollouts fills them in."""
    metrics = one(rendered("canary"), "AnalysisTemplate", "orris")["spec"]["metrics"]
    return {each["name"]: each["provider"]["prometheus"]["query"].replace("{{args.pods}}", pods) for each in metrics}


def of_pods(series: list[dict[str, str]], pods: str) -> list[dict[str, str]]:
    """The same series, of the pods of one version."""
    return [
        {**each, "series": each["series"].replace("}", f',rollouts_pod_template_hash="{pods}"}}')} for each in series
    ]


@needs_promtool
def test_keda_gets_rows_latency_and_failures(tmp_path: Path) -> None:
    """KEDA's queries give rows per minute, the 99th percentile and failures of this release over both protocols."""
    asked = triggers()
    answers(tmp_path, BUSY, {asked["predictions"]: 300, asked["latency"]: 198, asked["failures"]: 18})


@needs_promtool
def test_a_release_that_is_not_scraped_has_no_value(tmp_path: Path) -> None:
    """Without scrapes KEDA has no value and falls back; without requests it has 0 and removes pods."""
    answers(tmp_path, [], dict.fromkeys(triggers().values(), None))
    answers(tmp_path, [IN_FLIGHT], dict.fromkeys(triggers().values(), 0))


@needs_promtool
def test_the_analysis_measures_the_new_versions_pods(tmp_path: Path) -> None:
    """The analysis measures failures, latency and drift of the new version's pods alone."""
    asked = analysis()
    answers(
        tmp_path,
        of_pods(BUSY, "5f7"),
        {asked["error-rate"]: 0.075, asked["latency"]: 0.198, asked["prediction-drift"]: 0.3},
    )
    answers(tmp_path, of_pods(BUSY, "old"), dict.fromkeys(asked.values(), None))
    answers(tmp_path, of_pods([IN_FLIGHT], "5f7"), dict.fromkeys(asked.values(), 0))


def test_no_answer_is_neither_success_nor_failure() -> None:
    """Without a value the analysis is inconclusive, and its bounds are the values'."""
    metrics: list[Any] = one(rendered("bluegreen"), "AnalysisTemplate", "orris")["spec"]["metrics"]
    for metric, bound in zip(metrics, (0.01, 0.1, 0.25), strict=True):
        assert metric["successCondition"] == f"len(result) > 0 && result[0] <= {bound}"
        assert metric["failureCondition"] == f"len(result) > 0 && result[0] > {bound}"
        assert (metric["count"], metric["inconclusiveLimit"]) == (5, 3)


def test_a_trigger_that_is_off_is_not_rendered() -> None:
    """By default the only trigger is that of rows, with 100 a minute for each pod."""
    values = {"autoscaling": {"type": "keda"}, "serviceMonitor": {"enabled": True}}
    [trigger] = one(objects(values), "ScaledObject")["spec"]["triggers"]
    assert (trigger["name"], trigger["metricType"], trigger["metadata"]["threshold"]) == (
        "predictions",
        "AverageValue",
        "100",
    )
