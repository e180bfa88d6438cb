"""Measures a server that runs somewhere, or a model that is served for the purpose."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from orris.capacity.measuring import FIRST_PER_SECOND, Measurements, Point, described, measure
from orris.capacity.observing import usage_of
from orris.capacity.replica import replica
from orris.loadtest import prepare


def measure_url(
    url: str,
    *,
    mix: Mapping[str, float] | None = None,
    headers: Mapping[str, str] | None = None,
    rows: Path | None = None,
    rows_per_request: int = 1,
    seconds_each: float = 5.0,
    first_per_second: float = FIRST_PER_SECOND,
    max_per_second: float = float("inf"),
    connections: int = 128,
    on_point: Callable[[Point], None] | None = None,
    conditions: tuple[str, ...] = (),
) -> Measurements:
    """Measure one replica that runs already, as ``measure`` does.

    Args:
        url: The replica itself: behind a balancer the numbers would be those of several.
        mix: Protocols with their weights; without it named rows.
        headers: Sent with each request.
        rows: File of rows to send; without it, rows are drawn from the model's schema.
        rows_per_request: Rows in each request.
        seconds_each: How long each rate is held.
        first_per_second: The first rate.
        max_per_second: The highest rate that is tried.
        connections: Connections to the server.
        on_point: Called with each measured rate.
        conditions: What else holds for the numbers, in words.

    Raises:
        LoadTestError: The server does not answer, or refuses the requests.
        MissingExtraError: The extra ``load`` is not installed.
    """
    target = prepare(url, mix=mix, rows=rows, rows_per_request=rows_per_request, headers=headers)
    found = measure(
        target,
        usage=usage_of(url, headers),
        seconds_each=seconds_each,
        first_per_second=first_per_second,
        max_per_second=max_per_second,
        connections=connections,
        on_point=on_point,
    )
    protocols = " and ".join(mix or {"native": 1.0})
    sent = f"requests of {protocols}, rows in each: {rows_per_request}"
    return described(
        found, rows_per_request=rows_per_request, conditions=(*conditions, f"{sent}, {connections} connections")
    )


def measure_model(
    model: str,
    cpus: float,
    *,
    store: str,
    workers: int = 1,
    threads: int = 1,
    mix: Mapping[str, float] | None = None,
    rows: Path | None = None,
    rows_per_request: int = 1,
    seconds_each: float = 5.0,
    first_per_second: float = FIRST_PER_SECOND,
    max_per_second: float = float("inf"),
    connections: int = 128,
    on_point: Callable[[Point], None] | None = None,
) -> Measurements:
    """Serve a model in a process that is held to so many processors, and measure it.

    The arguments are those of ``measure_url`` and ``replica.replica``.

    Raises:
        CapacityError: The server does not start.
        LoadTestError: It refuses the requests.
        MissingExtraError: The extra ``load`` is not installed.
    """
    with replica([model], cpus, workers=workers, threads=threads, store=store) as running:
        return measure_url(
            running.url,
            mix=mix,
            rows=rows,
            rows_per_request=rows_per_request,
            seconds_each=seconds_each,
            first_per_second=first_per_second,
            max_per_second=max_per_second,
            connections=connections,
            on_point=on_point,
            conditions=(
                f"the server is held to {running.quota.cores:g} CPU by {running.quota.name}",
                running.driver,
            ),
        )
