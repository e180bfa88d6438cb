"""The plan as files: ``plan.json``, ``plan.md``, ``plan.html`` with the drawn fit, and the chart's ``values.yaml``."""

from __future__ import annotations

from dataclasses import asdict
from math import isfinite
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import msgspec

from orris.capacity.measuring import Measurements
from orris.capacity.planning import Plan
from orris.capacity.reasons import lines_of, milliseconds, rate, warnings_of
from orris.capacity.values import values_of, values_text
from orris.errors import MissingExtraError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TEMPLATES = Path(__file__).parent / "templates"

HEADS = (
    "#sent a second",
    "#answered a second",
    "#failed",
    "#mean",
    "#p50",
    "#p99",
    "#fit",
    "#in flight",
    "#processors",
)


def document(measured: Measurements, plan: Plan | None = None) -> dict[str, Any]:
    """The measurements, and the plan if there is one, for machines; unknown values are ``null``."""
    points = [{**asdict(point), "in_flight": point.in_flight, "keeps_up": point.keeps_up} for point in measured.points]
    found: dict[str, Any] = {
        "model": measured.model,
        "interrupted": measured.interrupted,
        "conditions": measured.conditions,
        "rows_per_request": measured.rows_per_request,
        "seconds_each": measured.seconds_each,
        "points": points,
        "plan": None,
    }
    if plan is not None:
        law = plan.law
        numbers = {key: value for key, value in asdict(plan).items() if key not in {"measured", "law", "demand"}}
        found["plan"] = {
            **numbers,
            "demand": asdict(plan.demand),
            "fit": {
                **asdict(law),
                "single_per_second": law.single_per_second,
                "contention": law.contention,
                "coherency": law.coherency,
                "capacity_per_second": law.capacity_per_second,
                "knee_per_second": law.knee_per_second,
                "knee_in_flight": law.knee_in_flight,
            },
            "cost_per_million": plan.cost_per_million,
            "expected_cost_per_million": plan.expected_cost_per_million,
            "lines": [asdict(line) for line in lines_of(plan)],
            "warnings": warnings_of(plan),
            "values": values_of(plan),
        }
    known: dict[str, Any] = _known(found)
    return known


def _known(value: Any) -> Any:
    if isinstance(value, float) and not isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: _known(each) for key, each in value.items()}
    return [_known(each) for each in value] if isinstance(value, list | tuple) else value


def point_rows(measured: Measurements, plan: Plan | None = None) -> list[tuple[str, ...]]:
    """The measured rates as rows of a table, under ``HEADS``."""
    return [
        (
            f"{point.offered_per_second:,.0f}",
            f"{point.answered_per_second:,.0f}",
            f"{point.error_share:.1%}" if point.errors else "0",
            milliseconds(point.mean_seconds),
            milliseconds(point.p50_seconds),
            milliseconds(point.p99_seconds),
            _fit_cell(plan, point.answered_per_second) if point.keeps_up else "",
            f"{point.in_flight:,.1f}",
            f"{point.cpu_cores:.2f}" if isfinite(point.cpu_cores) else "",
        )
        for point in measured.points
    ]


def _fit_cell(plan: Plan | None, per_second: float) -> str:
    if plan is None:
        return ""
    seconds = plan.law.latency_at(per_second)
    return milliseconds(seconds) if isfinite(seconds) else "beyond"


def write_plan(plan: Plan, folder: Path, scaler: str = "hpa") -> list[Path]:
    """Write all files of a plan into a folder, which is made; returns them.

    Raises:
        MissingExtraError: The extra ``load`` is not installed.
    """
    from orris.reporting.pages import embedded, heads, render  # noqa: PLC0415

    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory() as temporary:
        picture = draw(plan, Path(temporary) / "fit.png")
        context = {
            "plan": plan,
            "measured": plan.measured,
            "title": f"Capacity of {plan.measured.model or 'a server'}",
            "lines": lines_of(plan),
            "warnings": warnings_of(plan),
            "line_heads": heads("number", "value", "why"),
            "point_heads": heads(*HEADS),
            "point_rows": point_rows(plan.measured, plan),
            "picture": embedded(picture),
            "values": values_text(plan, scaler),
            "rate": rate,
            "milliseconds": milliseconds,
        }
        try:
            html = render(TEMPLATES, "plan.html.j2", context)
            text = render(TEMPLATES, "plan.md.j2", context)
        except ImportError as error:
            raise MissingExtraError("load", "a report of a capacity plan") from error
    files = {
        "plan.json": msgspec.json.format(msgspec.json.encode(document(plan.measured, plan)), indent=2).decode() + "\n",
        "plan.md": text,
        "plan.html": html,
        "values.yaml": values_text(plan, scaler),
    }
    for name, content in files.items():
        (folder / name).write_text(content, "utf-8")
    return [folder / name for name in files]


def draw(plan: Plan, file: Path) -> Path:
    """Draw the measured latencies and the fit over the rate; returns the file.

    Raises:
        MissingExtraError: The extra ``load`` is not installed.
    """
    try:
        from orris.reporting.figures import save, styled  # noqa: PLC0415

        with styled():
            return save(_figure(plan), file)
    except ImportError as error:
        raise MissingExtraError("load", "the plot of a capacity plan") from error


def _figure(plan: Plan) -> Figure:
    import numpy as np  # noqa: PLC0415

    from orris.reporting.figures import COLOURS, FAINT, legend_below, new_figure  # noqa: PLC0415

    figure, axes = new_figure(8.0, 5.4)
    law, good = plan.law, plan.measured.good
    highest = max(point.answered_per_second for point in plan.measured.points)
    capacity = law.capacity_per_second
    rates = np.linspace(1e-6, min(highest * 1.02, capacity * 0.998), 400)
    axes.plot(rates, [1e3 * law.latency_at(x) for x in rates], color=COLOURS[0], label="mean latency, fitted law")
    axes.plot(
        [p.answered_per_second for p in good], [1e3 * p.mean_seconds for p in good], "o", color=COLOURS[0], label="mean"
    )
    axes.plot(
        [p.answered_per_second for p in good],
        [1e3 * p.p99_seconds for p in good],
        "s--",
        color=COLOURS[1],
        label="99th percentile",
    )
    bad = [p for p in plan.measured.points if not p.keeps_up and p.p99_seconds > 0]
    axes.plot(
        [p.answered_per_second for p in bad],
        [1e3 * p.p99_seconds for p in bad],
        "x",
        color=COLOURS[3],
        label="99th percentile, too much",
    )
    axes.axvline(law.knee_per_second, color=COLOURS[2], linestyle=(0, (6, 2)), label="knee")
    axes.axvline(plan.usable_per_second, color=COLOURS[4], linestyle=(0, (2, 1.5)), label="safe rate")
    if capacity <= 1.3 * highest:
        axes.axvline(capacity, color=FAINT, label="capacity of the fit")
    axes.set_yscale("log")
    axes.set_xlim(left=0)
    axes.set_xlabel("answered requests a second")
    axes.set_ylabel("latency in ms")
    axes.set_title("Latency over the rate of one replica")
    legend_below(axes)
    return figure
