"""Tests of the simulation: against formulas with known answers, and against what was measured."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from orris.autoscaling.hpa import Policy, ScalingRules, Spec
from orris.autoscaling.questions import questions, replay, run_simulation, service_of
from orris.autoscaling.report import simulation_table, write_simulation_report
from orris.autoscaling.results import Experiment, Scenario, read_experiment
from orris.autoscaling.simulation import Case, Service, Traffic, simulate, weighted_percentiles
from orris.errors import ExperimentError

RESULTS = Path(__file__).parents[2] / "benchmarks" / "autoscaling.json"
SERVICE = Service(cpu_seconds=0.001, scv=1.0, cores=0.1, startup_seconds=10)  # 10 ms, 100 requests a second


def fixed(replicas: int) -> Spec:
    """An autoscaler that has no choice."""
    return Spec(replicas, replicas, 60)


def erlang_c(servers: int, load: float) -> float:
    """The probability of waiting in M/M/n (A. K. Erlang, 1917), by the stable recursion of the loss formula."""
    loss = 1.0
    for count in range(1, servers + 1):
        loss = load * loss / (count + load * loss)
    return loss / (1 - load / servers * (1 - loss))


@pytest.mark.parametrize("utilisation", [0.3, 0.6, 0.8])
@pytest.mark.parametrize("scv", [0.0, 1.0])
def test_one_replica_waits_as_the_pollaczek_khinchine_formula_says(utilisation: float, scv: float) -> None:
    """For one server the mean time is exactly that of M/G/1: (1 + scv) / 2 · ρ / (1 − ρ) service times of waiting."""
    service = replace(SERVICE, scv=scv)
    case = Case("steady", service, lambda _: 100 * utilisation, fixed(1), seconds=4000, step_seconds=10)
    expected = 10 * (1 + (1 + scv) / 2 * utilisation / (1 - utilisation))
    outcome = simulate(case, points=1)
    assert outcome.points[0].latency_ms == pytest.approx(expected, rel=0.1)


@pytest.mark.parametrize(("replicas", "utilisation"), [(2, 0.8), (5, 0.8), (20, 0.9)])
def test_several_replicas_wait_as_erlangs_formula_says(replicas: int, utilisation: float) -> None:
    """The mean wait of M/M/n lies within a quarter of Erlang's exact one."""
    rate = replicas * 100 * utilisation
    case = Case(
        "steady", SERVICE, lambda _: rate, fixed(replicas), seconds=4000, step_seconds=50, first_replicas=replicas
    )
    waiting = simulate(case, points=1).points[0].latency_ms - 10
    exact = erlang_c(replicas, rate / 100) / (replicas * 100 - rate) * 1000
    assert waiting == pytest.approx(exact, rel=0.25)


def test_every_request_is_served_fails_or_waits() -> None:
    """Overload fails what waits longer than the patience: at twice the capacity about half of the requests."""
    case = Case("overload", SERVICE, lambda _: 200.0, fixed(1), seconds=2000)
    outcome = simulate(case)
    assert outcome.requests == pytest.approx(400_000, rel=0.01)
    assert outcome.failed == pytest.approx(200_000 - 1000, rel=0.02)
    assert outcome.p99_ms == pytest.approx(10_000, rel=0.01)


def test_replicas_follow_a_closed_loop_to_the_maximum() -> None:
    """Connections that are always busy keep the CPU at its quota, so the replicas rise to the maximum and stay."""
    spec = Spec(1, 5, 60, scale_up=ScalingRules(0, (Policy("Pods", 1, 15),)))
    outcome = simulate(Case("closed", SERVICE, 500, spec, seconds=300), points=300)
    assert [point.wanted for point in outcome.points][-1] == 5
    rises = [
        after - before
        for before, after in zip(
            [1, *[p.wanted for p in outcome.points]], [p.wanted for p in outcome.points], strict=False
        )
    ]
    assert set(rises) == {0, 1}
    assert outcome.points[-1].latency_ms == pytest.approx(1000, rel=0.01)  # 500 connections / 500 requests a second
    assert outcome.failed == 0


def test_a_slow_start_delays_every_replica() -> None:
    """Replicas are ready the start-up time after they were wanted."""
    spec = Spec(1, 3, 60)
    outcome = simulate(Case("slow", replace(SERVICE, startup_seconds=60), 100, spec, seconds=300), points=300)
    wanted = next(point.seconds for point in outcome.points if point.wanted > 1)
    ready = next(point.seconds for point in outcome.points if point.ready > 1)
    assert ready - wanted == pytest.approx(60, abs=2)


def test_keda_scales_to_zero_after_the_cooldown_and_back_with_a_request() -> None:
    """Without traffic the last replica goes after the cooldown; the next request waits for a new one."""

    def traffic(second: float) -> float:
        return 5.0 if second < 100 or second >= 1000 else 0.0

    spec = Spec(0, 3, 60)
    case = Case("zero", SERVICE, traffic, spec, scaler="keda", seconds=1200)
    outcome = simulate(case, points=1200)
    ready = {round(point.seconds): point.ready for point in outcome.points}
    assert ready[390] == 1
    assert ready[430] == 0
    assert ready[999] == 0
    assert ready[1199] == 1
    assert outcome.without_replica > 0


def test_a_day_with_thousands_of_replicas_is_simulated() -> None:
    """A peak of five million requests a second needs thousands of replicas, and the day has a row for it."""
    case = questions(replace(SERVICE, cpu_seconds=0.0001), 3_000_000)[0]
    outcome = simulate(case)
    assert outcome.max_ready > 4000
    assert len(outcome.points) == 480
    assert outcome.requests > 10**10


def test_equal_seeds_give_equal_days() -> None:
    """A simulation is repeated exactly by its seed."""
    case = Case("short", SERVICE, Traffic(50).rate, Spec(1, 5, 60), seconds=3000)
    assert simulate(case, seed=1) == simulate(case, seed=1)
    assert simulate(case, seed=1) != simulate(case, seed=2)


def test_percentiles_are_weighted() -> None:
    """Values count by their weights."""
    assert weighted_percentiles([3.0, 1.0, 2.0], [1, 98, 1], (50, 98.5, 100)) == [1.0, 2.0, 3.0]
    assert math.isnan(weighted_percentiles([], [], (50,))[0])


def test_the_simulation_follows_the_measured_replicas_within_one() -> None:
    """On every measured load of benchmarks/autoscaling.json the simulation wants the same replicas within one."""
    experiment = read_experiment(RESULTS)
    service = service_of(experiment)
    for scenario in experiment.scenarios:
        found = replay(scenario, service, experiment.faster)
        assert found.largest_difference <= 1, scenario.name
        assert found.simulated[-1] == found.measured[-1], scenario.name


def test_all_questions_are_answered_and_written(tmp_path: Path) -> None:
    """Every case has a row, and the four files are written."""
    found = run_simulation(read_experiment(RESULTS), 20_000, step_seconds=10, tell=lambda _: None)
    assert len(simulation_table(found)) == 10
    assert len(found.checks) == len(read_experiment(RESULTS).scenarios)
    files = write_simulation_report(found, tmp_path)
    assert [file.name for file in files] == [f"simulation.{kind}" for kind in ("json", "png", "md", "html")]
    by_name = {outcome["name"]: outcome for outcome in json.loads(files[0].read_text("utf-8"))["outcomes"]}
    same = by_name["the peak triples, the same maximum"]
    more = by_name["the peak triples, three times the maximum"]
    assert same["failed"] > more["failed"]
    assert by_name["the same, scale to zero"]["without_replica"] > 0


def test_results_without_a_measurement_are_refused() -> None:
    """Results that hold no load say what to run first."""
    empty = Experiment("local", "", {}, [Scenario("a", 1, 1, 0.1, 60)])
    with pytest.raises(ExperimentError, match="run  orris experiment autoscaling --local"):
        service_of(empty)


def test_the_command_names_the_results_that_it_needs(tmp_path: Path) -> None:
    """Without results of a local experiment the command names the file that it looked for."""
    command = [sys.executable, "-m", "orris", "experiment", "autoscaling", "--simulate"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 1
    assert "autoscaling-results/autoscaling.json cannot be read" in done.stderr
