"""The universal scalability law: what throughput and latency follow from how many requests are in flight.

With N requests in flight the throughput is X(N) = γN / (1 + σ(N - 1) + κN(N - 1)): γ is the rate of one request at a
time, σ the share of the work that only one request can do at a time (contention), and κ what requests cost each other
(coherency). Source: N. J. Gunther, "Guerrilla Capacity Planning" (2007), chapters 4 to 6.

By Little's law the latency is R = N / X, so that R = b₀ + b₁N + b₂N² with b₀ = (1 - σ)/γ, b₁ = (σ - κ)/γ, b₂ = κ/γ.
That is linear, and is fitted as such, with no coefficient below 0. A server of one processor and requests that arrive
at random (M/M/1) is a case of it: b₀ = b₁ = 1/μ.

The knee is the rate at which throughput divided by latency, the "power", is largest (L. Kleinrock, "Power and
deterministic rules of thumb for probabilistic problems in computer communications", ICC 1979; R. Jain, "The Art of
Computer Systems Performance Analysis" (1991), section 3.3). Before it more requests gain more than they wait, behind it
they lose more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, sqrt

import numpy as np

from orris.errors import CapacityError, MissingExtraError

MIN_POINTS = 4
"""Fewest measured rates that three coefficients are fitted to."""


@dataclass(frozen=True)
class Scalability:
    """The law with its coefficients; latencies are R = ``base`` + ``linear`` N + ``square`` N².

    Attributes:
        base_seconds: b₀, the latency of a request that meets no other.
        linear_seconds: b₁, what each request in flight adds.
        square_seconds: b₂, what each pair adds.
        error: Root mean square of the relative errors of the fitted latencies.
    """

    base_seconds: float
    linear_seconds: float
    square_seconds: float
    error: float = 0.0

    @classmethod
    def fitted(cls, per_second: Sequence[float], latency_seconds: Sequence[float]) -> Scalability:
        """The law that describes measured rates and mean latencies best, by relative least squares.

        Args:
            per_second: Answered requests a second, ``(n_points,)``.
            latency_seconds: Their mean latency, ``(n_points,)``.

        Raises:
            CapacityError: There are fewer than ``MIN_POINTS`` points, or latency does not grow.
            MissingExtraError: The extra ``load`` is not installed.
        """
        rates, latencies = np.asarray(per_second, np.float64), np.asarray(latency_seconds, np.float64)
        if len(rates) < MIN_POINTS:
            raise CapacityError(
                f"{len(rates)} rates were measured without failures; a fit needs at least {MIN_POINTS}: measure for"
                " longer, or from a lower rate on"
            )
        try:
            from scipy.optimize import nnls  # noqa: PLC0415 (only a plan needs it)
        except ImportError as missing:
            raise MissingExtraError("load", "a capacity plan") from missing
        in_flight = rates * latencies
        terms = np.stack([np.ones_like(in_flight), in_flight, in_flight**2], axis=1)
        found, _ = nnls(terms / latencies[:, None], np.ones_like(latencies))
        if found[1] + found[2] <= 0:
            raise CapacityError("latency does not grow with the rate; measure up to higher rates")
        error = float(np.sqrt(np.mean((terms @ found / latencies - 1) ** 2)))
        base, linear, square = found.tolist()
        return cls(base, linear, square, error)

    @property
    def single_per_second(self) -> float:
        """γ: the rate of one request at a time."""
        return 1 / (self.base_seconds + self.linear_seconds + self.square_seconds)

    @property
    def contention(self) -> float:
        """σ: the share of the work that only one request can do at a time."""
        return 1 - self.base_seconds * self.single_per_second

    @property
    def coherency(self) -> float:
        """κ: what each pair of requests costs, as a share of a request's work."""
        return self.square_seconds * self.single_per_second

    @property
    def capacity_per_second(self) -> float:
        """The highest throughput, Jain's nominal capacity: where it turns, or what it approaches if it never does."""
        if not self.square_seconds:
            return 1 / self.linear_seconds if self.linear_seconds else inf
        return self.throughput_per_second(sqrt(self.base_seconds / self.square_seconds))

    @property
    def knee_in_flight(self) -> float:
        """N at the knee: where R(N) = 2 N R'(N), which is b₀ - b₁N - 3b₂N² = 0."""
        b0, b1, b2 = self.base_seconds, self.linear_seconds, self.square_seconds
        return 2 * b0 / (b1 + sqrt(b1**2 + 12 * b0 * b2))

    @property
    def knee_per_second(self) -> float:
        """The rate at the knee."""
        return self.throughput_per_second(self.knee_in_flight)

    def latency_seconds(self, in_flight: float) -> float:
        """R(N), the mean latency with so many requests in flight."""
        return self.base_seconds + self.linear_seconds * in_flight + self.square_seconds * in_flight**2

    def throughput_per_second(self, in_flight: float) -> float:
        """X(N), the throughput with so many requests in flight."""
        return in_flight / self.latency_seconds(in_flight) if in_flight else 0.0

    def latency_at(self, per_second: float) -> float:
        """The mean latency at a rate, in seconds; infinite from the capacity on.

        N is the smaller solution of X(N) = rate: b₂xN² + (b₁x - 1)N + b₀x = 0.
        """
        if per_second >= self.capacity_per_second:
            return inf
        a, b, c = self.square_seconds * per_second, 1 - self.linear_seconds * per_second, self.base_seconds * per_second
        in_flight = 2 * c / (b + sqrt(max(0.0, b * b - 4 * a * c)))
        return self.latency_seconds(in_flight)
