"""The plan in words: each number, and how it follows from those that were measured."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, isnan

from orris.capacity.planning import MEMORY_FACTOR, Plan

POOR_FIT = 0.25
"""A fit whose latencies are off by more than this share, root mean square, describes the server badly."""


@dataclass(frozen=True)
class Line:
    """A number of the plan, and why it is that one."""

    name: str
    value: str
    reason: str


def lines_of(plan: Plan) -> list[Line]:
    """Every number of the plan with its reason."""
    return [*_rates(plan), *_resources(plan), *_scaling(plan), *_cost(plan)]


def _rates(plan: Plan) -> list[Line]:
    law, demand = plan.law, plan.demand
    fitted, kept = rate(law.capacity_per_second), rate(plan.kept_per_second)
    if plan.kept_per_second > law.capacity_per_second:
        why = f"the highest measured rate; the fitted law has its highest throughput at {fitted}"
    else:
        why = f"where the fitted law has its highest throughput; the highest measured rate is {kept}"
    lines = [
        Line("capacity", rate(plan.capacity_per_second), why),
        Line(
            "knee",
            rate(law.knee_per_second),
            f"where throughput divided by latency is largest in the fit, with {law.knee_in_flight:.1f} requests in"
            f" flight and a mean latency of {milliseconds(law.latency_seconds(law.knee_in_flight))}",
        ),
    ]
    if demand.p99_seconds < inf:
        reason = (
            f"the highest rate whose 99th percentile is at most {milliseconds(demand.p99_seconds)}, between measured"
            " rates in a straight line, and without falling"
        )
    else:
        reason = "the knee, since no latency objective is given (--p99)"
    lines.append(Line("safe rate", rate(plan.usable_per_second), reason))
    lines.append(
        Line(
            "target rate",
            rate(plan.target_per_second),
            f"the safe rate without {demand.headroom:.0%} of headroom, in which load grows until replicas are added",
        )
    )
    return lines


def _resources(plan: Plan) -> list[Line]:
    known = not isnan(plan.seconds_per_request)
    held = "" if isnan(plan.held_cpus) else "what the measured replica was held to; "
    cpu = held + (
        f"a request takes {plan.seconds_per_request * 1e6:.0f} µs of a processor, and {plan.idle_cores:.2f} are used"
        f" without requests: {plan.idle_cores + plan.seconds_per_request * plan.usable_per_second:.2f} at the safe rate"
        if known
        else "the server does not say what it uses"
    )
    memory = (
        f"{MEMORY_FACTOR:g} times the {plan.memory_bytes / 2**20:.0f} MiB that were held under load, as two versions"
        " are loaded for a moment at a reload; request and limit are equal"
        if not isnan(plan.memory_bytes)
        else "the chart's default: the server does not say what it holds"
    )
    return [
        Line("CPU request", f"{plan.cpus:g}", cpu),
        Line("CPU limit", "none", "a limit stops all threads for the rest of each 100 ms; the request is what counts"),
        Line("memory", f"{plan.memory_mib} MiB", memory),
        Line("workers", str(plan.workers), "as measured; a worker keeps one processor busy"),
        Line("threads", str(plan.threads), "as measured; for one call of the model"),
        Line(
            "longest wait",
            f"{plan.queue_seconds:g} s",
            (
                "half of the latency objective: what is answered beyond the safe rate has waited no longer"
                if plan.demand.p99_seconds < inf
                else "the 99th percentile at the knee: what is answered beyond it takes about twice that at most"
            )
            + " (ORRIS_MAX_QUEUE_SECONDS)",
        ),
    ]


def _scaling(plan: Plan) -> list[Line]:
    demand = plan.demand
    zones = (
        "there is one zone, so none can be lost"
        if demand.n_zones == 1
        else f"with one of {demand.n_zones} zones lost, the others stay within the safe rate"
    )
    return [
        Line(
            "least replicas",
            str(plan.min_replicas),
            f"{rate(demand.expected_per_second)} are expected, {rate(plan.target_per_second)} for each; {zones}"
            if demand.expected_per_second
            else f"no expected rate is given (--expected): one in each zone, at most three, and at least two; {zones}",
        ),
        Line(
            "most replicas",
            str(plan.max_replicas),
            f"{rate(demand.highest_per_second)} at the peak; {zones}"
            if demand.highest_per_second
            else "no peak is given (--peak)",
        ),
        Line(
            "HPA target",
            f"{plan.cpu_percent} %",
            f"of the requested {plan.cpus:g} processors, which is what a replica uses at its target rate"
            if not isnan(plan.seconds_per_request)
            else "the chart's default: the server does not say what it uses",
        ),
        Line(
            "KEDA threshold",
            f"{plan.predictions_per_minute:,} a minute",
            f"predictions of a replica at its target rate, with {plan.measured.rows_per_request} a request",
        ),
    ]


def _cost(plan: Plan) -> list[Line]:
    if isnan(plan.demand.price_per_core_hour):
        return []
    lines = [
        Line(
            "cost per million",
            f"{plan.cost_per_million:.3g}",
            f"{plan.cpus:g} processors at {plan.demand.price_per_core_hour:g} an hour, by the predictions of an hour at"
            " the target rate",
        )
    ]
    if not isnan(plan.expected_cost_per_million):
        lines.append(
            Line(
                "cost as expected",
                f"{plan.expected_cost_per_million:.3g}",
                f"per million at {rate(plan.demand.expected_per_second)}, with all {plan.min_replicas} replicas",
            )
        )
    return lines


def warnings_of(plan: Plan) -> list[str]:
    """The reasons for which the plan is less certain."""
    measured, found = plan.measured, []
    if measured.interrupted:
        found.append("the measurement was ended early; this is what was measured until then")
    if plan.law.error > POOR_FIT:
        found.append(
            f"the fitted law misses the measured latencies by {plan.law.error:.0%} (root mean square): take the safe"
            " rate from the table, or measure again on a quieter machine, for longer"
        )
    if all(point.keeps_up for point in measured.points):
        found.append("no measured rate was too much: the capacity is beyond what was measured, and is extrapolated")
    limited = [point for point in measured.points if point.driver_limited]
    if limited:
        found.append(
            f"at {', '.join(rate(point.offered_per_second) for point in limited)} the driver was the limit, and its own"
            f" lateness is in the latencies, so that the server takes more than this plan says: at the last of them"
            f" {limited[-1].driver_limited}"
        )
    return found


def rate(per_second: float) -> str:
    """A rate for people."""
    if per_second == inf:
        return "not found"
    return f"{per_second:,.0f}/s" if per_second >= 10 else f"{per_second:.2g}/s"


def milliseconds(seconds: float) -> str:
    """A time for people."""
    value = seconds * 1e3
    return f"{value:,.0f} ms" if value >= 100 else f"{value:.3g} ms"
