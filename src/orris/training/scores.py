"""Computes evaluation metrics: truth and predictions in, named finite metrics out.

Classes are codes (positions in ``Schema.labels``). ``orris.metrics`` has the name and meaning of each metric. A metric
that is undefined on the given rows (a ROC curve of one class, R² of one row) is left out rather than reported as NaN,
so every value can be written as JSON.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from orris.metrics import Task, reported
from orris.schema.arrays import FloatArray, IntArray


@dataclass(frozen=True)
class Predictions:
    """A classifier's answers.

    Attributes:
        codes: Class codes, int64 ``(n_rows,)``.
        probabilities: float64 ``(n_rows, n_classes)``, where the classifier has ``predict_proba``.
        scores: float64 ``(n_rows, n_classes)``: what ranks rows for each class, the probabilities or else the decision
            function.
    """

    codes: IntArray
    probabilities: FloatArray | None = None
    scores: FloatArray | None = None


@dataclass(frozen=True)
class ClassMetrics:
    """How one class fared. ``roc_auc`` and ``average_precision``, one-vs-rest, are ``None`` where undefined."""

    label: str
    precision: float
    recall: float
    f1: float
    support: int
    roc_auc: float | None
    average_precision: float | None


def unlabelled_metrics(task: Task, codes: IntArray, n_labels: int) -> dict[str, float]:
    """Metrics of outlier detection or clustering, where there is no truth to compare with.

    Args:
        task: Which of the two.
        codes: The answers, positions in ``Schema.labels``, int64 ``(n_rows,)``; of a detector, 0 is an outlier.
        n_labels: Number of labels.
    """
    shares = np.bincount(codes, minlength=n_labels) / max(1, len(codes))
    if task == "outlier detection":
        return reported({"outlier_share": float(shares[0])})
    return reported({"largest_cluster": float(shares.max())})


def classification_metrics(truth: IntArray, predictions: Predictions, n_classes: int) -> dict[str, float]:
    """Metrics of a classifier, as scikit-learn defines them.

    ``precision``, ``recall`` and ``f1`` are of the positive (the second) class and reported for two classes only.
    ``roc_auc`` and ``average_precision`` are of the positive class, or one-vs-rest averages over the classes, if all
    occur. ``brier`` is the mean squared error of the positive class's probability; for more than two classes the sum
    over classes (Brier 1950: between 0 and 2).

    Args:
        truth: Class codes, int64 ``(n_rows,)``.
        predictions: The answers on the same rows.
        n_classes: Number of classes of the model.
    """
    from sklearn.metrics import precision_recall_fscore_support  # noqa: PLC0415 (a second to import)

    present = np.union1d(truth, predictions.codes)
    precision, recall, f1, support = precision_recall_fscore_support(
        truth, predictions.codes, labels=present, zero_division=0
    )
    metrics = {
        "accuracy": float(np.mean(truth == predictions.codes)),
        "balanced_accuracy": float(recall[support > 0].mean()),
        "precision_macro": float(precision.mean()),
        "recall_macro": float(recall.mean()),
        "f1_macro": float(f1.mean()),
        "f1_weighted": float(np.average(f1, weights=support)),
    }
    if n_classes == 2:
        positive = present == 1
        for name, values in (("precision", precision), ("recall", recall), ("f1", f1)):
            metrics[name] = float(values[positive][0]) if positive.any() else 0.0
    if predictions.probabilities is not None:
        metrics |= _probability_metrics(truth, predictions.probabilities)
    if predictions.scores is not None:
        metrics |= _ranking_metrics(truth, predictions.scores)
    return reported(metrics)


def regression_metrics(truth: FloatArray, predicted: FloatArray) -> dict[str, float]:
    """Metrics of a regressor over float64 ``(n_rows,)`` arrays; ``mape`` only where no true value is zero."""
    with np.errstate(over="ignore", invalid="ignore"):  # What overflows is left out by ``reported``.
        error = np.abs(predicted - truth)
        metrics = {
            "rmse": float(np.sqrt(np.mean(error**2))),
            "mae": float(error.mean()),
            "median_absolute_error": float(np.median(error)),
            "max_error": float(error.max()),
        }
        spread = float(np.sum((truth - truth.mean()) ** 2))
        if spread > 0:
            metrics["r2"] = 1.0 - float(np.sum(error**2)) / spread
        if (truth != 0).all():
            metrics["mape"] = float(np.mean(error / np.abs(truth)))
    return reported(metrics)


def baseline_metrics(fitted: IntArray | FloatArray, truth: IntArray | FloatArray, n_classes: int) -> dict[str, float]:
    """Metrics of an answer that looks at no column: the most frequent class with the classes' shares, or the mean.

    Args:
        fitted: The target of the rows that the model was fitted on: class codes int64 or values float64.
        truth: The target of the rows that it is judged on, likewise.
        n_classes: Number of classes; 0 for a regression.
    """
    if not n_classes:
        values = np.full(len(truth), np.mean(fitted), dtype=np.float64)
        return regression_metrics(np.asarray(truth, dtype=np.float64), values)
    counts = np.bincount(np.asarray(fitted, dtype=np.int64), minlength=n_classes)
    shares = np.tile(counts / counts.sum(), (len(truth), 1))
    codes = np.full(len(truth), int(counts.argmax()), dtype=np.int64)
    return classification_metrics(np.asarray(truth, dtype=np.int64), Predictions(codes, shares, shares), n_classes)


def class_metrics(truth: IntArray, predictions: Predictions, labels: tuple[str, ...]) -> tuple[ClassMetrics, ...]:
    """Precision, recall, F1, support and one-vs-rest curves' areas of each class, in the order of ``labels``."""
    from sklearn.metrics import precision_recall_fscore_support  # noqa: PLC0415

    columns = precision_recall_fscore_support(truth, predictions.codes, labels=np.arange(len(labels)), zero_division=0)
    curves = [
        None if predictions.scores is None else curve(truth == code, predictions.scores[:, code])
        for code in range(len(labels))
    ]
    areas = [(None, None) if each is None else (each.roc_auc, each.average_precision) for each in curves]
    return tuple(
        ClassMetrics(label, float(precision), float(recall), float(f1), int(support), *area)
        for label, precision, recall, f1, support, area in zip(labels, *columns, areas, strict=True)
    )


def classification_report(truth: IntArray, predicted: IntArray, labels: tuple[str, ...]) -> str:
    """The text of scikit-learn's ``classification_report`` over the classes that occur, with the labels' own names."""
    from sklearn import metrics  # noqa: PLC0415

    present = np.union1d(truth, predicted)
    names = [labels[code] for code in present]
    return str(metrics.classification_report(truth, predicted, labels=present, target_names=names, zero_division=0))


def confusion_matrix(truth: IntArray, predicted: IntArray, n_classes: int) -> IntArray:
    """Counts, int64 ``(n_classes, n_classes)``: a row per true class, a column per predicted class."""
    counts = np.bincount(truth * n_classes + predicted, minlength=n_classes * n_classes)
    return counts.reshape(n_classes, n_classes).astype(np.int64)


def summarize(folds: list[dict[str, float]]) -> dict[str, float]:
    """``cv_<metric>_mean`` and ``cv_<metric>_std`` (population) of every metric that all folds report."""
    if not folds:
        return {}
    shared = [name for name in folds[0] if all(name in fold for fold in folds)]
    summary: dict[str, float] = {}
    for name in shared:
        values = np.array([fold[name] for fold in folds])
        summary |= {f"cv_{name}_mean": float(values.mean()), f"cv_{name}_std": float(values.std())}
    return {name: value for name, value in summary.items() if np.isfinite(value)}


def _probability_metrics(truth: IntArray, probabilities: FloatArray) -> dict[str, float]:
    n_classes = probabilities.shape[1]
    # A certain and wrong answer costs what scikit-learn charges for it: the smallest step of float64.
    of_truth = np.clip(probabilities[np.arange(len(truth)), truth], np.finfo(np.float64).eps, 1.0)
    wanted = np.eye(n_classes)[truth]
    squared = (probabilities - wanted) ** 2
    brier = squared[:, 1] if n_classes == 2 else squared.sum(axis=1)
    return {"log_loss": float(-np.log(of_truth).mean()), "brier": float(brier.mean())}


def _ranking_metrics(truth: IntArray, scores: FloatArray) -> dict[str, float]:
    n_classes = scores.shape[1]
    curves = [curve(truth == code, scores[:, code]) for code in ([1] if n_classes == 2 else range(n_classes))]
    drawn = [each for each in curves if each is not None]
    if len(drawn) < len(curves):
        return {}  # An average over some of the classes would read as one over all.
    return {
        "roc_auc": float(np.mean([each.roc_auc for each in drawn])),
        "average_precision": float(np.mean([each.average_precision for each in drawn])),
    }


@dataclass(frozen=True)
class Threshold:
    """The answers of a classifier of two classes that says yes from a probability on.

    Attributes:
        threshold: A row is positive if the positive class's probability is at least this.
        precision: Of the rows selected, the share that is positive; ``None`` where none is selected.
        recall: Of the positive rows, the share that is selected.
        f1: Harmonic mean of both; 0 where no selected row is positive.
        selected: Share of all rows that are selected.
    """

    threshold: float
    precision: float | None
    recall: float
    f1: float
    selected: float


def thresholds(positive: npt.NDArray[np.bool_], probabilities: FloatArray) -> tuple[Threshold, ...]:
    """Precision, recall, F1 and the share selected at thresholds from 0.05 to 0.95.

    Args:
        positive: Which rows are positive, ``(n_rows,)``.
        probabilities: The positive class's probability, float64 ``(n_rows,)``.

    Returns:
        A line for each of 19 thresholds; empty if the rows hold one side only.
    """
    if positive.all() or not positive.any():
        return ()
    lines = []
    for step in range(1, 20):
        selected = probabilities >= step / 20
        hits, n_selected = int((selected & positive).sum()), int(selected.sum())
        lines.append(
            Threshold(
                step / 20,
                hits / n_selected if n_selected else None,
                hits / int(positive.sum()),
                2 * hits / (n_selected + int(positive.sum())),
                n_selected / len(positive),
            )
        )
    return tuple(lines)


@dataclass(frozen=True)
class Curve:
    """Rows accepted as the threshold falls from above the highest score, one point per distinct score.

    Float64 ``(n_points,)`` each.

    Attributes:
        true_positives: Positive rows at or above the threshold; starts at 0, ends at all of them.
        false_positives: Negative rows at or above the threshold, likewise.
    """

    true_positives: FloatArray
    false_positives: FloatArray

    @property
    def recall(self) -> FloatArray:
        """The true positive rate."""
        return np.asarray(self.true_positives / self.true_positives[-1])

    @property
    def false_positive_rate(self) -> FloatArray:
        """Share of the negative rows that are accepted."""
        return np.asarray(self.false_positives / self.false_positives[-1])

    @property
    def precision(self) -> FloatArray:
        """Share of the accepted rows that are positive; by convention 1 where none is accepted."""
        accepted = self.true_positives + self.false_positives
        return np.divide(self.true_positives, accepted, out=np.ones_like(accepted), where=accepted > 0)

    @property
    def roc_auc(self) -> float:
        """Area under the ROC curve, by the trapezoidal rule."""
        return float(np.trapezoid(self.recall, self.false_positive_rate))

    @property
    def average_precision(self) -> float:
        """Sum of precision times the gain in recall, as in scikit-learn: not interpolated."""
        return float(np.sum(np.diff(self.recall) * self.precision[1:]))


def curve(positive: npt.NDArray[np.bool_], scores: FloatArray) -> Curve | None:
    """The curve of one class against the rest, both ``(n_rows,)``; ``None`` if the rows hold one side only.

    The areas equal scikit-learn's ``roc_auc_score`` and ``average_precision_score``; those check their input for ten
    milliseconds a call, which for each class of each fold is more than a small model takes to fit.
    """
    if positive.all() or not positive.any():
        return None
    order = np.argsort(-scores, kind="stable")
    last_of_tie = np.append(np.flatnonzero(np.diff(scores[order])), len(scores) - 1)
    true_positives = np.cumsum(positive[order], dtype=np.float64)[last_of_tie]
    accepted = last_of_tie + 1.0
    return Curve(np.append(0.0, true_positives), np.append(0.0, accepted - true_positives))
