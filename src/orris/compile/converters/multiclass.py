"""Exact converters for classifiers made of two-class ones: one against the rest, one against one, output codes.

After scikit-learn's ``multiclass.py``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import TensorProto

from orris.compile.converters import arithmetic
from orris.compile.converters.calibration import response
from orris.compile.converters.kernels import nearest
from orris.compile.converters.svm import one_versus_one
from orris.compile.dispatch import predict
from orris.compile.graph import Frame, Graph, Prediction
from orris.compile.registry import predictor
from orris.errors import NotConvertibleError


def _require_classifiers(ensemble: Any) -> None:
    for member in ensemble.estimators_:
        _require_classifier(ensemble, member)


def _require_classifier(ensemble: Any, member: Any) -> None:
    from sklearn.base import is_classifier  # noqa: PLC0415 (a converter must not need it)

    if not is_classifier(member) or not hasattr(member, "classes_"):
        raise NotConvertibleError(f"{type(ensemble).__name__} over {type(member).__name__} has no exact converter")


def _joined(graph: Graph, columns: list[str]) -> str:
    """Columns ``(n_rows, 1)`` side by side."""
    return columns[0] if len(columns) == 1 else str(graph.add("Concat", *columns, axis=1))


@predictor("sklearn.multiclass.OneVsRestClassifier")
def one_versus_rest(graph: Graph, ensemble: Any, frame: Frame) -> Prediction:
    """One classifier a class, or a single one for two classes; one label a row."""
    _require_classifiers(ensemble)
    if ensemble.multilabel_:
        raise NotConvertibleError("OneVsRestClassifier predicts several labels a row; a served model predicts one")
    members = [predict(graph, member, frame) for member in ensemble.estimators_]
    scores = _joined(graph, [response(graph, *pair)[0] for pair in zip(ensemble.estimators_, members, strict=True)])
    decides = hasattr(ensemble.estimators_[0], "decision_function")
    probabilities = None
    if hasattr(ensemble, "predict_proba"):
        positive = [_positive(graph, ensemble, member) for member in members]
        spread = arithmetic.complement_and(graph, positive[0]) if len(members) == 1 else _joined(graph, positive)
        total = graph.add("ReduceSum", spread, graph.constant([1], np.int64), keepdims=1)
        divisor = graph.add("Where", graph.add("Equal", total, graph.constant(0.0)), graph.constant(1.0), total)
        probabilities = str(graph.add("Div", spread, divisor))
    if len(members) > 1:
        label, decision = arithmetic.largest(graph, scores), scores
    else:
        label = arithmetic.second_if(graph, graph.add("Greater", scores, graph.constant(0.0 if decides else 0.5)))
        decision = arithmetic.flat(graph, scores)
    return Prediction(label=label, probabilities=probabilities, decision=decision if decides else None)


def _positive(graph: Graph, ensemble: Any, member: Prediction) -> str:
    if member.probabilities is None:
        raise NotConvertibleError(f"an estimator of {type(ensemble).__name__} has no exact probabilities")
    return str(graph.add("Gather", member.probabilities, graph.constant([1], np.int64), axis=1))


@predictor("sklearn.multiclass.OneVsOneClassifier")
def one_versus_one_classifier(graph: Graph, ensemble: Any, frame: Frame) -> Prediction:
    """One classifier a pair of classes: votes, and confidence among equals."""
    _require_classifiers(ensemble)
    if ensemble.pairwise_indices_ is not None:
        raise NotConvertibleError("OneVsOneClassifier over a precomputed kernel has no exact converter")
    axis = graph.constant([1], np.int64)
    won, confidences = [], []
    for estimator in ensemble.estimators_:
        member = predict(graph, estimator, frame)
        if member.label is None:
            raise NotConvertibleError(f"an estimator of {type(ensemble).__name__} has no exact label")
        won.append(str(graph.add("Unsqueeze", graph.cast(member.label, TensorProto.DOUBLE), axis)))
        confidences.append(response(graph, estimator, member)[0])
    n_classes = len(ensemble.classes_)
    scores = one_versus_one(graph, _joined(graph, won), _joined(graph, confidences), n_classes)
    if n_classes > 2:
        return Prediction(label=arithmetic.largest(graph, scores), decision=scores)
    second = graph.add("Gather", scores, axis, axis=1)
    threshold = 0.0 if hasattr(ensemble.estimators_[0], "decision_function") else 0.5
    label = arithmetic.second_if(graph, graph.add("Greater", second, graph.constant(threshold)))
    return Prediction(label=label, decision=arithmetic.flat(graph, str(second)))


@predictor("sklearn.multiclass.OutputCodeClassifier")
def output_code(graph: Graph, ensemble: Any, frame: Frame) -> Prediction:
    """The class whose code is nearest to the scores of the two-class models; the first among equals."""
    scores = []
    for each in ensemble.estimators_:
        if type(each).__name__ == "_ConstantPredictor":  # a code that is the same for every class
            scores.append(arithmetic.repeated(graph, frame, np.ravel(each.y_).astype(np.float64)[:1]))
        else:
            _require_classifier(ensemble, each)
            scores.append(response(graph, each, predict(graph, each, frame))[0])
    codes = np.asarray(ensemble.code_book_, dtype=np.float64)
    return Prediction(label=nearest(graph, _joined(graph, scores), codes))
