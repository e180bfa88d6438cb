"""Exact converters for detectors of outliers: the label is -1 or 1, the score is ``decision_function``.

After scikit-learn's ``ensemble/_iforest.py``, ``covariance/_elliptic_envelope.py``, ``svm/_classes.py`` and
``linear_model/_stochastic_gradient.py``. ``Schema.labels`` holds -1 first.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from orris.compile.converters import arithmetic
from orris.compile.converters.svm import kernel_of
from orris.compile.converters.tree_ensemble import add_totals, after_rounding, note_thresholds
from orris.compile.converters.trees import read_tree
from orris.compile.graph import Frame, Graph, Prediction
from orris.compile.registry import predictor, require_values
from orris.errors import NotConvertibleError


def _detected(graph: Graph, decision: str, compare: str) -> Prediction:
    """The prediction of a decision function ``(n_rows, 1)``: an inlier where ``compare`` with zero holds."""
    inlier = graph.add(compare, decision, graph.constant(0.0))
    return Prediction(label=arithmetic.second_if(graph, inlier), score=arithmetic.flat(graph, decision))


@predictor("sklearn.ensemble.IsolationForest", takes_single=True)
def isolation_forest(graph: Graph, estimator: Any, frame: Frame) -> Prediction:
    """Path lengths, added up tree by tree in scikit-learn's order, and their exponential."""
    require_values(frame, estimator)
    trees = []
    for member, chosen, depths, rest in zip(
        estimator.estimators_,
        estimator.estimators_features_,
        estimator._decision_path_lengths,
        estimator._average_path_length_per_tree,
        strict=True,
    ):
        tree = read_tree(member)
        tree = replace(tree, values=np.asarray(depths + rest - 1.0, dtype=np.float64))
        trees.append(replace(tree, feature=np.asarray(chosen, dtype=np.int64)[tree.feature]))
    note_thresholds(graph, frame, trees)
    trees = [after_rounding(tree) for tree in trees]
    note_thresholds(graph, frame, trees)
    denominator = len(trees) * _average_path_length(int(estimator._max_samples))
    if denominator == 0.0:
        raise NotConvertibleError("IsolationForest that was fitted on a single row")
    depth = add_totals(graph, frame.tensor, trees, [0] * len(trees), 1)
    exponent = graph.add("Neg", graph.add("Div", depth, graph.constant(denominator)))
    score = graph.add("Neg", graph.add("Pow", graph.constant(2.0), exponent))
    # scikit-learn calls a row an outlier where the decision is below zero.
    return _detected(graph, graph.add("Sub", score, graph.constant(float(estimator.offset_))), "GreaterOrEqual")


def _average_path_length(n_rows: int) -> float:
    """Mean depth of an unsuccessful search in a binary search tree of ``n_rows`` (``_average_path_length``)."""
    if n_rows <= 1:
        return 0.0
    if n_rows == 2:
        return 1.0
    return float(2.0 * (np.log(n_rows - 1.0) + np.euler_gamma) - 2.0 * (n_rows - 1.0) / n_rows)


@predictor("sklearn.svm.OneClassSVM")
def one_class_svm(graph: Graph, estimator: Any, frame: Frame) -> Prediction:
    """Libsvm's decision; a row exactly on the border is an outlier."""
    kernel = kernel_of(graph, estimator, frame)
    dual = estimator._dual_coef_
    dual = dual.toarray() if hasattr(dual, "toarray") else np.asarray(dual, dtype=np.float64)
    return _detected(graph, arithmetic.affine(graph, kernel, dual.T, estimator._intercept_), "Greater")


@predictor("sklearn.covariance.EllipticEnvelope")
def elliptic_envelope(graph: Graph, estimator: Any, frame: Frame) -> Prediction:
    """The squared Mahalanobis distance from the robust location."""
    require_values(frame, estimator)
    centered = graph.add("Sub", frame.tensor, graph.constant(np.asarray(estimator.location_, dtype=np.float64)))
    turned = graph.add("MatMul", centered, graph.constant(estimator.get_precision(), np.float64))
    axis = graph.constant([1], np.int64)
    distance = graph.add("ReduceSum", graph.add("Mul", turned, centered), axis, keepdims=1)
    decision = graph.add("Sub", graph.add("Neg", distance), graph.constant(float(estimator.offset_)))
    return _detected(graph, decision, "GreaterOrEqual")


@predictor("sklearn.linear_model.SGDOneClassSVM")
def linear_one_class_svm(graph: Graph, estimator: Any, frame: Frame) -> Prediction:
    """``x @ coef - offset``."""
    require_values(frame, estimator)
    weights = np.asarray(estimator.coef_, dtype=np.float64).reshape(-1, 1)
    decision, rounding = arithmetic.linear(graph, frame, weights, -np.asarray(estimator.offset_, dtype=np.float64))
    return replace(_detected(graph, decision, "GreaterOrEqual"), rounding=rounding)
