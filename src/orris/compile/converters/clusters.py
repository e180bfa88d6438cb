"""Exact converters for clusterers that answer new rows: those with centers, and Gaussian mixtures.

After scikit-learn's ``cluster/_kmeans.py``, ``cluster/_birch.py`` and ``mixture/_gaussian_mixture.py``.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from onnx import TensorProto

from orris.compile.converters import arithmetic
from orris.compile.converters.kernels import distances, nearest
from orris.compile.graph import Frame, Graph, Prediction
from orris.compile.registry import is_exactly, predictor, require_values
from orris.errors import NotConvertibleError
from orris.schema.arrays import FloatArray

_UNIT = 2.0**-53


@predictor("sklearn.cluster.KMeans", "sklearn.cluster.MiniBatchKMeans")
def k_means(graph: Graph, estimator: Any, frame: Frame) -> Prediction:
    """The nearest center, by the formula that scikit-learn compares them with, and the distance to it.

    scikit-learn's distances come from ``|x|^2 - 2 x.c + |c|^2``, which cancels near a center; these do not. The
    rounding is what that formula may be off.
    """
    return _nearest(graph, estimator, frame, np.asarray(estimator.cluster_centers_, dtype=np.float64))


@predictor("sklearn.cluster.BisectingKMeans")
def bisecting_k_means(graph: Graph, estimator: Any, frame: Frame) -> Prediction:
    """Down the tree of clusters, each time to the nearer of two centers, and the distance to the nearest of all."""
    found = _nearest(graph, estimator, frame, np.asarray(estimator.cluster_centers_, dtype=np.float64))
    return replace(found, label=_descended(graph, estimator, frame, estimator._bisecting_tree))


def _descended(graph: Graph, estimator: Any, frame: Frame, node: Any) -> str:
    """The label of the leaf that a row reaches below a node: int64 ``(n_rows,)``, or ``()`` at a leaf."""
    if node.left is None:
        return graph.constant(int(node.label), np.int64)
    centers = np.vstack((node.left.center, node.right.center)) + getattr(estimator, "_X_mean", 0.0)
    nearness = arithmetic.affine(graph, frame.tensor, -2.0 * centers.T, (centers**2).sum(axis=1))
    right = graph.cast(graph.add("ArgMin", nearness, axis=1, keepdims=0), TensorProto.BOOL)
    branches = [_descended(graph, estimator, frame, branch) for branch in (node.right, node.left)]
    return str(graph.add("Where", right, *branches))


@predictor("sklearn.cluster.Birch")
def birch(graph: Graph, estimator: Any, frame: Frame) -> Prediction:
    """The cluster of the nearest subcluster, and the distance to that."""
    centers = np.asarray(estimator.subcluster_centers_, dtype=np.float64)
    found = _nearest(graph, estimator, frame, centers)
    clusters = np.unique(estimator.subcluster_labels_, return_inverse=True)[1].astype(np.int64)
    position = nearest(graph, frame.tensor, centers)
    return replace(found, label=str(graph.add("Gather", graph.constant(clusters), position, axis=0)))


@predictor("sklearn.cluster.AffinityPropagation", "sklearn.cluster.MeanShift")
def nearest_center(graph: Graph, estimator: Any, frame: Frame) -> Prediction:
    """The nearest center; neither has a score."""
    centers = np.asarray(estimator.cluster_centers_, dtype=np.float64)
    if not centers.size:
        raise NotConvertibleError(f"{type(estimator).__name__} has found no cluster")
    require_values(frame, estimator)
    return Prediction(label=nearest(graph, frame.tensor, centers))


def _nearest(graph: Graph, estimator: Any, frame: Frame, centers: FloatArray) -> Prediction:
    """Position of the nearest center, the distance to it, and what rounding may change of that."""
    require_values(frame, estimator)
    norms = (centers**2).sum(axis=1)
    nearness = arithmetic.affine(graph, frame.tensor, -2.0 * centers.T, norms)
    axis = graph.constant([1], np.int64)
    squared = graph.add("ReduceMin", distances(graph, frame.tensor, centers), axis, keepdims=0)
    size = graph.add("ReduceSum", graph.add("Mul", frame.tensor, frame.tensor), axis, keepdims=0)
    total = graph.add("Add", size, graph.constant(float(norms.max())))
    error = graph.add("Mul", total, graph.constant(8.0 * (centers.shape[1] + 4) * _UNIT))
    score = graph.add("Sqrt", squared)
    rounding = graph.add("Div", error, graph.add("Max", score, graph.add("Sqrt", error), graph.constant(1e-300)))
    return Prediction(label=str(graph.add("ArgMin", nearness, axis=1, keepdims=0)), score=score, rounding=rounding)


@predictor("sklearn.mixture.BayesianGaussianMixture", "sklearn.mixture.GaussianMixture")
def gaussian_mixture(graph: Graph, estimator: Any, frame: Frame) -> Prediction:
    """The likeliest component, each one's responsibility, and the logarithm of the density."""
    require_values(frame, estimator)
    n_columns = frame.width
    axis = graph.constant([1], np.int64)
    quadratic, errors = [], []
    for mean, root in zip(estimator.means_, _roots(estimator, n_columns), strict=True):
        shift = np.asarray(mean @ root, dtype=np.float64)
        rotated = graph.add("Sub", graph.add("MatMul", frame.tensor, graph.constant(root)), graph.constant(shift))
        square = graph.add("ReduceSum", graph.add("Mul", rotated, rotated), axis, keepdims=1)
        sizes = arithmetic.affine(graph, graph.add("Abs", frame.tensor), np.abs(root), np.abs(shift))
        cross = graph.add("ReduceSum", graph.add("Mul", graph.add("Abs", rotated), sizes), axis, keepdims=1)
        quadratic.append(square)
        errors.append(graph.add("Add", square, cross))
    squares = graph.add("Concat", *quadratic, axis=1) if len(quadratic) > 1 else quadratic[0]
    offset = n_columns * np.log(2.0 * np.pi)
    halved = graph.add("Mul", graph.add("Add", squares, graph.constant(offset)), graph.constant(-0.5))
    weighted = str(graph.add("Add", halved, graph.constant(_constants(estimator, n_columns))))
    largest = graph.add("ReduceMax", weighted, axis, keepdims=1)
    total = graph.add("ReduceSum", graph.add("Exp", graph.add("Sub", weighted, largest)), axis, keepdims=1)
    density = graph.add("Add", graph.add("Log", total), largest)
    worst = graph.add("Concat", *errors, axis=1) if len(errors) > 1 else errors[0]
    worst = graph.add("ReduceMax", worst, axis, keepdims=0)
    return Prediction(
        label=arithmetic.largest(graph, weighted),
        probabilities=str(graph.add("Exp", graph.add("Sub", weighted, density))),
        score=arithmetic.flat(graph, density),
        rounding=graph.add("Mul", worst, graph.constant(16.0 * (n_columns + 4) * _UNIT)),
    )


def _roots(estimator: Any, n_columns: int) -> FloatArray:
    """Cholesky factors of the precisions, one for each component: float64 ``(n_components, n_columns, n_columns)``."""
    roots = np.asarray(estimator.precisions_cholesky_, dtype=np.float64)
    if estimator.covariance_type == "full":
        return roots
    if estimator.covariance_type == "tied":
        return np.repeat(roots[None], len(estimator.means_), axis=0)
    columns = roots if estimator.covariance_type == "diag" else np.repeat(roots[:, None], n_columns, axis=1)
    return np.asarray([np.diag(column) for column in columns])


def _constants(estimator: Any, n_columns: int) -> FloatArray:
    """The summand of each component's quadratic form, as the estimator's own methods give it: ``(n_components,)``."""
    logs = np.array([np.log(np.diag(root)).sum() for root in _roots(estimator, n_columns)])
    constants = logs + estimator._estimate_log_weights()
    if is_exactly(estimator, "sklearn.mixture.BayesianGaussianMixture"):
        # Of a row at the component's mean, the quadratic form is zero.
        own = np.diag(np.asarray(estimator._estimate_log_prob(estimator.means_), dtype=np.float64))
        constants = own + 0.5 * n_columns * np.log(2.0 * np.pi) + estimator._estimate_log_weights()
    return np.asarray(constants, dtype=np.float64)
