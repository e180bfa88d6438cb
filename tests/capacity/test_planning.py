"""Tests of what follows from measured rates: the safe rate, replicas, autoscalers, cost, and the chart's values."""

from __future__ import annotations

import json
from dataclasses import replace
from math import ceil, inf
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from orris.capacity import Demand, Measurements, Plan, Point, document, lines_of, make_plan, warnings_of, write_plan
from orris.capacity.planning import cpu_line, replicas, usable_rate
from orris.capacity.values import values_of
from orris.errors import CapacityError
from tests.chart.rendering import objects, one

MU = 500.0


def point(rate: float, *, p99: float | None = None, errors: int = 0, cores: float | None = None) -> Point:
    """Return a rate of a queue M/M/1 of 500 a second that uses half a processor at its capacity."""
    mean = 1 / (MU - rate)
    return Point(
        rate,
        rate,
        0.5 if errors else 0.0,
        {"HTTP 503": errors} if errors else {},
        mean,
        mean * 0.693,
        mean * 4.605 if p99 is None else p99,
        0.05 + 0.001 * rate if cores is None else cores,
        200 * 2**20,
    )


MEASURED = Measurements(
    "iris@1.0.0", tuple(map(point, (25, 50, 100, 200, 300, 400, 450))), 1, 5.0, ("the server is held to 1 processor",)
)


def plan(**demand: float) -> Plan:
    """Return the plan of the queue for a demand."""
    return make_plan(MEASURED, Demand(**demand), cpus=1.0)  # type: ignore[arg-type]  # zones are whole numbers


def test_the_safe_rate_is_where_the_objective_is_reached() -> None:
    """Between two rates whose 99th percentiles lie on both sides of the objective, a straight line decides."""
    points = [point(100, p99=0.010), point(200, p99=0.020), point(300, p99=0.040)]
    assert usable_rate(points, 0.030) == pytest.approx(250)
    assert usable_rate(points, 0.010) == pytest.approx(100)
    assert usable_rate(points, 9.0) == pytest.approx(300)


def test_a_measured_rate_beyond_the_fitted_capacity_is_the_capacity() -> None:
    """Where the fit underestimates, the plan shows the rate that was measured, and says so."""
    found = plan()
    low = replace(found, law=replace(found.law, linear_seconds=1 / 400, square_seconds=0.0))
    assert low.law.capacity_per_second == pytest.approx(400)
    assert low.capacity_per_second == 450
    line = lines_of(low)[0]
    assert (line.name, line.value) == ("capacity", "450/s")
    assert "the fitted law has its highest throughput at 400/s" in line.reason


def test_a_lucky_rate_does_not_raise_the_safe_rate() -> None:
    """Where a higher rate has a lower percentile, both count as their geometric mean."""
    points = [point(100, p99=0.010), point(200, p99=0.045), point(300, p99=0.020)]
    assert usable_rate(points, 0.020) == pytest.approx(150)
    assert usable_rate(points, 0.030) == pytest.approx(300)


def test_an_objective_that_no_rate_meets_is_refused() -> None:
    """The message says how slow the slowest rate already is."""
    with pytest.raises(CapacityError, match=r"99th percentile of 1 ms: it is 9\.7 ms at 25 a second"):
        plan(p99_seconds=0.001)


def test_a_request_costs_the_slope_of_the_processors_used() -> None:
    """Processors used at rest and processor seconds of a request are the line through the measured rates."""
    idle, per_request = cpu_line(list(MEASURED.points))
    assert idle == pytest.approx(0.05)
    assert per_request == pytest.approx(0.001)


@given(st.floats(0, 1e6), st.floats(1, 1e4), st.floats(0, 0.9), st.integers(2, 6))
def test_replicas_are_the_fewest_that_survive_the_loss_of_a_zone(
    per_second: float, usable: float, headroom: float, n_zones: int
) -> None:
    """The others stay within the safe rate when the fullest zone is lost; one replica less would not do."""

    def enough(n: int) -> bool:
        left = n - ceil(n / n_zones)
        return n * usable * (1 - headroom) >= per_second and left * usable >= per_second

    n = replicas(per_second, usable, usable * (1 - headroom), n_zones)
    assert enough(n)
    assert n == max(2, min(n_zones, 3)) or not enough(n - 1)


def test_the_plan_follows_from_the_queue() -> None:
    """For a known queue, every number of the plan is what the definitions say."""
    found = plan(p99_seconds=0.0307, expected_per_second=1_000, peak_per_second=3_000, price_per_core_hour=0.04)
    assert found.law.knee_per_second == pytest.approx(250)
    assert found.law.capacity_per_second == pytest.approx(500)
    assert found.capacity_per_second == found.law.capacity_per_second >= found.kept_per_second
    assert found.usable_per_second == pytest.approx(345, abs=15)
    assert found.target_per_second == pytest.approx(0.8 * found.usable_per_second)
    assert found.cpus == 1.0
    assert found.memory_mib == 320
    assert found.cpu_percent == round(100 * (0.05 + 0.001 * found.target_per_second))
    assert found.predictions_per_minute == int(60 * found.target_per_second)
    assert found.min_replicas == replicas(1_000, found.usable_per_second, found.target_per_second, 3)
    assert found.max_replicas > found.min_replicas
    assert found.queue_seconds == pytest.approx(0.0154, rel=0.05)
    assert found.cost_per_million == pytest.approx(0.04 / 3600 / found.target_per_second * 1e6)
    assert found.expected_cost_per_million == pytest.approx(found.min_replicas * 0.04 / 3600 / 1_000 * 1e6)


def test_without_an_objective_the_knee_is_the_safe_rate() -> None:
    """The safe rate is the knee, and the longest wait is the 99th percentile there."""
    found = plan()
    assert found.usable_per_second == found.law.knee_per_second
    assert found.queue_seconds == pytest.approx(4.605 / 250, rel=0.15)
    assert found.cost_per_million != found.cost_per_million  # NaN: no price


def test_each_number_has_a_reason() -> None:
    """Each number that the plan decides has a line with words."""
    lines = lines_of(plan(p99_seconds=0.05, expected_per_second=100, peak_per_second=900, price_per_core_hour=0.04))
    assert [line.name for line in lines] == [
        "capacity",
        "knee",
        "safe rate",
        "target rate",
        "CPU request",
        "CPU limit",
        "memory",
        "workers",
        "threads",
        "longest wait",
        "least replicas",
        "most replicas",
        "HPA target",
        "KEDA threshold",
        "cost per million",
        "cost as expected",
    ]
    assert all(len(line.reason) > 10 and "nan" not in f"{line.value} {line.reason}" for line in lines)


def test_a_server_that_says_nothing_about_itself_gets_the_charts_defaults() -> None:
    """Without metrics of processor and memory the plan has rates and replicas, and says what it does not know."""
    silent = Measurements(
        "iris@1.0.0",
        tuple(
            Point(p.offered_per_second, p.answered_per_second, 0.0, {}, p.mean_seconds, p.p50_seconds, p.p99_seconds)
            for p in MEASURED.points
        ),
    )
    found = make_plan(silent, Demand(p99_seconds=0.05))
    assert (found.cpus, found.memory_mib, found.cpu_percent) == (1.0, 512, 60)
    assert all("nan" not in f"{line.value} {line.reason}" for line in lines_of(found))


def test_rates_with_failures_are_not_fitted_and_no_rate_too_much_is_a_warning() -> None:
    """A rate at which half of the requests fail is in no fit; where all rates were kept up with, a warning says so."""
    failed = Measurements("", (*MEASURED.points, point(460, errors=500)))
    assert make_plan(failed, Demand()).law == plan().law
    assert not warnings_of(make_plan(failed, Demand()))
    assert "no measured rate was too much" in " ".join(warnings_of(plan()))


@pytest.mark.parametrize("scaler", ["hpa", "keda", "none"])
def test_the_chart_accepts_the_values(scaler: str, tmp_path: Path) -> None:
    """Helm renders the chart with the written values file, and the objects hold the plan's numbers."""
    found = plan(p99_seconds=0.05, expected_per_second=1_000, peak_per_second=3_000)
    write_plan(found, tmp_path, scaler)
    rendered = objects(yaml.safe_load((tmp_path / "values.yaml").read_text("utf-8")))
    container = one(rendered, "Deployment")["spec"]["template"]["spec"]["containers"][0]
    memory = f"{found.memory_mib}Mi"
    assert container["resources"] == {"requests": {"cpu": "1", "memory": memory}, "limits": {"memory": memory}}
    environment = {each["name"]: each.get("value") for each in container["env"]}
    assert environment["ORRIS_MAX_QUEUE_SECONDS"] == f"{found.queue_seconds:g}"
    if scaler == "hpa":
        spec = one(rendered, "HorizontalPodAutoscaler")["spec"]
        assert (spec["minReplicas"], spec["maxReplicas"]) == (found.min_replicas, found.max_replicas)
        assert spec["metrics"][0]["containerResource"]["target"]["averageUtilization"] == found.cpu_percent
    elif scaler == "keda":
        spec = one(rendered, "ScaledObject")["spec"]
        assert (spec["minReplicaCount"], spec["maxReplicaCount"]) == (found.min_replicas, found.max_replicas)
        assert str(found.predictions_per_minute) in {trigger["metadata"]["threshold"] for trigger in spec["triggers"]}
    else:
        assert one(rendered, "Deployment")["spec"]["replicas"] == found.min_replicas


def test_the_written_plan_holds_the_numbers_in_every_form(tmp_path: Path) -> None:
    """JSON, Markdown and HTML hold the same lines; HTML holds the drawn fit and asks nothing of the network."""
    found = plan(p99_seconds=0.05)
    files = {file.name: file.read_text("utf-8") for file in write_plan(found, tmp_path)}
    assert set(files) == {"plan.json", "plan.md", "plan.html", "values.yaml"}
    written = json.loads(files["plan.json"])
    assert written == document(MEASURED, found)
    assert written["plan"]["values"] == values_of(found)
    assert written["plan"]["cost_per_million"] is None
    for line in lines_of(found):
        assert line.name in files["plan.md"]
        assert line.value in files["plan.html"]
    assert "data:image/png;base64," in files["plan.html"]
    assert "http://" not in files["plan.html"]


@pytest.mark.parametrize(
    ("demand", "problem"),
    [
        ({"p99_seconds": 0}, "objective"),
        ({"headroom": 1.0}, "headroom"),
        ({"n_zones": 0}, "zones"),
        ({"peak_per_second": -1}, "rate"),
        ({"p99_seconds": -inf}, "objective"),
    ],
)
def test_a_demand_that_makes_no_sense_is_refused(demand: dict[str, float], problem: str) -> None:
    """A value that no deployment can have is refused by name."""
    with pytest.raises(CapacityError, match=problem):
        plan(**demand)
