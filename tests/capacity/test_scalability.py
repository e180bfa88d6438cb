"""Tests of the universal scalability law, on data whose knee and capacity are known."""

from __future__ import annotations

from math import inf, sqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orris.capacity.scalability import Scalability
from orris.errors import CapacityError


def usl(in_flight: float, gamma: float, sigma: float, kappa: float) -> float:
    """Throughput by the law as Gunther writes it."""
    return gamma * in_flight / (1 + sigma * (in_flight - 1) + kappa * in_flight * (in_flight - 1))


@pytest.mark.parametrize(("sigma", "kappa"), [(0.02, 0.0005), (0.1, 0.0001), (0.3, 0.01), (0.05, 0.0)])
def test_the_law_is_found_in_noisy_data(sigma: float, kappa: float) -> None:
    """From throughputs with 3 % of noise the coefficients, the knee and the capacity are found within a tenth."""
    generator = np.random.default_rng(7)
    in_flight = np.array([1, 2, 4, 8, 12, 16, 24, 32, 48, 64, 96, 128], np.float64)
    throughput = np.array([usl(n, 1_000, sigma, kappa) for n in in_flight]) * generator.normal(1, 0.03, in_flight.size)
    law = Scalability.fitted(throughput.tolist(), (in_flight / throughput).tolist())
    exact = usl(sqrt((1 - sigma) / kappa), 1_000, sigma, kappa) if kappa else 1_000 / sigma
    assert law.capacity_per_second == pytest.approx(exact, rel=0.1)
    assert law.single_per_second == pytest.approx(1_000, rel=0.1)
    assert law.contention == pytest.approx(sigma, rel=0.25)
    power = max(np.linspace(1, 200, 4_000), key=lambda n: usl(n, 1_000, sigma, kappa) ** 2 / n)
    assert law.knee_in_flight == pytest.approx(power, rel=0.2)
    assert law.knee_per_second == pytest.approx(usl(float(power), 1_000, sigma, kappa), rel=0.1)
    assert law.error < 0.06


def test_a_queue_of_one_server_is_a_case_of_the_law() -> None:
    """The exact latencies of M/M/1, 1 / (μ - λ), give the capacity μ and the knee μ / 2 without an error."""
    rates = [50, 100, 200, 300, 400, 450]
    law = Scalability.fitted(rates, [1 / (500 - rate) for rate in rates])
    assert law.capacity_per_second == pytest.approx(500)
    assert law.knee_per_second == pytest.approx(250)
    assert law.knee_in_flight == pytest.approx(1)
    assert law.latency_at(400) == pytest.approx(0.01)
    assert law.latency_at(500) == inf
    assert law.error == pytest.approx(0, abs=1e-6)


@given(
    st.floats(1e-5, 1.0), st.floats(1e-6, 0.1), st.one_of(st.just(0.0), st.floats(1e-8, 1e-3)), st.floats(0.01, 0.99)
)
def test_the_latency_at_a_rate_is_that_of_the_requests_in_flight(
    base: float, linear: float, square: float, share: float
) -> None:
    """Below the capacity the latency at a rate satisfies Little's law, and the knee lies below the capacity."""
    law = Scalability(base, linear, square)
    rate = share * law.capacity_per_second
    in_flight = rate * law.latency_at(rate)
    assert law.throughput_per_second(in_flight) == pytest.approx(rate, rel=1e-6)
    assert law.knee_per_second < law.capacity_per_second
    knee = law.knee_in_flight
    powers = [law.throughput_per_second(n) ** 2 / n for n in (0.9 * knee, knee, 1.1 * knee)]
    assert max(powers) == powers[1]


def test_too_few_rates_are_no_fit() -> None:
    """Three rates are not enough, and the message says how many are."""
    with pytest.raises(CapacityError, match="3 rates were measured without failures; a fit needs at least 4"):
        Scalability.fitted([1, 2, 3], [1, 1, 1])


def test_a_latency_that_does_not_grow_is_no_fit() -> None:
    """Where latency is the same at all rates, nothing is known of the capacity."""
    with pytest.raises(CapacityError, match="latency does not grow"):
        Scalability.fitted([100, 200, 400, 800], [0.01, 0.005, 0.0025, 0.00125])
