"""Exact converter for ``GaussianProcessClassifier``: Laplace's approximation, after ``gaussian_process/_gpc.py``.

The probability is an integral over the latent value that five error functions approximate (Williams and Barber,
*Bayesian Classification with Gaussian Processes*, appendix A). Their weights are as large as 3,500 and cancel, so
probabilities hold for 11 digits, in scikit-learn as here; the bound of the rounding says so to the parity gate.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from orris.compile.converters import arithmetic
from orris.compile.converters.kernels import gaussian_kernel, is_kernel, weighted
from orris.compile.converters.special import error_function
from orris.compile.graph import Frame, Graph, Prediction
from orris.compile.registry import predictor, require_values
from orris.errors import NotConvertibleError
from orris.schema.arrays import FloatArray

_LAMBDAS = (0.41, 0.4, 0.37, 0.44, 0.39)
_COEFFICIENTS = (-1854.8214151, 3516.89893646, 221.29346712, 128.12323805, -2010.49422654)
_MAX_POINTS = 2_000
"""Most stored rows: the model holds a matrix of their number squared."""
_UNIT = 2.0**-53
_SMALLEST = 1e-6
"""Probabilities below this are compared as if they were this large (``parity.gate``)."""


@predictor("sklearn.gaussian_process.GaussianProcessClassifier")
def classifier(graph: Graph, estimator: Any, frame: Frame) -> Prediction:
    """Two classes, or one process for each class against the rest."""
    require_values(frame, estimator)
    base = estimator.base_estimator_
    if estimator.n_classes_ == 2:
        mean, positive, error = _binary(graph, base, frame)
        label = arithmetic.second_if(graph, graph.add("Greater", mean, graph.constant(0.0)))
        probabilities = arithmetic.complement_and(graph, positive)
        return Prediction(label=label, probabilities=probabilities, rounding=_relative(graph, probabilities, [error]))
    if estimator.multi_class != "one_vs_rest":
        raise NotConvertibleError("GaussianProcessClassifier(multi_class='one_vs_one') has no exact converter")
    parts = [_binary(graph, member, frame)[1:] for member in base.estimators_]
    scores = str(graph.add("Concat", *(positive for positive, _ in parts), axis=1))
    total = graph.add("ReduceSum", scores, graph.constant([1], np.int64), keepdims=1)
    return Prediction(
        label=arithmetic.largest(graph, scores),
        probabilities=str(graph.add("Div", scores, total)),
        rounding=_relative(graph, scores, [error for _, error in parts]),
    )


def _binary(graph: Graph, process: Any, frame: Frame) -> tuple[str, str, str]:
    """The latent mean and the probability of the second class, float64 ``(n_rows, 1)``, and a bound of its rounding."""
    points = np.asarray(process.X_train_, dtype=np.float64)
    if len(points) > _MAX_POINTS:
        raise NotConvertibleError(
            f"GaussianProcessClassifier holds {len(points):,} rows; up to {_MAX_POINTS:,} are converted"
        )
    kernel = gaussian_kernel(graph, frame, points, process.kernel_)
    axis = graph.constant([1], np.int64)
    residuals = np.asarray(process.y_train_ - process.pi_, dtype=np.float64).reshape(-1, 1)
    flat_mean, mean_error = weighted(graph, kernel, residuals, 0.0)
    mean = str(graph.add("Unsqueeze", flat_mean, axis))
    roots = np.linalg.solve(process.L_, np.diag(process.W_sr_))
    explained = graph.add("MatMul", kernel, graph.constant(roots.T, np.float64))
    prior = _prior_variance(graph, frame, process.kernel_)
    reduction = graph.add("ReduceSum", graph.add("Mul", explained, explained), axis, keepdims=1)
    variance = str(graph.add("Sub", prior, reduction))
    sizes = graph.add("MatMul", graph.add("Abs", kernel), graph.constant(np.abs(roots).T, np.float64))
    spread = graph.add("ReduceSum", graph.add("Mul", graph.add("Abs", explained), sizes), axis, keepdims=0)
    variance_error = graph.add("Mul", spread, graph.constant(8.0 * (len(points) + 64) * _UNIT))
    return mean, _averaged(graph, mean, variance), _error(graph, mean_error, str(variance_error))


def _error(graph: Graph, mean: str, variance: str) -> str:
    """Bound of a probability's rounding, from those of the latent mean and variance, float64 ``(n_rows,)``.

    The logistic function's slope is at most 0.25, half its second derivative at most 0.05.
    """
    own = 16.0 * float(np.abs(_COEFFICIENTS).sum()) * _UNIT
    both = graph.add(
        "Add", graph.add("Mul", mean, graph.constant(0.5)), graph.add("Mul", variance, graph.constant(0.1))
    )
    return str(graph.add("Add", both, graph.constant(own)))


def _relative(graph: Graph, scores: str, errors: list[str]) -> str:
    """The largest error as a share of the smallest score, of which the sum's share is no larger."""
    worst = errors[0]
    for error in errors[1:]:
        worst = graph.add("Max", worst, error)
    smallest = graph.add("ReduceMin", scores, graph.constant([1], np.int64), keepdims=0)
    share = graph.add("Div", worst, graph.add("Max", smallest, graph.constant(_SMALLEST)))
    return str(graph.add("Mul", share, graph.constant(2.0)))


def _averaged(graph: Graph, mean: str, variance: str) -> str:
    """``predict_proba`` of the second class, operation by operation: float64 ``(n_rows, 1)``."""
    alpha = graph.add("Div", graph.constant(1.0), graph.add("Mul", variance, graph.constant(2.0)))
    numerator = graph.add("Sqrt", graph.add("Div", graph.constant(np.pi), alpha))
    widened = graph.add("Mul", graph.add("Mul", variance, graph.constant(2.0)), graph.constant(np.pi))
    denominator = graph.add("Mul", graph.add("Sqrt", widened), graph.constant(2.0))
    total = ""
    for rate, coefficient in zip(_LAMBDAS, _COEFFICIENTS, strict=True):
        scaled = graph.add("Mul", mean, graph.constant(rate))
        shrunk = graph.add("Sqrt", graph.add("Div", alpha, graph.add("Add", alpha, graph.constant(rate**2))))
        erf = error_function(graph, str(graph.add("Mul", scaled, shrunk)))
        integral = graph.add("Div", graph.add("Mul", numerator, erf), denominator)
        part = graph.add("Mul", integral, graph.constant(coefficient))
        total = str(graph.add("Add", total, part)) if total else str(part)
    half = 0.5 * float(np.array(_COEFFICIENTS)[:, np.newaxis].sum())
    return str(graph.add("Add", total, graph.constant(half)))


def _prior_variance(graph: Graph, frame: Frame, kernel: Any) -> str:
    """``kernel.diag``: float64 ``(n_rows, 1)``, or ``(1, 1)`` where it is the same for every row."""
    if is_kernel(kernel, "Sum", "Product"):
        parts = [_prior_variance(graph, frame, part) for part in (kernel.k1, kernel.k2)]
        return str(graph.add("Add" if is_kernel(kernel, "Sum") else "Mul", *parts))
    if is_kernel(kernel, "Exponentiation"):
        inner = _prior_variance(graph, frame, kernel.kernel)
        return str(graph.add("Pow", inner, graph.constant(float(kernel.exponent))))
    if is_kernel(kernel, "DotProduct"):
        squares = graph.add("Mul", frame.tensor, frame.tensor)
        total = graph.add("ReduceSum", squares, graph.constant([1], np.int64), keepdims=1)
        return str(graph.add("Add", total, graph.constant(float(kernel.sigma_0) ** 2)))
    constant: FloatArray = np.asarray(kernel.diag(np.zeros((1, frame.width))), dtype=np.float64)
    return graph.constant(constant.reshape(1, 1))
