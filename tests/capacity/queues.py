"""Queues that are computed instead of run: latencies of one server at a rate, by Lindley's recursion."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from orris.loadtest import Arrivals, Histogram, Run, Slice, Target

SERVICE_SECONDS = 0.002
"""Mean service time: the capacity is 500 a second."""


def latencies(
    per_second: float, seconds: float, kind: Literal["M/M/1", "M/D/1"], seed: int
) -> np.typing.NDArray[np.float64]:
    """Times in the system of requests that arrive at random: W' = max(0, W + service - gap) (D. V. Lindley, 1952)."""
    generator = np.random.default_rng(seed)
    n = int(per_second * seconds)
    gaps = generator.exponential(1 / per_second, n)
    service = generator.exponential(SERVICE_SECONDS, n) if kind == "M/M/1" else np.full(n, SERVICE_SECONDS)
    waits = np.zeros(n)
    for i in range(1, n):
        waits[i] = max(0.0, waits[i - 1] + service[i - 1] - gaps[i])
    return waits + service


class Queue:
    """A driver whose server is a computed queue.

    Attributes:
        rates: The rates that were asked for.
        interrupt_at: The number of the step in which Ctrl-C is pressed; 0: never.
    """

    def __init__(self, kind: Literal["M/M/1", "M/D/1"], interrupt_at: int = 0) -> None:
        self._kind = kind
        self.rates: list[float] = []
        self.interrupt_at = interrupt_at

    def __call__(self, target: Target, arrivals: Arrivals, **_: Any) -> Run:
        """Return what a driver would measure at the arrivals' rate."""
        (step,) = arrivals.steps
        self.rates.append(step.per_second)
        found = latencies(step.per_second, step.seconds, self._kind, len(self.rates))
        offered = len(found)
        arrived = np.arange(offered) / step.per_second
        answered = int((arrived + found <= step.seconds).sum())
        part = Slice(0.0, step.seconds, offered, answered, {}, Histogram.of(found))
        return Run(
            target.url,
            "queue@1.0.0",
            "asyncio",
            "open",
            "",
            0.0,
            (part,),
            (),
            arrivals.steps,
            interrupted=len(self.rates) == self.interrupt_at,
        )
