"""Classifiers by distance or density: nearest centroids, quadratic discriminants, neighbours within a radius.

After scikit-learn's ``neighbors/_nearest_centroid.py``, ``discriminant_analysis.py``, ``neighbors/_classification.py``
and ``neighbors/_regression.py``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import TensorProto

from orris.compile.converters import arithmetic
from orris.compile.converters.kernels import distances, nearest
from orris.compile.graph import Frame, Graph, Prediction
from orris.compile.registry import predictor, require_values
from orris.errors import NotConvertibleError
from orris.schema.arrays import FloatArray


def _log_posterior(graph: Graph, scores: str) -> str:
    """``exp(s - log(sum(exp(s))))`` of scores, as ``DiscriminantAnalysisPredictionMixin`` rounds it."""
    axis = graph.constant([1], np.int64)
    likelihood = graph.add("Sub", scores, graph.add("ReduceMax", scores, axis, keepdims=1))
    total = graph.add("ReduceSum", graph.add("Exp", likelihood), axis, keepdims=1)
    return str(graph.add("Exp", graph.add("Sub", likelihood, graph.add("Log", total))))


def _decided(graph: Graph, scores: str, n_classes: int) -> str:
    """``decision_function``: the difference for two classes."""
    if n_classes != 2:
        return scores
    first, second = graph.add("Split", scores, graph.constant([1, 1], np.int64), axis=1, outputs=2)
    return arithmetic.flat(graph, graph.add("Sub", second, first))


@predictor("sklearn.discriminant_analysis.QuadraticDiscriminantAnalysis")
def quadratic(graph: Graph, estimator: Any, frame: Frame) -> Prediction:
    """Each class has a rotation of its own."""
    require_values(frame, estimator)
    n_classes = arithmetic.require_classes(estimator.classes_, estimator)
    axis = graph.constant([1], np.int64)
    norms = []
    for rotation, scaling, mean in zip(estimator.rotations_, estimator.scalings_, estimator.means_, strict=True):
        centered = graph.add("Sub", frame.tensor, graph.constant(np.asarray(mean, dtype=np.float64)))
        rotated = graph.add("MatMul", centered, graph.constant(rotation * scaling ** (-0.5), np.float64))
        norms.append(graph.add("ReduceSum", graph.add("Mul", rotated, rotated), axis, keepdims=1))
    logs = np.array([np.sum(np.log(scaling)) for scaling in estimator.scalings_])
    norm = graph.add("Add", graph.add("Concat", *norms, axis=1), graph.constant(logs))
    halved = graph.add("Mul", norm, graph.constant(-0.5))
    scores = str(graph.add("Add", halved, graph.constant(np.log(estimator.priors_))))
    return Prediction(
        label=arithmetic.largest(graph, scores),
        probabilities=_log_posterior(graph, scores),
        decision=_decided(graph, scores, n_classes),
    )


@predictor("sklearn.neighbors.NearestCentroid")
def nearest_centroid(graph: Graph, estimator: Any, frame: Frame) -> Prediction:
    """The nearest centroid for equal priors; otherwise, and for probabilities, distances in standard deviations."""
    require_values(frame, estimator)
    n_classes = arithmetic.require_classes(estimator.classes_, estimator)
    manhattan = estimator.metric == "manhattan"
    if not manhattan and estimator.metric != "euclidean":
        raise NotConvertibleError(f"NearestCentroid with the metric {estimator.metric!r} has no exact converter")
    centroids = np.asarray(estimator.centroids_, dtype=np.float64)
    spread = np.asarray(estimator.within_class_std_dev_, dtype=np.float64)
    spread = np.where(spread == 0.0, 1.0, spread)
    scaled = graph.add("Div", frame.tensor, graph.constant(spread))
    far = distances(graph, scaled, centroids / spread, manhattan=manhattan)
    if manhattan:
        far = str(graph.add("Mul", far, far))
    prior = graph.constant(2.0 * np.log(estimator.class_prior_))
    scores = str(graph.add("Add", graph.add("Neg", far), prior))
    label = arithmetic.largest(graph, scores)
    if np.isclose(estimator.class_prior_, 1 / n_classes).all():
        if manhattan:
            near = distances(graph, frame.tensor, centroids, manhattan=True)
            label = str(graph.add("ArgMin", near, axis=1, keepdims=0))
        else:
            label = nearest(graph, frame.tensor, centroids)
    probabilities = _log_posterior(graph, scores) if hasattr(estimator, "predict_proba") else None
    return Prediction(label=label, probabilities=probabilities, decision=_decided(graph, scores, n_classes))


def _within(graph: Graph, estimator: Any, frame: Frame) -> str:
    """1.0 for each stored row within the radius, float64 ``(n_rows, n_points)``, else 0.0."""
    require_values(frame, estimator)
    name = type(estimator).__name__
    if estimator.weights not in ("uniform", None):
        raise NotConvertibleError(f"{name} with weights={estimator.weights!r} has no exact converter")
    if estimator._fit_method not in ("kd_tree", "ball_tree"):
        raise NotConvertibleError(f"{name} searches by '{estimator._fit_method}'; algorithm='kd_tree' is converted")
    if estimator.effective_metric_ not in ("euclidean", "manhattan"):
        raise NotConvertibleError(f"{name} with the metric {estimator.effective_metric_!r} has no exact converter")
    points = np.asarray(estimator._fit_X, dtype=np.float64)
    manhattan = estimator.effective_metric_ == "manhattan"
    radius = float(estimator.radius) if manhattan else float(estimator.radius) ** 2
    near = graph.add("LessOrEqual", distances(graph, frame.tensor, points, manhattan=manhattan), graph.constant(radius))
    return graph.cast(near, TensorProto.DOUBLE)


@predictor("sklearn.neighbors.RadiusNeighborsClassifier")
def radius_classifier(graph: Graph, estimator: Any, frame: Frame) -> Prediction:
    """Votes of the stored rows within the radius; a row without any has the outlier's label, or no answer."""
    n_classes = arithmetic.require_classes(estimator.classes_, estimator, at_least=1)
    votes = np.eye(n_classes)[np.asarray(estimator._y).ravel()]
    counts = graph.add("MatMul", _within(graph, estimator, frame), graph.constant(votes))
    total = graph.add("ReduceSum", counts, graph.constant([1], np.int64), keepdims=1)
    alone = graph.add("Equal", total, graph.constant(0.0))
    if estimator.outlier_label_ is None:
        graph.refused.append(arithmetic.flat(graph, alone))
        outlier: FloatArray = np.zeros(n_classes)
    else:
        outlier = np.equal(estimator.classes_, estimator.outlier_label_[0]).astype(np.float64)
        if not outlier.any():
            raise NotConvertibleError("RadiusNeighborsClassifier with an outlier_label that is no class")
    filled = graph.add("Where", alone, graph.constant(outlier[None, :]), counts)
    divisor = graph.add("Where", alone, graph.constant(1.0), total)
    probabilities = str(graph.add("Div", filled, divisor))
    return Prediction(label=arithmetic.largest(graph, probabilities), probabilities=probabilities)


@predictor("sklearn.neighbors.RadiusNeighborsRegressor")
def radius_regressor(graph: Graph, estimator: Any, frame: Frame) -> Prediction:
    """The mean of the targets within the radius; NaN where there is none."""
    targets: FloatArray = np.asarray(estimator._y, dtype=np.float64).reshape(len(estimator._y), -1)
    arithmetic.require_one_target(estimator, targets.shape[1])
    near = _within(graph, estimator, frame)
    total = graph.add("MatMul", near, graph.constant(targets))
    count = graph.add("ReduceSum", near, graph.constant([1], np.int64), keepdims=1)
    return Prediction(value=arithmetic.flat(graph, graph.add("Div", total, count)))
