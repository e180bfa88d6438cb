"""Drift: how far the rows of the last hour, and the answers to them, are from what training saw.

No other service is needed.

A worker counts every row that it answers in the bins of the bundle's profile (``schema/profile.py``), in *panes* of a
twelfth of the window. On the request path a batch's rows are only put aside; they are counted together, when there are
many or at the next heartbeat. Panes have the same numbers in all workers (they share the clock), so the sum over
workers is the sum of their panes: ``Snapshot.panes``.

The measure is the population stability index, ``PSI = sum((c - r) * ln(c / r))`` over the slots, of current and
reference shares (Siddiqi, *Credit Risk Scorecards*, 2006, from where its thresholds are as well). ``FLOOR`` stands in
for smaller shares, or an empty slot would make it infinite (0.0001, as in Evidently).
"""

from __future__ import annotations

import hashlib
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Literal, NamedTuple

import msgspec
import numpy as np
from prometheus_client.metrics_core import GaugeMetricFamily, Metric

from orris.schema import Kind, Schema
from orris.schema.arrays import FloatArray, IntArray
from orris.schema.profile import Profile, Tally, Values
from orris.telemetry.snapshot import Pane

Verdict = Literal["unknown", "stable", "moderate", "shifted"]

N_PANES = 12
"""Panes of a window: it always covers between eleven and twelve of them."""

ROWS_PER_BIN = 20
"""Rows that the window must hold, for each bin that training filled, before a PSI is reported.

With k such bins and n rows of the reference's own distribution, n * PSI is close to chi-square with k - 1 degrees of
freedom (Yurdakul, *Statistical Properties of Population Stability Index*, 2018): at 20 rows a bin, chance alone stays
below about 0.1 in 95 of 100 windows.
"""

FLOOR = 1e-4
"""Shares below this count as this."""

MODERATE, SHIFTED = 0.1, 0.25
"""From here on a PSI is called so."""

FEW = 8
"""Batches of so many rows at most are kept until they are counted; longer ones are copied."""

MAX_FEW = 4_096
"""Short batches that wait to be counted."""

_Z_95 = 1.6448536269514722


class Reading(NamedTuple):
    """The drift of a column, or of the answers.

    Attributes:
        name: The column; empty for the answers.
        psi: The index; ``None`` while there are too few rows.
        chance: What the index exceeds by chance alone in one of 20 windows, if nothing has changed; ``None`` without
            rows.
        needed: Rows that an index needs before it is reported.
        reference: Shares of the training rows per slot, ``(n_slots,)``; the last but one is missing, the last unseen.
        current: Shares of the rows in the window, ``(n_slots,)``; zeros without rows.
    """

    name: str
    psi: float | None
    chance: float | None
    needed: int
    reference: FloatArray
    current: FloatArray

    @property
    def verdict(self) -> Verdict:
        """``stable`` below 0.1, ``moderate`` below 0.25, otherwise ``shifted``; ``unknown`` with too few rows."""
        if self.psi is None:
            return "unknown"
        return "stable" if self.psi < MODERATE else "moderate" if self.psi < SHIFTED else "shifted"


class Report(NamedTuple):
    """The drift of a version.

    Attributes:
        n_rows: Rows in the window.
        since_seconds: Age of the oldest pane that holds rows; 0 without rows.
        columns: One reading per column.
        predictions: The reading of the answers.
    """

    n_rows: int
    since_seconds: float
    columns: tuple[Reading, ...]
    predictions: Reading


def stability(reference: FloatArray, current: FloatArray) -> float:
    """The population stability index of two arrays of shares, each ``(n_slots,)``."""
    r, c = np.maximum(reference, FLOOR), np.maximum(current, FLOOR)
    return float(((c - r) * np.log(c / r)).sum())


def by_chance(n_bins: int, n_reference: int, n_rows: int) -> float:
    """The index that two samples of one distribution exceed in one of 20 windows.

    Chi-square, by Wilson and Hilferty.
    """
    k = n_bins - 1
    if k < 1:
        return 0.0
    quantile = k * (1 - 2 / (9 * k) + _Z_95 * (2 / (9 * k)) ** 0.5) ** 3
    return float(quantile * (1 / n_reference + 1 / n_rows))


class Sketch:
    """One worker's counts of one version. ``add`` and ``fold`` belong to the loop's thread, ``count`` to any.

    Args:
        schema: The version's contract.
        profile: Its profile.
        window_seconds: Length of the window.
        clock: Seconds, the same in all workers.
    """

    def __init__(
        self, schema: Schema, profile: Profile, window_seconds: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.schema = schema
        self.profile = profile
        self.layout = hashlib.sha256(msgspec.json.encode(profile)).hexdigest()[:12]
        self._tally = Tally(schema, profile)
        self._pane_seconds = window_seconds / N_PANES
        self._clock = clock
        self._rows = np.empty((self._tally.n_rows, schema.n_columns))
        self._answers: Values = (
            np.empty(self._tally.n_rows, np.int64) if schema.labels else np.empty(self._tally.n_rows)
        )
        self._n_waiting = 0
        self._few: list[tuple[FloatArray, Values]] = []
        self._max_few = min(MAX_FEW, self._tally.n_rows)
        self._counted: deque[IntArray] = deque()
        self._panes: dict[int, IntArray] = {}
        self._encoded: dict[int, bytes] = {}

    def add(self, rows: FloatArray, answers: Values) -> None:
        """Take a batch that was answered: encoded rows ``(n_rows, n_columns)``, labels or values ``(n_rows,)``.

        A long batch is copied: to keep it would cost more, in memory that the next batch cannot use again. A short one
        is kept, and may not change.
        """
        if len(rows) <= FEW:
            self._few.append((rows, answers))
            if len(self._few) >= self._max_few:
                self.fold()
            return
        start = self._n_waiting
        end = start + len(rows)
        if end > len(self._rows):
            self.fold()
            start, end = 0, len(rows)
            if end > len(self._rows):
                self.count(rows, answers)
                return
        self._rows[start:end] = rows
        self._answers[start:end] = answers
        self._n_waiting = end

    def count(self, rows: FloatArray, answers: Values) -> None:
        """``add`` for many rows, on another thread: they are counted there."""
        self._counted.append(self._tally.count(rows, answers))

    def fold(self) -> None:
        """Count what waits into the pane of now, and let go of panes that have left the window."""
        if self._n_waiting:
            self._counted.append(self._tally.count(self._rows[: self._n_waiting], self._answers[: self._n_waiting]))
            self._n_waiting = 0
        if self._few:
            few, self._few = self._few, []
            self.count(np.concatenate([rows for rows, _ in few]), np.concatenate([answers for _, answers in few]))
        now = self._now()
        while self._counted:
            counts = self._counted.popleft()
            before = self._panes.get(now)
            self._panes[now] = counts if before is None else before + counts
            self._encoded.pop(now, None)
        for number in [number for number in self._panes if number <= now - N_PANES]:
            del self._panes[number]
            self._encoded.pop(number, None)

    def panes(self, name: str, version: str) -> list[Pane]:
        """The panes of the window, as they are sent to others."""
        for number in self._panes.keys() - self._encoded.keys():
            self._encoded[number] = self._panes[number].astype("<u4").tobytes()
        return [(name, version, self.layout, number, counts) for number, counts in self._encoded.items()]

    def report(self, panes: Iterable[Pane]) -> Report:
        """The sum of all workers' panes of this version; other versions and older panes are ignored."""
        now = self._now()
        total, oldest = np.zeros(self._tally.n_slots, dtype=np.int64), now + 1
        for _, _, layout, number, counts in panes:
            if layout == self.layout and number > now - N_PANES:
                total += np.frombuffer(counts, dtype="<u4")
                oldest = min(oldest, number)
        slices = self._tally.slices
        n_rows = int(total[slices[-1]].sum())
        readings = [
            self._reading(spread.name, np.array(spread.shares), total[place])
            for spread, place in zip(self._tally.spreads, slices, strict=True)
        ]
        since = self._clock() - oldest * self._pane_seconds if n_rows else 0.0
        return Report(n_rows, since, tuple(readings[:-1]), readings[-1])

    def _reading(self, name: str, reference: FloatArray, counts: IntArray) -> Reading:
        n_rows, n_filled = int(counts.sum()), int(np.count_nonzero(reference))
        needed = ROWS_PER_BIN * n_filled
        if not n_rows:
            return Reading(name, None, None, needed, reference, np.zeros(len(reference)))
        current = counts / n_rows
        psi = stability(reference, current) if n_rows >= needed else None
        return Reading(name, psi, by_chance(n_filled, self.profile.n_rows, n_rows), needed, reference, current)

    def _now(self) -> int:
        """The number of the pane of now."""
        return int(self._clock() // self._pane_seconds)


class Drift:
    """The sketches of a process, by model and version.

    Args:
        window_seconds: Length of the window; 0: drift is not measured.
        clock: Seconds, the same in all workers.
    """

    def __init__(self, window_seconds: float = 0.0, clock: Callable[[], float] = time.monotonic) -> None:
        self.window_seconds = window_seconds
        self._clock = clock
        self.sketches: dict[tuple[str, str], Sketch] = {}

    def sketch(self, name: str, version: str, schema: Schema, profile: Profile | None) -> Sketch | None:
        """The sketch of a version; ``None`` if drift is off, or if the version's bundle has no profile."""
        if profile is None or not self.window_seconds:
            return None
        made = Sketch(schema, profile, self.window_seconds, self._clock)
        kept = self.sketches.get((name, version))
        if kept is not None and kept.layout == made.layout:
            return kept
        self.sketches[name, version] = made
        return made

    def forget(self, name: str, version: str) -> None:
        """A version is no longer loaded."""
        self.sketches.pop((name, version), None)

    def fold(self) -> None:
        """Count what waits; called at every heartbeat."""
        for sketch in self.sketches.values():
            sketch.fold()

    def panes(self) -> list[Pane]:
        """The panes of this process."""
        return [pane for key, sketch in self.sketches.items() for pane in sketch.panes(*key)]

    def families(self, panes: list[Pane]) -> Iterator[Metric]:
        """The gauges, from the panes of all workers.

        An index and the ratios of a column are absent while there are too few rows.
        """
        model = ("model", "version")
        rows = GaugeMetricFamily("orris_drift_rows", "Rows in the window of drift.", labels=model)
        answers = GaugeMetricFamily(
            "orris_drift_prediction_psi", "Population stability index of the predictions.", labels=model
        )
        psi = GaugeMetricFamily("orris_drift_psi", "Population stability index of a column.", labels=(*model, "column"))
        missing = GaugeMetricFamily(
            "orris_drift_missing_ratio", "Share of rows without a value in a column.", labels=(*model, "column")
        )
        unseen = GaugeMetricFamily(
            "orris_drift_unseen_ratio", "Share of rows with a level that training never saw.", labels=(*model, "column")
        )
        for key, sketch in self.sketches.items():
            found = sketch.report(pane for pane in panes if pane[:2] == key)
            rows.add_metric(key, found.n_rows)
            if found.predictions.psi is not None:
                answers.add_metric(key, found.predictions.psi)
            for column, reading in zip(sketch.schema.columns, found.columns, strict=True):
                if reading.psi is None:
                    continue
                psi.add_metric((*key, column.name), reading.psi)
                missing.add_metric((*key, column.name), float(reading.current[-2]))
                if column.kind is Kind.CATEGORY:
                    unseen.add_metric((*key, column.name), float(reading.current[-1]))
        yield from (rows, psi, missing, unseen, answers)
