"""The parity gate: a compiled model may be served only if it answers as the fitted pipeline does.

The two are compared on rows that are chosen to find a difference.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from orris.compile.parity.reference import SECONDS, Reference, in_chunks, quiet
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

MAX_ROUNDING = 1e-6
"""Most that the bound of a row's rounding adds to the tolerance, however large the row's numbers are."""

_SHOWN = 40
"""Columns of a row that a message shows."""

Rounding = Callable[[FloatArray], FloatArray]
"""Encoded rows, float64 ``(n_rows, n_columns)``, to a bound of each row's rounding error, ``(n_rows,)``.

A bound is in the measure of ``TOLERANCES``: of a probability absolute, of a value relative to ``max(1, |value|)``.
"""

_TIMING_NANOSECONDS = 200_000_000

_FAMILIES: dict[str, Family] = {
    **dict.fromkeys(("DecisionTree", "ExtraTree", "RandomForest", "ExtraTrees", "BalancedRandomForest"), "forest"),
    **dict.fromkeys(("GradientBoosting", "HistGradientBoosting", "AdaBoost", "RUSBoost", "Bagging"), "tree"),
    **dict.fromkeys(("XGB", "XGBRF", "XGBRanker"), "forest"),
    **dict.fromkeys(("LGBM", "LGBMRanker", "CatBoost", "CatBoostRanker"), "booster"),
}


_HOLDERS = {
    "EarlyStoppedClassifier": "estimator_",
    "EarlyStoppedRegressor": "estimator_",
    "FrozenEstimator": "estimator",
    "FixedThresholdClassifier": "estimator_",
    "TunedThresholdClassifierCV": "estimator_",
}
"""Where these classes keep the model that answers."""


def family(pipeline: Any) -> Family:
    """Which tolerance applies to a fitted pipeline, by the model that answers in the end.

    A search is as its best estimator, a decision threshold as the classifier inside. A forest under a transformed
    target is a ``tree``: the inverse may hold an exponential, whose last bit may differ.
    """
    pipeline = _innermost(pipeline)
    name = type(pipeline).__name__
    if _answers_in_single(pipeline) or (_of_xgboost(pipeline) and platform.libc_ver()[0] != "glibc"):
        return "single"  # the graph holds glibc's expf; the C library of another system has its own
    if name == "TransformedTargetRegressor":
        inner = family(pipeline.regressor_)
        return "tree" if inner in {"forest", "booster"} else inner
    name = name.removesuffix("Classifier").removesuffix("Regressor")
    if name in _FAMILIES:
        return _FAMILIES[name]
    module = type(pipeline).__module__
    return "linear" if module.startswith(("sklearn.linear_model", "sklearn.discriminant_analysis")) else "other"


def _innermost(pipeline: Any) -> Any:
    """The model that answers: the last step of a pipeline, the best estimator of a search, the classifier inside."""
    if hasattr(pipeline, "steps"):
        return _innermost(pipeline.steps[-1][1])
    if hasattr(pipeline, "best_estimator_"):
        return _innermost(pipeline.best_estimator_)
    holder = _HOLDERS.get(type(pipeline).__name__)
    return pipeline if holder is None else _innermost(getattr(pipeline, holder))


def _answers_in_single(pipeline: Any) -> bool:
    """Whether NumPy or scipy computes with margins or answers of an XGBoost model, which are float32."""
    if getattr(pipeline, "objective", None) == "multi:softmax":
        return True  # XGBClassifier then leaves the probabilities to scipy
    inner = [getattr(pipeline, name, None) for name in ("regressor_", "final_estimator_")]
    members = getattr(pipeline, "estimators_", None)
    inner += [] if members is None or _is_ensemble_of_trees(pipeline) else [*members]
    inner += [member.estimator for member in getattr(pipeline, "calibrated_classifiers_", ())]
    parts = [_innermost(member) for member in inner if member is not None and not isinstance(member, str)]
    return any(_of_xgboost(part) or _answers_in_single(part) for part in parts)


def _of_xgboost(estimator: Any) -> bool:
    return type(estimator).__module__.startswith("xgboost")


def _is_ensemble_of_trees(estimator: Any) -> bool:
    return type(estimator).__name__.removesuffix("Classifier").removesuffix("Regressor") in _FAMILIES


@dataclass(frozen=True)
class Comparison:
    """The result of a comparison: rows whose labels differ, the largest difference, and the row farthest beyond.

    Attributes:
        n_rows: Rows compared.
        n_label_differences: Rows whose labels differ.
        largest_difference: Largest difference of a number, as ``TOLERANCES`` measures it.
        excess: Largest difference divided by what was allowed for its row; above 1 is a failure.
        worst_row: Position of the row with that excess, or of the first whose label differs.
        worst_allowed: What was allowed for that row.
        allowed: The most that was allowed for a row that differs by more than the family's tolerance.
    """

    n_rows: int
    n_label_differences: int
    largest_difference: float
    excess: float
    worst_row: int
    worst_allowed: float
    allowed: float


def compare(expected: Answers, found: Answers, kind: Family, rounding: FloatArray | None = None) -> Comparison:
    """Compare the answers to the same rows; differences as ``TOLERANCES`` says.

    Args:
        expected: scikit-learn's answers.
        found: The served model's.
        kind: The family whose tolerance applies.
        rounding: Per row, by how much the order of additions alone may change a number, as ``TOLERANCES`` measures it:
            float64 ``(n_rows,)``. It is added to the tolerance, up to ``MAX_ROUNDING``.

    Raises:
        ParityError: An output is missing, or has another shape.
    """
    if expected.labels is not None and (found.labels is None or found.labels.shape != expected.labels.shape):
        raise ParityError("the compiled model gives no label per row")
    pairs = [
        (expected.probabilities, found.probabilities),
        (expected.values, found.values),
        (expected.scores, found.scores),
    ]
    for reference, served in pairs:
        if reference is not None and (served is None or served.shape != reference.shape):
            raise ParityError(
                f"the compiled model's output has the wrong shape: {None if served is None else served.shape}"
            )
    n_rows = len(expected.found)
    neither, either = expected.unanswered & found.unanswered, expected.unanswered | found.unanswered
    difference = np.zeros(n_rows)
    for reference, served in pairs:
        if reference is not None and served is not None:
            measure = scale(reference, kind, relative=reference is not expected.probabilities)
            difference = np.maximum(difference, _difference(reference, served, measure))
    difference = np.where(either, np.where(neither, 0.0, np.inf), difference)
    differing = np.zeros(n_rows, dtype=np.bool_)
    if expected.labels is not None and found.labels is not None:
        differing = (expected.labels != found.labels) & ~either
    allowed = np.full(n_rows, TOLERANCES[kind])
    if rounding is not None:
        allowed += np.minimum(np.nan_to_num(rounding, nan=0.0), MAX_ROUNDING)
    with np.errstate(all="ignore"):
        excess = np.where(difference > 0.0, difference / allowed, 0.0)
    worst = int(differing.argmax()) if differing.any() else int(excess.argmax()) if n_rows else 0
    if not n_rows:
        return Comparison(0, 0, 0.0, 0.0, 0, TOLERANCES[kind], TOLERANCES[kind])
    beyond = np.where(difference > TOLERANCES[kind], allowed, TOLERANCES[kind])
    found_largest = (float(difference.max()), float(excess.max()), worst, float(allowed[worst]), float(beyond.max()))
    return Comparison(n_rows, int(differing.sum()), *found_largest)


def scale(reference: FloatArray, kind: Family, *, relative: bool) -> FloatArray | float:
    """The divisor of differences of numbers, as ``TOLERANCES`` says; values are ``relative``."""
    if relative:
        return np.maximum(1.0, np.abs(reference))
    return np.maximum(_SMALL_PROBABILITY, np.abs(reference)) if kind == "other" else 1.0


def _difference(reference: FloatArray, served: FloatArray, scale: FloatArray | float) -> FloatArray:
    """Largest difference per row; infinite where only one of the two is finite."""
    with np.errstate(all="ignore"):
        difference = np.abs(reference - served) / scale
    difference = np.where(reference == served, 0.0, np.where(np.isfinite(difference), difference, np.inf))
    return np.asarray(difference.reshape(len(reference), -1).max(axis=1))


def prove(
    strategy: Strategy,
    runtime: Runtime,
    reference: Reference,
    asked: dict[str, tuple[FloatArray, Answers]],
    kind: Family,
    attempts: tuple[Attempt, ...] = (),
    *,
    rounding: Rounding | None = None,
    seconds: float = SECONDS,
) -> Verdict:
    """Compare a served model with the fitted pipeline on all rows of ``asked``.

    Args:
        strategy: How the model is served.
        runtime: Answers as the server would.
        reference: The fitted pipeline.
        asked: For each origin, rows and scikit-learn's answers to them.
        kind: The family whose tolerance applies.
        attempts: Ways that were tried before and refused.
        rounding: Bounds, for each row, what the order of additions alone may change.
        seconds: Most time for the served model's answers; rows beyond it are not compared, and not counted.

    Raises:
        ParityError: A label differs, or a difference is beyond what is allowed; says on which row.
        ExhaustedError: Memory ran out even for a single row.
    """
    largest, allowed, counts = 0.0, TOLERANCES[kind], dict.fromkeys(asked, 0)
    total = sum(len(rows) for rows, _ in asked.values())
    for origin, (rows, expected) in asked.items():
        share = seconds * len(rows) / max(1, total)
        for chunk, found in in_chunks(_quietly(runtime.run), rows, reference.widest, share):
            start = counts[origin]
            counts[origin] += len(chunk)
            part = expected.at(slice(start, start + len(chunk)))
            with quiet():
                outcome = compare(part, found, kind, None if rounding is None else rounding(chunk))
            largest = max(largest, outcome.largest_difference)
            allowed = max(allowed, outcome.allowed)
            if outcome.n_label_differences or outcome.excess > 1.0:
                raise ParityError(
                    f"{outcome.n_label_differences} of {len(chunk)} labels differ and the largest difference is"
                    f" {outcome.largest_difference:.3g} (allowed {outcome.worst_allowed:g}) on {origin} rows,"
                    f" for example on {_shown(chunk[outcome.worst_row])}"
                )
    sample = asked["training"][0]
    return Verdict(
        strategy=strategy,
        family=kind,
        n_rows=sum(counts.values()),
        rows_by_origin=counts,
        n_label_differences=0,
        largest_difference=largest,
        tolerance=allowed,
        one_row_microseconds=round(_one_row_microseconds(runtime.run, sample, 300), 1),
        one_row_microseconds_reference=round(_one_row_microseconds(reference.runtime.run, sample, 7), 1),
        attempts=attempts,
    )


def _quietly(run: Callable[[FloatArray], Answers]) -> Callable[[FloatArray], Answers]:
    def answer(rows: FloatArray) -> Answers:
        with quiet():
            return run(rows)

    return answer


def _shown(row: FloatArray) -> str:
    """The row's first numbers; a row of thousands of columns would hide the message."""
    shown = ", ".join(f"{number:.17g}" for number in row[:_SHOWN].tolist())
    return f"[{shown}{f', and {len(row) - _SHOWN} more' if len(row) > _SHOWN else ''}]"


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
