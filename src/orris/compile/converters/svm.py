"""Exact converters for libsvm's support-vector machines (``SVC``, ``NuSVC``, ``SVR``, ``NuSVR``).

Votes, Platt's sigmoid and the pairwise coupling of probabilities follow ``svm_predict_values``, ``sigmoid_predict`` and
``multiclass_probability`` of the libsvm that scikit-learn carries (``svm/src/libsvm/svm.cpp``); the coupling follows
Wu, Lin and Weng (2004), method 2. ``LinearSVC`` and ``LinearSVR`` are in ``linear.py``.

Sums over support vectors are rounded in another order than libsvm's, so a label may differ where a decision is nothing
but rounding error: exactly midway between support vectors of opposite weight, or, with an unbounded kernel (linear,
polynomial), at 1e30 in a column in which the support vectors of two classes do not differ.
"""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
from onnx import TensorProto, helper

from orris.compile.converters import arithmetic
from orris.compile.graph import Frame, Graph, Prediction
from orris.compile.registry import predictor, require_values
from orris.errors import NotConvertibleError
from orris.schema.arrays import FloatArray

_SMALLEST_PROBABILITY = 1e-7
_MIN_ITERATIONS = 100
_MAX_COUPLED_CLASSES = 30
"""The coupling is unrolled over classes; more would make a graph of thousands of nodes."""


def kernel_of(graph: Graph, estimator: Any, frame: Frame) -> str:
    """Kernel of each row with each support vector: float64 ``(n_rows, n_vectors)``."""
    require_values(frame, estimator)
    vectors = estimator.support_vectors_
    vectors = vectors.toarray() if hasattr(vectors, "toarray") else np.asarray(vectors, dtype=np.float64)
    gamma = float(estimator._gamma)
    if estimator.kernel == "rbf":
        # Where the kernel is not 0, a row is as near to the vectors' mean as they are.
        squared = arithmetic.squared_distances(graph, frame.tensor, vectors)
        return str(graph.add("Exp", graph.add("Mul", squared, graph.constant(-gamma))))
    if estimator.kernel not in ("linear", "poly", "sigmoid"):
        raise NotConvertibleError(
            f"{type(estimator).__name__} with the kernel {estimator.kernel!r} has no exact converter"
        )
    if estimator.kernel == "linear":
        return arithmetic.affine(graph, frame.tensor, vectors.T, 0.0)
    if estimator.kernel == "poly" and estimator.degree < 1:
        raise NotConvertibleError("a polynomial kernel of degree 0 has no exact converter")
    shifted = arithmetic.affine(graph, frame.tensor, gamma * vectors.T, float(estimator.coef0))
    return (
        str(graph.add("Tanh", shifted))
        if estimator.kernel == "sigmoid"
        else _power(graph, shifted, int(estimator.degree))
    )


def _power(graph: Graph, base: str, degree: int) -> str:
    """``base ** degree`` by repeated squaring, as libsvm's ``powi``."""
    result = ""
    while degree > 0:
        if degree % 2:
            result = str(graph.add("Mul", result, base)) if result else base
        degree //= 2
        if degree:
            base = str(graph.add("Mul", base, base))
    return result


def _pairwise_weights(estimator: Any, n_classes: int) -> FloatArray:
    """Weight of each support vector in each one-versus-one decision: float64 ``(n_vectors, n_pairs)``."""
    dual = estimator._dual_coef_
    dual = dual.toarray() if hasattr(dual, "toarray") else np.asarray(dual, dtype=np.float64)
    ends = np.cumsum(estimator._n_support)
    spans = [slice(end - count, end) for end, count in zip(ends, estimator._n_support, strict=True)]
    weights = np.zeros((dual.shape[1], n_classes * (n_classes - 1) // 2))
    for pair, (i, j) in enumerate(combinations(range(n_classes), 2)):
        weights[spans[i], pair] = dual[j - 1, spans[i]]
        weights[spans[j], pair] = dual[i, spans[j]]
    return weights


def _incidence(n_classes: int) -> tuple[FloatArray, FloatArray]:
    """Which class each pair's first and second member are: two float64 ``(n_pairs, n_classes)`` of zeros and ones."""
    pairs = np.array(list(combinations(range(n_classes), 2)))
    eye = np.eye(n_classes)
    return eye[pairs[:, 0]], eye[pairs[:, 1]]


def _label(graph: Graph, estimator: Any, decisions: str, n_classes: int) -> str:
    """The class with most votes, the first among equals; with ``break_ties``, the one with most confidence."""
    if n_classes == 2:
        return arithmetic.second_if(graph, graph.add("LessOrEqual", decisions, graph.constant(0.0)))
    first, second = _incidence(n_classes)
    if not estimator.break_ties:
        won = graph.cast(graph.add("Greater", decisions, graph.constant(0.0)), TensorProto.DOUBLE)
        return arithmetic.largest(graph, arithmetic.affine(graph, won, first - second, second.sum(axis=0)))
    if estimator.decision_function_shape == "ovo":
        raise NotConvertibleError(
            f"{type(estimator).__name__} refuses to predict with break_ties and decision_function_shape='ovo'"
        )
    return arithmetic.largest(graph, _confidences(graph, decisions, n_classes))


def _confidences(graph: Graph, decisions: str, n_classes: int) -> str:
    """``decision_function`` of more than two classes with the shape 'ovr': float64 ``(n_rows, n_classes)``."""
    second_won = graph.cast(graph.add("Less", decisions, graph.constant(0.0)), TensorProto.DOUBLE)
    return one_versus_one(graph, second_won, str(graph.add("Neg", decisions)), n_classes)


def one_versus_one(graph: Graph, second_won: str, confidences: str, n_classes: int) -> str:
    """``sklearn.utils.multiclass._ovr_decision_function``: votes, and less than a third of one for confidence.

    Args:
        graph: Where the nodes go.
        second_won: Float64 ``(n_rows, n_pairs)``, 1 where a pair's second class was predicted, else 0.
        confidences: Float64 ``(n_rows, n_pairs)``, in the second class.
        n_classes: Number of classes; pairs are in the order of ``itertools.combinations``.

    Returns:
        Name of a float64 tensor ``(n_rows, n_classes)``.
    """
    first, second = _incidence(n_classes)
    votes = arithmetic.affine(graph, second_won, second - first, first.sum(axis=0))
    confidence = arithmetic.affine(graph, confidences, second - first, 0.0)
    bound = graph.add("Mul", graph.add("Add", graph.add("Abs", confidence), graph.constant(1.0)), graph.constant(3.0))
    return str(graph.add("Add", votes, graph.add("Div", confidence, bound)))


def _decided(graph: Graph, estimator: Any, decisions: str, n_classes: int) -> str | None:
    """``decision_function``, unless it has a column for each pair."""
    if n_classes == 2:
        return arithmetic.flat(graph, str(graph.add("Neg", decisions)))
    return None if estimator.decision_function_shape == "ovo" else _confidences(graph, decisions, n_classes)


@predictor("sklearn.svm.SVC", "sklearn.svm.NuSVC", takes_single=True)
def classifier(graph: Graph, estimator: Any, frame: Frame) -> Prediction:
    """``SVC`` and ``NuSVC``; the label comes from the votes, not from the probabilities."""
    n_classes = arithmetic.require_classes(estimator.classes_, estimator)
    kernel = kernel_of(graph, estimator, frame)
    decisions = arithmetic.affine(graph, kernel, _pairwise_weights(estimator, n_classes), estimator._intercept_)
    label = _label(graph, estimator, decisions, n_classes)
    decided = _decided(graph, estimator, decisions, n_classes)
    if not hasattr(estimator, "predict_proba") or not estimator._probA.size:
        return Prediction(label=label, decision=decided)
    if n_classes > _MAX_COUPLED_CLASSES:
        raise NotConvertibleError(
            f"probabilities of {type(estimator).__name__} are converted up to {_MAX_COUPLED_CLASSES} classes"
        )
    return Prediction(
        label=label, probabilities=_coupled(graph, _platt(graph, estimator, decisions), n_classes), decision=decided
    )


def _platt(graph: Graph, estimator: Any, decisions: str) -> str:
    """Probability of each pair's first member: float64 ``(n_rows, n_pairs)``."""
    scaled = graph.add("Mul", decisions, graph.constant(np.asarray(estimator._probA, dtype=np.float64)))
    exponent = graph.add("Add", scaled, graph.constant(np.asarray(estimator._probB, dtype=np.float64)))
    sigmoid = arithmetic.expit_of_negated(graph, str(exponent))
    lowest, highest = graph.constant(_SMALLEST_PROBABILITY), graph.constant(1.0 - _SMALLEST_PROBABILITY)
    return str(graph.add("Clip", sigmoid, lowest, highest))


def _coupled(graph: Graph, pairwise: str, n_classes: int) -> str:
    """``multiclass_probability`` for all rows at once: pairwise ``(n_rows, n_pairs)`` to ``(n_rows, n_classes)``.

    libsvm iterates until a row's error is below ``0.005 / n_classes`` and stops there, far from convergence; to agree,
    each row must stop at the same iteration, so rows that are done keep their values while the others go on.
    """
    first, second = _incidence(n_classes)
    reverse = graph.add("Sub", graph.constant(1.0), pairwise)
    squares, opposite = graph.add("Mul", pairwise, pairwise), graph.add("Mul", reverse, reverse)
    diagonal = graph.add(
        "Add",
        graph.add("MatMul", squares, graph.constant(second)),
        graph.add("MatMul", opposite, graph.constant(first)),
    )
    product = graph.add("Neg", graph.add("Mul", pairwise, reverse))
    pairs = list(combinations(range(n_classes), 2))
    rows = []
    for t in range(n_classes):
        select = np.zeros((len(pairs), n_classes))
        for pair, (i, j) in enumerate(pairs):
            if t in (i, j):
                select[pair, i + j - t] = 1.0
        off_diagonal = graph.add("MatMul", product, graph.constant(select))
        own = graph.add("Mul", diagonal, graph.constant(np.eye(n_classes)[t]))
        rows.append(graph.add("Add", off_diagonal, own))
    return _iterate(graph, rows, diagonal, n_classes)


def _iterate(graph: Graph, q_rows: list[str], diagonal: str, n_classes: int) -> str:
    """The loop of ``multiclass_probability``.

    ``q_rows[t]`` is row t of every row's matrix Q, float64 ``(n_rows, n_classes)``.
    """
    uniform = graph.add("Add", graph.add("Mul", diagonal, graph.constant(0.0)), graph.constant(1.0 / n_classes))
    with arithmetic.nested(graph) as body:
        iteration, condition, p = body.name("iteration"), body.name("condition"), body.name("p")
        kept, again = _iteration(body, p, q_rows, n_classes)
    loop_body = helper.make_graph(
        body.nodes,
        "coupling",
        [
            helper.make_tensor_value_info(iteration, TensorProto.INT64, []),
            helper.make_tensor_value_info(condition, TensorProto.BOOL, []),
            helper.make_tensor_value_info(p, TensorProto.DOUBLE, ["n_rows", n_classes]),
        ],
        [
            helper.make_tensor_value_info(again, TensorProto.BOOL, []),
            helper.make_tensor_value_info(kept, TensorProto.DOUBLE, ["n_rows", n_classes]),
        ],
    )
    limit = graph.constant(max(_MIN_ITERATIONS, n_classes), np.int64)
    return str(graph.add("Loop", limit, graph.constant(np.array(True)), uniform, body=loop_body))


def _iteration(body: Graph, p: str, q_rows: list[str], n_classes: int) -> tuple[str, str]:
    """One iteration over all rows: the new ``p`` ``(n_rows, n_classes)``, and whether any row goes on."""
    axis = body.constant([1], np.int64)
    qp = str(
        body.add(
            "Concat", *(body.add("ReduceSum", body.add("Mul", row, p), axis, keepdims=1) for row in q_rows), axis=1
        )
    )
    pqp = str(body.add("ReduceSum", body.add("Mul", p, qp), axis, keepdims=1))
    error = body.add("ReduceMax", body.add("Abs", body.add("Sub", qp, pqp)), axis, keepdims=1)
    going = body.add("GreaterOrEqual", error, body.constant(0.005 / n_classes))
    state = (p, qp, pqp)
    for t, row in enumerate(q_rows):
        state = _sweep(body, state, row, np.eye(n_classes)[t])
    any_going = body.add("ReduceMax", body.cast(going, TensorProto.INT32), keepdims=0)
    return str(body.add("Where", going, state[0], p)), body.cast(any_going, TensorProto.BOOL)


def _sweep(body: Graph, state: tuple[str, str, str], q_row: str, unit: FloatArray) -> tuple[str, str, str]:
    """One class's step within an iteration.

    State is ``p``, ``Qp`` ``(n_rows, n_classes)`` and ``pQp`` ``(n_rows, 1)``.
    """
    p, qp, pqp = state
    position = body.constant(np.flatnonzero(unit))
    qp_t, q_tt = body.add("Gather", qp, position, axis=1), body.add("Gather", q_row, position, axis=1)
    diff = body.add("Div", body.add("Sub", pqp, qp_t), q_tt)
    growth = body.add("Add", diff, body.constant(1.0))
    twice = body.add("Add", body.add("Mul", diff, q_tt), body.add("Mul", qp_t, body.constant(2.0)))
    raised = body.add("Add", pqp, body.add("Mul", diff, twice))
    p = str(body.add("Div", body.add("Add", p, body.add("Mul", diff, body.constant(unit))), growth))
    qp = str(body.add("Div", body.add("Add", qp, body.add("Mul", diff, q_row)), growth))
    return p, qp, str(body.add("Div", body.add("Div", raised, growth), growth))


@predictor("sklearn.svm.SVR", "sklearn.svm.NuSVR", takes_single=True)
def regressor(graph: Graph, estimator: Any, frame: Frame) -> Prediction:
    """``SVR`` and ``NuSVR``."""
    kernel = kernel_of(graph, estimator, frame)
    dual = estimator._dual_coef_
    dual = dual.toarray() if hasattr(dual, "toarray") else np.asarray(dual, dtype=np.float64)
    return Prediction(value=arithmetic.flat(graph, arithmetic.affine(graph, kernel, dual.T, estimator._intercept_)))
