"""Models that are fitted without a target: which they are, what they can answer, and what is measured of them.

Detectors of outliers answer -1 or 1, clusterers the number of a cluster. There is no truth to judge them by.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from orris.errors import TrainingError
from orris.metrics import Task
from orris.schema import Label, Schema
from orris.schema.arrays import IntArray
from orris.training.evaluation import Evaluation
from orris.training.scores import unlabelled_metrics

OUTLIER_LABELS: tuple[Label, ...] = (-1, 1)
TARGETS: dict[Task, str] = {"outlier detection": "outlier", "clustering": "cluster"}
"""The name of the answer where the caller gives none."""

NOTE = "There is no target, so nothing says how good these answers are."


def task_of(model: Any) -> Task | None:
    """``outlier detection`` or ``clustering``; ``None`` for a model that is fitted to a target."""
    from sklearn.utils import get_tags  # noqa: PLC0415 (a second to import)

    try:
        kind = get_tags(model).estimator_type
    except Exception:  # noqa: BLE001 (an estimator of another library, whose tags scikit-learn does not read)
        return None
    if kind == "outlier_detector":
        return "outlier detection"
    return "clustering" if kind in {"clusterer", "density_estimator"} else None


def labels_of(model: Any, task: Task, rows: Any) -> tuple[Label, ...]:
    """Every label that the model can answer, in the order of ``predict_proba``'s columns where it has that.

    Raises:
        TrainingError: The model does not answer its own rows.
    """
    if task == "outlier detection":
        return OUTLIER_LABELS
    last = model.steps[-1][1] if hasattr(model, "steps") else model
    found = np.unique(_predicted(model, rows)).tolist()
    for holder in ("means_", "cluster_centers_"):
        if hasattr(last, holder):
            found = sorted({*range(len(getattr(last, holder))), *found})
    if hasattr(last, "subcluster_labels_"):
        found = sorted({*np.unique(last.subcluster_labels_).tolist(), *found})
    return tuple(int(label) for label in found)


def codes_of(model: Any, rows: Any, labels: tuple[Label, ...]) -> IntArray:
    """Positions in ``labels`` of the model's answers, int64 ``(n_rows,)``."""
    position = {label: code for code, label in enumerate(labels)}
    return np.array([position[label] for label in _predicted(model, rows).tolist()], dtype=np.int64)


def evaluate_unlabelled(codes: IntArray, schema: Schema) -> Evaluation:
    """Which share of the rows has which answer; ``codes`` are the model's, as ``codes_of`` gives them."""
    return Evaluation(
        task=schema.task,
        labels=tuple(str(label) for label in schema.labels),
        metrics=unlabelled_metrics(schema.task, codes, len(schema.labels)),
        n_train=0,
        n_evaluated=len(codes),
        n_folds=0,
        truth=codes,
        predicted=codes,
        notes=[NOTE],
    )


def _predicted(model: Any, rows: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return np.asarray(model.predict(rows))
        except Exception as error:
            raise TrainingError(f"the fitted model's predict failed: {type(error).__name__}: {error}") from error
