"""Runs made of given latencies, for tests of what is computed from runs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from orris.loadtest import Histogram, Run, Slice, Step
from orris.loadtest.run import DriverLoad, RouteResult

CALM = DriverLoad(0.2, 1e-5, 1e-4, 1e-3, 0.01, 0, 12)


def made_run(
    slices: Sequence[Sequence[float]],
    *,
    seconds: float = 1.0,
    errors: dict[str, int] | None = None,
    steps: tuple[Step, ...] = (),
    driver: DriverLoad = CALM,
    mean_in_flight: float | None = None,
) -> Run:
    """An open loop of slices, each with these latencies in seconds; errors are all in the first."""
    made = tuple(
        Slice(i * seconds, seconds, len(each), len(each), (errors or {}) if i == 0 else {}, Histogram.of(each), 100)
        for i, each in enumerate(slices)
    )
    latency = Histogram.total([each.latency for each in made])
    route = RouteResult("native", latency.count, errors or {}, latency, 1000, 2000)
    n_slices = len(made)
    return Run(
        url="http://localhost:8000",
        model="iris@1.0.0",
        engine="asyncio",
        loop="open",
        started="2026-01-01T00:00:00+00:00",
        warm_up_seconds=1.0,
        slices=made,
        routes=(route,),
        steps=steps or (Step(max(1.0, latency.count / (n_slices * seconds)), n_slices * seconds),),
        connections=8,
        driver=driver,
        mean_in_flight=mean_in_flight,
    )


def varying(generator: np.random.Generator, n_slices: int, *, factor: float = 1.0) -> list[list[float]]:
    """Log-normal latencies whose level moves from slice to slice, as a shared machine's does; times ``factor``."""
    level = np.zeros(n_slices)
    noise = generator.normal(0, 0.08, n_slices)
    for i in range(n_slices):
        level[i] = (0.5 * level[i - 1] if i else 0.0) + noise[i]
    return [(factor * 0.01 * generator.lognormal(each, 0.4, 200)).tolist() for each in level]
