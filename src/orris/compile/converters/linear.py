"""Exact converters for linear classifiers and regressors.

The label comes from the decision function and the probabilities from the formula of each class's ``predict_proba``, as
in scikit-learn's ``linear_model/_base.py``, ``_logistic.py``, ``_stochastic_gradient.py`` and
``discriminant_analysis.py``.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from orris.compile.converters import arithmetic
from orris.compile.graph import Frame, Graph, Prediction
from orris.compile.registry import predictor, require_values
from orris.errors import NotConvertibleError
from orris.schema.arrays import FloatArray


def _coefficients(estimator: Any) -> tuple[FloatArray, FloatArray]:
    """Weights ``(n_features, n_outputs)`` and intercepts ``(n_outputs,)`` of a fitted linear model."""
    coef = estimator.coef_
    coef = coef.toarray() if hasattr(coef, "toarray") else np.asarray(coef, dtype=np.float64)
    weights = np.atleast_2d(coef).astype(np.float64).T
    bias = np.broadcast_to(np.asarray(estimator.intercept_, dtype=np.float64).ravel(), (weights.shape[1],))
    return weights, bias


def _decision(graph: Graph, estimator: Any, frame: Frame) -> tuple[str, str, int, str]:
    """Label, scores ``(n_rows, n_classes)``, number of classes, and a bound of the probabilities' rounding.

    For two classes the scores are the negated ones, ``(n_rows, 1)``.
    """
    require_values(frame, estimator)
    n_classes = arithmetic.require_classes(estimator.classes_, estimator)
    weights, bias = _coefficients(estimator)
    binarizer = getattr(estimator, "_label_binarizer", None)  # ridge classifiers take several labels a row
    multilabel = binarizer is not None and binarizer.y_type_.startswith("multilabel")
    if multilabel or weights.shape[1] != (1 if n_classes == 2 else n_classes):
        raise NotConvertibleError(
            f"{type(estimator).__name__} predicts several labels a row; a served model predicts one"
        )
    sign = 1.0 if n_classes > 2 else -1.0
    scores, error = arithmetic.linear(graph, frame, sign * weights, sign * bias)
    # If every score moves by e, a probability moves by 2 e at most, be it a soft-max, a sigmoid or one-vs-rest.
    rounding = str(graph.add("Mul", error, graph.constant(2.0)))
    if n_classes > 2:
        return arithmetic.largest(graph, scores), scores, n_classes, rounding
    label = arithmetic.second_if(graph, graph.add("Less", scores, graph.constant(0.0)))
    return label, scores, n_classes, rounding


def _decided(graph: Graph, scores: str, n_classes: int) -> str:
    """``decision_function``, from the scores of ``_decision``."""
    return arithmetic.flat(graph, str(graph.add("Neg", scores))) if n_classes == 2 else scores


def _one_versus_rest(graph: Graph, scores: str, n_classes: int) -> str:
    """``LinearClassifierMixin._predict_proba_lr`` of the scores of ``_decision``."""
    if n_classes == 2:
        return arithmetic.complement_and(graph, arithmetic.expit_of_negated(graph, scores))
    return arithmetic.normalised(graph, arithmetic.expit(graph, scores), n_classes)


@predictor(
    "sklearn.linear_model.PassiveAggressiveClassifier",
    "sklearn.linear_model.Perceptron",
    "sklearn.linear_model.RidgeClassifier",
    "sklearn.linear_model.RidgeClassifierCV",
    "sklearn.svm.LinearSVC",
    takes_single="coef_",
)
def label_only(graph: Graph, estimator: Any, frame: Frame) -> Prediction:
    """A linear classifier without ``predict_proba``."""
    label, scores, n_classes, _ = _decision(graph, estimator, frame)
    return Prediction(label=label, decision=_decided(graph, scores, n_classes))


@predictor("sklearn.linear_model.LogisticRegression", "sklearn.linear_model.LogisticRegressionCV", takes_single="coef_")
def logistic(graph: Graph, estimator: Any, frame: Frame) -> Prediction:
    """Logistic regression: binary, multinomial, or (scikit-learn before 1.8) one-vs-rest."""
    label, scores, n_classes, rounding = _decision(graph, estimator, frame)
    decision = _decided(graph, scores, n_classes)
    mode = getattr(estimator, "multi_class", "auto")  # the parameter is gone since scikit-learn 1.8
    if mode == "multinomial" and n_classes == 2:
        probabilities = graph.add("Softmax", graph.add("Mul", scores, graph.constant([[1.0, -1.0]])), axis=1)
    elif n_classes == 2 or mode == "ovr" or (mode != "multinomial" and estimator.solver == "liblinear"):
        probabilities = _one_versus_rest(graph, scores, n_classes)
    else:
        probabilities = graph.add("Softmax", scores, axis=1)
    return Prediction(label, probabilities, decision=decision, rounding=rounding)


@predictor("sklearn.discriminant_analysis.LinearDiscriminantAnalysis", takes_single="coef_")
def discriminant(graph: Graph, estimator: Any, frame: Frame) -> Prediction:
    """Linear discriminant analysis, any solver."""
    label, scores, n_classes, rounding = _decision(graph, estimator, frame)
    probabilities = (
        _one_versus_rest(graph, scores, n_classes) if n_classes == 2 else graph.add("Softmax", scores, axis=1)
    )
    return Prediction(label, probabilities, decision=_decided(graph, scores, n_classes), rounding=rounding)


@predictor("sklearn.linear_model.SGDClassifier", takes_single="coef_")
def stochastic_gradient(graph: Graph, estimator: Any, frame: Frame) -> Prediction:
    """``SGDClassifier``: probabilities for ``log_loss`` and ``modified_huber``, the label alone for other losses."""
    label, scores, n_classes, rounding = _decision(graph, estimator, frame)
    decision = _decided(graph, scores, n_classes)
    if estimator.loss == "log_loss":
        probabilities = _one_versus_rest(graph, scores, n_classes)
        return Prediction(label, probabilities, decision=decision, rounding=rounding)
    if estimator.loss != "modified_huber":
        return Prediction(label=label, decision=decision)
    if n_classes == 2:
        scores = graph.add("Neg", scores)
    clipped = graph.add("Clip", scores, graph.constant(-1.0), graph.constant(1.0))
    halved = graph.add("Div", graph.add("Add", clipped, graph.constant(1.0)), graph.constant(2.0))
    spread = (
        arithmetic.complement_and(graph, halved) if n_classes == 2 else arithmetic.normalised(graph, halved, n_classes)
    )
    return Prediction(label=label, probabilities=spread, decision=decision)


def _linear_predictor(graph: Graph, estimator: Any, frame: Frame) -> tuple[str, str]:
    """``X @ coef_ + intercept_`` of a single target, float64 ``(n_rows, 1)``, and its rounding, ``(n_rows,)``."""
    require_values(frame, estimator)
    weights, bias = _coefficients(estimator)
    arithmetic.require_one_target(estimator, weights.shape[1])
    return arithmetic.linear(graph, frame, weights, bias)


@predictor(
    "sklearn.linear_model.ARDRegression",
    "sklearn.linear_model.BayesianRidge",
    "sklearn.linear_model.ElasticNet",
    "sklearn.linear_model.ElasticNetCV",
    "sklearn.linear_model.HuberRegressor",
    "sklearn.linear_model.Lars",
    "sklearn.linear_model.LarsCV",
    "sklearn.linear_model.Lasso",
    "sklearn.linear_model.LassoCV",
    "sklearn.linear_model.LassoLars",
    "sklearn.linear_model.LassoLarsCV",
    "sklearn.linear_model.LassoLarsIC",
    "sklearn.linear_model.LinearRegression",
    "sklearn.linear_model.MultiTaskElasticNet",
    "sklearn.linear_model.MultiTaskElasticNetCV",
    "sklearn.linear_model.MultiTaskLasso",
    "sklearn.linear_model.MultiTaskLassoCV",
    "sklearn.linear_model.OrthogonalMatchingPursuit",
    "sklearn.linear_model.OrthogonalMatchingPursuitCV",
    "sklearn.linear_model.PassiveAggressiveRegressor",
    "sklearn.linear_model.QuantileRegressor",
    "sklearn.linear_model.Ridge",
    "sklearn.linear_model.RidgeCV",
    "sklearn.linear_model.SGDRegressor",
    "sklearn.linear_model.TheilSenRegressor",
    "sklearn.svm.LinearSVR",
    takes_single="coef_",
)
def regressor(graph: Graph, estimator: Any, frame: Frame) -> Prediction:
    """A linear regressor of one target, ``y`` of shape ``(n,)`` or ``(n, 1)``."""
    value, rounding = _linear_predictor(graph, estimator, frame)
    return Prediction(value=arithmetic.flat(graph, value), rounding=rounding)


@predictor(
    "sklearn.linear_model.GammaRegressor",
    "sklearn.linear_model.PoissonRegressor",
    "sklearn.linear_model.TweedieRegressor",
    takes_single="coef_",
)
def generalized(graph: Graph, estimator: Any, frame: Frame) -> Prediction:
    """A generalized linear model with the identity or the log link."""
    linear, rounding = _linear_predictor(graph, estimator, frame)
    value = arithmetic.flat(graph, linear)
    link = type(estimator._base_loss.link).__name__
    if link == "LogLink":
        value = str(graph.add("Exp", value))
        # An error of the exponent is a relative error of the value.
        return Prediction(value=value, rounding=graph.add("Mul", rounding, value))
    if link != "IdentityLink":
        raise NotConvertibleError(f"{type(estimator).__name__} with the link {link} has no exact converter")
    return Prediction(value=value, rounding=rounding)


@predictor("sklearn.dummy.DummyClassifier", takes_single=True)
def constant_class(graph: Graph, estimator: Any, frame: Frame) -> Prediction:
    """``DummyClassifier`` where the answer is the same for every row."""
    n_classes = arithmetic.require_classes(estimator.classes_, estimator, at_least=1)
    strategy = estimator._strategy
    prior = np.asarray(estimator.class_prior_, dtype=np.float64)
    if strategy in ("most_frequent", "prior"):
        position = int(prior.argmax())
    elif strategy == "constant":
        position = int(np.flatnonzero(estimator.classes_ == np.ravel(estimator.constant)[0])[0])
    else:
        raise NotConvertibleError(f"DummyClassifier(strategy='{strategy}') answers at random")
    row = prior if strategy == "prior" else np.eye(n_classes)[position]
    label = arithmetic.repeated(graph, frame, np.array([position], dtype=np.int64))
    return Prediction(label=arithmetic.flat(graph, label), probabilities=arithmetic.repeated(graph, frame, row))


@predictor("sklearn.dummy.DummyRegressor", takes_single=True)
def constant_value(graph: Graph, estimator: Any, frame: Frame) -> Prediction:
    """``DummyRegressor``, any strategy."""
    value = np.asarray(estimator.constant_, dtype=np.float64).ravel()
    arithmetic.require_one_target(estimator, len(value))
    return Prediction(value=arithmetic.flat(graph, arithmetic.repeated(graph, frame, value)))
