"""Notes every request while a load test runs, at the price of appending to arrays, and sums them up once a second."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Sequence

import numpy as np

from orris.loadtest.arrivals import Step
from orris.loadtest.histogram import Floats, Histogram
from orris.loadtest.run import RouteResult, Slice

MAX_SAMPLE = 300
"""Most characters that are kept of an answer."""

N_KEPT_LATENESSES = 1_000_000
"""Most latenesses that are kept of one run; of a longer run, its first."""


class Recorder:
    """The numbers of one run, by slice of time and by route.

    All times are seconds on the clock of ``time.monotonic``; what lies before ``begin`` is the warm-up, and is dropped.

    Attributes:
        begin: When the measurement begins.
        end: When it ends.
        samples: For each kind of error, the first answer.
    """

    def __init__(self, begin: float, edges: Sequence[float], routes: Sequence[str]) -> None:
        """Start with nothing noted.

        Args:
            begin: When the measurement begins.
            edges: Where its slices begin and end, in seconds since ``begin``: ``(n_slices + 1,)``, ascending from 0.
            routes: Their names.
        """
        self.begin, self.end = begin, begin + edges[-1]
        self._edges = np.asarray(edges, np.float64)
        self._routes = list(routes)
        n_slices = len(edges) - 1
        self._started_due, self._started_at, self._started_bytes, self._started_route = (
            array("d"),
            array("d"),
            array("l"),
            array("h"),
        )
        self._due, self._ended, self._received, self._route = array("d"), array("d"), array("l"), array("h")
        self._offered = np.zeros(n_slices, np.int64)
        self._answered = np.zeros(n_slices, np.int64)
        self._bytes = np.zeros(n_slices, np.int64)
        self._latencies = [Histogram() for _ in range(n_slices)]
        self._errors: list[Counter[str]] = [Counter() for _ in range(n_slices)]
        self._route_answered = np.zeros(len(routes), np.int64)
        self._route_sent = np.zeros(len(routes), np.int64)
        self._route_received = np.zeros(len(routes), np.int64)
        self._route_latency = [Histogram() for _ in routes]
        self._route_errors: list[Counter[str]] = [Counter() for _ in routes]
        self.samples: dict[str, str] = {}
        self._late: list[Floats] = []
        self._n_late = 0

    def started(self, route: int, due: float, at: float, n_bytes: int) -> None:
        """A request was started that was due before."""
        self._started_due.append(due)
        self._started_at.append(at)
        self._started_bytes.append(n_bytes)
        self._started_route.append(route)

    def answered(self, route: int, due: float, at: float, n_bytes: int) -> None:
        """A request was answered as it should be."""
        self._due.append(due)
        self._ended.append(at)
        self._received.append(n_bytes)
        self._route.append(route)

    def failed(self, route: int, due: float, at: float, kind: str, answer: bytes | str = "") -> None:
        """A request failed; one that was due outside the measured time is dropped."""
        if not self.begin <= due < self.end:
            return
        if answer and kind not in self.samples:
            text = answer if isinstance(answer, str) else answer.decode("utf-8", "replace")
            self.samples[kind] = " ".join(text.split())[:MAX_SAMPLE]
        self._route_errors[route][kind] += 1
        place = int(np.searchsorted(self._edges, at - self.begin, side="right")) - 1
        self._errors[min(place, len(self._errors) - 1)][kind] += 1

    def flush(self) -> None:
        """Sum up what was noted since the last time."""
        due, ended = np.array(self._due), np.array(self._ended)
        received, route = np.array(self._received, np.int64), np.array(self._route, np.int64)
        for each in (self._due, self._ended, self._received, self._route):
            del each[:]
        self._flush_started()
        if not due.size:
            return
        n_slices = len(self._answered)
        # Throughput counts answers when they arrive, those to requests of the warm-up too; latency by when it was due.
        places = np.searchsorted(self._edges, ended - self.begin, side="right") - 1
        arrived = (places >= 0) & (places < n_slices)
        self._answered += np.bincount(places[arrived], minlength=n_slices)
        self._bytes += np.bincount(places[arrived], received[arrived], minlength=n_slices).astype(np.int64)
        starts = np.searchsorted(self._edges, due - self.begin, side="right") - 1
        measured = (starts >= 0) & (starts < n_slices)
        latency = ended - due
        for place in np.unique(starts[measured]).tolist():
            self._latencies[place] += Histogram.of(latency[starts == place])
        for place in np.unique(route[measured]).tolist():
            chosen = measured & (route == place)
            self._route_latency[place] += Histogram.of(latency[chosen])
            self._route_answered[place] += int(chosen.sum())
            self._route_received[place] += int(received[chosen].sum())

    def _flush_started(self) -> None:
        due, at = np.array(self._started_due), np.array(self._started_at)
        sizes, route = np.array(self._started_bytes, np.int64), np.array(self._started_route, np.int64)
        for each in (self._started_due, self._started_at, self._started_bytes, self._started_route):
            del each[:]
        starts = np.searchsorted(self._edges, due - self.begin, side="right") - 1
        measured = (starts >= 0) & (starts < len(self._offered))
        if not measured.any():
            return
        self._offered += np.bincount(starts[measured], minlength=len(self._offered))
        self._route_sent += np.bincount(route[measured], sizes[measured], minlength=len(self._routes)).astype(np.int64)
        if self._n_late < N_KEPT_LATENESSES:
            self._late.append((at - due)[measured])
            self._n_late += len(self._late[-1])

    @property
    def late_seconds(self) -> Floats:
        """How late each request was started."""
        return np.concatenate(self._late) if self._late else np.empty(0)

    def slices(self, until: float | None = None) -> tuple[Slice, ...]:
        """The slices that are over at this time; ``None``: all."""
        last = (
            len(self._offered) if until is None else int(np.searchsorted(self._edges, until - self.begin, "right")) - 1
        )
        return tuple(self.slice(place) for place in range(max(0, last)))

    def slice(self, place: int) -> Slice:
        """The measurements of one slice so far."""
        begin, end = float(self._edges[place]), float(self._edges[place + 1])
        return Slice(
            begin,
            end - begin,
            int(self._offered[place]),
            int(self._answered[place]),
            dict(self._errors[place]),
            self._latencies[place],
            int(self._bytes[place]),
        )

    def routes(self) -> tuple[RouteResult, ...]:
        """The measurements of each route."""
        return tuple(
            RouteResult(
                name,
                int(self._route_answered[i]),
                dict(self._route_errors[i]),
                self._route_latency[i],
                int(self._route_sent[i]),
                int(self._route_received[i]),
            )
            for i, name in enumerate(self._routes)
        )


def edges_of(steps: Sequence[Step], slice_seconds: float) -> list[float]:
    """Where slices begin and end: near ``slice_seconds`` long, and none reaches over the end of a step."""
    edges = [0.0]
    for step in steps:
        n_slices = max(1, round(step.seconds / slice_seconds))
        begin = edges[-1]
        edges += [begin + step.seconds * (i + 1) / n_slices for i in range(n_slices)]
    return edges
