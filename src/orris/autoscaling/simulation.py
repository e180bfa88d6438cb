"""A day of traffic and thousands of replicas, simulated with SimPy from what was measured.

Exact: the autoscaler's algorithm, its periods and memory; the start of each replica; the arrivals of a second, drawn
from Poisson's distribution. Approximated: within a second requests flow as a fluid, replicas are alike, and the time in
the queue is its mean: the backlog's time where more has come than could be served, and otherwise Sakasegawa's
approximation of M/G/n (Ann. Inst. Stat. Math. 29, 1977): ``(1 + scv) / 2 · ρ^(√(2(n+1)) − 1) / (n (1 − ρ))`` service
times.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from orris.autoscaling.hpa import Autoscaler, Decision, Spec, Totals, average_value_replicas
from orris.errors import MissingExtraError

if TYPE_CHECKING:
    import simpy

METRICS_WINDOW_SECONDS = 15.0
RATE_WINDOW_SECONDS = 120.0
"""The window of the rate that the chart's KEDA trigger asks Prometheus for (``keda.window``)."""


@dataclass(frozen=True, slots=True)
class Service:
    """The cost of one request for one replica.

    Attributes:
        cpu_seconds: CPU of a request.
        scv: Squared coefficient of variation of the service time: 0 for constant, 1 for exponential.
        cores: CPU that a replica requests, and may use at most.
        startup_seconds: From the start of a replica until it is ready.
    """

    cpu_seconds: float
    scv: float
    cores: float
    startup_seconds: float

    @property
    def seconds(self) -> float:
        """The service time of a request that is alone, under the quota."""
        return self.cpu_seconds / self.cores

    @property
    def rate(self) -> float:
        """Requests a second of a replica at its quota."""
        return self.cores / self.cpu_seconds


@dataclass(frozen=True, slots=True)
class Traffic:
    """A day: a wave from night to evening, and a sudden rise at noon.

    Attributes:
        peak_rate: Requests a second at 20:00.
        night_share: Share of it at 8:00, where the wave is lowest.
        surge: Factor from 12:00 on.
        surge_seconds: How long it lasts.
        quiet_hours: Hours from midnight with no traffic but a request every ten minutes.
    """

    peak_rate: float
    night_share: float = 0.1
    surge: float = 2.0
    surge_seconds: float = 900
    quiet_hours: float = 0

    def rate(self, second: float) -> float:
        """Requests a second at a second of the day."""
        if second < self.quiet_hours * 3600:
            return 1 / 600
        wave = (1 + math.cos((second / 3600 - 20) / 24 * 2 * math.pi)) / 2
        rate = self.peak_rate * (self.night_share + (1 - self.night_share) * wave)
        return rate * (self.surge if 0 <= second - 43_200 < self.surge_seconds else 1)


@dataclass(frozen=True, slots=True)
class Case:
    """One question to the simulation.

    Attributes:
        name: What it is called in the table.
        service: What a request costs.
        traffic: Requests a second by the second, or the connections of a closed loop.
        spec: The autoscaler; for ``keda`` its target is the requests a second of each replica.
        scaler: ``hpa`` on CPU, or ``keda`` on the rate.
        seconds: How long it takes.
        step_seconds: Length of a step.
        first_replicas: Ready replicas at the beginning.
        patience_seconds: After how long in the queue a request has failed.
        objective_seconds: The latency that is aimed at.
        cooldown_seconds: KEDA's ``cooldownPeriod``: how long without traffic before the last replica goes.
    """

    name: str
    service: Service
    traffic: Callable[[float], float] | int
    spec: Spec
    scaler: Literal["hpa", "keda"] = "hpa"
    seconds: float = 86_400
    step_seconds: float = 1
    first_replicas: int = 1
    patience_seconds: float = 10
    objective_seconds: float = 0.1
    cooldown_seconds: float = 300


@dataclass(frozen=True, slots=True)
class Minute:
    """A point of the series: means over the time since the one before."""

    seconds: float
    rate: float
    wanted: int
    ready: int
    usage_percent: float
    latency_ms: float
    failed_share: float


@dataclass(slots=True)
class Outcome:
    """The result of a case.

    Attributes:
        name: The case's.
        requests: Requests that arrived.
        failed: Those that waited longer than the patience.
        without_replica: Those that arrived when no replica was ready.
        max_ready: Most ready replicas.
        replica_hours: Replicas times hours, from start to end.
        core_hours: The same in requested CPU.
        p50_ms: Median over the requests of the mean latency in their second.
        p99_ms: 99th percentile of it.
        slow_share: Share of the requests in whose second that was over the objective.
        at_maximum_seconds: How long the autoscaler wanted its maximum.
        saturated_seconds: How long every ready replica was at its quota.
        points: The series.
        observation: What follows from it.
    """

    name: str
    requests: int
    failed: int
    without_replica: int
    max_ready: int
    replica_hours: float
    core_hours: float
    p50_ms: float
    p99_ms: float
    slow_share: float
    at_maximum_seconds: float
    saturated_seconds: float
    points: list[Minute]
    observation: str = ""


@dataclass(slots=True)
class Simulation:
    """All cases, and what they began with.

    Attributes:
        at: When it ran, in UTC.
        conditions: Names and values in words.
        outcomes: In the order of the cases.
        checks: Sentences on how a simulation of measured scenarios compares with them.
    """

    at: str
    conditions: dict[str, str]
    outcomes: list[Outcome] = field(default_factory=list)
    checks: list[str] = field(default_factory=list)


def simulate(case: Case, *, seed: int = 0, points: int = 480) -> Outcome:
    """Run a case.

    Args:
        case: The question.
        seed: Of the arrivals; equal seeds give equal outcomes.
        points: Points of the series.

    Raises:
        MissingExtraError: SimPy is not installed.
    """
    try:
        import simpy  # noqa: PLC0415 (an extra)
    except ImportError as error:
        raise MissingExtraError("experiment", "the simulation") from error
    environment = simpy.Environment()
    run = _Run(case, environment, np.random.default_rng(seed), case.seconds / points)
    environment.process(run.flow())
    environment.process(run.scale())
    environment.run(until=case.seconds + case.step_seconds / 2)
    return run.outcome()


@dataclass(slots=True)
class _Run:
    case: Case
    environment: simpy.Environment
    random: np.random.Generator
    point_seconds: float
    wanted: int = field(init=False)
    ready: int = field(init=False)
    starting: list[Any] = field(default_factory=list)
    young: deque[tuple[float, int]] = field(default_factory=deque)
    backlog: float = 0
    rate: float = 0
    used: deque[tuple[float, float, int]] = field(default_factory=deque)
    arrived: deque[tuple[float, float]] = field(default_factory=deque)
    last_request: float = 0
    latencies: list[float] = field(default_factory=list)
    weights: list[float] = field(default_factory=list)
    points: list[Minute] = field(default_factory=list)
    sums: list[float] = field(default_factory=lambda: [0.0] * 6)
    totals: list[float] = field(default_factory=lambda: [0.0] * 6)
    max_ready: int = 0
    scaler: Autoscaler = field(init=False)

    def __post_init__(self) -> None:
        self.wanted = self.ready = self.case.first_replicas
        self.scaler = Autoscaler(self.case.spec)

    def flow(self) -> Generator[Any, None, None]:
        """Requests arrive and are served, a step at a time."""
        case, step = self.case, self.case.step_seconds
        next_point = self.point_seconds
        while True:
            yield self.environment.timeout(step)
            now, capacity = self.environment.now, self.ready * case.service.rate * step
            arrivals = self._arrivals(now, capacity)
            served = min(self.backlog + arrivals, capacity)
            self.backlog += arrivals - served
            failed = max(0.0, self.backlog - self._patient(now, arrivals, capacity / step))
            self.backlog -= failed
            load = served / capacity if capacity else 0.0
            latency = self._latency(capacity)
            self._record(now, arrivals, served, failed, load, latency)
            if now >= next_point - 1e-6:
                self._take_point(now)
                next_point += self.point_seconds

    def _patient(self, now: float, arrivals: float, rate: float) -> float:
        """How many requests may be in the queue: those that are served, or have come, within the patience."""
        patience = self.case.patience_seconds
        if rate:
            return rate * patience
        return arrivals + sum(count for at, count in self.arrived if at > now - patience)

    def _arrivals(self, now: float, capacity: float) -> float:
        traffic = self.case.traffic
        if isinstance(traffic, int):
            # A closed loop: each answer brings the next request; what is open is never more than the connections.
            most = traffic / self.case.service.seconds * self.case.step_seconds
            return max(0.0, min(traffic - self.backlog + capacity, most))
        step = self.case.step_seconds
        self.rate = traffic(now - step)
        return float(self.random.poisson(self.rate * step))

    def _latency(self, capacity: float) -> float:
        service = self.case.service
        if not capacity:
            # A request waits for the replica that is coming.
            until_ready = service.startup_seconds if self.starting else self.case.patience_seconds
            return min(until_ready, self.case.patience_seconds) + service.seconds
        if isinstance(self.case.traffic, int):
            return max(service.seconds, self.case.traffic / (capacity / self.case.step_seconds))
        rate = capacity / self.case.step_seconds
        if self.backlog > 0:
            return service.seconds + self.backlog / rate  # more came than could be served: no steady state
        utilisation = min(self.rate / rate, 0.999)
        exponent = math.sqrt(2 * (self.ready + 1)) - 1
        waiting: float = (1 + service.scv) / 2 * utilisation**exponent / (self.ready * (1 - utilisation))
        return service.seconds * (1 + waiting)

    def _record(self, now: float, arrivals: float, served: float, failed: float, load: float, latency: float) -> None:
        step = self.case.step_seconds
        self.used.append((now, served * self.case.service.cpu_seconds, self.ready))
        self.arrived.append((now, arrivals))
        while self.used[0][0] <= now - self._window():
            self.used.popleft()
        while self.arrived[0][0] <= now - RATE_WINDOW_SECONDS:
            self.arrived.popleft()
        if arrivals:
            self.last_request = now
        if served + failed:
            self.latencies.append(latency)
            self.weights.append(served + failed)
        running = self.ready + len(self.starting)
        values = (arrivals, failed, load * step, latency * step, arrivals if not self.ready else 0.0, running * step)
        for index, value in enumerate(values):
            self.sums[index] += value
            self.totals[index] += value
        self.max_ready = max(self.max_ready, self.ready)

    def _window(self) -> float:
        return METRICS_WINDOW_SECONDS * self.case.spec.sync_seconds / 15

    def _take_point(self, now: float) -> None:
        arrived, failed, load, latency, _, _ = self.sums
        seconds = self.point_seconds
        self.points.append(
            Minute(
                round(now, 3),
                round(arrived / seconds, 3),
                self.wanted,
                self.ready,
                round(load / seconds * 100, 2),
                round(latency / seconds * 1000, 3),
                round(failed / arrived, 6) if arrived else 0.0,
            )
        )
        self.sums = [0.0] * 6

    def scale(self) -> Generator[Any, None, None]:
        """The autoscaler looks, once a sync period."""
        while True:
            yield self.environment.timeout(self.case.spec.sync_seconds)
            decision = self._decide()
            self.wanted = decision.replicas
            for _ in range(self.wanted - self.ready - len(self.starting)):
                self.environment.process(self._start())
            surplus = self.ready + len(self.starting) - self.wanted
            while surplus > 0 and self.starting:  # those that are not ready go first
                self.starting.pop()
                surplus -= 1
            self.ready -= max(0, surplus)

    def _decide(self) -> Decision:
        now, spec = self.environment.now, self.case.spec
        if self.case.scaler == "keda":
            return self._follow_rate(now)
        request = round(self.case.service.cores * 1000)
        while self.young and self.young[0][0] <= now - self._window():
            self.young.popleft()
        young = min(self.ready, sum(count for _, count in self.young))
        old = self.ready - young
        busy = sum(cpu for _, cpu, _ in self.used)
        possible = sum(ready for _, _, ready in self.used) * self.case.service.cores * self.case.step_seconds
        millicores = round(busy / possible * request * old) if possible else 0
        totals = Totals(
            old, millicores, old * request, len(self.starting) + young, (len(self.starting) + young) * request
        )
        return self.scaler.decide(now, self.wanted, totals) if spec.max_replicas else Decision(0, "", None, None)

    def _follow_rate(self, now: float) -> Decision:
        """KEDA's own operator decides between 0 and 1; from 1 on it is the HorizontalPodAutoscaler."""
        spec = self.case.spec
        seconds = min(RATE_WINDOW_SECONDS, max(now, self.case.step_seconds))
        rate = sum(count for _, count in self.arrived) / seconds
        if self.wanted == 0:
            return Decision(1 if rate > 0 else 0, "KEDAScaleTargetActivated", None, rate)
        if spec.min_replicas == 0 and rate == 0 and now - self.last_request >= self.case.cooldown_seconds:
            return Decision(0, "KEDAScaleTargetDeactivated", 0, rate)
        proposal = average_value_replicas(spec, self.wanted, rate)
        decision = self.scaler.follow(now, self.wanted, proposal)
        return Decision(max(1, decision.replicas), decision.reason, decision.recommended, decision.usage)

    def _start(self) -> Generator[Any, None, None]:
        token = object()
        self.starting.append(token)
        yield self.environment.timeout(self.case.service.startup_seconds)
        if token in self.starting:
            self.starting.remove(token)
            self.ready += 1
            self.young.append((self.environment.now, 1))

    def outcome(self) -> Outcome:
        """Sum it up."""
        arrived, failed, _, _, without, running = self.totals
        p50, p99 = weighted_percentiles(self.latencies, self.weights, (50, 99))
        slow = sum(
            weight
            for latency, weight in zip(self.latencies, self.weights, strict=True)
            if latency > self.case.objective_seconds
        )
        maximum = self.case.spec.max_replicas
        at_maximum = sum(point.wanted >= maximum for point in self.points) * self.point_seconds
        saturated = sum(point.usage_percent >= 99 and point.ready > 0 for point in self.points) * self.point_seconds
        found = Outcome(
            self.case.name,
            round(arrived),
            round(failed),
            round(without),
            self.max_ready,
            round(running / 3600, 3),
            round(running / 3600 * self.case.service.cores, 3),
            round(p50 * 1000, 3),
            round(p99 * 1000, 3),
            round(slow / max(1e-9, sum(self.weights)), 6),
            at_maximum,
            saturated,
            self.points,
        )
        found.observation = _observation(found, self.case)
        return found


def weighted_percentiles(values: Sequence[float], weights: Sequence[float], percents: Sequence[float]) -> list[float]:
    """The smallest values below which so many percent of the weight lie; NaN without weight."""
    if not values:
        return [math.nan] * len(percents)
    order = np.argsort(values)
    shares = np.cumsum(np.asarray(weights)[order])
    places = np.searchsorted(shares, np.asarray(percents) / 100 * shares[-1])
    return [float(np.asarray(values)[order][min(place, len(order) - 1)]) for place in places]


def _observation(outcome: Outcome, case: Case) -> str:
    sentences = []
    if outcome.failed:
        share = outcome.failed / max(1, outcome.requests)
        sentences.append(f"{share:.2%} of the requests waited longer than {case.patience_seconds:g} s")
    if outcome.at_maximum_seconds:
        minutes = outcome.at_maximum_seconds / 60
        sentences.append(f"the maximum of {case.spec.max_replicas:,} replicas was reached for {minutes:,.0f} min")
    if outcome.saturated_seconds:
        sentences.append(f"all replicas were at their quota for {outcome.saturated_seconds / 60:,.0f} min")
    if outcome.without_replica:
        sentences.append(f"{outcome.without_replica:,} requests came when no replica was ready")
    text = "; ".join(sentences) or "no request failed, and the replicas kept up"
    return text[0].upper() + text[1:] + "."
