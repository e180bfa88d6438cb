"""Linear projections: PCA and its relatives, random projections, partial least squares, discriminant directions.

Each is a product of the row and a matrix, exact up to the order in which products are added. So the columns it makes
are ``rounded``: no tree behind it compares them with a threshold.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from orris.compile.converters import arithmetic
from orris.compile.converters.levels import numbers
from orris.compile.graph import Feature, Frame, Graph, Prediction
from orris.compile.registry import predictor, require_values, transformer
from orris.errors import NotConvertibleError

ROUNDED = Feature(rounded=True)


def _dense(matrix: Any) -> npt.NDArray[np.float64]:
    return np.asarray(matrix.toarray() if hasattr(matrix, "toarray") else matrix, dtype=np.float64)


def _projected(graph: Graph, frame: Frame, *matrices: Any, shift: Any = None, scale: Any = None) -> Frame:
    """``((x - shift) / scale) @ matrix @ …``, with matrices ``(n_features, n)``, ``(n, m)``, … in this order."""
    if shift is not None:
        tensor = graph.add("Sub", frame.tensor, graph.constant(_dense(shift).reshape(1, -1)))
        frame = replace(frame, tensor=tensor, sparse=False)
    if scale is not None:
        frame = replace(frame, tensor=graph.add("Div", frame.tensor, graph.constant(_dense(scale).reshape(1, -1))))
    tensor, _ = arithmetic.linear(graph, frame, _dense(matrices[0]), 0.0)
    for matrix in matrices[1:]:
        tensor = str(graph.add("MatMul", tensor, graph.constant(_dense(matrix))))
    return Frame(tensor, (ROUNDED,) * _dense(matrices[-1]).shape[1])


@transformer("sklearn.decomposition.PCA", "sklearn.decomposition.IncrementalPCA")
def pca(graph: Graph, step: Any, frame: Frame) -> Frame:
    """Projection, then centering, then whitening."""
    frame = numbers(graph, frame, step, step.components_)
    projected = graph.add("MatMul", frame.tensor, graph.constant(step.components_.T, np.float64))
    centered = graph.add(
        "Sub", projected, graph.constant(np.reshape(step.mean_, (1, -1)) @ step.components_.T, np.float64)
    )
    if step.whiten:
        scale = np.maximum(np.sqrt(step.explained_variance_), np.finfo(np.float64).eps)
        centered = graph.add("Div", centered, graph.constant(scale, np.float64))
    return Frame(centered, (ROUNDED,) * step.components_.shape[0])


@transformer(
    "sklearn.decomposition.TruncatedSVD",
    "sklearn.neighbors.NeighborhoodComponentsAnalysis",
    "sklearn.random_projection.GaussianRandomProjection",
    "sklearn.random_projection.SparseRandomProjection",
)
def projection(graph: Graph, step: Any, frame: Frame) -> Frame:
    """``x @ components``."""
    return _projected(graph, numbers(graph, frame, step, step.components_), _dense(step.components_).T)


@transformer("sklearn.decomposition.FastICA")
def independent_components(graph: Graph, step: Any, frame: Frame) -> Frame:
    """``(x - mean) @ components``, without the mean where nothing was whitened."""
    shift = step.mean_ if step.whiten else None
    return _projected(graph, numbers(graph, frame, step), step.components_.T, shift=shift)


@transformer("sklearn.decomposition.FactorAnalysis")
def factor_analysis(graph: Graph, step: Any, frame: Frame) -> Frame:
    """The expected factors of a row: two products, as scikit-learn carries them out."""
    weights = step.components_ / step.noise_variance_
    covariance = np.linalg.inv(np.eye(len(step.components_)) + weights @ step.components_.T)
    return _projected(graph, numbers(graph, frame, step), weights.T, covariance, shift=step.mean_)


@transformer("sklearn.decomposition.SparsePCA", "sklearn.decomposition.MiniBatchSparsePCA")
def sparse_pca(graph: Graph, step: Any, frame: Frame) -> Frame:
    """The ridge regression of a row on the components: the normal equations, solved once for all rows."""
    components = _dense(step.components_)
    normal = components @ components.T + step.ridge_alpha * np.eye(len(components))
    return _projected(graph, numbers(graph, frame, step), components.T, np.linalg.inv(normal), shift=step.mean_)


@transformer("sklearn.cluster.FeatureAgglomeration")
def feature_agglomeration(graph: Graph, step: Any, frame: Frame) -> Frame:
    """The mean of each group of columns."""
    if step.pooling_func is not np.mean:
        raise NotConvertibleError("FeatureAgglomeration with another pooling function than numpy.mean")
    groups = np.equal.outer(step.labels_, np.arange(step.n_clusters_)).astype(np.float64)
    out = _projected(graph, numbers(graph, frame, step), groups)
    return replace(out, tensor=graph.add("Div", out.tensor, graph.constant(groups.sum(axis=0))))


@transformer("sklearn.discriminant_analysis.LinearDiscriminantAnalysis")
def discriminants(graph: Graph, step: Any, frame: Frame) -> Frame:
    """The directions that part the classes most."""
    if step.solver == "lsqr":
        raise NotConvertibleError("LinearDiscriminantAnalysis with solver='lsqr' does not transform")
    shift = step.xbar_ if step.solver == "svd" else None
    return _projected(graph, numbers(graph, frame, step), step.scalings_[:, : step._max_components], shift=shift)


@transformer("sklearn.neural_network.BernoulliRBM")
def boltzmann_machine(graph: Graph, step: Any, frame: Frame) -> Frame:
    """The logistic function of ``x @ components + intercept``."""
    frame = numbers(graph, frame, step)
    negated = arithmetic.affine(graph, frame.tensor, -step.components_.T, -step.intercept_hidden_)
    return Frame(arithmetic.expit_of_negated(graph, negated), (ROUNDED,) * len(step.components_))


@transformer(
    "sklearn.cross_decomposition.CCA",
    "sklearn.cross_decomposition.PLSCanonical",
    "sklearn.cross_decomposition.PLSRegression",
    "sklearn.cross_decomposition.PLSSVD",
)
def partial_least_squares(graph: Graph, step: Any, frame: Frame) -> Frame:
    """The scores of a row, centered and scaled."""
    rotations = step.x_rotations_ if hasattr(step, "x_rotations_") else step.x_weights_
    return _projected(graph, numbers(graph, frame, step), rotations, shift=step._x_mean, scale=step._x_std)


@predictor(
    "sklearn.cross_decomposition.CCA",
    "sklearn.cross_decomposition.PLSCanonical",
    "sklearn.cross_decomposition.PLSRegression",
)
def partial_least_squares_regression(graph: Graph, estimator: Any, frame: Frame) -> Prediction:
    """``(x - mean) @ coef + intercept`` of a single target."""
    require_values(frame, estimator)
    weights = np.asarray(estimator.coef_, dtype=np.float64).T
    arithmetic.require_one_target(estimator, weights.shape[1])
    centered = graph.add("Sub", frame.tensor, graph.constant(np.reshape(estimator._x_mean, (1, -1))))
    shifted = replace(frame, tensor=centered)
    value, rounding = arithmetic.linear(graph, shifted, weights, estimator.intercept_)
    return Prediction(value=arithmetic.flat(graph, value), rounding=rounding)
