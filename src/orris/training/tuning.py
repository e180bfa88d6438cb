"""Random search over a preset's model parameters with cross-validation; between ``pipelines`` and ``evaluation``.

The first candidate is always the pipeline as it came, so tuning never ends with something that cross-validates worse.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.base import clone, is_classifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import BaseCrossValidator, KFold, StratifiedKFold, cross_val_score
from sklearn.pipeline import Pipeline

from orris.errors import TrainingError
from orris.training.learning import Task
from orris.training.pipelines import PRESETS, parameter_prefix

Draw = Callable[[np.random.Generator], Any]
_DRAWS_PER_CANDIDATE = 50
"""Draws that may repeat earlier ones before a space counts as exhausted."""


class Candidate(msgspec.Struct, frozen=True):
    """The cross-validation result of one set of parameters.

    Attributes:
        parameters: By scikit-learn's names; empty for the pipeline as it came.
        score: Mean over the folds: accuracy, or R² for regression; NaN if it could not be fitted.
        spread: Standard deviation over the folds.
    """

    parameters: dict[str, Any]
    score: float
    spread: float


def tune(
    pipeline: Pipeline,
    preset: str,
    X: pd.DataFrame | npt.NDArray[Any],
    y: npt.NDArray[Any] | pd.Series[Any],
    *,
    n: int,
    seed: int,
    folds: int,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Pipeline, dict[str, Any], tuple[Candidate, ...]]:
    """The best of ``n`` random candidates and the pipeline itself.

    Args:
        pipeline: As ``pipelines.build`` made it for ``preset``.
        preset: Its preset; empty: the default of its task.
        X: ``(n_rows, n_columns)``, what the pipeline is fitted on.
        y: ``(n_rows,)``, the target.
        n: How many candidates are drawn; fewer are tried if the preset has fewer.
        seed: Of the draws and the folds.
        folds: Folds of the cross-validation (stratified for classes); fewer if a class has fewer rows, at least 2.
        progress: Told ``(tried, total)`` after every candidate.

    Returns:
        An unfitted copy of the pipeline with the best parameters, these parameters (empty if the pipeline was best as
        it came), and all candidates in the order in which they were tried.

    Raises:
        TrainingError: The preset has no space to search, a class has a single row, or no candidate could be fitted.
    """
    task: Task = "classification" if is_classifier(pipeline) else "regression"
    preset = preset or PRESETS[task][0]
    if (preset, task) not in _SPACES:
        raise TrainingError(
            f"'{preset}' has no parameters to tune; --tune works with the presets: {', '.join(PRESETS[task])}"
        )
    splitter = _splitter(task, y, folds, seed)
    settings = [{}, *_draw(_SPACES[preset, task], n, seed)]
    prefix = parameter_prefix(preset, task)
    candidates: list[Candidate] = []
    failure: Exception | None = None
    for tried, parameters in enumerate(settings, start=1):
        try:
            scores = _scores(_with(pipeline, prefix, parameters), X, y, splitter, task)
        except (ValueError, ArithmeticError) as error:
            failure, scores = error, np.array([math.nan])
        candidates.append(Candidate(parameters, float(scores.mean()), float(scores.std())))
        if progress is not None:
            progress(tried, len(settings))
    usable = [candidate for candidate in candidates if not math.isnan(candidate.score)]
    if not usable:
        raise TrainingError(f"no candidate for '{preset}' could be fitted: {failure}") from failure
    best = max(usable, key=lambda candidate: candidate.score)
    return _with(pipeline, prefix, best.parameters), best.parameters, tuple(candidates)


def _with(pipeline: Pipeline, prefix: str, parameters: Mapping[str, Any]) -> Pipeline:
    copy: Pipeline = clone(pipeline)
    copy.set_params(**{f"{prefix}{name}": value for name, value in parameters.items()})
    return copy


def _scores(pipeline: Pipeline, X: Any, y: Any, splitter: BaseCrossValidator, task: Task) -> npt.NDArray[np.float64]:
    with warnings.catch_warnings():
        # A candidate that stops early is judged by what it reached.
        warnings.simplefilter("ignore", ConvergenceWarning)
        scoring = "accuracy" if task == "classification" else "r2"
        scores: npt.NDArray[np.float64] = cross_val_score(
            pipeline, X, y, cv=splitter, scoring=scoring, error_score="raise"
        )
    return scores


def _splitter(task: Task, y: Any, folds: int, seed: int) -> BaseCrossValidator:
    folds = max(folds, 2)
    if task == "regression":
        return KFold(min(folds, len(y)), shuffle=True, random_state=seed)
    classes, counts = np.unique(np.asarray(y), return_counts=True)
    if counts.min() < 2:
        raise TrainingError(
            f"class '{classes[counts.argmin()]}' has a single row; cross-validation needs two of every class"
        )
    return StratifiedKFold(min(folds, int(counts.min())), shuffle=True, random_state=seed)


def _draw(space: Mapping[str, Draw], n: int, seed: int) -> list[dict[str, Any]]:
    """Up to ``n`` different settings."""
    rng = np.random.default_rng(seed)
    drawn: list[dict[str, Any]] = []
    for _ in range(n * _DRAWS_PER_CANDIDATE):
        if len(drawn) == n:
            break
        setting = {name: draw(rng) for name, draw in space.items()}
        if setting not in drawn:
            drawn.append(setting)
    return drawn


def _one_of(*values: Any) -> Draw:
    return lambda rng: values[int(rng.integers(len(values)))]


def _between(low: int, high: int) -> Draw:
    return lambda rng: int(rng.integers(low, high + 1))


def _log_between(low: float, high: float) -> Draw:
    # Three digits are all that a search can tell apart, and people can read.
    return lambda rng: float(f"{math.exp(rng.uniform(math.log(low), math.log(high))):.3g}")


def _both(space: Mapping[str, Draw]) -> dict[Task, Mapping[str, Draw]]:
    return {"classification": space, "regression": space}


_TREES = {
    "n_estimators": _between(50, 400),
    "max_depth": _one_of(None, 4, 8, 16),
    "min_samples_leaf": _one_of(1, 2, 4, 8),
    "max_features": _one_of("sqrt", 0.3, 0.6, 1.0),
}
_BY_PRESET: dict[str, dict[Task, Mapping[str, Draw]]] = {
    "logistic": {"classification": {"C": _log_between(1e-3, 1e3), "class_weight": _one_of(None, "balanced")}},
    "ridge": {"regression": {"alpha": _log_between(1e-3, 1e3)}},
    "linear": {"regression": {"fit_intercept": _one_of(True, False)}},
    "elastic-net": {"regression": {"alpha": _log_between(1e-4, 10), "l1_ratio": _one_of(0.1, 0.3, 0.5, 0.7, 0.9, 1.0)}},
    "forest": _both(_TREES),
    "extra-trees": _both(_TREES),
    "decision-tree": _both(
        {
            "max_depth": _one_of(None, 2, 3, 4, 6, 8, 12),
            "min_samples_leaf": _one_of(1, 2, 4, 8, 16),
            "ccp_alpha": _one_of(0.0, 0.001, 0.01),
        }
    ),
    "gradient-boosting": _both(
        {
            "n_estimators": _between(50, 300),
            "learning_rate": _log_between(0.02, 0.3),
            "max_depth": _between(2, 6),
            "subsample": _one_of(0.6, 0.8, 1.0),
        }
    ),
    "hist-gradient-boosting": _both(
        {
            "max_iter": _between(50, 300),
            "learning_rate": _log_between(0.02, 0.3),
            "max_leaf_nodes": _one_of(7, 15, 31, 63),
            "min_samples_leaf": _one_of(5, 10, 20, 40),
            "l2_regularization": _one_of(0.0, 0.1, 1.0, 10.0),
        }
    ),
    "xgboost": _both(
        {
            "learning_rate": _log_between(0.02, 0.3),
            "max_depth": _between(3, 10),
            "min_child_weight": _log_between(0.5, 20),
            "subsample": _one_of(0.6, 0.8, 1.0),
            "colsample_bytree": _one_of(0.5, 0.7, 0.85, 1.0),
            "reg_lambda": _log_between(0.1, 10),
        }
    ),
    "lightgbm": _both(
        {
            "learning_rate": _log_between(0.02, 0.3),
            "num_leaves": _one_of(7, 15, 31, 63, 127),
            "min_child_samples": _one_of(5, 10, 20, 40),
            "subsample": _one_of(0.6, 0.8, 1.0),
            "colsample_bytree": _one_of(0.5, 0.7, 0.85, 1.0),
            "reg_lambda": _one_of(0.0, 0.1, 1.0, 10.0),
        }
    ),
    "catboost": _both(
        {
            "learning_rate": _log_between(0.03, 0.3),
            "depth": _between(4, 8),
            "l2_leaf_reg": _log_between(1.0, 10),
            "random_strength": _one_of(0.5, 1.0, 2.0),
        }
    ),
    "knn": _both({"n_neighbors": _between(1, 30), "weights": _one_of("uniform", "distance"), "p": _one_of(1, 2)}),
    "svm": _both({"C": _log_between(1e-2, 1e3), "gamma": _one_of("scale", 0.001, 0.01, 0.1, 1.0)}),
    "mlp": _both({"hidden_layer_sizes": _one_of((32,), (64,), (100,), (64, 32)), "alpha": _log_between(1e-5, 1.0)}),
}
"""The values that a search draws for each preset; a preset that is absent cannot be tuned."""

_SPACES = {(preset, task): space for preset, spaces in _BY_PRESET.items() for task, space in spaces.items()}
