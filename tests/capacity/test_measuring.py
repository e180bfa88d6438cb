"""Tests of the measurement, on queues whose capacity and knee are known."""

from __future__ import annotations

from typing import Literal

import pytest

from orris.capacity import Demand, make_plan, measure
from orris.loadtest import target_of
from tests.capacity.queues import SERVICE_SECONDS, Queue

TARGET = target_of("http://127.0.0.1:1", [b"{}"])
CAPACITY = 1 / SERVICE_SECONDS


@pytest.mark.parametrize(("kind", "knee"), [("M/M/1", 0.5), ("M/D/1", 0.586)])
def test_the_knee_of_a_queue_is_found(kind: Literal["M/M/1", "M/D/1"], knee: float) -> None:
    """Capacity and knee of a queue with random or equal service times are found within a tenth and a fifth.

    Kleinrock's knee is where one request is in flight on average: half of the capacity for M/M/1, and 2 - √2 of it for
    M/D/1.
    """
    found = measure(TARGET, driver=Queue(kind), seconds_each=40, first_per_second=20)
    plan = make_plan(found, Demand())
    assert plan.law.capacity_per_second == pytest.approx(CAPACITY, rel=0.1)
    assert plan.law.knee_per_second == pytest.approx(knee * CAPACITY, rel=0.2)
    assert found.points == tuple(sorted(found.points, key=lambda point: point.offered_per_second))


def test_the_rate_rises_until_it_is_too_much_and_then_shows_the_bend() -> None:
    """Rates double up to the first that is not kept up with; the further ones lie between it and the last that was."""
    queue = Queue("M/M/1")
    found = measure(TARGET, driver=queue, seconds_each=20, first_per_second=25)
    doubled = [rate for rate in queue.rates if rate in {25 * 2**n for n in range(10)}]
    assert doubled == [25 * 2**n for n in range(len(doubled))]
    low, high = doubled[-2:]
    assert low < CAPACITY <= 2 * high
    assert all(low < rate < high for rate in queue.rates[len(doubled) :])
    assert not found.points[-1].keeps_up
    assert found.points[0].keeps_up


def test_no_rate_is_above_the_highest_that_is_allowed() -> None:
    """With a highest rate below the knee the measurement ends there."""
    queue = Queue("M/M/1")
    measure(TARGET, driver=queue, seconds_each=5, first_per_second=20, max_per_second=70)
    assert queue.rates == [20, 40, 70]


def test_ctrl_c_keeps_what_was_measured() -> None:
    """When a step is interrupted, the steps before it are returned, and nothing further is sent."""
    queue = Queue("M/M/1", interrupt_at=3)
    found = measure(TARGET, driver=queue, seconds_each=5, first_per_second=20)
    assert [round(point.offered_per_second) for point in found.points] == [20, 40]
    assert found.interrupted
    assert len(queue.rates) == 3
