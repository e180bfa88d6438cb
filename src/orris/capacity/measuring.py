"""Raises the rate of an open loop step by step until the server's latency departs, and measures each step.

The rate doubles until a step is too much: requests fail, answers do not keep up, or the 99th percentile has grown
tenfold. Between the last step that was not and the first that was, further rates show the bend. Requests come at random
times (a Poisson process), as those of many callers do.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from orris.capacity.observing import Usage
from orris.loadtest import Arrivals, Run, Target, drive

FIRST_PER_SECOND = 50.0
"""The first rate."""

KEEPS_UP = 0.97
"""A server that answers less than this share of what is sent does not keep up."""

FEW = 10
"""So many requests may be under way at the end of a rate, however few were sent."""

MAX_ERROR_SHARE = 0.01
"""More failures than this share, and the rate is too much."""

DEPARTED = 10.0
"""A 99th percentile of so many times the first ones' has departed."""

SHARES = (0.25, 0.5, 0.625, 0.75, 0.875)
"""Rates between the last that was not too much (0) and the first that was (1)."""

MAX_STEPS = 24
"""Most doublings: 50 × 2²⁴ is more than any driver sends."""


@dataclass(frozen=True)
class Point:
    """The measurements at one rate.

    Attributes:
        offered_per_second: Requests that were meant to start.
        answered_per_second: Requests that were answered as they should be.
        error_share: Requests that failed, of all.
        errors: Failures by kind.
        mean_seconds: Mean latency, from the intended start.
        p50_seconds: Median latency.
        p99_seconds: 99th percentile of the latency.
        cpu_cores: Processors that the server used; NaN if it does not say.
        memory_bytes: Resident memory of the server afterwards; NaN if it does not say.
        driver_limited: Why the driver, not the server, set these numbers; empty: it did not.
        seconds: How long the rate was held.
    """

    offered_per_second: float
    answered_per_second: float
    error_share: float
    errors: dict[str, int]
    mean_seconds: float
    p50_seconds: float
    p99_seconds: float
    cpu_cores: float = float("nan")
    memory_bytes: float = float("nan")
    driver_limited: str = ""
    seconds: float = 0.0

    @property
    def in_flight(self) -> float:
        """Requests in flight, by Little's law."""
        return self.answered_per_second * self.mean_seconds

    @property
    def keeps_up(self) -> bool:
        """Whether what was sent was answered."""
        missing = self.offered_per_second - self.answered_per_second
        enough = missing <= (1 - KEEPS_UP) * self.offered_per_second or missing * self.seconds <= FEW
        return enough and self.error_share <= MAX_ERROR_SHARE


@dataclass(frozen=True)
class Measurements:
    """The measured rates, ascending.

    Attributes:
        model: ``NAME@VERSION`` that answered.
        points: The rates.
        rows_per_request: Rows in each request.
        seconds_each: How long each rate was held.
        conditions: How the replica was held to its processors, and what else holds for the numbers; in words.
        interrupted: It was ended early, and these rates are all that was measured.
    """

    model: str
    points: tuple[Point, ...]
    rows_per_request: int = 1
    seconds_each: float = 0.0
    conditions: tuple[str, ...] = ()
    interrupted: bool = False

    @property
    def clean(self) -> list[Point]:
        """The rates without failures, though answers may have come late: what a law is fitted to."""
        return [
            point for point in self.points if point.error_share <= MAX_ERROR_SHARE and point.answered_per_second > 0
        ]

    @property
    def good(self) -> list[Point]:
        """The rates that the server kept up with."""
        return [point for point in self.points if point.keeps_up]


class Driver(Protocol):
    """``loadtest.drive``, or what stands for it."""

    def __call__(
        self, target: Target, arrivals: Arrivals, *, connections: int, warm_up_seconds: float, seed: int
    ) -> Run:
        """Send requests and measure the answers."""


def measure(
    target: Target,
    *,
    usage: Callable[[], Usage] = Usage,
    seconds_each: float = 5.0,
    first_per_second: float = FIRST_PER_SECOND,
    max_per_second: float = float("inf"),
    connections: int = 128,
    on_point: Callable[[Point], None] | None = None,
    driver: Driver = drive,
) -> Measurements:
    """Measure a server at rising rates until its latency departs.

    Ctrl-C ends it, and what was measured until then is returned.

    Args:
        target: The requests.
        usage: Says how much processor time and memory the server has used so far.
        seconds_each: How long each rate is held, behind a tenth of that to warm up.
        first_per_second: The first rate.
        max_per_second: The highest rate that is tried.
        connections: Connections to the server.
        on_point: Called with each measured rate.
        driver: Sends the requests.

    Raises:
        LoadTestError: The server could not be reached.
    """
    points: list[Point] = []
    interrupted = False

    def step(per_second: float) -> Point:
        nonlocal interrupted
        before = usage()
        arrivals = Arrivals.constant(per_second, seconds_each, poisson=True, seed=len(points))
        run = driver(target, arrivals, connections=connections, warm_up_seconds=0.1 * seconds_each, seed=len(points))
        point = point_of(run, before, usage(), 1.1 * seconds_each)
        if run.interrupted:
            interrupted = True
            raise KeyboardInterrupt
        points.append(point)
        if on_point is not None:
            on_point(point)
        return point

    try:
        _raise_rate(step, points, first_per_second, max_per_second)
    except KeyboardInterrupt:
        interrupted = True
    points.sort(key=lambda point: point.offered_per_second)
    return Measurements(target.model, tuple(points), seconds_each=seconds_each, interrupted=interrupted)


def _raise_rate(
    step: Callable[[float], Point], points: Sequence[Point], first_per_second: float, max_per_second: float
) -> None:
    """Double the rate until it is too much, then look at rates in between."""
    low, high = 0.0, first_per_second
    for _ in range(MAX_STEPS):
        high = min(high, max_per_second)
        if too_much(step(high), points):
            break
        low = high
        if high >= max_per_second:
            return
        high *= 2
    for share in SHARES:
        step(low + share * (high - low))


def too_much(point: Point, points: Sequence[Point]) -> bool:
    """Whether latency has departed at a rate, by the rates that were measured before."""
    usual = min((each.p99_seconds for each in points if each.keeps_up), default=point.p99_seconds)
    return not point.keeps_up or point.p99_seconds > DEPARTED * usual


def point_of(run: Run, before: Usage, after: Usage, seconds: float) -> Point:
    """A rate, from the run that held it.

    Args:
        run: The run.
        before: What the server had used before it.
        after: What it had used after it.
        seconds: How long requests were sent, warm-up included.
    """
    whole = run.whole
    latency = whole.latency
    cpu_seconds = after.cpu_seconds - before.cpu_seconds
    return Point(
        whole.offered_per_second,
        whole.throughput_per_second,
        whole.error_share,
        dict(whole.errors),
        latency.mean_seconds,
        latency.quantile_seconds(0.5),
        latency.quantile_seconds(0.99),
        # The time that late answers take is in neither: beyond the knee this is a little too high.
        cpu_seconds / seconds,
        after.memory_bytes,
        run.driver.reason if run.driver is not None else "",
        whole.seconds,
    )


def described(found: Measurements, **more: Any) -> Measurements:
    """The measurements with what else is known about them."""
    return replace(found, **more)
