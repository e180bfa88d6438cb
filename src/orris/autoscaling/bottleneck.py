"""The bottleneck of a run, derived from the measured numbers alone, with those numbers in every sentence."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import fmean

from orris.autoscaling.results import Load, Point, Scenario

AT_LIMIT = 0.9
"""Share of a limit from which on it counts as reached."""

OTHERS = 0.3
"""Processors used by other programs from which on the machine was not quiet."""


def steady(scenario: Scenario) -> list[Point]:
    """The points of the load with the most ready replicas, without the first third of them: queues have filled."""
    loaded = [point for point in scenario.points if point.phase == "load"]
    most = max((point.ready for point in loaded), default=0)
    full = [point for point in loaded if point.ready == most]
    return full[len(full) // 3 :]


def observe(scenario: Scenario) -> list[str]:
    """Sentences for the table, the bottleneck first."""
    found = [_bottleneck(scenario), _scaling(scenario), _others(scenario)]
    if scenario.load is not None:
        found += [_littles_law(scenario.load), _failures(scenario.load)]
    return [sentence for sentence in found if sentence]


def mean(points: Sequence[Point], value: Callable[[Point], float | None]) -> float | None:
    """The mean of a number over the points that have it."""
    known = [number for point in points if (number := value(point)) is not None]
    return fmean(known) if known else None


def _bottleneck(scenario: Scenario) -> str:
    points = steady(scenario)
    usage = mean(points, lambda point: point.usage_percent)
    driver = mean(points, lambda point: point.driver_cores)
    proxy = mean(points, lambda point: point.proxy_cores)
    machine = mean(points, lambda point: point.machine_percent)
    if usage is None:
        return ""
    ready = max(point.ready for point in points)
    threads = scenario.load.driver_threads if scenario.load else 1
    beside = [] if driver is None else [f"wrk {driver * 100 / threads:.0f} % of its threads"]
    beside += [] if proxy is None else [f"the proxy {proxy * 100:.0f} % of its thread"]
    beside += [] if machine is None else [f"the machine was busy to {machine:.0f} %"]
    numbers = f"pods used {usage:.0f} % of the CPU that they request" + "".join(f", {each}" for each in beside)
    if usage >= AT_LIMIT * 100:
        more = "a higher maximum helps" if ready >= scenario.max_replicas else "the autoscaler had not finished"
        return f"Server-bound ({numbers}): {ready} of at most {scenario.max_replicas} pods were ready, {more}."
    if driver is not None and driver >= AT_LIMIT * threads:
        return f"Driver-bound ({numbers}): the load generator is the limit, not the pods."
    if proxy is not None and proxy >= AT_LIMIT:
        return f"Proxy-bound ({numbers})."
    if machine is not None and machine >= AT_LIMIT * 100:
        return f"Machine-bound ({numbers}): the pods had no processor to run on."
    return f"No limit reached ({numbers})."


def _scaling(scenario: Scenario) -> str:
    loaded = [point for point in scenario.points if point.phase == "load"]
    most = max((point.ready for point in loaded), default=0)
    fewest = loaded[0].ready if loaded else 0
    if most <= fewest:
        return ""
    first = next(point.seconds for point in loaded if point.ready == most) - loaded[0].seconds
    sentence = f"From {fewest} to {most} ready pods within {first:.0f} s"
    before = mean(
        [point for point in loaded[1:] if point.ready == fewest and point.wanted == fewest],
        lambda point: point.requests_per_second,
    )
    after = mean(steady(scenario), lambda point: point.requests_per_second)
    if before and after:
        return f"{sentence}, and {after / before:.1f} times the throughput ({before:,.0f} to {after:,.0f} req/s)."
    return f"{sentence}."


def _others(scenario: Scenario) -> str:
    others = mean(steady(scenario), lambda point: point.other_cores)
    if others is None or others < OTHERS:
        return ""
    return f"Other programs used {others:.1f} processors of this machine: repeat it where nothing else runs."


def _littles_law(load: Load) -> str:
    """Connections = throughput × mean time of a request (J. D. C. Little, 1961), if every connection is always busy."""
    if load.requests_per_second <= 0:
        return "No request was answered."
    expected = load.connections / load.requests_per_second * 1000
    outside = 1 - load.mean_ms / expected
    sentence = (
        f"Little's law: {load.connections:,} connections / {load.requests_per_second:,.0f} req/s = {expected:.0f} ms,"
        f" wrk measured {load.mean_ms:.0f} ms"
    )
    if outside > 0.2:
        return f"{sentence}: {outside:.0%} of the connections' time lies outside of the measured latency."
    if outside < -0.2:
        return f"{sentence}: more than is possible, so one of the numbers is wrong."
    return f"{sentence}."


def _failures(load: Load) -> str:
    if not load.failed:
        return ""
    share = load.failed / max(1, load.requests)
    kinds = [f"{load.refused:,} other than 2xx"] * bool(load.refused) + [f"{load.timeouts:,} over 10 s"] * bool(
        load.timeouts
    )
    return f"{load.failed:,} requests ({share:.1%}) failed" + (f": {', '.join(kinds)}." if kinds else ".")
