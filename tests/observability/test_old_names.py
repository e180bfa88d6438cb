"""The reference projects' metrics under their old names and labels, by a real Prometheus over a real server."""

from __future__ import annotations

import math
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from tools.observability import OLD_NAMES, Prometheus, started

from orris.api import Bundle
from tests.servers import Server, client, serving
from tests.waiting import PATIENCE_SECONDS, becomes, eventually

pytestmark = pytest.mark.skipif(
    shutil.which("prometheus") is None, reason="prometheus is not installed (apt-get install prometheus)"
)

ROW = {"sepal_length": 5.1, "sepal_width": 3.5, "petal_length": 1.4, "petal_width": 0.2}

PANELS = (
    "histogram_quantile(0.95, sum(rate(inference_duration_seconds_bucket[5m])) by (le, model_version))",
    "rate(inference_requests_total[5m])",
    "sum by (method, http_status) (rate(http_requests_total[5m]))",
    "rate(prediction_distribution_total[5m])",
    "sum by (endpoint) (rate(http_requests_total[5m]))",
    "histogram_quantile(0.95, sum(rate(http_request_duration_seconds_bucket[5m])) by (le, endpoint))",
    "process_resident_memory_bytes",
    "rate(python_gc_collections_total[5m])",
    "rate(python_gc_objects_collected_total[5m])",
    "rate(python_gc_objects_uncollectable_total[5m])",
    "rate(process_cpu_seconds_total[5m])",
    "process_virtual_memory_bytes",
    "process_open_fds",
    "time() - process_start_time_seconds",
    "process_max_fds",
)
"""What the 15 panels of project B's dashboard "Iris Model Serving" ask, as they are."""


class Requests:
    """A client that sends a good and a bad request in turn until it is stopped, and counts the answered rows."""

    def __init__(self, server: Server) -> None:
        """Start sending."""
        self.answered = 0
        self._server, self._over = server, threading.Event()
        self._thread = threading.Thread(target=self._send, daemon=True)
        self._thread.start()

    def _send(self) -> None:
        with client(self._server) as ask:
            while not self._over.is_set():
                self.answered += ask.post("/predict", json=ROW).is_success
                ask.post("/predict", json={**ROW, "sepal_length": "long"})
                self._over.wait(0.05)

    def stop(self) -> None:
        """Wait for the answer to the last request."""
        self._over.set()
        self._thread.join(PATIENCE_SECONDS)
        assert not self._thread.is_alive()


@pytest.fixture(scope="module")
def scraped(iris: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Prometheus, Requests]]:
    """A Prometheus with the old names that has scraped a server under requests several times."""
    folder = tmp_path_factory.mktemp("old-names")
    with (
        serving(str(iris.folder), "--workers", "2", folder=folder) as server,
        started({f"127.0.0.1:{server.port}": {}}, folder, interval="5s", old_names=True) as running,
    ):
        requests = Requests(server)
        try:
            eventually(lambda: running.query("rate(inference_requests_total[5m]) > 0"))
            eventually(lambda: running.query('rate(http_requests_total{http_status="422"}[5m]) > 0'))
            yield running, requests
        finally:
            requests.stop()


@pytest.fixture
def prometheus(scraped: tuple[Prometheus, Requests]) -> Prometheus:
    """The Prometheus without the client."""
    return scraped[0]


@pytest.mark.parametrize("expr", PANELS)
def test_every_panel_of_the_old_dashboard_has_data(prometheus: Prometheus, expr: str) -> None:
    """Each query as it stands gives a number."""
    eventually(lambda: [each for each in prometheus.query(expr) if math.isfinite(float(each["value"][1]))])


@pytest.mark.parametrize(
    ("expr", "labels"),
    [
        ("inference_duration_seconds_bucket", {"model_version": "1.0.0"}),
        ("inference_duration_seconds_sum", {"model_version": "1.0.0"}),
        ("inference_duration_seconds_count", {"model_version": "1.0.0"}),
        ("inference_requests_total", {"model_version": "1.0.0", "status": "success"}),
        ('prediction_distribution_total{prediction_label="setosa"}', {"prediction_label": "setosa"}),
        ('iris_predictions_total{prediction_label="setosa"}', {"model_version": "1.0.0", "prediction_label": "setosa"}),
        (
            'http_requests_total{endpoint="/predict",http_status="422"}',
            {"method": "POST", "endpoint": "/predict", "http_status": "422"},
        ),
        ('http_request_duration_seconds_count{endpoint="/predict"}', {"endpoint": "/predict"}),
    ],
)
def test_every_old_name_has_its_old_labels(prometheus: Prometheus, expr: str, labels: dict[str, str]) -> None:
    """The series carry the labels of before, with the values of ours."""
    found = eventually(lambda: prometheus.query(expr))
    assert all(labels.items() <= series["metric"].items() for series in found)


def test_no_request_is_counted_twice(scraped: tuple[Prometheus, Requests]) -> None:
    """Every request has exactly one series, and a row that was answered counts once under each name."""
    prometheus, requests = scraped
    requests.stop()
    assert requests.answered > 0

    def total(expr: str) -> float:
        return sum(float(series["value"][1]) for series in prometheus.query(expr))

    eventually(lambda: total("last_over_time(inference_requests_total[5m])") >= requests.answered)
    assert total("last_over_time(inference_requests_total[5m])") == requests.answered
    assert total("last_over_time(orris_predictions_total[5m])") == requests.answered
    assert prometheus.query('http_requests_total{http_status=""}') == []


def test_the_rules_are_healthy(prometheus: Prometheus) -> None:
    """Prometheus evaluates each without an error, the one of failures as well, which has no series here."""

    def health() -> list[str]:
        groups = {group["name"]: group["rules"] for group in prometheus.get("rules")["groups"]}
        return [rule["health"] for rule in groups["old-names"]]

    becomes(health, ["ok"] * 7)


def test_promtool_accepts_the_rules() -> None:
    """The file as it is shipped."""
    checked = subprocess.run(
        ["promtool", "check", "rules", str(OLD_NAMES / "rules.yaml")], capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_failed_predictions_are_errors(tmp_path: Path) -> None:
    """A prediction that is answered 5xx counts as an inference with the status ``error``."""
    (tmp_path / "rules.yaml").write_text((OLD_NAMES / "rules.yaml").read_text("utf-8"), "utf-8")
    series = 'http_requests_total{instance="a",method="POST",route="/predict",status="503"}'
    case = {
        "rule_files": ["rules.yaml"],
        "evaluation_interval": "1m",
        "tests": [
            {
                "interval": "1m",
                "input_series": [{"series": series, "values": "3 4"}],
                "promql_expr_test": [
                    {
                        "expr": "inference_requests_total",
                        "eval_time": "1m",
                        "exp_samples": [
                            {"labels": 'inference_requests_total{instance="a",status="error"}', "value": 4}
                        ],
                    }
                ],
            }
        ],
    }
    (tmp_path / "case.yaml").write_text(yaml.safe_dump(case), "utf-8")
    checked = subprocess.run(
        ["promtool", "test", "rules", str(tmp_path / "case.yaml")], capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
