"""The questions that are put to the simulation, and the measurements that it begins with."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from statistics import fmean, median, pvariance

from orris.autoscaling.bottleneck import mean, steady
from orris.autoscaling.hpa import Policy
from orris.autoscaling.local import CHART_SPEC
from orris.autoscaling.results import Experiment, Scenario
from orris.autoscaling.simulation import Case, Service, Simulation, Traffic, simulate
from orris.errors import ExperimentError


def service_of(experiment: Experiment) -> Service:
    """The cost of a request as measured by a local experiment.

    The CPU of a request is the CPU of the replicas over the requests while they were at their quota; the variation is
    that of requests that were alone.

    Raises:
        ExperimentError: The experiment measured no steady load, or no start of a replica.
    """
    costs, starts, alone = [], [], []
    for scenario in experiment.scenarios:
        points = steady(scenario)
        cpu = mean(points, lambda point: point.cpu_millicores)
        rate = mean(points, lambda point: point.requests_per_second)
        if cpu and rate:
            costs.append(cpu / 1000 / rate)
        starts += scenario.startup_seconds
        alone += scenario.service_ms
    if not costs or not starts:
        raise ExperimentError(
            "the results hold no load and no start of a replica: run  orris experiment autoscaling --local"
        )
    scv = pvariance(alone) / fmean(alone) ** 2 if len(alone) > 1 else 1.0
    return Service(median(costs), round(scv, 4), experiment.scenarios[0].cores, round(median(starts), 2))


def questions(service: Service, peak_rate: float, target: float = CHART_SPEC.target) -> list[Case]:
    """A day as it is expected, and what changes it, in pairs.

    Args:
        service: What a request costs.
        peak_rate: Requests a second in the evening; at noon the rate of that hour doubles for a quarter of an hour.
        target: Percent of the CPU that the autoscaler aims at.
    """
    each = service.rate * target / 100
    needed = peak_rate / each
    most = math.ceil(1.5 * needed)
    down = replace(CHART_SPEC.scale_down, policies=(*CHART_SPEC.scale_down.policies, Policy("Percent", 10, 60)))
    spec = replace(CHART_SPEC, min_replicas=2, max_replicas=most, target=target, scale_down=down)
    keda = replace(spec, target=each)
    first = max(2, math.ceil(needed / 2))
    day = Case("the expected day, HPA", service, Traffic(peak_rate).rate, spec, first_replicas=first)
    triple = replace(day, traffic=Traffic(3 * peak_rate).rate, first_replicas=min(most, 3 * first))
    slow = replace(day, service=replace(service, startup_seconds=60))
    small = replace(
        day,
        traffic=Traffic(3 * each, quiet_hours=8).rate,
        spec=replace(keda, min_replicas=1, max_replicas=10),
        scaler="keda",
        first_replicas=2,
    )
    return [
        day,
        replace(day, name="the expected day, KEDA", spec=keda, scaler="keda"),
        replace(triple, name="the peak triples, the same maximum"),
        replace(
            triple,
            name="the peak triples, three times the maximum",
            spec=replace(spec, max_replicas=3 * most),
            first_replicas=3 * first,
        ),
        replace(slow, name="start-up takes 60 s, HPA"),
        replace(slow, name="start-up takes 60 s, KEDA", spec=keda, scaler="keda"),
        replace(day, name="a target of 80 %", spec=replace(spec, target=80)),
        replace(day, name="only one pod a minute may go", spec=replace(spec, scale_down=CHART_SPEC.scale_down)),
        replace(small, name="a small service with quiet nights, at least 1"),
        replace(small, name="the same, scale to zero", spec=replace(small.spec, min_replicas=0)),
    ]


def run_simulation(
    experiment: Experiment,
    peak_rate: float,
    *,
    startup_seconds: float | None = None,
    step_seconds: float = 1,
    tell: Callable[[str], None] = print,
) -> Simulation:
    """Simulate all cases from a measured experiment, and hold the simulation against it.

    Args:
        experiment: A local experiment.
        peak_rate: Requests a second in the evening.
        startup_seconds: Start of a replica; ``None``: as it was measured.
        step_seconds: Length of a step.
        tell: Called with the name of each case before it runs.

    Raises:
        ExperimentError: The experiment does not hold what is needed.
    """
    service = service_of(experiment)
    checks = [_check(scenario, service, experiment.faster) for scenario in experiment.scenarios if scenario.load]
    if startup_seconds is not None:
        service = replace(service, startup_seconds=startup_seconds)
    cases = questions(service, peak_rate, experiment.scenarios[0].target_percent)
    small_rate = 3 * service.rate * experiment.scenarios[0].target_percent / 100
    conditions = {
        "measured on": f"{experiment.conditions.get('machine', 'an unknown machine')}, {experiment.at}",
        "service": (
            f"{service.cpu_seconds * 1e6:.1f} µs CPU a request, {service.rate:,.0f} req/s of a replica of"
            f" {service.cores * 1000:.0f} millicores, squared coefficient of variation {service.scv:.2f}"
        ),
        "start of a replica": f"{service.startup_seconds:g} s",
        "traffic": (
            f"{peak_rate:,.0f} req/s at 20:00, a tenth of it at 8:00, twice the rate from 12:00 to 12:15; the small"
            f" service: {small_rate:,.0f} req/s, and until 8:00 one request every ten minutes"
        ),
        "autoscaler": (
            "the chart's policies, but 10 % of the pods may go each minute; KEDA on the rate of two minutes, for the"
            " same share of a replica's rate"
        ),
        "failed, slow": f"waited over {cases[0].patience_seconds:g} s; over {cases[0].objective_seconds * 1000:g} ms",
    }
    simulation = Simulation(datetime.now(UTC).isoformat(timespec="seconds"), conditions, checks=checks)
    for case in cases:
        tell(case.name)
        simulation.outcomes.append(simulate(replace(case, step_seconds=step_seconds)))
    return simulation


def _check(scenario: Scenario, service: Service, faster: float) -> str:
    found = replay(scenario, service, faster)
    return (
        f"{scenario.name}: measured {' → '.join(map(str, found.measured))}, simulated"
        f" {' → '.join(map(str, found.simulated))} replicas; at most {found.largest_difference} apart, for"
        f" {found.apart_seconds:g} of {found.seconds:.0f} s."
    )


@dataclass(frozen=True, slots=True)
class Agreement:
    """How a simulation of a measured scenario compares with it.

    Attributes:
        measured: The replicas that the autoscaler wanted, one after the other.
        simulated: The same in the simulation.
        largest_difference: Most replicas that the two differed by at any time.
        apart_seconds: How long they differed.
        seconds: How long was compared.
    """

    measured: list[int]
    simulated: list[int]
    largest_difference: int
    apart_seconds: float
    seconds: float


def replay(scenario: Scenario, service: Service, faster: float) -> Agreement:
    """Simulate the load phase of a measured scenario from the same beginning, and compare the replicas over time.

    Args:
        scenario: What was measured.
        service: What a request costs.
        faster: By how much the autoscaler's periods were divided.

    Raises:
        ExperimentError: The scenario has no load phase.
    """
    loaded = [point for point in scenario.points if point.phase == "load"]
    if len(loaded) < 2:
        raise ExperimentError(f"'{scenario.name}' holds no load to compare with")
    begin, end = loaded[0].seconds, loaded[-1].seconds
    spec = replace(CHART_SPEC, max_replicas=scenario.max_replicas, target=scenario.target_percent).faster(faster)
    case = Case(
        scenario.name,
        service,
        scenario.connections,
        spec,
        seconds=end - begin,
        step_seconds=0.1,
        first_replicas=loaded[0].wanted,
    )
    points = round((end - begin) / 0.5)
    simulated = simulate(case, points=points).points
    pairs = [
        (max(point.wanted for point in loaded if point.seconds - begin <= each.seconds), each.wanted)
        for each in simulated
    ]
    differences = [abs(real - made) for real, made in pairs]
    return Agreement(
        _changes([real for real, _ in pairs]),
        _changes([made for _, made in pairs]),
        max(differences),
        sum(difference > 0 for difference in differences) * 0.5,
        end - begin,
    )


def _changes(series: list[int]) -> list[int]:
    return [each for index, each in enumerate(series) if index == 0 or each != series[index - 1]]
