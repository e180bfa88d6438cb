"""Naive Bayes classifiers answer from ONNX as they do from scikit-learn."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.naive_bayes import BernoulliNB, ComplementNB, GaussianNB, MultinomialNB

from tests.compile import agreement


@pytest.mark.parametrize("table", agreement.CLASSIFICATION)
@pytest.mark.parametrize("estimator", [GaussianNB(), BernoulliNB()], ids=["gaussian", "bernoulli"])
def test_classifier_answers_as_scikit_learn(run_graph: agreement.RunGraph, table: str, estimator: Any) -> None:
    """Classifiers over signed numbers give the same labels and probabilities."""
    x, y = agreement.CLASSIFICATION[table]()
    agreement.assert_agrees(run_graph, estimator.fit(x, y), agreement.hard_rows(x), relative=1e-9, absolute=1e-15)


@pytest.mark.parametrize("table", agreement.CLASSIFICATION)
@pytest.mark.parametrize("estimator", [MultinomialNB(), ComplementNB()], ids=["multinomial", "complement"])
def test_classifier_of_counts_answers_as_scikit_learn(
    run_graph: agreement.RunGraph, table: str, estimator: Any
) -> None:
    """Classifiers over counts give the same labels and probabilities."""
    x, y = agreement.CLASSIFICATION[table]()
    rows = np.abs(agreement.hard_rows(x))
    agreement.assert_agrees(
        run_graph, estimator.fit(np.abs(x), y), rows[rows.max(axis=1) < 1e3], relative=1e-9, absolute=1e-15
    )


def test_bernoulli_without_binarisation(run_graph: agreement.RunGraph) -> None:
    """A BernoulliNB that takes its columns as they are gives the same probabilities."""
    x, y = agreement.iris()
    rows = (x > 0).astype(float)
    agreement.assert_agrees(run_graph, BernoulliNB(binarize=None).fit(rows, y), rows, relative=1e-9)
