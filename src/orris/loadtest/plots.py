"""Plots of a load test: latency over time, the distribution of latencies, throughput and latency."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from orris.loadtest.histogram import Floats, highest_microseconds, lowest_microseconds
from orris.loadtest.run import Part, Run
from orris.reporting.figures import COLOURS, DASHES, FAINT, INK, legend_below, new_figure, save_all

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LINES = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p99.9": 0.999}
WIDE = (8.6, 4.4)
"""Inches of a plot over time."""


class Entry(NamedTuple):
    """The title of a plot, and how to read it."""

    title: str
    meaning: str
    wide: bool = False


PLOTS: dict[str, Entry] = {
    "latency_over_time": Entry(
        "Latency over time",
        "Percentiles of the requests that were due in each slice of time, on a logarithmic scale. A stall shows as a"
        " peak in all lines.",
        wide=True,
    ),
    "throughput_over_time": Entry(
        "Requests a second over time",
        "Requests that were due, that were answered and that failed. Where the answered stay below the due, the server"
        " is over its capacity.",
        wide=True,
    ),
    "histogram": Entry(
        "Distribution of latencies",
        "How many requests took how long, on a logarithmic scale; the dashed lines are percentiles.",
    ),
    "throughput_latency": Entry(
        "Latency and throughput",
        "A point for each step of the rate, or for each slice of time. Where the latency leaves the ground, the server"
        " has reached its capacity.",
    ),
}
"""By the file's name, in the order of the report."""


def draw(run: Run, folder: Path) -> dict[str, Path]:
    """Draw every plot that the run has numbers for.

    Args:
        run: What was measured.
        folder: Receives ``NAME.png``; made if it does not exist.

    Returns:
        Paths by name, in the order of ``PLOTS``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    painters: dict[str, Callable[[Run], Figure | None]] = {
        "latency_over_time": _latency_over_time,
        "throughput_over_time": _throughput_over_time,
        "histogram": _histogram,
        "throughput_latency": _throughput_latency,
    }
    return save_all(painters, folder, run)


def _latency_over_time(run: Run) -> Figure | None:
    slices = [each for each in run.slices if each.latency.count]
    if len(slices) < 2:
        return None
    figure, axes = new_figure(*WIDE)
    times = [each.begin_seconds + each.seconds / 2 for each in slices]
    for i, (name, quantile) in enumerate(LINES.items()):
        values = [each.latency.quantile_seconds(quantile) * 1e3 for each in slices]
        axes.plot(times, values, color=COLOURS[i], linestyle=DASHES[i], label=name)
    _milliseconds(axes, axis="y")
    _mark_steps(axes, run)
    axes.set(xlabel="seconds", ylabel="latency, ms", title="Latency over time", xlim=(0, run.whole.seconds))
    legend_below(axes, 4)
    return figure


def _throughput_over_time(run: Run) -> Figure | None:
    if len(run.slices) < 2:
        return None
    figure, axes = new_figure(*WIDE)
    times = [each.begin_seconds for each in run.slices] + [run.whole.seconds]
    series = [
        ("due", [each.offered / each.seconds for each in run.slices], FAINT),
        ("answered", [each.answered / each.seconds for each in run.slices], COLOURS[0]),
        ("failed", [sum(each.errors.values()) / each.seconds for each in run.slices], COLOURS[1]),
    ]
    for i, (name, values, colour) in enumerate(series if run.loop == "open" else series[1:]):
        axes.stairs(values, times, color=colour, linestyle=DASHES[i], label=name, linewidth=2, baseline=None)
    _mark_steps(axes, run)
    axes.set(xlabel="seconds", ylabel="requests a second", title="Requests a second over time")
    axes.set(xlim=(0, run.whole.seconds))
    axes.set_ylim(bottom=0)
    legend_below(axes, 3)
    return figure


def _mark_steps(axes: Axes, run: Run) -> None:
    begin = 0.0
    for step in run.steps[:-1]:
        begin += step.seconds
        axes.axvline(begin, color=FAINT, linewidth=1, linestyle=(0, (2, 3)), zorder=1)


def _histogram(run: Run) -> Figure | None:
    latency = run.whole.latency
    if not latency.count:
        return None
    figure, axes = new_figure()
    low = max(float(lowest_microseconds(latency.indices[:1])[0]), 1.0)
    high = max(float(highest_microseconds(latency.indices[-1:])[0]), low * 2)
    edges = np.geomspace(low * 0.98, high * 1.02, 61)
    middles: Floats = (lowest_microseconds(latency.indices) + highest_microseconds(latency.indices)) / 2
    counts, _ = np.histogram(np.clip(middles, edges[0], edges[-1]), edges, weights=latency.counts)
    axes.stairs(counts, edges / 1e3, fill=True, color=COLOURS[0], alpha=0.85)
    top = float(counts.max())
    for i, (name, quantile) in enumerate(LINES.items()):
        place = latency.quantile_seconds(quantile) * 1e3
        axes.axvline(place, color=INK, linewidth=1, linestyle=(0, (4, 3)))
        axes.text(place, top * (1.30 - 0.08 * i), f" {name}", fontsize=9, va="center")
    axes.set_ylim(0, top * 1.38)
    _milliseconds(axes, axis="x")
    axes.set(xlabel="latency, ms", ylabel="requests", title="Distribution of latencies")
    return figure


def _throughput_latency(run: Run) -> Figure | None:
    by_step = len(run.steps) > 1
    parts: list[Part] = [part for _, part in run.parts()] if by_step else [Part.of([each]) for each in run.slices]
    parts = [part for part in parts if part.latency.count]
    if len(parts) < 2:
        return None
    figure, axes = new_figure()
    x = [part.throughput_per_second for part in parts]
    for i, name in enumerate(("p50", "p99")):
        y = [part.latency.quantile_seconds(LINES[name]) * 1e3 for part in parts]
        line = DASHES[i] if by_step else "none"
        axes.plot(x, y, color=COLOURS[i], linestyle=line, marker="os"[i], markersize=5, label=name, alpha=0.9)
    _milliseconds(axes, axis="y")
    axes.set(xlabel="answered requests a second", ylabel="latency, ms")
    axes.set(title="Latency and throughput of each step" if by_step else "Latency and throughput of each slice")
    axes.set_xlim(left=0)
    legend_below(axes)
    return figure


def _milliseconds(axes: Axes, axis: str) -> None:
    """A logarithmic axis whose ticks are plain numbers."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter  # noqa: PLC0415

    chosen = axes.yaxis if axis == "y" else axes.xaxis
    (axes.set_yscale if axis == "y" else axes.set_xscale)("log")
    low, high = axes.get_ylim() if axis == "y" else axes.get_xlim()
    narrow = high / low < 50
    chosen.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if narrow else (1.0,), numticks=12))
    chosen.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    chosen.set_minor_formatter(NullFormatter())
