"""Tests of the analysis: which limit a series of measurements shows."""

from __future__ import annotations

from dataclasses import replace

from orris.autoscaling.bottleneck import observe, steady
from orris.autoscaling.results import Load, Point, Scenario

LOAD = Load(1000, 60_000, 1000.0, 0, 0, 0, 990.0, 980.0, 1200.0, 1400.0, 0.2, 2)
POINT = Point(
    0,
    "load",
    1,
    1,
    cpu_millicores=100,
    usage_percent=99,
    requests_per_second=1000,
    driver_cores=0.2,
    proxy_cores=0.1,
    other_cores=0.0,
    machine_percent=40,
)


def scenario(*points: Point, load: Load | None = LOAD, max_replicas: int = 3) -> Scenario:
    """A scenario with these points, one a second."""
    numbered = [replace(point, seconds=float(second)) for second, point in enumerate(points)]
    return Scenario("test", 1000, max_replicas, 0.1, 60, points=numbered, load=load)


def test_pods_at_their_quota_are_the_bottleneck() -> None:
    """CPU at the quota is named with its number, and with whether more replicas may come."""
    at_most = observe(scenario(*[POINT] * 9, max_replicas=1))[0]
    assert at_most.startswith("Server-bound (pods used 99 % of the CPU that they request")
    assert "1 of at most 1 pods were ready, a higher maximum helps" in at_most
    assert "the autoscaler had not finished" in observe(scenario(*[POINT] * 9))[0]


def test_a_driver_at_its_threads_is_the_bottleneck() -> None:
    """Pods that have CPU left beside a load generator that has none make the run driver-bound."""
    points = [replace(POINT, usage_percent=50, driver_cores=1.95)] * 9
    assert observe(scenario(*points))[0].startswith(
        "Driver-bound (pods used 50 % of the CPU that they request, wrk 98 %"
    )


def test_a_proxy_and_a_machine_without_cpu_are_bottlenecks() -> None:
    """A proxy at one core, or a machine without an idle processor, is named when the pods are below their quota."""
    proxy = [replace(POINT, usage_percent=50, proxy_cores=0.97)] * 9
    machine = [replace(POINT, usage_percent=50, machine_percent=99)] * 9
    idle = [replace(POINT, usage_percent=50)] * 9
    assert observe(scenario(*proxy))[0].startswith("Proxy-bound")
    assert observe(scenario(*machine))[0].startswith("Machine-bound")
    assert observe(scenario(*idle))[0].startswith("No limit reached")


def test_the_gain_of_more_replicas_is_measured_between_steady_parts() -> None:
    """The throughput of one replica is compared with that of the most, the first third of it left out."""
    alone = [replace(POINT, requests_per_second=1000)] * 10
    filling = [replace(POINT, ready=3, wanted=3, requests_per_second=1500)] * 5
    full = [replace(POINT, ready=3, wanted=3, requests_per_second=3000)] * 10
    measured = scenario(*alone, *filling, *full)
    assert {point.requests_per_second for point in steady(measured)} == {3000}
    assert "From 1 to 3 ready pods within 10 s, and 3.0 times the throughput (1,000 to 3,000 req/s)." in observe(
        measured
    )


def test_the_reference_figures_violate_littles_law() -> None:
    """100 connections at 279.55 req/s take 358 ms, not the 199 ms that were reported: 44 % lie outside of it."""
    load = replace(LOAD, connections=100, requests_per_second=279.55, mean_ms=199)
    sentences = observe(scenario(*[POINT] * 9, load=load))
    assert (
        "Little's law: 100 connections / 280 req/s = 358 ms, wrk measured 199 ms: 44% of the connections' time lies"
        " outside of the measured latency." in sentences
    )


def test_an_impossible_latency_is_called_wrong() -> None:
    """More latency than connections and throughput allow means that a number is wrong."""
    assert "so one of the numbers is wrong" in observe(scenario(*[POINT] * 9, load=replace(LOAD, mean_ms=1500)))[1]


def test_failures_and_other_programs_are_named() -> None:
    """Failed requests are counted by kind, and a machine that was not quiet is said to be so."""
    load = replace(LOAD, failed=600, refused=500, timeouts=100)
    sentences = observe(scenario(*[replace(POINT, other_cores=1.2)] * 9, load=load))
    assert "600 requests (1.0%) failed: 500 other than 2xx, 100 over 10 s." in sentences
    assert "Other programs used 1.2 processors of this machine: repeat it where nothing else runs." in sentences


def test_nothing_measured_gives_no_sentence() -> None:
    """A scenario that was interrupted before its load has nothing to say."""
    assert observe(scenario(load=None)) == []
