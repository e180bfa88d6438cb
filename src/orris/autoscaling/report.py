"""An experiment as a table in words, as Markdown, and as one HTML page with the plots in it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from orris.autoscaling.bottleneck import mean, steady
from orris.autoscaling.plots import draw_experiment, draw_simulation
from orris.autoscaling.results import Experiment, Scenario, write_experiment
from orris.autoscaling.simulation import Simulation
from orris.reporting.pages import embedded, heads, render
from orris.reporting.pages import markdown as escaped

HEADER = ("scenario", "concurrency", "pods", "latency", "throughput", "observation")
SIMULATION_HEADER = (
    "case",
    "most replicas",
    "replica-hours",
    "core-hours",
    "p99",
    "slow",
    "failed",
    "observation",
)
_TEMPLATES = Path(__file__).parent / "templates"


def table(experiment: Experiment) -> list[tuple[str, ...]]:
    """Rows for :data:`HEADER`, one for each scenario."""
    return [_row(scenario) for scenario in experiment.scenarios]


def simulation_table(simulation: Simulation) -> list[tuple[str, ...]]:
    """Rows for :data:`SIMULATION_HEADER`, one for each case."""
    return [
        (
            outcome.name,
            f"{outcome.max_ready:,}",
            f"{outcome.replica_hours:,.0f}",
            f"{outcome.core_hours:,.1f}",
            f"{outcome.p99_ms:,.1f} ms",
            f"{outcome.slow_share:.3%}",
            f"{outcome.failed / max(1, outcome.requests):.3%}",
            outcome.observation,
        )
        for outcome in simulation.outcomes
    ]


def _row(scenario: Scenario) -> tuple[str, ...]:
    loaded = [point.ready for point in scenario.points if point.phase == "load"]
    pods = f"{loaded[0]} → {max(loaded)}" if loaded and max(loaded) > loaded[0] else f"{max(loaded, default=0)}"
    load = scenario.load
    latency = throughput = "not measured"
    if load is not None:
        latency = f"p50 {load.p50_ms:,.0f} ms, p99 {load.p99_ms:,.0f} ms"
        throughput = f"{load.requests_per_second:,.0f} req/s"
        at_most = mean(steady(scenario), lambda point: point.requests_per_second)
        if at_most is not None:
            throughput += f"; {at_most:,.0f} with {max(loaded)} pod{'s' if max(loaded) > 1 else ''}"
    text = " ".join(scenario.observations)
    return (scenario.name, f"{scenario.connections:,}", pods, latency, throughput, text)


def markdown(experiment: Experiment, picture: str | None = None) -> str:
    """The table, the conditions and, by its address, the plot."""
    lines = _markdown_table(HEADER, table(experiment))
    if picture:
        lines += ["", f"![Replicas, CPU, throughput and latency over time]({picture})"]
    lines += ["", *_markdown_table(("condition", "value"), _conditions(experiment))]
    return "\n".join(lines) + "\n"


def simulation_markdown(simulation: Simulation, picture: str | None = None) -> str:
    """The table of the cases, how the simulation compares with what was measured, and what it began with."""
    lines = _markdown_table(SIMULATION_HEADER, simulation_table(simulation))
    if picture:
        lines += ["", f"![Rate, replicas and latency over the day]({picture})"]
    lines += ["", *_markdown_table(("condition", "value"), _simulation_conditions(simulation))]
    return "\n".join(lines) + "\n"


def _simulation_conditions(simulation: Simulation) -> list[tuple[str, ...]]:
    checks = [("checked against the measurement", sentence) for sentence in simulation.checks]
    return [("simulated", simulation.at), *simulation.conditions.items(), *checks]


def _conditions(experiment: Experiment) -> list[tuple[str, ...]]:
    pairs: list[tuple[str, ...]] = [("measured", experiment.at), *experiment.conditions.items()]
    starts = [seconds for scenario in experiment.scenarios for seconds in scenario.startup_seconds]
    if starts:
        pairs.append(("start of a replica", f"{min(starts):.1f} to {max(starts):.1f} s until it was ready"))
    if experiment.interrupted:
        pairs.append(("complete", "no: it was interrupted"))
    return pairs


def _markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [header, ["---"] * len(header), *([escaped(cell) for cell in row] for row in rows)]
    return ["| " + " | ".join(line) + " |" for line in lines]


def html(experiment: Experiment, picture: Path) -> str:
    """One page that loads nothing from the network and runs no script, with the plot in it."""
    return _page(
        "Autoscaling experiment",
        f"{experiment.size} · {experiment.at}",
        ("What each scenario measured", HEADER, table(experiment)),
        picture,
        "Replicas, CPU, throughput and latency over time, one column for each scenario",
        _conditions(experiment),
    )


def _page(
    title: str,
    subtitle: str,
    results: tuple[str, tuple[str, ...], list[tuple[str, ...]]],
    picture: Path,
    alt: str,
    conditions: list[tuple[str, ...]],
) -> str:
    caption, header, rows = results
    context = {
        "title": title,
        "subtitle": subtitle,
        "caption": caption,
        "result_heads": heads(*header),
        "results": rows,
        "picture": embedded(picture),
        "alt": alt,
        "pair_heads": heads("condition", "value"),
        "conditions": conditions,
    }
    return render(_TEMPLATES, "autoscaling.html.j2", context)


def write_report(experiment: Experiment, folder: Path) -> list[Path]:
    """Write ``autoscaling.json``, ``.png``, ``.md`` and ``.html``; returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / f"autoscaling.{kind}" for kind in ("json", "png", "md", "html")]
    write_experiment(experiment, files[0])
    draw_experiment(experiment, files[1])
    files[2].write_text(f"# Autoscaling experiment\n\n{markdown(experiment, files[1].name)}", "utf-8")
    files[3].write_text(html(experiment, files[1]), "utf-8")
    return files


def write_simulation_report(simulation: Simulation, folder: Path) -> list[Path]:
    """Write ``simulation.json``, ``.png``, ``.md`` and ``.html``; returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / f"simulation.{kind}" for kind in ("json", "png", "md", "html")]
    files[0].write_bytes(msgspec.json.encode(simulation) + b"\n")
    draw_simulation(simulation, files[1])
    text = simulation_markdown(simulation, files[1].name)
    files[2].write_text(f"# Autoscaling, simulated\n\n{text}", "utf-8")
    page = _page(
        "Autoscaling, simulated",
        simulation.at,
        ("What each case came to", SIMULATION_HEADER, simulation_table(simulation)),
        files[1],
        "Rate, replicas and latency over the day, one column for two cases each",
        _simulation_conditions(simulation),
    )
    files[3].write_text(page, "utf-8")
    return files
