"""The counts of a process; ``exposition`` turns them into Prometheus' families.

The request path runs on one thread, so a count is an addition to a plain integer; ``prometheus_client`` meets the
numbers only when they are scraped. Label values are route templates, schema labels and fixed words: no request can
create a series.

With several workers each puts a snapshot of its counts on the board, and whichever is scraped answers with the sum: of
its own, the other workers', and those of workers that are gone.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Protocol

import numpy as np
from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from orris.telemetry.drift import Drift
from orris.telemetry.exposition import CREATED, ROWS, SECONDS, build, families, processes, threads, workers
from orris.telemetry.snapshot import CPU_SECONDS, Exemplar, Labels, Pane, Snapshot, decode, encode, merge

if TYPE_CHECKING:
    from orris.schema.arrays import IntArray

KEPT_VERSIONS = 16
"""Versions of a model whose counts are kept after they are no longer loaded: versions come and go for years."""

PUBLISH_SECONDS = 0.05
"""Longest time from a request's end until the other workers know of it."""

logger = logging.getLogger(__name__)


class Histogram:
    """Counts per bucket and a sum; ``observe`` is two additions and a bisection."""

    __slots__ = ("bounds", "counts", "marks", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0
        self.marks: dict[int, tuple[str, float, float]] = {}

    def observe(self, value: float) -> None:
        """Count one value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def observe_many(self, value: float, n: int) -> None:
        """Count a value several times."""
        self.counts[bisect_left(self.bounds, value)] += n
        self.total += value * n

    def mark(self, value: float, trace_id: str) -> None:
        """Remember the trace of a value that was counted: of each bucket the latest."""
        self.marks[bisect_left(self.bounds, value)] = trace_id, value, time.time()


class ModelCounts:
    """The counts of one loaded version."""

    __slots__ = ("labels", "name", "predictions", "rows", "seconds", "version", "warnings")

    def __init__(self, name: str, version: str, labels: tuple[str, ...]) -> None:
        self.name = name
        self.version = version
        self.labels = labels
        self.predictions = [0] * max(1, len(labels))
        self.seconds = Histogram(SECONDS)
        self.rows = Histogram(ROWS)
        self.warnings: Counter[tuple[str, str]] = Counter()

    def called(self, seconds: float, n_rows: int, labels: IntArray | None) -> None:
        """Count a call of the model: its time, its rows, and, of a classifier, the predicted classes.

        Args:
            seconds: How long it took.
            n_rows: Rows of all requests that shared it.
            labels: Of a classifier: the classes' positions, ``(n_rows,)``.
        """
        self.seconds.observe(seconds)
        self.rows.observe(n_rows)
        if labels is None:
            self.predictions[0] += n_rows
        elif n_rows == 1:
            self.predictions[labels.item(0)] += 1
        else:
            for label, count in enumerate(np.bincount(labels).tolist()):
                if count:
                    self.predictions[label] += count


class RouteCounts:
    """The counts of one route: requests by status, and their durations.

    A predict route keeps its own, and needs no lookup.
    """

    __slots__ = ("durations", "statuses")

    def __init__(self) -> None:
        self.statuses: Counter[int] = Counter()
        self.durations = Histogram(SECONDS)


class ShadowCounts:
    """The counts of a shadow: rows by outcome, and the largest difference of a probability or a value."""

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


Counters = dict[str, list[tuple[Labels, float]]]


class Metrics(Collector):
    """Everything that one process counts. ``drift`` holds what it counts for drift; by default nothing."""

    def __init__(self, drift: Drift | None = None) -> None:
        self.drift = drift or Drift()
        self.routes: dict[tuple[str, str], RouteCounts] = {}
        self.calls: Counter[tuple[str, str]] = Counter()
        self.call_durations: dict[str, Histogram] = {}
        self.rejected: Counter[str] = Counter()
        self.swaps: Counter[tuple[str, str]] = Counter()
        self.dropped: Counter[str] = Counter(requests=0, messages=0)
        self.shadows: dict[tuple[str, str], ShadowCounts] = {}
        self.in_flight = 0
        self.models: dict[tuple[str, str], ModelCounts] = {}
        self.info: dict[tuple[str, str], dict[str, str]] = {}
        self.created: dict[tuple[str, str], float] = {}
        self._peers: Peers | None = None
        self._published = b""
        self._too_long = False
        self._changed: Callable[[], None] | None = None
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)
        PlatformCollector(registry=self._registry)

    def model(
        self, name: str, version: str, labels: tuple[str, ...], info: dict[str, str], created: float | None = None
    ) -> ModelCounts:
        """The counts of a version.

        ``info`` becomes the labels of ``orris_model_info``, ``created`` (Unix time) a gauge of its own.
        """
        self.info[name, version] = info
        if created is not None:
            self.created[name, version] = created
        return self.models.setdefault((name, version), ModelCounts(name, version, labels))

    def forget(self, name: str, version: str) -> None:
        """Say no longer that a version is loaded; its counts stay until ``KEPT_VERSIONS`` others have gone after it.

        Workers swap at different moments: counts that vanished at once would make their sum fall, which reads as a
        restart.
        """
        key = name, version
        if self.info.pop(key, None) is None:
            return
        self.created.pop(key, None)
        self.drift.forget(*key)
        self.models[key] = self.models.pop(key)  # to the end: what went last is kept longest, whenever it came
        gone = [key for key in self.models if key[0] == name and key not in self.info]
        for key in gone[:-KEPT_VERSIONS]:
            del self.models[key]

    def shadow(self, name: str, version: str) -> ShadowCounts:
        """The counts of a shadow version."""
        return self.shadows.setdefault((name, version), ShadowCounts())

    def finished(self, method: str, route: str, status: int, seconds: float, trace_id: str = "") -> None:
        """Count a request at its end; ``trace_id`` as in ``answered``."""
        self.answered(self.route(method, route), status, seconds, trace_id)

    def route(self, method: str, route: str) -> RouteCounts:
        """The counts of a route."""
        counts = self.routes.get((method, route))
        if counts is None:
            counts = self.routes[method, route] = RouteCounts()
        return counts

    def answered(self, counts: RouteCounts, status: int, seconds: float, trace_id: str = "") -> None:
        """Count a request of a route at its end; ``trace_id`` is its exemplar, given only if its trace is sampled."""
        counts.statuses[status] += 1
        counts.durations.observe(seconds)
        if trace_id:
            counts.durations.mark(seconds, trace_id)
        if self._changed is not None:
            self._changed()

    def answered_many(self, counts: RouteCounts, status: int, seconds: float, n: int) -> None:
        """``answered`` for several requests with one status and one duration, without exemplars."""
        counts.statuses[status] += n
        counts.durations.observe_many(seconds, n)
        if self._changed is not None:
            self._changed()

    def called(self, method: str, code: str, seconds: float, n: int = 1) -> None:
        """Count calls over gRPC that end together, ``n`` of them; ``code`` is the status' name."""
        self.calls[method, code] += n
        durations = self.call_durations.get(method)
        if durations is None:
            durations = self.call_durations[method] = Histogram(SECONDS)
        durations.observe_many(seconds, n)
        if self._changed is not None:
            self._changed()

    # several workers

    def share(self, peers: Peers) -> None:
        """Publish this process' counts to the other workers from now on, and answer scrapes for all of them."""
        self._peers = peers
        self._changed = self._arm

    def publish(self) -> None:
        """Publish the counts now, if there are other workers.

        The server does so at each heartbeat, as not every count ends a request.
        """
        if self._peers is None:
            return
        self._changed = self._arm
        snapshot = self.snapshot()
        content = encode(snapshot)
        if content == self._published:
            return
        self._published = content
        fits = self._peers.publish(content)
        if fits:
            self._too_long = False
            return
        # Drift is the longest part, and the one that is missed least.
        snapshot.panes = []
        kept = self._peers.publish(encode(snapshot))
        if not self._too_long:
            lost = "drift leaves this worker out" if kept else "the sums keep its last shorter state"
            logger.error("what this worker counts is too much for the board (%d bytes): %s", len(content), lost)
        self._too_long = True

    def _arm(self) -> None:
        """The first change since the last publication: publish soon."""
        self._changed = None
        asyncio.get_running_loop().call_later(PUBLISH_SECONDS, self.publish)

    def snapshot(self) -> Snapshot:
        """The counts of this process."""
        return Snapshot(
            {**self._request_counters(), **self._model_counters(), **_collections()},
            {"orris_requests_in_flight": [((), self.in_flight)]},
            self._histograms(),
            {
                "orris_model": list(self.info.items()),
                CREATED: [(key, {"seconds": repr(seconds)}) for key, seconds in self.created.items()],
            },
            {
                "orris_shadow_largest_difference": [
                    (key, counts.largest_difference) for key, counts in self.shadows.items()
                ]
            },
            self.drift.panes(),
            [
                Exemplar("http_request_duration_seconds", key, bucket, *mark)
                for key, counts in self._answered_routes()
                for bucket, mark in counts.durations.marks.items()
            ],
        )

    def _answered_routes(self) -> list[tuple[Labels, RouteCounts]]:
        """The routes with at least one answer, each with its counts."""
        return [(key, counts) for key, counts in self.routes.items() if counts.statuses]

    def _request_counters(self) -> Counters:
        return {
            "http_requests": [
                ((*key, str(status)), n)
                for key, counts in self._answered_routes()
                for status, n in counts.statuses.items()
            ],
            "orris_grpc_requests": list(self.calls.items()),
            "orris_rejected": [((reason,), n) for reason, n in self.rejected.items()],
            "orris_log_lines_dropped": [((kind,), n) for kind, n in self.dropped.items()],
        }

    def _model_counters(self) -> Counters:
        models = self.models.items()
        return {
            "orris_predictions": [
                ((*key, label), n)
                for key, counts in models
                for label, n in zip(counts.labels or ("",), counts.predictions, strict=True)
            ],
            "orris_input_warnings": [
                ((*key, *warning), n) for key, counts in models for warning, n in counts.warnings.items()
            ],
            "orris_swaps": list(self.swaps.items()),
            "orris_shadow_rows": [
                ((*key, outcome), getattr(counts, outcome))
                for key, counts in self.shadows.items()
                for outcome in ("agreed", "differed", "failed", "dropped")
            ],
        }

    def _histograms(self) -> dict[str, list[tuple[Labels, list[int], float]]]:
        routes, models = self._answered_routes(), self.models.items()
        return {
            "http_request_duration_seconds": [
                (key, counts.durations.counts, counts.durations.total) for key, counts in routes
            ],
            "orris_grpc_request_duration_seconds": [
                ((method,), h.counts, h.total) for method, h in self.call_durations.items()
            ],
            "orris_inference_duration_seconds": [
                (key, counts.seconds.counts, counts.seconds.total) for key, counts in models
            ],
            "orris_batch_rows": [(key, counts.rows.counts, counts.rows.total) for key, counts in models],
        }

    def panes(self) -> list[Pane]:
        """The drift counts of all workers."""
        self.drift.fold()
        others = self._peers.gathered()[0] if self._peers is not None else []
        return [*self.drift.panes(), *(pane for each in others for pane in decode(each).panes)]

    def total(self) -> Snapshot:
        """The counts of the whole server: of this process, of its other workers, and of those that are gone."""
        if self._peers is None:
            return self.snapshot()
        # Counts must be on the board before they are reported: if this process dies now, they may not decrease.
        self.publish()
        others, retired = self._peers.gathered()
        return merge([self.snapshot(), *map(decode, (retired, *others))])

    # exposition

    def render(self, accept: str) -> tuple[bytes, str]:
        """The exposition in the format that ``accept`` asks for (text or OpenMetrics), and its content type."""
        encoder, content_type = choose_encoder(accept)
        return encoder(self._registry), content_type

    def collect(self) -> Iterator[Metric]:
        """The families of the whole server, for ``prometheus_client``."""
        self.drift.fold()
        yield from build()
        if self._peers is None:
            own = self.snapshot()
            yield from families(own)
            yield from self.drift.families(own.panes)
            yield from ProcessCollector(registry=None).collect()
            yield from threads([os.getpid()])
            yield from workers(1, 1, 0)
            return
        # A scrape reports only counts that are on the board: if this process dies now, the next answer may not be
        # less.
        self.publish()
        others, retired = self._peers.gathered()
        gone = decode(retired)
        total = merge([self.snapshot(), gone, *map(decode, others)])
        yield from families(total)
        yield from self.drift.families(total.panes)
        yield from threads(self._peers.pids())
        yield from processes(self._peers.pids(), sum(value for _, value in gone.counters.get(CPU_SECONDS, [])))
        yield from workers(self._peers.n_workers, self._peers.n_ready, self._peers.restarts)


def _collections() -> Counters:
    """The garbage collector's counts, by generation."""
    names = {"collections": "collections", "collected": "objects_collected", "uncollectable": "objects_uncollectable"}
    generations = [(str(generation), counts) for generation, counts in enumerate(gc.get_stats())]
    return {
        f"python_gc_{name}": [((generation,), counts[key]) for generation, counts in generations]
        for key, name in names.items()
    }
