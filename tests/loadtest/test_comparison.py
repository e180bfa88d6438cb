"""Tests of the comparison of two runs, on made runs whose ratio is known."""

from __future__ import annotations

import numpy as np
import pytest

from orris.errors import LoadTestError
from orris.loadtest import Step
from orris.loadtest.comparison import compare
from tests.loadtest.runs import made_run, varying

N_PAIRS = 30


def test_intervals_cover_the_true_ratio() -> None:
    """Of 30 pairs of runs whose neighbouring seconds resemble each other, 85 % of the intervals hold the truth."""
    factor = 1.3
    covered = dict.fromkeys(("mean", "p50", "p99"), 0)
    for seed in range(N_PAIRS):
        generator = np.random.default_rng(seed)
        a, b = made_run(varying(generator, 60)), made_run(varying(generator, 60, factor=factor))
        for ratio in compare(a, b, n_draws=200, seed=seed):
            if ratio.name in covered:
                covered[ratio.name] += ratio.low <= factor <= ratio.high
    assert min(covered.values()) >= 0.85 * N_PAIRS, covered


def test_requests_as_independent_draws_would_cover_too_little() -> None:
    """Intervals from single requests, which this comparison does not use, would miss the truth most of the time."""
    missed = 0
    for seed in range(40):
        generator = np.random.default_rng(seed)
        a, b = (np.concatenate(varying(generator, 60)) for _ in range(2))
        error = np.hypot(a.std() / a.mean() / len(a) ** 0.5, b.std() / b.mean() / len(b) ** 0.5)
        missed += abs(np.log(b.mean() / a.mean())) > 1.96 * error
    assert missed > 20


def test_numbers_are_those_of_the_runs() -> None:
    """Throughput, mean and percentiles are the runs' own, and their ratio is the second over the first."""
    generator = np.random.default_rng(5)
    a, b = made_run(varying(generator, 20)), made_run(varying(generator, 20, factor=2.0), seconds=2.0)
    found = {each.name: each for each in compare(a, b)}
    assert found["throughput"].a == a.whole.throughput_per_second == 200
    assert found["throughput"].ratio == pytest.approx(0.5)
    assert found["mean"].b == pytest.approx(b.whole.latency.mean_seconds)
    assert found["p99"].a == pytest.approx(a.whole.latency.quantile_seconds(0.99))
    assert found["p50"].ratio == pytest.approx(2.0, rel=0.15)
    assert found["p50"].differs
    assert not {each.name: each for each in compare(a, a)}["p99"].differs


def test_steps_are_drawn_each_for_itself() -> None:
    """A run whose rate rises in steps does not vary because of that: its throughput's interval is narrow."""
    steps = (Step(100, 10), Step(400, 10))
    run = made_run([[0.01] * 100] * 10 + [[0.01] * 400] * 10, steps=steps)
    (throughput,) = (each for each in compare(run, run) if each.name == "throughput")
    assert (throughput.low, throughput.high) == (1.0, 1.0)


def test_too_few_slices_say_nothing() -> None:
    """A run of fewer than five slices, or without an answer, is refused."""
    long = made_run([[0.01]] * 10)
    with pytest.raises(LoadTestError, match="the second run has 4 slices"):
        compare(long, made_run([[0.01]] * 4))
    with pytest.raises(LoadTestError, match="the first run has no answered request"):
        compare(made_run([[]] * 10, errors={"timeout": 3}), long)
