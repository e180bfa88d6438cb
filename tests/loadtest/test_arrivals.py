"""Tests of the plan of an open loop."""

from __future__ import annotations

import numpy as np
import pytest

from orris.errors import LoadTestError
from orris.loadtest import Arrivals, Step


def times(arrivals: Arrivals) -> np.ndarray:
    """All start times."""
    return np.concatenate(list(arrivals.chunks()))


def test_a_constant_rate_starts_requests_at_equal_gaps() -> None:
    """At 1,000 a second for 20 s there are 20,000 requests, a millisecond apart."""
    found = times(Arrivals.constant(1000, 20))
    assert len(found) == 20_000
    assert np.allclose(np.diff(found), 1e-3)
    assert found[0] == 0.0


def test_steps_follow_one_another() -> None:
    """Each step has its own rate, and begins where the one before ends."""
    arrivals = Arrivals.stepped([10, 100, 50], 2.0)
    assert arrivals.seconds == 6.0
    counted, _ = np.histogram(times(arrivals), [0, 2, 4, 6])
    assert counted.tolist() == [20, 200, 100]


def test_random_arrivals_are_a_poisson_process() -> None:
    """The gaps are exponential: their mean and their standard deviation are 1 / rate; the same seed gives the same."""
    arrivals = Arrivals.constant(500, 200, poisson=True, seed=3)
    gaps = np.diff(times(arrivals))
    assert gaps.mean() == pytest.approx(1 / 500, rel=0.02)
    assert gaps.std() == pytest.approx(1 / 500, rel=0.02)
    assert np.array_equal(times(arrivals), times(arrivals))
    assert times(arrivals)[-1] < 200


def test_the_warm_up_has_the_first_rate() -> None:
    """A warm-up goes before the plan, at its first rate."""
    arrivals = Arrivals.stepped([10, 100], 1.0).after_warm_up(3.0)
    assert arrivals.steps == (Step(10, 3.0), Step(10, 1.0), Step(100, 1.0))


@pytest.mark.parametrize(("rate", "seconds"), [(0, 1), (-1, 1), (10, 0), (float("nan"), 1), (float("inf"), 1)])
def test_a_rate_and_its_duration_are_positive(rate: float, seconds: float) -> None:
    """A rate or a duration that is not positive is refused."""
    with pytest.raises(LoadTestError, match="must be above 0"):
        Arrivals.constant(rate, seconds)


def test_a_plan_has_a_step() -> None:
    """A plan without steps is refused."""
    with pytest.raises(LoadTestError, match="at least one step"):
        Arrivals(())
