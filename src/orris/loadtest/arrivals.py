"""When requests are meant to start in an open loop: at a constant rate, or one that changes in steps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from orris.errors import LoadTestError

MAX_CHUNK = 8192
"""Most start times that are drawn at once."""


@dataclass(frozen=True, slots=True)
class Step:
    """A rate that holds for some time.

    Attributes:
        per_second: Requests that are meant to start in a second; more than 0.
        seconds: How long; more than 0.
    """

    per_second: float
    seconds: float

    def __post_init__(self) -> None:
        if not (0 < self.per_second < np.inf and 0 < self.seconds < np.inf):
            raise LoadTestError(
                f"a step of {self.per_second:g} requests a second for {self.seconds:g} s: both must be above 0"
            )


@dataclass(frozen=True)
class Arrivals:
    """The plan of an open loop, which does not depend on how the server answers.

    Attributes:
        steps: One after the other.
        poisson: Whether the gaps between arrivals are exponential, as those of many independent callers are; without
            it they are equal.
        seed: Seed of the exponential gaps.
    """

    steps: tuple[Step, ...]
    poisson: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.steps:
            raise LoadTestError("a load test needs at least one step of a rate and its seconds")

    @classmethod
    def constant(cls, per_second: float, seconds: float, *, poisson: bool = False, seed: int = 0) -> Arrivals:
        """One rate for all of the test."""
        return cls((Step(per_second, seconds),), poisson, seed)

    @classmethod
    def stepped(
        cls, rates_per_second: Sequence[float], seconds_each: float, *, poisson: bool = False, seed: int = 0
    ) -> Arrivals:
        """Rates one after the other, each for as long."""
        return cls(tuple(Step(rate, seconds_each) for rate in rates_per_second), poisson, seed)

    @property
    def seconds(self) -> float:
        """Duration of all steps."""
        return sum(step.seconds for step in self.steps)

    def after_warm_up(self, seconds: float) -> Arrivals:
        """The same plan behind so many seconds of its first rate; for 0 seconds the plan itself."""
        if seconds <= 0:
            return self
        return Arrivals((Step(self.steps[0].per_second, seconds), *self.steps), self.poisson, self.seed)

    def chunks(self) -> Iterator[npt.NDArray[np.float64]]:
        """Start times in seconds since the beginning, in order, at most ``MAX_CHUNK`` at once."""
        generator = np.random.default_rng(self.seed)
        begin = 0.0
        for step in self.steps:
            yield from _poisson(step, begin, generator) if self.poisson else _even(step, begin)
            begin += step.seconds


def _even(step: Step, begin: float) -> Iterator[npt.NDArray[np.float64]]:
    n_requests = round(step.per_second * step.seconds)
    for first in range(0, n_requests, MAX_CHUNK):
        yield begin + np.arange(first, min(first + MAX_CHUNK, n_requests)) / step.per_second


def _poisson(step: Step, begin: float, generator: np.random.Generator) -> Iterator[npt.NDArray[np.float64]]:
    """A Poisson process: its gaps are exponential, and without memory, so that each step may begin anew."""
    time, end = begin, begin + step.seconds
    while time < end:
        times = time + np.cumsum(generator.exponential(1 / step.per_second, MAX_CHUNK))
        time = float(times[-1])
        yield times[times < end]
