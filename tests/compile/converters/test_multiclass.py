"""Tests of one-vs-rest and one-vs-one ensembles."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression, LogisticRegression, RidgeClassifier
from sklearn.multiclass import OneVsOneClassifier, OneVsRestClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.svm import SVC

from orris.errors import NotConvertibleError
from tests.compile.agreement import CLASSIFICATION, RunGraph, assert_agrees, converted, hard_rows

BASES = {
    "LogisticRegression": LogisticRegression(),
    "RidgeClassifier": RidgeClassifier(),
    "GaussianNB": GaussianNB(),
    "SVC": SVC(),
}


@pytest.mark.parametrize("table", ["iris", "cancer", "digits"])
@pytest.mark.parametrize("ensemble", [OneVsRestClassifier, OneVsOneClassifier])
@pytest.mark.parametrize("base", BASES.values(), ids=BASES.keys())
def test_labels_and_probabilities_are_those_of_scikit_learn(
    run_graph: RunGraph, base: Any, ensemble: Any, table: str
) -> None:
    """Labels and probabilities equal scikit-learn's, whether the members have decisions or only probabilities."""
    x, y = CLASSIFICATION[table]()
    x = x[:, x.std(axis=0) > 0]
    rows = hard_rows(x)
    assert_agrees(run_graph, ensemble(base).fit(x, y), rows[np.abs(rows).max(axis=1) < 1e6], absolute=1e-12)


def test_an_ensemble_of_regressors_is_not_converted() -> None:
    """An ensemble of regressors is not convertible, since their values are no known scores of classes."""
    x, y = CLASSIFICATION["iris"]()
    with pytest.raises(NotConvertibleError, match="LinearRegression"):
        converted(OneVsRestClassifier(LinearRegression()).fit(x, y), x.shape[1])
