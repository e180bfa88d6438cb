"""Tests of calibrated classifiers and isotonic regression."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.svm import SVC, LinearSVC

from orris.errors import NotConvertibleError
from tests.compile.agreement import CLASSIFICATION, RunGraph, assert_agrees, converted, diabetes, hard_rows

BASES = {
    "decisions of SVC": SVC(),
    "decisions of LinearSVC": LinearSVC(random_state=0),
    "decisions of RidgeClassifier": RidgeClassifier(),
    "decisions of LogisticRegression": LogisticRegression(max_iter=500),
    "decisions of boosting": HistGradientBoostingClassifier(max_iter=5, random_state=0),
    "probabilities of GaussianNB": GaussianNB(var_smoothing=10.0),  # else so near 1 that a step of the last bit counts
    "probabilities of a forest": RandomForestClassifier(10, random_state=0),
}


@pytest.mark.parametrize("ensemble", [True, False], ids=["an ensemble", "one"])
@pytest.mark.parametrize("method", ["sigmoid", "isotonic"])
@pytest.mark.parametrize("table", ["iris", "cancer"])
@pytest.mark.parametrize("base", BASES.values(), ids=BASES.keys())
def test_scores_are_calibrated_as_in_scikit_learn(
    run_graph: RunGraph, base: Any, table: str, method: str, ensemble: bool
) -> None:
    """Two and three classes are calibrated as in scikit-learn by either method, from decisions or probabilities."""
    x, y = CLASSIFICATION[table]()
    rows = hard_rows(x)
    estimator = CalibratedClassifierCV(base, method=method, ensemble=ensemble, cv=3).fit(x, y)
    assert_agrees(run_graph, estimator, rows[np.abs(rows).max(axis=1) < 1e6], absolute=1e-12)


@pytest.mark.parametrize("table", ["iris", "cancer"])
@pytest.mark.parametrize(
    "base", [LogisticRegression(max_iter=500), GaussianNB(var_smoothing=10.0)], ids=["decisions", "probabilities"]
)
def test_temperatures_are_applied_as_in_scikit_learn(run_graph: RunGraph, base: Any, table: str) -> None:
    """A temperature applies to the logarithm of probabilities, and to decisions directly."""
    x, y = CLASSIFICATION[table]()
    estimator = CalibratedClassifierCV(base, method="temperature", ensemble=False).fit(x, y)
    assert_agrees(run_graph, estimator, hard_rows(x)[:600], absolute=1e-10)


def test_a_frozen_estimator_is_the_one_inside(run_graph: RunGraph) -> None:
    """A frozen estimator, fitted before on other rows, is converted as the estimator inside."""
    x, y = CLASSIFICATION["digits"]()
    frozen = FrozenEstimator(SVC().fit(x[:200], y[:200]))
    estimator = CalibratedClassifierCV(frozen, method="isotonic").fit(x[200:], y[200:])
    assert_agrees(run_graph, estimator, x, absolute=1e-9)


def test_a_class_that_a_fold_never_saw_has_no_probability_there(run_graph: RunGraph) -> None:
    """The columns of a fold that lacks a class are put at the places of its classes among all."""
    x, y = CLASSIFICATION["iris"]()
    folds = [(np.r_[0:100], np.r_[100:150, 0:20, 50:70]), (np.r_[0:150:2], np.r_[1:150:2])]
    with np.errstate(all="ignore"):
        estimator = CalibratedClassifierCV(GaussianNB(), cv=folds).fit(x, y)
    assert len(estimator.calibrated_classifiers_[0].estimator.classes_) == 2
    assert_agrees(run_graph, estimator, x, absolute=1e-12)


def test_isotonic_values_are_those_of_numpy_between_on_and_beyond_the_thresholds(run_graph: RunGraph) -> None:
    """Values beyond the thresholds are clipped to them."""
    x, y = diabetes()
    column = x[:, 2:3]
    estimator = IsotonicRegression(out_of_bounds="clip").fit(column, y)
    steps = estimator.X_thresholds_
    rows = np.concatenate([column.ravel(), steps, np.nextafter(steps, -9), np.nextafter(steps, 9), [-50.0, 50.0, 0.0]])[
        :, None
    ]
    assert_agrees(run_graph, estimator, rows, relative=1e-14)


def test_a_single_isotonic_step_is_a_constant(run_graph: RunGraph) -> None:
    """An isotonic regression that was fitted on one value is a constant."""
    estimator = IsotonicRegression(out_of_bounds="clip").fit([[1.0], [1.0]], [2.0, 4.0])
    assert_agrees(run_graph, estimator, np.array([[0.0], [1.0], [7.0]]))


def test_isotonic_regression_that_refuses_rows_is_not_converted() -> None:
    """Isotonic regression with ``out_of_bounds="raise"`` is not convertible, because a graph cannot raise."""
    estimator = IsotonicRegression(out_of_bounds="raise").fit([[1.0], [2.0]], [2.0, 4.0])
    with pytest.raises(NotConvertibleError, match="out_of_bounds='raise'"):
        converted(estimator, 1)
