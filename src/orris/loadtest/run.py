"""The measurements of a load test: slices of time, routes, steps, and the sums over them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from orris.loadtest.arrivals import Step
from orris.loadtest.histogram import Histogram
from orris.loadtest.littles_law import TOLERANCE, LittlesLaw


@dataclass(frozen=True)
class Slice:
    """A short part of the measured time.

    Attributes:
        begin_seconds: Since the measurement began.
        seconds: Its length.
        offered: Requests that were meant to start in it.
        answered: Requests whose answer arrived in it.
        errors: Failures in it, by kind: ``HTTP 503``, ``gRPC UNAVAILABLE``, ``timeout``, ``connection refused`` …
        latency: Of the answered requests that were meant to start in it, whenever they were answered.
        received_bytes: Bytes of the answers that arrived in it.
    """

    begin_seconds: float
    seconds: float
    offered: int
    answered: int
    errors: dict[str, int]
    latency: Histogram
    received_bytes: int = 0


@dataclass(frozen=True)
class RouteResult:
    """The measurements of one route of a mix.

    Attributes:
        name: Such as ``native`` or ``v2-binary``.
        answered: Answered requests.
        errors: Failures by kind.
        latency: Of the answered requests.
        sent_bytes: Bytes of the requests, heads included.
        received_bytes: Bytes of the answers, heads included where the engine sees them.
    """

    name: str
    answered: int
    errors: dict[str, int]
    latency: Histogram
    sent_bytes: int = 0
    received_bytes: int = 0


@dataclass(frozen=True)
class DriverLoad:
    """How hard the driver itself worked: where it is late or out of time, the numbers are its own, not the server's.

    Of Locust and wrk only the processor time is known; the other numbers are 0 then.

    Attributes:
        cpu_share: Processor time of the driver's process over the measured time; 1.0 is a whole core.
        late_p50_seconds: Median of the time from the intended start of a request to when the driver came to it.
        late_p99_seconds: 99th percentile of the same.
        late_max_seconds: Longest of the same.
        late_share: Share of the sum of all latencies that the driver was late.
        n_waited: Requests that waited for a free connection.
        max_in_flight: Most requests that were started and not answered at one time.
    """

    cpu_share: float
    late_p50_seconds: float
    late_p99_seconds: float
    late_max_seconds: float
    late_share: float
    n_waited: int
    max_in_flight: int

    @property
    def is_bottleneck(self) -> bool:
        """Whether the driver, rather than the server, set the numbers: see ``reason``."""
        return self.reason != ""

    @property
    def reason(self) -> str:
        """In words why the driver is the bottleneck; empty: it is not."""
        if self.cpu_share > MAX_CPU_SHARE:
            return f"the driver used {self.cpu_share:.0%} of a processor core, of which it cannot use more than one"
        if self.late_share > MAX_LATE_SHARE and self.late_p99_seconds > MIN_LATE_SECONDS:
            return (
                f"the driver sent late: {self.late_p99_seconds * 1e3:.1f} ms at the 99th percentile, which makes"
                f" {self.late_share:.0%} of the latency"
            )
        return ""


MAX_ERRORS_FOR_LAW, MIN_ANSWERS_FOR_LAW = 0.01, 20
"""With more failures, or fewer answers, Little's law says nothing of a run."""

MAX_SLACK = 0.25
"""Where the requests that cross the ends of a run may make more than this share, it was not in a steady state."""

MAX_CPU_SHARE = 0.9
"""From here on the driver has no time left, and requests queue in it."""

MAX_LATE_SHARE, MIN_LATE_SECONDS = 0.25, 0.001
"""Lateness that is less than this share of the latency, or less long, is no bottleneck."""


@dataclass(frozen=True)
class Part:
    """Sums over consecutive slices: the whole run, or one step of it.

    Attributes:
        seconds: Length.
        offered: Requests that were meant to start.
        answered: Requests that were answered within it.
        errors: Failures by kind.
        latency: Of the answered requests that were meant to start in it.
        received_bytes: Bytes of the answers.
    """

    seconds: float
    offered: int
    answered: int
    errors: dict[str, int]
    latency: Histogram
    received_bytes: int = 0

    @classmethod
    def of(cls, slices: Iterable[Slice]) -> Part:
        """The sums over these slices."""
        chosen = list(slices)
        errors: Counter[str] = Counter()
        for each in chosen:
            errors.update(each.errors)
        return cls(
            sum(each.seconds for each in chosen),
            sum(each.offered for each in chosen),
            sum(each.answered for each in chosen),
            dict(errors),
            Histogram.total([each.latency for each in chosen]),
            sum(each.received_bytes for each in chosen),
        )

    @property
    def n_errors(self) -> int:
        """All failures."""
        return sum(self.errors.values())

    @property
    def error_share(self) -> float:
        """Failures over all requests that ended; 0.0 if none did."""
        ended = self.answered + self.n_errors
        return self.n_errors / ended if ended else 0.0

    @property
    def throughput_per_second(self) -> float:
        """Answered requests a second."""
        return self.answered / self.seconds if self.seconds else 0.0

    @property
    def offered_per_second(self) -> float:
        """Requests a second that were meant to start."""
        return self.offered / self.seconds if self.seconds else 0.0


@dataclass(frozen=True)
class Run:
    """A load test's result.

    Attributes:
        url: The server.
        model: ``NAME@VERSION`` that answered; empty if the server did not say.
        engine: What sent the requests: ``asyncio``, ``locust`` or ``wrk``.
        loop: ``open``: requests started when they were due; ``closed``: each user waited for the answer to the last.
        started: When the measurement began, ISO 8601, UTC.
        warm_up_seconds: Time before it, which is not in any number.
        slices: Consecutive parts of the measured time.
        routes: By route of the mix.
        steps: The plan of an open loop.
        connections: Connections, or channels, to the server.
        users: Users of a closed loop; 0 in an open one.
        think_seconds: Least and most time that a user waits between an answer and the next request.
        mean_in_flight: Mean number of requests that were started and not answered, counted as they came and went;
            ``None`` where the engine does not count them.
        driver: The driver's own work; ``None`` for an engine that does not report it.
        interrupted: Whether it was ended early; what was measured until then is here.
        unanswered: Requests that were still under way when an interrupted run ended.
        samples: For each kind of error, what the server said the first time.
    """

    url: str
    model: str
    engine: Literal["asyncio", "locust", "wrk"]
    loop: Literal["open", "closed"]
    started: str
    warm_up_seconds: float
    slices: tuple[Slice, ...]
    routes: tuple[RouteResult, ...]
    steps: tuple[Step, ...] = ()
    connections: int = 0
    users: int = 0
    think_seconds: tuple[float, float] = (0.0, 0.0)
    mean_in_flight: float | None = None
    driver: DriverLoad | None = None
    interrupted: bool = False
    unanswered: int = 0
    samples: dict[str, str] = field(default_factory=dict)

    @property
    def whole(self) -> Part:
        """The sums over all slices."""
        return Part.of(self.slices)

    @property
    def littles_law(self) -> LittlesLaw | None:
        """Little's law on this run's numbers.

        ``None``: it cannot be checked, since requests that failed are in no latency, or too little was measured.
        """
        whole = self.whole
        if whole.error_share > MAX_ERRORS_FOR_LAW or whole.latency.count < MIN_ANSWERS_FOR_LAW:
            return None
        if self.loop == "open":
            if self.mean_in_flight is None:
                return None
            # Requests that cross the ends of the run are counted by one side alone.
            crossing = 0.0 if self.driver is None else self.driver.max_in_flight * whole.latency.max_seconds
            slack = 2 * crossing / whole.seconds / self.mean_in_flight if self.mean_in_flight else 0.0
            if slack > MAX_SLACK:
                return None
            return LittlesLaw(
                self.mean_in_flight,
                whole.latency.count / whole.seconds,
                whole.latency.mean_seconds,
                tolerance=TOLERANCE + slack,
            )
        think = sum(self.think_seconds) / 2
        users = self.users or self.connections
        # A user's last cycle ends after the run does.
        cycle = (whole.latency.mean_seconds + think) / whole.seconds
        return LittlesLaw(
            users, whole.throughput_per_second, whole.latency.mean_seconds, think, tolerance=TOLERANCE + cycle
        )

    def part(self, begin_seconds: float, end_seconds: float) -> Part:
        """The sums over the slices that lie within these seconds of the measured time."""
        return Part.of(
            each
            for each in self.slices
            if each.begin_seconds >= begin_seconds - 1e-9 and each.begin_seconds + each.seconds <= end_seconds + 1e-9
        )

    def parts(self, settle_seconds: float = 0.0) -> list[tuple[Step, Part]]:
        """Each step of an open loop with its sums, without the step's first ``settle_seconds``."""
        found: list[tuple[Step, Part]] = []
        begin = 0.0
        for step in self.steps:
            found.append((step, self.part(begin + settle_seconds, begin + step.seconds)))
            begin += step.seconds
        return found
