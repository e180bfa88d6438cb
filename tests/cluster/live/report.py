"""The table and the figure of the autoscaling experiment, made of its numbers."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

from tests.cluster.helm import ROOT

NUMBERS = ROOT / "benchmarks" / "autoscaling-cluster.json"
FIGURE = ROOT / "docs" / "images" / "autoscaling-cluster.svg"
PAGE = ROOT / "docs" / "cluster-tests.md"
BEGIN, END = "<!-- experiment: begin -->\n", "<!-- experiment: end -->\n"
SETTLED_SHARE = 0.5
"""Of a load test, after which its throughput counts."""

MOST_QUIET_LOAD = 0.5
BUSY = " The machine was busy with other work: compare the rows, not the numbers with others."

Numbers = dict[str, Any]


def title(part: Numbers) -> str:
    """What a part is called."""
    spread = "requests are spread" if part["gateway"] else "connections are spread"
    return (
        f"{part['connections']:,} connections, at most {part['most_pods']} pod{'s'[: part['most_pods'] - 1]}, {spread}"
    )


def under_load(part: Numbers, share: float = 0.0) -> list[Numbers]:
    """The samples under load, from a share of it on."""
    begun = part["begun"] + share * (part["finished"] - part["begun"])
    return [each for each in part["samples"] if begun <= each["seconds"] <= part["finished"]]


def reached(part: Numbers) -> str:
    """How many seconds of load it took until the most pods were ready."""
    seconds = [each["seconds"] - part["begun"] for each in under_load(part) if each["ready_pods"] == part["most_pods"]]
    return f"{min(seconds):.0f} s" if seconds and part["most_pods"] > 1 else ""


def table(document: Numbers) -> str:
    """The table, in Markdown."""
    lines = [
        "| load | pods | after | processors | answers a second, late | of wrk | median | 99 % | refused or failed |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for part in document["parts"]:
        late, wrk = under_load(part, SETTLED_SHARE), part["wrk"]
        pods = f"{under_load(part)[0]['ready_pods']} → {max(each['ready_pods'] for each in late)}"
        cpu = statistics.median(each["processors"] for each in late)
        rate = statistics.median(each["requests_per_second"] for each in late)
        cells = [
            title(part),
            pods,
            reached(part),
            f"{cpu:.2f}",
            f"{rate:,.0f}",
            f"{wrk['requests_per_second']:,.0f}",
            f"{wrk['p50_ms']:,.0f} ms",
            f"{wrk['p99_ms']:,.0f} ms",
            f"{wrk['failed']:,}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def about(document: Numbers) -> str:
    """The conditions, as a sentence."""
    quiet = document["load_average_before"] <= MOST_QUIET_LOAD
    seconds = document["parts"][0]["finished"] - document["parts"][0]["begun"]
    return (
        f"Measured with Kubernetes {document['kubernetes']} and Orris {document['orris']} on a machine with\n"
        f"{document['processors']} processors, whose load average was {document['load_average_before']} before; "
        f"{seconds:.0f} s of load each,\n{document['minutes']:.0f} minutes in all.{'' if quiet else BUSY}\n"
    )


def section(document: Numbers) -> str:
    """What stands in the page."""
    return f"{about(document)}\n{table(document)}"


def insert(document: Numbers) -> None:
    """Write the section into the page."""
    text = PAGE.read_text("utf-8")
    head, _, rest = text.partition(BEGIN)
    _, _, tail = rest.partition(END)
    PAGE.write_text(f"{head}{BEGIN}\n{section(document)}\n{END}{tail}", "utf-8")


def draw(document: Numbers, file: Path) -> None:
    """Draw pods, CPU, throughput and mean latency of each part over time."""
    import matplotlib as mpl

    mpl.use("Agg")
    mpl.rcParams["svg.hashsalt"] = "autoscaling"
    from matplotlib import pyplot as plt

    parts = document["parts"]
    rows = ["pods", "CPU, % of the request", "requests a second", "mean latency, ms"]
    figure, grid = plt.subplots(
        len(rows),
        len(parts),
        figsize=(4.4 * len(parts), 7.6),
        layout="constrained",
        sharex="col",
        sharey="row",
        squeeze=False,
    )
    for column, part in enumerate(parts):
        axes = [grid[row][column] for row in range(len(rows))]
        times = [each["seconds"] - part["begun"] for each in part["samples"]]
        axes[0].step(
            times,
            [each["wanted_pods"] for each in part["samples"]],
            where="post",
            color="#c07a00",
            label="wanted by the HPA",
        )
        axes[0].step(
            times, [each["ready_pods"] for each in part["samples"]], where="post", color="#0b6e4f", label="ready"
        )
        axes[1].step(
            times,
            [each["cpu_percent"] for each in part["samples"]],
            where="post",
            color="#0b6e4f",
            label="as the HPA saw it",
        )
        axes[1].axhline(60, color="#8aa0b2", linestyle="--", linewidth=1, label="target")
        axes[2].plot(times, [each["requests_per_second"] for each in part["samples"]], color="#0b6e4f")
        loaded = [each for each in under_load(part) if each["requests_per_second"] > 0]
        axes[3].plot(
            [each["seconds"] - part["begun"] for each in loaded],
            [1000 * part["connections"] / each["requests_per_second"] for each in loaded],
            color="#0b6e4f",
        )
        axes[0].set_title(title(part).replace(", ", "\n", 1), fontsize=10)
        axes[0].set_ylim(0, 4)
        axes[3].set_yscale("log")
        axes[3].set_xlabel("seconds of load")
        for each in axes:
            each.axvspan(0, part["finished"] - part["begun"], color="#0b6e4f", alpha=0.06, linewidth=0)
            each.spines[["top", "right"]].set_visible(False)
            each.grid(alpha=0.25)
    for row, name in enumerate(rows):
        grid[row][0].set_ylabel(name)
    for row in (0, 1):
        grid[row][0].legend(fontsize=8, frameon=False, loc="best")
    figure.savefig(file, metadata={"Date": None} if file.suffix == ".svg" else None)
    plt.close(figure)
