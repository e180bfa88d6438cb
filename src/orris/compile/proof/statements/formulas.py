"""The computation of scikit-learn's linear models, networks and dummies: weighted sums, and functions of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from orris.compile.proof.statement import Answer, Columns, numbers, states_model
from orris.compile.proof.statements.ensembles import pair, require_classes, second_if
from orris.compile.proof.terms import Algebra, Term
from orris.errors import NotProvedError

_REGRESSORS = (
    "ARDRegression",
    "BayesianRidge",
    "ElasticNet",
    "ElasticNetCV",
    "HuberRegressor",
    "Lars",
    "LarsCV",
    "Lasso",
    "LassoCV",
    "LassoLars",
    "LassoLarsCV",
    "LassoLarsIC",
    "LinearRegression",
    "LinearSVR",
    "OrthogonalMatchingPursuit",
    "OrthogonalMatchingPursuitCV",
    "PassiveAggressiveRegressor",
    "QuantileRegressor",
    "Ridge",
    "RidgeCV",
    "SGDRegressor",
    "TheilSenRegressor",
)
_LABELS_ONLY = ("PassiveAggressiveClassifier", "Perceptron", "RidgeClassifier", "RidgeClassifierCV", "LinearSVC")


def _sums(algebra: Algebra, model: Any, terms: Sequence[Term]) -> list[Term]:
    """``X @ coef_.T + intercept_``, one term for each row of ``coef_``."""
    coefficients = model.coef_.toarray() if hasattr(model.coef_, "toarray") else np.asarray(model.coef_)
    if coefficients.dtype != np.float64:
        raise NotProvedError(f"{type(model).__name__} was fitted in {coefficients.dtype}")
    coefficients = np.atleast_2d(coefficients)
    intercepts = np.broadcast_to(np.ravel(np.asarray(model.intercept_, dtype=np.float64)), (len(coefficients),))
    return [algebra.dot(terms, row, float(intercept)) for row, intercept in zip(coefficients, intercepts, strict=True)]


@states_model(*(f"sklearn.{name}" for name in _REGRESSORS))
def regressor(algebra: Algebra, model: Any, columns: Columns) -> Answer:
    """One weighted sum."""
    sums = _sums(algebra, model, numbers(algebra, columns, model))
    if len(sums) != 1:
        raise NotProvedError(f"{type(model).__name__} predicts several targets")
    return Answer(value=sums[0])


@states_model("sklearn.GammaRegressor", "sklearn.PoissonRegressor", "sklearn.TweedieRegressor")
def generalized(algebra: Algebra, model: Any, columns: Columns) -> Answer:
    """The weighted sum through the inverse of the link."""
    value = _sums(algebra, model, numbers(algebra, columns, model))[0]
    link = type(model._base_loss.link).__name__
    if link == "LogLink":
        return Answer(value=algebra.apply("Exp", value))
    if link != "IdentityLink":
        raise NotProvedError(f"the link {link} has no statement")
    return Answer(value=value)


def _decided(algebra: Algebra, model: Any, columns: Columns) -> tuple[Term, list[Term]]:
    """The label and the decision function: one sum for two classes, else one for each."""
    n_classes = require_classes(model)
    scores = _sums(algebra, model, numbers(algebra, columns, model))
    if n_classes < 2 or len(scores) != (1 if n_classes == 2 else n_classes):
        raise NotProvedError(f"{type(model).__name__} has {len(scores)} scores for {n_classes} classes")
    label = second_if(algebra, "Greater", scores[0], 0.0) if n_classes == 2 else algebra.several("ArgMax", scores)
    return label, scores


@states_model(*(f"sklearn.{name}" for name in _LABELS_ONLY))
def labels_only(algebra: Algebra, model: Any, columns: Columns) -> Answer:
    """The sign of the sum, or the largest sum."""
    label, scores = _decided(algebra, model, columns)
    return Answer(label, decision=tuple(scores))


def _softmax(algebra: Algebra, scores: Sequence[Term]) -> tuple[Term, ...]:
    return tuple(algebra.several("Softmax", scores, k) for k in range(len(scores)))


@states_model("sklearn.LogisticRegression", "sklearn.LogisticRegressionCV", "sklearn.LinearDiscriminantAnalysis")
def logistic(algebra: Algebra, model: Any, columns: Columns) -> Answer:
    """Two classes: the logistic function of the sum; more: the soft-max of the sums."""
    mode = getattr(model, "multi_class", None)  # gone since scikit-learn 1.8
    solver = getattr(model, "solver", "")
    label, scores = _decided(algebra, model, columns)
    if mode not in {None, "auto", "deprecated"} or (solver == "liblinear" and len(scores) > 1):
        raise NotProvedError(f"{type(model).__name__} with multi_class='{mode}' and this solver has no statement")
    if len(scores) == 1:
        return Answer(label, pair(algebra, algebra.apply("Expit", scores[0])), decision=tuple(scores))
    return Answer(label, _softmax(algebra, scores), decision=tuple(scores))


@states_model("sklearn.SGDClassifier")
def stochastic_gradient(algebra: Algebra, model: Any, columns: Columns) -> Answer:
    """The label alone, or with ``log_loss`` and two classes the logistic function of the sum."""
    label, scores = _decided(algebra, model, columns)
    if model.loss not in {"log_loss", "modified_huber"}:
        return Answer(label, decision=tuple(scores))
    if model.loss != "log_loss" or len(scores) > 1:
        raise NotProvedError(
            f"SGDClassifier with the loss {model.loss} and {len(model.classes_)} classes has no statement"
        )
    return Answer(label, pair(algebra, algebra.apply("Expit", scores[0])), decision=tuple(scores))


@states_model("sklearn.DummyClassifier")
def constant_class(algebra: Algebra, model: Any, _: Columns) -> Answer:
    """The same label and probabilities for every row."""
    n_classes = require_classes(model)
    if model.strategy not in {"prior", "most_frequent"}:
        raise NotProvedError(f"DummyClassifier with the strategy {model.strategy} has no statement")
    shares = np.asarray(model.class_prior_, dtype=np.float64)
    largest = int(shares.argmax())
    if model.strategy == "most_frequent":
        shares = np.eye(n_classes)[largest]
    return Answer(algebra.constant(largest, "i8"), tuple(algebra.constant(share) for share in shares))


@states_model("sklearn.DummyRegressor")
def constant_value(algebra: Algebra, model: Any, _: Columns) -> Answer:
    """The same number for every row."""
    constants = np.asarray(model.constant_, dtype=np.float64).ravel()
    if len(constants) != 1:
        raise NotProvedError("DummyRegressor predicts several targets")
    return Answer(value=algebra.constant(constants[0]))


def _forward(algebra: Algebra, model: Any, columns: Columns) -> list[Term]:
    """Layer by layer: a weighted sum and the activation."""
    layer = numbers(algebra, columns, model)
    last = len(model.coefs_) - 1
    for i, (weights, bias) in enumerate(zip(model.coefs_, model.intercepts_, strict=True)):
        if weights.dtype != np.float64 or bias.dtype != np.float64:
            raise NotProvedError(f"{type(model).__name__} was fitted in {weights.dtype}")
        sums = [algebra.dot(layer, weights[:, k], float(bias[k])) for k in range(weights.shape[1])]
        layer = _activated(algebra, sums, model.out_activation_ if i == last else model.activation)
    return layer


def _activated(algebra: Algebra, sums: Sequence[Term], activation: str) -> list[Term]:
    operators = {"logistic": "Expit", "relu": "Relu", "tanh": "Tanh"}
    if activation == "identity":
        return list(sums)
    if activation == "softmax":
        return list(_softmax(algebra, sums))
    if activation not in operators:
        raise NotProvedError(f"the activation {activation} has no statement")
    return [algebra.apply(operators[activation], term) for term in sums]


@states_model("sklearn.MLPClassifier")
def network_classifier(algebra: Algebra, model: Any, columns: Columns) -> Answer:
    """Two classes: the second above one half; more: the largest probability."""
    n_classes = require_classes(model)
    output = _forward(algebra, model, columns)
    if len(output) == 1 and n_classes == 2:
        return Answer(second_if(algebra, "Greater", output[0], 0.5), pair(algebra, output[0]))
    if model.out_activation_ != "softmax" or len(output) != n_classes:
        raise NotProvedError("MLPClassifier predicts several labels a row")
    return Answer(algebra.several("ArgMax", output), tuple(output))


@states_model("sklearn.MLPRegressor")
def network_regressor(algebra: Algebra, model: Any, columns: Columns) -> Answer:
    """The only output."""
    output = _forward(algebra, model, columns)
    if len(output) != 1:
        raise NotProvedError("MLPRegressor predicts several targets")
    return Answer(value=output[0])
