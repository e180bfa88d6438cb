"""Exact converters for multi-layer perceptrons, after scikit-learn's ``neural_network/_multilayer_perceptron.py``."""

from __future__ import annotations

from typing import Any

import numpy as np

from orris.compile.converters import arithmetic
from orris.compile.graph import Frame, Graph, Prediction
from orris.compile.registry import predictor, require_values
from orris.errors import NotConvertibleError

_OPERATORS = {"relu": "Relu", "tanh": "Tanh", "exp": "Exp"}


def _layer(graph: Graph, tensor: str, weights: Any, bias: Any, activation: str) -> str:
    """One layer and its activation: float64 ``(n_rows, n_in)`` becomes ``(n_rows, n_out)``."""
    weights, bias = np.asarray(weights, dtype=np.float64), np.asarray(bias, dtype=np.float64)
    if activation == "logistic":
        return arithmetic.expit_of_negated(graph, arithmetic.affine(graph, tensor, -weights, -bias))
    output = arithmetic.affine(graph, tensor, weights, bias)
    if activation == "identity":
        return output
    if activation == "softmax":
        return str(graph.add("Softmax", output, axis=1))
    if activation not in _OPERATORS:
        raise NotConvertibleError(f"the activation '{activation}' of a multi-layer perceptron has no exact converter")
    return str(graph.add(_OPERATORS[activation], output))


def _forward(graph: Graph, estimator: Any, frame: Frame) -> str:
    """``_forward_pass_fast``: float64 ``(n_rows, n_outputs_)``."""
    require_values(frame, estimator)
    tensor = frame.tensor
    last = len(estimator.coefs_) - 1
    for position, (weights, bias) in enumerate(zip(estimator.coefs_, estimator.intercepts_, strict=True)):
        tensor = _layer(
            graph, tensor, weights, bias, estimator.out_activation_ if position == last else estimator.activation
        )
    return tensor


@predictor("sklearn.neural_network.MLPClassifier", takes_single="coefs_")
def classifier(graph: Graph, estimator: Any, frame: Frame) -> Prediction:
    """``MLPClassifier`` of two or more exclusive classes; the label is read from the probabilities."""
    n_classes = arithmetic.require_classes(estimator.classes_, estimator)
    binary = n_classes == 2 and estimator.n_outputs_ == 1
    if not binary and estimator.out_activation_ != "softmax":
        raise NotConvertibleError("MLPClassifier predicts several labels a row; a served model predicts one")
    output = _forward(graph, estimator, frame)
    if not binary:
        return Prediction(label=arithmetic.largest(graph, output), probabilities=output)
    label = arithmetic.second_if(graph, graph.add("Greater", output, graph.constant(0.5)))
    return Prediction(label=label, probabilities=arithmetic.complement_and(graph, output))


@predictor("sklearn.neural_network.MLPRegressor", takes_single="coefs_")
def regressor(graph: Graph, estimator: Any, frame: Frame) -> Prediction:
    """``MLPRegressor`` of one target."""
    arithmetic.require_one_target(estimator, estimator.n_outputs_)
    return Prediction(value=arithmetic.flat(graph, _forward(graph, estimator, frame)))
