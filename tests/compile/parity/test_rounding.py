"""Tests of the bound on what the order of additions alone may change."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.compose import TransformedTargetRegressor
from sklearn.linear_model import LinearRegression, LogisticRegression, PoissonRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures, StandardScaler

from orris.compile import compile_pipeline
from orris.compile.build import build, rounding_model
from orris.compile.parity import gate
from orris.runtime import Answers, open_session
from orris.training.learning import learn_schema

RNG = np.random.default_rng(1)
X = RNG.uniform(1e5, 1e6, size=(300, 8)).round(1)


def bound(model: Any, x: Any, task: Any, labels: tuple[Any, ...] = ()) -> Any:
    """The bound of each row's rounding, float64 ``(n_rows,)``, relative to ``max(1, |value|)`` for a value."""
    _, graph = build(model, learn_schema(x, target="y", task=task, labels=labels))
    rounding = rounding_model(graph, x.shape[1])
    assert rounding is not None
    return open_session(rounding.SerializeToString()).run(["rounding"], {"rows": x})[0]


def test_terms_that_cancel_may_differ_by_the_rounding_of_their_magnitudes() -> None:
    """Large products that nearly cancel differ by more than 1e-12 with the order of additions, and are exact."""
    nearly = np.column_stack([X, X[:, ::-1] + RNG.normal(size=X.shape)])
    model = LinearRegression().fit(nearly, nearly[:, 0] - nearly[:, 15])
    model.coef_ = np.concatenate([np.arange(1.0, 9.0), -np.arange(1.0, 9.0)[::-1]]) * 1e3
    compiled = compile_pipeline(model, learn_schema(nearly, target="y", task="regression"), nearly)
    assert compiled.verdict.strategy == "exact"
    terms = nearly * model.coef_
    sums = [terms[:, order].cumsum(axis=1)[:, -1] for order in (np.arange(16), np.arange(16)[::-1])]
    allowed = bound(model, nearly, "regression") * np.maximum(1.0, np.abs(model.predict(nearly)))
    assert (np.abs(sums[0] - sums[1]) <= allowed).all()
    assert (allowed <= 1e-13 * np.abs(terms).sum(axis=1)).all()


@pytest.mark.parametrize("exponential", [False, True])
def test_an_exponential_turns_the_bound_into_a_relative_one(exponential: bool) -> None:
    """Behind a log link or a logarithm of the target, the bound grows with the value, and is small beside it."""
    target = np.exp(RNG.normal(size=300) * 3)
    model: Any = (
        TransformedTargetRegressor(LinearRegression(), func=np.log, inverse_func=np.exp)
        if exponential
        else make_pipeline(StandardScaler(), PoissonRegressor())
    )
    model.fit(X, target)
    allowed = bound(model, X, "regression")
    assert (allowed > 0).all()
    assert (allowed < 1e-10).all()


def test_a_difference_beyond_the_bound_is_refused() -> None:
    """The bound is added to the tolerance of its row, and no more than a millionth."""
    expected = Answers(values=np.array([1.0, 1.0]))
    within = gate.compare(expected, Answers(values=np.array([1.0, 1.0 + 1e-9])), "linear", np.array([0.0, 1e-8]))
    assert within.excess < 1.0
    assert within.allowed == pytest.approx(1e-8, rel=1e-3)
    beyond = gate.compare(expected, Answers(values=np.array([1.0 + 1e-9, 1.0])), "linear", np.array([0.0, 1e-8]))
    assert beyond.excess > 1.0
    vast = gate.compare(expected, Answers(values=np.array([1.0, 1.0 + 1e-5])), "linear", np.array([0.0, 1e300]))
    assert vast.excess > 1.0


def test_a_wrong_weight_is_still_found() -> None:
    """Rounding explains a difference of the last bits, not one of a millionth of a weight."""
    model = make_pipeline(PolynomialFeatures(2), StandardScaler(), LogisticRegression(max_iter=2000))
    y = (X[:, 0] > X[:, 1]).astype(int)
    model.fit(X, y)
    expected = Answers(model.predict(X).astype(np.int64), model.predict_proba(X))
    model[-1].coef_ = model[-1].coef_ * (1 + 1e-6)
    found = Answers(model.predict(X).astype(np.int64), model.predict_proba(X))
    outcome = gate.compare(expected, found, "linear", bound(model, X, "classification", (0, 1)))
    assert outcome.excess > 1.0
