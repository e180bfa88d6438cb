"""Pictures of an ``Evaluation``, as PNG files for the bundle and the report.

The same evaluation gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from orris.reporting.figures import COLOURS, DASHES, FAINT, INK, label_text, legend_below, new_figure, save_all
from orris.schema import Schema
from orris.schema.arrays import FloatArray
from orris.training.evaluation import Evaluation
from orris.training.scores import Curve, curve

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAX_NAMED_CURVES = 6
MAX_CELLS_WITH_TEXT = 20
MAX_CLASSES_IN_GRID = 6
MAX_BARS = 20
MAX_TICK_LABELS = 60
MAX_POINTS = 5000


def draw(evaluation: Evaluation, schema: Schema, folder: Path) -> dict[str, Path]:
    """Draw every plot that the evaluation has data for.

    Args:
        evaluation: What was measured.
        schema: Names the target.
        folder: Receives ``<name>.png``; made if it does not exist.

    Returns:
        Paths by name, in the order in which a report shows them: those of ``plot_words.PLOTS`` that were drawn.
    """
    folder.mkdir(parents=True, exist_ok=True)
    painters: dict[str, Callable[[Evaluation, Schema], Figure | None]] = {
        "confusion_matrix": _confusion_matrix,
        "roc": _roc,
        "precision_recall": _precision_recall,
        "calibration": _calibration,
        "thresholds": _thresholds,
        "class_balance": _class_balance,
        "predicted_actual": _predicted_actual,
        "residuals": _residuals,
        "importance": _importance,
        "learning_curve": _learning_curve,
    }
    return save_all(painters, folder, evaluation, schema)


def _name_bars(axes: Axes, names: list[str]) -> None:
    """Name the horizontal bars at 0, 1, …, the first at the top."""
    axes.set_yticks(np.arange(len(names)), [label_text(name, 30) for name in names])
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0)


def _score_name(evaluation: Evaluation) -> str:
    """The score that importances and learning curves are of."""
    return "accuracy" if evaluation.task == "classification" else "R²"


def _confusion_matrix(evaluation: Evaluation, schema: Schema) -> Figure | None:
    counts = evaluation.confusion
    if counts is None:
        return None
    n_classes = len(counts)
    support = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, support, out=np.zeros(counts.shape), where=support > 0)
    longest = max(len(label_text(label)) for label in evaluation.labels)
    with_text = n_classes <= MAX_CELLS_WITH_TEXT
    if n_classes <= MAX_CLASSES_IN_GRID:
        figure, axes = new_figure()
    else:
        side = min(n_classes * (0.75 if with_text else 0.2), 14) + 0.07 * longest
        figure, axes = new_figure(side + 0.9, side + 0.9)
        figure.set_layout_engine("compressed")
    # Two scales of colour: hits on the diagonal, errors beside it.
    hit = np.eye(n_classes, dtype=bool)
    axes.imshow(np.ma.masked_array(shares, ~hit), cmap="Blues", vmin=0, vmax=1, interpolation="nearest")
    image = axes.imshow(np.ma.masked_array(shares, hit), cmap="Oranges", vmin=0, vmax=1, interpolation="nearest")
    if not with_text:
        bar = figure.colorbar(image, ax=axes, shrink=0.5, aspect=30, pad=0.03, format=lambda share, _: f"{share:.0%}")
        bar.set_label("share of the true class that got this wrong answer")
        bar.outline.set_visible(False)
    step = -(-n_classes // MAX_TICK_LABELS)
    ticks = np.arange(0, n_classes, step)
    names = [label_text(evaluation.labels[tick]) for tick in ticks]
    size = 10 if with_text else 8
    slanted = longest * n_classes > 24
    axes.set_xticks(ticks, names, rotation=90 if n_classes > 8 and longest > 2 else 35 if slanted else 0, fontsize=size)
    if slanted and n_classes <= 8:
        for tick in axes.get_xticklabels():
            tick.set(ha="right", rotation_mode="anchor")
    axes.set_yticks(ticks, names, fontsize=size)
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    if with_text:
        for row, column in np.ndindex(*counts.shape):
            if counts[row, column] or n_classes <= 5:
                colour = "white" if shares[row, column] > 0.55 else INK
                text = f"{shares[row, column]:.0%}\n{counts[row, column]:,}"
                axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=size)
    axes.set(
        xlabel=f"predicted {label_text(schema.target)}",
        ylabel=f"true {label_text(schema.target)}",
        title="Confusion matrix",
    )
    return figure


def _curves(evaluation: Evaluation) -> list[tuple[str, Curve]]:
    """One curve per class against the rest; of the positive class alone when there are two."""
    if evaluation.scores is None:
        return []
    codes = [1] if len(evaluation.labels) == 2 else range(len(evaluation.labels))
    curves = [(evaluation.labels[code], curve(evaluation.truth == code, evaluation.scores[:, code])) for code in codes]
    return [(label, each) for label, each in curves if each is not None]


def _roc(evaluation: Evaluation, schema: Schema) -> Figure | None:  # noqa: ARG001 (all painters are called alike)
    curves = _curves(evaluation)
    if not curves:
        return None
    figure, axes = new_figure()
    axes.plot([0, 1], [0, 1], color=FAINT, linewidth=1, linestyle=(0, (4, 3)))
    lines = [(each.roc_auc, label, each.false_positive_rate, each.recall) for label, each in curves]
    _plot_curves(axes, lines, "area under the curve", "default")
    axes.set(
        xlabel="false positive rate",
        ylabel="true positive rate",
        title="ROC curve" if len(curves) == 1 else "ROC curves",
    )
    _unit_square(axes)
    return figure


def _precision_recall(evaluation: Evaluation, schema: Schema) -> Figure | None:  # noqa: ARG001
    curves = _curves(evaluation)
    if not curves:
        return None
    figure, axes = new_figure()
    lines = [(each.average_precision, label, each.recall, each.precision) for label, each in curves]
    _plot_curves(axes, lines, "average precision", "steps-pre")
    axes.set(xlabel="recall", ylabel="precision", title=f"Precision–recall curve{'s' * (len(curves) > 1)}")
    _unit_square(axes)
    return figure


def _plot_curves(
    axes: Axes, lines: list[tuple[float, str, FloatArray, FloatArray]], title: str, drawstyle: Any
) -> None:
    """All curves, the named ones in colour; with more than ``MAX_NAMED_CURVES`` only the worst are named."""
    worst = sorted(lines, key=lambda line: line[0])[:MAX_NAMED_CURVES] if len(lines) > MAX_NAMED_CURVES else lines
    named = {label for _, label, _, _ in worst}
    for _, label, x, y in lines:
        if label not in named:
            axes.plot(x, y, color=FAINT, linewidth=0.8, alpha=0.6, drawstyle=drawstyle)
    for i, (area, label, x, y) in enumerate(worst):
        # The number first: matplotlib hides a legend entry that begins with an underscore.
        entry = f"{area:.3f}  {label_text(label, 18)}"
        axes.plot(
            x, y, color=COLOURS[i], linestyle=DASHES[i], drawstyle=drawstyle, label=entry, clip_on=False, zorder=3
        )
    heading = title if len(lines) == 1 else f"{title}, each class against the rest"
    if len(worst) < len(lines):
        heading = f"{title}, class against rest: lowest {len(worst)} of {len(lines)}"
    axes.figure.legend(
        loc="outside lower left",
        ncols=min(2, len(worst)),
        title=heading,
        title_fontsize=9.5,
        alignment="left",
        frameon=False,
    )


def _unit_square(axes: Axes) -> None:
    axes.set(xlim=(0, 1), ylim=(0, 1.005))
    axes.set_aspect("equal")


def _calibration(evaluation: Evaluation, schema: Schema) -> Figure | None:
    """The positive class's probability for two classes; for more, the predicted class's (Guo et al., 2017)."""
    if evaluation.probabilities is None:
        return None
    if len(evaluation.labels) == 2:
        said, right = evaluation.probabilities[:, 1], evaluation.truth == 1
        x_name, y_name = (
            f"probability given to {label_text(evaluation.labels[1])}",
            f"share that is {label_text(evaluation.labels[1])}",
        )
    else:
        said, right = evaluation.probabilities.max(axis=1), evaluation.truth == evaluation.predicted
        x_name, y_name = "probability given to the predicted class", "share predicted right"
    edges = np.linspace(0, 1, (10 if len(said) >= 200 else 5) + 1)
    bins = np.clip(np.searchsorted(edges, said, side="right") - 1, 0, len(edges) - 2)
    n_rows = np.bincount(bins, minlength=len(edges) - 1)
    used = n_rows > 0
    mean_said = np.bincount(bins, weights=said, minlength=len(n_rows))[used] / n_rows[used]
    share = np.bincount(bins, weights=right, minlength=len(n_rows))[used] / n_rows[used]
    low, high = _wilson(share, n_rows[used])
    figure, axes = new_figure()
    axes.plot([0, 1], [0, 1], color=FAINT, linewidth=1, linestyle=(0, (4, 3)))
    axes.vlines(mean_said, low, high, color=COLOURS[0], linewidth=1.5, alpha=0.5)
    axes.plot(mean_said, share, color=COLOURS[0], linewidth=1, alpha=0.5)
    axes.scatter(mean_said, share, s=25 + 150 * n_rows[used] / n_rows.max(), color=COLOURS[0], clip_on=False, zorder=3)
    for x, top, rows in zip(mean_said, high, n_rows[used], strict=True):
        axes.annotate(
            f"{rows:,}", (x, top), xytext=(0, 9), textcoords="offset points", ha="center", fontsize=8, color="#52606d"
        )
    axes.set(
        xlabel=f"{x_name}\n(numbers and sizes: rows; bars: 95 % interval)",
        ylabel=y_name,
        title=f"Calibration of {label_text(schema.target)}",
    )
    axes.set(xlim=(0, 1.02), ylim=(0, 1.15), yticks=np.linspace(0, 1, 6))
    return figure


def _thresholds(evaluation: Evaluation, schema: Schema) -> Figure | None:  # noqa: ARG001
    if not evaluation.thresholds:
        return None
    lines = evaluation.thresholds
    x = [line.threshold for line in lines]
    series: list[tuple[str, list[float | None]]] = [
        ("precision", [line.precision for line in lines]),
        ("recall", [line.recall for line in lines]),
        ("F1", [line.f1 for line in lines]),
        ("share of rows selected", [line.selected for line in lines]),
    ]
    figure, axes = new_figure()
    axes.axvline(0.5, color=FAINT, linewidth=1.2, linestyle=(0, (4, 3)))
    for i, (name, values) in enumerate(series):
        y = np.array([np.nan if value is None else value for value in values])
        axes.plot(x, y, color=COLOURS[i], linestyle=DASHES[i], label=name, clip_on=False, zorder=3)
    axes.set(
        xlabel=f"probability of {label_text(evaluation.labels[1])} from which a row is selected",
        ylabel="share",
        title="Other thresholds",
        xlim=(0, 1),
        ylim=(0, 1.02),
    )
    legend_below(axes)
    return figure


def _class_balance(evaluation: Evaluation, schema: Schema) -> Figure | None:  # noqa: ARG001
    """Rows of the commonest classes, those fitted on beside those judged on."""
    if evaluation.task == "regression":
        return None
    judged = np.bincount(evaluation.truth.astype(np.int64), minlength=len(evaluation.labels))
    fitted = np.array(evaluation.class_rows or np.zeros(len(judged)), dtype=np.int64)
    commonest = np.argsort(-(judged + fitted), kind="stable")[:MAX_BARS]
    figure, axes = new_figure()
    places = np.arange(len(commonest))
    ends = np.zeros(len(commonest), dtype=np.int64)
    for name, rows, colour in (("rows fitted on", fitted, COLOURS[0]), ("rows judged on", judged, COLOURS[5])):
        if rows.any():
            axes.barh(places, rows[commonest], left=ends, color=colour, height=0.65, label=name)
            ends = ends + rows[commonest]
    total = int((judged + fitted).sum())
    for place, end in zip(places, ends, strict=True):
        axes.annotate(
            f"{end / total:.1%}", (end, place), xytext=(4, 0), textcoords="offset points", va="center", fontsize=9
        )
    _name_bars(axes, [evaluation.labels[code] for code in commonest])
    axes.set_xlim(0, float(ends.max()) * 1.15)
    n_classes = len(evaluation.labels)
    title = "Class balance" if n_classes <= MAX_BARS else f"Class balance: the {MAX_BARS} commonest of {n_classes}"
    axes.set(xlabel="rows, and share of all rows", title=title)
    legend_below(axes)
    return figure


def _learning_curve(evaluation: Evaluation, schema: Schema) -> Figure | None:  # noqa: ARG001
    points = evaluation.learning_curve
    if not points:
        return None
    figure, axes = new_figure()
    n_rows = [point.n_rows for point in points]
    series = (
        ("rows fitted on", [point.on_training for point in points]),
        ("rows held out", [point.held_out for point in points]),
    )
    for i, (name, values) in enumerate(series):
        axes.plot(n_rows, values, color=COLOURS[i], linestyle=DASHES[i], marker="o", label=name)
    axes.set(xlabel="rows fitted on", ylabel=_score_name(evaluation), title="Learning curve")
    legend_below(axes)
    return figure


def _wilson(share: FloatArray, n_rows: npt.NDArray[np.int64]) -> tuple[FloatArray, FloatArray]:
    """The 95 % score interval of a proportion (Wilson 1927)."""
    z = 1.96
    middle = (share + z**2 / (2 * n_rows)) / (1 + z**2 / n_rows)
    half = z / (1 + z**2 / n_rows) * np.sqrt(share * (1 - share) / n_rows + z**2 / (4 * n_rows**2))
    return middle - half, middle + half


def _regression_points(evaluation: Evaluation) -> tuple[FloatArray, FloatArray] | None:
    """True and predicted values, at most ``MAX_POINTS`` of them, evenly drawn."""
    if evaluation.task != "regression":
        return None
    chosen = np.unique(np.linspace(0, len(evaluation.truth) - 1, MAX_POINTS).astype(int))
    return evaluation.truth[chosen].astype(np.float64), evaluation.predicted[chosen].astype(np.float64)


def _scatter(axes: Axes, x: FloatArray, y: FloatArray) -> None:
    axes.scatter(
        x, y, s=26 if len(x) < 1000 else 10, color=COLOURS[0], alpha=0.6 if len(x) < 1000 else 0.3, linewidths=0
    )


def _predicted_actual(evaluation: Evaluation, schema: Schema) -> Figure | None:
    points = _regression_points(evaluation)
    if points is None:
        return None
    truth, predicted = points
    figure, axes = new_figure()
    ends = [min(truth.min(), predicted.min()), max(truth.max(), predicted.max())]
    axes.plot(ends, ends, color=FAINT, linewidth=1.2, linestyle=(0, (4, 3)))
    _scatter(axes, truth, predicted)
    axes.set(
        xlabel=f"true {label_text(schema.target)}",
        ylabel=f"predicted {label_text(schema.target)}",
        title="Predicted and true values",
    )
    axes.set_aspect("equal", adjustable="datalim")
    return figure


def _residuals(evaluation: Evaluation, schema: Schema) -> Figure | None:
    points = _regression_points(evaluation)
    if points is None:
        return None
    truth, predicted = points
    figure, axes = new_figure()
    axes.axhline(0, color=FAINT, linewidth=1.2, linestyle=(0, (4, 3)))
    _scatter(axes, predicted, truth - predicted)
    axes.set(xlabel=f"predicted {label_text(schema.target)}", ylabel="true − predicted", title="Residuals")
    return figure


def _importance(evaluation: Evaluation, schema: Schema) -> Figure | None:  # noqa: ARG001
    ranked = sorted(evaluation.importances, key=lambda importance: -importance.mean)[:MAX_BARS]
    if not ranked:
        return None
    figure, axes = new_figure()
    places = np.arange(len(ranked))
    means = [importance.mean for importance in ranked]
    spread = {"ecolor": INK, "elinewidth": 1.2, "capsize": 2}
    axes.barh(
        places, means, xerr=[importance.std for importance in ranked], color=COLOURS[0], height=0.65, error_kw=spread
    )
    _name_bars(axes, [importance.column for importance in ranked])
    axes.axvline(0, color=FAINT, linewidth=1)
    n_columns = len(evaluation.importances)
    score = "accuracy" if evaluation.task == "classification" else "R²"
    title = (
        "Importance of columns" if n_columns <= MAX_BARS else f"Importance: the first {MAX_BARS} of {n_columns} columns"
    )
    axes.set(xlabel=f"{score} lost when the column is shuffled", title=title)
    return figure
