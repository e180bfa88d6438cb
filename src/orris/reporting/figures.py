"""The style of plots, and their files.

matplotlib is used through its object interface alone, with the Agg canvas: no window, no global figure, the same bytes
for the same numbers. Colours are Okabe and Ito's, which colour-blind readers can tell apart, and lines differ in dash
as well.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
DASHES: tuple[Any, ...] = ("-", (0, (6, 2)), (0, (2, 1.5)), (0, (6, 2, 1.5, 2)), "-", (0, (6, 2)), (0, (2, 1.5)))
INK, FAINT, GRID = "#1f2933", "#9aa5b1", "#e4e7eb"

WIDTH, HEIGHT = 5.6, 5.4
"""Of a plot, in inches, unless it says otherwise: side by side they form even rows."""

MAX_LABEL = 22
"""Most characters of a label of the data."""

STYLE: dict[str, Any] = {
    "axes.axisbelow": True,
    "axes.edgecolor": FAINT,
    "axes.grid": True,
    "axes.labelcolor": INK,
    "axes.labelsize": 11,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlecolor": INK,
    "axes.titlelocation": "left",
    "axes.titlesize": 13,
    "axes.titleweight": "bold",
    "figure.constrained_layout.h_pad": 0.1,
    "figure.constrained_layout.use": True,
    "figure.constrained_layout.w_pad": 0.1,
    "figure.facecolor": "white",
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "legend.fontsize": 9.5,
    "legend.framealpha": 0.9,
    "legend.edgecolor": GRID,
    "lines.linewidth": 2,
    "savefig.dpi": 120,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
}


@contextmanager
def styled() -> Iterator[None]:
    """Figures that are made and saved in here have the reports' style, whatever the user's own matplotlibrc says."""
    from matplotlib import style  # noqa: PLC0415 (half a second to import)

    with style.context(["default", STYLE]), warnings.catch_warnings():
        # A label in a script that the font lacks.
        warnings.filterwarnings("ignore", "Glyph .* missing from", UserWarning)
        yield


def save(figure: Figure, path: Path) -> Path:
    """Write a figure as PNG, the same bytes for the same figure; returns the path."""
    figure.savefig(path, format="png", metadata={"Software": None})
    return path


def save_all(painters: Mapping[str, Callable[..., Figure | None]], folder: Path, *content: Any) -> dict[str, Path]:
    """Draw plots in the reports' style.

    Args:
        painters: By the plot's name; each gets ``content``, and returns no figure where there is nothing to show.
        folder: Receives ``NAME.png`` for each figure.
        content: What is shown.

    Returns:
        Paths by name, in the order of ``painters``.
    """
    drawn: dict[str, Path] = {}
    with styled():
        for name, painter in painters.items():
            figure = painter(*content)
            if figure is not None:
                drawn[name] = save(figure, folder / f"{name}.png")
    return drawn


def new_figure(width: float = WIDTH, height: float = HEIGHT) -> tuple[Figure, Axes]:
    """A figure of that many inches, and its axes."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415
    from matplotlib.figure import Figure  # noqa: PLC0415

    figure = Figure(figsize=(width, height))
    FigureCanvasAgg(figure)
    return figure, figure.add_subplot()


def label_text(label: str, limit: int = MAX_LABEL) -> str:
    """A label of the data as matplotlib should show it.

    It is one line, shortened in the middle (the ends distinguish it), and never a formula.
    """
    line = " ".join("".join(c if c.isprintable() else " " for c in label).split())
    tail = limit // 2
    short = line if len(line) <= limit else f"{line[: limit - tail - 1]}…{line[-tail:]}"
    return short.replace("$", r"\$")


def legend_below(axes: Axes, n_columns: int = 2) -> None:
    """A legend below the plot."""
    axes.figure.legend(loc="outside lower left", ncols=n_columns, frameon=False)
