"""Evaluation metrics: one table of their names, titles, meanings and directions.

``training`` computes and explains them, the gates of ``training`` and ``delivery`` compare them, and the command line
shows them. The metrics of a running server are a different subject: ``telemetry.metrics``.

To add a metric, compute it in ``training.scores`` and add a line to ``METRICS``. A metric without a line is an error.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

Task = Literal["classification", "regression", "outlier detection", "clustering"]
"""The kind of a model's answers: a class, a number, whether a row is an outlier, or its cluster.

The last two have no target in the table, and their answers may hold a score beside the label.
"""

TASKS_WITHOUT_TARGET: tuple[Task, ...] = ("outlier detection", "clustering")

Needs = Literal["predictions", "two classes", "probabilities", "every class", "varying target", "target without zeros"]
"""The condition without which a metric is undefined; it is then left out rather than reported as NaN.

``every class`` means scores to rank rows by, and rows of every class.
"""

_OF_FOLDS = re.compile(r"cv_(?P<name>.+)_(?P<statistic>mean|std)")


@dataclass(frozen=True, slots=True)
class Metric:
    """One evaluation metric.

    Attributes:
        name: As gates, manifests and ``metrics.json`` have it.
        title: As a report shows it.
        meaning: One phrase for a reader who is no statistician.
        direction: 1: higher is better; -1: lower is better.
        task: The task that it belongs to.
        needs: What it is undefined without.
        headline: Shown where there is room for a few metrics only.
    """

    name: str
    title: str
    meaning: str
    direction: Literal[1, -1]
    task: Task
    needs: Needs = "predictions"
    headline: bool = False


def _table(*metrics: Metric) -> dict[str, Metric]:
    return {metric.name: metric for metric in metrics}


METRICS: Mapping[str, Metric] = _table(
    Metric("accuracy", "accuracy", "share of rows answered with the right class", 1, "classification", headline=True),
    Metric(
        "balanced_accuracy",
        "balanced accuracy",
        "mean recall over the classes: rare classes count as much as common ones",
        1,
        "classification",
    ),
    Metric(
        "precision_macro",
        "precision (macro)",
        "of the rows given a class, the share that belongs to it; mean over the classes",
        1,
        "classification",
    ),
    Metric(
        "recall_macro",
        "recall (macro)",
        "of the rows of a class, the share that is found; mean over the classes",
        1,
        "classification",
    ),
    Metric(
        "f1_macro",
        "F1 (macro)",
        "harmonic mean of precision and recall; mean over the classes",
        1,
        "classification",
        headline=True,
    ),
    Metric("f1_weighted", "F1 (weighted)", "the same, classes weighted by their rows", 1, "classification"),
    Metric(
        "precision",
        "precision",
        "of the rows given the positive class, the share that is positive",
        1,
        "classification",
        "two classes",
    ),
    Metric("recall", "recall", "of the positive rows, the share that is found", 1, "classification", "two classes"),
    Metric(
        "f1",
        "F1",
        "harmonic mean of precision and recall of the positive class",
        1,
        "classification",
        "two classes",
    ),
    Metric(
        "log_loss",
        "log loss",
        "price of the probabilities given, high for being sure and wrong",
        -1,
        "classification",
        "probabilities",
        headline=True,
    ),
    Metric("brier", "Brier score", "mean squared error of the probabilities", -1, "classification", "probabilities"),
    Metric(
        "roc_auc",
        "ROC area",
        "chance that a row of a class is ranked above a row of another; 0.5 is guessing",
        1,
        "classification",
        "every class",
        headline=True,
    ),
    Metric(
        "average_precision",
        "average precision",
        "precision averaged over all recalls, from the ranking of the rows",
        1,
        "classification",
        "every class",
    ),
    Metric(
        "r2",
        "R²",
        "share of the target's variance that is explained; 0 is no better than the mean",
        1,
        "regression",
        "varying target",
        headline=True,
    ),
    Metric(
        "rmse",
        "root mean squared error (RMSE)",
        "like the mean distance from the true value, but large errors count more; in units of the target",
        -1,
        "regression",
        headline=True,
    ),
    Metric(
        "mae",
        "mean absolute error",
        "mean distance from the true value, in units of the target",
        -1,
        "regression",
        headline=True,
    ),
    Metric("median_absolute_error", "median absolute error", "half of the rows are nearer than this", -1, "regression"),
    Metric("max_error", "largest error", "the worst row", -1, "regression", headline=True),
    Metric(
        "mape",
        "mean relative error",
        "mean distance from the true value as a share of it",
        -1,
        "regression",
        "target without zeros",
    ),
    Metric(
        "outlier_share",
        "share of outliers",
        "share of the rows that are called outliers",
        -1,
        "outlier detection",
        headline=True,
    ),
    Metric(
        "largest_cluster",
        "largest cluster",
        "share of the rows in the largest cluster; near 1, one cluster holds them all",
        -1,
        "clustering",
        headline=True,
    ),
)
"""Every evaluation metric, by name; in the order in which reports show them."""


def find(name: str) -> Metric | None:
    """The metric of a reported name such as ``rmse``, ``cv_rmse_mean`` or ``cv_rmse_std``; ``None`` if unknown."""
    folds = _OF_FOLDS.fullmatch(name)
    return METRICS.get(folds["name"] if folds else name)


def direction(name: str) -> int:
    """1 if a higher value is better, -1 if a lower one is, 0 if that is not known.

    The mean over folds goes as its metric does; of a standard deviation over folds nothing is said.
    """
    metric = find(name)
    return 0 if metric is None or name.endswith("_std") else metric.direction


def meaning(name: str) -> str:
    """A metric's meaning, with ``lower is better`` where that holds; empty for an unknown name."""
    metric = METRICS.get(name)
    if metric is None:
        return ""
    return metric.meaning + ("; lower is better" if metric.direction < 0 else "")


def names_of(task: Task, *, folds: bool) -> list[str]:
    """Names that an evaluation of ``task`` may report; with ``folds`` those of the cross-validation too."""
    names = [metric.name for metric in METRICS.values() if metric.task == task]
    return names + [f"cv_{name}_{statistic}" for name in names for statistic in ("mean", "std")] * folds


def headline(metrics: Iterable[str]) -> list[Metric]:
    """Those of the reported metrics that are shown where there is room for a few, the most telling first."""
    reported = set(metrics)
    return [metric for metric in METRICS.values() if metric.headline and metric.name in reported]


def most_telling(values: Mapping[str, float]) -> dict[str, float]:
    """The headline metrics among these, on the judged rows and as means over the folds; all, if none is a headline."""
    names = [metric.name for metric in headline(METRICS)]
    names += [f"cv_{name}_mean" for name in names]
    return {name: values[name] for name in names if name in values} or dict(values)


def reported(values: Mapping[str, float]) -> dict[str, float]:
    """The metrics that can be written as JSON, in the order of the table: no NaN, no infinity.

    Raises:
        KeyError: A metric that the table does not have, which is a fault of the code that computed it.
    """
    unknown = values.keys() - METRICS.keys()
    if unknown:
        raise KeyError(f"{', '.join(sorted(unknown))}: not in orris.metrics.METRICS")
    return {name: float(values[name]) for name in METRICS if name in values and math.isfinite(values[name])}
