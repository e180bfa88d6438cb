"""Tests of token buckets: how many requests pass, and how much is kept."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orris.errors import RateLimitError
from orris.serving.access import rates
from orris.serving.access.rates import Rates


def passed(buckets: Rates, moments: list[float], rate: float, burst: int | None) -> list[bool]:
    """Return whether a request at each moment passes."""
    results = []
    for now in moments:
        try:
            buckets.take("a", rate, burst, now)
        except RateLimitError:
            results.append(False)
        else:
            results.append(True)
    return results


def test_a_burst_passes_and_then_one_for_each_interval() -> None:
    """At two per second and a burst of three, three requests pass at once and then one every half second."""
    moments = [0.0, 0.0, 0.0, 0.0, 0.25, 0.5, 0.5, 1.0]
    assert passed(Rates(), moments, 2.0, 3) == [True, True, True, False, False, True, False, True]


def test_a_refusal_has_a_retry_delay() -> None:
    """A refusal gives whole seconds, rounded up, after which the request passes."""
    buckets = Rates()
    buckets.take("a", 0.1, 1, 0.0)
    with pytest.raises(RateLimitError) as told:
        buckets.take("a", 0.1, 1, 2.5)
    assert told.value.retry_after_seconds == 8
    buckets.take("a", 0.1, 1, 2.5 + 8)


def test_callers_have_buckets_of_their_own() -> None:
    """One caller's empty bucket does not affect another caller."""
    buckets = Rates()
    buckets.take("a", 0.1, 1, 0.0)
    buckets.take("b", 0.1, 1, 0.0)


def test_workers_share_a_rate() -> None:
    """Four workers together allow the configured rate, and each allows at least one request at once."""
    alone, shared = Rates(), Rates(4)
    moments = [i / 100 for i in range(1_000)]
    n_alone, n_shared = sum(passed(alone, moments, 8.0, 8)), sum(passed(shared, moments, 8.0, 8))
    assert n_alone == 8 + 79
    assert n_shared == 2 + 19
    assert sum(passed(Rates(4), [0.0] * 5, 1.0, 1)) == 1


@given(
    st.lists(st.floats(0, 100), min_size=1, max_size=60).map(sorted),
    st.floats(0.01, 1_000),
    st.none() | st.integers(1, 50),
    st.integers(1, 4),
)
def test_never_more_than_the_burst_and_the_rate(
    moments: list[float], rate: float, burst: int | None, n_workers: int
) -> None:
    """Over any interval no more requests pass than the burst and the rate allow."""
    tokens = max(1.0, (rate if burst is None else burst) / n_workers)
    n_passed = sum(passed(Rates(n_workers), moments, rate, burst))
    assert 1 <= n_passed <= tokens + (moments[-1] - moments[0]) * rate / n_workers + 1e-6


def test_the_number_of_buckets_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Full buckets are dropped, and of too many the oldest."""
    buckets = Rates()
    for i in range(1_000):
        buckets.take(str(i), 10.0, 1, float(i))
    assert len(buckets) <= 2
    monkeypatch.setattr(rates, "MAX_CALLERS", 100)
    for i in range(1_000):
        buckets.take(str(i), 0.001, 1, 2_000.0)
    assert len(buckets) == 100
