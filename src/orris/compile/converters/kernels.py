"""Models over kernels: kernel ridge, Gaussian processes, label propagation, kernel PCA, Nystroem, random Fourier maps.

Each compares the row with stored rows by a kernel of ``sklearn.metrics.pairwise`` or of
``sklearn.gaussian_process.kernels``, and adds up the results with fixed weights, exact up to rounding. libsvm's
machines, whose kernels are the same formulas, are in ``svm.py``.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from orris.compile.converters import arithmetic
from orris.compile.converters.levels import numbers
from orris.compile.converters.projections import ROUNDED
from orris.compile.graph import Feature, Frame, Graph, Prediction
from orris.compile.registry import is_exactly, predictor, require_values, transformer
from orris.errors import NotConvertibleError
from orris.schema.arrays import FloatArray

_MAX_NUMBERS = 4_000_000
"""Largest ``n_stored * n_columns`` that is put into a model (32 MB)."""
_MAX_COLUMNS = 64
"""Up to so many columns, distances are added up column by column, which loses nothing to cancellation."""
_KERNEL_ROUNDING = 64.0
"""How many units in the last place a kernel's value may be off, beside the order of the sum over stored rows."""

_GAUSSIAN = "sklearn.gaussian_process.kernels."


def distances(graph: Graph, tensor: str, points: FloatArray, *, manhattan: bool = False) -> str:
    """Squared Euclidean or Manhattan distances of rows and points, float64 ``(n_rows, n_points)``.

    Args:
        graph: Where the nodes go.
        tensor: float64 ``(n_rows, n_columns)``.
        points: float64 ``(n_points, n_columns)``.
        manhattan: Magnitudes of the differences are added up, not their squares.
    """
    if points.size > _MAX_NUMBERS:
        raise NotConvertibleError(f"the model holds {points.size:,} numbers, and a file takes {_MAX_NUMBERS:,}")
    if points.shape[1] > _MAX_COLUMNS:
        if manhattan:
            raise NotConvertibleError(f"Manhattan distances are converted up to {_MAX_COLUMNS} columns")
        return arithmetic.squared_distances(graph, tensor, points)
    total = ""
    for j in range(points.shape[1]):
        column = graph.add("Gather", tensor, graph.constant([j], np.int64), axis=1)
        difference = graph.add("Sub", column, graph.constant(np.ascontiguousarray(points[:, j])[None, :]))
        part = graph.add("Abs", difference) if manhattan else graph.add("Mul", difference, difference)
        total = str(graph.add("Add", total, part)) if total else part
    return total


def nearest(graph: Graph, tensor: str, points: FloatArray) -> str:
    """Position of the nearest point, the first among equals: int64 ``(n_rows,)``.

    Distances are ``|x|^2 - 2 x.p + |p|^2``, as ``pairwise_distances_argmin`` computes them: far from all points, what
    rounding leaves of that decides.
    """
    cross = graph.add("MatMul", tensor, graph.constant(-2.0 * points.T))
    axis = graph.constant([1], np.int64)
    sizes = graph.add("ReduceSum", graph.add("Mul", tensor, tensor), axis, keepdims=1)
    total = graph.add("Add", graph.add("Add", sizes, cross), graph.constant((points**2).sum(axis=1)))
    return str(graph.add("ArgMin", graph.add("Max", total, graph.constant(0.0)), axis=1, keepdims=0))


def pairwise(graph: Graph, frame: Frame, points: Any, name: Any, parameters: dict[str, Any]) -> str:
    """A kernel of ``sklearn.metrics.pairwise`` of rows and points: float64 ``(n_rows, n_points)``.

    Args:
        graph: Where the nodes go.
        frame: The rows.
        points: ``(n_points, n_columns)``, dense or sparse.
        name: The kernel's name.
        parameters: ``gamma``, ``degree`` and ``coef0``; ``None`` or absent is scikit-learn's default.
    """
    points = np.asarray(points.toarray() if hasattr(points, "toarray") else points, dtype=np.float64)
    gamma = parameters.get("gamma")
    gamma = 1.0 / frame.width if gamma is None else float(gamma)
    if name == "rbf":
        return _exponential(graph, distances(graph, frame.tensor, points), -gamma)
    if name == "laplacian":
        return _exponential(graph, distances(graph, frame.tensor, points, manhattan=True), -gamma)
    if name not in ("linear", "poly", "polynomial", "sigmoid"):
        raise NotConvertibleError(f"the kernel {name!r} has no exact converter")
    product, _ = arithmetic.linear(graph, frame, points.T, 0.0)
    if name == "linear":
        return product
    coef0, degree = parameters.get("coef0"), parameters.get("degree")
    scaled = graph.add("Mul", product, graph.constant(gamma))
    shifted = graph.add("Add", scaled, graph.constant(1.0 if coef0 is None else float(coef0)))
    if name == "sigmoid":
        return str(graph.add("Tanh", shifted))
    return str(graph.add("Pow", shifted, graph.constant(3.0 if degree is None else float(degree))))


def _exponential(graph: Graph, tensor: str, factor: float) -> str:
    return str(graph.add("Exp", graph.add("Mul", tensor, graph.constant(factor))))


def is_kernel(kernel: Any, *names: str) -> bool:
    """Whether it is one of these kernels of ``sklearn.gaussian_process.kernels``, and no subclass."""
    return is_exactly(kernel, *(_GAUSSIAN + name for name in names))


def gaussian_kernel(graph: Graph, frame: Frame, points: FloatArray, kernel: Any) -> str:
    """A kernel of ``sklearn.gaussian_process.kernels`` of rows and points: float64 ``(n_rows, n_points)``."""
    if is_kernel(kernel, "Sum", "Product"):
        parts = [gaussian_kernel(graph, frame, points, part) for part in (kernel.k1, kernel.k2)]
        return str(graph.add("Add" if is_kernel(kernel, "Sum") else "Mul", *parts))
    if is_kernel(kernel, "Exponentiation"):
        inner = gaussian_kernel(graph, frame, points, kernel.kernel)
        return str(graph.add("Pow", inner, graph.constant(float(kernel.exponent))))
    if is_kernel(kernel, "ConstantKernel", "WhiteKernel"):
        # Noise is no part of what new rows share with stored ones.
        constant = float(getattr(kernel, "constant_value", 0.0))
        return arithmetic.repeated(graph, frame, np.full(len(points), constant))
    if is_kernel(kernel, "DotProduct"):
        return arithmetic.affine(graph, frame.tensor, points.T, float(kernel.sigma_0) ** 2)
    if is_kernel(kernel, "RationalQuadratic"):
        scale = 2.0 * kernel.alpha * kernel.length_scale**2
        ratio = graph.add("Div", distances(graph, frame.tensor, points), graph.constant(float(scale)))
        return str(graph.add("Pow", graph.add("Add", ratio, graph.constant(1.0)), graph.constant(-float(kernel.alpha))))
    if is_kernel(kernel, "RBF", "Matern"):
        scale = np.asarray(kernel.length_scale, dtype=np.float64)
        scaled = graph.add("Div", frame.tensor, graph.constant(np.broadcast_to(scale, (1, frame.width))))
        squared = distances(graph, scaled, points / scale)
        return _matern(graph, squared, np.inf if is_kernel(kernel, "RBF") else float(kernel.nu))
    raise NotConvertibleError(f"the kernel {type(kernel).__name__} has no exact converter")


def _matern(graph: Graph, squared: str, nu: float) -> str:
    """The Matern kernel of smoothness 0.5, 1.5, 2.5 or infinity (RBF) of squared distances."""
    if np.isinf(nu):
        return _exponential(graph, squared, -0.5)
    if nu not in (0.5, 1.5, 2.5):
        raise NotConvertibleError(f"the kernel Matern(nu={nu}) has no exact converter")
    distance = str(graph.add("Mul", graph.add("Sqrt", squared), graph.constant(np.sqrt(2.0 * nu))))
    power = _exponential(graph, distance, -1.0)
    if nu == 0.5:
        return power
    factor = graph.add("Add", distance, graph.constant(1.0))
    if nu == 2.5:
        third = graph.add("Div", graph.add("Mul", distance, distance), graph.constant(3.0))
        factor = graph.add("Add", factor, third)
    return str(graph.add("Mul", factor, power))


def weighted(graph: Graph, kernel: str, weights: FloatArray, bias: float) -> tuple[str, str]:
    """``kernel @ weights + bias`` of one output, float64 ``(n_rows,)``, and a bound of its rounding, likewise."""
    frame = Frame(kernel, (Feature(),) * len(weights))
    total, order = arithmetic.linear(graph, frame, weights, bias)
    magnitudes = graph.add("MatMul", graph.add("Abs", kernel), graph.constant(np.abs(weights)))
    own = graph.add("Mul", arithmetic.flat(graph, magnitudes), graph.constant(_KERNEL_ROUNDING * 2.0**-53))
    return arithmetic.flat(graph, total), str(graph.add("Add", order, own))


def _single(estimator: Any, weights: Any) -> FloatArray:
    """Weights of one output, ``(n_points, 1)``.

    Raises:
        NotConvertibleError: There are several outputs.
    """
    matrix = np.asarray(weights, dtype=np.float64).reshape(len(weights), -1)
    arithmetic.require_one_target(estimator, matrix.shape[1])
    return matrix


@predictor("sklearn.kernel_ridge.KernelRidge")
def kernel_ridge(graph: Graph, estimator: Any, frame: Frame) -> Prediction:
    """``kernel @ dual_coef``."""
    require_values(frame, estimator)
    parameters = {key: getattr(estimator, key) for key in ("gamma", "degree", "coef0")}
    kernel = pairwise(graph, frame, estimator.X_fit_, estimator.kernel, parameters)
    value, rounding = weighted(graph, kernel, _single(estimator, estimator.dual_coef_), 0.0)
    return Prediction(value=value, rounding=rounding)


@predictor("sklearn.gaussian_process.GaussianProcessRegressor")
def gaussian_process(graph: Graph, estimator: Any, frame: Frame) -> Prediction:
    """The mean of the posterior; its variance is no answer of ``predict``."""
    require_values(frame, estimator)
    points = np.asarray(estimator.X_train_, dtype=np.float64)
    kernel = gaussian_kernel(graph, frame, points, estimator.kernel_)
    spread, mean = float(np.ravel(estimator._y_train_std)[0]), float(np.ravel(estimator._y_train_mean)[0])
    value, rounding = weighted(graph, kernel, _single(estimator, estimator.alpha_), 0.0)
    scaled = graph.add("Add", graph.add("Mul", value, graph.constant(spread)), graph.constant(mean))
    return Prediction(value=scaled, rounding=graph.add("Mul", rounding, graph.constant(abs(spread))))


@predictor("sklearn.semi_supervised.LabelPropagation", "sklearn.semi_supervised.LabelSpreading")
def label_propagation(graph: Graph, estimator: Any, frame: Frame) -> Prediction:
    """Stored rows vote with their kernel; a row of which none is near has no probabilities."""
    require_values(frame, estimator)
    arithmetic.require_classes(estimator.classes_, estimator, at_least=1)
    if estimator.kernel != "rbf":
        raise NotConvertibleError(f"{type(estimator).__name__} with the kernel {estimator.kernel!r}")
    kernel = pairwise(graph, frame, estimator.X_, "rbf", {"gamma": estimator.gamma})
    votes = graph.add("MatMul", kernel, graph.constant(estimator.label_distributions_, np.float64))
    total = graph.add("ReduceSum", votes, graph.constant([1], np.int64), keepdims=1)
    probabilities = str(graph.add("Div", votes, total))
    return Prediction(label=arithmetic.largest(graph, probabilities), probabilities=probabilities)


@transformer("sklearn.decomposition.KernelPCA")
def kernel_pca(graph: Graph, step: Any, frame: Frame) -> Frame:
    """The centered kernel times the scaled eigenvectors."""
    frame = numbers(graph, frame, step)
    kernel = pairwise(
        graph, frame, step.X_fit_, step.kernel, {"gamma": step.gamma_, "degree": step.degree, "coef0": step.coef0}
    )
    used = np.flatnonzero(step.eigenvalues_)
    vectors = np.zeros_like(step.eigenvectors_)
    vectors[:, used] = step.eigenvectors_[:, used] / np.sqrt(step.eigenvalues_[used])
    mean = graph.add("ReduceMean", kernel, graph.constant([1], np.int64), keepdims=1)
    centered = graph.add("Sub", graph.add("Sub", kernel, graph.constant(step._centerer.K_fit_rows_)), mean)
    centered = graph.add("Add", centered, graph.constant(float(step._centerer.K_fit_all_)))
    return Frame(graph.add("MatMul", centered, graph.constant(vectors)), (ROUNDED,) * vectors.shape[1])


@transformer("sklearn.kernel_approximation.Nystroem")
def nystroem(graph: Graph, step: Any, frame: Frame) -> Frame:
    """The kernel with the sampled rows times a fixed matrix."""
    frame = numbers(graph, frame, step)
    parameters = {key: getattr(step, key) for key in ("gamma", "degree", "coef0")} | dict(step.kernel_params or {})
    kernel = pairwise(graph, frame, step.components_, step.kernel, parameters)
    mapped = graph.add("MatMul", kernel, graph.constant(step.normalization_.T, np.float64))
    return Frame(mapped, (ROUNDED,) * len(step.normalization_))


@transformer("sklearn.kernel_approximation.RBFSampler")
def random_fourier(graph: Graph, step: Any, frame: Frame) -> Frame:
    """``sqrt(2 / n) * cos(x @ weights + offset)``."""
    frame = numbers(graph, frame, step)
    angle = arithmetic.affine(graph, frame.tensor, step.random_weights_, step.random_offset_)
    return _cosine(graph, angle, (2.0 / step.n_components) ** 0.5, step.n_components)


@transformer("sklearn.kernel_approximation.SkewedChi2Sampler")
def skewed_chi2(graph: Graph, step: Any, frame: Frame) -> Frame:
    """``sqrt(2 / n) * cos(log(x + skewedness) @ weights + offset)``; smaller numbers are refused."""
    frame = numbers(graph, frame, step)
    low = graph.add("LessOrEqual", frame.tensor, graph.constant(-float(step.skewedness)))
    graph.refused.append(arithmetic.any_in_row(graph, low))
    log = graph.add("Log", graph.add("Add", frame.tensor, graph.constant(float(step.skewedness))))
    angle = arithmetic.affine(graph, log, step.random_weights_, step.random_offset_)
    return _cosine(graph, angle, np.sqrt(2.0) / np.sqrt(step.n_components), step.n_components)


def _cosine(graph: Graph, angle: str, factor: float, width: int) -> Frame:
    return Frame(graph.add("Mul", graph.add("Cos", angle), graph.constant(float(factor))), (ROUNDED,) * width)


@transformer("sklearn.kernel_approximation.AdditiveChi2Sampler")
def additive_chi2(graph: Graph, step: Any, frame: Frame) -> Frame:
    """Roots of the numbers, times cosines and sines of their logarithms; negative numbers are refused."""
    frame = numbers(graph, frame, step)
    if frame.sparse:
        raise NotConvertibleError("AdditiveChi2Sampler of a sparse matrix has no exact converter")
    low = graph.add("Less", frame.tensor, graph.constant(0.0))
    graph.refused.append(arithmetic.any_in_row(graph, low))
    interval = step.sample_interval or {1: 0.8, 2: 0.5, 3: 0.4}[step.sample_steps]
    zero, nothing = graph.add("Equal", frame.tensor, graph.constant(0.0)), graph.constant(0.0)
    parts = [graph.add("Sqrt", graph.add("Mul", frame.tensor, graph.constant(float(interval))))]
    log = graph.add("Mul", graph.add("Log", frame.tensor), graph.constant(float(interval)))
    double = graph.add("Mul", graph.add("Mul", frame.tensor, graph.constant(2.0)), graph.constant(float(interval)))
    for j in range(1, step.sample_steps):
        factor = graph.add("Sqrt", graph.add("Div", double, graph.constant(float(np.cosh(np.pi * j * interval)))))
        angle = graph.add("Mul", log, graph.constant(float(j)))
        for op in ("Cos", "Sin"):
            wave = graph.add("Mul", factor, graph.add(op, angle))
            parts.append(graph.add("Where", zero, nothing, wave))
    return Frame(graph.add("Concat", *parts, axis=1), (ROUNDED,) * (frame.width * len(parts)))


@transformer("sklearn.cluster.BisectingKMeans", "sklearn.cluster.KMeans", "sklearn.cluster.MiniBatchKMeans")
def center_distances(graph: Graph, step: Any, frame: Frame) -> Frame:
    """Distances to the centers."""
    frame = numbers(graph, frame, step)
    squared = distances(graph, frame.tensor, np.asarray(step.cluster_centers_, dtype=np.float64))
    return Frame(graph.add("Sqrt", squared), (ROUNDED,) * len(step.cluster_centers_))
