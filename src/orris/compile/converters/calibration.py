"""Exact converters for ``CalibratedClassifierCV`` and isotonic regression, after scikit-learn's modules.

The calibrated estimator is converted by its own family; here its scores become probabilities. Isotonic steps are found
by a binary search tree over their thresholds, so a hundred of them cost seven comparisons.

Where probabilities within 1e-12 of 0 or 1 are calibrated again (isotonic steps there are steep, temperatures take
logarithms), their last bit shows in the answer, and the parity gate may refuse what is as exact as float64 can be.
Decisions do not have that problem.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import TensorProto

from orris.compile.converters import arithmetic
from orris.compile.converters.tree_ensemble import LEAF, Tree, add_totals
from orris.compile.dispatch import predict
from orris.compile.graph import Frame, Graph, Prediction
from orris.compile.registry import predictor, require_values
from orris.errors import NotConvertibleError
from orris.schema.arrays import FloatArray

_SMALLEST = 1e-12
"""The number that scikit-learn adds to probabilities before it takes their logarithm."""


def response(graph: Graph, estimator: Any, prediction: Prediction) -> tuple[str, int]:
    """The scores that scikit-learn asks of a classifier: ``decision_function`` if it has one, else ``predict_proba``.

    Args:
        graph: Where the nodes go.
        estimator: The fitted classifier.
        prediction: What it was converted to.

    Returns:
        Name of a float64 tensor ``(n_rows, n_scores)``, and ``n_scores``: 1 for two classes (the second's), else a
        score for each.

    Raises:
        NotConvertibleError: The estimator's converter does not give them.
    """
    n_classes = arithmetic.require_classes(estimator.classes_, estimator)
    if hasattr(estimator, "decision_function"):
        if prediction.decision is None:
            raise NotConvertibleError(f"the decision function of {type(estimator).__name__} has no exact converter")
        if n_classes > 2:
            return prediction.decision, n_classes
        return str(graph.add("Unsqueeze", prediction.decision, graph.constant([1], np.int64))), 1
    if prediction.probabilities is None:
        raise NotConvertibleError(f"the probabilities of {type(estimator).__name__} have no exact converter")
    if n_classes > 2:
        return prediction.probabilities, n_classes
    return str(graph.add("Gather", prediction.probabilities, graph.constant([1], np.int64), axis=1)), 1


@predictor("sklearn.calibration.CalibratedClassifierCV", delegates=True)
def calibrated(graph: Graph, estimator: Any, frame: Frame) -> Prediction:
    """Any method, with one calibrated classifier or the mean over several; the label is the largest probability."""
    arithmetic.require_classes(estimator.classes_, estimator)
    members = estimator.calibrated_classifiers_
    mean = _member(graph, members[0], frame)
    for member in members[1:]:
        mean = str(graph.add("Add", mean, _member(graph, member, frame)))
    if len(members) > 1:
        mean = str(graph.add("Div", mean, graph.constant(float(len(members)))))
    return Prediction(label=arithmetic.largest(graph, mean), probabilities=mean)


def _member(graph: Graph, member: Any, frame: Frame) -> str:
    """``_CalibratedClassifier.predict_proba``: float64 ``(n_rows, n_classes)``."""
    scores, n_scores = response(graph, member.estimator, predict(graph, member.estimator, frame))
    classes = list(member.classes)
    n_classes = len(classes)
    if member.method == "temperature":
        return _tempered(graph, member, scores, n_classes)
    positions = [classes.index(label) for label in member.estimator.classes_]
    n_used = min(n_scores, len(positions), len(member.calibrators))
    columns = _each_calibrated(graph, member, scores, n_scores, n_used)
    if n_classes == 2:
        return arithmetic.complement_and(graph, columns)
    spread = _spread(graph, columns, positions[:n_used], n_classes)
    # Rounding may lift the quotient above 1, as in scikit-learn, which cuts it off too.
    return str(graph.add("Min", arithmetic.normalised(graph, spread, n_classes), graph.constant(1.0)))


def _each_calibrated(graph: Graph, member: Any, scores: str, n_scores: int, n_used: int) -> str:
    """The first ``n_used`` of the scores, each through its own calibrator: float64 ``(n_rows, n_used)``."""
    if n_used < n_scores:
        scores = str(graph.add("Gather", scores, graph.constant(np.arange(n_used)), axis=1))
    calibrators = member.calibrators[:n_used]
    if member.method == "sigmoid":
        slopes, offsets = (
            np.array([[getattr(calibrator, name) for calibrator in calibrators]], float) for name in ("a_", "b_")
        )
        scaled = graph.add("Mul", scores, graph.constant(slopes))
        return arithmetic.expit_of_negated(graph, str(graph.add("Add", scaled, graph.constant(offsets))))
    if member.method != "isotonic":
        raise NotConvertibleError(f"calibration by the method {member.method!r} has no exact converter")
    columns = []
    for position, calibrator in enumerate(calibrators):
        column = (
            scores if n_used == 1 else str(graph.add("Gather", scores, graph.constant([position], np.int64), axis=1))
        )
        columns.append(_interpolated(graph, calibrator, column))
    return columns[0] if n_used == 1 else str(graph.add("Concat", *columns, axis=1))


def _spread(graph: Graph, columns: str, positions: list[int], n_classes: int) -> str:
    """The columns at their classes' ``positions``, ``(n_rows, n_classes)``.

    A class that the estimator never saw has 0.
    """
    if positions == list(range(n_classes)):
        return columns
    padded = graph.add("Pad", columns, graph.constant([0, 0, 0, 1], np.int64), graph.constant(0.0))
    sources = [positions.index(label) if label in positions else len(positions) for label in range(n_classes)]
    return str(graph.add("Gather", padded, graph.constant(sources, np.int64), axis=1))


def _tempered(graph: Graph, member: Any, scores: str, n_classes: int) -> str:
    """``_TemperatureScaling.predict``.

    Probabilities become logarithms first; the decision of two classes counts for both classes.
    """
    if len(member.estimator.classes_) != n_classes:
        raise NotConvertibleError(
            "temperature scaling over a classifier that has not seen every class has no exact converter"
        )
    if not hasattr(member.estimator, "decision_function"):
        scores = arithmetic.complement_and(graph, scores) if n_classes == 2 else scores
        scores = str(graph.add("Log", graph.add("Add", scores, graph.constant(_SMALLEST))))
    elif n_classes == 2:
        scores = str(graph.add("Concat", graph.add("Neg", scores), scores, axis=1))
    scaled = graph.add("Mul", scores, graph.constant(float(member.calibrators[0].beta_)))
    return str(graph.add("Softmax", scaled, axis=1))


@predictor("sklearn.isotonic.IsotonicRegression")
def isotonic(graph: Graph, estimator: Any, frame: Frame) -> Prediction:
    """Isotonic regression of one column, where values out of bounds are clipped."""
    require_values(frame, estimator)
    return Prediction(value=arithmetic.flat(graph, _interpolated(graph, estimator, frame.tensor)))


def _interpolated(graph: Graph, estimator: Any, column: str) -> str:
    """``IsotonicRegression.predict``, which is ``numpy.interp``: float64 ``(n_rows, 1)`` to the same shape."""
    x, y = np.asarray(estimator.X_thresholds_), np.asarray(estimator.y_thresholds_)
    if x.dtype not in (np.float64, np.float32):
        raise NotConvertibleError(f"{type(estimator).__name__} was fitted on {x.dtype} and may compute in it")
    # Fitted on float32 (as XGBoost's probabilities are), it rounds the column to float32, and what it answers too.
    single = x.dtype == np.float32
    x, y = x.astype(np.float64), y.astype(np.float64)
    column = arithmetic.rounded(graph, column) if single else column
    if estimator.out_of_bounds != "clip":
        raise NotConvertibleError(
            f"{type(estimator).__name__} with out_of_bounds={estimator.out_of_bounds!r} has no exact converter"
        )
    with np.errstate(all="ignore"):
        slopes = np.append(np.diff(y) / np.diff(x), 0.0)
    if not np.isfinite(slopes).all():
        raise NotConvertibleError(f"{type(estimator).__name__} has steps too steep for float64")
    clipped = graph.add(
        "Clip", column, graph.constant(float(estimator.X_min_)), graph.constant(float(estimator.X_max_))
    )
    step = graph.cast(add_totals(graph, clipped, [_search(x)], [0], 1), TensorProto.INT64)
    start, height, slope = (str(graph.add("Gather", graph.constant(table), step, axis=0)) for table in (x, y, slopes))
    rise = graph.add("Mul", slope, graph.add("Sub", clipped, start))
    value = str(graph.add("Add", rise, height))
    return arithmetic.rounded(graph, value) if single else value


def _search(thresholds: FloatArray) -> Tree:
    """A balanced tree that returns the position of the last threshold that is not above ``value``.

    ``thresholds`` are in rising order.
    """
    just_below = np.nextafter(thresholds, -np.inf)
    cuts: list[float] = []
    children: list[tuple[int, int]] = []
    answers: list[float] = []

    def grow(low: int, high: int) -> int:
        node, middle = len(cuts), (low + high + 1) // 2
        cuts.append(float(just_below[middle]))
        answers.append(float(low))
        children.append((LEAF, LEAF))
        if low < high:
            children[node] = (grow(low, middle - 1), grow(middle, high))
        return node

    grow(0, len(thresholds) - 1)
    left, right = np.array(children, dtype=np.int64).T
    return Tree(
        np.zeros(len(cuts), np.int64), np.array(cuts), left, right, np.zeros(len(cuts), np.bool_), np.array(answers)
    )
