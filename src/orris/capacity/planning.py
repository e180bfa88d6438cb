"""Derives a deployment from what one replica was measured to take. ``reasons`` says each number's origin in words."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, inf, isnan

import numpy as np

from orris.capacity.measuring import Measurements, Point
from orris.capacity.scalability import Scalability
from orris.errors import CapacityError

CPU_STEP, MEMORY_STEP = 0.05, 64
"""Requests are rounded up to these: processors, and MiB."""

MEMORY_FACTOR = 1.5
"""Memory of the limit, as a multiple of what was seen under load: for reloads, when two versions are loaded."""

LEAST_QUEUE_SECONDS = 0.005
"""The shortest wait that overload is judged by; the turns of a busy loop are not much shorter."""


@dataclass(frozen=True)
class Demand:
    """The demands on a deployment, and its price.

    Attributes:
        p99_seconds: The latency objective: 99 % of the requests are answered within; infinite: the knee decides.
        expected_per_second: Requests a second, usually.
        peak_per_second: Requests a second at most; 0: as usual.
        n_zones: Zones that replicas are spread over; one may be lost.
        headroom: Share of a replica's rate that is kept free, for growth until new replicas are ready.
        price_per_core_hour: Price of a processor for an hour; NaN: unknown.
    """

    p99_seconds: float = inf
    expected_per_second: float = 0.0
    peak_per_second: float = 0.0
    n_zones: int = 3
    headroom: float = 0.2
    price_per_core_hour: float = float("nan")

    def __post_init__(self) -> None:
        if self.p99_seconds <= 0:
            raise CapacityError(f"a latency objective of {self.p99_seconds * 1e3:g} ms: it must be above 0")
        if not 0 <= self.headroom < 1:
            raise CapacityError(f"headroom {self.headroom:g}: it is a share, at least 0 and below 1")
        if self.n_zones < 1:
            raise CapacityError(f"{self.n_zones} zones: there is at least one")
        if self.expected_per_second < 0 or self.peak_per_second < 0:
            raise CapacityError("a rate is not below 0")

    @property
    def highest_per_second(self) -> float:
        """The peak, or what is expected if no peak was named."""
        return max(self.expected_per_second, self.peak_per_second)


@dataclass(frozen=True)
class Plan:
    """The recommended deployment.

    Attributes:
        measured: What it is derived from.
        law: The fitted law.
        demand: What is asked for.
        usable_per_second: The rate up to which one replica meets the objective.
        target_per_second: The rate that a replica is given: ``usable`` without the headroom.
        cpus: Processors that a replica requests.
        memory_mib: Memory that it requests, and may use.
        workers: Its processes.
        threads: Threads for one call of the model.
        cpu_percent: Target of an HPA: percent of the requested processors.
        predictions_per_minute: Threshold of KEDA: rows a minute of one replica.
        min_replicas: For the expected rate, with one zone lost.
        max_replicas: For the peak, with one zone lost.
        queue_seconds: ``ORRIS_MAX_QUEUE_SECONDS``.
        idle_cores: Processors that a replica uses without requests; NaN: unknown.
        seconds_per_request: Processor time of a request; NaN: unknown.
        memory_bytes: Most memory that the measured replica held; NaN: unknown.
        held_cpus: Processors that the measured replica was held to; NaN: unknown.
    """

    measured: Measurements
    law: Scalability
    demand: Demand
    usable_per_second: float
    target_per_second: float
    cpus: float
    memory_mib: int
    workers: int
    threads: int
    cpu_percent: int
    predictions_per_minute: int
    min_replicas: int
    max_replicas: int
    queue_seconds: float
    idle_cores: float
    seconds_per_request: float
    memory_bytes: float
    held_cpus: float

    @property
    def kept_per_second(self) -> float:
        """The highest measured rate that the replica kept up with."""
        return max(point.answered_per_second for point in self.measured.good)

    @property
    def capacity_per_second(self) -> float:
        """The highest throughput: of the fitted law, or the measured one where that is higher."""
        return max(self.law.capacity_per_second, self.kept_per_second)

    @property
    def cost_per_million(self) -> float:
        """Price of a million predictions at the target rate of each replica; NaN: unknown."""
        predictions_per_hour = self.target_per_second * self.measured.rows_per_request * 3600
        return self.cpus * self.demand.price_per_core_hour / predictions_per_hour * 1e6

    @property
    def expected_cost_per_million(self) -> float:
        """The same at the expected rate, with the replicas that stand by for the loss of a zone; NaN: unknown."""
        if not self.demand.expected_per_second:
            return float("nan")
        predictions_per_hour = self.demand.expected_per_second * self.measured.rows_per_request * 3600
        return self.min_replicas * self.cpus * self.demand.price_per_core_hour / predictions_per_hour * 1e6


def make_plan(
    measured: Measurements, demand: Demand, *, cpus: float = float("nan"), workers: int = 1, threads: int = 1
) -> Plan:
    """The plan for what is asked for.

    Args:
        measured: One replica, measured.
        demand: What is asked for.
        cpus: Processors that the replica was held to; NaN: unknown, so that what it used is requested.
        workers: Its processes.
        threads: Threads for one call of the model.

    Raises:
        CapacityError: Too little was measured, or no measured rate meets the objective.
        MissingExtraError: The extra ``load`` is not installed.
    """
    clean, good = measured.clean, measured.good
    if not good:
        raise CapacityError(
            "the server kept up with no rate that was measured; begin with a lower one, or give it more processors"
        )
    law = Scalability.fitted([point.answered_per_second for point in clean], [point.mean_seconds for point in clean])
    usable = law.knee_per_second if demand.p99_seconds == inf else usable_rate(good, demand.p99_seconds)
    target = usable * (1 - demand.headroom)
    idle, per_request = cpu_line(good)
    needed = idle + per_request * usable
    requested = ceil(round((needed if isnan(cpus) else cpus) / CPU_STEP, 6)) * CPU_STEP if not isnan(needed) else cpus
    memory = max((p.memory_bytes for p in measured.points if not isnan(p.memory_bytes)), default=float("nan"))
    percent = 100 * (idle + per_request * target) / requested
    return Plan(
        measured,
        law,
        demand,
        usable,
        target,
        1.0 if isnan(requested) else round(requested, 3),
        512 if isnan(memory) else ceil(MEMORY_FACTOR * memory / 2**20 / MEMORY_STEP) * MEMORY_STEP,
        workers,
        threads,
        60 if isnan(percent) else max(1, min(95, round(percent))),
        max(1, int(target * 60 * measured.rows_per_request)),
        replicas(demand.expected_per_second, usable, target, demand.n_zones),
        replicas(demand.highest_per_second, usable, target, demand.n_zones),
        queue_seconds(good, law, demand),
        idle,
        per_request,
        memory,
        cpus,
    )


def usable_rate(points: list[Point], p99_seconds: float) -> float:
    """The rate up to which the 99th percentile keeps to an objective: Jain's usable capacity.

    Between measured rates the percentile is taken to grow in a straight line.

    Raises:
        CapacityError: No measured rate meets the objective.
    """
    rates = [point.answered_per_second for point in points]
    tails = rising([point.p99_seconds for point in points])
    if not rates or tails[0] > p99_seconds * (1 + 1e-9):
        found = f"{tails[0] * 1e3:.1f} ms at {rates[0]:,.0f} a second" if rates else "nothing was answered in time"
        raise CapacityError(
            f"no measured rate meets a 99th percentile of {p99_seconds * 1e3:g} ms: it is {found}; ask for more time,"
            " or give the replica more processors"
        )
    for i in range(1, len(rates)):
        if tails[i] > p99_seconds:
            share = (p99_seconds - tails[i - 1]) / (tails[i] - tails[i - 1])
            return float(rates[i - 1] + share * (rates[i] - rates[i - 1]))
    return float(rates[-1])


def rising(tails: list[float]) -> list[float]:
    """Percentiles that do not fall from one rate to the next, closest to the measured ones in squares of logarithms.

    Where a higher rate had a lower percentile, that was chance at one of the two, and both get their geometric mean
    (isotonic regression; scipy needs the extra ``load``).
    """
    if not tails:
        return []
    from scipy.optimize import isotonic_regression  # noqa: PLC0415 (only a plan needs it)

    found: list[float] = np.exp(isotonic_regression(np.log(np.maximum(tails, 1e-9))).x).tolist()
    return found


def cpu_line(points: list[Point]) -> tuple[float, float]:
    """Processors that the server uses without requests, and processor seconds for each: a straight line's fit.

    Both are NaN if the server does not say what it uses.
    """
    known = [(point.answered_per_second, point.cpu_cores) for point in points if not isnan(point.cpu_cores)]
    if len(known) < 2:
        return float("nan"), float("nan")
    rates, cores = np.array(known).T
    slope, start = np.polyfit(rates, cores, 1)
    if start < 0 or slope <= 0:
        return 0.0, float((rates @ cores) / (rates @ rates))
    return float(start), float(slope)


def replicas(per_second: float, usable_per_second: float, target_per_second: float, n_zones: int) -> int:
    """Fewest replicas for a rate: each at its target, and when one zone is lost the others within what is usable.

    They are spread evenly, so that a zone has at most ``ceil(n / n_zones)`` of them. At least one per zone, and two.
    """
    n = max(ceil(per_second / target_per_second), min(n_zones, 3), 2)
    if n_zones == 1:
        return n
    while (n - ceil(n / n_zones)) * usable_per_second < per_second:
        n += 1
    return n


def queue_seconds(points: list[Point], law: Scalability, demand: Demand) -> float:
    """The longest wait: half of the objective, or the 99th percentile at the knee, and at least a busy loop's turn."""
    if demand.p99_seconds < inf:
        wait = demand.p99_seconds / 2
    else:
        rates = [point.answered_per_second for point in points]
        tails = rising([point.p99_seconds for point in points])
        wait = float(np.interp(law.knee_per_second, rates, tails))
    return max(LEAST_QUEUE_SECONDS, float(f"{wait:.2g}"))
