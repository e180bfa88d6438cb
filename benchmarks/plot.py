"""Draws ``docs/images/peers.svg`` from ``results.json``.

Requests a second of one core, each server's best setup, logarithmic.

``plot.py [RESULTS.json [IMAGE]]``.
"""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

import harness
import report

OURS, FLOOR, PEER = "#0b6e4f", "#c9c9c9", "#8aa0b2"
INK = "#24292f"


def bars(measured: dict[str, Any]) -> list[tuple[str, float, str]]:
    """Label, requests a second and colour of every bar, the fastest first.

    Of a peer's setups the best, of Orris the slower measurement.
    """
    rows = [row for row in measured["results"] if row["table"] == "one" and row["rate"] and not row["n_failed"]]
    drawn: dict[str, tuple[float, str]] = {}
    for row in rows:
        if not report.is_ours(row):
            name = row["title"].partition(",")[0].partition(" (")[0]
            drawn[name] = max(drawn.get(name, (0.0, PEER)), (row["rate"], PEER))
    for title, name, colour in (
        ("Orris", "Orris", OURS),
        ("floor: fixed answer", "no model: fixed answer, same uvicorn", FLOOR),
    ):
        rate = report.slower(rows, title)
        if rate:
            drawn[name] = (rate, colour)
    return sorted(((name, rate, colour) for name, (rate, colour) in drawn.items()), key=lambda bar: -bar[1])


def draw(measured: dict[str, Any], file: Path) -> None:
    """Write the plot; nothing is written if nothing was measured on one core."""
    drawn = bars(measured)
    if not drawn:
        return
    import matplotlib as mpl

    mpl.use("Agg")
    mpl.rcParams["svg.hashsalt"] = "peers"
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(8.4, 0.42 * len(drawn) + 1.15), layout="constrained")
    places = range(len(drawn))
    axes.barh(places, [rate for _, rate, _ in drawn], color=[colour for *_, colour in drawn], height=0.68)
    axes.set_yticks(places, [name for name, *_ in drawn], color=INK)
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.set_xlim(
        left=10 ** math.floor(math.log10(min(rate for _, rate, _ in drawn) / 1.5)),
        right=max(rate for _, rate, _ in drawn) * 4,
    )
    for place, (_, rate, colour) in zip(places, drawn, strict=True):
        axes.annotate(
            f"{rate:,.0f}",
            (rate, place),
            xytext=(5, 0),
            textcoords="offset points",
            va="center",
            color=INK,
            weight="bold" if colour == OURS else "normal",
        )
    for label, (*_, colour) in zip(axes.get_yticklabels(), drawn, strict=True):
        label.set_fontweight("bold" if colour == OURS else "normal")
    axes.set_xlabel("requests a second on one core (logarithmic)", color=INK)
    axes.set_title(
        "Iris, logistic regression: one JSON row in, class and probabilities out", loc="left", fontsize=11, color=INK
    )
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", color="#e6e6e6", linewidth=0.8)
    axes.set_axisbelow(True)
    figure.patch.set_facecolor("white")
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, metadata={"Date": None} if file.suffix == ".svg" else None)
    plt.close(figure)


def main() -> None:
    """Draw from a file."""
    source = Path(sys.argv[1]) if sys.argv[1:] else harness.HERE / report.NUMBERS
    file = Path(sys.argv[2]) if sys.argv[2:] else harness.HERE.parent / "docs" / "images" / "peers.svg"
    draw(json.loads(source.read_text()), file)


if __name__ == "__main__":
    main()
