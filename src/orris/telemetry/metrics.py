"""What a process counts, and its Prometheus exposition.

The request path runs on one thread, so a count is an addition to a plain integer; ``prometheus_client`` meets the numbers only when
they are scraped. Label values are route templates, schema labels and fixed words: no request can create a series.

With several workers each puts a snapshot of its counts on the board, and whichever is scraped answers with the sum: of its own, the other
workers', and those of workers that are gone. A family is added by a line in a table below and its values in ``Metrics.snapshot``.
"""

from __future__ import annotations

import asyncio
import gc
import logging
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate
from typing import NamedTuple, Protocol

from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector

from orris.telemetry.snapshot import CPU_SECONDS, Labels, Snapshot, decode, encode, merge

SECONDS = (5e-05, 1e-04, 2.5e-04, 5e-04, 1e-03, 2.5e-03, 5e-03, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper bounds of the duration buckets, in seconds: they resolve sub-millisecond serving."""

ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 1_024, 4_096, 16_384, 65_536)
"""Upper bounds of the rows-per-call buckets."""

KEPT_VERSIONS = 16
"""Versions of a model whose counts are kept after they are no longer loaded: versions come and go for years."""

PUBLISH_SECONDS = 0.05
"""Longest time from a request's end until the other workers know of it."""

logger = logging.getLogger(__name__)


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
    Family("python_gc_collections", "Number of times this generation was collected.", ("generation",)),
    Family("python_gc_objects_collected", "Objects collected during gc.", ("generation",)),
    Family("python_gc_objects_uncollectable", "Uncollectable objects found during GC.", ("generation",)),
)
GAUGES = (Family("orris_requests_in_flight", "Requests being answered now."),)
HISTOGRAMS = (
    Family("http_request_duration_seconds", "Seconds from the first byte read to the last byte handed over.", ("method", "route"), SECONDS),
    Family("orris_grpc_request_duration_seconds", "Seconds from a call's arrival to its answer.", ("method",), SECONDS),
    Family("orris_inference_duration_seconds", "Seconds in the model alone, per call.", MODEL, SECONDS),
    Family("orris_batch_rows", "Rows per call of the model.", MODEL, ROWS),
)
MAXIMA = (Family("orris_shadow_largest_difference", "Largest difference of a shadow's probability or value.", MODEL),)
INFOS = (Family("orris_model", "The versions that are loaded.", MODEL),)


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

    def called(self, seconds: float, answers: Sequence[int] | int) -> None:
        """Count a call of the model: its time, its rows, and, of a classifier, the predicted classes; of a regressor their number."""
        self.seconds.observe(seconds)
        if isinstance(answers, int):
            self.rows.observe(answers)
            self.predictions[0] += answers
            return
        self.rows.observe(len(answers))
        predictions = self.predictions
        for label in answers:
            predictions[label] += 1


class RouteCounts:
    """What is counted of one route: requests by status, and how long they took. A door keeps its own, and looks nothing up."""

    __slots__ = ("durations", "statuses")

    def __init__(self) -> None:
        self.statuses: Counter[int] = Counter()
        self.durations = Histogram(SECONDS)


class ShadowCounts:
    """What a shadow found: rows by outcome, and the largest difference of a probability or a value."""

    __slots__ = ("agreed", "differed", "dropped", "failed", "largest_difference")

    def __init__(self) -> None:
        self.agreed = self.differed = self.failed = self.dropped = 0
        self.largest_difference = 0.0

    def add(self, other: ShadowCounts) -> None:
        """Add another's counts."""
        self.agreed += other.agreed
        self.differed += other.differed
        self.failed += other.failed
        self.dropped += other.dropped
        self.largest_difference = max(self.largest_difference, other.largest_difference)


class Peers(Protocol):
    """The other workers of the server, as ``serving.board.Board`` knows them."""

    @property
    def n_workers(self) -> int:
        """Expected workers."""

    @property
    def n_ready(self) -> int:
        """Workers that answer."""

    @property
    def restarts(self) -> int:
        """Workers that were replaced so far."""

    def publish(self, snapshot: bytes) -> bool:
        """Put up this worker's snapshot; ``False`` if it is too long."""

    def gathered(self) -> tuple[list[bytes], bytes]:
        """The other workers' snapshots, and the sum of those that are gone."""

    def pids(self) -> list[int]:
        """The server's processes, the oldest first."""


class Metrics(Collector):
    """Everything that one process counts."""

    def __init__(self) -> None:
        self.routes: dict[tuple[str, str], RouteCounts] = {}
        self.calls: Counter[tuple[str, str]] = Counter()
        self.call_durations: dict[str, Histogram] = {}
        self.rejected: Counter[str] = Counter()
        self.swaps: Counter[tuple[str, str]] = Counter()
        self.shadows: dict[tuple[str, str], ShadowCounts] = {}
        self.in_flight = 0
        self.models: dict[tuple[str, str], ModelCounts] = {}
        self.info: dict[tuple[str, str], dict[str, str]] = {}
        self._peers: Peers | None = None
        self._published = b""
        self._too_long = False
        self._changed: Callable[[], None] | None = None
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)
        PlatformCollector(registry=self._registry)

    def model(self, name: str, version: str, labels: tuple[str, ...], info: dict[str, str]) -> ModelCounts:
        """The counts of a version; ``info`` becomes the labels of ``orris_model_info``."""
        self.info[name, version] = info
        return self.models.setdefault((name, version), ModelCounts(name, version, labels))

    def forget(self, name: str, version: str) -> None:
        """Say no longer that a version is loaded; its counts stay until ``KEPT_VERSIONS`` others have gone after it.

        Workers swap at different moments: counts that vanished at once would make their sum fall, which reads as a restart.
        """
        key = name, version
        if self.info.pop(key, None) is None:
            return
        self.models[key] = self.models.pop(key)  # to the end: what went last is kept longest, whenever it came
        gone = [key for key in self.models if key[0] == name and key not in self.info]
        for key in gone[:-KEPT_VERSIONS]:
            del self.models[key]

    def shadow(self, name: str, version: str) -> ShadowCounts:
        """The counts of a shadow version."""
        return self.shadows.setdefault((name, version), ShadowCounts())

    def finished(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count a request at its end."""
        self.answered(self.route(method, route), status, seconds)

    def route(self, method: str, route: str) -> RouteCounts:
        """The counts of a route."""
        counts = self.routes.get((method, route))
        if counts is None:
            counts = self.routes[method, route] = RouteCounts()
        return counts

    def answered(self, counts: RouteCounts, status: int, seconds: float) -> None:
        """Count a request of a route at its end."""
        counts.statuses[status] += 1
        counts.durations.observe(seconds)
        if self._changed is not None:
            self._changed()

    def called(self, method: str, code: str, seconds: float) -> None:
        """Count a call over gRPC at its end; ``code`` is the status' name."""
        self.calls[method, code] += 1
        durations = self.call_durations.get(method)
        if durations is None:
            durations = self.call_durations[method] = Histogram(SECONDS)
        durations.observe(seconds)
        if self._changed is not None:
            self._changed()

    # several workers

    def share(self, peers: Peers) -> None:
        """From now on, tell the other workers what is counted here, and answer for all of them."""
        self._peers = peers
        self._changed = self._arm

    def publish(self) -> None:
        """Tell the other workers now, if there are any; the server does so at each heartbeat, as not every count ends a request."""
        if self._peers is None:
            return
        self._changed = self._arm
        content = encode(self.snapshot())
        if content == self._published:
            return
        self._published = content
        fits = self._peers.publish(content)
        if not fits and not self._too_long:
            logger.error("what this worker counts is too much for the board (%d bytes): the sums keep its last shorter state", len(content))
        self._too_long = not fits

    def _arm(self) -> None:
        """The first change since the last publication: publish soon."""
        self._changed = None
        asyncio.get_running_loop().call_later(PUBLISH_SECONDS, self.publish)

    def snapshot(self) -> Snapshot:
        """What this process has counted."""
        models = self.models.items()
        routes = [(key, counts) for key, counts in self.routes.items() if counts.statuses]
        collections = [(str(generation), counts) for generation, counts in enumerate(gc.get_stats())]
        counters: dict[str, list[tuple[Labels, float]]] = {
            "http_requests": [((*key, str(status)), n) for key, counts in routes for status, n in counts.statuses.items()],
            "orris_grpc_requests": list(self.calls.items()),
            "orris_rejected": [((reason,), n) for reason, n in self.rejected.items()],
            "orris_predictions": [
                ((*key, label), n) for key, counts in models for label, n in zip(counts.labels or ("",), counts.predictions, strict=True)
            ],
            "orris_input_warnings": [((*key, *warning), n) for key, counts in models for warning, n in counts.warnings.items()],
            "orris_swaps": list(self.swaps.items()),
            "orris_shadow_rows": [
                ((*key, outcome), getattr(counts, outcome))
                for key, counts in self.shadows.items()
                for outcome in ("agreed", "differed", "failed", "dropped")
            ],
            "python_gc_collections": [((generation,), counts["collections"]) for generation, counts in collections],
            "python_gc_objects_collected": [((generation,), counts["collected"]) for generation, counts in collections],
            "python_gc_objects_uncollectable": [((generation,), counts["uncollectable"]) for generation, counts in collections],
        }
        histograms: dict[str, list[tuple[Labels, list[int], float]]] = {
            "http_request_duration_seconds": [(key, counts.durations.counts, counts.durations.total) for key, counts in routes],
            "orris_grpc_request_duration_seconds": [((method,), h.counts, h.total) for method, h in self.call_durations.items()],
            "orris_inference_duration_seconds": [(key, counts.seconds.counts, counts.seconds.total) for key, counts in models],
            "orris_batch_rows": [(key, counts.rows.counts, counts.rows.total) for key, counts in models],
        }
        return Snapshot(
            counters,
            {"orris_requests_in_flight": [((), self.in_flight)]},
            histograms,
            {"orris_model": list(self.info.items())},
            {"orris_shadow_largest_difference": [(key, counts.largest_difference) for key, counts in self.shadows.items()]},
        )

    # exposition

    def render(self, accept: str) -> tuple[bytes, str]:
        """The exposition in the format that ``accept`` asks for (text or OpenMetrics), and its content type."""
        encoder, content_type = choose_encoder(accept)
        return encoder(self._registry), content_type

    def collect(self) -> Iterator[Metric]:
        """The families of the whole server, for ``prometheus_client``."""
        if self._peers is None:
            yield from _families(self.snapshot())
            yield from ProcessCollector(registry=None).collect()
            yield from _workers(1, 1, 0)
            return
        # What is told to a scrape must be on the board first: if this process dies now, the next answer may not be less.
        self.publish()
        others, retired = self._peers.gathered()
        gone = decode(retired)
        yield from _families(merge([self.snapshot(), gone, *map(decode, others)]))
        yield from _processes(self._peers.pids(), sum(value for _, value in gone.counters.get(CPU_SECONDS, [])))
        yield from _workers(self._peers.n_workers, self._peers.n_ready, self._peers.restarts)


def _workers(n_expected: int, n_ready: int, n_restarts: int) -> Iterator[Metric]:
    yield GaugeMetricFamily("orris_workers", "Worker processes that should run.", value=n_expected)
    yield GaugeMetricFamily("orris_workers_ready", "Worker processes that answer.", value=n_ready)
    yield CounterMetricFamily("orris_worker_restarts", "Worker processes that died or hung and were replaced.", n_restarts)


def _families(snapshot: Snapshot) -> Iterator[Metric]:
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
        for labels, counts, total in snapshot.histograms.get(family.name, []):
            histogram.add_metric(labels, list(zip(bounds, map(float, accumulate(counts)), strict=True)), total)
        yield histogram
    for family in INFOS:
        info = InfoMetricFamily(family.name, family.documentation, labels=family.labels)
        for labels, facts in snapshot.infos.get(family.name, []):
            info.add_metric(labels, facts)
        yield info


def _processes(pids: list[int], cpu_seconds_before: float) -> Iterator[Metric]:
    """The ``process_*`` families of a server of several processes: sums, but of limits and start times the lowest.

    Processes that are gone count in the processor time alone. The one that answers asks the system about the others, so nobody pays for
    this between scrapes, and the numbers do not depend on which worker is scraped.
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


def _constant(pid: int) -> Callable[[], int]:
    return lambda: pid
