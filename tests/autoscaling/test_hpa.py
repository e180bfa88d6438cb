"""Tests of the autoscaler's algorithm against the controller's own tables and its documentation's examples."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from orris.autoscaling.hpa import (
    DEFAULT_SCALE_DOWN,
    DEFAULT_SCALE_UP,
    Autoscaler,
    Pod,
    Policy,
    Sample,
    ScalingRules,
    Spec,
    Totals,
    _Change,
    average_value_replicas,
    group,
    resource_replicas,
)
from orris.errors import ExperimentError

CASES = json.loads((Path(__file__).parent / "controller_cases.json").read_text("utf-8"))
NOW = 10_000.0


def names(table: str) -> list[str]:
    """The names of a table's cases, for test ids."""
    return [case["name"] for case in CASES[table]]


def at(values: list[Any] | None, index: int, default: Any) -> Any:
    """An entry of a list that may be absent or short."""
    return default if values is None or index >= len(values) else values[index]


def pods_of(case: dict[str, Any]) -> list[Pod]:
    """The pods of a case: two containers each, as the controller's tests have them, started three minutes ago."""
    made = []
    for index in range(max(case["current"], len(case.get("phases", [])))):
        hot = at(case.get("hot"), index, False)
        requested = case["requests"][index] if index < len(case["requests"]) else 0
        made.append(
            Pod(
                f"pod-{index}",
                round(requested * 1000) * 2,
                started_at=NOW if hot else NOW - 180,
                ready_changed_at=NOW if hot else NOW - 180,
                phase=at(case.get("phases"), index, "Running"),
                ready=at(case.get("ready"), index, True),
                deleted=at(case.get("deleted"), index, False),
            )
        )
    return made


@pytest.mark.parametrize("case", CASES["replicas"], ids=names("replicas"))
def test_the_controllers_replica_calculations_are_reproduced(case: dict[str, Any]) -> None:
    """Each CPU case of the controller's ``TestReplicaCalc*`` gives the same replicas and the same usage."""
    samples = {
        at(case.get("pods"), index, f"pod-{index}"): Sample(level * 2, at=NOW, window_seconds=60)
        for index, level in enumerate(case["levels"])
    }
    down, up = case.get("tolerances", [None, None])
    spec = Spec(
        1,
        100,
        case["target"],
        scale_up=ScalingRules(0, (), tolerance=up),
        scale_down=ScalingRules(0, (), tolerance=down),
        cpu_initialization_seconds=120,
        initial_readiness_seconds=10,
    )
    totals = group(spec, pods_of(case), samples, NOW)
    if case["expected"] is None:
        with pytest.raises(ExperimentError):
            resource_replicas(spec, case["current"], totals)
        return
    proposal = resource_replicas(spec, case["current"], totals)
    assert proposal.replicas == case["expected"]
    assert proposal.usage == case["utilization"]


def rules(numbers: list[int] | None, default: ScalingRules) -> ScalingRules:
    """Rules as the controller's ``generateScalingRules`` makes them, from the same five numbers."""
    if numbers is None:
        return default
    pods, pods_period, percent, percent_period, window = numbers
    policies = [Policy("Pods", pods, pods_period)] if pods else []
    policies += [Policy("Percent", percent, percent_period)] if percent else []
    return ScalingRules(window, tuple(policies))


def changes(events: list[Any] | None) -> list[_Change]:
    """Past changes in the middle of equal segments of a period, as ``generateEventsUniformDistribution`` makes them."""
    if events is None:
        return []
    counts, period = events
    segment = period / len(counts)
    return [_Change(NOW - (period - segment * (index + 1) + segment / 2), count) for index, count in enumerate(counts)]


@pytest.mark.parametrize("case", CASES["policies"], ids=names("policies"))
def test_the_controllers_scaling_policies_are_reproduced(case: dict[str, Any]) -> None:
    """Each case of the controller's ``TestScalingWithRules`` gives the same replicas for the same reason."""
    spec = Spec(
        case["min"],
        case["max"],
        60,
        scale_up=rules(case.get("up"), DEFAULT_SCALE_UP),
        scale_down=rules(case.get("down"), DEFAULT_SCALE_DOWN),
    )
    scaler = Autoscaler(spec, ups=changes(case.get("ups")), downs=changes(case.get("downs")))
    assert scaler.limited(NOW, case["current"], case["wanted"]) == (case["expected"], case["reason"])


@pytest.mark.parametrize("case", CASES["stabilization"], ids=names("stabilization"))
def test_the_controllers_stabilization_is_reproduced(case: dict[str, Any]) -> None:
    """Each case of the controller's ``TestNormalizeDesiredReplicasWithBehavior`` gives the same replicas."""
    spec = Spec(1, 1000, 60, scale_up=ScalingRules(case["up"], ()), scale_down=ScalingRules(case["down"], ()))
    past = [_Change(NOW - ago, replicas) for replicas, ago in case["recommendations"]]
    scaler = Autoscaler(spec, recommendations=past)
    assert scaler.stabilised(NOW, case["current"], case["wanted"]) == case["expected"]


def steady(spec: Spec, current: int, percent: int) -> int:
    """The replicas that are proposed for pods that all use this share of their request."""
    return resource_replicas(spec, current, Totals(current, current * percent * 10, current * 1000)).replicas


def test_the_documented_examples_hold() -> None:
    """Twice the target doubles the replicas, half of it halves them, and a tenth more or less changes nothing.

    From "Algorithm details": a value of 200m for a target of 100m doubles, 50m halves, and a ratio within 0.1 of 1.0
    is skipped.
    """
    spec = Spec(1, 100, 50)
    assert steady(spec, 4, 100) == 8
    assert steady(spec, 4, 25) == 2
    assert [steady(spec, 4, percent) for percent in (45, 50, 55)] == [4, 4, 4]


@pytest.mark.parametrize(
    ("policies", "select", "expected"),
    [
        ((Policy("Pods", 4, 60), Policy("Percent", 10, 60)), "Max", [72, 64, 57, 51, 45, 40, 36, 32]),
        ((Policy("Pods", 4, 60), Policy("Percent", 10, 60)), "Min", [76]),
        ((Policy("Percent", 10, 60),), "Max", [72]),
        ((Policy("Pods", 5, 60), Policy("Percent", 10, 60)), "Disabled", [80]),
    ],
    ids=["the larger change counts", "Min takes the smaller", "one policy", "Disabled"],
)
def test_the_documented_scale_down_policies_hold(
    policies: tuple[Policy, ...], select: Any, expected: list[int]
) -> None:
    """80 replicas go down by 10 percent or 4 pods a minute, whichever is more, as "Scaling policies" has it.

    In the first minute 8 go, in the next 7.2 are rounded up to 8, and below 40 replicas 4 go at a time.
    """
    down = ScalingRules(0, policies, select)
    scaler, replicas = Autoscaler(Spec(10, 100, 50, scale_down=down)), 80
    for minute, wanted in enumerate(expected):
        now = NOW + 60.001 * minute
        decision = scaler.decide(now, replicas, Totals(replicas, 0, replicas * 1000))
        replicas = decision.replicas
        assert replicas == wanted


def test_a_spike_is_followed_at_once_and_left_after_the_window() -> None:
    """Replicas rise at the first high sample and fall when no recommendation of the last five minutes was higher."""
    scaler, replicas, seen = Autoscaler(Spec(1, 10, 50)), 1, []
    for step in range(40):
        percent = 100 if step < 2 else 5
        replicas = scaler.decide(
            15.0 * step, replicas, Totals(replicas, replicas * percent * 10, replicas * 1000)
        ).replicas
        seen.append(replicas)
    assert seen[:2] == [2, 4]
    assert set(seen[2:21]) == {4}
    assert seen[21] == 1


def test_samples_that_do_not_count_leave_the_replicas_alone() -> None:
    """A decision without a single sample that counts keeps the replicas and says so."""
    decision = Autoscaler(Spec(1, 10, 50)).step(NOW, 3, [Pod("a", 100, NOW, NOW, ready=False)], {})
    assert (decision.replicas, decision.reason, decision.recommended) == (3, "FailedGetResourceMetric", None)


def test_a_pod_counts_from_one_window_after_it_became_ready() -> None:
    """The sample of a pod that has just become ready counts when its whole window lies after that."""
    spec, pod = Spec(1, 10, 50), Pod("a", 100, NOW - 60, NOW - 20)
    early = group(spec, [pod], {"a": Sample(90, at=NOW, window_seconds=30)}, NOW)
    late = group(spec, [pod], {"a": Sample(90, at=NOW + 10, window_seconds=30)}, NOW + 10)
    assert (early.unready, early.ready) == (1, 0)
    assert (late.unready, late.ready) == (0, 1)


def test_replicas_outside_the_bounds_are_brought_back() -> None:
    """More replicas than the maximum, or fewer than the minimum, change at once, whatever the CPU."""
    scaler = Autoscaler(Spec(2, 3, 50))
    assert scaler.decide(NOW, 5, Totals(5, 2500, 5000)).replicas == 3
    assert scaler.decide(NOW, 1, Totals(1, 500, 1000)).replicas == 2


def test_kedas_average_value_divides_the_metric_among_pods() -> None:
    """A trigger with ``AverageValue`` asks for total / threshold pods; within the tolerance nothing changes."""
    spec = Spec(0, 100, 100)
    assert average_value_replicas(spec, 3, 950).replicas == 10
    assert average_value_replicas(spec, 10, 1090).replicas == 10
    assert average_value_replicas(spec, 10, 1110).replicas == 12
    assert average_value_replicas(spec, 0, 1).replicas == 1


def test_faster_periods_keep_the_series() -> None:
    """A spec with all periods divided by ten decides on ten times faster clocks as the slow one does."""

    def series(spec: Spec, unit: float) -> list[int]:
        scaler, replicas, seen = Autoscaler(spec), 1, []
        for step in range(60):
            percent = 95 if step < 10 else 12
            totals = Totals(replicas, replicas * percent * 10, replicas * 1000)
            replicas = scaler.decide(step * spec.sync_seconds * 1.0001, replicas, totals).replicas
            seen.append(replicas)
        assert spec.sync_seconds == unit
        return seen

    slow = Spec(1, 20, 60, scale_up=ScalingRules(0, (Policy("Pods", 2, 30),)))
    assert series(slow.faster(10), 1.5) == series(slow, 15)
