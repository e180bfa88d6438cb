"""Converters of ensembles over other estimators: voting and stacking, each estimator converted by its own family.

Ensembles of trees have their own modules (``trees``, ``boosting``).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from onnx import TensorProto
from sklearn.ensemble import StackingClassifier, StackingRegressor, VotingClassifier, VotingRegressor

from orris.compile.composition import predict
from orris.compile.graph import Feature, Frame, Graph, Prediction, unnamed
from orris.compile.registry import predictor
from orris.errors import NotConvertibleError


def _average(graph: Graph, tensors: Sequence[str], weights: Sequence[float] | None) -> str:
    """``np.average`` over estimators, adding one after the other as numpy does."""
    if weights is not None:
        tensors = [
            graph.add("Mul", tensor, graph.constant(float(weight), np.float64)) for tensor, weight in zip(tensors, weights, strict=True)
        ]
    total = tensors[0]
    for tensor in tensors[1:]:
        total = graph.add("Add", total, tensor)
    divisor = float(len(tensors)) if weights is None else float(np.asarray(weights, dtype=np.float64).sum())
    return str(graph.add("Div", total, graph.constant(divisor, np.float64)))


def _wanted(tensor: str | None, ensemble: Any, output: str) -> str:
    if tensor is None:
        raise NotConvertibleError(f"an estimator of {type(ensemble).__name__} has no {output}")
    return tensor


@predictor(VotingClassifier)
def voting_classifier(graph: Graph, ensemble: Any, frame: Frame) -> Prediction:
    """The class of the largest mean probability, or of the most votes."""
    members = [predict(graph, estimator, frame) for estimator in ensemble.estimators_]
    weights = ensemble._weights_not_none
    if ensemble.voting == "soft":
        probabilities = _average(graph, [_wanted(member.probabilities, ensemble, "probabilities") for member in members], weights)
        return Prediction(label=graph.add("ArgMax", probabilities, axis=1, keepdims=0), probabilities=probabilities)
    classes = graph.constant(np.arange(len(ensemble.classes_)).reshape(1, -1), np.int64)
    axis = graph.constant([1], np.int64)
    votes = []
    for i, member in enumerate(members):
        label = graph.add("Unsqueeze", _wanted(member.label, ensemble, "label"), axis)
        vote = graph.cast(graph.add("Equal", label, classes), TensorProto.DOUBLE)
        votes.append(vote if weights is None else graph.add("Mul", vote, graph.constant(float(weights[i]), np.float64)))
    total = votes[0]
    for vote in votes[1:]:
        total = graph.add("Add", total, vote)
    return Prediction(label=graph.add("ArgMax", total, axis=1, keepdims=0))


@predictor(VotingRegressor)
def voting_regressor(graph: Graph, ensemble: Any, frame: Frame) -> Prediction:
    """The mean value."""
    members = [_wanted(predict(graph, estimator, frame).value, ensemble, "value") for estimator in ensemble.estimators_]
    return Prediction(value=_average(graph, members, ensemble._weights_not_none))


@predictor(StackingClassifier, StackingRegressor)
def stacking(graph: Graph, ensemble: Any, frame: Frame) -> Prediction:
    """The final estimator over the others' probabilities (two classes: the second's) or values, and the input if passed through."""
    if ensemble.passthrough and (frame.sparse or frame.coded):
        raise NotConvertibleError(f"{type(ensemble).__name__} passes through columns that are no plain numbers")
    axis = graph.constant([1], np.int64)
    n_classes = len(getattr(ensemble, "classes_", ()))
    parts = []
    methods = [method for method in ensemble.stack_method_ if method is not None]
    for estimator, method in zip(ensemble.estimators_, methods, strict=True):
        member = predict(graph, estimator, frame)
        if method == "predict_proba":
            tensor = _wanted(member.probabilities, ensemble, "probabilities")
            part = Frame(tensor, (Feature(),) * n_classes)
            parts.append(graph.take(part, [1]) if n_classes == 2 else part)
        elif method == "predict" and member.value is not None:
            parts.append(Frame(graph.add("Unsqueeze", member.value, axis), (Feature(),)))
        else:
            raise NotConvertibleError(f"{type(ensemble).__name__} stacks the {method} of {type(estimator).__name__}")
    joined = graph.concat([*parts, frame] if ensemble.passthrough else parts)
    return predict(graph, ensemble.final_estimator_, unnamed(joined))
