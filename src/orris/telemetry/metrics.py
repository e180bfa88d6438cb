"""What a process counts, and its Prometheus exposition.

The request path runs on one thread, so a count is an addition to a plain integer; ``prometheus_client`` meets the numbers only when
they are scraped. Label values are route templates, schema labels and fixed words: no request can create a series.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Sequence

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector

SECONDS = (5e-05, 1e-04, 2.5e-04, 5e-04, 1e-03, 2.5e-03, 5e-03, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper bounds of the duration buckets, in seconds: they resolve sub-millisecond serving."""

ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 1_024, 4_096, 16_384, 65_536)
"""Upper bounds of the rows-per-call buckets."""


class Histogram:
    """Counts per bucket and a sum; ``observe`` is two additions and a bisection."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        """Count one value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def cumulative(self) -> list[tuple[str, float]]:
        """Prometheus' buckets: ``(upper bound, count of values up to it)``."""
        running, buckets = 0, []
        for bound, count in zip((*self.bounds, float("inf")), self.counts, strict=True):
            running += count
            buckets.append(("+Inf" if bound == float("inf") else repr(float(bound)), float(running)))
        return buckets


class ModelCounts:
    """What is counted of one loaded version."""

    __slots__ = ("labels", "name", "predictions", "rows", "seconds", "version", "warnings")

    def __init__(self, name: str, version: str, labels: tuple[str, ...]) -> None:
        self.name = name
        self.version = version
        self.labels = labels
        self.predictions = [0] * max(1, len(labels))
        self.seconds = Histogram(SECONDS)
        self.rows = Histogram(ROWS)
        self.warnings: Counter[tuple[str, str]] = Counter()

    def answered(self, labels: Sequence[int] | None, n_rows: int) -> str:
        """Count predictions by class; returns the label of a single row, for the log."""
        if labels is None:
            self.predictions[0] += n_rows
            return ""
        for label in labels:
            self.predictions[label] += 1
        return self.labels[labels[0]] if n_rows == 1 else ""


class Metrics(Collector):
    """Everything that one process counts."""

    def __init__(self) -> None:
        self.requests: Counter[tuple[str, str, int]] = Counter()
        self.durations: dict[tuple[str, str], Histogram] = {}
        self.rejected: Counter[str] = Counter()
        self.in_flight = 0
        self.models: dict[tuple[str, str], ModelCounts] = {}
        self.info: dict[tuple[str, str], dict[str, str]] = {}
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)
        ProcessCollector(registry=self._registry)
        PlatformCollector(registry=self._registry)
        GCCollector(registry=self._registry)

    def model(self, name: str, version: str, labels: tuple[str, ...], info: dict[str, str]) -> ModelCounts:
        """The counts of a version; ``info`` becomes the labels of ``orris_model_info``."""
        self.info[name, version] = info
        return self.models.setdefault((name, version), ModelCounts(name, version, labels))

    def finished(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count a request at its end."""
        self.requests[method, route, status] += 1
        durations = self.durations.get((method, route))
        if durations is None:
            durations = self.durations[method, route] = Histogram(SECONDS)
        durations.observe(seconds)

    def render(self, accept: str) -> tuple[bytes, str]:
        """The exposition in the format that ``accept`` asks for (text or OpenMetrics), and its content type."""
        encoder, content_type = choose_encoder(accept)
        return encoder(self._registry), content_type

    def collect(self) -> Iterator[Metric]:
        """The families, for ``prometheus_client``."""
        yield from self._requests()
        yield from self._models()

    def _requests(self) -> Iterator[Metric]:
        requests = CounterMetricFamily("http_requests", "Requests answered.", labels=["method", "route", "status"])
        for (method, route, status), count in self.requests.items():
            requests.add_metric([method, route, str(status)], count)
        yield requests
        durations = HistogramMetricFamily(
            "http_request_duration_seconds", "Seconds from the first byte read to the last byte handed over.", labels=["method", "route"]
        )
        for (method, route), histogram in self.durations.items():
            durations.add_metric([method, route], histogram.cumulative(), histogram.total)
        yield durations
        yield GaugeMetricFamily("orris_requests_in_flight", "Requests being answered now.", value=self.in_flight)
        rejected = CounterMetricFamily("orris_rejected", "Requests refused before the model was asked, by reason.", labels=["reason"])
        for reason, count in self.rejected.items():
            rejected.add_metric([reason], count)
        yield rejected

    def _models(self) -> Iterator[Metric]:
        names = ["model", "version"]
        predictions = CounterMetricFamily("orris_predictions", "Rows answered, by predicted class.", labels=[*names, "label"])
        seconds = HistogramMetricFamily("orris_inference_duration_seconds", "Seconds in the model alone, per call.", labels=names)
        rows = HistogramMetricFamily("orris_batch_rows", "Rows per call of the model.", labels=names)
        warnings = CounterMetricFamily("orris_input_warnings", "Unusual input values answered.", labels=[*names, "column", "kind"])
        info = InfoMetricFamily("orris_model", "The versions that are loaded.", labels=names)
        for (name, version), counts in self.models.items():
            for label, count in zip(counts.labels or ("",), counts.predictions, strict=True):
                predictions.add_metric([name, version, label], count)
            seconds.add_metric([name, version], counts.seconds.cumulative(), counts.seconds.total)
            rows.add_metric([name, version], counts.rows.cumulative(), counts.rows.total)
            for (column, kind), count in counts.warnings.items():
                warnings.add_metric([name, version, column, kind], count)
            info.add_metric([name, version], self.info[name, version])
        yield from (predictions, seconds, rows, warnings, info)
