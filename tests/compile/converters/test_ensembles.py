"""Voting and stacking: the graph answers as the ensemble of converted estimators does in scikit-learn."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.ensemble import (
    RandomForestClassifier,
    RandomForestRegressor,
    StackingClassifier,
    StackingRegressor,
    VotingClassifier,
    VotingRegressor,
)
from sklearn.linear_model import LogisticRegression, Ridge, RidgeClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from orris.compile.dispatch import predict
from orris.compile.graph import INPUT, Feature, Frame, Graph
from orris.errors import NotConvertibleError
from tests.compile.agreement import assert_agrees, diabetes, hard_rows, iris, wine

CLASSIFIERS: list[tuple[str, Any]] = [
    ("forest", RandomForestClassifier(5, max_depth=3, random_state=0)),
    ("linear", LogisticRegression()),
    ("tree", DecisionTreeClassifier(max_depth=2)),
]
REGRESSORS: list[tuple[str, Any]] = [
    ("forest", RandomForestRegressor(5, max_depth=3, random_state=0)),
    ("dropped", "drop"),
    ("tree", DecisionTreeRegressor(max_depth=4)),
]


@pytest.mark.parametrize("weights", [None, [0.3, 1.7, 0.9]])
@pytest.mark.parametrize("voting", ["soft", "hard"])
def test_votes_are_counted(run_graph: Any, voting: Any, weights: Any) -> None:
    """Probabilities are averaged, or votes counted, with and without weights."""
    x, y = iris()
    model = VotingClassifier(CLASSIFIERS, voting=voting, weights=weights).fit(x, y)
    rows = x if voting == "soft" else hard_rows(x)
    assert_agrees(run_graph, model, rows, absolute=1e-15)


@pytest.mark.parametrize("weights", [None, [0.3, 1.0, 0.9]])
def test_values_are_averaged(run_graph: Any, weights: Any) -> None:
    """Values are averaged over the estimators that were not dropped."""
    x, y = diabetes()
    assert_agrees(run_graph, VotingRegressor(REGRESSORS, weights=weights).fit(x, y), hard_rows(x), relative=1e-15)


@pytest.mark.parametrize("passthrough", [False, True])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_probabilities_are_stacked(run_graph: Any, n_classes: int, passthrough: bool) -> None:
    """The final estimator sees the others' probabilities, of two classes the second's alone."""
    x, y = wine()
    x, y = (x, y) if n_classes == 3 else (x[y < 25], y[y < 25])
    model = StackingClassifier(CLASSIFIERS, LogisticRegression(), cv=3, passthrough=passthrough).fit(x, y)
    assert_agrees(run_graph, model, x, absolute=1e-14)


def test_values_are_stacked(run_graph: Any) -> None:
    """The final regressor sees the others' values."""
    x, y = diabetes()
    assert_agrees(run_graph, StackingRegressor(REGRESSORS, Ridge(), cv=3).fit(x, y), hard_rows(x), relative=1e-12)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_decisions_are_stacked(run_graph: Any, n_classes: int) -> None:
    """An estimator without probabilities stacks its decision function."""
    x, y = wine()
    x, y = (x, y) if n_classes == 3 else (x[y < 25], y[y < 25])
    model = StackingClassifier([("ridge", RidgeClassifier()), ("machine", SVC())], cv=3).fit(x, y)
    assert_agrees(run_graph, model, x, absolute=1e-13)


def test_labels_are_stacked_as_numbers(run_graph: Any) -> None:
    """An estimator fitted before on other labels stacks those."""
    x, y = wine()
    members = [(name, model.fit(x, y)) for name, model in [("ridge", RidgeClassifier()), ("bayes", GaussianNB())]]
    model = StackingClassifier(members, cv="prefit", stack_method="predict").fit(x, y)
    assert_agrees(run_graph, model, x, absolute=1e-13)


def test_decisions_of_pairs_are_refused() -> None:
    """An SVC with a column for each pair of classes gives what no converter does."""
    x, y = iris()
    model = StackingClassifier([("machine", SVC(decision_function_shape="ovo"))], cv=3).fit(x, y)
    with pytest.raises(NotConvertibleError, match="decision function"):
        predict(Graph(), model, Frame(INPUT, (Feature(),) * np.shape(x)[1]))
