"""Tests of Little's law on published numbers that break it, and on a simulated queue that keeps it."""

from __future__ import annotations

import math

import numpy as np
import pytest

from orris.loadtest.littles_law import LittlesLaw
from tests.loadtest.runs import made_run


def test_users_and_throughput_imply_the_latency() -> None:
    """100 users that think for 1.5 s and get 11.3 answers a second waited 7.35 s for each, whatever was reported."""
    law = LittlesLaw(100, 11.3, think_seconds=1.5)
    assert law.implied_response_seconds == pytest.approx(100 / 11.3 - 1.5)
    assert law.verdict == "unknown"
    assert "mean 7.35 s for each" in law.words


def test_a_fast_answer_and_a_low_throughput_do_not_go_together() -> None:
    """11.3 answers a second for 100 users with answers in 50 ms would leave four fifths of their time unexplained."""
    law = LittlesLaw(100, 11.3, 0.05, 1.5)
    assert law.verdict == "unaccounted"
    assert law.accounted_share == pytest.approx(0.175, abs=0.001)


def test_time_outside_the_latency_is_found() -> None:
    """279.55 answers a second on 100 connections are 358 ms each; with a mean of 199 ms, 44 % is in no latency."""
    law = LittlesLaw(100, 279.55, 0.199)
    assert law.implied_response_seconds == pytest.approx(0.358, abs=0.001)
    assert law.verdict == "unaccounted"
    assert "44% of the time lies outside the latency" in law.words


@pytest.mark.parametrize(
    "law", [LittlesLaw(10, 100, 0.5), LittlesLaw(100, 200, think_seconds=1.5), LittlesLaw(100, 200, 0.1, 1.5)]
)
def test_more_than_the_users_can_do_is_impossible(law: LittlesLaw) -> None:
    """Ten users cannot get 100 answers a second that take half a second each, nor users that think send faster."""
    assert law.verdict == "impossible"
    assert law.words.startswith("Impossible")


def test_a_simulated_queue_keeps_the_law() -> None:
    """The mean number in an M/M/1 queue, counted in time, is its throughput times its mean sojourn."""
    generator = np.random.default_rng(1)
    n_requests, rate = 50_000, 80.0
    arrivals = np.cumsum(generator.exponential(1 / rate, n_requests))
    service = generator.exponential(1 / 100, n_requests)
    ends = np.empty(n_requests)
    free = 0.0
    for i in range(n_requests):
        free = max(free, arrivals[i]) + service[i]
        ends[i] = free
    # What is in the queue is counted at instants of its own, not from the sojourns.
    instants = np.linspace(0, arrivals[-1], 200_001)
    present = np.searchsorted(arrivals, instants, side="right") - np.searchsorted(ends, instants, side="right")
    law = LittlesLaw(float(present.mean()), n_requests / arrivals[-1], float((ends - arrivals).mean()))
    assert law.verdict == "consistent"
    assert law.accounted_share == pytest.approx(1.0, abs=0.02)
    assert float((ends - arrivals).mean()) == pytest.approx(1 / (100 - rate), rel=0.1)


def test_a_run_is_checked_by_what_was_in_flight() -> None:
    """100 requests a second of 50 ms are 5 in flight; a run that counted 3 or 9 does not fit."""
    slices = [[0.05] * 100] * 10
    for counted, verdict in ((5.0, "consistent"), (9.0, "unaccounted"), (3.0, "impossible")):
        law = made_run(slices, mean_in_flight=counted).littles_law
        assert law is not None
        assert law.verdict == verdict


def test_a_run_with_failures_is_not_checked() -> None:
    """Failed requests are in no latency, so the law says nothing of a run with many."""
    assert made_run([[0.05] * 100], errors={"HTTP 503": 50}, mean_in_flight=5.0).littles_law is None
    assert made_run([[0.05] * 100]).littles_law is None
    assert math.isnan(LittlesLaw(0, 10, 0.1).accounted_share)
