"""Two load tests compared: ratios with intervals, by a bootstrap over slices of time.

Requests of one moment share their moment's fate, so single requests are not independent draws, and an interval from
them would be far too narrow. Slices are drawn instead, in blocks of consecutive ones, since neighbours resemble each
other too (the circular block bootstrap of Politis and Romano, 1992): each draw puts as many slices together as the run
has, step by step of its rate, and the interval holds the middle 95 % of the ratios over the draws.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from orris.errors import LoadTestError
from orris.loadtest.histogram import Floats, Integers, highest_microseconds
from orris.loadtest.run import Run, Slice

QUANTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p99.9": 0.999}
N_DRAWS = 2000
MIN_SLICES = 5
"""Fewer slices say nothing about how much a run varies."""


@dataclass(frozen=True)
class Ratio:
    """One number of two runs.

    Attributes:
        name: ``throughput``, ``mean``, ``p99`` …
        a: Of the first run: requests a second, or seconds.
        b: Of the second run.
        ratio: ``b / a``.
        low: Lower end of the ratio's interval.
        high: Upper end.
    """

    name: str
    a: float
    b: float
    ratio: float
    low: float
    high: float

    @property
    def differs(self) -> bool:
        """Whether the interval does not hold 1."""
        return self.low > 1 or self.high < 1


def compare(a: Run, b: Run, *, confidence: float = 0.95, n_draws: int = N_DRAWS, seed: int = 0) -> list[Ratio]:
    """The second run's numbers over the first's.

    Args:
        a: The run that is compared with.
        b: The run that is judged.
        confidence: Of the intervals.
        n_draws: Draws of the bootstrap.
        seed: Of the draws.

    Raises:
        LoadTestError: A run has fewer than ``MIN_SLICES`` slices, or no answers.
    """
    generator = np.random.default_rng(seed)
    first, second = _Sampled(a, "the first run"), _Sampled(b, "the second run")
    whole_a, whole_b = first.numbers(np.ones((1, first.n))), second.numbers(np.ones((1, second.n)))
    drawn_a, drawn_b = first.numbers(first.draws(n_draws, generator)), second.numbers(second.draws(n_draws, generator))
    tail = (1 - confidence) / 2
    found = []
    for i, name in enumerate(("throughput", "mean", *QUANTILES)):
        with np.errstate(divide="ignore", invalid="ignore"):
            ratios = drawn_b[:, i] / drawn_a[:, i]
            ratio = float(whole_b[0, i] / whole_a[0, i])
        low, high = np.quantile(ratios[np.isfinite(ratios)], [tail, 1 - tail]).tolist()
        found.append(Ratio(name, float(whole_a[0, i]), float(whole_b[0, i]), ratio, low, high))
    return found


class _Sampled:
    """A run as arrays over its slices."""

    def __init__(self, run: Run, name: str) -> None:
        slices = [each for each in run.slices if each.seconds > 0]
        self.n = len(slices)
        if self.n < MIN_SLICES:
            raise LoadTestError(
                f"{name} has {self.n} slices of time; at least {MIN_SLICES} are needed to say how much it varies"
            )
        if not any(each.latency.count for each in slices):
            raise LoadTestError(f"{name} has no answered request")
        self._strata = _strata(run, slices)
        self._seconds = np.array([each.seconds for each in slices])
        self._answered = np.array([each.answered for each in slices], np.float64)
        self._sums = np.array([each.latency.sum_seconds for each in slices])
        self._counts, self._values = _matrix(slices)

    def draws(self, n_draws: int, generator: np.random.Generator) -> Floats:
        """How often each slice is in each draw: ``(n_draws, n_slices)``."""
        weights = np.zeros((n_draws, self.n))
        for first, last in self._strata:
            size = last - first
            block = max(1, round(size ** (1 / 3)))
            starts = generator.integers(0, size, (n_draws, math.ceil(size / block)))
            places = ((starts[:, :, None] + np.arange(block)) % size).reshape(n_draws, -1)[:, :size]
            np.add.at(weights, (np.arange(n_draws)[:, None], first + places), 1.0)
        return weights

    def numbers(self, weights: Floats) -> Floats:
        """Throughput, mean and quantiles of each draw: ``(n_draws, 2 + n_quantiles)``."""
        columns = [weights @ self._answered / (weights @ self._seconds)]
        cumulated = np.cumsum(weights @ self._counts, axis=1)
        total = cumulated[:, -1]
        with np.errstate(divide="ignore", invalid="ignore"):
            columns.append(weights @ self._sums / total)
        for quantile in QUANTILES.values():
            ranks = np.maximum(1.0, np.ceil(quantile * total - 1e-9))
            places = np.minimum((cumulated < ranks[:, None]).sum(axis=1), len(self._values) - 1)
            columns.append(np.where(total > 0, self._values[places], np.nan))
        return np.stack(columns, axis=1)


def _strata(run: Run, slices: Sequence[Slice]) -> list[tuple[int, int]]:
    """The slices of each step of the rate, first and behind the last: a draw takes as many of each as there are."""
    ends = np.cumsum([step.seconds for step in run.steps] or [math.inf])
    steps = np.searchsorted(ends, [each.begin_seconds + each.seconds / 2 for each in slices])
    edges = [0, *(np.flatnonzero(np.diff(steps)) + 1).tolist(), len(slices)]
    return list(pairwise(edges))


def _matrix(slices: Sequence[Slice]) -> tuple[Floats, Floats]:
    """Counts by slice and bucket, and each bucket's latency in seconds, ascending."""
    indices: Integers = np.unique(np.concatenate([each.latency.indices for each in slices]))
    counts = np.zeros((len(slices), len(indices)))
    for i, each in enumerate(slices):
        counts[i, np.searchsorted(indices, each.latency.indices)] = each.latency.counts
    return counts, highest_microseconds(indices) / 1e6
