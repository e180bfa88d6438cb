"""Pictures over time: replicas, CPU, throughput and latency, one column for each scenario."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from orris.autoscaling.results import Experiment, Point, Scenario
from orris.autoscaling.simulation import Simulation
from orris.errors import MissingExtraError
from orris.reporting.figures import COLOURS, DASHES, FAINT, GRID, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def draw_experiment(experiment: Experiment, file: Path) -> None:
    """Draw all scenarios into one PNG.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    columns = max(1, len(experiment.scenarios))
    with _figure(5.4 * columns, 9.2, file) as figure:
        grid = figure.subplots(4, columns, squeeze=False, sharex="col", sharey="row")
        for column, scenario in enumerate(experiment.scenarios):
            axes = list(grid[:, column])
            axes[0].set_title(scenario.name, fontsize=11)
            _draw_replicas(axes[0], scenario)
            _draw_usage(axes[1], scenario)
            _draw_line(axes[2], scenario.points, lambda point: point.requests_per_second, COLOURS[2])
            _draw_line(axes[3], scenario.points, lambda point: point.latency_ms, COLOURS[3])
            axes[-1].set_xlabel("seconds")
            _shade_load(axes, scenario)
        labels = ("replicas", "CPU, % of requests", "requests per second", "mean latency, ms")
        for row, label in zip(grid, labels, strict=True):
            row[0].set_ylabel(label)
            row[0].set_ylim(bottom=0)  # at the end: it stops the row's limits, which all columns share, from growing


def draw_simulation(simulation: Simulation, file: Path) -> None:
    """Draw all cases into one PNG: the rate, the replicas and the latency over the day, two cases in a column.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    pairs = [simulation.outcomes[index : index + 2] for index in range(0, len(simulation.outcomes), 2)]
    with _figure(4.2 * len(pairs), 8.4, file) as figure:
        grid = figure.subplots(3, len(pairs), squeeze=False, sharex=True)
        for column, pair in enumerate(pairs):
            axes = list(grid[:, column])
            for outcome, colour, dash in zip(pair, COLOURS, DASHES, strict=False):
                hours = [point.seconds / 3600 for point in outcome.points]
                axes[0].plot(hours, [point.rate for point in outcome.points], color=colour, ls=dash)
                ready = [point.ready for point in outcome.points]
                axes[1].plot(hours, ready, color=colour, ls=dash, label=outcome.name)
                latency = [max(point.latency_ms, 0.01) for point in outcome.points]
                axes[2].plot(hours, latency, color=colour, ls=dash)
            axes[0].set_ylim(bottom=0)
            axes[1].set_ylim(bottom=0)
            axes[2].set_yscale("log")
            axes[2].set_xlabel("hour of the day")
            axes[2].set_xticks(range(0, 25, 6))
            axes[1].legend(loc="upper center", bbox_to_anchor=(0.5, -0.04), fontsize=8.5, frameon=False)
        for row, label in zip(grid, ("requests per second", "ready replicas", "mean latency, ms"), strict=True):
            row[0].set_ylabel(label)


@contextmanager
def _figure(width: float, height: float, file: Path) -> Iterator[Figure]:
    """A figure in the style of the reports, written to the file at the end."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415 (half a second to import)
        from matplotlib.figure import Figure  # noqa: PLC0415
    except ImportError as error:
        raise MissingExtraError("experiment", "drawing an experiment") from error
    with styled():
        figure = Figure(figsize=(width, height), dpi=80)
        FigureCanvasAgg(figure)
        yield figure
        figure.savefig(file, format="png", dpi=80, metadata={"Software": None})


def _draw_replicas(axes: Axes, scenario: Scenario) -> None:
    seconds = [point.seconds for point in scenario.points]
    axes.step(seconds, [point.wanted for point in scenario.points], where="post", color=FAINT, ls="--", label="wanted")
    axes.step(seconds, [point.ready for point in scenario.points], where="post", color=COLOURS[0], label="ready")
    axes.set_ylim(top=max([3, *(point.wanted for point in scenario.points)]) + 1.2)
    axes.locator_params(axis="y", integer=True)
    axes.legend(loc="upper right")


def _draw_usage(axes: Axes, scenario: Scenario) -> None:
    _draw_line(axes, scenario.points, lambda point: point.usage_percent, COLOURS[1])
    axes.axhline(scenario.target_percent, color=FAINT, ls=":", label=f"target {scenario.target_percent:g} %")
    axes.legend(loc="center right")


def _draw_line(axes: Axes, points: Sequence[Point], value: Callable[[Point], float | None], colour: str) -> None:
    known = [(point.seconds, number) for point in points if (number := value(point)) is not None]
    axes.plot([seconds for seconds, _ in known], [number for _, number in known], color=colour)


def _shade_load(axes: Sequence[Axes], scenario: Scenario) -> None:
    loaded = [point.seconds for point in scenario.points if point.phase == "load"]
    for axis in axes if loaded else ():
        axis.axvspan(loaded[0], loaded[-1], color=GRID, alpha=0.5, lw=0, zorder=0)
