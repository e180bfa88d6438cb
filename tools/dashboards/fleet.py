"""*Orris Fleet*: all deployments side by side, for the one who runs the platform."""

from __future__ import annotations

from tools.dashboards.frame import Board, Row
from tools.dashboards.panels import (
    BYTES,
    COUNT,
    INDEX,
    RATE,
    SECONDS,
    SHARE,
    Column,
    Query,
    Steps,
    chart,
    columns,
    number,
)

ALL = 'job="$job",namespace=~"$namespace"'
BY = "job, namespace, service"
LABELS = ("job", "namespace", "service")
NAME = "{{job}} {{namespace}} {{service}}"
BURN: Steps = ((1, "yellow"), (6, "orange"), (14.4, "red"))
ERRORS: Steps = ((0.001, "yellow"), (0.0144, "red"))
SLOW: Steps = ((0.1, "red"),)
BUSY: Steps = ((0.7, "yellow"), (0.9, "red"))
DRIFT: Steps = ((0.1, "yellow"), (0.25, "red"))
AGE: Steps = ((60 * 86_400, "yellow"), (90 * 86_400, "red"))
PREDICT = f'{ALL},method="POST",route=~".*(predict|infer|invocations|invoke)/?"'
CALLS = f'{ALL},method="ModelInfer"'
LATENCY = (
    f"histogram_quantile(0.99, sum by (le, {BY})"
    f" (rate(http_request_duration_seconds_bucket{{{PREDICT}}}[$__rate_interval]) or"
    f" rate(orris_grpc_request_duration_seconds_bucket{{{CALLS}}}[$__rate_interval])))"
)
CPU = f"sum by ({BY}) (rate(process_cpu_seconds_total{{{ALL}}}[$__rate_interval]))"
BUSIEST = f"{CPU} / sum by ({BY}) (orris_workers{{{ALL}}} > 0)"
MEMORY = f"sum by ({BY}) (process_resident_memory_bytes{{{ALL}}})"
FAILED = f"sum by ({BY}) (orris:predict_errors:ratio_rate5m{{{ALL}}})"
TRAFFIC = f"sum by ({BY}) (orris:predict_requests:rate5m{{{ALL}}})"
REPLICAS = f"count by ({BY}) (up{{{ALL}}} == 1)"


def board() -> Board:
    """The dashboard."""
    about = "Every deployment of Orris that this Prometheus knows: traffic, objectives, versions, capacity."
    return Board(
        "orris-fleet", "Orris Fleet", about, [_now(), _deployments(), _over_time(), _versions()], ("namespace",)
    )


def _now() -> Row:
    firing = 'count(ALERTS{alertname=~"Orris.*",alertstate="firing"}) or vector(0)'
    down = f"count(up{{{ALL}}} == 0) or vector(0)"
    worst = f"max(orris:predict_errors:ratio_rate1h{{{ALL}}}) / 0.001"
    return Row(
        "Now",
        [
            number("Deployments", "By namespace and service.", f"count({REPLICAS})", unit=COUNT),
            number("Replicas up", "Targets that answer Prometheus.", f"count(up{{{ALL}}} == 1)", unit=COUNT),
            number("Replicas down", "Targets that do not.", down, unit=COUNT, limits=((1, "red"),)),
            number("Predictions", "Of all, a second.", f"sum({TRAFFIC})", unit=RATE),
            number("Fastest budget burn", "Of all, over one hour.", worst, unit=COUNT, limits=BURN, decimals=1),
            number("Alerts firing", "Of observability/alerts.", firing, unit=COUNT, limits=((1, "red"),)),
        ],
    )


def _deployments() -> Row:
    loaded = f"count by ({BY}) (count by ({BY}, model, version) (orris_model_info{{{ALL}}}))"
    age = f"time() - max by ({BY}) (orris_model_created_timestamp_seconds{{{ALL}}})"
    drift = f"max by ({BY}) (orris:drift_psi:weighted{{{ALL}}})"
    burn = f"sum by ({BY}) (orris:predict_errors:ratio_rate1h{{{ALL}}}) / 0.001"
    wanted = (
        Column("Replicas", REPLICAS, COUNT),
        Column("Predictions", TRAFFIC, RATE),
        Column("Failed", FAILED, SHARE, ERRORS),
        Column("Budget burn", burn, COUNT, BURN),
        Column("p99", LATENCY, SECONDS, SLOW),
        Column("Busy", BUSIEST, SHARE, BUSY),
        Column("Memory", MEMORY, BYTES),
        Column("Versions", loaded, COUNT),
        Column("Model age", age, SECONDS, AGE),
        Column("Worst drift", drift, INDEX, DRIFT),
    )
    return Row("Deployments", [columns("Deployments", "The latest of each.", *wanted, labels=LABELS)])


def _over_time() -> Row:
    return Row(
        "Over time",
        [
            chart("Predictions", "By deployment.", Query(TRAFFIC, NAME), unit=RATE, stacked=True),
            chart("Failed", "Share of the predictions.", Query(FAILED, NAME), unit=SHARE, limits=ERRORS),
            chart("99th percentile", "Of the predictions.", Query(LATENCY, NAME), unit=SECONDS, limits=SLOW),
            chart("Processors", "Processor time a second.", Query(CPU, NAME), unit=COUNT),
            chart("Memory", "Resident, of all replicas.", Query(MEMORY, NAME), unit=BYTES),
            chart("Replicas", "That answer Prometheus.", Query(REPLICAS, NAME), unit=COUNT),
        ],
    )


def _versions() -> Row:
    builds = f"count by (version, onnxruntime) (orris_build_info{{{ALL}}})"
    pythons = f"count by (version) (python_info{{{ALL}}})"
    models = f"count by ({BY}, model, version, digest) (orris_model_info{{{ALL}}})"
    return Row(
        "Versions",
        [
            columns(
                "Models",
                "Loaded versions, and on how many replicas.",
                Column("Replicas", models, COUNT),
                labels=(*LABELS, "model", "version", "digest"),
                width=12,
            ),
            columns(
                "Builds",
                "Orris and ONNX Runtime.",
                Column("Replicas", builds, COUNT),
                labels=("version", "onnxruntime"),
                width=8,
            ),
            columns("Python", "Of the servers.", Column("Replicas", pythons, COUNT), labels=("version",), width=4),
        ],
    )
