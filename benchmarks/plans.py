"""Capacity plans of three models, as ``orris plan`` makes them: iris, a forest of 1,000 trees, and a boosted model.

Each is trained on the iris table, served by a process that is held to one processor, and measured at rising rates. The
plans are written as pages and as values of the chart; a table sets them side by side.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import harness

import orris
from orris.capacity import Demand, Plan, Point, make_plan, measure_model, write_plan
from orris.capacity.reasons import milliseconds, rate

TABLE = Path(__file__).parents[1] / "data" / "iris.csv"
MODELS = {
    "iris": ("logistic", {}),
    "forest-1000": ("forest", {"n_estimators": 1_000}),
    "boosted": ("xgboost", {}),
}


def plan_of(name: str, store: Path, seconds: float, demand: Demand) -> Plan:
    """Train, measure and plan one of ``MODELS``."""
    preset, params = MODELS[name]
    orris.train(
        table=TABLE,
        target="species",
        name=name,
        model=preset,
        model_parameters=params,
        version="1.0.0",
        store=store,
    )
    measured = measure_model(name, 1.0, store=str(store), seconds_each=seconds, on_point=_tell)
    return make_plan(measured, demand, cpus=1.0)


def _tell(point: Point) -> None:
    print(
        f"… {rate(point.offered_per_second)} sent, 99th percentile {milliseconds(point.p99_seconds)}", file=sys.stderr
    )


def main() -> None:
    """Measure, write and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("plans"), help="folder of the plans [default: plans]")
    parser.add_argument("--seconds", type=float, default=10.0, help="seconds of each rate [default: 10]")
    parser.add_argument("--p99", type=float, default=20.0, help="latency objective in ms [default: 20]")
    parser.add_argument("--only", choices=MODELS, action="append", help="these models alone")
    asked = parser.parse_args()
    demand = Demand(asked.p99 / 1e3, expected_per_second=2_000, peak_per_second=20_000, price_per_core_hour=0.04)
    rows = []
    with tempfile.TemporaryDirectory() as name:
        for model in asked.only or MODELS:
            plan = plan_of(model, Path(name), asked.seconds, demand)
            write_plan(plan, asked.out / model)
            rows.append(
                (
                    model,
                    rate(plan.capacity_per_second),
                    rate(plan.law.knee_per_second),
                    rate(plan.usable_per_second),
                    milliseconds(plan.seconds_per_request),
                    f"{plan.min_replicas} to {plan.max_replicas}",
                    f"{plan.cpu_percent} %",
                    f"{plan.cost_per_million:.4f}",
                    f"{plan.law.error:.0%}",
                )
            )
    head = (
        "model",
        "capacity",
        "knee",
        "safe rate",
        "CPU of a request",
        "replicas",
        "HPA target",
        "cost/million",
        "fit",
    )
    harness.print_table(head, rows)


if __name__ == "__main__":
    main()
