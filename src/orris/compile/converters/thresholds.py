"""Exact converters for classifiers with a decision threshold, after scikit-learn's ``_classification_threshold.py``."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from onnx import TensorProto

from orris.compile.converters import arithmetic
from orris.compile.dispatch import predict
from orris.compile.graph import Frame, Graph, Prediction
from orris.compile.registry import predictor
from orris.errors import NotConvertibleError


@predictor("sklearn.model_selection.FixedThresholdClassifier", delegates=True)
def fixed_threshold(graph: Graph, estimator: Any, frame: Frame) -> Prediction:
    """The classifier inside, with its score compared with the ``threshold`` that was set."""
    method = _method(estimator)
    threshold = estimator.threshold
    if threshold == "auto":
        threshold = 0.5 if method == "predict_proba" else 0.0
    return _thresholded(graph, estimator, frame, method, float(threshold), estimator.pos_label)


@predictor("sklearn.model_selection.TunedThresholdClassifierCV", delegates=True)
def tuned_threshold(graph: Graph, estimator: Any, frame: Frame) -> Prediction:
    """The classifier inside, with its score compared with the threshold that was found."""
    threshold, pos_label = float(estimator.best_threshold_), estimator._curve_scorer._get_pos_label()
    return _thresholded(graph, estimator, frame, _method(estimator), threshold, pos_label)


def _method(estimator: Any) -> str:
    """The method of the classifier inside whose scores are compared."""
    wanted = estimator.response_method
    methods = ("predict_proba", "decision_function") if wanted == "auto" else (wanted,)
    return next((method for method in methods if hasattr(estimator.estimator_, method)), "")


def _thresholded(
    graph: Graph, estimator: Any, frame: Frame, method: str, threshold: float, pos_label: Any
) -> Prediction:
    """The prediction of the classifier inside, with a label that is positive where ``score >= threshold``."""
    if arithmetic.require_classes(estimator.classes_, estimator) != 2:
        raise NotConvertibleError(f"{type(estimator).__name__} has more than two classes")
    inner = predict(graph, estimator.estimator_, frame)
    positive = 1 if pos_label is None else int(np.flatnonzero(estimator.classes_ == pos_label)[0])
    if method == "predict_proba" and inner.probabilities is not None:
        chosen = graph.add("Gather", inner.probabilities, graph.constant([positive], np.int64), axis=1)
        score = arithmetic.flat(graph, chosen)
    elif method == "decision_function" and inner.decision is not None:
        score = inner.decision if positive else str(graph.add("Neg", inner.decision))
    else:
        raise NotConvertibleError(
            f"the {method or 'score'} of {type(estimator.estimator_).__name__} has no exact converter"
        )
    reached = graph.cast(graph.add("GreaterOrEqual", score, graph.constant(threshold)), TensorProto.INT64)
    label = reached if positive else str(graph.add("Sub", graph.constant(1, np.int64), reached))
    return replace(inner, label=label)
