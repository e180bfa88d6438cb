"""Converters of ensembles over other estimators: voting and stacking, each estimator converted by its own family.

Ensembles of trees have their own modules (``trees``, ``boosting``).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from onnx import TensorProto

from orris.compile.converters.levels import values
from orris.compile.dispatch import predict
from orris.compile.graph import Feature, Frame, Graph, Prediction, unnamed
from orris.compile.registry import predictor
from orris.errors import NotConvertibleError


def _average(graph: Graph, tensors: Sequence[str], weights: Sequence[float] | None) -> str:
    """``np.average`` over estimators, adding one after the other as numpy does."""
    if weights is not None:
        tensors = [
            graph.add("Mul", tensor, graph.constant(float(weight), np.float64))
            for tensor, weight in zip(tensors, weights, strict=True)
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


@predictor("sklearn.ensemble.VotingClassifier", delegates=True)
def voting_classifier(graph: Graph, ensemble: Any, frame: Frame) -> Prediction:
    """The class of the largest mean probability, or of the most votes."""
    members = [predict(graph, estimator, frame) for estimator in ensemble.estimators_]
    weights = ensemble._weights_not_none
    if ensemble.voting == "soft":
        probabilities = _average(
            graph, [_wanted(member.probabilities, ensemble, "probabilities") for member in members], weights
        )
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


@predictor("sklearn.ensemble.VotingRegressor", delegates=True)
def voting_regressor(graph: Graph, ensemble: Any, frame: Frame) -> Prediction:
    """The mean value."""
    members = [_wanted(predict(graph, estimator, frame).value, ensemble, "value") for estimator in ensemble.estimators_]
    return Prediction(value=_average(graph, members, ensemble._weights_not_none))


@predictor("sklearn.ensemble.StackingClassifier", "sklearn.ensemble.StackingRegressor", delegates=True)
def stacking(graph: Graph, ensemble: Any, frame: Frame) -> Prediction:
    """The final estimator over the others' outputs, as ``stack_method_`` says, and the input if it is passed on."""
    passed = values(graph, frame) if ensemble.passthrough else frame
    if ensemble.passthrough and (passed.sparse or passed.coded):
        raise NotConvertibleError(f"{type(ensemble).__name__} passes through columns that are no plain numbers")
    methods = [method for method in ensemble.stack_method_ if method is not None]
    parts = [_stacked(graph, ensemble, *pair, frame) for pair in zip(ensemble.estimators_, methods, strict=True)]
    joined = graph.concat([*parts, passed] if ensemble.passthrough else parts)
    return predict(graph, ensemble.final_estimator_, unnamed(joined))


def _stacked(graph: Graph, ensemble: Any, estimator: Any, method: str, frame: Frame) -> Frame:
    """One estimator's input to the final one; two classes count once, by the second's score or probability."""
    member = predict(graph, estimator, frame)
    n_classes = len(getattr(ensemble, "classes_", ()))
    if method == "predict_proba":
        part = Frame(_wanted(member.probabilities, ensemble, "probabilities"), (Feature(),) * n_classes)
        return graph.take(part, [1]) if n_classes == 2 else part
    if method == "decision_function" and n_classes > 2:
        return Frame(_wanted(member.decision, ensemble, "decision function"), (Feature(),) * n_classes)
    if method == "decision_function":
        column = _wanted(member.decision, ensemble, "decision function")
    elif member.value is not None:
        column = member.value
    else:
        classes = np.asarray(estimator.classes_)
        if classes.dtype.kind not in "iuf":
            raise NotConvertibleError(
                f"{type(ensemble).__name__} stacks labels of {type(estimator).__name__} that are no numbers"
            )
        column = graph.add(
            "Gather", graph.constant(classes, np.float64), _wanted(member.label, ensemble, "label"), axis=0
        )
    return Frame(graph.add("Unsqueeze", column, graph.constant([1], np.int64)), (Feature(),))
