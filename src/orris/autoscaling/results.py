"""The measurements of an experiment: the same form for all three sizes, kept as JSON."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import msgspec

from orris.errors import ExperimentError

FORMAT = 1


@dataclass(frozen=True, slots=True)
class Point:
    """One look at everything.

    Attributes:
        seconds: Since the scenario began.
        phase: ``load`` while the load runs; ``before`` and ``after`` it.
        wanted: Replicas that the autoscaler wants.
        ready: Replicas that answer.
        cpu_millicores: CPU of all replicas since the point before; ``None``: not known.
        usage_percent: The same of the ready ones, as percent of what they request.
        throttled_percent: How much of the time they were held back by their quota.
        requests_per_second: Requests that came in since the point before.
        latency_ms: Mean time to answer, as the proxy sees it.
        errors_per_second: Answers of 5xx.
        driver_cores: CPU of the load generator.
        proxy_cores: CPU of the proxy.
        other_cores: CPU of everything else on this machine: more than a little means that it was not quiet.
        machine_percent: Share of all processors of this machine that was in use.
    """

    seconds: float
    phase: Literal["before", "load", "after"]
    wanted: int
    ready: int
    cpu_millicores: float | None = None
    usage_percent: float | None = None
    throttled_percent: float | None = None
    requests_per_second: float | None = None
    latency_ms: float | None = None
    errors_per_second: float | None = None
    driver_cores: float | None = None
    proxy_cores: float | None = None
    other_cores: float | None = None
    machine_percent: float | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """One decision of the autoscaler: see :class:`orris.autoscaling.hpa.Decision`."""

    seconds: float
    current: int
    replicas: int
    reason: str
    recommended: int | None = None
    usage_percent: float | None = None


@dataclass(frozen=True, slots=True)
class Load:
    """The load generator's measurements over its whole run.

    Attributes:
        connections: Connections that were open throughout, each with one request in flight.
        requests: Requests that were answered.
        requests_per_second: The same a second.
        failed: Requests that failed, those that follow included.
        timeouts: Requests that were not answered within 10 s.
        refused: Answers other than 2xx and 3xx, for instance 503.
        mean_ms: Mean latency.
        p50_ms: Median.
        p95_ms: 95th percentile.
        p99_ms: 99th percentile.
        driver_cores: CPUs that the generator used on average; ``None``: not known.
        driver_threads: CPUs that it can use at most.
    """

    connections: int
    requests: int
    requests_per_second: float
    failed: int
    timeouts: int
    refused: int
    mean_ms: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    driver_cores: float | None = None
    driver_threads: int = 2


@dataclass(slots=True)
class Scenario:
    """One load at one maximum of replicas.

    Attributes:
        name: What it is called in the table.
        connections: Connections of the load.
        max_replicas: Most replicas.
        cores: CPU that each replica requests, and may use at most.
        target_percent: CPU that the autoscaler aims at.
        points: Everything over time.
        steps: The autoscaler's decisions.
        service_ms: Time of each of some requests that were alone, at one replica without load.
        startup_seconds: How long each replica took from its start until it was ready.
        load: The load generator's numbers; ``None``: it did not run to an answer.
        observations: Sentences that follow from the numbers, the bottleneck first.
    """

    name: str
    connections: int
    max_replicas: int
    cores: float
    target_percent: float
    points: list[Point] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    service_ms: list[float] = field(default_factory=list)
    startup_seconds: list[float] = field(default_factory=list)
    load: Load | None = None
    observations: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Experiment:
    """All scenarios, and the conditions that they were measured under.

    Attributes:
        size: ``local`` or ``cluster``.
        at: When it began, in UTC.
        conditions: Names and values in words: machine, programs, periods, quota.
        scenarios: In the order in which they ran.
        faster: By how much the autoscaler's periods were divided.
        interrupted: It was ended before its time; what it has was measured.
        format: The number of this form.
    """

    size: Literal["local", "cluster"]
    at: str
    conditions: dict[str, str]
    scenarios: list[Scenario] = field(default_factory=list)
    faster: float = 1
    interrupted: bool = False
    format: int = FORMAT


def write_experiment(experiment: Experiment, file: Path) -> None:
    """Write it as JSON."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(msgspec.json.encode(experiment) + b"\n")


def read_experiment(file: Path) -> Experiment:
    """Read what :func:`write_experiment` wrote.

    Raises:
        ExperimentError: There is no such file, or it holds something else.
    """
    try:
        experiment = msgspec.json.decode(file.read_bytes(), type=Experiment)
    except OSError as error:
        raise ExperimentError(
            f"{file} cannot be read: {error.strerror}; measure with --local first, or give --results"
        ) from error
    except msgspec.DecodeError as error:
        raise ExperimentError(f"{file} is not the result of an autoscaling experiment: {error}") from error
    if experiment.format > FORMAT:
        raise ExperimentError(f"{file} has format {experiment.format}, and this Orris reads up to {FORMAT}: upgrade it")
    return experiment
