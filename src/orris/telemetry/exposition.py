"""The families of a server's metrics, and how its counts become them.

``prometheus_client`` meets the numbers here, when they are scraped.

A family is added by a line in a table below and its values in ``Metrics.snapshot``; ``docs/metrics.md`` has a row for
each, and a test holds it complete.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

from prometheus_client import ProcessCollector
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.samples import Exemplar

from orris.telemetry.snapshot import CPU_SECONDS, Snapshot
from orris.version import __version__

SECONDS = (5e-05, 1e-04, 2.5e-04, 5e-04, 1e-03, 2.5e-03, 5e-03, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper bounds of the duration buckets, in seconds: they resolve sub-millisecond serving."""

ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 1_024, 4_096, 16_384, 65_536)
"""Upper bounds of the rows-per-call buckets."""


class Family(NamedTuple):
    """A metric: its name without suffix, its help, its labels, and for a histogram the upper bounds of its buckets."""

    name: str
    documentation: str
    labels: tuple[str, ...] = ()
    bounds: tuple[float, ...] = ()


MODEL = ("model", "version")

COUNTERS = (
    Family("http_requests", "Requests answered.", ("method", "route", "status")),
    Family("orris_grpc_requests", "Calls over gRPC answered.", ("method", "code")),
    Family("orris_rejected", "Requests refused before the model was asked, by reason.", ("reason",)),
    Family("orris_predictions", "Rows answered, by predicted class.", (*MODEL, "label")),
    Family("orris_input_warnings", "Unusual input values answered.", (*MODEL, "column", "kind")),
    Family("orris_swaps", "Changes of the version that answers, by outcome.", ("model", "outcome")),
    Family("orris_shadow_rows", "Rows that a shadow version was asked, by outcome.", (*MODEL, "outcome")),
    Family(
        "orris_log_lines_dropped",
        "Lines of the log that nobody took: of requests, or messages of the server.",
        ("kind",),
    ),
    Family("python_gc_collections", "Number of times this generation was collected.", ("generation",)),
    Family("python_gc_objects_collected", "Objects collected during gc.", ("generation",)),
    Family("python_gc_objects_uncollectable", "Uncollectable objects found during GC.", ("generation",)),
)
GAUGES = (Family("orris_requests_in_flight", "Requests being answered now."),)
HISTOGRAMS = (
    Family(
        "http_request_duration_seconds",
        "Seconds from the first byte read to the last byte handed over.",
        ("method", "route"),
        SECONDS,
    ),
    Family("orris_grpc_request_duration_seconds", "Seconds from a call's arrival to its answer.", ("method",), SECONDS),
    Family("orris_inference_duration_seconds", "Seconds in the model alone, per call.", MODEL, SECONDS),
    Family("orris_batch_rows", "Rows per call of the model.", MODEL, ROWS),
)
MAXIMA = (Family("orris_shadow_largest_difference", "Largest difference of a shadow's probability or value.", MODEL),)
CREATED = "orris_model_created_timestamp_seconds"
"""Travels with the facts, as it holds as long as a version is loaded; it is exposed as a gauge."""

INFOS = (Family("orris_model", "The versions that are loaded.", MODEL),)


def build() -> Iterator[Metric]:
    """Build information."""
    facts = {"version": __version__, "onnxruntime": getattr(sys.modules.get("onnxruntime"), "__version__", "")}
    yield InfoMetricFamily("orris_build", "What is running: the versions of Orris and of what computes.", value=facts)


def workers(n_expected: int, n_ready: int, n_restarts: int) -> Iterator[Metric]:
    """The processes that answer."""
    yield GaugeMetricFamily("orris_workers", "Worker processes that should run.", value=n_expected)
    yield GaugeMetricFamily("orris_workers_ready", "Worker processes that answer.", value=n_ready)
    yield CounterMetricFamily(
        "orris_worker_restarts", "Worker processes that died or hung and were replaced.", n_restarts
    )


def families(snapshot: Snapshot) -> Iterator[Metric]:
    """The families of the counts; exemplars appear in OpenMetrics only."""
    for family in COUNTERS:
        counter = CounterMetricFamily(family.name, family.documentation, labels=family.labels)
        for labels, value in snapshot.counters.get(family.name, []):
            counter.add_metric(labels, value)
        yield counter
    for family in (*GAUGES, *MAXIMA):
        gauge = GaugeMetricFamily(family.name, family.documentation, labels=family.labels)
        for labels, value in (snapshot.gauges | snapshot.maxima).get(family.name, []):
            gauge.add_metric(labels, value)
        yield gauge
    for family in HISTOGRAMS:
        histogram = HistogramMetricFamily(family.name, family.documentation, labels=family.labels)
        bounds = [*map(repr, map(float, family.bounds)), "+Inf"]
        marks = {(mark.labels, mark.bucket): mark for mark in snapshot.exemplars if mark.family == family.name}
        for labels, counts, total in snapshot.histograms.get(family.name, []):
            buckets: list[tuple[str, float] | tuple[str, float, Exemplar]] = []
            for number, (bound, count) in enumerate(zip(bounds, accumulate(counts), strict=True)):
                mark = marks.get((labels, number))
                marked = () if mark is None else (Exemplar({"trace_id": mark.trace_id}, mark.value, mark.time),)
                buckets.append((bound, float(count), *marked))
            histogram.add_metric(labels, buckets, total)
        yield histogram
    for family in INFOS:
        info = InfoMetricFamily(family.name, family.documentation, labels=family.labels)
        for labels, facts in snapshot.infos.get(family.name, []):
            info.add_metric(labels, facts)
        yield info
    created = GaugeMetricFamily(CREATED, "When the version was made, in Unix time.", labels=MODEL)
    for labels, facts in snapshot.infos.get(CREATED, []):
        created.add_metric(labels, float(facts["seconds"]))
    yield created


def processes(pids: list[int], cpu_seconds_before: float) -> Iterator[Metric]:
    """The ``process_*`` families of a server of several processes: sums, but of limits and start times the lowest.

    Processes that are gone count in the processor time alone. The one that answers asks the system about the others, so
    nobody pays for this between scrapes, and the numbers do not depend on which worker is scraped.
    """
    found: dict[str, Metric] = {}
    for pid in pids:
        for metric in ProcessCollector(registry=None, pid=_constant(pid)).collect():
            value = metric.samples[0].value
            if metric.name not in found:
                found[metric.name] = metric
                value += cpu_seconds_before if metric.name == CPU_SECONDS else 0.0
            elif metric.name in {"process_max_fds", "process_start_time_seconds"}:
                value = min(value, found[metric.name].samples[0].value)
            else:
                value += found[metric.name].samples[0].value
            family = found[metric.name]
            family.samples = [family.samples[0]._replace(value=value)]
    yield from found.values()


def threads(pids: Sequence[int]) -> Iterator[Metric]:
    """Threads of the server's processes; a number that keeps rising is a leak. Linux only."""
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            total += int(Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[17])
    yield GaugeMetricFamily("orris_threads", "Threads of the server's processes.", value=total)


def _constant(pid: int) -> Callable[[], int]:
    return lambda: pid
