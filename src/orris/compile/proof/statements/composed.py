"""The computation of models over other models: votes, stacks, calibration, thresholds, transformed targets, presets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from orris.compile.proof.statement import Answer, Columns, numbers, predicted, states_model
from orris.compile.proof.statements.ensembles import pair, require_classes
from orris.compile.proof.terms import Algebra, Term
from orris.errors import NotProvedError


def _average(algebra: Algebra, terms: Sequence[Term], weights: Sequence[float] | None) -> Term:
    """``np.average``: the (weighted) sum, one after the other, divided by the number (or the weights' sum)."""
    if weights is not None:
        pairs = zip(terms, weights, strict=True)
        terms = [algebra.apply("Mul", term, algebra.constant(float(weight))) for term, weight in pairs]
    total = terms[0]
    for term in terms[1:]:
        total = algebra.apply("Add", total, term)
    divisor = len(terms) if weights is None else float(np.asarray(weights, dtype=np.float64).sum())
    return algebra.apply("Div", total, algebra.constant(float(divisor)))


def _inside(algebra: Algebra, model: Any, columns: Columns) -> Answer:
    """The answers of a model inside another, in float64."""
    answer = predicted(algebra, model, columns)
    if answer.single:
        raise NotProvedError(
            f"what NumPy computes in float32 from the answers of {type(model).__name__} has no statement"
        )
    return answer


def _require(terms: Any, model: Any, what: str) -> Any:
    if terms is None:
        raise NotProvedError(f"{type(model).__name__} has no statement of the {what} of a model inside it")
    return terms


@states_model("sklearn.VotingClassifier")
def voting_classifier(algebra: Algebra, model: Any, columns: Columns) -> Answer:
    """Soft: the mean of the probabilities; the label is the first largest."""
    if model.voting != "soft":
        raise NotProvedError("VotingClassifier that counts labels has no statement")
    shares = [
        _require(_inside(algebra, one, columns).probabilities, model, "probabilities") for one in model.estimators_
    ]
    means = [_average(algebra, of_class, model._weights_not_none) for of_class in zip(*shares, strict=True)]
    if len(means) != require_classes(model):
        raise NotProvedError("a member of VotingClassifier has other classes")
    return Answer(algebra.several("ArgMax", means), tuple(means))


@states_model("sklearn.VotingRegressor")
def voting_regressor(algebra: Algebra, model: Any, columns: Columns) -> Answer:
    """The mean of the values."""
    values = [_require(_inside(algebra, one, columns).value, model, "value") for one in model.estimators_]
    return Answer(value=_average(algebra, values, model._weights_not_none))


@states_model("sklearn.StackingClassifier", "sklearn.StackingRegressor")
def stacking(algebra: Algebra, model: Any, columns: Columns) -> Answer:
    """The final model over what the others answer; of two classes, the second's probability alone."""
    terms: list[Term] = []
    methods = [method for method in model.stack_method_ if method is not None]
    for member, method in zip(model.estimators_, methods, strict=True):
        answer = _inside(algebra, member, columns)
        if method == "predict_proba":
            shares = _require(answer.probabilities, model, "probabilities")
            terms += shares[1:] if len(shares) == 2 else shares
        elif method == "decision_function":
            terms += _require(answer.decision, model, "decision function")
        else:
            terms.append(_require(answer.value, model, "value"))
    if model.passthrough:
        if columns.sparse:
            raise NotProvedError(f"{type(model).__name__} that passes a sparse matrix on has no statement")
        terms += numbers(algebra, columns, model)
    return predicted(algebra, model.final_estimator_, Columns.of(terms))


@states_model("sklearn.FixedThresholdClassifier", "sklearn.TunedThresholdClassifierCV")
def decision_threshold(algebra: Algebra, model: Any, columns: Columns) -> Answer:
    """The model inside, whose label is the second class where its score reaches the threshold."""
    inner = _inside(algebra, model.estimator_, columns)
    fixed = type(model).__name__ == "FixedThresholdClassifier"
    positive = model.pos_label if fixed else model._curve_scorer._get_pos_label()
    if require_classes(model) != 2 or positive not in {None, model.classes_[1]}:
        raise NotProvedError(f"{type(model).__name__} whose positive class is the first has no statement")
    wanted = model.response_method
    by_share = wanted == "predict_proba" or (wanted == "auto" and hasattr(model.estimator_, "predict_proba"))
    threshold = model.threshold if fixed else model.best_threshold_
    if threshold == "auto":
        threshold = 0.5 if by_share else 0.0
    shares, decision = inner.probabilities, inner.decision
    score = (
        _require(shares, model, "probabilities")[1] if by_share else _require(decision, model, "decision function")[0]
    )
    reached = algebra.apply("GreaterOrEqual", score, algebra.constant(float(threshold)))
    return Answer(algebra.apply("Cast", reached, to="i8"), shares, decision=decision)


@states_model("sklearn.CalibratedClassifierCV")
def calibrated(algebra: Algebra, model: Any, columns: Columns) -> Answer:
    """Two classes: the logistic function of each model's score, by Platt's two numbers, and their mean."""
    if require_classes(model) != 2:
        raise NotProvedError("CalibratedClassifierCV with more than two classes has no statement")
    means: list[Term] = []
    for member in model.calibrated_classifiers_:
        if member.method != "sigmoid" or len(member.calibrators) != 1 or len(member.estimator.classes_) != 2:
            raise NotProvedError(f"CalibratedClassifierCV with the method {member.method} has no statement")
        inner = _inside(algebra, member.estimator, columns)
        if hasattr(member.estimator, "decision_function"):
            score = _require(inner.decision, model, "decision function")[0]
        else:
            score = _require(inner.probabilities, model, "probabilities")[1]
        slope, offset = (algebra.constant(float(getattr(member.calibrators[0], name))) for name in ("a_", "b_"))
        scaled = algebra.apply("Add", algebra.apply("Mul", score, slope), offset)
        shares = pair(algebra, algebra.apply("Expit", algebra.apply("Neg", scaled)))
        means = [algebra.apply("Add", *both) for both in zip(means, shares, strict=True)] if means else list(shares)
    if len(model.calibrated_classifiers_) > 1:
        count = algebra.constant(float(len(model.calibrated_classifiers_)))
        means = [algebra.apply("Div", mean, count) for mean in means]
    return Answer(algebra.several("ArgMax", means), tuple(means))


@states_model("sklearn.TransformedTargetRegressor")
def transformed_target(algebra: Algebra, model: Any, columns: Columns) -> Answer:
    """The value of the model inside, through the inverse of what was done to the target."""
    value = _require(_inside(algebra, model.regressor_, columns).value, model, "value")
    step = model.transformer_
    kind = type(step).__name__
    if model._training_dim != 1 or type(step).__module__.split(".")[0] != "sklearn":
        raise NotProvedError("TransformedTargetRegressor of several targets, or through a step of your own")
    if kind == "StandardScaler":
        if step.with_std:
            value = algebra.apply("Mul", value, algebra.constant(float(step.scale_[0])))
        if step.with_mean:
            value = algebra.apply("Add", value, algebra.constant(float(step.mean_[0])))
        return Answer(value=value)
    inverse = step.inverse_func if kind == "FunctionTransformer" else step
    if inverse is np.exp or inverse is np.expm1:
        power = algebra.apply("Exp", value)
        return Answer(value=power if inverse is np.exp else algebra.apply("Sub", power, algebra.constant(1.0)))
    if inverse is not None:
        raise NotProvedError("TransformedTargetRegressor through this function has no statement")
    return Answer(value=value)


@states_model("orris.EarlyStoppedClassifier", "orris.EarlyStoppedRegressor")
def early_stopped(algebra: Algebra, model: Any, columns: Columns) -> Answer:
    """The library's estimator inside, over an array of numbers."""
    if columns.sparse or model.n_categories:
        raise NotProvedError("codes of categories that a preset gives to its library have no statement")
    return predicted(algebra, model.estimator_, Columns.of(numbers(algebra, columns, model)))
