"""Exact converters for naive Bayes classifiers, after scikit-learn's ``naive_bayes.py``."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import TensorProto

from orris.compile.converters import arithmetic
from orris.compile.converters.levels import values
from orris.compile.graph import Frame, Graph, Prediction
from orris.compile.registry import predictor, require_values
from orris.errors import NotConvertibleError
from orris.schema.arrays import FloatArray


def _posterior(graph: Graph, joint: str) -> Prediction:
    """Label and probabilities of the joint log likelihood ``(n_rows, n_classes)``.

    The normaliser is rounded before it is subtracted, as in ``predict_log_proba``: a ``Softmax`` would be closer to the
    truth, and further from scikit-learn.
    """
    axis = graph.constant([1], np.int64)
    largest = graph.add("ReduceMax", joint, axis, keepdims=1)
    total = graph.add("ReduceSum", graph.add("Exp", graph.add("Sub", joint, largest)), axis, keepdims=1)
    normaliser = graph.add("Add", graph.add("Log", total), largest)
    probabilities = graph.add("Exp", graph.add("Sub", joint, normaliser))
    return Prediction(label=arithmetic.largest(graph, joint), probabilities=probabilities)


@predictor("sklearn.naive_bayes.GaussianNB", takes_single="theta_")
def gaussian(graph: Graph, estimator: Any, frame: Frame) -> Prediction:
    """``GaussianNB``, whose likelihood is added up column by column.

    Far from the training rows it is so large that its last bit decides, so the order counts: columns lead, because
    ReduceSum adds whole slices one after the other along the first axis.
    """
    require_values(frame, estimator)
    arithmetic.require_classes(estimator.classes_, estimator, at_least=1)
    theta, variance = (np.asarray(part, dtype=np.float64) for part in (estimator.theta_, estimator.var_))
    if not variance.all():
        raise NotConvertibleError(
            "GaussianNB has a class in which a column does not vary at all: its probabilities are NaN"
        )
    constant = -0.5 * np.log(2.0 * np.pi * variance).sum(axis=1)
    columns = graph.add("Unsqueeze", graph.add("Transpose", frame.tensor, perm=[1, 0]), graph.constant([2], np.int64))
    distance = graph.add("Sub", columns, graph.constant(theta.T[:, None, :]))
    scaled = graph.add("Div", graph.add("Mul", distance, distance), graph.constant(variance.T[:, None, :]))
    total = graph.add("ReduceSum", scaled, graph.constant([0], np.int64), keepdims=0)
    likelihood = graph.add("Sub", graph.constant(constant), graph.add("Mul", total, graph.constant(0.5)))
    return _posterior(graph, str(graph.add("Add", likelihood, graph.constant(np.log(estimator.class_prior_)))))


@predictor("sklearn.naive_bayes.MultinomialNB")
def multinomial(graph: Graph, estimator: Any, frame: Frame) -> Prediction:
    """``MultinomialNB``."""
    require_values(frame, estimator)
    arithmetic.require_classes(estimator.classes_, estimator, at_least=1)
    return _posterior(
        graph, arithmetic.affine(graph, frame.tensor, estimator.feature_log_prob_.T, estimator.class_log_prior_)
    )


@predictor("sklearn.naive_bayes.ComplementNB")
def complement(graph: Graph, estimator: Any, frame: Frame) -> Prediction:
    """``ComplementNB``."""
    require_values(frame, estimator)
    n_classes = arithmetic.require_classes(estimator.classes_, estimator, at_least=1)
    prior = estimator.class_log_prior_ if n_classes == 1 else 0.0
    return _posterior(graph, arithmetic.affine(graph, frame.tensor, estimator.feature_log_prob_.T, prior))


@predictor("sklearn.naive_bayes.BernoulliNB")
def bernoulli(graph: Graph, estimator: Any, frame: Frame) -> Prediction:
    """``BernoulliNB``, with or without binarisation."""
    require_values(frame, estimator)
    arithmetic.require_classes(estimator.classes_, estimator, at_least=1)
    tensor = frame.tensor
    if estimator.binarize is not None:
        tensor = graph.cast(graph.add("Greater", tensor, graph.constant(float(estimator.binarize))), TensorProto.DOUBLE)
    negative = np.log(1 - np.exp(estimator.feature_log_prob_))
    bias = estimator.class_log_prior_ + negative.sum(axis=1)
    return _posterior(graph, arithmetic.affine(graph, tensor, (estimator.feature_log_prob_ - negative).T, bias))


@predictor("sklearn.naive_bayes.CategoricalNB", takes_codes=True)
def categorical(graph: Graph, estimator: Any, frame: Frame) -> Prediction:
    """``CategoricalNB``: numbers lose their fraction, and those that are no category of the training rows are refused.

    The likelihoods are looked up and added column by column, as scikit-learn adds them.
    """
    frame = values(graph, frame)
    require_values(frame, estimator)
    n_classes = arithmetic.require_classes(estimator.classes_, estimator, at_least=1)
    total = ""
    for j, likelihood in enumerate(estimator.feature_log_prob_):
        table = np.asarray(likelihood, dtype=np.float64).T
        column = graph.add("Squeeze", graph.take(frame, [j]).tensor, graph.constant([1], np.int64))
        index = graph.add("Floor", column)
        # Between -1 and 0 the fraction is cut off towards 0.
        outside = graph.add("Or", graph.add("LessOrEqual", column, graph.constant(-1.0)), _beyond(graph, column, table))
        graph.refused.append(outside)
        inside = graph.add("Where", outside, graph.constant(0.0), graph.add("Max", index, graph.constant(0.0)))
        found = graph.add("Gather", graph.constant(table), graph.cast(inside, TensorProto.INT64), axis=0)
        total = str(graph.add("Add", total, found)) if total else str(found)
    prior = graph.constant(np.asarray(estimator.class_log_prior_, dtype=np.float64).reshape(1, n_classes))
    return _posterior(graph, str(graph.add("Add", total, prior)))


def _beyond(graph: Graph, column: str, table: FloatArray) -> str:
    """Whether a number is beyond the table, or none: bool ``(n_rows,)``."""
    beyond = graph.add("GreaterOrEqual", column, graph.constant(float(len(table))))
    return str(graph.add("Or", beyond, graph.add("IsNaN", column)))
