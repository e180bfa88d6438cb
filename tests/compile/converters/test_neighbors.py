"""Nearest-neighbour models answer from ONNX as from scikit-learn, above all at equal distances."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor

from orris.errors import NotConvertibleError
from tests.compile import agreement

WEIGHTS = ["uniform", "distance"]


def _grid(seed: int, n_rows: int, n_columns: int, span: int) -> agreement.Table:
    """Integer rows, many of them equal, with two or three classes at random."""
    draw = np.random.default_rng(seed)
    return draw.integers(0, span, size=(n_rows, n_columns)).astype(float), draw.integers(0, 3, size=n_rows)


@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("table", agreement.CLASSIFICATION)
def test_classifier_answers_as_scikit_learn(run_graph: agreement.RunGraph, table: str, weights: str) -> None:
    """A k-d tree classifier gives the same labels and probabilities, on training rows and far outside them."""
    x, y = agreement.CLASSIFICATION[table]()
    estimator = KNeighborsClassifier(weights=weights, algorithm="kd_tree").fit(x, y)
    agreement.assert_agrees(run_graph, estimator, agreement.hard_rows(x), relative=1e-12)


@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("p", [1, 2])
def test_regressor_answers_as_scikit_learn(run_graph: agreement.RunGraph, p: int, weights: str) -> None:
    """A k-d tree regressor gives the same values by both metrics and both weights."""
    x, y = agreement.diabetes()
    estimator = KNeighborsRegressor(7, weights=weights, p=p, algorithm="kd_tree").fit(x, y)
    agreement.assert_agrees(run_graph, estimator, agreement.hard_rows(x), relative=1e-12)


@pytest.mark.parametrize("leaf_size", [1, 5, 30, 10_000])
@pytest.mark.parametrize("k", [1, 2, 3, 5, 12])
def test_ties_are_broken_as_the_search_breaks_them(run_graph: agreement.RunGraph, k: int, leaf_size: int) -> None:
    """On an integer grid full of equal rows of different classes, every label and probability is scikit-learn's."""
    x, y = _grid(k, 200, 2, 6)
    estimator = KNeighborsClassifier(k, algorithm="kd_tree", leaf_size=leaf_size).fit(x, y)
    queries = np.array([[a, b] for a in np.arange(-1, 7, 0.5) for b in np.arange(-1, 7, 0.5)])
    agreement.assert_agrees(run_graph, estimator, queries)


def test_ties_exist_in_the_test_above() -> None:
    """The grid of the tie test does decide answers by ties: another order of the same training rows changes them."""
    x, y = _grid(5, 200, 2, 6)
    first = KNeighborsClassifier(5, algorithm="kd_tree").fit(x, y).predict(x)
    other = KNeighborsClassifier(5, algorithm="kd_tree").fit(x[::-1], y[::-1]).predict(x)
    assert (first != other).mean() > 0.05


def test_every_training_row_a_neighbour(run_graph: agreement.RunGraph) -> None:
    """With as many neighbours as training rows there is nothing to choose."""
    x, y = _grid(0, 20, 2, 4)
    agreement.assert_agrees(
        run_graph, KNeighborsClassifier(20, algorithm="kd_tree", weights="distance").fit(x, y), x, relative=1e-12
    )


def test_column_target(run_graph: agreement.RunGraph) -> None:
    """A regressor fitted on a target of shape (n, 1) gives values of shape (n,)."""
    x, y = agreement.diabetes()
    agreement.assert_agrees(run_graph, KNeighborsRegressor(algorithm="kd_tree").fit(x, y[:, None]), x, relative=1e-12)


@pytest.mark.parametrize(
    ("setting", "reason"),
    [
        ({"algorithm": "brute"}, "algorithm='kd_tree'"),
        ({"algorithm": "ball_tree"}, "algorithm='kd_tree'"),
        ({"algorithm": "kd_tree", "p": 3}, "metric"),
        ({"algorithm": "kd_tree", "metric": "chebyshev"}, "metric"),
        ({"algorithm": "kd_tree", "weights": np.ones_like}, "function"),
    ],
)
def test_settings_without_exact_answers_are_refused(setting: dict[str, Any], reason: str) -> None:
    """A search whose ties cannot be reproduced is not convertible, and the message says what is."""
    x, y = agreement.iris()
    with pytest.raises(NotConvertibleError, match=reason):
        agreement.converted(KNeighborsClassifier(**setting).fit(x, y), 4)


def test_several_targets_are_refused() -> None:
    """A regressor and a classifier of several targets are not convertible."""
    x, y = agreement.diabetes()
    both = np.stack([y > 100, y > 200], axis=1).astype(int)
    for estimator in (KNeighborsRegressor(algorithm="kd_tree"), KNeighborsClassifier(algorithm="kd_tree")):
        with pytest.raises(NotConvertibleError, match="targets"):
            agreement.converted(estimator.fit(x, both), 10)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_no_random_grid_disagrees(data: st.DataObject) -> None:
    """Random grids, sizes, metrics and leaves find no label that differs."""
    n_columns, n_rows = data.draw(st.integers(1, 4)), data.draw(st.integers(5, 120))
    x, y = _grid(data.draw(st.integers(0, 2**31)), n_rows, n_columns, data.draw(st.integers(2, 8)))
    estimator = KNeighborsClassifier(
        data.draw(st.integers(1, min(n_rows, 20))),
        algorithm="kd_tree",
        leaf_size=data.draw(st.integers(1, 40)),
        p=data.draw(st.sampled_from([1, 2])),
    ).fit(x * data.draw(st.sampled_from([1.0, 0.1, 1 / 3])), y)
    rows = np.concatenate([x[:60], x[:60] * 0.1, np.random.default_rng(0).integers(-2, 10, size=(60, n_columns)) / 2])
    agreement.assert_agrees(agreement.run, estimator, rows, relative=1e-12)
