"""The parity gate: a compiled model may be served only if it answers as the fitted pipeline does.

The two are compared on rows that are chosen to find a difference.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from orris.compile.parity.reference import Reference, quiet
from orris.errors import ParityError
from orris.runtime import Answers, Runtime
from orris.schema.arrays import FloatArray
from orris.verdict import Attempt, Strategy, Verdict

Family = Literal["forest", "tree", "linear", "booster", "single", "other"]

TOLERANCES: dict[Family, float] = {
    "forest": 0.0,
    "tree": 1e-12,
    "linear": 1e-12,
    "booster": 1e-15,
    "single": 1e-6,
    "other": 1e-9,
}
"""Largest difference allowed: of probabilities absolute, of values (and of everything in ``other``) relative.

XGBoost is a ``forest``: no bit may differ. ``booster`` is LightGBM and CatBoost, whose links are float64 exponentials.
``single`` is what NumPy and scikit-learn compute in float32 from an XGBoost model's float32 answers.
"""

_SMALL_PROBABILITY = 1e-6
"""In ``other``, probabilities below this are compared as if they were this large."""

_TIMING_NANOSECONDS = 200_000_000

_FAMILIES: dict[str, Family] = {
    **dict.fromkeys(("DecisionTree", "ExtraTree", "RandomForest", "ExtraTrees"), "forest"),
    **dict.fromkeys(("GradientBoosting", "HistGradientBoosting", "AdaBoost", "Bagging"), "tree"),
    **dict.fromkeys(("XGB", "XGBRF", "XGBRanker"), "forest"),
    **dict.fromkeys(("LGBM", "LGBMRanker", "CatBoost", "CatBoostRanker"), "booster"),
}


def family(pipeline: Any) -> Family:
    """Which tolerance applies to a fitted pipeline, by the model that answers in the end.

    A search is as its best estimator. A forest under a transformed target is a ``tree``: the inverse may hold an
    exponential, whose last bit may differ.
    """
    pipeline = _innermost(pipeline)
    name = type(pipeline).__name__
    if _answers_in_single(pipeline):
        return "single"
    if name == "TransformedTargetRegressor":
        inner = family(pipeline.regressor_)
        return "tree" if inner in {"forest", "booster"} else inner
    name = name.removesuffix("Classifier").removesuffix("Regressor")
    if name in _FAMILIES:
        return _FAMILIES[name]
    module = type(pipeline).__module__
    return "linear" if module.startswith(("sklearn.linear_model", "sklearn.discriminant_analysis")) else "other"


def _innermost(pipeline: Any) -> Any:
    """The model that answers: the last step of a pipeline, the best estimator of a search."""
    if hasattr(pipeline, "steps"):
        return _innermost(pipeline.steps[-1][1])
    if hasattr(pipeline, "best_estimator_"):
        return _innermost(pipeline.best_estimator_)
    return _innermost(pipeline.estimator) if type(pipeline).__name__ == "FrozenEstimator" else pipeline


def _answers_in_single(pipeline: Any) -> bool:
    """Whether NumPy or scipy computes with margins or answers of an XGBoost model, which are float32."""
    if getattr(pipeline, "objective", None) == "multi:softmax":
        return True  # XGBClassifier then leaves the probabilities to scipy
    inner = [getattr(pipeline, name, None) for name in ("regressor_", "final_estimator_")]
    members = getattr(pipeline, "estimators_", None)
    inner += [] if members is None or _is_ensemble_of_trees(pipeline) else [*members]
    inner += [member.estimator for member in getattr(pipeline, "calibrated_classifiers_", ())]
    parts = [_innermost(member) for member in inner if member is not None and not isinstance(member, str)]
    return any(type(part).__module__.startswith("xgboost") or _answers_in_single(part) for part in parts)


def _is_ensemble_of_trees(estimator: Any) -> bool:
    return type(estimator).__name__.removesuffix("Classifier").removesuffix("Regressor") in _FAMILIES


@dataclass(frozen=True)
class Comparison:
    """The result of a comparison: the number of rows whose labels differ, and the largest difference."""

    n_rows: int
    n_label_differences: int
    largest_difference: float
    worst_row: int


def compare(expected: Answers, found: Answers, kind: Family) -> Comparison:
    """Compare the answers to the same rows; differences as ``TOLERANCES`` says. NaN equals NaN."""
    difference = np.zeros(0)
    n_labels = 0
    if expected.labels is not None:
        if found.labels is None or found.labels.shape != expected.labels.shape:
            raise ParityError("the compiled model gives no label per row")
        n_labels = int((expected.labels != found.labels).sum())
    for reference, served in ((expected.probabilities, found.probabilities), (expected.values, found.values)):
        if reference is None:
            continue
        if served is None or served.shape != reference.shape:
            raise ParityError(
                f"the compiled model's output has the wrong shape: {None if served is None else served.shape}"
            )
        difference = _difference(reference, served, _scale(reference, kind, relative=reference is expected.values))
    worst = int(difference.argmax()) if len(difference) else 0
    n_rows = len(difference) if len(difference) else len(expected.labels if expected.labels is not None else ())
    return Comparison(n_rows, n_labels, float(difference[worst]) if len(difference) else 0.0, worst)


def _scale(reference: FloatArray, kind: Family, *, relative: bool) -> FloatArray | float:
    if relative:
        return np.maximum(1.0, np.abs(reference))
    return np.maximum(_SMALL_PROBABILITY, np.abs(reference)) if kind == "other" else 1.0


def _difference(reference: FloatArray, served: FloatArray, scale: FloatArray | float) -> FloatArray:
    """Largest difference per row; infinite where only one of the two is finite."""
    with np.errstate(all="ignore"):
        difference = np.abs(reference - served) / scale
    same = (reference == served) | (np.isnan(reference) & np.isnan(served))
    difference = np.where(same, 0.0, np.where(np.isfinite(difference), difference, np.inf))
    return np.asarray(difference.reshape(len(reference), -1).max(axis=1))


def prove(
    strategy: Strategy,
    runtime: Runtime,
    reference: Reference,
    asked: dict[str, tuple[FloatArray, Answers]],
    kind: Family,
    attempts: tuple[Attempt, ...] = (),
) -> Verdict:
    """Compare a served model with the fitted pipeline on all rows of ``asked``.

    ``asked`` maps each origin to its rows and scikit-learn's answers.

    Raises:
        ParityError: A label differs, or a difference is beyond the family's tolerance; says on which row.
    """
    tolerance = TOLERANCES[kind]
    n_labels, largest, counts = 0, 0.0, {}
    for origin, (rows, expected) in asked.items():
        with quiet():
            found = compare(expected, runtime.run(rows), kind)
        counts[origin] = len(rows)
        n_labels += found.n_label_differences
        largest = max(largest, found.largest_difference)
        if found.n_label_differences or not found.largest_difference <= tolerance:
            raise ParityError(
                f"{found.n_label_differences} of {len(rows)} labels differ and the largest difference is"
                f" {found.largest_difference:.3g} (allowed {tolerance:g}) on {origin} rows, for example on"
                f" {rows[found.worst_row].tolist()}"
            )
    sample = asked["training"][0]
    return Verdict(
        strategy=strategy,
        family=kind,
        n_rows=sum(counts.values()),
        rows_by_origin=counts,
        n_label_differences=n_labels,
        largest_difference=largest,
        tolerance=tolerance,
        one_row_microseconds=round(_one_row_microseconds(runtime.run, sample, 300), 1),
        one_row_microseconds_reference=round(_one_row_microseconds(reference.runtime.run, sample, 7), 1),
        attempts=attempts,
    )


def _one_row_microseconds(run: Callable[[FloatArray], object], sample: FloatArray, repeats: int) -> float:
    """Median time of one row, after one call to warm up; slow models get fewer repeats."""
    row = np.ascontiguousarray(sample[:1])
    taken: list[int] = []
    with quiet():
        run(row)
        while len(taken) < repeats and sum(taken) < _TIMING_NANOSECONDS:
            start = time.perf_counter_ns()
            run(row)
            taken.append(time.perf_counter_ns() - start)
    return float(np.median(taken)) / 1e3
